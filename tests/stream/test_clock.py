from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.clock import END_MS, IDLE_AFTER_MS, NEVER_MS, SILENT_AFTER_MS, Watermark
from tests.batches import T0

OUT_OF_ORDERNESS_MS = 5_000
DAY_MS = 86_400_000

reports_ = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.none() | st.integers(T0 - 60_000, T0 + 60_000),
        st.booleans(),
        st.integers(0, 30_000),
    ),
    max_size=30,
)


def watermark(*streams: str) -> Watermark:
    return Watermark(streams or ("a",), OUT_OF_ORDERNESS_MS)


def restored(mark: Watermark, *streams: str) -> Watermark:
    result = watermark(*streams)
    result.restore(mark.to_state())
    return result


def event(mark: Watermark, stream: str, at_ms: int, *, late_ms: int = 0, caught_up: bool = True) -> None:
    mark.observe(stream, at_ms - late_ms, caught_up=caught_up, read_at_ms=at_ms)


def beat(mark: Watermark, stream: str, at_ms: int) -> None:
    mark.observe(stream, None, caught_up=True, read_at_ms=at_ms)


@given(reports=reports_, restart=st.integers(0, 30))
def test_it_never_moves_back_nor_past_what_was_seen(reports: list[Any], restart: int) -> None:
    mark = watermark("a", "b")
    now_ms, latest, before = T0, NEVER_MS, NEVER_MS
    for number, (stream, max_event_ms, caught_up, passed_ms) in enumerate(reports):
        now_ms += passed_ms
        if number == restart:
            mark = restored(mark, "a", "b")
        mark.observe(stream, max_event_ms, caught_up=caught_up, read_at_ms=now_ms)
        latest = max(latest, max_event_ms or NEVER_MS)
        assert mark.now_ms >= before
        # At most as much past the latest event as the clock has moved.
        assert mark.now_ms <= max(NEVER_MS, latest - OUT_OF_ORDERNESS_MS + (now_ms - T0))
        before = mark.now_ms


@given(reports=reports_)
def test_a_backlog_alone_decides_where_it_is(reports: list[Any]) -> None:
    """Whatever the other streams and the clock do, a stream that is not caught up holds the watermark."""
    mark = watermark("a", "backlog")
    event(mark, "backlog", T0 - DAY_MS, caught_up=False)
    now_ms = T0
    for _, max_event_ms, caught_up, passed_ms in reports:
        now_ms += passed_ms
        mark.observe("a", max_event_ms, caught_up=caught_up, read_at_ms=now_ms)
        assert mark.now_ms <= T0 - DAY_MS - OUT_OF_ORDERNESS_MS
    event(mark, "backlog", now_ms, late_ms=DAY_MS // 2, caught_up=False)
    assert mark.now_ms <= now_ms - DAY_MS // 2 - OUT_OF_ORDERNESS_MS


def test_it_follows_the_latest_event() -> None:
    mark = watermark("a")
    assert mark.now_ms == NEVER_MS
    event(mark, "a", T0)
    assert mark.now_ms == T0 - OUT_OF_ORDERNESS_MS
    event(mark, "a", T0 + 10, late_ms=2_000)
    assert mark.now_ms == T0 - OUT_OF_ORDERNESS_MS
    event(mark, "a", T0 + 1_000)
    assert mark.now_ms == T0 + 1_000 - OUT_OF_ORDERNESS_MS


def test_it_waits_until_every_stream_was_heard() -> None:
    mark = watermark("a", "b")
    event(mark, "a", T0)
    assert mark.now_ms == NEVER_MS
    event(mark, "b", T0 + 100, late_ms=600)
    assert mark.now_ms == T0 - 500 - OUT_OF_ORDERNESS_MS


def test_a_stream_without_any_event_does_not_hold_it() -> None:
    mark = watermark("a", "empty")
    beat(mark, "empty", T0)
    event(mark, "a", T0)
    assert mark.now_ms == T0 - OUT_OF_ORDERNESS_MS


def test_without_any_event_there_is_none() -> None:
    mark = watermark("a", "b")
    for second in range(100):
        for stream in ("a", "b"):
            beat(mark, stream, T0 + second * 1_000)
    assert mark.now_ms == NEVER_MS


def test_an_idle_stream_stops_counting_exactly_then() -> None:
    mark = watermark("a", "b")
    event(mark, "a", T0)
    event(mark, "b", T0)
    beat(mark, "b", T0 + IDLE_AFTER_MS - 1)
    event(mark, "a", T0 + IDLE_AFTER_MS - 1)
    assert mark.now_ms == T0 - OUT_OF_ORDERNESS_MS
    beat(mark, "b", T0 + IDLE_AFTER_MS)
    assert mark.now_ms == T0 + IDLE_AFTER_MS - 1 - OUT_OF_ORDERNESS_MS


def test_an_idle_stream_counts_again_with_its_next_event() -> None:
    mark = watermark("a", "b")
    for stream in ("a", "b"):
        event(mark, stream, T0)
    beat(mark, "b", T0 + 6_000)
    event(mark, "a", T0 + 6_000)
    event(mark, "b", T0 + 7_000)
    event(mark, "a", T0 + 9_000)
    assert mark.now_ms == T0 + 7_000 - OUT_OF_ORDERNESS_MS


def test_when_all_are_idle_the_clock_moves_it() -> None:
    mark = watermark("a", "b")
    event(mark, "a", T0)
    event(mark, "b", T0 + 1_000)
    for second in range(1, 31):
        for stream in ("a", "b"):
            beat(mark, stream, T0 + second * 1_000)
    assert mark.now_ms == T0 + 30_000 - OUT_OF_ORDERNESS_MS


def test_a_stream_that_is_not_caught_up_never_idles() -> None:
    mark = watermark("a")
    event(mark, "a", T0, caught_up=False)
    mark.observe("a", None, caught_up=False, read_at_ms=T0 + DAY_MS)
    assert mark.now_ms == T0 - OUT_OF_ORDERNESS_MS


def test_silence_is_no_idleness() -> None:
    """A reader that is cut off does not say that it has caught up: its stream may have a backlog."""
    mark = watermark("a", "b")
    for stream in ("a", "b"):
        event(mark, stream, T0)
    beat(mark, "b", T0 + 6_000)
    for second in range(7, 60):
        event(mark, "a", T0 + second * 1_000)
    # b was idle until it had been silent for too long.
    held_ms = T0 + 6_000 + SILENT_AFTER_MS - 1_000 - OUT_OF_ORDERNESS_MS
    assert mark.now_ms == held_ms
    beat(mark, "b", T0 + 60_000)
    assert mark.now_ms == T0 + 59_000 - OUT_OF_ORDERNESS_MS


def test_when_all_are_silent_nothing_moves() -> None:
    mark = watermark("a", "b")
    event(mark, "a", T0)
    event(mark, "b", T0)
    assert mark.now_ms == T0 - OUT_OF_ORDERNESS_MS
    beat(mark, "a", T0 + DAY_MS)
    assert mark.now_ms == T0 - OUT_OF_ORDERNESS_MS


@pytest.mark.parametrize("downtime_ms", [8_000, 60_000, 30 * DAY_MS])
def test_downtime_makes_no_backlog_late(downtime_ms: int) -> None:
    mark = watermark("a", "b")
    for stream in ("a", "b"):
        event(mark, stream, T0)
    mark = restored(mark, "a", "b")
    assert mark.now_ms == T0 - OUT_OF_ORDERNESS_MS
    back_ms = T0 + downtime_ms
    # Both have a backlog from the downtime; the first batches are of its beginning.
    mark.observe("b", T0 + 700, caught_up=False, read_at_ms=back_ms)
    mark.observe("a", T0 + 300, caught_up=False, read_at_ms=back_ms + 10)
    assert mark.now_ms == T0 + 300 - OUT_OF_ORDERNESS_MS
    mark.observe("b", back_ms, caught_up=True, read_at_ms=back_ms + 20)
    assert mark.now_ms == T0 + 300 - OUT_OF_ORDERNESS_MS
    mark.observe("a", back_ms - 50, caught_up=True, read_at_ms=back_ms + 30)
    assert mark.now_ms == back_ms - 50 - OUT_OF_ORDERNESS_MS


def test_after_a_downtime_without_events_the_clock_goes_on() -> None:
    mark = watermark("a", "b")
    for stream in ("a", "b"):
        event(mark, stream, T0)
    mark = restored(mark, "a", "b")
    beat(mark, "a", T0 + 60_000)
    assert mark.now_ms == T0 - OUT_OF_ORDERNESS_MS, "b may still have a backlog"
    beat(mark, "b", T0 + 60_000)
    assert mark.now_ms == T0 + 60_000 - OUT_OF_ORDERNESS_MS


def test_a_replay_of_old_events_is_not_pushed_ahead() -> None:
    years_ms = 11 * 365 * DAY_MS
    mark = watermark("a")
    for second in range(5):
        mark.observe("a", T0 + second * 60_000, caught_up=False, read_at_ms=T0 + years_ms + second)
    mark.observe("a", T0 + 300_000, caught_up=True, read_at_ms=T0 + years_ms + 10)
    assert mark.now_ms == T0 + 300_000 - OUT_OF_ORDERNESS_MS
    for second in range(1, 21):
        beat(mark, "a", T0 + years_ms + 10 + second * 1_000)
    assert mark.now_ms == T0 + 300_000 - OUT_OF_ORDERNESS_MS + 20_000


def test_a_clock_that_steps_back_moves_nothing() -> None:
    mark = watermark("a")
    event(mark, "a", T0)
    beat(mark, "a", T0 + 8_000)
    before = mark.now_ms
    beat(mark, "a", T0 - DAY_MS)
    event(mark, "a", T0 - DAY_MS)
    assert mark.now_ms == before


def test_streams_come_and_go_with_the_catalog() -> None:
    mark = watermark("a", "gone")
    event(mark, "a", T0)
    event(mark, "gone", T0, late_ms=60_000)
    grown = restored(mark, "a", "new")
    assert grown.now_ms == T0 - 60_000 - OUT_OF_ORDERNESS_MS
    event(grown, "a", T0 + 1_000)
    assert grown.now_ms == T0 - 60_000 - OUT_OF_ORDERNESS_MS, "the new one has not been heard"
    event(grown, "new", T0 + 1_500)
    assert grown.now_ms == T0 + 1_000 - OUT_OF_ORDERNESS_MS


def test_the_end_is_after_everything() -> None:
    mark = watermark("a")
    mark.finish()
    assert mark.now_ms == END_MS
    assert restored(mark, "a").now_ms == END_MS
