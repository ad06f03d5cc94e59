"""`[[forecast]]`: of which metrics it is said where they will be, and the metrics that say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from models.forecast import FURTHEST_HORIZON, MOST_HORIZONS, MOST_SEASONS
from stream.choice import Mistake, mistakes_of_choice
from stream.durations import DAY_MS, duration_ms
from stream.metrics import BUILTIN_METRICS, GivenMetric, Metric, given
from stream.problems import Problem, key_of, tables_of
from stream.tables import FieldName, MetricName, Table, each_once
from stream.windows import Window, window_of

_UTC = ZoneInfo("UTC")
SOURCE = "forecast"
"""Who gives the points of these metrics."""
FORECAST, RESIDUAL = "_forecast", "_residual"
"""What is behind a metric's name in that of its forecasts, and of how far they were off."""
HORIZON, OF = "horizon", "of"
"""Dimensions of what is given: windows ahead, and the metric that is forecast."""
VALUES = ("value", "lower", "upper")
"""Of a point of forecasts."""
MASE, COVERAGE, WORST_COVERAGE = "forecast_mase", "forecast_coverage", "forecast_worst_coverage"
_LONGEST_NAME = 64
_ABOVE_ZERO = frozenset({"count", "rate", "distinct"})
_LONGEST_SEASON_MS = 400 * DAY_MS


def _seasons(found: Any) -> Any:
    """One thing is said of what is neither a text nor a list: of a union, pydantic says what each part wants."""
    several = found if isinstance(found, list) else [found]
    if not 1 <= len(several) <= MOST_SEASONS or not all(isinstance(one, str) for one in several):
        raise ValueError(f"expected a duration such as 1d, a list of at most {MOST_SEASONS}, or off, found {found!r}")
    for one in several:
        if one != "off" or isinstance(found, list):
            duration_ms(one)
    return each_once(found) if isinstance(found, list) else found


Seasons = Annotated[str | list[str], BeforeValidator(_seasons)]
"""A duration, or several, or `off`."""


class Forecast(Table):
    """One metric in one of its windows: each of its series is forecast by itself."""

    metric: MetricName
    """A metric of this catalog with numbers."""
    window: str
    """One of its windows, which does not slide. Each metric and window once."""
    horizons: Annotated[list[Annotated[int, Field(ge=1, le=FURTHEST_HORIZON)]], AfterValidator(each_once)] = Field(
        [1, 6, 12], min_length=1, max_length=MOST_HORIZONS
    )
    """How many windows ahead, up to four different ones of at most 2016."""
    season: Seasons | None = None
    """After what time the series is as it was, or after which two; whole windows, two at least, and 400 days at the
    most. Of two the longer is made of whole shorter ones, and the shorter one is what forecasts are held against.
    Default: `"1d"`, of days `"7d"`, of longer windows `"off"`."""
    coverage: float = Field(0.9, ge=0.5, le=0.99)
    """How often the value shall be between the lower and the upper end, 0.5 to 0.99."""
    dimensions: dict[FieldName, str] = Field({})
    """Only series that have these values: `{ country = "DE" }`."""
    key: str | None = None
    """Which of its values: `"p99"`. Default: required of a `quantile`."""
    max_series: int = Field(100, ge=1, le=20_000)
    """How many series are forecast; of the others the log says so."""

    @property
    def called(self) -> str:
        return f"{self.metric}@{self.window}"

    @property
    def ahead(self) -> tuple[int, ...]:
        """The horizons, nearest first."""
        return tuple(sorted(self.horizons))

    def seasons_ms(self, window: Window) -> tuple[int, ...]:
        """Its seasons, shortest first."""
        if self.season is None:
            return (DAY_MS,) if window.about_ms < DAY_MS else (7 * DAY_MS,) if window.about_ms == DAY_MS else ()
        if isinstance(self.season, str):
            return () if self.season == "off" else (duration_ms(self.season),)
        return tuple(sorted(duration_ms(one) for one in self.season))


def is_above_zero(metric: Metric, metrics: Mapping[str, Metric]) -> bool:
    """Whether a metric can have no value below 0."""
    if metric.measure == "ratio":
        parts = [metrics.get(name) for name in (metric.of or "", metric.to or "")]
        return all(part is not None and part.measure in _ABOVE_ZERO for part in parts)
    return metric.measure in _ABOVE_ZERO


def given_of(forecasts: Sequence[Forecast], metrics: Iterable[Metric]) -> list[GivenMetric]:
    """The metrics that forecasts give the points of: two for each metric that is forecast, and how good all are."""
    known = {metric.name: metric for metric in metrics}
    windows: dict[str, list[str]] = {}
    for one in forecasts:
        if one.metric in known:
            windows.setdefault(one.metric, []).append(one.window)
    found = [made for name, some in windows.items() for made in _given_of(known[name], list(dict.fromkeys(some)))]
    if not found:
        return []
    about: dict[str, Any] = {
        "among": tuple(windows),
        "by": [OF, HORIZON],
        "windows": list(dict.fromkeys(window for some in windows.values() for window in some)),
    }
    return [
        *found,
        given(
            MASE,
            SOURCE,
            title="Error of forecasts",
            description="Mean absolute error as a multiple of that of the value a season before; below 1 is better",
            **about,
        ),
        given(
            COVERAGE,
            SOURCE,
            title="Coverage of forecasts",
            description="Share of the values that were between the lower and the upper end",
            **about,
        ),
        given(
            WORST_COVERAGE,
            SOURCE,
            title="Worst coverage of forecasts",
            description="The same in the worst stretch of 500 windows",
            **about,
        ),
    ]


def _given_of(metric: Metric, windows: list[str]) -> list[GivenMetric]:
    title = metric.title or metric.name.replace("_", " ").capitalize()
    about: dict[str, Any] = {"of": metric.name, "windows": windows, "unit": metric.unit}
    return [
        given(
            metric.name + FORECAST,
            SOURCE,
            title=f"{title}, forecast",
            by=[*metric.by, HORIZON],
            values=VALUES,
            ahead=HORIZON,
            **about,
        ),
        given(metric.name + RESIDUAL, SOURCE, title=f"{title}, beside its forecast", by=list(metric.by), **about),
    ]


def names_given(raw: Mapping[str, Any]) -> list[str]:
    """Names of the metrics that the forecasts of a catalog bring, as TOML has them, however wrong it is elsewhere."""
    names = [table.get("metric") for table in tables_of(raw, "forecast")]
    found = [name + end for name in names if isinstance(name, str) for end in (FORECAST, RESIDUAL)]
    return [*found, MASE, COVERAGE, WORST_COVERAGE] if found else []


def check_forecasts(raw: Mapping[str, Any], metrics: Mapping[str, Metric | None], problems: list[Problem]) -> None:
    """Add what is wrong with the forecasts of a catalog, as TOML has them, beyond what each says of itself.

    `metrics` has the metrics that the catalog declares by name, None where one is itself so wrong that nothing can be
    said about its forecasts.
    """
    known: set[str] = set()
    for number, table in enumerate(tables_of(raw, "forecast")):
        try:
            forecast = Forecast.model_validate(table)
        except ValidationError:
            continue
        where = key_of(("forecast", number), raw)
        if forecast.called in known:
            expected = "one forecast of each metric and window"
            problems.append(Problem(f"{where}.window", expected, f"{forecast.called!r} again"))
        known.add(forecast.called)
        mistakes = _mistakes(forecast, metrics)
        problems.extend(Problem(f"{where}.{key}", expected, found) for key, expected, found in mistakes)


def _mistakes(forecast: Forecast, metrics: Mapping[str, Metric | None]) -> Iterator[Mistake]:
    builtin = {metric.name for metric in BUILTIN_METRICS}
    declared = {name: metric for name, metric in metrics.items() if name not in builtin}
    yield from mistakes_of_choice(forecast.metric, forecast.window, forecast.key, forecast.dimensions, declared)
    metric = declared.get(forecast.metric)
    if metric is None:
        return
    if HORIZON in metric.by:
        yield "metric", f"one without a dimension {HORIZON}, which that of its forecasts is", repr(metric.name)
    if len(metric.name + FORECAST) > _LONGEST_NAME:
        most = _LONGEST_NAME - len(FORECAST)
        yield "metric", f"a name of at most {most} letters, as its forecasts need one of their own", repr(metric.name)
    if forecast.window in metric.windows:
        yield from _about_time(forecast, window_of(forecast.window, _UTC))


def _about_time(forecast: Forecast, window: Window) -> Iterator[Mistake]:
    if window.span > 1:
        yield "window", "one that does not slide: the next of those is nearly the same", repr(forecast.window)
        return
    if forecast.season is None:
        return
    seasons_ms = forecast.seasons_ms(window)
    for season_ms in seasons_ms:
        if season_ms % window.about_ms or season_ms < 2 * window.about_ms:
            yield "season", f"at least two whole windows of {window.name}, or off", repr(forecast.season)
        elif season_ms > _LONGEST_SEASON_MS:
            yield "season", "at most 400d", repr(forecast.season)
    if seasons_ms and seasons_ms[-1] % seasons_ms[0]:
        yield "season", "a second season of which the first is a part, such as a week of days", repr(forecast.season)
