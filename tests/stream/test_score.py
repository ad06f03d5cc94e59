from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.thresholds import Above
from sinks.alert_records import Scored
from sinks.records import Dimensions, Point, State
from stream.alerts import ScoredBatch
from stream.catalog import parse
from stream.clock import END_MS
from stream.plan import compile_plan
from stream.score import Scorer, Watch, lifecycles, watches

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_700_006_400_000
CATALOG = """
[[metric]]
name = "orders"
measure = "count"
by = ["place"]
windows = ["1m", "5m/1m", "day"]

[[metric]]
name = "price"
measure = "mean"
value = "price"
by = ["place"]
windows = ["1m"]

[[metric]]
name = "wait"
measure = "quantile"
value = "wait"
windows = ["1m"]
"""
ABOVE = '[[anomaly]]\nmetric = "orders"\nwindow = "1m"\ndetector = "above"\nseverity = { warning = 10 }\n'


def watched(rules: str, text: str = CATALOG) -> list[Watch]:
    catalog = parse(text + rules)
    (found,) = watches(catalog, compile_plan(catalog)).values()
    return found


def scorer(rules: str) -> Scorer:
    return Scorer("place", watched(rules))


def point(
    minute: int, value: float | dict[str, float] | None, place: str = "a", metric: str = "orders", window: str = "1m"
) -> Point:
    dimensions: Dimensions = (("place", place),) if place else ()
    return Point(metric, window, START + minute * MINUTE, dimensions, value, 1, State.FINAL, 1, 0)


def at(minute: int) -> int:
    """The watermark once that minute has closed."""
    return START + (minute + 1) * MINUTE


def rows(batch: ScoredBatch, place: str = "a") -> list[tuple[int, float | None]]:
    return [
        ((row.start_ms - START) // MINUTE, row.value) for _, row in batch.rows if dict(row.dimensions)["place"] == place
    ]


def test_a_window_is_judged_when_it_closes() -> None:
    it = scorer(ABOVE)
    batch = it.take([point(0, 12)], at(0))
    (end_ms, row) = batch.rows[0]
    assert end_ms == at(0)
    assert (row.rule, row.value, row.score, row.events, row.anomalous) == ("orders_1m_above", 12, 12, 1, True)
    assert batch.watermark_ms == at(0)
    assert row.why == "12 (limit 10)"


@pytest.mark.parametrize("state", [State.OPEN, State.CORRECTED])
def test_what_is_open_or_corrected_is_not_judged(state: State) -> None:
    import msgspec

    it = scorer(ABOVE)
    other = msgspec.structs.replace(point(0, 12), state=state)
    assert it.take([other], at(0)).rows == []


def test_a_count_without_events_is_zero_and_a_mean_is_nothing() -> None:
    mean = ABOVE.replace("orders", "price")
    it = scorer(ABOVE + mean)
    it.take([point(0, 3), point(0, 3, metric="price")], at(0))
    batch = it.take([point(3, 4), point(3, 4, metric="price")], at(4))
    assert [(row.start_ms - START) // MINUTE for _, row in batch.rows if row.metric == "orders"] == [1, 2, 3, 4]
    assert [row.value for _, row in batch.rows if row.metric == "orders"] == [0, 0, 4, 0]
    assert [row.value for _, row in batch.rows if row.metric == "price"] == [None, None, 4, None]
    assert [row.events for _, row in batch.rows if row.metric == "price"] == [0, 0, 1, 0]


def test_windows_that_slide_and_days_of_the_calendar_are_stepped_through() -> None:
    sliding = ABOVE.replace("1m", "5m/1m")
    it = scorer(sliding)
    it.take([point(0, 3, window="5m/1m")], at(4))
    batch = it.take([], at(7))
    assert [(end_ms - START) // MINUTE for end_ms, _ in batch.rows] == [6, 7, 8]
    text = CATALOG.replace("[[metric]]", '[platform]\ntimezone = "Europe/Berlin"\n[[metric]]', 1)
    days = Scorer("place", watched(ABOVE.replace('"1m"', '"day"'), text))
    # 2023-10-28T22:00Z is midnight in Berlin; the day that begins then has 25 hours.
    first = Point("orders", "day", 1_698_530_400_000, (("place", "a"),), 5, 5, State.FINAL, 1, 0)
    ends = [end_ms for end_ms, _ in days.take([first], 1_698_530_400_000 + 50 * HOUR).rows]
    assert ends == [1_698_530_400_000 + 25 * HOUR, 1_698_530_400_000 + 49 * HOUR]


def test_only_series_with_the_dimensions_of_the_rule() -> None:
    it = scorer(ABOVE + 'dimensions = { place = "b" }\n')
    batch = it.take([point(0, 12), point(0, 13, "b")], at(0))
    assert [row.value for _, row in batch.rows] == [13]


def test_one_quantile_of_several() -> None:
    catalog = parse(CATALOG + ABOVE.replace("orders", "wait") + 'key = "0.9"\n')
    (found,) = watches(catalog, compile_plan(catalog)).values()
    it = Scorer("", found)
    batch = it.take([point(0, {"p50": 1.0, "p90": 40.0, "p99": 50.0}, place="", metric="wait")], at(0))
    assert [row.value for _, row in batch.rows] == [40]


def test_a_series_that_fell_silent_is_watched_no_more_until_it_speaks() -> None:
    it = scorer(ABOVE)
    it.take([point(0, 3)], at(0))
    batch = it.take([], at(5 * 24 * 60))
    assert len(batch.rows) == 3 * 24 * 60
    assert batch.gone == [(at(3 * 24 * 60 + 1), "orders_1m_above", (("place", "a"),))]
    assert it.take([], at(6 * 24 * 60)).rows == []
    again = it.take([point(6 * 24 * 60 + 5, 4)], at(6 * 24 * 60 + 5))
    assert rows(again) == [(6 * 24 * 60 + 5, 4)]
    assert it.take([], at(70 * 24 * 60)).gone != []
    assert b"place" not in Scorer("place", watched(ABOVE)).to_bytes()


def test_at_the_end_of_all_input_nothing_more_is_made_up() -> None:
    it = scorer(ABOVE)
    it.take([point(0, 3)], at(0))
    assert it.take([point(1, 4)], END_MS).rows[0][1].value == 4


def test_more_series_than_are_watched(caplog: pytest.LogCaptureFixture) -> None:
    it = scorer(ABOVE + "max_series = 2\n")
    batch = it.take([point(0, 12, place) for place in "abcd"], at(0))
    assert [dict(row.dimensions)["place"] for _, row in batch.rows] == ["a", "b"]
    it.take([point(1, 12, place) for place in "abcd"], at(1))
    assert caplog.text.count("watches 2 series") == 1


def test_series_that_fell_silent_make_room_for_others() -> None:
    it = scorer(ABOVE + "max_series = 2\n")
    it.take([point(0, 12, "a"), point(2, 12, "b")], at(2))
    later = 4 * 24 * 60
    it.take([point(later, 12, "b")], at(later))
    batch = it.take([point(later + 1, 12, place) for place in "bcd"], at(later + 1))
    assert [dict(row.dimensions)["place"] for _, row in batch.rows] == ["b", "c"]
    assert rows(it.take([point(later + 2, 12, "a")], at(later + 2)), "a") == []


def test_a_detector_that_fails_stops_neither_its_series_nor_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    score_one = Above.score_one

    def failing(self: Above, x: Mapping[str, float]) -> float:
        return 1 / 0 if x["value"] == 13 else score_one(self, x)

    monkeypatch.setattr(Above, "score_one", failing)
    it = scorer(ABOVE)
    batch = it.take([point(0, 13, "a"), point(0, 14, "b"), point(1, 15, "a")], at(1))
    found = [(dict(row.dimensions)["place"], row.value, row.anomalous) for _, row in batch.rows]
    assert found == [("a", 13, False), ("b", 14, True), ("a", 15, True), ("b", 0, False)]
    assert "learns {'place': 'a'} anew: it cannot judge" in caplog.text


def test_silence_is_shown_to_the_detector_that_asks_for_it() -> None:
    rule = ABOVE.replace('"above"', '"nodata"').replace("warning = 10", 'warning = "5m"')
    it = scorer(rule)
    it.take([point(0, 3)], at(0))
    batch = it.take([], at(6))
    assert [row.anomalous for _, row in batch.rows] == [False] * 4 + [True] * 2


LEARNING = ABOVE.replace('"above"', '"gaussian"')


@given(
    values=st.lists(st.one_of(st.none(), st.integers(0, 30)), min_size=1, max_size=80),
    cuts=st.sets(st.integers(0, 80)),
    sizes=st.lists(st.integers(1, 12), max_size=40),
)
@settings(deadline=None, max_examples=60)
def test_restarts_and_larger_batches_change_no_score(
    values: list[int | None], cuts: set[int], sizes: list[int]
) -> None:
    steady, other = scorer(LEARNING), scorer(LEARNING)
    expected: list[tuple[int, Scored]] = []
    for minute, value in enumerate(values):
        expected += steady.take([] if value is None else [point(minute, value)], at(minute)).rows
    found: list[tuple[int, Scored]] = []
    minute = 0
    for size in [*sizes, len(values)]:
        some = [(place, v) for place, v in enumerate(values)][minute : minute + size]
        if not some:
            continue
        points = [point(place, value) for place, value in reversed(some) if value is not None]
        minute += len(some)
        found += other.take(points, at(minute - 1)).rows
        if minute in cuts:
            snapshot = other.to_bytes()
            other = scorer(LEARNING)
            other.restore(snapshot)
    assert found == expected


def test_a_rule_that_is_about_something_else_learns_anew(caplog: pytest.LogCaptureFixture) -> None:
    it = scorer(LEARNING)
    for minute in range(200):
        it.take([point(minute, 5)], at(minute))
    changed = scorer(LEARNING.replace('"1m"', '"5m/1m"') + 'name = "orders_1m_gaussian"\n')
    changed.restore(it.to_bytes())
    assert "learns anew" in caplog.text
    same = scorer(LEARNING.replace("warning = 10", "error = 9") + "k = 2\nn = 3\n")
    same.restore(it.to_bytes())
    assert rows(same.take([], at(201))) == [(200, 0), (201, 0)]


def test_a_detector_of_another_version_learns_anew(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.gaussian import Gaussian

    it = scorer(LEARNING)
    it.take([point(0, 5)], at(0))
    snapshot = it.to_bytes()
    monkeypatch.setattr(Gaussian, "VERSION", 99)
    other = scorer(LEARNING)
    other.restore(snapshot)
    assert "anew" in caplog.text
    assert rows(other.take([point(1, 6)], at(1))) == [(1, 6)]


def test_rules_keep_the_order_of_the_catalog() -> None:
    text = ABOVE + ABOVE.replace("orders", "price") + LEARNING
    catalog = parse(CATALOG + text)
    lives = lifecycles(watches(catalog, compile_plan(catalog)), catalog)
    assert list(lives) == ["orders_1m_above", "price_1m_above", "orders_1m_gaussian"]
    assert lives["orders_1m_above"].opens == 10
    assert replace(lives["orders_1m_above"], rule="x").opens == 10


def test_it_says_up_to_when_nothing_has_to_wait_for_it() -> None:
    it = scorer(ABOVE)
    batch = it.take([], START + MINUTE)
    assert (batch.watermark_ms, batch.until_ms) == (START + MINUTE, START + 2 * MINUTE - 1)
    assert it.take([], END_MS).until_ms == END_MS


def test_what_a_model_gives_is_judged_when_it_is_known() -> None:
    churn = """
[event]
person = "who"
allowed_lateness = "2h"
[churn]
settle = "1h"
segments = 0
[[anomaly]]
metric = "churn_people"
window = "1d"
detector = "above"
severity = { warning = 10 }
"""
    (watch,) = watched(churn)
    assert (watch.given, watch.settles_ms) == (True, HOUR)
    it = Scorer("churn", [watch])
    # Days of people end at midnight of their zone.
    start_ms = START // DAY * DAY - HOUR
    level = (("level", "high"),)
    batch = it.take(
        [Point("churn_people", "1d", start_ms, level, 12, 12, State.FINAL, 1, 0)],
        start_ms + DAY,
        start_ms + 2 * DAY - 1,
    )
    ((at_ms, scored),) = batch.rows
    assert (at_ms, scored.anomalous) == (start_ms + DAY + HOUR, True)
    assert (batch.watermark_ms, batch.until_ms) == (start_ms + DAY + HOUR, start_ms + 2 * DAY + HOUR - 1)
