from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import valkey
import zstandard

from sinks.deadletter import DeadLetters, DeadLetterSink
from sinks.records import DeadLetter, Reason, Shape
from streamgauge.forgetting import Marks, Theirs, Whose, all_counted, counted_until, delete_entries, delete_letters
from streamgauge.forgotten import scan_people
from tests.batches import plan_of

PLAN = plan_of("""
[event]
person = "who.id"
time = "at"
required = ["kind"]
[[metric]]
name = "n"
measure = "count"
""")
ANN = "ann@example.org"
PSEUDONYM = "0123456789abcdef" * 2
GOOD = {"who": {"id": ANN}, "at": "2026-01-01T00:00:00Z", "kind": "view"}
LETTER = DeadLetter("events", "1-0", 0, Reason.BAD_TYPE, "", b"")


def data(event: Any) -> list[bytes]:
    return [b"data", event if isinstance(event, bytes) else json.dumps(event).encode()]


def batch(*events: Any) -> list[bytes]:
    return [b"batch", json.dumps(events).encode()]


def theirs(user: str = ANN) -> Theirs:
    return Theirs(PLAN, user, Marks(user, PSEUDONYM))


BOBS = {**GOOD, "who": {"id": "bob"}}


@pytest.mark.parametrize(
    ("fields", "whose"),
    [
        (data(GOOD), Whose.ALONE),
        (data(BOBS), None),
        (data({**GOOD, "note": ANN, "who": {"id": "bob"}}), None),
        (data({"who": {"id": ANN}, "at": "never"}), Whose.ALONE),
        (data({**GOOD, "at": "9999-01-01T00:00:00Z"}), Whose.ALONE),
        (data(b'{"who": {"id": "\\u0061nn@example.org"}}'), Whose.ALONE),
        (data(b'{"who": {"id": "ann@example.org"'), Whose.ALONE),
        (data(b'{"who": {"id": "joann@example.org"'), None),
        ([b"who.id", ANN.encode(), b"kind", b"view"], Whose.ALONE),
        ([b"who.id", b"bob"], None),
        (batch(GOOD, GOOD), Whose.ALONE),
        (batch(GOOD, BOBS), Whose.SHARED),
        (batch(GOOD, 7), Whose.SHARED),
        (batch(BOBS), None),
        ([b"batch", b'[{"who": {"id": "ann@example.org"}}'], Whose.SHARED),
        ([b"trace", b"1", *data(GOOD)], Whose.ALONE),
        (data({**GOOD, "who": {"id": f"~{PSEUDONYM}"}}), Whose.ALONE),
        (data({**GOOD, "who": {"id": PSEUDONYM}}), None),
        (batch({**GOOD, "who": {"id": f"~{PSEUDONYM}"}}, GOOD), Whose.ALONE),
        ([b"who.id", b"~" + PSEUDONYM.encode()], Whose.ALONE),
        (data(b'{"who": {"id": "~%b"' % PSEUDONYM.encode()), Whose.ALONE),
    ],
)
def test_whose_an_entry_is(fields: list[bytes], whose: Whose | None) -> None:
    others = [("1-0", data(BOBS)), ("3-0", batch(BOBS, 7))]
    assert theirs().of([others[0], ("2-0", fields), others[1]]) == ({} if whose is None else {"2-0": whose})


def test_a_number_as_an_id_is_that_of_the_text() -> None:
    assert theirs("42").of([("1-0", data({"who": {"id": 42}, "kind": "v"}))]) == {"1-0": Whose.ALONE}


@pytest.mark.parametrize(
    ("user", "raw", "names"),
    [
        (ANN, b"user=ann@example.org&", True),
        (ANN, b"user=ann%40example.org&", True),
        (ANN, b"joann@example.org", False),
        ("josé.garcia", rb'{"who": "jos\u00e9.garcia"', True),
        ("Müller-99", rb'{"who": "M\u00FCller-99"', True),
        ("org/alice99", rb'{"who": "org\/alice99"', True),
        ("a b/cdefgh", b"user=a%20b%2Fcdefgh&", True),
        ("100200", b'{"value": 100200}', False),
        ("100200", b'{"user": "100200"}', True),
        ("bob", b'"bob"', False),
        ("a\"b'cdef", b'"a\\"b\'cdef"', True),
    ],
)
def test_an_id_is_looked_for_as_a_word_of_its_own(user: str, raw: bytes, names: bool) -> None:
    assert Marks(user, PSEUDONYM).names(raw) is names
    assert Marks(user, PSEUDONYM).tells(raw + PSEUDONYM.encode())


def test_letters_of_the_person_alone_are_deleted(valkey_client: valkey.Valkey) -> None:
    own = [
        replace(LETTER, raw=json.dumps({**GOOD, "at": "never"}).encode()),
        replace(LETTER, raw=b"who.id=ann%40example.org&at=never", shape=Shape.FIELDS),
        replace(LETTER, raw=b"{ann@example.org", reason=Reason.MALFORMED, shape=Shape.DATA),
    ]
    kept = [
        replace(LETTER, raw=json.dumps(BOBS).encode()),
        replace(LETTER, raw=batch(GOOD, BOBS)[1], shape=Shape.BATCH),
        replace(LETTER, stream="influx", entry_id="", raw=b"amount value=1"),
    ]
    DeadLetterSink(valkey_client).write([*own, *kept])
    letters = DeadLetters(valkey_client)
    done = delete_letters(letters, theirs())
    assert (done.deleted, done.shared) == (3, 1)
    assert [one.letter.raw for page in letters.pages() for one in page if one.letter] == [one.raw for one in kept]


def test_entries_are_deleted_once_they_are_counted(valkey_client: valkey.Valkey) -> None:
    for number, event in enumerate([GOOD, BOBS, GOOD, GOOD], start=1):
        valkey_client.xadd("s", {"data": json.dumps(event)}, id=f"{number}-0")
    assert counted_until(valkey_client, "s", "streamgauge") == "0-0"
    assert counted_until(valkey_client, "none", "streamgauge") == "0-0"
    valkey_client.xgroup_create("s", "streamgauge", id="3-0")
    assert not all_counted(valkey_client, ["s"], "streamgauge")()
    done = delete_entries(valkey_client, "s", theirs(), "streamgauge")
    assert (done.deleted, done.uncounted) == (2, 1)
    assert [entry_id for entry_id, _ in valkey_client.xrange("s")] == [b"2-0", b"4-0"]
    valkey_client.xgroup_setid("s", "streamgauge", "4-0")
    assert all_counted(valkey_client, ["s", "none"], "streamgauge")()


def test_rows_that_wait_for_what_becomes_of_people_are_looked_through(tmp_path: Path) -> None:
    def write(name: str, *persons: str) -> None:
        halves = {
            half: np.array([int(one[at : at + 16], 16) for one in persons], dtype=np.uint64).tobytes()
            for half, at in (("high", 0), ("low", 16))
        }
        packed = msgspec.msgpack.encode({"version": 1, "rows": [{**halves, "level": b""}]})
        (tmp_path / name).write_bytes(zstandard.ZstdCompressor().compress(packed))

    write("churn.ab-1", "fe" * 16, PSEUDONYM)
    write("churn.ab-2", "fe" * 16)
    # The same half is not the same person.
    write("churn.ab-3", PSEUDONYM[:16] + "0" * 16)
    scan = scan_people(tmp_path, Marks(ANN, PSEUDONYM), 10.0)
    assert (scan.scanned, scan.found) == ("3 files", 1)
