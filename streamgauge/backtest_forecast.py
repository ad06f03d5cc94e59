"""What would have been forecast of a series of the past, and how good that would have been."""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TextIO

from models.forecast import Forecast, Forecaster
from models.forecast_quality import BLOCK, ForecastQuality, Tally
from sinks.records import iso
from streamgauge.series_file import SeriesRow

COLUMNS = ("timestamp", "value", "horizon", "forecast", "lower", "upper")
MOST_HOLES = 10_000_000
"""Windows without a row, beyond which it is rather the width that is wrong."""
_WIDTHS = (8, 12, 12, 12, 10, 8, 9, 11)


class ForecastBacktestError(ValueError):
    """A series that cannot be forecast. Says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Told:
    """A row, and what was said of it before: for each horizon so many windows ago; None where nothing was."""

    row: SeriesRow
    forecasts: tuple[Forecast | None, ...]


@dataclass(slots=True)
class Judgement:
    """What was forecast of one horizon, of all windows that have a value from when the forecaster was warm."""

    horizon: int
    quality: ForecastQuality
    """Beside the seasonal naive forecast, the value a season before."""
    seasonal_mae: float
    """Of the same windows; NaN without a season."""
    naive_mae: float
    """Of the last value that was known when the forecast was made; of the same windows."""

    @property
    def is_better(self) -> bool | None:
        """Than seasonal naive, or without a season than naive; None where it cannot be told."""
        relative = self.quality.relative
        return None if math.isnan(relative) else relative < 1.0


@dataclass(slots=True)
class Series:
    """Rows of a file on a grid of windows."""

    rows: list[SeriesRow]
    places: list[int]
    """The window of each row, from 0, rising."""
    step_ms: int
    repeated: int
    """Rows left out, as their window has one already, or their time goes back."""

    @property
    def holes(self) -> int:
        """Windows without a row."""
        return self.places[-1] + 1 - len(self.places) if self.places else 0


@dataclass(slots=True)
class Trial:
    """What came of it."""

    judgements: list[Judgement] = field(default_factory=list)
    warm_ms: int | None = None
    """The first row that the forecaster was believed at."""


def on_grid(rows: Iterable[SeriesRow], step_ms: int | None = None) -> Series:
    """Find the window of each row, of that width or as wide as rows are usually apart.

    A row is as many windows after the one before as fits best, so that times need not be exact. One that is less than
    half a window after it is left out. Raises ForecastBacktestError where no width can be told, or holes are absurd.
    """
    found = list(rows)
    if step_ms is None:
        apart = [gap for a, b in pairwise(found) if (gap := b.time_ms - a.time_ms) > 0]
        if found and not apart:
            raise ForecastBacktestError("expected rows of different times, or --window; found no two")
        step_ms = round(median(apart)) if apart else 1
    kept: list[SeriesRow] = []
    places: list[int] = []
    for row in found:
        after = round((row.time_ms - kept[-1].time_ms) / step_ms) if kept else 1
        if after < 1:
            continue
        kept.append(row)
        places.append(places[-1] + after if places else 0)
    series = Series(kept, places, step_ms, len(found) - len(kept))
    if series.holes > MOST_HOLES:
        raise ForecastBacktestError(
            f"expected rows about {step_ms / 1_000:g} s apart, found {series.holes:,} windows without one; try --window"
        )
    return series


def forecast(series: Series, forecaster: Forecaster, trial: Trial) -> Iterator[Told]:
    """Show the forecaster each window, a hole for those without a row, and tell what it had said of each row.

    `trial` is filled at the end. What it is judged by is counted here, from the rows, and not taken from the
    forecaster: each window of each horizon counts, and the season is looked up in the file.
    """
    horizons = forecaster.horizons
    season = round(forecaster.season_s[0] / forecaster.step_s) if forecaster.season_s else 0
    season = season if season >= 2 else 0
    said: list[deque[Forecast | None]] = [deque([None] * horizon, maxlen=horizon) for horizon in horizons]
    ago = _Ago(season, horizons)
    tallies = [Tally() for _ in horizons]
    naive, seasonal = [0.0] * len(horizons), [0.0] * len(horizons)
    at = 0
    for row, place in zip(series.rows, series.places, strict=True):
        while at < place:
            _pass(forecaster, said, ago, math.nan)
            at += 1
        told = tuple(waiting[0] for waiting in said)
        yield Told(row, told)
        if forecaster.warm and not math.isnan(row.value):
            trial.warm_ms = row.time_ms if trial.warm_ms is None else trial.warm_ms
            for index, one in enumerate(told):
                if one is None:
                    continue
                off_naive = abs(row.value - ago.naive(index))
                off_seasonal = abs(row.value - ago.seasonal(index)) if season else math.nan
                baseline = off_seasonal if season else off_naive
                if baseline == baseline:
                    tallies[index].count(abs(row.value - one.value), baseline, one.lower <= row.value <= one.upper)
                    naive[index] += off_naive
                    seasonal[index] += off_seasonal
        _pass(forecaster, said, ago, row.value)
        at += 1
    for index, horizon in enumerate(horizons):
        quality = tallies[index].told(ago.usual_error)
        steps = quality.steps or math.nan
        trial.judgements.append(Judgement(horizon, quality, seasonal[index] / steps, naive[index] / steps))


def _pass(forecaster: Forecaster, said: Sequence[deque[Forecast | None]], ago: _Ago, value: float) -> None:
    """A window is over."""
    forecaster.learn_one(value)
    ago.learn(value)
    found = {one.horizon: one for one in forecaster.forecasts()}
    for horizon, waiting in zip(forecaster.horizons, said, strict=True):
        waiting.append(found.get(horizon))


class _Ago:
    """What the value of the window to come was the last time that it was known: as of the horizon, and a season ago."""

    def __init__(self, season: int, horizons: Sequence[int]) -> None:
        self._season = season
        self._horizons = horizons
        self._values: list[float] = []
        self._known: list[float] = []
        """The last known value after each window."""
        self._off: list[float] = [0.0, 0.0]

    @property
    def usual_error(self) -> float:
        """Mean absolute difference from a season before; without a season from the value before."""
        count, total = self._off
        return total / count if count else math.nan

    def naive(self, index: int) -> float:
        place = len(self._values) - self._horizons[index]
        return self._known[place] if place >= 0 else math.nan

    def seasonal(self, index: int) -> float:
        """The last known value at that phase, of those that were there when the forecast was made."""
        place = len(self._values) - self._season
        while place > len(self._values) - self._horizons[index]:
            place -= self._season
        while place >= 0:
            value = self._values[place]
            if value == value:
                return value
            place -= self._season
        return math.nan

    def learn(self, value: float) -> None:
        before = self._known[-1] if self._known else math.nan
        off = abs(value - self._phase()) if self._season else abs(value - before)
        if off == off:
            self._off[0] += 1
            self._off[1] += off
        self._values.append(value)
        self._known.append(before if value != value else value)

    def _phase(self) -> float:
        place = len(self._values) - self._season
        while place >= 0:
            if self._values[place] == self._values[place]:
                return self._values[place]
            place -= self._season
        return math.nan


def write_forecasts(told: Iterable[Told], horizons: Sequence[int], file: TextIO) -> None:
    """A row for each row and horizon, time and value as they were, and nothing where nothing was said."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in told:
        for horizon, one in zip(horizons, each.forecasts, strict=True):
            numbers = ("", "", "") if one is None else (repr(one.value), repr(one.lower), repr(one.upper))
            writer.writerow((each.row.timestamp, each.row.shown, horizon, *numbers))


def report(series: Series, forecaster: Forecaster, trial: Trial, seconds: float) -> Iterator[str]:
    """The result, for people."""
    rows = series.rows
    if not rows:
        yield "no rows"
        return
    yield f"rows        {len(rows):,}, {iso(rows[0].time_ms)} to {iso(rows[-1].time_ms)}"
    yield f"window      {_span(series.step_ms / 1_000)}"
    missing = sum(math.isnan(row.value) for row in rows)
    for count, what in (
        (series.holes, "windows without a row"),
        (missing, "rows without a value"),
        (series.repeated, "rows left out: their window has one already, or their time goes back"),
    ):
        if count:
            yield f"            {count:,} {what}"
    seasons = ", ".join(map(_span, forecaster.season_s)) or "none"
    warm = "never warm" if trial.warm_ms is None else f"warm at {iso(trial.warm_ms)}"
    yield f"season      {seasons}; {warm}"
    yield f"speed       {len(rows) / max(seconds, 1e-9):,.0f} rows a second"
    if trial.warm_ms is None:
        yield "too short to tell how good: it takes a season, and then a hundred values of each horizon"
        return
    baseline = "seasonal naive" if forecaster.season_s else "naive"
    yield f"windows ahead, mean absolute errors, coverage of {forecaster.coverage:.0%} intervals:"
    heads = ("", "forecast", "seasonal", "naive", "relative", "MASE", "covered", f"worst {BLOCK}")
    yield "".join(f"{head:>{width}}" for head, width in zip(heads, _WIDTHS, strict=True))
    for one in trial.judgements:
        quality = one.quality
        cells = (
            str(one.horizon),
            *map(_number, (quality.mae, one.seasonal_mae, one.naive_mae)),
            *map(_ratio, (quality.relative, quality.mase)),
            *map(_share, (quality.coverage, quality.worst_coverage)),
        )
        yield "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    for one in trial.judgements:
        if one.is_better is None:
            yield f"{one.horizon} ahead: cannot be told from {baseline}"
        elif not one.is_better:
            yield f"{one.horizon} ahead: not better than {baseline}"


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1%}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
