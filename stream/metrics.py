"""`[[metric]]`: what a metric is, and the metrics that no catalog has to declare."""

from __future__ import annotations

import difflib
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stream.derived import DERIVED
from stream.durations import TOTAL
from stream.measures.base import Options, Takes
from stream.measures.quantile import quantile_name
from stream.measures.registry import MEASURES, make
from stream.tables import FieldName, MetricName, Table, each_once
from stream.windows import window_of

_UTC = ZoneInfo("UTC")
RESERVED_PREFIX = "streamgauge_"
"""Names that start so belong to the metrics every processor has."""


def _window(text: str) -> str:
    window_of(text, _UTC)
    return text


def _sliding(window: Any) -> Any:
    """`{ window = "5m", every = "10s" }` is the long way to write `5m/10s`."""
    if isinstance(window, dict) and window.keys() == {"window", "every"} and "/" not in str(window["window"]):
        return f"{window['window']}/{window['every']}"
    return window


def _measure(name: str) -> str:
    known = [*MEASURES, *DERIVED]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"expected one of {', '.join(known)}; found {name!r}{hint}")
    return name


Window = Annotated[str, AfterValidator(_window), BeforeValidator(_sliding)]
ALERTS = "alerts"
"""In InfluxDB it has the alerts themselves."""
GIVEN = "given"
"""Measure of the metrics whose points a model gives."""
_OPTIONS = frozenset({"quantiles", "k", "exact_up_to"})


class Metric(Table):
    """`[[metric]]`: one number, or one number per series when `by` is given."""

    name: MetricName
    """`[a-z][a-z0-9_]*`, at most 64 characters; `streamgauge_…` is reserved."""
    measure: Annotated[str, AfterValidator(_measure)]
    """What is worked out of the events, [see below](#measures)."""
    value: str | None = None
    """SQL expression that gives what is aggregated: a number, or for `distinct` and `top_k` any text or number."""
    where: str | None = None
    """SQL condition on the events that count."""
    by: Annotated[list[FieldName], AfterValidator(each_once)] = Field([], max_length=4)
    """Up to 4 fields; one series for each combination of their values."""
    windows: Annotated[list[Window], AfterValidator(each_once)] = Field(
        ["10s", "1m", "1h", "1d"], min_length=1, max_length=16
    )
    """See [windows](#windows)."""
    max_series: int = Field(10_000, ge=1, le=1_000_000)
    """Series past this many are counted together, with `__other__` for every dimension."""
    quantiles: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], AfterValidator(each_once)] = Field(
        [0.5, 0.9, 0.99], min_length=1, max_length=20
    )
    """Which a `quantile` gives, between 0 and 1."""
    k: int = Field(10, ge=1, le=100)
    """How many a `top_k` gives."""
    exact_up_to: int = Field(1_000, ge=0, le=100_000)
    """How many different values a `distinct` counts exactly."""
    of: str | None = None
    """The metric that a `ratio` divides, by name."""
    to: str | None = None
    """The metric that it is divided by."""
    on: str | None = None
    """Which facts about people are counted instead of events, such as `"session.end"`:
    [people.md](people.md#metrics-of-your-own-over-facts). `value`, `where` and `by` are then about the fields of those,
    the measures are `count`, `sum`, `mean`, `rate` and `quantile`, and `windows` may have `"total"`, one over all of
    time."""
    title: str | None = None
    """Shown on the wall, where a tile does not say otherwise, as the next three are."""
    unit: str | None = None
    """Such as `"EUR"` or `"ms"`. It changes no number: with `"%"` they go to 100."""
    description: str | None = None
    """A sentence on what is counted, for `GET /v1/metrics` and Grafana."""
    target: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """What the number should reach."""

    @model_validator(mode="after")
    def _check(self) -> Metric:
        if self.name.startswith(RESERVED_PREFIX):
            raise ValueError(f"expected a name that does not start with {RESERVED_PREFIX}, found {self.name!r}")
        if self.name == ALERTS:
            raise ValueError(f"expected another name than that of the measurement of alerts, found {self.name!r}")
        if TOTAL in self.windows and self.on is None:
            raise ValueError(f"windows: expected windows from 1s to 1d, found {TOTAL!r}")
        if self.measure in DERIVED:
            self._check_derived()
            return self
        measure = make(self.measure, self.options, has_value=self.value is not None)
        if self.value is None and measure.takes in (Takes.NUMBER, Takes.TEXT):
            raise ValueError(f"value: expected an expression, as measure {self.measure} needs one; found nothing")
        if self.value is not None and measure.takes is Takes.NOTHING:
            raise ValueError(f"value: expected none, as measure {self.measure} takes none; found {self.value!r}")
        for key in sorted((_OPTIONS - measure.options | {"of", "to"}) & self.model_fields_set):
            raise ValueError(f"{key}: expected none, as measure {self.measure} has no such option, found one")
        return self

    def _check_derived(self) -> None:
        needed = {"of", "to"} if self.measure == "ratio" else {"value"}
        for key in sorted(needed):
            if getattr(self, key) is None:
                raise ValueError(f"{key}: expected a value, as measure {self.measure} needs one, found nothing")
        taken = {"where", "by", "windows", "max_series", "on", "value", "of", "to", *_OPTIONS} - needed
        for key in sorted(taken & self.model_fields_set):
            why = f"as a {self.measure} has those of the metrics it is worked out of"
            raise ValueError(f"{key}: expected none, {why}, found one")

    @property
    def options(self) -> Options:
        return Options(tuple(self.quantiles), self.k, self.exact_up_to)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of its values, where its points have several that are known beforehand."""
        return tuple(quantile_name(one) for one in self.quantiles) if self.measure == "quantile" else ()

    @property
    def main_key(self) -> str | None:
        """Which of them is shown where nobody says: the highest quantile is the first to tell of trouble."""
        return quantile_name(max(self.quantiles)) if self.measure == "quantile" else None

    def key_of(self, text: str) -> str | None:
        """The name of the value that is asked for as `p99` or `0.99`; None where there is no such value."""
        if text in self.keys:
            return text
        same = (name for name, one in zip(self.keys, self.quantiles, strict=False) if text == f"{one:.10g}")
        return next(same, None) if self.measure == "quantile" else None


class GivenMetric(Metric):
    """A metric whose points a model gives. Nobody declares one: `[churn]` and `[[forecast]]` bring theirs.

    Made with `given`: what validation would refuse of a declared metric is right here.
    """

    source: str
    """Who gives it, as the rules that watch it are told."""
    values: tuple[str, ...] = ()
    """Names of the values of its points, the one that is shown first; none where each is one number."""
    among: tuple[str, ...] = ()
    """The metrics that its points are about, where those are of several and `of` is none."""
    ahead: str | None = None
    """The dimension that says how many windows before its own a point is known; None: it is known when that closes."""
    settles_ms: int = 0
    """How long after their end its windows are known."""

    @property
    def keys(self) -> tuple[str, ...]:
        return self.values

    @property
    def main_key(self) -> str | None:
        return self.values[0] if self.values else None


def given(name: str, source: str, **options: Any) -> GivenMetric:
    """A metric whose points `source` gives; `options` are further fields."""
    return GivenMetric.model_construct(name=name, source=source, measure=GIVEN, **options)


BUILTIN_METRICS = (
    # model_construct: their names are reserved, and refusing those is what validation is for.
    Metric.model_construct(
        name=f"{RESERVED_PREFIX}events",
        title="Events",
        measure="count",
        by=[],
        windows=["10s", "1m", "1h", "1d", TOTAL],
    ),
    Metric.model_construct(
        name=f"{RESERVED_PREFIX}rejects",
        title="Refused events",
        measure="count",
        by=["reason"],
        windows=["1m", "1d", TOTAL],
        max_series=100,
    ),
)
"""Metrics that every processor has: the events that were counted, and those that were refused, by reason."""
