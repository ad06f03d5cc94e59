from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_api import protocol
from live_api.protocol import MAX_TOPICS, Hello, ProtocolError, Refresh, Subscribe, Topic, Unsubscribe, parse
from sinks.records import series_key

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
# Mostly what is escaped, and what line-minded patterns trip over.
awkward = st.text(st.sampled_from('\\,={}@*:"\n\r\u2028\x00a é'), max_size=8)
dimensions = st.dictionaries(names | awkward.filter(bool), texts | awkward, max_size=4)


def refused(message: Any) -> ProtocolError:
    text = message if isinstance(message, str | bytes) else json.dumps(message)
    with pytest.raises(ProtocolError) as caught:
        parse(text)
    return caught.value


def test_each_op_is_read() -> None:
    assert parse('{"op":"hello","topics":["metric:*","system"]}') == Hello(("metric:*", "system"), None)
    assert parse(b'{"op":"hello","topics":[],"resume":"a1:8123"}') == Hello((), ("a1", 8123))
    assert parse('{"op":"hello","topics":[],"token":"x"}') == Hello((), None, "x")
    assert parse('{"op":"refresh","id":7,"token":"x"}') == Refresh("x", 7)
    assert parse('{"op":"subscribe","id":3,"topics":["metric:orders"]}') == Subscribe(("metric:orders",), 3)
    assert parse('{"op":"unsubscribe","id":"x","topics":["system"]}') == Unsubscribe(("system",), "x")
    assert parse('{"op":"subscribe","topics":["system"]}') == Subscribe(("system",), None)


def test_a_topic_asked_for_twice_counts_once_and_keeps_its_place() -> None:
    topics = ["metric:b", "system", "metric:b", "metric:a"]
    assert parse(json.dumps({"op": "subscribe", "topics": topics})).topics == ("metric:b", "system", "metric:a")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("[]", "bad_json"),
        ("null", "bad_json"),
        ("NaN", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        ("[" * 100_000, "bad_json"),
        ('{"op":"\\ud800"}', "bad_json"),
        ("{}", "unknown_op"),
        ('{"op":null}', "unknown_op"),
        ('{"op":"Hello","topics":[]}', "unknown_op"),
        ('{"op":["hello"],"topics":[]}', "unknown_op"),
        ('{"op":"hello"}', "bad_topics"),
        ('{"op":"hello","topics":[],"token":7}', "bad_token"),
        ('{"op":"refresh","token":""}', "bad_token"),
        ('{"op":"refresh"}', "bad_token"),
        ('{"op":"refresh","token":"' + "x" * 1_025 + '"}', "bad_token"),
        ('{"op":"hello","topics":"metric:a"}', "bad_topics"),
        ('{"op":"hello","topics":[1]}', "bad_topics"),
        ('{"op":"hello","topics":{"metric:a":1}}', "bad_topics"),
        ('{"op":"hello","topics":["orders"]}', "unknown_topic"),
        ('{"op":"subscribe","id":1.5,"topics":[]}', "bad_id"),
        ('{"op":"subscribe","id":{},"topics":[]}', "bad_id"),
        ('{"op":"subscribe","id":[],"topics":[]}', "bad_id"),
    ],
)
def test_what_is_no_message_is_refused_with_a_code(text: str | bytes, code: str) -> None:
    assert refused(text).code == code


@given(st.binary(max_size=200) | texts.map(str.encode))
def test_any_bytes_give_a_message_or_a_protocol_error(raw: bytes) -> None:
    try:
        parse(raw)
    except ProtocolError as error:
        assert orjson.loads(error.frame())["op"] == "error"  # noqa: PT017


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["hello", "subscribe", "unsubscribe"]) | json_values},
        optional={
            "topics": st.lists(st.sampled_from(["system", "metric:*", "metric:a@1m{x=1}"]) | texts) | json_values,
            "id": json_values,
            "resume": json_values,
        },
    )
)
def test_any_object_gives_a_message_or_an_error_that_can_be_answered(body: dict[str, Any]) -> None:
    try:
        parse(json.dumps(body))
    except ProtocolError as error:
        answer = orjson.loads(error.frame())
        assert answer["op"] == "error"
        assert answer["message"]
        if error.code not in ("bad_json", "bad_id"):
            assert answer.get("id") == body.get("id")


def test_an_error_names_what_was_asked_for_and_by_which_request() -> None:
    error = refused({"op": "subscribe", "id": 7, "topics": ["metric:orders", "nonsense"]})
    assert orjson.loads(error.frame()) == {
        "op": "error",
        "id": 7,
        "code": "unknown_topic",
        "message": "expected metric:NAME[@WINDOW][{dimension=value,…}], board:NAME, alerts or system; found 'nonsense'",
    }
    assert "'shout'" in str(refused({"op": "shout"}))


def test_errors_do_not_repeat_long_input() -> None:
    assert len(str(refused({"op": "x" * 10_000}))) <= 200
    assert len(str(refused({"op": "hello", "topics": ["x" * 10_000]}))) <= 300


def test_so_many_topics_and_no_more() -> None:
    topics = [f"metric:m{i}" for i in range(MAX_TOPICS)]
    assert len(parse(json.dumps({"op": "hello", "topics": topics})).topics) == MAX_TOPICS
    error = refused({"op": "subscribe", "id": 1, "topics": [*topics, "system"]})
    assert (error.code, error.request) == ("too_many_topics", 1)
    assert str(MAX_TOPICS) in str(error)
    assert str(MAX_TOPICS + 1) in str(error)


@pytest.mark.parametrize(
    ("text", "resume"),
    [
        ("a1:0", ("a1", 0)),
        ("a1:8123", ("a1", 8123)),
        ("a1:", None),
        ("a1", None),
        ("", None),
        ("a1:-1", None),
        ("a1:+1", None),
        ("a1:1.5", None),
        ("a1: 1", None),
        ("a1:1:2", None),
        ("a1:\u0661", None),
        ("a1:²", None),
        ("a1:" + "9" * 5_000, None),
        (None, None),
        (8123, None),
        (["a1", 1], None),
    ],
)
def test_a_resume_that_cannot_be_read_is_none_at_all(text: object, resume: tuple[str, int] | None) -> None:
    assert parse(json.dumps({"op": "hello", "topics": [], "resume": text})) == Hello((), resume)


@pytest.mark.parametrize(
    ("topic", "hits", "misses"),
    [
        ("metric:orders", [("orders", "1m", {}), ("orders", "1d", {"c": "US"})], [("orders_eu", "1m", {})]),
        ("metric:orders@1m", [("orders", "1m", {"c": "US"})], [("orders", "1d", {}), ("orders", "11m", {})]),
        ("metric:orders*", [("orders", "1m", {}), ("orders_eu", "1d", {})], [("order", "1m", {})]),
        ("metric:*", [("orders", "1m", {}), ("streamgauge_rejects", "total", {"reason": "bot"})], []),
        ("metric:*@1m", [("orders", "1m", {})], [("orders", "1h", {})]),
        ("metric:a{}", [("a", "1m", {}), ("a", "1m", {"c": "x"})], [("b", "1m", {})]),
        (
            "metric:a@1m{c=x}",
            [("a", "1m", {"c": "x"}), ("a", "1m", {"c": "x", "d": "y"})],
            [("a", "1m", {}), ("a", "1m", {"c": "X"}), ("a", "1m", {"d": "x"})],
        ),
        ("metric:a{c=}", [("a", "1m", {"c": ""})], [("a", "1m", {"c": "x"}), ("a", "1m", {})]),
        ("metric:*{c=x,d=y}", [("a", "1m", {"d": "y", "c": "x"})], [("a", "1m", {"c": "x"})]),
    ],
)
def test_topic_patterns(
    topic: str, hits: list[tuple[str, str, dict[str, str]]], misses: list[tuple[str, str, dict[str, str]]]
) -> None:
    parsed = Topic.parse(topic)
    assert parsed is not None
    assert [series for series in hits if not parsed.matches(*series)] == []
    assert [series for series in misses if parsed.matches(*series)] == []


def test_system_is_a_topic_about_no_series() -> None:
    assert [Topic.parse(text) for text in ("system", "alerts", "board:ops")] == [None] * 3
    assert Topic.parse("metric:a@5m/10s") == Topic("a", False, "5m/10s", ())


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "metric:",
        "metric:@1m",
        "metric:{c=x}",
        "metric:a@",
        "metric:a@1m{",
        "metric:a@1m{c}",
        "metric:a@1m{c=x",
        "metric:a@1m{=x}",
        "metric:a@1m{c=x=y}",
        "metric:a@1m{c=x}}",
        "metric:a@1m{c=x\\}",
        "metric:a@1m{c=x}tail",
        "metric:*a",
        "metric:A",
        "metric:a b",
        "metric:orders\n",
        "metric:orders@1m\n",
        "metric:a@1m{c=x}\n",
        "system ",
        "system\n",
        "alert",
        "metric:a{c=1,c=1}",
        "metric:a@1m{c=1,d=2,c=3}",
        "metric:a{c=" + "x" * 2_000 + "}",
        "board:",
        "Metric:a",
    ],
)
def test_what_is_no_topic_is_refused(topic: str) -> None:
    with pytest.raises(ProtocolError, match="expected"):
        Topic.parse(topic)


@given(dimensions, dimensions)
def test_the_key_of_a_series_is_the_topic_of_exactly_that_series(one: dict[str, str], other: dict[str, str]) -> None:
    topic = Topic.parse("metric:" + series_key("orders", "1m", tuple(one.items())))
    assert topic is not None
    assert topic.dimensions == tuple(one.items())
    assert topic.matches("orders", "1m", one)
    # A series with more dimensions than the topic names is meant too; one that lacks or differs in any is not.
    assert topic.matches("orders", "1m", other) == (one.items() <= other.items())
    for name in one:
        assert not topic.matches("orders", "1m", {**one, name: one[name] + "x"})
        assert not topic.matches("orders", "1m", {k: v for k, v in one.items() if k != name})


@given(texts | awkward)
def test_any_text_is_a_topic_or_refused(text: str) -> None:
    for topic in (text, f"metric:{text}", f"metric:a@1m{{{text}}}", f"metric:a{{c={text}}}"):
        try:
            Topic.parse(topic)
        except ProtocolError as error:
            assert error.code == "unknown_topic"  # noqa: PT017


def test_what_the_hub_says() -> None:
    assert orjson.loads(protocol.welcome("a1", 100, 5.0, "1.0")) == {
        "op": "welcome",
        "epoch": "a1",
        "tick_ms": 100,
        "heartbeat_s": 5.0,
        "version": "1.0",
        "wall": None,
        "resumed": False,
    }
    assert orjson.loads(protocol.update(3, 17, [], None, b'{"state":"live"}')) == {
        "op": "update",
        "seq": 3,
        "t": 17,
        "system": {"state": "live"},
    }
    assert orjson.loads(protocol.update(3, 17, [b'"a":1', b'"b":2'], b'{"x":{}}', b"")) == {
        "op": "update",
        "seq": 3,
        "t": 17,
        "series": {"a": 1, "b": 2},
        "alerts": {"x": {}},
    }
    assert orjson.loads(protocol.snapshot("a1", 3, 17, [], None, b"")) == {
        "op": "snapshot",
        "epoch": "a1",
        "seq": 3,
        "t": 17,
        "series": {},
    }
    assert orjson.loads(protocol.reload(500)) == {"op": "reload", "within_ms": 500}
    assert orjson.loads(protocol.heartbeat(3, 17)) == {"op": "heartbeat", "seq": 3, "t": 17}
    assert orjson.loads(protocol.ok("x")) == {"op": "ok", "id": "x"}
    assert orjson.loads(protocol.ok(1, 60_000)) == {"op": "ok", "id": 1, "until": "1970-01-01T00:01:00Z"}
    assert orjson.loads(protocol.bye(7_300)) == {"op": "bye", "retry_in_ms": 7_300}


def test_close_codes_say_whether_to_come_back() -> None:
    def comes_back(code: int) -> bool:
        return 3000 <= code <= 3499 or 4000 <= code <= 4499 or code in (1011, 1012)

    again = {code.name for code in protocol.Close if comes_back(code)}
    assert again == {"FAULT", "RESTARTING", "HELLO_TIMEOUT", "FULL", "BAD_TICKET", "EXPIRED"}
