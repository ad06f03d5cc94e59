"""The rules of the demo: they find what goes wrong in it, at once, by day and by night, and are quiet otherwise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import polars as pl
import pytest

from benchmarks.anomaly.closed import HOUR_MS, ClosedWindows, frame_of
from benchmarks.anomaly.incidents import LIVE_RATE, MONDAY_MS, SENSIBLE, Episodes, Found, live, shipped
from sinks.alert_records import AlertStatus
from sinks.records import Point, State
from stream.catalog import load
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from stream.score import lifecycles, watches
from streamgauge.demo.food_sharing import FoodSharing
from streamgauge.demo.incidents import LIVE, Kind
from tests.batches import data_batch, pseudonyms

CATALOGS = sorted((Path(__file__).parent.parent / "catalogs").glob("*.toml"))
MINUTE_MS = 60_000


def key(point: Point) -> tuple[str, str, int, tuple[tuple[str, str], ...]]:
    return point.metric, point.window, point.start_ms, point.dimensions


def test_rows_are_the_events() -> None:
    start_ms = MONDAY_MS + 18 * HOUR_MS
    simulator = FoodSharing(1, 20)
    events = simulator.events_between(start_ms + 11, start_ms + 10 * MINUTE_MS + 77)
    frame = frame_of(
        simulator.rows_between(start_ms + 11, start_ms + 10 * MINUTE_MS + 77),
        ["event", "community", "platform", "endpoint", "page", "category", "status", "duration_ms", "rating",
         "portions", "weight_kg", "user_id", "session_id"],
    )  # fmt: skip
    assert frame.height == len(events) > 10_000
    expected = pl.DataFrame(events, infer_schema_length=None)
    times = expected["time"].str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms").dt.epoch("ms")
    assert frame["@time"].to_list() == times.to_list()
    for name in frame.columns[1:]:
        found = frame[name].to_list()
        if name in ("user_id", "session_id"):
            found = [None if it is None else f"{name[0]}{it:016x}" for it in found]
        assert found == expected[name].to_list(), name


def test_closed_windows_are_those_of_the_processor() -> None:
    """What the rules are tried on is what they would have been shown, of the same events as JSON."""
    catalog = shipped()
    one_stream = catalog.platform.model_copy(update={"streams": ["events:{0}"]})
    catalog = catalog.model_copy(update={"platform": one_stream})
    start_ms = MONDAY_MS + 18 * HOUR_MS
    end_ms = start_ms + 40 * MINUTE_MS
    simulator = FoodSharing(1, 10, incidents=LIVE)
    windows = ClosedWindows(catalog, start_ms)
    cut_ms = start_ms + 17 * MINUTE_MS
    found = {key(one): one for to_ms in (cut_ms, end_ms) for one in windows.to(to_ms, simulator)}
    watched = {(rule.metric, rule.window) for rule in catalog.anomaly}
    pipeline = Pipeline(compile_plan(catalog), pseudonyms(), shards=2)
    expected: dict[object, Point] = {}
    for at_ms in range(start_ms, end_ms + 2 * MINUTE_MS, MINUTE_MS):
        lines = [orjson.dumps(event) for event in simulator.events_between(at_ms, at_ms + MINUTE_MS)]
        now_ms = at_ms + MINUTE_MS
        assert pipeline.add(data_batch(lines, read_at_ms=now_ms), now_ms) == []
        for point in pipeline.tick(now_ms).durable:
            if point.state is State.FINAL and (point.metric, point.window) in watched:
                expected[key(point)] = point
    last_ms = {one: max(k[2] for k in found if k[:2] == one) for one in watched}
    wanted = {k: p for k, p in expected.items() if k[2] <= last_ms[k[:2]]}
    assert found.keys() == wanted.keys()
    assert len(found) > 1_000
    for name, point in wanted.items():
        one = found[name]
        assert one.count == point.count, name
        if isinstance(point.value, dict):
            assert one.value == pytest.approx(point.value, rel=0.0101), name
        else:
            assert one.value == pytest.approx(point.value, rel=1e-9), name


def late(found: list[Found], *besides: Kind) -> list[Found]:
    return [one for one in found if not one.in_time and one.occurrence.incident.kind not in besides]


def test_each_incident_of_the_demo_alerts_within_three_windows_by_day() -> None:
    found = live(1, hours=2, from_hour=9)
    times = Counter(one.occurrence.incident.kind for one in found)
    assert set(times) == set(Kind)
    assert late(found) == []


def test_and_by_night_but_for_claims_that_nobody_makes() -> None:
    found = live(2, hours=2, from_hour=3)
    assert set(Counter(one.occurrence.incident.kind for one in found)) == set(Kind)
    assert late(found, Kind.CLAIMS_OUTAGE) == []


def test_quiet_hours_are_quiet() -> None:
    episodes = Episodes(shipped(), MONDAY_MS + 2 * HOUR_MS)
    episodes.go_on(FoodSharing(3, LIVE_RATE, incidents=()), MONDAY_MS + 6 * HOUR_MS)
    assert episodes.series > 40
    assert episodes.alerts == {}


def test_everything_that_ends_is_resolved() -> None:
    """An hour after an incident its alert is over, and none is told of twice."""
    start_ms = MONDAY_MS + 9 * HOUR_MS
    episodes = Episodes(shipped(), start_ms)
    stirred = FoodSharing(1, 20, incidents=LIVE)
    episodes.go_on(stirred, start_ms + HOUR_MS)
    assert episodes.alerts
    episodes.go_on(FoodSharing(1, 20, incidents=()), start_ms + 2 * HOUR_MS)
    assert {alert.status for alert in episodes.alerts.values()} == {AlertStatus.RESOLVED}


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.stem)
def test_every_rule_of_a_shipped_catalog_watches_something(path: Path) -> None:
    catalog = load(path)
    by_cube = watches(catalog, compile_plan(catalog))
    assert list(lifecycles(by_cube, catalog)) == [rule.called for rule in catalog.anomaly]
    assert all(rule.name and rule.title for rule in catalog.anomaly)


def test_the_rules_that_tell_of_incidents_are_in_the_catalog() -> None:
    assert {name for names in SENSIBLE.values() for name in names} <= {rule.called for rule in shipped().anomaly}
