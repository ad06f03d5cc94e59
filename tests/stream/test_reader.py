"""Against a real Valkey, stopped, restarted and emptied under the reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
import valkey

from stream.batches import RawBatch
from stream.continuity import GapError, OnGap
from stream.position import BEGINNING, Position
from stream.reader import StreamReader, client_factory
from stream.walltime import clock_ms
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import ValkeyServer

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
def reading(
    url: str,
    position: Position | str = BEGINNING,
    *,
    trim: bool = False,
    on_gap: OnGap = OnGap.EARLIEST,
    group: str | None = None,
) -> Iterator[StreamReader]:
    at = Position(position) if isinstance(position, str) else position
    connect = client_factory(url)
    reader = StreamReader(connect, STREAM, at, clock=clock_ms, trim=trim, on_gap=on_gap, group=group)
    reader.start()
    try:
        yield reader
    finally:
        reader.stop()
        while reader._thread.is_alive():
            with suppress(GapError):
                reader.take()
            reader._thread.join(0.02)


def batches_until(
    reader: StreamReader, enough: Callable[[list[RawBatch]], bool], *, within_s: float = 8.0 * PATIENCE
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


def entries(reader: StreamReader, count: int, *, within_s: float = 8.0 * PATIENCE) -> list[tuple[bytes, list[bytes]]]:
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
    # What was read meanwhile comes at once.
    assert {batch.caught_up for batch in batches[:-1]} <= {False}
    assert batches[-1].caught_up
    assert all(batch.stream == STREAM and before_ms <= batch.read_at_ms <= clock_ms() for batch in batches)
    assert any(batch.report for batch in batches)


def test_it_goes_on_behind_its_offset(url: str, client: valkey.Valkey) -> None:
    ids = fill(client, 10)
    with reading(url, ids[6].decode()) as reader:
        assert [id_ for id_, _ in entries(reader, 3)] == ids[7:]
        more = fill(client, 2, start=11)
        assert [id_ for id_, _ in entries(reader, 2)] == more


def test_fields_come_as_they_are(url: str, client: valkey.Valkey) -> None:
    client.execute_command("XADD", STREAM, "5-1", "a", "1", "a", b"\xff\x00", "", "")
    with reading(url) as reader:
        ((entry_id, fields),) = entries(reader, 1)
        assert (entry_id, fields) == (b"5-1", [b"a", b"1", b"a", b"\xff\x00", b"", b""])


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
        assert reader._queue.qsize() <= 8
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


def gone(found: list[RawBatch]) -> tuple[int, int, bool]:
    """How often, how many, and whether that is exact, as of the last batch."""
    position = found[-1].position
    assert position is not None
    return position.gaps, position.lost, position.lost_exact


def everything(reader: StreamReader, last: bytes) -> list[RawBatch]:
    """The batches until the end, whose entry is `last`, is reached."""
    return batches_until(reader, lambda all_: all_[-1].position is not None and all_[-1].position.id == last.decode())


def ids_of(found: list[RawBatch]) -> list[bytes]:
    return [entry_id for batch in found for entry_id, _ in batch.entries]


@pytest.mark.parametrize("policy", [OnGap.EARLIEST, OnGap.LATEST])
def test_entries_trimmed_while_it_was_stopped_are_counted(
    url: str, client: valkey.Valkey, policy: OnGap, caplog: pytest.LogCaptureFixture
) -> None:
    ids = fill(client, 1_000)
    client.xtrim(STREAM, maxlen=300, approximate=False)
    with reading(url, Position("400-0", 400), on_gap=policy) as reader:
        found = everything(reader, ids[-1])
        more = fill(client, 5, start=1_001)
        after = everything(reader, more[-1])
    lost = 300 if policy is OnGap.EARLIEST else 600
    assert ids_of(found) == (ids[700:] if policy is OnGap.EARLIEST else [])
    assert ids_of(after) == more
    assert gone(found) == gone(after) == (1, lost, True)
    assert found[0].report, "a gap is shown at once"
    (record,) = caplog.records
    assert (record.levelname, f"{STREAM} lost {lost} entries after 400-0" in record.message) == ("ERROR", True)


def test_entries_trimmed_while_it_reads_are_counted(url: str, client: valkey.Valkey) -> None:
    """A worker that is slower than a producer who keeps the last 3,000 only."""
    with reading(url) as reader:
        found = batches_until(reader, lambda _: True)
        total = 0
        for _ in range(12):
            pipe = client.pipeline(transaction=False)
            for number in range(total + 1, total + 5_001):
                pipe.xadd(STREAM, {"n": number}, id=f"{number}-0", maxlen=3_000, approximate=False)
            pipe.execute()
            total += 5_000
            found += batches_until(reader, lambda _: True)
        found += everything(reader, b"%d-0" % total)
    read = ids_of(found)
    gaps, lost, exact = gone(found)
    assert len(read) + lost == total
    assert len(set(read)) == len(read)
    assert lost > 0
    assert gaps > 1
    assert exact


def test_entries_deleted_before_they_were_read_are_counted(url: str, client: valkey.Valkey) -> None:
    """Under any policy they are no reason to end: somebody wanted them gone."""
    ids = fill(client, 5_000)
    for number in (10, 2_500, 4_000):
        client.xdel(STREAM, f"{number}-0")
    with reading(url, Position("5-0", 5), on_gap=OnGap.ERROR) as reader:
        found = everything(reader, ids[-1])
    assert len(ids_of(found)) == 4_992
    assert gone(found) == (1, 3, True)


def test_a_trimmed_stream_with_deletions_loses_what_is_gone(url: str, client: valkey.Valkey) -> None:
    ids = fill(client, 100)
    client.xdel(STREAM, "80-0", "90-0")
    client.xtrim(STREAM, maxlen=40, approximate=False)
    with reading(url, Position("20-0", 20)) as reader:
        found = everything(reader, ids[-1])
    assert len(ids_of(found)) == 40
    assert gone(found) == (1, 40, True)


def test_a_stream_that_was_made_anew_is_a_gap_of_unknown_size(
    url: str, client: valkey.Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    ids = fill(client, 10)
    with reading(url, Position("500-0", 500)) as reader:
        found = everything(reader, ids[-1])
    assert ids_of(found) == ids
    assert gone(found) == (1, 0, False)
    (record,) = caplog.records
    assert "was made anew and begins at 1-0: lost an unknown number of entries after 500-0" in record.message


@pytest.mark.parametrize("kind", ["trimmed", "made anew", "gone"])
def test_an_error_comes_behind_the_last_entry_before_the_gap(url: str, client: valkey.Valkey, kind: str) -> None:
    fill(client, 100)
    with reading(url, on_gap=OnGap.ERROR) as reader:
        assert len(entries(reader, 100)) == 100
        pipe = client.pipeline(transaction=True)
        if kind == "trimmed":
            for number in range(101, 201):
                pipe.xadd(STREAM, {"n": number}, id=f"{number}-0", maxlen=30, approximate=False)
        else:
            pipe.delete(STREAM)
            if kind == "made anew":
                pipe.xadd(STREAM, {"n": 1}, id="7-7")
        pipe.execute()
        with pytest.raises(GapError, match="after 100-0") as caught:
            batches_until(reader, lambda all_: bool(all_[-1].entries))
        assert STREAM in str(caught.value)
        if kind == "trimmed":
            assert "lost 70 entries after 100-0 and before 171-0" in str(caught.value)


def test_its_own_trimming_is_no_gap_for_who_goes_back_to_an_older_snapshot(url: str, client: valkey.Valkey) -> None:
    ids = fill(client, 4_000)
    with reading(url, trim=True) as reader:
        older = everything(reader, ids[-1])[-1].position
        assert older is not None
        ids += fill(client, 1_000, start=4_001)
        everything(reader, ids[-1])
        reader.committed(older)
        batches_until(reader, lambda _: int(client.xlen(STREAM)) < 5_000)
    assert int(client.xlen(STREAM)) < 2_000
    with reading(url, Position.from_text(older.to_text())) as reader:
        found = everything(reader, ids[-1])
    assert ids_of(found) == ids[int(older.id.partition("-")[0]) :]
    assert gone(found) == (0, 0, True)


def test_who_starts_with_nothing_on_a_trimmed_stream_has_lost_nothing(
    url: str, client: valkey.Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ids = fill(client, 500)
    client.xtrim(STREAM, maxlen=100, approximate=False)
    with reading(url, on_gap=OnGap.ERROR) as reader:
        found = everything(reader, ids[-1])
    assert ids_of(found) == ids[400:]
    assert gone(found) == (0, 0, True)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.message == f"{STREAM} begins at 401-0: 400 entries before that had been removed already"


def group_lag(client: valkey.Valkey) -> tuple[str, int | None, int | None]:
    (group,) = client.xinfo_groups(STREAM)
    return group["last-delivered-id"].decode(), group["entries-read"], group["lag"]


def test_the_group_shows_what_is_committed(url: str, client: valkey.Valkey) -> None:
    ids = fill(client, 1_000)
    with reading(url, group="streamgauge") as reader:
        everything(reader, ids[-1])
        assert client.xinfo_groups(STREAM) == [], "nothing is committed"
        reader.committed(Position("400-0", 400))
        assert reader.told(3)
        assert group_lag(client) == ("400-0", 400, 600)
        reader.pause()
        reader.committed(Position("1000-0", 1_000))
        assert reader.told(3), "also when nothing more is read"
        assert group_lag(client) == ("1000-0", 1_000, 0)
    fill(client, 7, start=1_001)
    assert group_lag(client)[2] == 7


def test_a_group_that_may_not_be_kept_is_said_once_and_reading_goes_on(
    url: str, client: valkey.Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-xgroup")
    ids = fill(client, 100)
    with reading(url.replace("//", "//reader:secret@"), group="streamgauge") as reader:
        everything(reader, ids[-1])
        for count in (50, 100):
            reader.committed(Position(f"{count}-0", count))
            assert reader.told(3)
        more = fill(client, 3, start=101)
        assert [id_ for id_, _ in entries(reader, 3)] == more
    (record,) = caplog.records
    assert (record.levelname, "does not show the lag" in record.message) == ("WARNING", True)


def test_the_lag_is_the_entries_that_wait(url: str, client: valkey.Valkey) -> None:
    ids = fill(client, 5_000)
    with reading(url) as reader:
        found = everything(reader, ids[-1])
    # Of batches that are taken together the last one's counts.
    assert [batch.lag for batch in found] == [
        5_000 - read for read in accumulate(len(batch.entries) for batch in found)
    ]
