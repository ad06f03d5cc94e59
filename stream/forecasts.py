"""Closed windows in, forecasts out: one forecaster for each series of each `[[forecast]]`."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from models.base import ModelError
from models.forecast import Forecaster
from sinks.alert_records import stable_id
from sinks.records import Dimensions, Point, State
from sinks.score_records import ModelStatus
from stream.batches import Emission
from stream.catalog import Catalog
from stream.clock import END_MS, NEVER_MS
from stream.derived import ZERO_WITHOUT_EVENTS
from stream.durations import DAY_MS, MINUTE_MS, SECOND_MS
from stream.forecast import (
    COVERAGE,
    FORECAST,
    HORIZON,
    MASE,
    OF,
    RESIDUAL,
    SOURCE,
    WORST_COVERAGE,
    Forecast,
    is_above_zero,
)
from stream.plan import Plan, planned
from stream.snapshots import pack_state, unpack_state
from stream.walk import Path, Visit, Walk

logger = logging.getLogger(__name__)

STATE_VERSION = 1
_STATUS_EVERY_MS = MINUTE_MS
_MOST_SILENT = 5_000
"""Windows: when events come again after a weekend, all that are between close at once, and each costs points."""
_FIGURES = {MASE: "mase", COVERAGE: "coverage", WORST_COVERAGE: "worst_coverage"}
"""Metrics of how good forecasts are, by what the model calls the figure."""
_TOLD = ("mase", "relative", "recent", "coverage", "worst_coverage")


class Learned:
    """What is known of one series: the model, and what it said of the windows that are to come next."""

    __slots__ = ("expected", "model", "next_ms", "samples")

    def __init__(self, model: Forecaster) -> None:
        self.model = model
        self.next_ms: int | None = None
        """Start of the window that the model has to see next; None before the first."""
        self.samples = 0
        """Windows with a value that it has learned from."""
        self.expected: list[float] = []
        """Values of the nearest horizon, for as many windows as it reaches, the next one first; NaN for none."""

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode((self.model.to_bytes(), self.next_ms, self.samples, self.expected))


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast, compiled against the metric that it is of."""

    forecast: Forecast
    identity: str
    """Changes when what has been learned is of something else."""
    path: Path
    above_zero: bool

    @property
    def grain_ms(self) -> int:
        """Windows end at multiples of it only."""
        return self.path.window.grain_ms

    def make(self) -> Learned:
        """What knows nothing of a series yet."""
        window = self.path.window
        return Learned(
            Forecaster(
                self.forecast.ahead,
                season_s=[season_ms / SECOND_MS for season_ms in self.forecast.seasons_ms(window)],
                step_s=window.about_ms / SECOND_MS,
                coverage=self.forecast.coverage,
                non_negative=self.above_zero,
            )
        )

    def unpack(self, raw: bytes) -> Learned:
        """The inverse of `Learned.to_bytes`. Raises ValueError."""
        try:
            model, next_ms, samples, expected = msgspec.msgpack.decode(raw)
        except (msgspec.DecodeError, TypeError, ValueError) as error:
            raise ModelError(f"not the state of a forecast: {error}") from error
        learned = Learned(Forecaster.from_bytes(model))
        learned.next_ms, learned.samples, learned.expected = next_ms, samples, expected
        return learned


def outlooks(catalog: Catalog, plan: Plan) -> dict[str, list[Outlook]]:
    """The forecasts of a catalog by the key of the cube that their metrics are in; cubes without any are left out."""
    metrics = {metric.name: metric for metric in catalog.metric}
    found: dict[str, list[Outlook]] = {}
    for forecast in catalog.forecast:
        metric = metrics[forecast.metric]
        cube, meaning = planned(plan, metric.name)
        window = next(window for window in cube.windows if window.name == forecast.window)
        path = Path(
            name=f"forecast {forecast.called}",
            metric=metric.name,
            window=window,
            dimensions=forecast.dimensions,
            max_series=forecast.max_series,
            zero=metric.measure in ZERO_WITHOUT_EVENTS,
            key=None if forecast.key is None else metric.key_of(forecast.key),
            most_silent=_MOST_SILENT,
        )
        above_zero = is_above_zero(metric, metrics)
        about = (meaning, path.key, forecast.ahead, forecast.seasons_ms(window), forecast.coverage, above_zero)
        found.setdefault(cube.key, []).append(Outlook(forecast, stable_id(*about), path, above_zero))
    return found


def source_of(cube: str) -> str:
    """Under which key the points are told that the forecasts over a cube give."""
    return f"{SOURCE}|{cube}"


@dataclass(frozen=True, slots=True)
class Foretold:
    """What the forecasts over one cube say of the windows that closed."""

    emission: Emission
    """Also without points: how far they have come."""
    statuses: list[ModelStatus]


@dataclass(slots=True)
class _Quality:
    """How good the series were when one window had closed: by horizon and figure."""

    figures: dict[int, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, horizon: int, figure: str, value: float) -> None:
        if math.isfinite(value):
            self.figures.setdefault(horizon, {}).setdefault(figure, []).append(value)

    def means(self) -> dict[int, dict[str, float]]:
        """Over the series, in whichever order they came."""
        return {
            horizon: {figure: math.fsum(values) / len(values) for figure, values in figures.items()}
            for horizon, figures in sorted(self.figures.items())
        }


class _Running:
    """One forecast, its series, and what was last known of how good it is."""

    def __init__(self, outlook: Outlook) -> None:
        self.outlook = outlook
        self.walk = Walk(outlook.path, outlook.make)
        self.told_ms = 0
        """When it was last said how it stands, in event time."""


class Forecasts:
    """The forecasts over one cube.

    Each window is learned once, when it closes: with the value it has then, 0 where a count had no events, none where
    another measure had none. What is corrected later is not learned again.

    *Guarantee*: the same windows give the same points, in any order of points within a batch, however they are cut
    into batches, and over restarts. A point of a window to come is said once and never again, so it is final.
    *Cost*: that of the model for each window, and its bytes for each snapshot in which one closed.
    """

    def __init__(self, outlooks: Sequence[Outlook]) -> None:
        self._running = [_Running(outlook) for outlook in outlooks]
        self._grain_ms = math.gcd(*(outlook.grain_ms for outlook in outlooks)) or DAY_MS

    def take(self, points: Iterable[Point], watermark_ms: int, until_ms: int | None = None) -> Foretold:
        """Learn the windows that closed: those of `points`, and those that passed without events. No other window
        ends up to `until_ms`, where that is known."""
        points = list(points)
        said: list[Point] = []
        statuses: list[ModelStatus] = []
        for running in self._running:
            quality: dict[int, _Quality] = {}
            end_ms = 0
            for visit in running.walk.over(points, watermark_ms):
                if not visit.falls_silent:
                    said.extend(_learn(running, visit, quality.setdefault(visit.start_ms, _Quality()), watermark_ms))
                    end_ms = max(end_ms, visit.end_ms)
            for start_ms in sorted(quality):
                said.extend(_about_quality(running.outlook, start_ms, quality[start_ms], watermark_ms))
            if end_ms // _STATUS_EVERY_MS > running.told_ms // _STATUS_EVERY_MS:
                running.told_ms = end_ms
                statuses.append(_status(running, quality[max(quality)], end_ms))
        if until_ms is None and NEVER_MS < watermark_ms < END_MS:
            # Rules over other metrics are not to wait for a window that ends in an hour, or a day.
            until_ms = (watermark_ms // self._grain_ms + 1) * self._grain_ms - 1
        return Foretold(Emission(said, said, watermark_ms=watermark_ms, until_ms=until_ms), statuses)

    def to_bytes(self) -> bytes:
        state = {
            running.outlook.forecast.called: {
                "identity": running.outlook.identity,
                "told_ms": running.told_ms,
                "series": running.walk.to_state(Learned.to_bytes),
            }
            for running in self._running
        }
        return pack_state(STATE_VERSION, {"forecasts": state})

    def restore(self, snapshot: bytes) -> None:
        """Take over a snapshot. Forecasts of something else now begin to learn anew, and the log says so."""
        state: Mapping[str, Any] = unpack_state(snapshot, STATE_VERSION)["forecasts"]
        for running in self._running:
            outlook = running.outlook
            found = state.get(outlook.forecast.called)
            if found is None:
                continue
            if found["identity"] != outlook.identity:
                logger.warning("forecast %s is of something else now, and learns anew", outlook.forecast.called)
                continue
            running.told_ms = found["told_ms"]
            running.walk.restore(found["series"], outlook.unpack)


def _learn(running: _Running, visit: Visit[Learned], quality: _Quality, watermark_ms: int) -> list[Point]:
    """Show a window to the model, and say how far it was off and what it says of the windows to come."""
    outlook, learned = running.outlook, visit.series.learned
    path, forecast = outlook.path, outlook.forecast
    value = path.value(visit.point)
    try:
        _catch_up(outlook, learned, visit.start_ms)
        expected = learned.expected.pop(0) if learned.expected else math.nan
        learned.model.learn_one(value)
        learned.samples += math.isfinite(value)
        learned.next_ms = path.window.next_ms(visit.start_ms)
        said = learned.model.forecasts()
        nearest = {one.horizon: one.value for one in said}.get(forecast.ahead[0], math.nan)
        learned.expected += [math.nan] * (forecast.ahead[0] - 1 - len(learned.expected)) + [nearest]
        for horizon in forecast.ahead:
            found = learned.model.quality(horizon)
            for figure in _TOLD:
                quality.add(horizon, figure, getattr(found, figure))
    except Exception:
        # A bug, and one series' only: raised here it would end the run, and end it again after each restart.
        logger.exception("%s learns %s anew: it cannot learn %r", path.name, dict(visit.dimensions), value)
        running.walk.relearn(visit.series)
        return []

    def point(name: str, ahead: int, dimensions: Dimensions, value: float | Mapping[str, float]) -> Point:
        start_ms = path.window.on_ms(visit.start_ms, ahead)
        # As many windows as it was learned from. Nothing of it depends on when it was said.
        count = learned.samples
        return Point(name, path.window.name, start_ms, dimensions, value, count, State.FINAL, 1, watermark_ms)

    points = [
        point(
            path.metric + FORECAST,
            one.horizon,
            (*visit.dimensions, (HORIZON, str(one.horizon))),
            {"value": one.value, "lower": one.lower, "upper": one.upper},
        )
        for one in said
    ]
    if math.isfinite(value - expected):
        points.append(point(path.metric + RESIDUAL, 0, visit.dimensions, value - expected))
    return points


def _catch_up(outlook: Outlook, learned: Learned, start_ms: int) -> None:
    """Have the model pass the windows in which nobody looked at a series that had been silent for long, so that it
    knows where in the season it is, and holds nothing that it said before against what comes now."""
    if learned.next_ms is None or learned.next_ms >= start_ms:
        return
    learned.expected = []
    learned.model.skip(outlook.path.window.between(learned.next_ms, start_ms))


def _about_quality(outlook: Outlook, start_ms: int, quality: _Quality, watermark_ms: int) -> list[Point]:
    """How good the forecasts were once a window had closed, as means over the series."""
    return [
        Point(
            name,
            outlook.path.window.name,
            start_ms,
            ((OF, outlook.forecast.metric), (HORIZON, str(horizon))),
            means[figure],
            len(quality.figures[horizon][figure]),
            State.FINAL,
            1,
            watermark_ms,
        )
        for horizon, means in quality.means().items()
        for name, figure in _FIGURES.items()
        if figure in means
    ]


def _status(running: _Running, quality: _Quality, at_ms: int) -> ModelStatus:
    outlook, means = running.outlook, quality.means()
    series = [one for one in running.walk.series.values() if not one.dormant]
    packed = running.walk.to_state(Learned.to_bytes)
    relative = [means.get(horizon, {}).get("relative", math.inf) for horizon in outlook.forecast.ahead]
    return ModelStatus(
        name=outlook.path.name,
        kind=SOURCE,
        at_ms=at_ms,
        version=1,
        samples=sum(one.learned.samples for one in series),
        proven=max(relative) < 1,
        state_bytes=sum(len(row[-1]) for row in packed),
        quality={
            "series": len(series),
            "asked_coverage": outlook.forecast.coverage,
            "horizons": {str(horizon): figures for horizon, figures in means.items()},
        },
    )
