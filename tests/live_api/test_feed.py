"""The feed, read by read: epochs, gaps and streams made anew, over a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest
import valkey
import valkey.asyncio

from live_api import feed
from live_api.endings import end
from live_api.feed import Feed
from live_api.latest import Latest, Series, seq_of
from sinks.errors import Retryable
from sinks.live import FIELD, LIVE_STREAM, LiveSink, Update
from sinks.records import Point
from stream.clock import END_MS, NEVER_MS
from stream.walltime import clock_ms
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import ValkeyServer

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


def value(one: Read | Following) -> object:
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


def test_a_point_without_a_watermark_says_nothing_of_the_time(
    processor: Processor, valkey_server: ValkeyServer
) -> None:
    one = Read(valkey_server.connection_url)
    processor.say(point(1, watermark_ms=NEVER_MS), point(1, country="US", watermark_ms=END_MS))
    one.run(read)
    assert one.feed.system.watermark_ms is None
    processor.say(point(2, watermark_ms=17), point(3, watermark_ms=NEVER_MS))
    one.run(read)
    assert one.feed.system.watermark_ms == 17


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
        await read.feed._ask_store()
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
    with monkeypatch.context() as patched:
        patched.setattr(valkey.asyncio.Valkey, "get", away)
        with pytest.raises(valkey.ConnectionError):
            one.run()
    one.run(read)
    assert one.feed.epoch != before
    assert one.latest.seq == seq_of(last_id(client))
    assert value(one) == 3


async def away(*_: object, **__: object) -> None:
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


# The store, which may be slow or away


class Following:
    """A feed that runs, over a store that the test slows down."""

    def __init__(self, url: str) -> None:
        self.latest = Latest()
        self.answers = asyncio.Event()
        self.failing = 0
        self.stored: list[Point] = []
        self.feed = Feed(url, self.latest, self._recall, lambda _: True, platform="Shop", clock=clock_ms)

    async def _recall(self) -> Iterable[Point]:
        await self.answers.wait()
        if self.failing:
            self.failing -= 1
            raise Retryable("the store is locked")
        return self.stored

    async def until(self, probe: Callable[[], object], within_s: float = 5) -> None:
        async with asyncio.timeout(within_s * PATIENCE):
            while not probe():
                self.latest.commit()
                await asyncio.sleep(0.01)

    def told_since(self, seq: int) -> dict[str, set[int]]:
        return {one.metric: {at for at, (when, _) in one.points.items() if when > seq} for one in self.changes(seq)}

    def changes(self, seq: int) -> list[Series]:
        assert self.latest.knows_since(seq)
        return list(self.latest.changes(seq))


def follow(url: str, act: Callable[[Following], Awaitable[None]]) -> None:
    async def run() -> None:
        one = Following(url)
        tasks = [asyncio.create_task(one.feed.follow()), asyncio.create_task(one.feed.remember())]
        try:
            await act(one)
        finally:
            await end(tasks)

    asyncio.run(run())


QUIET = point(9, metric="orders", window="1d", country="US")


@pytest.mark.parametrize("speaks", [True, False])
def test_the_stream_does_not_wait_for_a_slow_store_and_what_it_has_is_told_when_it_comes(
    processor: Processor, valkey_server: ValkeyServer, speaks: bool
) -> None:
    processor.say(point(1))

    async def act(one: Following) -> None:
        one.stored = [QUIET, point(0.5), point(0.25, 0)]
        await one.until(lambda: one.feed.been_read, 2)
        assert one.feed.system.state(clock_ms()) == "live"
        assert one.feed.unread is not None
        await one.until(lambda: one.latest.settled)
        assert value(one) == 1
        heard = one.latest.seq
        one.answers.set()
        await asyncio.sleep(0.05)
        if speaks:
            processor.say(point(2, 120_000))
        await one.until(lambda: one.feed.unread is None)
        await one.until(lambda: one.latest.settled)
        # To everybody who was connected; and what came live meanwhile stays.
        live = {120_000} if speaks else set()
        assert one.told_since(heard) == {"orders": {60_000}, "revenue": {0} | live}
        (revenue,) = [series for series in one.latest.all() if series.metric == "revenue"]
        assert revenue.points[60_000][1].value == 1

    follow(valkey_server.connection_url, act)


def test_a_quick_store_comes_before_the_stream(processor: Processor, valkey_server: ValkeyServer) -> None:
    processor.say(point(1))
    heard = seq_of(last_id(processor.client))

    async def act(one: Following) -> None:
        one.stored = [QUIET, point(0.5)]
        one.answers.set()
        await one.until(lambda: one.feed.been_read, 1)
        await one.until(lambda: one.latest.settled)
        assert value(one) == 1
        # Who comes back after a restart of this process has it.
        assert one.told_since(heard) == {}
        assert one.latest.values("orders", "1d")[("US",)] == QUIET

    follow(valkey_server.connection_url, act)


def test_a_store_that_fails_is_asked_again(
    processor: Processor, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_RECALL_BACKOFF_S", 0.1)

    async def act(one: Following) -> None:
        one.stored, one.failing = [QUIET], 3
        one.answers.set()
        await one.until(lambda: one.feed.been_read, 0.5)
        assert one.feed.unread == "the store is locked"
        await one.until(lambda: one.feed.unread is None)
        await one.until(lambda: one.latest.values("orders", "1d"))

    follow(valkey_server.connection_url, act)


def test_what_the_store_has_is_shown_while_valkey_is_away() -> None:
    async def act(one: Following) -> None:
        one.stored = [QUIET]
        assert one.feed.system.connected
        await one.until(lambda: not one.feed.system.connected)
        assert not one.feed.been_read
        one.answers.set()
        await one.until(lambda: one.feed.been_read, 0.5)
        await one.until(lambda: one.latest.settled)
        assert one.latest.values("orders", "1d")
        assert one.latest.seq == 1

    follow(f"valkey://127.0.0.1:{free_port()}", act)


# Whether the processor is there


class Clocks:
    """A feed that is told by hand, and clocks that are set and go on by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000
        self.now_s = 50.0
        self.feed = Feed(
            "",
            Latest(),
            self._nothing,
            lambda _: True,
            platform="",
            clock=lambda: self.now_ms,
            monotonic=lambda: self.now_s,
        )

    async def _nothing(self) -> Iterable[Point]:
        return ()

    def pass_time(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1_000)
        self.now_s += seconds

    def say(self, at_ms: int) -> None:
        self.feed._take(Update(at_ms), 1)

    @property
    def state(self) -> str:
        return self.feed.system.state(self.now_ms)


def test_a_clock_that_is_set_back_does_not_keep_a_dead_processor_alive() -> None:
    clocks = Clocks()
    clocks.feed.caught_up = True
    assert clocks.state == "processor_silent"
    clocks.say(clocks.now_ms)
    clocks.now_ms -= 3_600_000
    assert clocks.state == "live"
    clocks.pass_time(6)
    assert clocks.state == "processor_silent"
    # It speaks again, by a clock that was set back too, or was not.
    clocks.say(clocks.now_ms)
    assert clocks.state == "live"
    assert clocks.feed.system.processor_seen_ms == clocks.now_ms
    clocks.pass_time(6)
    clocks.say(clocks.now_ms + 3_600_000)
    assert clocks.state == "live"
    # And forward.
    clocks.now_ms += 7_200_000
    assert clocks.state == "live"


def test_what_was_said_while_nobody_read_is_as_old_as_it_says() -> None:
    clocks = Clocks()
    clocks.say(clocks.now_ms - 60_000)
    assert clocks.state == "processor_silent"
    clocks.say(clocks.now_ms - 2_000)
    assert clocks.state == "live"
    clocks.pass_time(4)
    assert clocks.state == "processor_silent"
    # After Valkey was away.
    clocks.feed.caught_up = True
    clocks.feed._at_end = False
    clocks.say(clocks.now_ms - 60_000)
    assert clocks.state == "processor_silent"
    clocks.feed._at_end = True
    clocks.say(clocks.now_ms - 60_000)
    assert clocks.state == "live"


def test_what_a_dead_processor_said_before_valkey_went_is_not_live(
    processor: Processor, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(one: Following) -> None:
        one.answers.set()
        await one.until(lambda: one.feed.system.state(clock_ms()) == "live")
        one.feed.system.heard_at_s = None
        one.feed.system.processor_seen_ms = 0
        with monkeypatch.context() as patched:
            patched.setattr(valkey.asyncio.Valkey, "xread", away)
            await one.until(lambda: not one.feed.system.connected)
            processor.say(point(5), at_ms=clock_ms() - 60_000)
        await one.until(lambda: one.latest.values("revenue", "1m"))
        assert one.feed.system.connected
        assert one.feed.system.state(clock_ms()) == "processor_silent"

    follow(valkey_server.connection_url, act)
