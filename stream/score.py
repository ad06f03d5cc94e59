"""Closed windows in, scores out: one detector for each series of each rule."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from models.base import Detector
from models.registry import detector_class
from sinks.alert_records import Scored
from sinks.records import Point
from stream.alerts import ScoredBatch
from stream.catalog import Catalog
from stream.clock import END_MS, NEVER_MS
from stream.derived import ZERO_WITHOUT_EVENTS
from stream.durations import DAY_MS
from stream.metrics import GivenMetric, Metric
from stream.plan import Plan, planned
from stream.rules import Lifecycle, Rule, identity, lifecycle
from stream.snapshots import pack_state, unpack_state
from stream.walk import Path, Visit, Walk
from stream.windows import Window, window_of

logger = logging.getLogger(__name__)

STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Watch:
    """A rule, compiled against the metric that it is about."""

    rule: Rule
    life: Lifecycle
    path: Path
    given: bool = False
    """Whether a model gives its points: they come when they are known, not with the moments at which windows end."""
    settles_ms: int = 0
    """How long after its end a window is known, and judged."""

    @property
    def grain_ms(self) -> int:
        """Windows end, or what is given of them comes, at multiples of it only."""
        return 1 if self.given else self.path.window.grain_ms


def watches(catalog: Catalog, plan: Plan) -> dict[str, list[Watch]]:
    """The rules of a catalog by the key of what says the points of their metrics: a cube, or a model's stage; those
    without any are left out."""
    metrics = {metric.name: metric for metric in catalog.every_metric}
    found: dict[str, list[Watch]] = {}
    for rule in catalog.anomaly:
        metric = metrics[rule.metric]
        sources, meaning, windows = _sources(plan, metric, catalog.platform.zone)
        window = next(window for window in windows if window.name == rule.window)
        for source in sources:
            found.setdefault(source, []).append(_watch(rule, metric, window, meaning, catalog.platform.name))
    return found


def lifecycles(by_cube: Mapping[str, Sequence[Watch]], catalog: Catalog) -> dict[str, Lifecycle]:
    """How the episodes of each rule go, in the order of the catalog."""
    lives = {watch.life.rule: watch.life for some in by_cube.values() for watch in some}
    return {rule.called: lives[rule.called] for rule in catalog.anomaly}


def _sources(plan: Plan, metric: Metric, zone: ZoneInfo) -> tuple[list[str], str, list[Window]]:
    """Who says the points of a metric, what changes when it means something else, and its windows."""
    if not isinstance(metric, GivenMetric):
        cube, meaning = planned(plan, metric.name)
        return [cube.key], meaning, cube.windows
    windows = [window_of(text, zone) for text in metric.windows]
    if metric.of is not None:
        cube, meaning = planned(plan, metric.of)
        return [f"{metric.source}|{cube.key}"], f"{metric.source} {meaning}", windows
    # Each says those of its own metrics, and they have no series in common.
    cubes = {planned(plan, name)[0].key: None for name in metric.among}
    return [f"{metric.source}|{key}" for key in cubes] or [metric.source], metric.source, windows


def _watch(rule: Rule, metric: Metric, window: Window, meaning: str, platform: str) -> Watch:
    step_ms = window.about_ms // window.span
    life = replace(lifecycle(rule, identity(rule, meaning), window.about_ms, step_ms), platform=platform)
    path = Path(
        name=f"rule {rule.called}",
        metric=rule.metric,
        window=window,
        dimensions=rule.dimensions,
        max_series=rule.max_series,
        zero=metric.measure in ZERO_WITHOUT_EVENTS,
        key=None if rule.key is None else metric.key_of(rule.key),
        ahead=metric.ahead if isinstance(metric, GivenMetric) else None,
    )
    if not isinstance(metric, GivenMetric):
        return Watch(rule, life, path)
    return Watch(rule, life, path, given=True, settles_ms=metric.settles_ms)


class Scorer:
    """The detectors of the rules over one cube.

    Each window is judged once, when it closes: with the value it has then, 0 where a count had no events, none where
    another measure had none. What is corrected later is not judged again, as an alert cannot be unsent.

    *Guarantee*: every window of a watched series is judged exactly once and in order, in any order of points within a
    batch. *Cost*: that of the detector for each window, and its bytes for each snapshot in which one closed.
    """

    def __init__(self, source: str, watched: Sequence[Watch]) -> None:
        self._source = source
        self._walks = [(watch, Walk(watch.path, watch.rule.make)) for watch in watched]
        self._grain_ms = math.gcd(*(watch.grain_ms for watch in watched)) or DAY_MS
        self._settles_ms = max((watch.settles_ms for watch in watched), default=0)

    def take(self, points: Iterable[Point], watermark_ms: int, until_ms: int | None = None) -> ScoredBatch:
        """Judge the windows that closed: those of `points`, and those that passed without events. No other window ends
        up to `until_ms`, where that is known."""
        batch = ScoredBatch(self._source, *self._come(watermark_ms, until_ms))
        points = list(points)
        for watch, walk in self._walks:
            for visit in walk.over(points, watermark_ms):
                known_ms = visit.end_ms + watch.settles_ms
                if visit.falls_silent:
                    batch.gone.append((known_ms, watch.life.rule, visit.dimensions))
                else:
                    batch.rows.append((known_ms, self._judge(watch, walk, visit)))
        return batch

    def _come(self, watermark_ms: int, until_ms: int | None) -> tuple[int, int]:
        """How far it has come, and up to when nothing has to wait for it, as others are to see it."""
        if not NEVER_MS < watermark_ms < END_MS:
            return watermark_ms, watermark_ms
        if until_ms is None:
            until_ms = (watermark_ms // self._grain_ms + 1) * self._grain_ms - 1
        return watermark_ms + self._settles_ms, until_ms + self._settles_ms

    def _judge(self, watch: Watch, walk: Walk[Detector], visit: Visit[Detector]) -> Scored:
        point, detector = visit.point, visit.series.learned
        silent = point is None and detector.takes_silence
        value = math.nan if silent else watch.path.value(point)
        row = {"value": value, "time": visit.start_ms / 1_000}
        try:
            score = detector.score_one(row)
            # Asked before it learns: afterwards it would say what it expects having seen this.
            expected, warm, why = detector.expected, detector.warm, _why(watch, detector, score)
            detector.learn_one(row)
        except Exception:
            # A bug, and one series' only: raised here it would end the run, and end it again after each restart.
            logger.exception("rule %s learns %s anew: it cannot judge %r", watch.life.rule, dict(visit.dimensions), row)
            walk.relearn(visit.series)
            score, expected, warm, why = 0.0, None, False, ""
        return Scored(
            rule=watch.life.rule,
            metric=watch.rule.metric,
            window=watch.path.window.name,
            start_ms=visit.start_ms,
            dimensions=visit.dimensions,
            value=value if math.isfinite(value) else None,
            # Of nothing a limit gives the least there is, which is no figure to show.
            score=score if math.isfinite(value) or detector.takes_silence else 0.0,
            warm=warm,
            anomalous=warm and score >= watch.life.opens,
            expected=None if expected is None else expected.value,
            lower=None if expected is None else expected.lower,
            upper=None if expected is None else expected.upper,
            why=why,
            events=0 if point is None else point.count,
        )

    def to_bytes(self) -> bytes:
        rules = {
            watch.life.rule: {"identity": watch.life.identity, "series": walk.to_state(Detector.to_bytes)}
            for watch, walk in self._walks
        }
        return pack_state(STATE_VERSION, {"rules": rules})

    def restore(self, snapshot: bytes) -> None:
        """Take over a snapshot. Rules that are about something else now begin to learn anew, and the log says so."""
        rules: dict[str, Any] = unpack_state(snapshot, STATE_VERSION)["rules"]
        for watch, walk in self._walks:
            name = watch.life.rule
            found = rules.get(name)
            if found is None:
                continue
            if found["identity"] != watch.life.identity:
                logger.warning("rule %s is about something else now, and learns anew", name)
                continue
            walk.restore(found["series"], detector_class(watch.rule.detector).from_bytes)


def _why(watch: Watch, detector: Detector, score: float) -> str:
    """What the detector says, with the limit that it has reached where it knows none of its own."""
    reached = [limit for _, limit in watch.life.limits if score >= limit]
    if detector.learns or not reached:
        return detector.why
    return f"{detector.why} (limit {reached[-1] * detector.orientation:g})"
