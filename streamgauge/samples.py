"""What a part says of itself at one moment, by the names of its metrics: from its registry, or read over HTTP."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]


class Samples:
    """All samples of one moment. Names are whole, as `/metrics` has them; NaN counts as not known."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._found: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
        for family in families:
            for sample in family.samples:
                if not math.isnan(sample.value):
                    self._found[sample.name].append((sample.labels, sample.value))

    @classmethod
    def of(cls, registry: CollectorRegistry) -> Samples:
        return cls(registry.collect())

    @classmethod
    def parse(cls, text: str) -> Samples:
        """Raises ValueError for what is no metrics."""
        return cls(text_string_to_metric_families(text))

    def each(self, name: str, label: str) -> Iterator[tuple[str, float]]:
        """The values of one metric, by one of its labels."""
        return ((labels.get(label, ""), value) for labels, value in self._found.get(name, ()))

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def labelled(self, name: str) -> list[tuple[Labels, float]]:
        return self._found.get(name, [])

    def total(self, name: str) -> float | None:
        """The sum over all labels; None where there is no such sample."""
        found = self._found.get(name)
        return None if not found else sum(value for _, value in found)

    def most(self, name: str) -> float | None:
        """The largest of all labels; None where there is no such sample."""
        return max((value for _, value in self._found.get(name, ())), default=None)

    def buckets(self, name: str) -> dict[float, float]:
        """A histogram's counts up to each bound, over all labels."""
        found: dict[float, float] = defaultdict(float)
        for labels, value in self._found.get(f"{name}_bucket", ()):
            found[float(labels["le"])] += value
        return dict(sorted(found.items()))
