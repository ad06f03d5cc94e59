from __future__ import annotations

from typing import Any

import orjson
import pytest
import valkey
from hypothesis import given
from hypothesis import strategies as st

from sinks.alert_records import Alert, AlertStatus, Severity
from sinks.errors import Misconfigured, Retryable
from sinks.live import _STATUS_TYPES, FIELD, LIVE_STREAM, LiveSink, Update, decode_update, encode_update
from sinks.records import Point, State
from tests.ports import free_port
from tests.servers import ValkeyServer

texts = st.text(st.characters(exclude_categories=["Cs"]))
whole = st.integers(-(1 << 53), 1 << 53)
numbers = whole | st.floats(allow_nan=False, allow_infinity=False)
points_ = st.builds(
    Point,
    metric=texts,
    window=texts,
    start_ms=whole,
    dimensions=st.lists(st.tuples(texts, texts), max_size=4).map(tuple),
    value=numbers | st.none() | st.dictionaries(texts, numbers, max_size=3),
    count=st.integers(0, 1 << 53),
    state=st.sampled_from(State),
    revision=st.integers(1, 1 << 53),
    watermark_ms=st.integers(-(1 << 62), 1 << 62),
)
# A status may say anything under names that nobody relies on.
others = texts.filter(lambda name: name not in _STATUS_TYPES)
status_ = st.dictionaries(texts, st.dictionaries(others, st.none() | st.booleans() | whole, max_size=3), max_size=3)


def point(value: float = 1, **dimensions: str) -> Point:
    return Point("edits", "1m", 60_000, tuple(dimensions.items()), value, 1, State.OPEN, 1, 0)


def entries(client: valkey.Valkey, stream: str = LIVE_STREAM) -> list[Update]:
    return [decode_update(fields[FIELD]) for _, fields in client.xrange(stream)]


@given(st.lists(points_, max_size=4), status_, whole)
def test_an_update_comes_back_as_it_was(points: list[Point], status: dict[str, Any], now_ms: int) -> None:
    found = decode_update(encode_update(now_ms, points, status))
    assert found == Update(now_ms, points, status)
    # 3 and 3.0 are equal to Python but not the same number on a screen.
    assert [repr(one.value) for one in found.points] == [repr(one.value) for one in points]


def test_numbers_that_json_has_not_are_none() -> None:
    found = decode_update(encode_update(1, [point(float("nan")), point(float("inf"))], {}))
    assert [one.value for one in found.points] == [None, None]


json_values = st.recursive(
    st.none() | st.booleans() | whole | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
rows_ = st.tuples(
    st.just("edits") | json_values,
    st.just("1m") | json_values,
    st.just(0) | json_values,
    st.just([["a", "b"]]) | st.just([["a", 1]]) | json_values,
    st.just(1) | json_values,
    st.just(1) | json_values,
    st.just("open") | json_values,
    st.just(1) | json_values,
    st.just(0) | json_values,
)


@given(
    st.binary()
    | json_values.map(orjson.dumps)
    | st.fixed_dictionaries(
        {"t": st.just(1) | json_values},
        optional={
            "points": st.lists(rows_ | json_values, max_size=2) | json_values,
            "status": st.just({"events:{0}": {"lag_ms": 0}}) | st.dictionaries(texts, json_values) | json_values,
        },
    ).map(orjson.dumps)
)
def test_anything_else_is_a_value_error(raw: bytes) -> None:
    try:
        found = decode_update(raw)
    except ValueError:
        return
    # What is let through is of the types that the readers rely on.
    assert type(found.at_ms) is int
    assert all(isinstance(status, dict) for status in found.status.values())
    for one in found.points:
        assert (type(one.metric), type(one.window), type(one.start_ms)) == (str, str, int)
        assert (type(one.count), type(one.revision), type(one.watermark_ms)) == (int, int, int)
        assert all(type(name) is str and type(value) is str for name, value in one.dimensions)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lag", "1"),
        ("lag", True),
        ("lag_ms", None),
        ("gaps", 1.5),
        ("lost", None),
        ("lost_exact", 1),
        ("caught_up", None),
        ("at_ms", "now"),
        ("seen_ms", []),
        ("max_event_ms", "a"),
    ],
)
def test_a_status_of_another_type_is_a_value_error(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="of another type"):
        decode_update(orjson.dumps({"t": 1, "status": {"s": {name: value}}}))


@pytest.mark.parametrize("value", [b'"1"', b"[1]", b'{"p50":"1"}', b"true", b"[" * 300 + b"]" * 300])
def test_a_value_of_another_type_is_a_value_error(value: bytes) -> None:
    sound = encode_update(1, [point(17.5)], {})
    assert decode_update(sound).points[0].value == 17.5
    with pytest.raises(ValueError, match="of another type"):
        decode_update(sound.replace(b"17.5", value))


def test_an_alert_that_could_not_be_told_is_a_value_error() -> None:
    deep = b"[" * 300 + b"]" * 300
    with pytest.raises(ValueError, match="not an update"):
        decode_update(b'{"t":1,"alerts":{"a":{"why":' + deep + b"}}}")


def test_a_status_may_say_that_it_does_not_know_and_more_than_is_known() -> None:
    status = {"s": {"lag": None, "lag_ms": 1.5, "max_event_ms": None, "later": ["version"]}, "t": {}}
    assert decode_update(orjson.dumps({"t": 1, "status": status})).status == status


ALERT = Alert(
    id="a1",
    rule="edits_low",
    metric="edits",
    window="1m",
    dimensions=(("channel", "#en"),),
    severity=Severity.ERROR,
    status=AlertStatus.FIRING,
    opened_ms=1,
    last_seen_ms=2,
    score=float("inf"),
    peak=5.0,
    why="lowest in 8 days",
)


def test_alerts_are_told_as_the_hub_tells_them_and_none_are_a_word_too() -> None:
    found = decode_update(encode_update(1, [], {}, alerts=[ALERT], watch={"edits_low": {"learning": 3, "ok": 20}}))
    # JSON has no infinity.
    assert found.alerts == {"a1": ALERT.to_live() | {"score": None}}
    assert found.watch == {"edits_low": {"learning": 3, "ok": 20}}
    assert decode_update(encode_update(1, [], {}, alerts=[], watch={})) == Update(1, alerts={}, watch={})
    assert decode_update(encode_update(1, [], {})) == Update(1)


def test_alerts_come_once_and_behind_the_points_that_they_are_about(valkey_client: valkey.Valkey) -> None:
    LiveSink(valkey_client).write([point()] * 2_500, {}, now_ms=1, alerts=[ALERT], watch={"r": {"ok": 1}})
    said = [(len(one.points), one.alerts is not None, one.watch) for one in entries(valkey_client)]
    assert said == [(1_000, False, None), (1_000, False, None), (500, True, {"r": {"ok": 1}})]


@pytest.mark.parametrize("watch", [[], "all", {"r": 3}, {"r": {"ok": "3"}}, {"r": {"ok": True}}, {"r": {"ok": 1.5}}])
def test_a_watch_of_another_type_is_a_value_error(watch: object) -> None:
    with pytest.raises(ValueError, match="of another type"):
        decode_update(orjson.dumps({"t": 1, "watch": watch}))


def test_points_and_status_are_one_entry(valkey_client: valkey.Valkey) -> None:
    status = {"events:{0}": {"lag_ms": 5, "caught_up": False, "max_event_ms": None}}
    points = [point(1, channel="#en"), point(2.5)]
    LiveSink(valkey_client).write(points, status, now_ms=17)
    LiveSink(valkey_client, stream="other").write([], {}, now_ms=18)
    assert entries(valkey_client) == [Update(17, points, status)]
    assert entries(valkey_client, "other") == [Update(18, [], {})]


def test_many_points_are_several_entries_in_their_order(valkey_client: valkey.Valkey) -> None:
    points = [point(number) for number in range(3_000)]
    LiveSink(valkey_client).write(points, {}, now_ms=17)
    found = entries(valkey_client)
    assert [len(update.points) for update in found] == [1_000] * 3
    assert [one for update in found for one in update.points] == points


def test_the_stream_keeps_about_the_last_entries(valkey_client: valkey.Valkey) -> None:
    sink = LiveSink(valkey_client, maxlen=100)
    for number in range(1_000):
        sink.write([], {}, now_ms=number)
    found = [update.at_ms for update in entries(valkey_client)]
    # It is trimmed by whole nodes of at most a hundred entries each.
    assert 100 <= len(found) <= 200
    assert found == list(range(1_000 - len(found), 1_000))


def test_a_server_that_is_away_is_retryable_and_the_same_write_works_later() -> None:
    port = free_port()
    client = valkey.Valkey(port=port, socket_timeout=1)
    sink = LiveSink(client)
    with pytest.raises(Retryable, match=f"live stream {LIVE_STREAM}: .*refused"):
        sink.write([point()], {}, now_ms=1)
    with ValkeyServer(port=port):
        sink.write([point()], {}, now_ms=1)
        assert entries(client) == [Update(1, [point()], {})]
    with pytest.raises(Retryable):
        sink.write([point()], {}, now_ms=2)
    client.close()


def test_a_full_server_is_retryable_and_its_message_is_short_and_without_the_points(
    valkey_client: valkey.Valkey,
) -> None:
    valkey_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Retryable, match="maxmemory") as caught:
            LiveSink(valkey_client).write([point(country="of-a-person")] * 5_000, {}, now_ms=1)
    finally:
        valkey_client.config_set("maxmemory", 0)
    # A whole tick of points would be written into the log at each try.
    assert len(str(caught.value)) < 300
    assert "of-a-person" not in str(caught.value)


def test_on_a_full_server_the_oldest_entries_make_room(valkey_client: valkey.Valkey) -> None:
    """Those of the live stream: they are in the databases too, and the processor must go on."""
    sink = LiveSink(valkey_client)
    for number in range(8):
        sink.write([point(number)], {}, now_ms=number)
    valkey_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Retryable, match="maxmemory"):
            sink.write([point()], {}, now_ms=8)
    finally:
        valkey_client.config_set("maxmemory", 0)
    assert [update.at_ms for update in entries(valkey_client)] == [4, 5, 6, 7]


def test_what_no_repetition_puts_right_is_misconfigured(valkey_client: valkey.Valkey, valkey_url: str) -> None:
    valkey_client.set(LIVE_STREAM, "no stream")
    with pytest.raises(Misconfigured):
        LiveSink(valkey_client).write([point()], {}, now_ms=1)
    valkey_client.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], commands=["+get"])
    stranger = valkey.Valkey.from_url(valkey_url, username="reader", password="x")
    try:
        with pytest.raises(Misconfigured):
            LiveSink(stranger, stream="other").write([point()], {}, now_ms=1)
    finally:
        stranger.close()
        valkey_client.acl_deluser("reader")
