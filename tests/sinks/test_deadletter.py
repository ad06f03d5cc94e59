from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
import valkey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkey._parsers.base import BaseParser

from sinks.deadletter import DeadLetters, DeadLetterSink, Kept, as_sink_error
from sinks.errors import Misconfigured, Retryable
from sinks.records import DeadLetter, Reason, Shape
from tests.ports import free_port
from tests.servers import ValkeyServer

STREAM = "streamgauge:deadletter"


def letter(i: int = 0, *, raw: bytes = b"{", reason: Reason = Reason.MALFORMED) -> DeadLetter:
    return DeadLetter("events:{0}", f"1442016000000-{i}", 0, reason, "expected a value", raw)


letters_ = st.builds(
    DeadLetter,
    st.text(st.characters(exclude_categories=["Cs"])),
    st.just("1442016000000-0"),
    st.integers(0, 2**31),
    st.sampled_from(Reason),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.none() | st.sampled_from(Shape),
)


def kept(client: valkey.Valkey, stream: str = STREAM) -> list[DeadLetter | None]:
    """All letters, oldest first."""
    return [one.letter for page in DeadLetters(client, stream).pages() for one in page]


@given(letters=st.lists(letters_, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_letters_come_back_as_they_were(valkey_client: valkey.Valkey, letters: list[DeadLetter]) -> None:
    valkey_client.flushall()
    sink = DeadLetterSink(valkey_client)
    sink.write(letters)
    assert kept(valkey_client) == letters


def test_the_fields_are_plain_for_other_readers(valkey_client: valkey.Valkey) -> None:
    DeadLetterSink(valkey_client).write([letter(3, raw=b"\x00\xff", reason=Reason.TOO_LATE)])
    ((_, fields),) = valkey_client.xrange(STREAM)
    assert fields == {
        b"stream": b"events:{0}",
        b"entry": b"1442016000000-3",
        b"index": b"0",
        b"reason": b"too_late",
        b"message": b"expected a value",
        b"raw": b"\x00\xff",
    }


def test_more_than_a_pipeline_of_letters_keep_their_order(valkey_client: valkey.Valkey) -> None:
    letters = [letter(i) for i in range(2_500)]
    sink = DeadLetterSink(valkey_client)
    sink.write(letters)
    assert kept(valkey_client) == letters


def test_the_shape_is_a_field_where_there_is_one(valkey_client: valkey.Valkey) -> None:
    DeadLetterSink(valkey_client).write([replace(letter(), shape=Shape.BATCH)])
    ((_, fields),) = valkey_client.xrange(STREAM)
    assert fields[b"shape"] == b"batch"


# Reading


def test_pages_go_either_way_and_keep_to_their_bounds(valkey_client: valkey.Valkey) -> None:
    DeadLetterSink(valkey_client).write([letter(i) for i in range(1_234)])
    letters = DeadLetters(valkey_client)
    ids = [one.id for page in letters.pages() for one in page]
    assert (len(ids), len(set(ids)), letters.length(), letters.newest_id()) == (1_234, 1_234, 1_234, ids[-1])
    assert [one.id for page in letters.pages(backwards=True) for one in page] == ids[::-1]
    assert [one.id for page in letters.pages(ids[7], f"({ids[900]}") for one in page] == ids[7:900]
    assert [one.id for page in letters.pages(ids[7], ids[9], backwards=True) for one in page] == ids[7:10][::-1]
    assert all(len(page) <= 500 for page in letters.pages())
    first = next(letters.pages())[0]
    assert first.refused_ms == int(first.id.split("-")[0])


def test_large_letters_make_small_pages(valkey_client: valkey.Valkey) -> None:
    DeadLetterSink(valkey_client).write([letter(i, raw=b"x" * 500_000) for i in range(120)])
    sizes = [len(page) for page in DeadLetters(valkey_client).pages()]
    assert sum(sizes) == 120
    assert all(size * 500_000 <= 8 << 20 for size in sizes[1:])


def test_pages_go_on_while_letters_are_removed(valkey_client: valkey.Valkey) -> None:
    DeadLetterSink(valkey_client).write([letter(i) for i in range(700)])
    letters = DeadLetters(valkey_client)
    removed = [letters.remove([one.id for one in page]) for page in letters.pages()]
    assert sum(removed) == 700
    assert (letters.length(), letters.newest_id(), letters.remove([]), letters.remove(["1-0"])) == (0, None, 0, 0)


@pytest.mark.parametrize(
    "change",
    [{b"raw": None}, {b"reason": b"of a later version"}, {b"index": b"x"}, {b"entry": b"no id"}, {b"shape": b"round"}],
    ids=lambda change: str(change),
)
def test_an_entry_that_is_no_letter_does_not_hide_the_others(
    valkey_client: valkey.Valkey, change: dict[bytes, bytes | None]
) -> None:
    sink = DeadLetterSink(valkey_client)
    sink.write([letter(0)])
    ((_, fields),) = valkey_client.xrange(STREAM)
    strange = {name: value for name, value in (fields | change).items() if value is not None}
    strange_id = valkey_client.xadd(STREAM, strange).decode()
    sink.write([letter(1)])
    (page,) = DeadLetters(valkey_client).pages()
    assert [one.letter for one in page] == [letter(0), None, letter(1)]
    assert page[1] == Kept(strange_id, None)


def test_nothing_to_write_makes_no_stream(valkey_client: valkey.Valkey) -> None:
    DeadLetterSink(valkey_client).write([])
    assert valkey_client.exists(STREAM) == 0


def test_the_stream_is_bounded(valkey_client: valkey.Valkey) -> None:
    sink = DeadLetterSink(valkey_client, "few", maxlen=100)
    sink.write([letter(i) for i in range(2_000)])
    # Valkey trims whole nodes of 100 entries.
    assert 100 <= valkey_client.xlen("few") <= 200
    assert kept(valkey_client, "few")[-1] == letter(1_999)


def test_a_message_that_is_no_valid_text_costs_no_letter(valkey_client: valkey.Valkey) -> None:
    sink = DeadLetterSink(valkey_client)
    sink.write([DeadLetter("s", "1-0", 0, Reason.MALFORMED, "found \udc80", b"\x80")])
    (found,) = kept(valkey_client)
    assert found is not None
    assert (found.message, found.raw) == ("found \\udc80", b"\x80")


def test_a_key_of_another_type_is_a_misconfiguration(valkey_client: valkey.Valkey) -> None:
    valkey_client.set(STREAM, "taken")
    sink = DeadLetterSink(valkey_client)
    letters = DeadLetters(valkey_client)
    acts: list[Callable[[], object]] = [
        lambda: sink.write([letter(raw=b"a-person")]),
        letters.newest_id,
        letters.length,
        lambda: letters.remove(["1-0"]),
    ]
    for act in acts:
        with pytest.raises(Misconfigured, match="WRONGTYPE") as caught:
            act()
        assert "a-person" not in str(caught.value)


def test_a_client_that_answers_text_is_refused(valkey_url: str) -> None:
    text = valkey.Valkey.from_url(valkey_url, decode_responses=True)
    with text, pytest.raises(ValueError, match="decode_responses=False"):
        DeadLetterSink(text)
    with text, pytest.raises(ValueError, match="decode_responses=False"):
        DeadLetters(text)


def test_a_server_that_is_away_is_retryable() -> None:
    with valkey.Valkey(port=free_port()) as client, pytest.raises(Retryable, match=STREAM):
        DeadLetterSink(client).write([letter()])


@pytest.fixture
def small_server() -> Iterator[ValkeyServer]:
    """A server of its own, for tests that make it full, busy or slow."""
    with ValkeyServer(config={"maxmemory": "100mb", "maxmemory-policy": "noeviction"}) as server:
        yield server


def test_a_full_server_is_retryable(small_server: ValkeyServer) -> None:
    with small_server.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(Retryable, match="maxmemory"):
            DeadLetterSink(client).write([letter(i) for i in range(10)])
        client.config_set("maxmemory", "0")
        DeadLetterSink(client).write([letter()])
        assert kept(client) == [letter()]


def test_a_server_that_does_not_answer_in_time_is_retryable(small_server: ValkeyServer) -> None:
    with small_server.client() as client, small_server.client(socket_timeout=0.2) as hurried:
        client.execute_command("CLIENT", "PAUSE", "2000", "WRITE")
        with pytest.raises(Retryable):
            DeadLetterSink(hurried).write([letter()])
        client.execute_command("CLIENT", "UNPAUSE")


def test_a_server_that_runs_a_script_is_retryable(small_server: ValkeyServer) -> None:
    with small_server.client() as client, small_server.client() as scripting:
        client.config_set("busy-reply-threshold", "10")
        endless = threading.Thread(target=lambda: _ignoring_errors(scripting.eval, "while true do end", 0))
        endless.start()
        try:
            with pytest.raises(Retryable, match="BUSY"):
                _write_for(DeadLetterSink(client), duration_s=5)
        finally:
            client.script_kill()
            endless.join()


def _write_for(sink: DeadLetterSink, *, duration_s: float) -> None:
    deadline = time.monotonic() + duration_s
    while time.monotonic() < deadline:
        sink.write([letter()])


def _ignoring_errors(act: Callable[..., object], *arguments: object) -> None:
    with suppress(valkey.ValkeyError):
        act(*arguments)


def test_a_server_that_is_a_replica_for_now_is_retryable(small_server: ValkeyServer) -> None:
    with small_server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
        with pytest.raises(Retryable, match="read only replica"):
            DeadLetterSink(client).write([letter()])


@pytest.mark.parametrize("answer", ["LOADING the dataset in memory", "MISCONF snapshots fail"])
def test_what_else_a_server_says_while_it_cannot_write_is_retryable(answer: str) -> None:
    # No server says these on demand; its words go through the client's own parser.
    error = BaseParser.parse_error(answer)
    assert isinstance(as_sink_error(STREAM, error), Retryable)


def test_a_wrong_password_names_the_setting(small_server: ValkeyServer) -> None:
    with small_server.client() as client:
        client.config_set("requirepass", "right")
    wrong = valkey.Valkey(port=small_server.port, password="wrong")
    with wrong, pytest.raises(Misconfigured, match="VALKEY_URL"):
        DeadLetterSink(wrong).write([letter()])
    with valkey.Valkey(port=small_server.port) as none, pytest.raises(Misconfigured, match="VALKEY_URL"):
        DeadLetterSink(none).write([letter()])
