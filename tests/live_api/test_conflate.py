"""Whatever happens on the way, a client ends with what the hub holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_api import latest as module
from live_api.interest import Wanted
from live_api.latest import MOST_WINDOWS, WINDOWS_KEPT, Series
from sinks.records import Point, State

from .conftest import point
from .lines import TOPICS, Person, World

MINUTE = 60_000
TOPIC_CHOICES = ["metric:orders@1m", "metric:orders*", "metric:revenue", "metric:*", "alerts", "system", "board:ops"]

points_ = st.builds(
    lambda value, minute, metric, country, state, revision: point(
        value,
        minute * MINUTE,
        metric=metric,
        state=state,
        revision=revision,
        **({"country": country} if metric == "orders" else {}),
    ),
    st.integers(0, 9),
    st.integers(0, WINDOWS_KEPT + 4),
    st.sampled_from(["orders", "revenue"]),
    st.sampled_from(["US", "DE", "FR"]),
    st.sampled_from(State),
    st.integers(1, 5),
)
who_ = st.integers(0, 2)
move_ = st.tuples(st.just("move"), st.lists(points_, min_size=1, max_size=3))
line_ = st.tuples(st.sampled_from(["stall", "stall", "drain", "lose", "connect"]), who_)
rare_ = st.one_of(
    st.tuples(st.just("say"), st.lists(points_, min_size=1, max_size=5)),
    st.tuples(st.just("alert"), st.sampled_from("ab"), st.sampled_from(["firing", "resolved"])),
    st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), who_, st.sampled_from(TOPIC_CHOICES)),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 90])),
    st.tuples(st.sampled_from(["tick", "anew"])),
    st.tuples(st.just("read"), who_),
)
steps_ = st.one_of(move_, move_, move_, line_, line_, rare_)


@settings(max_examples=300)
@given(
    st.lists(steps_, min_size=20, max_size=80),
    st.lists(st.sets(st.sampled_from(TOPIC_CHOICES), min_size=1, max_size=2), min_size=3, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_any_order_of_updates_stalls_and_resumes_ends_with_what_the_hub_holds(
    steps: list[tuple[Any, ...]], topics: list[set[str]], few_series: bool, few_windows: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if few_series:
            patch.setattr(module, "MAX_SERIES", 2)
        if few_windows:
            patch.setattr(module, "WINDOWS_KEPT", 2)
            patch.setattr(module, "MOST_WINDOWS", 3)
        world = World()
        people = [Person(world, wanted) for wanted in topics]
        for name, *rest in steps:
            _do(world, people, name, *rest)
        for person in people:
            person.line.drain()
            person.connect()
        world.tick()
        for person in people:
            person.read()
            fresh = Person(world, person.topics)
            assert person.held(fresh.series) == fresh.series
            assert {name: person.alerts.get(name) for name in fresh.alerts} == fresh.alerts


def _do(world: World, people: list[Person], name: str, *rest: Any) -> None:
    match name:
        case "say":
            world.say(*rest[0])
        case "move":
            world.say(*rest[0])
            world.tick()
        case "alert":
            world.say(alerts={rest[0]: {"id": rest[0], "status": rest[1], "resolved": None, "at": world.now_ms}})
        case "tick":
            world.tick()
        case "wait":
            world.pass_time(rest[0])
        case "anew":
            world.made_anew()
        case "stall" | "drain":
            getattr(people[rest[0]].line, name)()
        case _:
            getattr(people[rest[0]], name)(*rest[1:])


def test_one_frame_serves_all_who_are_in_step() -> None:
    world = World()
    lines = [world.join("metric:orders@1m")[0] for _ in range(5)] + [world.join("metric:revenue")[0]]
    world.say(point(3, metric="orders", country="US"))
    assert world.tick() == 5
    told = [line.received[-1] for line in lines[:5]]
    assert told == [told[0]] * 5
    assert told[0]["series"]["orders@1m{country=US}"]["points"] == [[60_000, 3, 1, "open", 1]]
    assert lines[5].ops == ["welcome", "snapshot"]


def test_who_stalled_gets_one_frame_with_all_it_missed() -> None:
    world = World()
    slow, _ = world.join("metric:orders@1m")
    quick, _ = world.join("metric:orders@1m")
    slow.stall()
    for value in range(1, 8):
        world.say(point(value, metric="orders", country="US"), point(value, metric="orders", country=f"C{value}"))
        world.tick()
    assert quick.ops == ["welcome", "snapshot", *["update"] * 7]
    slow.drain()
    # The frame it was stalled on, and one for the six after it.
    assert slow.ops == ["welcome", "snapshot", "update", "update"]
    merged = slow.received[-1]["series"]
    assert set(merged) == {"orders@1m{country=US}", *(f"orders@1m{{country=C{value}}}" for value in range(2, 8))}
    assert merged["orders@1m{country=US}"]["points"] == [[60_000, 7, 1, "open", 1]]
    # And it is in step again.
    world.say(point(9, metric="orders", country="US"))
    world.tick()
    assert slow.received[-1] == quick.received[-1]


def test_who_was_away_within_the_ring_is_told_what_changed_and_otherwise_all() -> None:
    world = World()
    world.say(point(1), point(1, metric="orders", country="US"))
    world.tick()
    person = Person(world, ["metric:*"])
    person.lose()
    for minute in range(2, 12):
        world.say(point(minute, minute * MINUTE))
        world.tick()
    person.connect()
    assert person.snapshots == 1
    person.lose()
    world.pass_time(61)
    for minute in range(12, 24):
        world.say(point(minute, minute * MINUTE))
        world.tick()
    # Windows that changed after it left have been let go: only all of it is whole.
    person.lose()
    world.pass_time(61)
    world.say(point(1, 24 * MINUTE))
    world.tick()
    person.connect()
    assert person.snapshots == 2


def test_a_resumed_client_to_whom_nothing_happened_is_told_so_at_once() -> None:
    world = World()
    world.say(point(1))
    world.tick()
    person = Person(world, ["metric:*"])
    person.lose()
    line, _ = world.join("metric:*", resume=(person.epoch, person.seq or 0))
    assert line.ops == ["welcome"]
    assert line.received[0]["resumed"] is True


@pytest.mark.parametrize("seq", [0, 5, 1 << 60])
def test_a_resume_of_another_epoch_or_from_the_future_is_none(seq: int) -> None:
    world = World()
    world.say(point(1))
    world.tick()
    for epoch in (world.hub.epoch, "another"):
        line, _ = world.join("metric:*", resume=(epoch, seq))
        if (epoch, seq) == (world.hub.epoch, 0):
            continue  # nothing was ever let go, so even that is known
        if epoch == world.hub.epoch and seq <= world.latest.seq:
            continue
        assert line.ops == ["welcome", "snapshot"]
        assert line.received[0]["resumed"] is False


def test_a_stream_made_anew_is_told_as_a_whole_to_everybody() -> None:
    world = World()
    world.say(point(1))
    world.tick()
    line, _ = world.join("metric:*")
    stalled, _ = world.join("metric:*")
    world.made_anew()
    world.feed._take(_update(point(2)), 5)
    world.tick()
    assert line.received[-1]["op"] == "snapshot"
    assert line.received[-1]["epoch"] == world.hub.epoch
    assert line.received[-1]["seq"] == 5
    assert stalled.received[-1]["series"]["revenue@1m"]["points"][0][1] == 2


def _update(*points: Point) -> Any:
    from sinks.live import Update

    return Update(1, list(points))


@given(
    st.sets(st.sampled_from([*TOPIC_CHOICES, "metric:orders@1m{country=US}", "metric:orders{country=DE}"]), max_size=4),
    st.sampled_from(["orders", "revenue", "orders_late"]),
    st.sampled_from(["1m", "1d"]),
    st.sampled_from([{}, {"country": "US"}, {"country": "DE"}]),
)
def test_what_is_wanted_is_what_any_topic_says(
    topics: set[str], metric: str, window: str, dimensions: dict[str, str]
) -> None:
    series = Series(metric, window, dimensions, b"")
    by_hand = {
        "metric:orders@1m": metric == "orders" and window == "1m",
        "board:ops": metric == "orders" and window == "1m",
        "metric:orders*": metric.startswith("orders"),
        "metric:revenue": metric == "revenue",
        "metric:*": True,
        "metric:orders@1m{country=US}": (metric, window, dimensions) == ("orders", "1m", {"country": "US"}),
        "metric:orders{country=DE}": (metric, dimensions) == ("orders", {"country": "DE"}),
    }
    wanted = Wanted(topics, TOPICS.boards)
    assert wanted.matches(series) is any(by_hand.get(topic, False) for topic in topics)
    assert wanted.system is bool(topics & {"system", "board:ops"})
    assert wanted.alerts is bool(topics & {"alerts", "board:ops"})


def test_windows_are_bounded_whatever_a_backlog_brings() -> None:
    world = World()
    for minute in range(2_000):
        world.say(point(1, minute * MINUTE))
    world.tick()
    assert max(len(series.points) for series in world.latest.all()) <= MOST_WINDOWS
