from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from live_api import latest as module
from live_api.latest import MAX_SERIES, WINDOWS_KEPT, Latest, Series
from sinks.records import Point, State

from .conftest import point

MINUTE = 60_000


def everything(_: Series) -> bool:
    return True


def only(metric: str) -> Callable[[Series], bool]:
    return lambda series: series.metric == metric


def starts(latest: Latest, key: str = "revenue@1m") -> list[int]:
    return [start // MINUTE for start, *_ in latest.snapshot(everything)[key]["points"]]


def value(latest: Latest, minute: int = 1, key: str = "revenue@1m") -> tuple[float, str]:
    points = {start: (value, state) for start, value, _, state, _ in latest.snapshot(everything)[key]["points"]}
    return points[minute * MINUTE]


class View:
    """A client: it knows what frames told it, and asks now and then."""

    def __init__(self, matches: Callable[[Series], bool]) -> None:
        self._matches = matches
        self._since: int | None = None
        self.series: dict[str, dict[int, tuple[Any, ...]]] = {}

    def take(self, latest: Latest) -> None:
        frame = None if self._since is None else latest.changes(self._since, self._matches)
        if frame is None:
            self.series.clear()
            frame = latest.snapshot(self._matches)
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


@given(steps_, st.booleans())
@example([[point(1, 0)], "tick", "take 0", *([point(1, n * MINUTE)] for n in range(1, 12)), "tick", "take 0"], False)
def test_whatever_a_client_missed_it_ends_with_what_the_hub_holds(
    steps: list[list[Point] | str], few_series: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
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
                latest.apply(step)
        latest.commit()
        for client, matches in zip(clients, (everything, only("orders")), strict=True):
            client.take(latest)
            for key, series in latest.snapshot(matches).items():
                held = {start: client.series[key].get(start) for start, *_ in series["points"]}
                assert held == {start: tuple(rest) for start, *rest in series["points"]}
        assert len(latest) <= (4 if few_series else MAX_SERIES)
        for series in latest.snapshot(everything).values():
            assert 1 <= len(series["points"]) <= WINDOWS_KEPT


@given(st.lists(points_.filter(lambda one: one.start_ms < WINDOWS_KEPT * MINUTE), max_size=60))
def test_values_are_the_last_said_except_that_open_never_replaces_settled(said: list[Point]) -> None:
    latest = Latest()
    expected: dict[str, dict[int, tuple[Any, ...]]] = {}
    for one in said:
        latest.apply([one])
        latest.commit()
        key = f"{one.metric}@1m{{country={one.dimensions[0][1]}}}"
        before = expected.setdefault(key, {}).get(one.start_ms)
        if before is None or before[2] is State.OPEN or one.state is not State.OPEN:
            settled = before is not None and before[2] is not State.OPEN
            another = settled and (before[2] is State.CORRECTED or before[:2] != (one.value, one.count))
            state = State.CORRECTED if another and one.state is State.FINAL else one.state
            expected[key][one.start_ms] = (one.value, one.count, state, one.revision)
    shown = latest.snapshot(everything)
    assert {key: {at: tuple(rest) for at, *rest in series["points"]} for key, series in shown.items()} == expected


def test_only_what_changed_is_told() -> None:
    latest = Latest()
    latest.apply([point(1, MINUTE), point(1, 2 * MINUTE), point(5, metric="orders", country="US")])
    assert latest.commit()
    first = latest.seq
    latest.apply([point(2, 2 * MINUTE, revision=2)])
    assert latest.commit()
    assert latest.changes(first, everything) == {
        "revenue@1m": {
            "metric": "revenue",
            "window": "1m",
            "dimensions": {},
            "points": [(2 * MINUTE, 2, 1, "open", 2)],
        }
    }
    assert latest.changes(first, only("orders")) == {}
    assert latest.changes(latest.seq, everything) == {}


def test_a_tick_without_change_has_no_seq_of_its_own() -> None:
    latest = Latest()
    assert not latest.commit()
    latest.apply([point()])
    assert latest.commit()
    assert not latest.commit()
    assert latest.seq == 1
    # A refused point is no change either.
    latest.apply([point(9, state=State.FINAL)])
    latest.commit()
    latest.apply([point(3)])
    assert not latest.commit()


@pytest.mark.parametrize("settled", [State.FINAL, State.CORRECTED])
def test_open_never_replaces_settled(settled: State) -> None:
    latest = Latest()
    latest.apply([point(1), point(7, state=settled), point(2)])
    latest.commit()
    assert value(latest) == (7, settled)
    latest.apply([point(8, state=State.CORRECTED)])
    latest.commit()
    assert value(latest) == (8, State.CORRECTED)


@pytest.mark.parametrize("settled", [State.FINAL, State.CORRECTED])
def test_another_value_of_a_settled_point_is_a_correction(settled: State) -> None:
    latest = Latest()
    latest.apply([point(7, state=settled), point(7, state=State.FINAL)])
    latest.commit()
    assert value(latest) == (7, settled)
    latest.apply([point(8, state=State.FINAL)])
    latest.commit()
    assert value(latest) == (8, State.CORRECTED)


def test_who_heard_of_seqs_that_never_were_gets_all() -> None:
    latest = Latest()
    latest.apply([point()])
    latest.commit()
    assert latest.changes(latest.seq + 1, everything) is None
    assert latest.changes(-1, everything) is None


def test_who_missed_a_dropped_window_gets_all() -> None:
    latest = Latest()
    latest.apply([point(1, MINUTE)])
    latest.commit()
    for minute in range(2, WINDOWS_KEPT + 3):
        latest.apply([point(1, minute * MINUTE)])
        latest.commit()
    assert starts(latest) == list(range(3, WINDOWS_KEPT + 3))
    assert latest.changes(0, everything) is None
    assert latest.changes(1, everything) is None
    assert latest.changes(2, everything) is not None


def test_the_windows_with_the_latest_starts_are_kept_and_a_late_one_until_the_next() -> None:
    latest = Latest()
    latest.apply([point(1, minute * MINUTE) for minute in range(10, 10 + WINDOWS_KEPT)])
    latest.commit()
    latest.apply([point(9, 2 * MINUTE, state=State.CORRECTED)])
    latest.commit()
    assert value(latest, 2) == (9, "corrected")
    assert len(starts(latest)) == WINDOWS_KEPT
    # Another correction takes the place of the first; the latest windows stay.
    latest.apply([point(8, MINUTE, state=State.CORRECTED)])
    latest.commit()
    assert starts(latest) == [1, *range(11, 10 + WINDOWS_KEPT)]
    latest.apply([point(1, (10 + WINDOWS_KEPT) * MINUTE)])
    latest.commit()
    assert starts(latest) == list(range(11, 11 + WINDOWS_KEPT))


def test_the_series_that_changed_longest_ago_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SERIES", 3)
    latest = Latest()
    latest.apply([point(metric="orders", country=country) for country in "ABC"])
    latest.commit()
    heard = latest.seq
    latest.apply([point(2, metric="orders", country="A")])
    latest.commit()
    latest.apply([point(metric="orders", country="D")])
    latest.commit()
    assert {series["dimensions"]["country"] for series in latest.snapshot(everything).values()} == {"A", "C", "D"}
    assert len(latest) == 3
    # B's last word was heard, so nothing is missed.
    assert latest.changes(heard, everything) is not None
    assert latest.changes(heard - 1, everything) is None


def test_a_million_windows_of_one_series_take_no_more_room_than_eight() -> None:
    latest = Latest()
    for minute in range(10_000):
        latest.apply([point(1, minute * MINUTE)])
        latest.commit()
    assert starts(latest) == list(range(10_000 - WINDOWS_KEPT, 10_000))


def test_the_latest_value_of_each_series_of_a_metric() -> None:
    latest = Latest()
    latest.apply(
        [
            point(1, MINUTE, metric="orders", country="US"),
            point(2, 2 * MINUTE, metric="orders", country="US"),
            point(3, MINUTE, metric="orders", country="DE"),
            point(4, MINUTE, metric="orders", window="1d", country="US"),
        ]
    )
    latest.commit()
    assert {key: one.value for key, one in latest.values("orders", "1m").items()} == {("US",): 2, ("DE",): 3}
    assert latest.values("nothing", "1m") == {}


def test_series_whose_texts_look_alike_stay_apart() -> None:
    latest = Latest()
    latest.apply([point(1, metric="sizes", a="x,b=y", b="z"), point(2, metric="sizes", a="x", b="y,b=z")])
    latest.commit()
    assert len(latest) == 2
