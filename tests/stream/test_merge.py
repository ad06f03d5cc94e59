from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.records import Point, State
from stream.batches import Block, Partials
from stream.clock import END_MS, NEVER_MS
from stream.merge import DURABLE_EVERY_MS, Merge
from stream.plan import CubePlan
from stream.snapshots import StateError
from tests.batches import T0, plan_of
from tests.oracle import last_of_each

LATENESS_MS = 60_000
CATALOG = """
[[metric]]
name = "n"
measure = "count"
by = ["k"]
windows = ["10s", "1m"]
[[metric]]
name = "v"
measure = "mean"
value = "v"
by = ["k"]
windows = ["10s"]
"""


def cube(catalog: str = CATALOG) -> CubePlan:
    (plan,) = plan_of(catalog, builtin=False).cubes
    return plan


def merge(shards: int = 1) -> Merge:
    return Merge(cube(), shards, LATENESS_MS)


def partials(
    rows: list[tuple[int, str, list[float]]], watermark_ms: int = NEVER_MS, *, shard: int = 0, window: str = "10s"
) -> Partials:
    """`rows` are (start, series, columns)."""
    blocks = [
        Block(
            window,
            np.array([start // 1_000 for start, _, _ in rows], dtype=np.int64),
            [(series,) for _, series, _ in rows],
            [np.array(column) for column in zip(*(columns for _, _, columns in rows), strict=True)],
            [],
        )
    ]
    return Partials(shard, cube().key, watermark_ms, blocks if rows else [])


def shown(points: list[Point]) -> list[tuple[str, str, float, int, str, int]]:
    """(metric, series, value, count, state, revision)."""
    for point in points:
        assert isinstance(point.value, int | float)
    return [(p.metric, p.dimensions[0][1], p.value, p.count, p.state.value, p.revision) for p in points]  # type: ignore[misc]


def test_what_is_shown_is_as_old_as_the_oldest_that_it_newly_counts() -> None:
    one = merge(2)
    one.add(replace(partials([(T0, "a", [3.0, 2.0, 5.0])]), added_ms=T0 + 20))
    one.add(replace(partials([(T0, "b", [3.0, 2.0, 5.0])], shard=1), added_ms=T0 + 10))
    one.add(partials([], T0, shard=1))
    assert one.emit(T0).added_ms == T0 + 10
    # The same again, as after a crash, changes no point; and a window that closes counts nothing new.
    one.add(replace(partials([(T0, "a", [3.0, 2.0, 5.0])]), added_ms=T0 + 20))
    assert one.emit(T0).added_ms is None
    for shard in range(2):
        one.add(partials([], T0 + 60_000, shard=shard))
    emission = one.emit(T0)
    assert len(emission.live) == 4
    assert emission.added_ms is None


def test_partials_become_points() -> None:
    one = merge()
    one.add(partials([(T0, "a", [3.0, 2.0, 5.0])]))
    assert one.emit(T0).live == [
        Point("n", "10s", T0, (("k", "a"),), 3, 3, State.OPEN, 1, NEVER_MS),
        Point("v", "10s", T0, (("k", "a"),), 2.5, 2, State.OPEN, 1, NEVER_MS),
    ]
    assert one.emit(T0).live == []


def test_later_partials_replace_and_shards_add_up() -> None:
    one = merge(2)
    one.add(partials([(T0, "a", [1.0, 0.0, 0.0])], shard=0))
    one.add(partials([(T0, "a", [3.0, 1.0, 4.0])], shard=0))
    one.add(partials([(T0, "a", [2.0, 1.0, 2.0])], shard=1))
    assert shown(one.emit(T0).live) == [("n", "a", 5, 5, "open", 1), ("v", "a", 3, 2, "open", 1)]
    for shard, n in ((0, 3.0), (1, 2.0)):
        one.add(partials([(T0, "a", [n, 1.0, 6.0 - n])], shard=shard))
    assert one.emit(T0).live == [], "sent again, nothing has changed"


def test_a_metric_without_events_has_no_point() -> None:
    one = merge()
    one.add(partials([(T0, "a", [1.0, 0.0, 0.0])], END_MS))
    assert shown(one.emit(T0).live) == [("n", "a", 1, 1, "final", 1)]


def test_a_window_closes_when_the_last_shard_has_passed_its_end() -> None:
    one = merge(2)
    one.add(partials([(T0, "a", [1.0, 0.0, 0.0])], T0 + 10_000, shard=0))
    assert one.watermark_ms == NEVER_MS
    assert [point.state for point in one.emit(T0).live] == [State.OPEN]
    one.add(partials([], T0 + 9_999, shard=1))
    assert one.emit(T0).live == []
    one.add(partials([], T0 + 10_000, shard=1))
    assert shown(one.emit(T0).live) == [("n", "a", 1, 1, "final", 2)]
    assert one.emit(T0).live == []


def test_corrections_count_on() -> None:
    one = merge()
    one.add(partials([(T0, "a", [1.0, 0.0, 0.0])], T0 + 10_000))
    one.emit(T0)
    one.add(partials([(T0, "a", [2.0, 1.0, 7.0]), (T0, "new", [1.0, 0.0, 0.0])], T0 + 11_000))
    assert sorted(shown(one.emit(T0).live)) == [
        ("n", "a", 2, 2, "corrected", 2),
        ("n", "new", 1, 1, "corrected", 1),
        ("v", "a", 7, 1, "corrected", 1),
    ]


def test_a_watermark_does_not_move_back() -> None:
    one = merge()
    one.add(partials([], T0))
    one.add(partials([], T0 - 50_000))
    assert one.watermark_ms == T0


def test_windows_are_forgotten_behind_the_allowed_lateness_only() -> None:
    one = merge()
    one.add(partials([(T0, "a", [1.0, 0.0, 0.0])], T0 + 10_000 + LATENESS_MS - 1))
    one.emit(T0)
    one.add(partials([(T0, "a", [2.0, 0.0, 0.0])], T0 + 10_000 + LATENESS_MS - 1))
    assert shown(one.emit(T0).live) == [("n", "a", 2, 2, "corrected", 2)]
    kept = len(one.to_bytes())
    one.add(partials([], T0 + 10_000 + LATENESS_MS))
    one.emit(T0)
    assert len(one.to_bytes()) < kept


def test_open_points_are_offered_to_databases_now_and_then() -> None:
    one = merge()
    now_ms = T0
    one.add(partials([(T0, "a", [1.0, 0.0, 0.0])]))
    assert shown(one.emit(now_ms).durable) == [("n", "a", 1, 1, "open", 1)]
    assert one.next_offer_ms is None
    for number in range(2, 6):
        one.add(partials([(T0, "a", [float(number), 0.0, 0.0])]))
        emission = one.emit(now_ms + number)
        assert shown(emission.live) == [("n", "a", number, number, "open", number)]
        assert emission.durable == []
        assert one.next_offer_ms == now_ms + DURABLE_EVERY_MS
    assert shown(one.emit(now_ms + DURABLE_EVERY_MS).durable) == [("n", "a", 5, 5, "open", 5)]
    assert one.next_offer_ms is None
    one.add(partials([(T0, "a", [6.0, 0.0, 0.0])], END_MS))
    assert shown(one.emit(now_ms + DURABLE_EVERY_MS + 1).durable) == [("n", "a", 6, 6, "final", 6)]
    assert one.emit(now_ms + 10 * DURABLE_EVERY_MS).durable == []


def test_a_restart_forgets_no_open_point_that_is_due() -> None:
    one = merge()
    one.emit(T0)
    one.add(partials([(T0, "a", [1.0, 0.0, 0.0])]))
    assert one.emit(T0 + 1).durable == []
    again = merge()
    again.restore(one.to_bytes())
    assert again.next_offer_ms is not None
    assert shown(again.emit(T0 + 2).durable) == [("n", "a", 1, 1, "open", 1)]


@pytest.mark.parametrize(
    ("value", "shown_value"), [(2.0**53 - 1, 2**53 - 1), (2.0**53, 2.0**53), (-3.0, -3), (-0.0, 0), (0.1, 0.1)]
)
def test_whole_values_are_integers_while_they_are_exact(value: float, shown_value: float) -> None:
    one = merge()
    one.add(partials([(T0, "a", [1.0, 1.0, value])]))
    (point,) = [point for point in one.emit(T0).live if point.metric == "v"]
    assert (point.value, type(point.value)) == (shown_value, type(shown_value))


steps_ = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc")), max_size=6, unique=True),
        st.integers(0, 8_000),
        st.sampled_from(["", "emit", "restart"]),
    ),
    max_size=25,
)


@given(steps=steps_)
@settings(deadline=None, max_examples=60)
def test_the_last_points_are_the_sums_of_the_shards_latest(
    steps: list[tuple[int, list[tuple[int, str]], int, str]],
) -> None:
    one = merge(3)
    counts: dict[tuple[int, int, str], float] = {}
    points: list[Point] = []
    watermarks = [T0 - 120_000] * 3
    for shard, rows, passed_ms, then in steps:
        told = []
        for window, series in rows:
            count = counts[shard, window, series] = counts.get((shard, window, series), 0.0) + 1
            told.append((T0 + window * 10_000, series, [count, count, count * shard]))
        watermarks[shard] = min(T0 + LATENESS_MS, watermarks[shard] + passed_ms)
        one.add(partials(told, watermarks[shard], shard=shard))
        if then == "emit":
            points += one.emit(T0).live
        elif then == "restart":
            saved, one = one.to_bytes(), merge(3)
            one.restore(saved)
    for shard in range(3):
        one.add(partials([], END_MS, shard=shard))
    points += one.emit(T0).live
    expected: dict[tuple[str, int, str], tuple[float, float]] = {}
    for (shard, window, series), count in counts.items():
        n, total = expected.get(("n", window, series), (0.0, 0.0))
        expected["n", window, series] = (n + count, total + count * shard)
    found = {(p.metric, (p.start_ms - T0) // 10_000, p.dimensions[0][1]): p for p in last_of_each(points).values()}
    assert {key: point.count for key, point in found.items() if key[0] == "n"} == {
        key: n for key, (n, _) in expected.items()
    }
    for (_, window, series), (n, total) in expected.items():
        assert found["v", window, series].value == pytest.approx(total / n, rel=1e-12)
    assert all(point.state is not State.OPEN for point in found.values())


def test_a_snapshot_of_other_shards_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a snapshot of 2 shards, found one of 3"):
        merge(2).restore(merge(3).to_bytes())
    with pytest.raises(StateError, match="not a snapshot"):
        merge().restore(b"nonsense")


def test_a_metric_that_changed_starts_empty_and_the_other_goes_on() -> None:
    one = merge()
    one.add(partials([(T0, "a", [3.0, 2.0, 5.0])]))
    one.emit(T0)
    again = Merge(cube(CATALOG.replace('"mean"', '"max"')), 1, LATENESS_MS)
    again.restore(one.to_bytes())
    again.add(partials([(T0, "a", [4.0, 1.0, 9.0])]))
    assert shown(again.emit(T0).live) == [("n", "a", 4, 4, "open", 2), ("v", "a", 9, 1, "open", 1)]
