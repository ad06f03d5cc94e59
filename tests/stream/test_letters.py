from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.records import DeadLetter, Reason, Shape
from stream.enrich import made
from stream.letters import Letters
from tests.batches import plan_of, pseudonyms

PLAN = plan_of("""
[event]
person = "who.id"
[[metric]]
name = "n"
measure = "count"
[enrich]
ip = "ip"
""")
LETTERS = Letters(PLAN, pseudonyms())
ANN = made(pseudonyms().of("ann"))


def kept(raw: bytes, shape: Shape | None = Shape.DATA) -> bytes:
    letter = DeadLetter("s", "1-0", 0, Reason.FUTURE, "no", raw, shape)
    found = LETTERS.kept(letter)
    assert (found.stream, found.entry_id, found.reason, found.message, found.shape) == (
        "s",
        "1-0",
        letter.reason,
        "no",
        shape,
    )
    return found.raw


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            {"who": {"id": "ann", "n": 1}, "ip": "10.0.0.1", "x": [1]},
            {"who": {"id": ANN, "n": 1}, "ip": None, "x": [1]},
        ),
        ({"who": {"id": 4711}}, {"who": {"id": made(pseudonyms().of("4711"))}}),
        ({"who": {"id": ANN}}, {"who": {"id": ANN}}),
        ({"who": {"id": ""}}, {"who": {"id": ""}}),
        ({"who": {"id": None}}, {"who": {"id": None}}),
        ({"who": {"id": ["ann"]}}, {"who": {"id": ["ann"]}}),
        ({"who": "ann"}, {"who": "ann"}),
        ({"who": None, "ip": None}, {"who": None, "ip": None}),
        ({"time": "x"}, {"time": "x"}),
    ],
)
def test_an_event_that_can_be_read_names_nobody(event: Any, expected: Any) -> None:
    assert json.loads(kept(json.dumps(event).encode())) == expected
    assert json.loads(kept(b"  " + json.dumps(event).encode(), None)) == expected


def test_all_else_is_as_it_came() -> None:
    raw = b'{ "n" : 1.50,"who":{"id":"ann","m":1e2}, "z":"\\u00e9" }'
    assert kept(raw) == b'{"n":1.50,"who":{"id":"%b","m":1e2},"z":"\\u00e9"}' % ANN.encode()
    untouched = b'{ "n" : 1.50 }'
    assert kept(untouched) == untouched


def test_of_a_repeated_name_none_is_kept() -> None:
    assert b"bob" not in kept(b'{"who":{"id":"bob"},"who":{"id":"ann","id":"ann"}}')


def test_flat_fields_name_nobody() -> None:
    raw = b"who.id=ann&ip=10.0.0.1&x=%7B&who.id=ann&who.id="
    assert kept(raw, Shape.FIELDS) == b"who.id=%b&ip=&x=%%7B&who.id=%b&who.id=" % (
        2 * (ANN.replace("~", "~").encode(),)
    )


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"who":{"id":"ann"}', b"[1]", b"7", b"\xff", b"{" * 5_000, b'{"who":{"id":"\xff"}}']
)
@pytest.mark.parametrize("shape", [*Shape, None])
def test_what_cannot_be_read_is_as_it_came(raw: bytes, shape: Shape | None) -> None:
    assert kept(raw, shape) == raw


@given(raw=st.binary() | st.binary().map(b'{"who":'.__add__), shape=st.sampled_from([*Shape, None]))
def test_any_bytes_are_taken(raw: bytes, shape: Shape | None) -> None:
    kept(raw, shape)


def test_without_a_person_nothing_is_looked_at() -> None:
    plan = plan_of('[[metric]]\nname = "n"\nmeasure = "count"')
    letter = DeadLetter("s", "1-0", 0, Reason.FUTURE, "", b'{ "who":1 }', Shape.DATA)
    assert Letters(plan, pseudonyms()).kept(letter) is letter
