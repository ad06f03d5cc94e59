"""Closed windows in, scores out: one detector for each series of each rule."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from models.base import Detector, ModelError
from models.registry import detector_class
from sinks.alert_records import Scored
from sinks.records import Dimensions, Point, State
from stream.alerts import ScoredBatch
from stream.catalog import Catalog
from stream.clock import END_MS, NEVER_MS
from stream.derived import ZERO_WITHOUT_EVENTS
from stream.durations import DAY_MS
from stream.metrics import GivenMetric, Metric
from stream.plan import CubePlan, Plan
from stream.rules import Lifecycle, Rule, identity, lifecycle, matches
from stream.snapshots import pack_state, unpack_state
from stream.windows import Fixed, Window, window_of

logger = logging.getLogger(__name__)

STATE_VERSION = 1
_DORMANT_MS = 3 * DAY_MS
_DORMANT_WINDOWS = 100
"""A series without events for so long, whichever is longer, is watched no more until one comes."""
_FORGOTTEN_MS = 60 * DAY_MS
"""After so long what was learned of it is forgotten as well."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A rule, compiled against the metric that it is about."""

    rule: Rule
    life: Lifecycle
    window: Window
    zero: bool
    """Whether the metric is 0 in a window without events; otherwise it has no value then."""
    key: str | None
    """Which value of a quantile's."""

    @property
    def key_of_points(self) -> tuple[str, str]:
        return self.rule.metric, self.window.name

    def next_ms(self, start_ms: int) -> int:
        """Start of the window after the one that starts then."""
        return self._on(start_ms, 1)

    def end_ms(self, start_ms: int) -> int:
        return self._on(start_ms, self.window.span)

    def _on(self, start_ms: int, panes: int) -> int:
        division = self.window.panes
        if isinstance(division, Fixed):
            return start_ms + panes * division.width_ms
        start_s = np.array([start_ms // 1_000])
        for _ in range(panes):
            start_s = division.next_s(start_s)
        return int(start_s[0]) * 1_000

    @property
    def grain_ms(self) -> int:
        """Windows end at multiples of it only."""
        return self.window.panes.grain_ms or DAY_MS

    @property
    def dormant_ms(self) -> int:
        return max(_DORMANT_MS, _DORMANT_WINDOWS * self.window.about_ms)


def watches(catalog: Catalog, plan: Plan) -> dict[str, list[Watch]]:
    """The rules of a catalog by the key of what says the points of their metrics: a cube, or a model's stage; those
    without any are left out."""
    metrics = {metric.name: metric for metric in catalog.every_metric}
    found: dict[str, list[Watch]] = {}
    for rule in catalog.anomaly:
        metric = metrics[rule.metric]
        source, meaning, windows = _source(plan, metric, catalog.platform.zone)
        window = next(window for window in windows if window.name == rule.window)
        found.setdefault(source, []).append(_watch(rule, metric, window, meaning, catalog.platform.name))
    return found


def lifecycles(by_cube: Mapping[str, Sequence[Watch]], catalog: Catalog) -> dict[str, Lifecycle]:
    """How the episodes of each rule go, in the order of the catalog."""
    lives = {watch.life.rule: watch.life for some in by_cube.values() for watch in some}
    return {rule.called: lives[rule.called] for rule in catalog.anomaly}


def _source(plan: Plan, metric: Metric, zone: ZoneInfo) -> tuple[str, str, list[Window]]:
    """Who says the points of a metric, what changes when it means something else, and its windows."""
    if isinstance(metric, GivenMetric):
        windows = [window_of(text, zone) for text in metric.windows]
        if metric.of is None:
            return metric.source, metric.source, windows
        cube, meaning = planned(plan, metric.of)
        return f"{metric.source}|{cube.key}", f"{metric.source} {meaning}", windows
    cube, meaning = planned(plan, metric.name)
    return cube.key, meaning, cube.windows


def planned(plan: Plan, name: str) -> tuple[CubePlan, str]:
    """The cube of a metric, and what changes when it means something else."""
    for cube in plan.all_cubes:
        fingerprints = {metric.name: metric.fingerprint for metric in cube.metrics}
        fingerprints |= {derived.name: derived.fingerprint for derived in cube.derived}
        if name in fingerprints:
            return cube, fingerprints[name]
    raise KeyError(name)


def _watch(rule: Rule, metric: Metric, window: Window, meaning: str, platform: str) -> Watch:
    step_ms = window.about_ms // window.span
    return Watch(
        rule=rule,
        life=replace(lifecycle(rule, identity(rule, meaning), window.about_ms, step_ms), platform=platform),
        window=window,
        zero=metric.measure in ZERO_WITHOUT_EVENTS,
        key=None if rule.key is None else metric.key_of(rule.key),
    )


@dataclass(slots=True)
class _Series:
    detector: Detector
    next_ms: int
    """Start of the first window that has not been judged."""
    data_ms: int
    """End of the last window that had events."""
    dormant: bool = False
    packed: bytes | None = field(default=None, repr=False)
    """The detector's state, as long as it has not changed: most windows are long, and snapshots frequent."""


class Scorer:
    """The detectors of the rules over one cube.

    Each window is judged once, when it closes: with the value it has then, 0 where a count had no events, none where
    another measure had none. What is corrected later is not judged again, as an alert cannot be unsent.

    *Guarantee*: every window of a watched series is judged exactly once and in order, in any order of points within a
    batch. *Cost*: that of the detector for each window, and its bytes for each snapshot in which one closed.
    """

    def __init__(self, source: str, watched: Sequence[Watch]) -> None:
        self._source = source
        self._watches = list(watched)
        self._series: dict[str, dict[Dimensions, _Series]] = {watch.life.rule: {} for watch in watched}
        self._by_points: dict[tuple[str, str], list[Watch]] = {}
        for watch in watched:
            self._by_points.setdefault(watch.key_of_points, []).append(watch)
        self._full: set[str] = set()
        """Rules all of whose series are watched, as far as is known."""
        self._crowded: set[str] = set()
        """Rules with more series than they watch, of which the log has said so."""

    def take(self, points: Iterable[Point], watermark_ms: int) -> ScoredBatch:
        """Judge the windows that closed: those of `points`, and those that passed without events."""
        batch = ScoredBatch(self._source, watermark_ms, [])
        closed = [p for p in points if p.state is State.FINAL and (p.metric, p.window) in self._by_points]
        for point in sorted(closed, key=lambda point: (point.start_ms, point.dimensions)):
            for watch in self._by_points[point.metric, point.window]:
                if matches(watch.rule.dimensions, point.dimensions):
                    self._take(watch, point, batch)
        if NEVER_MS < watermark_ms < END_MS:
            for watch in self._watches:
                known = self._series[watch.life.rule]
                for dimensions, series in known.items():
                    self._pass(watch, dimensions, series, watermark_ms, batch)
                for dimensions in [
                    d for d, s in known.items() if watermark_ms - s.data_ms > _FORGOTTEN_MS and s.dormant
                ]:
                    del known[dimensions]
        return batch

    def _take(self, watch: Watch, point: Point, batch: ScoredBatch) -> None:
        known = self._series[watch.life.rule]
        series = known.get(point.dimensions)
        if series is None:
            if len(known) >= watch.rule.max_series and not self._make_room(watch.life.rule):
                self._crowd(watch)
                return
            series = known[point.dimensions] = _Series(watch.rule.make(), point.start_ms, point.start_ms)
        if point.start_ms < series.next_ms and not series.dormant:
            return
        if series.dormant:
            series.dormant, series.next_ms = False, max(series.next_ms, point.start_ms)
        while series.next_ms < point.start_ms and not series.dormant:
            self._judge(watch, point.dimensions, series, None, batch)
        series.dormant = False
        series.next_ms = point.start_ms
        self._judge(watch, point.dimensions, series, point, batch)

    def _pass(self, watch: Watch, dimensions: Dimensions, series: _Series, to_ms: int, batch: ScoredBatch) -> None:
        """Judge the windows that ended by then without an event."""
        while not series.dormant and watch.end_ms(series.next_ms) <= to_ms:
            self._judge(watch, dimensions, series, None, batch)

    def _judge(
        self, watch: Watch, dimensions: Dimensions, series: _Series, point: Point | None, batch: ScoredBatch
    ) -> None:
        start_ms = series.next_ms
        end_ms = watch.end_ms(start_ms)
        series.next_ms = watch.next_ms(start_ms)
        if point is not None:
            series.data_ms = end_ms
        elif end_ms - series.data_ms > watch.dormant_ms:
            series.dormant = True
            self._full.discard(watch.life.rule)
            batch.gone.append((end_ms, watch.life.rule, dimensions))
            return
        detector = series.detector
        silent = point is None and (not watch.zero or detector.takes_silence)
        value = math.nan if silent else 0.0 if point is None else _value(point, watch.key)
        row = {"value": value, "time": start_ms / 1_000}
        series.packed = None
        try:
            score = detector.score_one(row)
            # Asked before it learns: afterwards it would say what it expects having seen this.
            expected, warm, why = detector.expected, detector.warm, _why(watch, detector, score)
            detector.learn_one(row)
        except Exception:
            # A bug, and one series' only: raised here it would end the run, and end it again after each restart.
            logger.exception("rule %s learns %s anew: it cannot judge %r", watch.life.rule, dict(dimensions), row)
            series.detector = watch.rule.make()
            score, expected, warm, why = 0.0, None, False, ""
        scored = Scored(
            rule=watch.life.rule,
            metric=watch.rule.metric,
            window=watch.window.name,
            start_ms=start_ms,
            dimensions=dimensions,
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
        batch.rows.append((end_ms, scored))

    def _make_room(self, rule: str) -> bool:
        """Forget the series that has been silent for longest, of those that are not watched until they speak."""
        if rule in self._full:
            return False
        known = self._series[rule]
        dormant = [dimensions for dimensions, series in known.items() if series.dormant]
        if not dormant:
            self._full.add(rule)
            return False
        del known[min(dormant, key=lambda dimensions: known[dimensions].data_ms)]
        return True

    def _crowd(self, watch: Watch) -> None:
        if watch.life.rule not in self._crowded:
            self._crowded.add(watch.life.rule)
            logger.warning(
                "rule %s watches %d series, its max_series, and leaves others out",
                watch.life.rule,
                watch.rule.max_series,
            )

    def to_bytes(self) -> bytes:
        rules = {}
        for watch in self._watches:
            rows = []
            for dimensions, series in self._series[watch.life.rule].items():
                if series.packed is None:
                    series.packed = series.detector.to_bytes()
                rows.append((dimensions, series.next_ms, series.data_ms, series.dormant, series.packed))
            rules[watch.life.rule] = {"identity": watch.life.identity, "series": rows}
        return pack_state(STATE_VERSION, {"rules": rules})

    def restore(self, snapshot: bytes) -> None:
        """Take over a snapshot. Rules that are about something else now begin to learn anew, and the log says so."""
        rules: dict[str, Any] = unpack_state(snapshot, STATE_VERSION)["rules"]
        for watch in self._watches:
            name = watch.life.rule
            found = rules.get(name)
            if found is None:
                continue
            if found["identity"] != watch.life.identity:
                logger.warning("rule %s is about something else now, and learns anew", name)
                continue
            kind = detector_class(watch.rule.detector)
            for pairs, next_ms, data_ms, dormant, packed in found["series"]:
                dimensions = tuple((key, value) for key, value in pairs)
                if not matches(watch.rule.dimensions, dimensions):
                    continue
                try:
                    detector = kind.from_bytes(packed)
                except ModelError as error:
                    logger.warning("rule %s learns %s anew: %s", name, dict(dimensions), error)
                    detector, packed = watch.rule.make(), None
                self._series[name][dimensions] = _Series(detector, next_ms, data_ms, dormant, packed)


def _why(watch: Watch, detector: Detector, score: float) -> str:
    """What the detector says, with the limit that it has reached where it knows none of its own."""
    reached = [limit for _, limit in watch.life.limits if score >= limit]
    if detector.learns or not reached:
        return detector.why
    return f"{detector.why} (limit {reached[-1] * detector.orientation:g})"


def _value(point: Point, key: str | None) -> float:
    value = point.value
    if isinstance(value, Mapping):
        value = value.get(key or "")
    return math.nan if value is None else float(value)
