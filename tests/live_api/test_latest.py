from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from live_api import latest as module
from live_api.latest import MAX_SERIES, MOST_WINDOWS, WINDOWS_KEPT, Latest, Series, seq_of
from sinks.records import Point, State

from .conftest import point

MINUTE = 60_000


Matcher = Callable[[Series], bool]


def everything(_: Series) -> bool:
    return True


def only(metric: str) -> Matcher:
    return lambda series: series.metric == metric


def members(parts: Iterable[bytes]) -> dict[str, Any]:
    """The series that a frame would say."""
    found: dict[str, Any] = orjson.loads(b"{" + b",".join(parts) + b"}")
    return found


def snapshot(latest: Latest, matches: Matcher = everything) -> dict[str, Any]:
    return members(series.snapshot() for series in latest.all() if matches(series))


def changes(latest: Latest, since: int, matches: Matcher = everything) -> dict[str, Any] | None:
    if not latest.knows_since(since):
        return None
    return members(series.changed(since) for series in latest.changes(since) if matches(series))


def say(latest: Latest, points: list[Point]) -> None:
    """What the next entry of the live stream brings."""
    latest.apply(points, latest._staged_seq + 1)


def starts(latest: Latest, key: str = "revenue@1m") -> list[int]:
    return [start // MINUTE for start, *_ in snapshot(latest)[key]["points"]]


def value(latest: Latest, minute: int = 1, key: str = "revenue@1m") -> tuple[float, str]:
    points = {start: (value, state) for start, value, _, state, _ in snapshot(latest)[key]["points"]}
    return points[minute * MINUTE]


class View:
    """A client: it knows what frames told it, and asks now and then."""

    def __init__(self, matches: Matcher) -> None:
        self._matches = matches
        self._since: int | None = None
        self.series: dict[str, dict[int, tuple[Any, ...]]] = {}

    def take(self, latest: Latest) -> None:
        frame = None if self._since is None else changes(latest, self._since, self._matches)
        if frame is None:
            self.series.clear()
            frame = snapshot(latest, self._matches)
        for key, series in frame.items():
            self.series.setdefault(key, {}).update((at, tuple(rest)) for at, *rest in series["points"])
        self._since = latest.seq


points_ = st.builds(
    lambda value, minute, metric, country, state, revision: point(
        value, minute * MINUTE, metric=metric, state=state, revision=revision, country=country
    ),
    st.integers(0, 9),
    # More windows than are kept, so that late ones and dropped ones are common.
    st.integers(0, WINDOWS_KEPT + 3),
    st.sampled_from(["orders", "revenue"]),
    st.sampled_from(["US", "DE", "FR", "PL", "SE"]),
    st.sampled_from(State),
    st.integers(1, 5),
)
steps_ = st.lists(
    st.lists(points_, min_size=1, max_size=6) | st.sampled_from(["tick", "take 0", "take 1"]), max_size=40
)


@given(steps_, st.booleans(), st.booleans())
@example([[point(1, 0)], "tick", "take 0", *([point(1, n * MINUTE)] for n in range(1, 12)), "tick", "take 0"], False, 1)
def test_whatever_a_client_missed_it_ends_with_what_the_hub_holds(
    steps: list[list[Point] | str], few_series: bool, short_ring: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if short_ring:
            patch.setattr(module, "RING_MS", 0)
        if few_series:
            patch.setattr(module, "MAX_SERIES", 4)
        latest = Latest()
        clients = [View(everything), View(only("orders"))]
        for step in steps:
            if step == "tick":
                latest.commit()
            elif isinstance(step, str):
                clients[int(step[-1])].take(latest)
            else:
                say(latest, step)
        latest.commit()
        for client, matches in zip(clients, (everything, only("orders")), strict=True):
            client.take(latest)
            for key, series in snapshot(latest, matches).items():
                held = {start: client.series[key].get(start) for start, *_ in series["points"]}
                assert held == {start: tuple(rest) for start, *rest in series["points"]}
        assert len(latest) <= (4 if few_series else MAX_SERIES)
        for series in snapshot(latest).values():
            assert 1 <= len(series["points"]) <= WINDOWS_KEPT


@given(st.lists(points_.filter(lambda one: one.start_ms < WINDOWS_KEPT * MINUTE), max_size=60))
def test_values_are_the_last_said_except_that_open_never_replaces_settled(said: list[Point]) -> None:
    latest = Latest()
    expected: dict[str, dict[int, tuple[Any, ...]]] = {}
    for one in said:
        say(latest, [one])
        latest.commit()
        key = f"{one.metric}@1m{{country={one.dimensions[0][1]}}}"
        before = expected.setdefault(key, {}).get(one.start_ms)
        if before is None or before[2] is State.OPEN or one.state is not State.OPEN:
            settled = before is not None and before[2] is not State.OPEN
            another = settled and (before[2] is State.CORRECTED or before[:2] != (one.value, one.count))
            state = State.CORRECTED if another and one.state is State.FINAL else one.state
            expected[key][one.start_ms] = (one.value, one.count, state, one.revision)
    shown = snapshot(latest)
    assert {key: {at: tuple(rest) for at, *rest in series["points"]} for key, series in shown.items()} == expected


def test_only_what_changed_is_told() -> None:
    latest = Latest()
    say(latest, [point(1, MINUTE), point(1, 2 * MINUTE), point(5, metric="orders", country="US")])
    assert latest.commit()
    first = latest.seq
    say(latest, [point(2, 2 * MINUTE, revision=2)])
    assert latest.commit()
    assert changes(latest, first) == {
        "revenue@1m": {
            "metric": "revenue",
            "window": "1m",
            "dimensions": {},
            "points": [[2 * MINUTE, 2, 1, "open", 2]],
        }
    }
    assert changes(latest, first, only("orders")) == {}
    assert changes(latest, latest.seq) == {}


def test_a_seq_is_the_entry_that_brought_it() -> None:
    assert seq_of("1700000000000-3") == 1_700_000_000_000 * 2048 + 3
    ids = ["0-1", "1-0", "1-1", "1-2047", "2-0", "1700000000000-0", "1700000000000-1", "1700000000001-0"]
    assert sorted(ids, key=seq_of) == ids
    assert len({seq_of(one) for one in ids}) == len(ids)
    # Exact where numbers are 64-bit floats.
    assert seq_of("4398046511103-2047") == 2**53 - 1


def test_a_tick_without_change_says_so() -> None:
    latest = Latest()
    assert not latest.commit()
    say(latest, [point()])
    assert not latest.settled
    assert latest.commit()
    assert latest.settled
    assert not latest.commit()
    assert latest.seq == 1
    # A refused point is no change either.
    say(latest, [point(9, state=State.FINAL)])
    latest.commit()
    say(latest, [point(3)])
    assert not latest.commit()


@pytest.mark.parametrize("settled", [State.FINAL, State.CORRECTED])
def test_open_never_replaces_settled(settled: State) -> None:
    latest = Latest()
    say(latest, [point(1), point(7, state=settled), point(2)])
    latest.commit()
    assert value(latest) == (7, settled)
    say(latest, [point(8, state=State.CORRECTED)])
    latest.commit()
    assert value(latest) == (8, State.CORRECTED)


@pytest.mark.parametrize("settled", [State.FINAL, State.CORRECTED])
def test_another_value_of_a_settled_point_is_a_correction(settled: State) -> None:
    latest = Latest()
    say(latest, [point(7, state=settled), point(7, state=State.FINAL)])
    latest.commit()
    assert value(latest) == (7, settled)
    say(latest, [point(8, state=State.FINAL)])
    latest.commit()
    assert value(latest) == (8, State.CORRECTED)


def test_who_heard_of_seqs_that_never_were_gets_all() -> None:
    latest = Latest()
    say(latest, [point()])
    latest.commit()
    assert changes(latest, latest.seq + 1) is None
    assert changes(latest, -1) is None


def test_who_missed_a_dropped_window_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RING_MS", 0)
    latest = Latest()
    say(latest, [point(1, MINUTE)])
    latest.commit()
    for minute in range(2, WINDOWS_KEPT + 3):
        say(latest, [point(1, minute * MINUTE)])
        latest.commit()
    assert starts(latest) == list(range(3, WINDOWS_KEPT + 3))
    assert changes(latest, 0) is None
    assert changes(latest, 1) is None
    assert changes(latest, 2) is not None


def test_what_changed_within_the_ring_is_told_although_its_window_is_no_longer_shown() -> None:
    latest = Latest()
    heard = seq_of("1000000-0")
    latest.apply([point(1, minute * MINUTE) for minute in range(1, 1 + WINDOWS_KEPT)], heard)
    latest.commit()
    for minute in range(1 + WINDOWS_KEPT, 20):
        latest.apply([point(1, minute * MINUTE)], seq_of(f"{1_000_000 + 3_000 * minute}-0"))
        latest.commit()
    # A minute has not passed: who was away gets every window that changed.
    told = changes(latest, heard)
    assert told is not None
    assert [start // MINUTE for start, *_ in told["revenue@1m"]["points"]] == list(range(1 + WINDOWS_KEPT, 20))
    assert starts(latest) == list(range(20 - WINDOWS_KEPT, 20))
    latest.apply([point(1, 20 * MINUTE)], seq_of("2000000-0"))
    latest.commit()
    assert changes(latest, heard) is None


def test_a_late_correction_is_told_and_the_latest_windows_stay() -> None:
    latest = Latest()
    say(latest, [point(1, minute * MINUTE) for minute in range(10, 10 + WINDOWS_KEPT)])
    latest.commit()
    before = latest.seq
    say(latest, [point(9, 2 * MINUTE, state=State.CORRECTED)])
    latest.commit()
    told = changes(latest, before)
    assert told is not None
    assert told["revenue@1m"]["points"] == [[2 * MINUTE, 9, 1, "corrected", 1]]
    assert starts(latest) == list(range(10, 10 + WINDOWS_KEPT))


def test_a_snapshot_says_again_what_has_changed() -> None:
    latest = Latest()
    say(latest, [point(1)])
    latest.commit()
    assert value(latest) == (1, "open")
    say(latest, [point(2)])
    latest.commit()
    assert value(latest) == (2, "open")


def test_a_stream_made_anew_keeps_what_is_known_and_counts_from_the_beginning() -> None:
    latest = Latest()
    latest.apply([point(1)], seq_of("5000-0"))
    latest.commit()
    latest.restart()
    assert not latest.knows_since(seq_of("5000-0"))
    latest.apply([point(2, metric="orders", country="US")], seq_of("4000-0"))
    latest.commit()
    assert set(changes(latest, 0) or ()) == {"orders@1m{country=US}"}
    assert set(snapshot(latest)) == {"orders@1m{country=US}", "revenue@1m"}


def test_who_heard_less_than_what_was_missed_gets_all() -> None:
    latest = Latest()
    latest.apply([point(1)], 10)
    latest.missed(9)
    latest.commit()
    assert not latest.knows_since(8)
    assert latest.knows_since(9)


def test_the_series_that_changed_longest_ago_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SERIES", 3)
    latest = Latest()
    say(latest, [point(metric="orders", country=country) for country in "ABC"])
    latest.commit()
    heard = latest.seq
    say(latest, [point(2, metric="orders", country="A")])
    latest.commit()
    say(latest, [point(metric="orders", country="D")])
    latest.commit()
    assert {series["dimensions"]["country"] for series in snapshot(latest).values()} == {"A", "C", "D"}
    assert len(latest) == 3
    # B's last word was heard, so nothing is missed.
    assert changes(latest, heard) is not None
    assert changes(latest, heard - 1) is None


def test_many_windows_of_one_series_take_no_more_room_than_there_is() -> None:
    latest = Latest()
    for minute in range(10_000):
        say(latest, [point(1, minute * MINUTE)])
        latest.commit()
    assert starts(latest) == list(range(10_000 - WINDOWS_KEPT, 10_000))
    assert all(len(series.points) <= MOST_WINDOWS for series in latest.all())


def test_the_latest_value_of_each_series_of_a_metric() -> None:
    latest = Latest()
    say(
        latest,
        [
            point(1, MINUTE, metric="orders", country="US"),
            point(2, 2 * MINUTE, metric="orders", country="US"),
            point(3, MINUTE, metric="orders", country="DE"),
            point(4, MINUTE, metric="orders", window="1d", country="US"),
        ],
    )
    latest.commit()
    assert {key: one.value for key, one in latest.values("orders", "1m").items()} == {("US",): 2, ("DE",): 3}
    assert latest.values("nothing", "1m") == {}


def test_series_whose_texts_look_alike_stay_apart() -> None:
    latest = Latest()
    say(latest, [point(1, metric="sizes", a="x,b=y", b="z"), point(2, metric="sizes", a="x", b="y,b=z")])
    latest.commit()
    assert len(latest) == 2
