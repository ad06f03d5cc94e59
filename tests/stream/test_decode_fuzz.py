"""Whatever a producer writes, each event is a row or a dead letter, whichever way it is read, and nothing is raised.

More examples than here are tried by `make fuzz`.
"""

from __future__ import annotations

import os
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.batches import Decoded, RawBatch, ShardBatch
from stream.decode import Decoder
from stream.enrich import Enricher
from stream.letters import Letters
from tests.batches import STREAM, T0, plan_of, pseudonyms

PLAN = plan_of("""
[event]
time = "time"
person = "user"
id = "id"
name = "event"
required = ["user"]
[fields]
flag = "boolean"
"geo.at.lat" = "number"
[[metric]]
name = "added"
measure = "sum"
value = "added"
by = ["channel", "browser", "country", "referrer_host"]
[enrich]
user_agent = "agent"
ip = "ip"
url = "url"
referrer = "referrer"
""")
NATIVE, SLOW = Decoder(PLAN, natively_from=1), Decoder(PLAN, natively_from=1_000_000)
ENRICHER, LETTERS = Enricher(PLAN, pseudonyms(), 2), Letters(PLAN, pseudonyms())
fuzz = settings(
    deadline=None, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")), suppress_health_check=list(HealthCheck)
)

_NAMES = ["time", "user", "id", "event", "flag", "geo", "at", "lat", "added", "channel", "agent", "ip", "url", "geo.at"]
_ODD_NUMBERS = [
    "1e400",
    "-0",
    "1E-400",
    "9" * 400,
    "-9223372036854775809",
    "0.1e1",
    "01",
    "+1",
    ".5",
    "NaN",
    "-Infinity",
]
_ODD_TEXTS = [r'"\ud800"', r'"\udc00\ud800"', r'"\u0000"', r'"\/"', '"\x00"', '"\ufeff"', r'"\x41"', '"', '"\\"', "''"]
_ODD_TEXTS += ['"2015-09-12T00:00:00Z"', '"9999-12-31T23:59:60Z"', '"http://["', '"::1"', f'"{"a" * 3_000}"']
numbers = st.integers().map(str) | st.floats().map(repr) | st.sampled_from(_ODD_NUMBERS)
texts = st.text(max_size=8).map(lambda text: f'"{text}"') | st.sampled_from(_ODD_TEXTS)
scalars = st.sampled_from(["null", "true", "false", "", "nul", "{", "]", ",", str(T0), f"{T0}.5"]) | numbers | texts
spaces = st.sampled_from(["", "", "", " ", "\n", "\t", "\r\n", "\x0b", "\x00"])
names = st.sampled_from(_NAMES) | st.text(max_size=3)


def _object(members: list[tuple[str, str, str]]) -> str:
    return "{" + ",".join(f'"{name}"{space}:{space}{value}' for name, space, value in members) + "}"


def _array(parts: list[str]) -> str:
    return "[" + ",".join(parts) + "]"


def _deep(many: int) -> str:
    return '{"geo":' * many + "1" + "}" * many


nested = st.recursive(
    scalars,
    lambda inner: (
        st.lists(st.tuples(names, spaces, inner), max_size=5).map(_object) | st.lists(inner, max_size=4).map(_array)
    ),
    max_leaves=12,
)
deep = st.integers(1, 3_000).map(_deep) | st.integers(1, 3_000).map(
    lambda many: '{"x":' + "[" * many + "]" * many + "}"
)
objects = st.lists(st.tuples(names, spaces, nested), max_size=8).map(_object)
"""Also with a name twice, where which of the two counts is not promised."""
events = st.lists(st.tuples(st.sampled_from(_NAMES), spaces, scalars), max_size=8, unique_by=lambda one: one[0]).map(
    _object
)
"""Each name once."""
json_bytes = (objects | nested | deep).map(lambda text: text.encode("utf-8", "surrogatepass"))
bodies = json_bytes | st.binary(max_size=30) | st.lists(objects, max_size=6).map(_array).map(str.encode)
flat_names = st.sampled_from([name.encode() for name in [*_NAMES, "geo.at.lat", "data", "batch", ""]]) | st.binary(
    max_size=4
)
flat = st.lists(st.tuples(flat_names, bodies | st.sampled_from([b"1", b"x", b"\xff", b""])), min_size=1, max_size=5)
entries = (
    bodies.map(lambda body: [b"data", body])
    | bodies.map(lambda body: [b"batch", body])
    | flat.map(lambda pairs: [part for pair in pairs for part in pair])
)


def decoded_by(decoder: Decoder, some: list[list[bytes]]) -> Decoded:
    """What a decoder makes of some entries: each is at least one row or letter, each row and letter of one place."""
    raw = [(b"%d-%d" % (T0, number), fields) for number, fields in enumerate(some)]
    decoded = decoder.decode(RawBatch(STREAM, raw, True, T0), T0)
    assert decoded.frame.height == len(decoded.time_ms) == len(decoded.origins)
    places = [(entry, index) for entry, index, _ in decoded.origins]
    places += [(letter.entry_id, letter.index) for letter in decoded.rejects]
    assert len(set(places)) == len(places)
    assert {entry for entry, _ in places} == {entry.decode() for entry, _ in raw}
    return decoded


def told(decoded: Decoded) -> tuple[Any, Any]:
    rows = decoded.frame.select(pl.exclude("\nentry_ms", "\nentry_no")).rows()
    # As texts, as NaN equals nothing.
    taken = [repr((origin, row)) for origin, row in zip(decoded.origins, rows, strict=True)]
    return sorted(taken), sorted((letter.entry_id, letter.index, letter.reason) for letter in decoded.rejects)


def passed_on(decoded: Decoded) -> list[ShardBatch]:
    """What follows takes it too: no event is lost on the way to the shards, and no letter cannot be kept."""
    ENRICHER.left_out.clear()
    parts = ENRICHER.split(decoded)
    assert sum(len(part.time_ms) for part in parts) + ENRICHER.left_out.total() == len(decoded.time_ms)
    for letter in decoded.rejects:
        LETTERS.kept(letter)
    return parts


@given(some=st.lists(entries, min_size=1, max_size=6))
@fuzz
def test_any_entries_are_rows_or_letters(some: list[list[bytes]]) -> None:
    for decoder in (NATIVE, SLOW):
        passed_on(decoded_by(decoder, some))


@given(bodies=st.lists(events | deep, min_size=1, max_size=6), as_batch=st.booleans())
@fuzz
def test_both_ways_say_the_same(bodies: list[str], as_batch: bool) -> None:
    raw = [body.encode("utf-8", "surrogatepass") for body in bodies]
    some = [[b"batch", b"[" + b",".join(raw) + b"]"]] if as_batch else [[b"data", body] for body in raw]
    assert told(decoded_by(NATIVE, some)) == told(decoded_by(SLOW, some))


@given(some=st.lists(events, min_size=2, max_size=6))
@fuzz
def test_an_event_means_the_same_alone(some: list[str]) -> None:
    raw = [[b"data", body.encode("utf-8", "surrogatepass")] for body in some]
    rows, letters = told(decoded_by(NATIVE, raw))
    assert len(rows) + len(letters) == len(some)
    alone = [told(decoded_by(NATIVE, [one])) for one in raw]
    assert sum(len(one[0]) for one in alone) == len(rows)
    assert sorted(letter[2] for letter in letters) == sorted(letter[2] for one in alone for letter in one[1])


@pytest.mark.parametrize("name", ["channel", "unread"])
@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (r"\ud83d\ude00", True),
        (r"\uD83D\uDE00\\ud83d", True),
        (r"\ud83d", False),
        (r"\\\ud83d", False),
        (r"\\ud83d\ude00", False),
        (r"\ud83d\ud83d\ude00", False),
        (r"\ude00\ud83d", False),
    ],
)
def test_half_a_surrogate_pair_is_refused_wherever_it_is(name: str, text: str, taken: bool) -> None:
    """Also in a field that nobody reads, and whichever way the event is read."""
    body = b'{"user":"u","%b":"%b"}' % (name.encode(), text.encode())
    for decoder in (NATIVE, SLOW):
        for some in ([body], [b'{"user":"a"}', body, b'{"user":"b"}'], [b"{}", body]):
            rows, letters = told(decoded_by(decoder, [[b"data", one] for one in some]))
            assert len(rows) == (2 if len(some) == 3 else 0) + taken
            assert len(letters) == len(some) - len(rows)
