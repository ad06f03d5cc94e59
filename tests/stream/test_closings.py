from __future__ import annotations

from sinks.records import Point, State
from stream.batches import Emission
from stream.catalog import parse
from stream.clock import END_MS, NEVER_MS
from stream.closings import Closings
from stream.plan import compile_plan
from stream.score import watches

RULES = """
[[metric]]
name = "n"
measure = "count"
windows = ["45s", "1m", "day"]
[[anomaly]]
metric = "n"
window = "1m"
detector = "above"
severity = { warning = 1 }
"""
MINUTE = 60_000


def closings(more: str = "") -> Closings:
    catalog = parse(RULES + more)
    return Closings(watches(catalog, compile_plan(catalog)))


def told(it: Closings, *watermarks_ms: int, cube: str = "") -> list[int]:
    return [
        closed.watermark_ms for at in watermarks_ms for _, closed in it.of((cube, Emission([], [], watermark_ms=at)))
    ]


def test_only_the_moments_at_which_a_window_can_end() -> None:
    it = closings()
    assert told(it, NEVER_MS, 10, 30_000, MINUTE - 1, MINUTE, MINUTE + 1, 2 * MINUTE, END_MS) == [
        10,
        MINUTE,
        2 * MINUTE,
        END_MS,
    ]


def test_windows_of_several_kinds() -> None:
    other = '[[anomaly]]\nmetric = "n"\nwindow = "45s"\ndetector = "above"\nseverity = { warning = 1 }\n'
    assert told(closings(other), 0, 45_000, 46_000, MINUTE, 75_000, 90_000) == [0, 45_000, MINUTE, 75_000, 90_000]


def test_a_cube_that_nothing_watches() -> None:
    assert told(closings(), 10, MINUTE, cube="place") == []


def test_what_closed_goes_with_it_and_what_is_open_does_not() -> None:
    points = [Point("n", "1m", 0, (), 1, 1, state, 1, MINUTE) for state in State]
    ((cube, closed),) = closings().of(("", Emission(points, points, watermark_ms=MINUTE)))
    assert (cube, closed.cube) == ("", "")
    assert [point.state for point in closed.points] == [State.FINAL]
