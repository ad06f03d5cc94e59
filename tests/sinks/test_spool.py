"""Spools: what goes in comes out, in order and once, whatever happens to the process and to the files."""

from __future__ import annotations

import random
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.errors import Misconfigured, Retryable
from sinks.spool import Added, Spool
from sinks.spool_places import Places, left_bytes
from sinks.spool_segment import FILE_HEAD, Kind, Record, pack, scan

NOW_MS = 1_700_000_000_000
ROOMY = 1_000_000_000
KINDS = st.sampled_from(list(Kind))
LINES = st.lists(st.binary(min_size=1, max_size=30).filter(lambda line: b"\n" not in line), min_size=1, max_size=4)


class Told:
    """What a spool said."""

    def __init__(self) -> None:
        self.dropped = 0
        self.aside: list[str] = []

    def spool(self, directory: Path, limit_bytes: int = ROOMY) -> Spool:
        spool = Spool(directory, limit_bytes, on_dropped=self._drop, on_aside=self.aside.append)
        spool.open()
        return spool

    def _drop(self, lines: int) -> None:
        self.dropped += lines


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for one example of many."""
    with TemporaryDirectory() as name:
        yield Path(name)


def final(*lines: bytes, tier: int = 0) -> Added:
    return Added(Kind.FINAL, tier, lines)


def opened(*lines: bytes, tier: int = 0) -> Added:
    return Added(Kind.OPEN, tier, lines)


def noise(seed: int, size: int = 1_000) -> bytes:
    """A line that cannot be compressed."""
    return random.Random(seed).randbytes(size).replace(b"\n", b" ")


def drained(spool: Spool, most_lines: int = 10) -> list[Record]:
    found: list[Record] = []
    while records := spool.peek(most_lines):
        found += records
        spool.sent(records[-1].seq)
    return found


def all_lines(spool: Spool) -> list[bytes]:
    return [line for record in spool.peek(10**9) for line in record.lines]


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process may not open another file meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def killed(spool: Spool, into: Path) -> Path:
    """The directory as it is at this moment, with nothing closed or flushed."""
    return Path(shutil.copytree(spool.directory, into))


# What goes in comes out.


def test_records_come_out_in_the_order_they_went_in_whatever_their_kind(tmp_path: Path) -> None:
    spool = Told().spool(tmp_path)
    spool.add([final(b"a"), opened(b"b", tier=1)], NOW_MS)
    spool.add([opened(b"c"), opened(), final(b"d", b"e", tier=2)], NOW_MS + 5)
    found = drained(spool)
    # Of one call open lines come first: a final one of the same series and window is never overtaken.
    assert [(r.kind, r.tier, r.at_ms - NOW_MS, r.lines) for r in found] == [
        (Kind.OPEN, 1, 0, [b"b"]),
        (Kind.FINAL, 0, 0, [b"a"]),
        (Kind.OPEN, 0, 5, [b"c"]),
        (Kind.FINAL, 2, 5, [b"d", b"e"]),
    ]
    assert [record.seq for record in found] == [1, 2, 3, 4]
    spool.close()


def test_it_says_how_much_waits_and_since_when(tmp_path: Path) -> None:
    spool = Told().spool(tmp_path)
    assert (spool.waiting.lines, spool.waiting.size_bytes, spool.waiting.oldest_ms) == (0, 0, None)
    spool.add([final(b"a", b"b")], NOW_MS)
    spool.add([opened(b"c")], NOW_MS + 1)
    assert (spool.waiting.lines, spool.waiting.oldest_ms) == (3, NOW_MS)
    spool.sent(spool.peek(1)[-1].seq)
    assert (spool.waiting.lines, spool.waiting.oldest_ms) == (1, NOW_MS + 1)
    spool.sent(spool.peek(1)[-1].seq)
    assert (spool.waiting.lines, spool.waiting.size_bytes, spool.waiting.oldest_ms) == (0, 0, None)
    spool.close()


def test_a_batch_has_no_more_lines_than_asked_for_but_at_least_a_record(tmp_path: Path) -> None:
    spool = Told().spool(tmp_path)
    for lines in (3, 3, 9, 1):
        spool.add([final(*(b"x" * (i + 1) for i in range(lines)))], NOW_MS)
    assert [len(record.lines) for record in spool.peek(7)] == [3, 3]
    spool.sent(2)
    assert [len(record.lines) for record in spool.peek(7)] == [9]
    spool.close()


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(KINDS, st.integers(0, 2), LINES), min_size=1, max_size=3)),
        st.tuples(st.just("send"), st.integers(1, 6)),
        st.tuples(st.just("kill"), st.none()),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=25,
)


@given(steps=_steps)
@settings(max_examples=80, deadline=None)
def test_nothing_is_lost_doubled_or_overtaken_whatever_is_done(steps: list[tuple[str, object]]) -> None:
    with scratch() as root:
        told = Told()
        spool, expected, lives = told.spool(root / "0"), list[tuple[Kind, int, list[bytes]]](), 0
        for verb, argument in steps:
            if verb == "add":
                added = [Added(kind, tier, lines) for kind, tier, lines in argument]  # type: ignore[attr-defined]
                spool.add(added, NOW_MS)
                for kind in (Kind.OPEN, Kind.FINAL):
                    expected += [(one.kind, one.tier, list(one.lines)) for one in added if one.kind is kind]
            elif verb == "send":
                records = spool.peek(argument)  # type: ignore[arg-type]
                found = [(record.kind, record.tier, record.lines) for record in records]
                assert found == expected[: len(found)]
                assert bool(found) == bool(expected)
                if records:
                    spool.sent(records[-1].seq)
                del expected[: len(found)]
            elif verb == "kill":
                lives += 1
                copy = killed(spool, root / str(lives))
                spool.close()
                spool = told.spool(copy)
            else:
                spool.close()
                spool = told.spool(spool.directory)
            assert spool.waiting.lines == sum(len(lines) for _, _, lines in expected)
        assert [(record.kind, record.tier, record.lines) for record in drained(spool)] == expected
        assert not told.aside
        assert not told.dropped
        spool.close()


def test_files_are_deleted_once_they_are_sent(tmp_path: Path) -> None:
    spool = Told().spool(tmp_path, 1_000_000)
    for i in range(300):
        spool.add([final(noise(i)), opened(noise(1_000 + i))], NOW_MS)
    assert spool.waiting.file_bytes > 600_000
    assert len(list(tmp_path.glob("*.spool"))) > 6
    drained(spool)
    assert spool.waiting.file_bytes < 100_000
    assert len(list(tmp_path.glob("*.spool"))) <= 2
    spool.close()


# Crashes.


@given(before=st.lists(LINES, max_size=3), last=LINES, cut=st.floats(0, 1, exclude_max=True), kind=KINDS)
@settings(max_examples=150, deadline=None)
def test_a_record_that_was_cut_off_by_a_kill_was_never_there(
    before: list[list[bytes]], last: list[bytes], cut: float, kind: Kind
) -> None:
    with scratch() as root:
        told = Told()
        spool = told.spool(root / "0")
        for lines in before:
            spool.add([Added(kind, 0, lines)], NOW_MS)
        sizes = {path: path.stat().st_size for path in spool.directory.glob("*.spool")}
        spool.add([Added(kind, 0, last)], NOW_MS)
        [path] = spool.directory.glob("*.spool")
        whole, prior = path.stat().st_size, sizes.get(path, 0)
        copy = killed(spool, root / "1")
        spool.close()
        with (copy / path.name).open("r+b") as file:
            file.truncate(prior + int((whole - prior) * cut))
        spool = told.spool(copy)
        assert [record.lines for record in spool.peek(10**9)] == before
        spool.add([final(b"next")], NOW_MS)
        assert [record.lines for record in drained(spool)] == [*before, [b"next"]]
        assert not told.aside
        spool.close()


def test_what_was_sent_does_not_come_back_after_a_kill(tmp_path: Path) -> None:
    spool = Told().spool(tmp_path / "0")
    for i in range(10):
        spool.add([opened(b"open %d" % i), final(b"final %d" % i)], NOW_MS)
    for _ in range(7):
        spool.sent(spool.peek(1)[-1].seq)
    again = Told().spool(killed(spool, tmp_path / "1"))
    assert all_lines(again)[0] == b"final 3"
    again.close()
    spool.close()


# Damage.


@given(
    given_=st.lists(st.tuples(KINDS, LINES), min_size=1, max_size=12),
    where=st.floats(0, 1, exclude_max=True),
    length=st.integers(1, 60),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=200, deadline=None)
def test_damage_costs_no_more_than_the_records_it_touches(
    given_: list[tuple[Kind, list[bytes]]], where: float, length: int, seed: int
) -> None:
    with scratch() as root:
        told = Told()
        spool = told.spool(root / "0")
        for kind, lines in given_:
            spool.add([Added(kind, 0, lines)], NOW_MS)
        copy = killed(spool, root / "1")
        spool.close()
        path = random.Random(seed).choice(sorted(copy.glob("*.spool")))
        data = path.read_bytes()
        begin = int(len(data) * where)
        end = min(len(data), begin + length)
        # Every byte there is another one than before.
        damaged = data[:begin] + bytes(byte ^ 0x5A for byte in data[begin:end]) + data[end:]
        path.write_bytes(damaged)
        touched = {
            record.seq
            for record in scan(data).records
            if record.offset < end and begin < record.offset + record.size_bytes
        }
        expected = [lines for seq, (_, lines) in enumerate(given_, 1) if seq not in touched]
        spool = told.spool(copy)
        assert [record.lines for record in drained(spool)] == expected
        assert len(told.aside) == 1
        assert str(path) in told.aside[0]
        assert [kept.read_bytes() for kept in copy.glob("*.corrupt")] == [damaged]
        spool.close()


def test_damage_that_comes_while_it_runs_is_found_when_it_is_read(tmp_path: Path) -> None:
    told = Told()
    spool = told.spool(tmp_path)
    for i in range(5):
        spool.add([final(noise(i, 200))], NOW_MS)
    [path] = tmp_path.glob("*.spool")
    third = scan(path.read_bytes()).records[2]
    with path.open("r+b") as file:
        file.seek(third.offset + third.size_bytes - 3)
        file.write(b"xxx")
    assert [record.lines for record in drained(spool)] == [[noise(i, 200)] for i in (0, 1, 3, 4)]
    assert len(told.aside) == 1
    spool.add([final(b"next")], NOW_MS)
    assert all_lines(spool) == [b"next"]
    spool.close()


def test_a_file_that_is_gone_is_said_and_the_rest_is_sent(tmp_path: Path) -> None:
    told = Told()
    spool = told.spool(tmp_path, 1_000_000)
    for i in range(200):
        spool.add([final(noise(i))], NOW_MS)
    paths = sorted(tmp_path.glob("*.spool"))
    lost = len(scan(paths[0].read_bytes()).records)
    paths[0].unlink()
    assert [record.lines for record in drained(spool)] == [[noise(i)] for i in range(lost, 200)]
    assert len(told.aside) == 1
    assert f"{lost} lines" in told.aside[0]
    spool.close()


def test_a_file_that_cannot_be_opened_now_is_sent_later(tmp_path: Path) -> None:
    told = Told()
    spool = told.spool(tmp_path)
    spool.add([final(b"one"), final(b"two")], NOW_MS)
    with no_more_files(), pytest.raises(Retryable, match=r"cannot be read or mended: Too many open files"):
        spool.peek(10)
    assert all_lines(spool) == [b"one", b"two"]
    assert spool.waiting.lines == 2
    assert told.aside == []
    spool.close()


def test_a_file_of_a_later_version_is_set_aside_whole(tmp_path: Path) -> None:
    later = b"SGSPOOL\x02" + pack(Record(1, Kind.FINAL, 0, NOW_MS, [b"x"])).replace(b"\xb5SG\x01", b"\xb5SG\x02")
    path = tmp_path / f"final-{1:020d}.spool"
    path.write_bytes(later)
    (tmp_path / "sent").write_bytes(b"")
    told = Told()
    spool = told.spool(tmp_path)
    assert all_lines(spool) == []
    assert any(str(path) in said for said in told.aside)
    assert path.with_suffix(".corrupt").read_bytes() == later
    spool.close()


def test_without_knowing_how_far_was_sent_only_final_lines_are_sent_again(tmp_path: Path) -> None:
    told = Told()
    spool = told.spool(tmp_path)
    spool.add([opened(b"open"), final(b"final")], NOW_MS)
    spool.close()
    (tmp_path / "sent").write_bytes(b"\0" * 10)
    again = told.spool(tmp_path)
    assert all_lines(again) == [b"final"]
    assert told.dropped == 1
    assert len(told.aside) == 1
    assert "how far was sent" in told.aside[0]
    again.close()


def test_two_damaged_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    for content in (b"nonsense one", b"nonsense two"):
        (tmp_path / f"final-{1:020d}.spool").write_bytes(content)
        Told().spool(tmp_path).close()
    assert {path.read_bytes() for path in tmp_path.glob("*.corrupt")} == {b"nonsense one", b"nonsense two"}
    assert not list(tmp_path.glob("*.spool"))


# No room.


def filled(spool: Spool, why: str) -> int:
    """Add final records until there is no room for another; how many there are."""
    for i in range(1_000):
        try:
            spool.add([final(noise(i))], NOW_MS)
        except Retryable:
            with pytest.raises(Retryable, match=why):
                spool.add([final(noise(i))], NOW_MS)
            return i
    raise AssertionError("it took a thousand")


def test_when_it_is_full_the_oldest_open_records_go_first(tmp_path: Path) -> None:
    told = Told()
    spool = told.spool(tmp_path, 400_000)
    for i in range(1_000):
        spool.add([opened(noise(i)), *([final(noise(-i - 1))] if i % 10 == 0 else [])], NOW_MS)
        assert spool.waiting.file_bytes <= 400_000
    records = spool.peek(10**9)
    kept = [record.lines[0] for record in records if record.kind is Kind.OPEN]
    assert [record.lines[0] for record in records if record.kind is Kind.FINAL] == [
        noise(-i - 1) for i in range(0, 1_000, 10)
    ]
    assert kept == [noise(i) for i in range(1_000 - len(kept), 1_000)]
    assert len(kept) + told.dropped == 1_000
    assert len(kept) > 200
    spool.close()


def test_when_only_final_records_are_left_it_takes_no_more_and_loses_none(tmp_path: Path) -> None:
    told = Told()
    spool = told.spool(tmp_path, 100_000)
    added = filled(spool, "INFLUX_SPOOL_MB")
    assert 50 < added < 100
    # An open one is let go of at once.
    spool.add([opened(b"open" * 5_000)], NOW_MS)
    spool.add([opened(noise(0, 20_000))], NOW_MS)
    assert told.dropped >= 1
    with pytest.raises(Retryable):
        spool.add([final(noise(added))], NOW_MS)
    spool.sent(spool.peek(1)[-1].seq)
    assert [r.lines[0] for r in drained(spool) if r.kind is Kind.FINAL] == [noise(i) for i in range(1, added)]
    spool.add([final(noise(added))], NOW_MS)
    assert all_lines(spool) == [noise(added)]
    spool.close()


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: the kernel says EFBIG, after half a write as well."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_is_larger_than_all_that_may_wait_is_taken_alone(tmp_path: Path) -> None:
    spool = Told().spool(tmp_path, 10_000)
    spool.add([final(b"small")], NOW_MS)
    with pytest.raises(Retryable):
        spool.add([final(noise(1, 20_000))], NOW_MS)
    spool.sent(spool.peek(1)[-1].seq)
    spool.add([final(noise(1, 20_000))], NOW_MS)
    assert all_lines(spool) == [noise(1, 20_000)]
    spool.close()


def test_a_full_disk_is_a_full_spool(tmp_path: Path) -> None:
    spool = Told().spool(tmp_path)
    with full_disk(10_500):
        added = filled(spool, "disk is full")
    assert added == 9
    # What was half written is not there, neither now nor for whoever opens it.
    again = Told().spool(killed(spool, tmp_path / "copy"))
    assert all_lines(again) == [noise(i) for i in range(added)]
    again.close()
    spool.add([final(noise(added))], NOW_MS)
    assert all_lines(spool) == [noise(i) for i in range(added + 1)]
    spool.close()


def test_on_a_full_disk_open_records_make_room(tmp_path: Path) -> None:
    told = Told()
    spool = told.spool(tmp_path)
    with full_disk(10_500):
        for i in range(30):
            spool.add([opened(noise(i))], NOW_MS)
    assert told.dropped + spool.waiting.lines == 30
    assert told.dropped
    spool.close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(Misconfigured, match=r"state/influx.* cannot be written.*STREAMGAUGE_STATE"):
        Told().spool(tmp_path / "state" / "influx")
    with pytest.raises(Misconfigured, match=r"state/influx cannot be written.*STREAMGAUGE_STATE"):
        Places(tmp_path / "state" / "influx", 1, 0)


# One spool for each process.


def test_a_start_with_as_many_processes_goes_on_with_the_same_spools(tmp_path: Path) -> None:
    first = [Places(tmp_path, 2, member) for member in range(2)]
    again = [Places(tmp_path, 2, member) for member in range(2)]
    assert [places.own for places in first] == [places.own for places in again]
    assert len({places.own for places in again}) == 2
    assert again[0].earlier() == []


def test_a_start_with_another_number_comes_after_what_is_left(tmp_path: Path) -> None:
    pair = [Places(tmp_path, 2, member) for member in range(2)]
    spool = Told().spool(pair[1].own)
    spool.add([final(b"left")], NOW_MS)
    spool.close()
    (pair[1].own / "final-1.corrupt").write_bytes(b"evidence")
    assert left_bytes(tmp_path) > len(FILE_HEAD)
    alone = Places(tmp_path, 1, 0)
    assert alone.earlier() == [places.own for places in pair]
    again = Places(tmp_path, 2, 0)  # not the generation before, but one behind both
    assert again.earlier() == [*alone.earlier(), alone.own]
    for left in again.earlier():
        again.remove(left)
    assert again.earlier() == []
    assert left_bytes(tmp_path) == 0
    assert [path.read_bytes() for path in tmp_path.glob("*.corrupt")] == [b"evidence"]
    assert Places(tmp_path, 2, 1).own.parent == again.own.parent
