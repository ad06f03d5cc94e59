from __future__ import annotations

from dataclasses import replace

import pytest

from sinks.alert_records import COMMAND_FIELD, COMMANDS_STREAM, Command, Order
from sinks.erasure import ERASURE_FIELD, Erasure
from stream.batches import RawBatch, Tombstone
from stream.commands import Commands, Erasures
from stream.enrich import shard_of

SAID = Command(Order.SILENCE, "ada", 1, "p", reason="moving", rule="slow", dimensions=(("place", "a"),), until_ms=9)


def batch(*raws: bytes, field: bytes = COMMAND_FIELD) -> RawBatch:
    entries = [(b"1-%d" % number, [field, raw]) for number, raw in enumerate(raws)]
    return RawBatch(COMMANDS_STREAM, entries, True, 0)


def test_a_command_survives_the_trip() -> None:
    assert Commands().of(batch(SAID.to_bytes())) == [[SAID]]


def test_the_first_batch_is_handed_on_even_when_nothing_is_said() -> None:
    it = Commands()
    assert [it.of(batch()), it.of(batch()), it.of(batch(SAID.to_bytes()))] == [[[]], [], [[SAID]]]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        SAID.to_bytes().replace(b'"silence"', b'"shout"', 1),
        SAID.to_bytes().replace(b'"at_ms":1', b'"at_ms":"1"'),
        SAID.to_bytes().replace(b'"by"', b'"bye"'),
        SAID.to_bytes().replace(b'"at_ms":1', b'"at_ms":9223372036854775808'),
        SAID.to_bytes().replace(b'"until_ms":9', b'"until_ms":-1'),
        SAID.to_bytes().replace(b'"ada"', b"null"),
        SAID.to_bytes().replace(b'"moving"', b"{}"),
        SAID.to_bytes().replace(b'"slow"', b"1"),
        SAID.to_bytes().replace(b'"alert":null', b'"alert":[["a"]]'),
    ],
)
def test_what_is_no_command_is_left_out_and_said(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert Commands().of(batch(raw, SAID.to_bytes())) == [[SAID]]
    assert "streamgauge:commands 1-0 is left out" in caplog.text


def test_an_entry_without_the_field(caplog: pytest.LogCaptureFixture) -> None:
    assert Commands().of(batch(SAID.to_bytes(), field=b"x")) == [[]]
    assert "no field c" in caplog.text


GONE = Erasure("0123456789abcdef" * 2, "p", 1)


def test_who_is_to_be_forgotten_goes_to_their_shard_and_is_no_order_about_alerts() -> None:
    said = batch(GONE.to_bytes(), replace(GONE, platform="another").to_bytes(), field=ERASURE_FIELD)
    (tombstone,) = Erasures("p", 7).of(said)
    assert tombstone == Tombstone(shard_of(GONE.person, 7), GONE.person, "1-0")
    assert Erasures("p", 7).of(batch(SAID.to_bytes())) == []
    assert Commands().of(said) == [[]]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        replace(GONE, person="ann@example.org").to_bytes(),
        replace(GONE, person=GONE.person.upper()).to_bytes(),
        GONE.to_bytes().replace(b'"at_ms":1', b'"at_ms":"1"'),
        GONE.to_bytes().replace(b'"p"', b"null"),
        GONE.to_bytes().replace(b'"platform"', b'"form"'),
    ],
)
def test_what_is_no_word_to_forget_is_left_out_and_not_quoted(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert [one.entry for one in Erasures("p", 1).of(batch(raw, GONE.to_bytes(), field=ERASURE_FIELD))] == ["1-1"]
    assert "streamgauge:commands 1-0 is left out" in caplog.text
    assert "ann" not in caplog.text
