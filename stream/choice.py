"""Which series of a metric something is about, in one of its windows: a rule, or a forecast."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sinks.records import Dimensions
from stream.durations import TOTAL

if TYPE_CHECKING:
    from stream.metrics import Metric

Mistake = tuple[str, str, str]
"""Key of the table, what was expected, what was found."""


def matches(wanted: Mapping[str, str], dimensions: Dimensions) -> bool:
    """Whether a series has all of these dimensions."""
    return wanted.items() <= dict(dimensions).items()


def mistakes_of_choice(
    name: str, window: str, key: str | None, dimensions: Iterable[str], metrics: Mapping[str, Metric | None]
) -> Iterator[Mistake]:
    """What is wrong with the choice of one number of a metric in a window, of the series with some dimensions.

    `metrics` has every metric by name, None where it is itself so wrong that nothing can be said about the choice.
    """
    if name not in metrics:
        near = difflib.get_close_matches(name, metrics, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        yield "metric", f"one of {', '.join(metrics)}", f"{name!r}{hint}"
        return
    metric = metrics[name]
    if metric is None:
        return
    windows = [text for text in metric.windows if text != TOTAL]
    if window not in windows:
        yield "window", f"one of {', '.join(windows)}, which {metric.name} has", repr(window)
    if metric.measure == "top_k":
        yield "metric", "a metric of numbers", f"{metric.name!r}, a top_k"
    if metric.keys and (key is None or metric.key_of(key) is None):
        yield "key", f"which of {', '.join(metric.keys)}, which {metric.name} has", repr(key)
    if not metric.keys and key is not None:
        yield "key", f"none, as {metric.name} has one value: it is a {metric.measure}", repr(key)
    yield from unknown_dimensions("dimensions", dimensions, metric)


def unknown_dimensions(key: str, names: Iterable[str], metric: Metric) -> Iterator[Mistake]:
    """Names under a key of the table that are no dimensions of the metric."""
    for name in names:
        if name not in metric.by:
            expected = f"some of {', '.join(metric.by)}" if metric.by else f"none, as {metric.name} has no `by`"
            yield key, expected, repr(name)
