"""Who sees some rows only: they hold what everybody holds of those rows, whatever happens to their line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_api.access.identity import EVERY_ROW, Rows
from live_api.protocol import Hello, ProtocolError, Subscribe

from .conftest import point
from .lines import TOPICS, FakeLine, Person, World, viewed

EVERYTHING = ("metric:*", "alerts", "system")
GERMANS = Rows.of({"country": ["DE"]})
COUNTRIES, PLACES = ["DE", "FR", "US"], ["x", "y", "z"]
ROWS = st.one_of(
    st.builds(lambda some: Rows.of({"country": some}), st.sets(st.sampled_from([*COUNTRIES, "none such"]))),
    st.builds(
        lambda one, other: Rows.of({"a": one, "b": other}),
        st.sets(st.sampled_from(PLACES)),
        st.sets(st.sampled_from(PLACES)),
    ),
    st.builds(lambda one: Rows.of({"a": one}), st.sets(st.sampled_from(PLACES), min_size=1)),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("orders"), st.sampled_from(COUNTRIES), st.integers(0, 3), st.integers(0, 99)),
        st.tuples(st.just("sizes"), st.sampled_from(PLACES), st.sampled_from(PLACES), st.integers(0, 99)),
        st.tuples(st.just("revenue"), st.integers(0, 3), st.integers(0, 99)),
        st.tuples(st.just("alert"), st.integers(0, 4), st.sampled_from(COUNTRIES), st.booleans()),
        st.tuples(st.sampled_from(["tick", "stall", "drain", "lose", "connect", "anew", "late", "other topics"])),
    ),
    max_size=40,
)


def alert(country: str | None, status: str = "firing") -> dict[str, Any]:
    dimensions = {} if country is None else {"country": country}
    return {"status": status, "series": {"metric": "orders", "window": "1m", "dimensions": dimensions}}


class Limited(Person):
    """A person who sees some rows only."""

    def __init__(self, world: World, topics: tuple[str, ...], rows: Rows) -> None:
        self.rows = rows
        super().__init__(world, topics)

    def connect(self) -> None:
        if self.client is not None:
            return
        self.line = FakeLine()
        resume = None if self.seq is None else (self.epoch, self.seq)
        self.client = self._world.hub.join(self.line, Hello(tuple(sorted(self.topics)), resume), self.rows)
        self.read()


def shown(world: World, topics: tuple[str, ...], rows: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
    line = FakeLine()
    world.hub.leave(world.hub.join(line, Hello(topics, None), rows))
    return viewed(line.received)


def of_rows(world: World, series: dict[str, Any], rows: Rows) -> dict[str, Any]:
    dimensions = {one.key_json[1:-2].decode(): tuple(one.dimensions.items()) for one in world.latest.all()}
    return {key: held for key, held in series.items() if rows.show(dimensions[key])}


def step(world: World, person: Limited, one: tuple[Any, ...]) -> None:
    match one:
        case ("orders", country, minute, value):
            world.say(point(value, 60_000 * minute, metric="orders", country=country, revision=world.now_ms))
        case ("sizes", a, b, value):
            world.say(point(value, metric="sizes", window="1h", a=a, b=b, revision=world.now_ms))
        case ("revenue", minute, value):
            world.say(point(value, 60_000 * minute, revision=world.now_ms))
        case ("alert", number, country, open_):
            world.say(alerts={f"a{number}": alert(country, "firing" if open_ else "resolved")})
        case ("stall",):
            person.line.stall()
        case ("drain",):
            person.line.drain()
        case ("lose",):
            person.line.drain()
            person.lose()
        case ("connect",):
            person.connect()
        case ("anew",):
            world.made_anew()
        case ("late",):
            # A gap of the stream: who resumes from before it needs a snapshot.
            world.latest.missed(world.latest.seq)
        case ("other topics",):
            person.subscribe("metric:orders")
    world.tick()
    person.read()


@settings(deadline=None, max_examples=150)
@given(ROWS, STEPS)
def test_the_limited_hold_the_filter_of_what_everybody_holds(rows: Rows, steps: list[tuple[Any, ...]]) -> None:
    world = World()
    world.say(alerts={})
    world.tick()
    person = Limited(
        world, ("metric:sizes@1h", "alerts", "board:ops") if rows.may_show(["a", "b"]) else ("alerts",), rows
    )
    if rows.may_show(["country"]):
        person.subscribe("metric:orders@1m")
    else:
        steps = [one for one in steps if one != ("other topics",)]
    for one in steps:
        step(world, person, one)
    person.line.drain()
    person.connect()
    for _ in range(3):
        world.tick()
        person.line.drain()
        person.read()
    topics = tuple(sorted(person.topics))
    series, alerts = shown(world, topics, EVERY_ROW)
    mine = of_rows(world, series, rows)
    assert person.held(mine) == mine
    assert of_rows(world, person.series, rows) == person.series
    assert (
        person.alerts.items()
        >= {name: one for name, one in alerts.items() if rows.show(tuple(one["series"]["dimensions"].items()))}.items()
    )
    assert all(rows.show(tuple(one["series"]["dimensions"].items())) for one in person.alerts.values())


def test_each_kind_of_frame_has_ones_own_rows_only() -> None:
    world = World()
    world.say(point(1, metric="orders", country="DE"), point(2, metric="orders", country="FR"), alerts={})
    world.tick()
    line = FakeLine()
    world.hub.join(line, Hello(("metric:orders", "alerts"), None), GERMANS)
    assert set(line.received[1]["series"]) == {"orders@1m{country=DE}"}
    world.say(point(3, metric="orders", country="DE", revision=2), point(4, metric="orders", country="FR", revision=2))
    world.say(alerts={"d": alert("DE"), "f": alert("FR"), "total": alert(None)})
    world.tick()
    assert set(line.received[2]["series"]) == {"orders@1m{country=DE}"}
    assert set(line.received[2]["alerts"]) == {"d"}
    # What is new for others only is no frame at all, and a series that comes later is theirs or not as well.
    world.say(point(5, metric="orders", country="US"), alerts={"f": alert("FR", "resolved")})
    world.tick()
    assert len(line.received) == 3
    again = FakeLine()
    seen = line.received[2]["seq"]
    world.hub.join(again, Hello(("metric:orders", "alerts"), (line.received[0]["epoch"], seen)), GERMANS)
    assert again.ops == ["welcome"]
    assert again.received[0]["resumed"] is True


def test_what_was_told_of_some_rows_is_not_gone_on_from_with_others() -> None:
    world = World()
    world.say(point(1, metric="orders", country="DE"))
    world.tick()
    line = FakeLine()
    world.hub.join(line, Hello(("metric:orders",), None), GERMANS)
    resume = line.received[0]["epoch"], line.received[1]["seq"]
    for rows in (EVERY_ROW, Rows.of({"country": ["DE", "FR"]})):
        other = FakeLine()
        world.hub.join(other, Hello(("metric:orders",), resume), rows)
        assert other.ops == ["welcome", "snapshot"]


def test_metrics_without_ones_rows_are_not_offered() -> None:
    world = World()
    with pytest.raises(ProtocolError) as caught:
        world.hub.join(FakeLine(), Hello(("metric:revenue",), None), GERMANS)
    assert caught.value.code == "unknown_topic"
    assert str(caught.value) == "expected a metric, one of orders; found 'metric:revenue'"
    client = world.hub.join(FakeLine(), Hello(("metric:*",), None), GERMANS)
    with pytest.raises(ProtocolError, match="expected a metric, one of orders"):
        world.hub.obey(client, Subscribe(("metric:sizes",), 1))
    assert TOPICS.checked(["metric:revenue"]) == {"metric:revenue"}


def test_the_system_of_some_rows_counts_nothing_of_all_rows() -> None:
    world = World()
    line, everybody = FakeLine(), FakeLine()
    world.hub.join(line, Hello(("system",), None), GERMANS)
    world.hub.join(everybody, Hello(("system",), None))
    for _ in range(12):
        world.tick()
    for frame in line.received[1:]:
        assert set(frame["system"]) == {"state", "processor_seen_ms", "watermark_ms", "streams"}
    assert everybody.received[-1]["system"].keys() >= {"watch", "rejects", "rejected_total"}


def test_clients_of_the_same_rows_share_frames_and_others_do_not() -> None:
    world = World()
    for rows in (GERMANS, Rows.of({"country": ["DE"]}), EVERY_ROW, Rows.of({"country": ["FR"]})):
        for _ in range(5):
            world.hub.join(FakeLine(), Hello(("metric:orders",), None), rows)
    world.tick()
    world.say(point(1, metric="orders", country="DE"), point(1, metric="orders", country="FR"))
    before = world.hub.meters.registry.get_sample_value("streamgauge_hub_encoded_frames_total") or 0
    world.tick()
    made = world.hub.meters.registry.get_sample_value("streamgauge_hub_encoded_frames_total")
    assert made == before + 3
