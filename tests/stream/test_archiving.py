"""What was counted is in the archive once, whatever crashes when, and nobody who is forgotten is."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks import archive_io
from sinks.archive import Archive, OutOfStep
from sinks.archive_files import files_of, listed
from sinks.archive_place import open_place
from sinks.errors import Retryable, SinkError
from stream.archive_jobs import Desk, Job, Settle
from stream.archive_pending import Pending
from stream.archiving import COMMITTED, Archiving
from stream.batches import Accepted, Forgotten
from stream.identity import IDENTITY
from stream.origins import ENTRY_MS, ENTRY_NO
from stream.plan import Plan
from stream.snapshots import StateError
from tests.batches import T0, plan_of

CATALOG = """
[platform]
name = "Archived"
streams = ["a", "b"]
[event]
person = "user"
time = "at"
[archive]
fields = ["page", "time"]
[[metric]]
name = "spent"
measure = "sum"
value = "amount"
"""
PLAN = plan_of(CATALOG)
DAY_MS = 86_400_000
STREAMS = ("a", "b")
SHARD = 3


@dataclass
class Chance:
    """Jobs that are done when the test says so."""

    desk: Desk
    waiting: deque[Job] = field(default_factory=deque)
    failure: SinkError | None = None

    def submit(self, job: Job) -> None:
        if job.shard is None:
            self.waiting.appendleft(job)
        else:
            self.waiting.append(job)

    def do(self, *, said: bool = True) -> None:
        """Do the next job; without `said` its end is not noticed."""
        if self.waiting:
            self.waiting[0].run(self.desk)
            if said:
                self.waiting.popleft().done.set()


@dataclass
class World:
    """One shard's state directory and archive, and the stream that it reads."""

    root: Path
    plan: Plan = PLAN
    snapshots: list[tuple[bytes, int]] = field(default_factory=list)
    """Each with how many events were counted."""
    counted: int = 0
    now_ms: int = T0

    def __post_init__(self) -> None:
        self.start(None)

    @property
    def url(self) -> str:
        return str(self.root / "archive")

    def start(self, snapshot: bytes | None) -> None:
        pending = Pending(self.root / "archive-pending")
        self.jobs = Chance(Desk(Archive(self.url, "abc123"), pending))
        self.archiving = Archiving(self.plan, pending, self.jobs, 4_000)
        if snapshot is not None:
            self.archiving.restore(snapshot)

    def count(self, events: int) -> None:
        numbers = np.arange(self.counted, self.counted + events)
        self.counted += events
        frame = pl.DataFrame(
            {
                "user": [person(number) for number in numbers.tolist()],
                "page": [None if number % 5 == 0 else f"page {number % 3}" for number in numbers.tolist()],
                "time": ["of theirs"] * events,
                "amount": numbers.astype(np.float64),
                "at": numbers,
                IDENTITY: numbers.astype(np.uint64),
                ENTRY_MS: T0 + numbers,
                ENTRY_NO: numbers * 0,
            },
            schema_overrides={"user": pl.String(), "page": pl.String(), "time": pl.String()},
        )
        # Of two streams and three days, in no order.
        time_ms = T0 + numbers * 7_919_000 % (3 * DAY_MS)
        for number, stream in enumerate(STREAMS):
            own = numbers % 2 == number
            if own.any():
                part = Accepted(SHARD, stream, frame.filter(pl.Series(own)), time_ms[own])
                self.archiving.add(part, self.now_ms)

    def snapshot(self) -> None:
        self.now_ms += 2_000
        self.snapshots.append((self.archiving.to_bytes(self.now_ms), self.counted))

    def crash(self, back: int) -> None:
        """Go on from the snapshot before the last `back` ones."""
        del self.snapshots[max(0, len(self.snapshots) - back) :]
        snapshot, self.counted = self.snapshots[-1] if self.snapshots else (None, 0)
        self.start(snapshot)

    def drain(self) -> None:
        """Until nothing waits any more."""
        for _ in range(60):
            self.snapshot()
            while self.jobs.waiting:
                self.jobs.do()
        assert not self.archiving.is_busy
        assert self.archiving.waiting.rows == 0

    def archived(self) -> pl.DataFrame:
        place = open_place(self.url)
        paths = [place.path(file.name) for file in files_of(place)]
        return pl.concat([pl.read_parquet(path) for path in paths]) if paths else pl.DataFrame({"identity": []})


def person(number: int) -> str | None:
    return None if number % 7 == 0 else f"{number % 4:032x}"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(1, 9)),
        st.tuples(st.just("snapshot"), st.just(0)),
        st.tuples(st.just("snapshot"), st.just(0)),
        st.tuples(st.just("job"), st.integers(0, 1)),
        st.tuples(st.just("crash"), st.integers(0, COMMITTED)),
    ),
    max_size=60,
)


@given(steps)
def test_each_event_is_archived_once_whatever_crashes_when(steps: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as directory:
        world = World(Path(directory))
        run(world, steps)
        world.count(1)
        world.drain()
        assert sorted(world.archived()["identity"].to_list()) == list(range(world.counted))
        assert not list((world.root / "archive-pending").glob("*")), "nothing is left over"
        assert not listed(open_place(world.url), suffix=".aside")


@given(steps, st.integers(3, 12), st.integers(0, 30))
def test_going_back_further_is_exact_too_or_refused(steps: list[tuple[str, int]], back: int, more: int) -> None:
    with TemporaryDirectory() as directory:
        world = World(Path(directory))
        run(world, steps)
        if len(world.snapshots) <= back:
            return
        try:
            world.crash(back)
        except StateError:
            return  # its files are gone, and it says so
        world.count(more)
        world.drain()
        assert sorted(world.archived()["identity"].to_list()) == list(range(world.counted))


def run(world: World, steps: list[tuple[str, int]]) -> None:
    committed = 0
    """Snapshots that no crash goes back behind: one that was gone on from is committed."""
    for step, number in steps:
        if step == "count":
            world.count(number)
        elif step == "snapshot":
            world.snapshot()
        elif step == "job":
            world.jobs.do(said=bool(number))
        else:
            world.crash(min(number, len(world.snapshots) - committed))
            committed = len(world.snapshots)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_files_are_by_day_and_stream_in_order_of_time_with_the_columns_that_are_promised(world: World) -> None:
    world.count(40)
    world.drain()
    place = open_place(world.url)
    files = files_of(place)
    assert {(str(file.day), file.stream) for file in files} == {
        (day, stream) for day in ("2015-09-12", "2015-09-13", "2015-09-14") for stream in "ab"
    }
    for file in files:
        assert file.span is not None
        assert file.name == f"day={file.day}/stream={file.stream}/abc123-3-1-1.parquet"
        rows = pl.read_parquet(place.path(file.name))
        assert dict(rows.schema) == {
            "time": pl.Datetime("ms", "UTC"),
            "entry_ms": pl.Int64(),
            "entry_no": pl.Int64(),
            "identity": pl.UInt64(),
            "shard": pl.Int32(),
            "user": pl.String(),
            "page": pl.String(),
            "time_": pl.String(),
            "amount": pl.Float64(),
        }
        assert rows["time"].is_sorted()
        assert set(rows["time"].dt.date()) == {file.day}
        assert set(rows["shard"]) == {SHARD}
        assert set(rows["time_"]) == {"of theirs"}
        own = rows["identity"].to_numpy()
        assert (own % 2 == STREAMS.index(file.stream)).all()
        assert (rows["amount"].to_numpy() == own).all()
        assert rows["user"].to_list() == [person(number) for number in own.tolist()]


def test_a_roll_begins_only_once_the_snapshot_that_says_it_is_committed(world: World) -> None:
    world.count(5)
    world.snapshot()
    world.snapshot()
    world.snapshot()
    assert [type(job) for job in world.jobs.waiting] == [Settle], "said by the second"
    world.snapshot()
    assert len(world.jobs.waiting) == 2


def test_while_the_archive_is_away_rolls_do_not_pile_up(world: World) -> None:
    for _ in range(200):
        world.count(1)
        world.snapshot()
    assert len(world.jobs.waiting) == 2
    assert world.archiving.waiting.rows == 200
    assert world.archiving.waiting.since_ms == T0
    world.drain()
    assert sorted(world.archived()["identity"].to_list()) == list(range(200))


def test_with_a_full_disk_there_is_no_snapshot_and_nothing_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.count(5)
    world.snapshot()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    world.count(5)
    with monkeypatch.context() as patched:
        patched.setattr("stream.archive_pending.write_whole", full)
        with pytest.raises(Retryable, match="No space left on device"):
            world.snapshot()
    world.crash(0)
    assert world.counted == 5
    world.count(8)
    world.drain()
    assert sorted(world.archived()["identity"].to_list()) == list(range(13))


def test_files_that_are_ahead_of_a_restored_state_are_set_aside_until_their_events_are_there_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.count(5)
    for _ in range(3):
        world.snapshot()
    restored = world.archiving.to_bytes(world.now_ms), world.counted
    world.count(5)
    for _ in range(6):
        world.snapshot()
        world.jobs.do()
        world.jobs.do()
    assert len(world.archived()) == 10
    world.snapshots = [restored]
    world.crash(0)
    world.count(7)
    world.drain()
    assert sorted(world.archived()["identity"].to_list()) == list(range(12))
    assert listed(open_place(world.url), suffix=".aside")
    assert "older than" in caplog.text


def test_files_of_before_that_were_joined_with_later_ones_are_refused(world: World) -> None:
    world.count(5)
    world.drain()
    restored = world.snapshots[-1]
    place = open_place(world.url)
    name = listed(place)[0].name
    archive_io.rename(place, name, name.replace("-1-1.parquet", "-1-9.parquet"))
    world.snapshots = [restored]
    world.crash(0)
    with pytest.raises(OutOfStep, match=r"abc123-3-1-9\.parquet"):
        world.jobs.do()


def test_a_state_that_has_lost_its_snapshots_does_not_archive_twice(world: World) -> None:
    world.count(5)
    world.drain()
    world.snapshots = []
    world.crash(0)
    world.count(5)
    with pytest.raises(OutOfStep, match="`recovery` is gone"):
        world.jobs.do()


def test_a_new_state_in_an_archive_of_another_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.count(5)
    world.drain()
    Archive(world.url, "def456").settle(0, 0, 1, is_new=True)
    assert "other states have archived (abc123)" in caplog.text


def cut_off(content: bytes) -> bytes:
    return content[:100]


def one_wrong_byte(content: bytes) -> bytes:
    """The reader of such files gives up on it in a way that is no Exception."""
    for at in range(len(content) - 200, len(content)):
        damaged = content[:at] + bytes([content[at] ^ 0x7F]) + content[at + 1 :]
        try:
            pl.read_ipc(io.BytesIO(damaged))
        except pl.exceptions.PanicException:
            return damaged
        except Exception:
            continue
    raise AssertionError("expected a byte that matters")


@pytest.mark.parametrize("damage", [cut_off, one_wrong_byte])
def test_a_file_that_is_damaged_is_set_aside_and_the_rest_kept(
    world: World, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    for _ in range(3):
        world.count(4)
        world.snapshot()
    one, two, three = sorted((world.root / "archive-pending").iterdir())
    two.write_bytes(damage(two.read_bytes()))
    world.crash(0)
    world.drain()
    assert sorted(world.archived()["identity"].to_list()) == [*range(4), *range(8, 12)]
    assert f"{two.name}.broken cannot be read" in caplog.text
    assert not one.exists()
    assert not three.exists()


def test_a_file_that_cannot_be_opened_now_is_read_later(world: World) -> None:
    """Too many open files, say: its events are not lost by that."""
    for _ in range(2):
        world.count(4)
        world.snapshot()
    world.crash(0)
    first = min((world.root / "archive-pending").iterdir())
    moved = first.rename(world.root / "moved")
    first.symlink_to(first.name)
    with pytest.raises(Retryable, match="cannot be read"):
        world.drain()
    first.unlink()
    moved.rename(first)
    world.drain()
    assert sorted(world.archived()["identity"].to_list()) == [*range(8)]


def test_who_is_forgotten_is_in_nothing_that_is_made_after_it(world: World) -> None:
    gone, asked = person(1), Forgotten(f"{1:032x}", "1-0")
    world.count(20)
    world.snapshot()
    world.count(20)
    world.archiving.forget(asked)
    assert world.archiving.forgotten_by_now() == [], "it is still on disk"
    world.snapshot()
    # Not done yet: told again after a crash.
    world.crash(0)
    world.jobs.do()
    while world.jobs.waiting:
        world.jobs.do()
    assert world.archiving.forgotten_by_now() == [asked]
    assert world.archiving.forgotten_by_now() == []
    assert not [
        path for path in (world.root / "archive-pending").iterdir() if asked.person.encode() in path.read_bytes()
    ]
    world.drain()
    found = world.archived()
    assert gone not in found["user"].to_list()
    kept = [number for number in range(40) if person(number) != gone]
    assert sorted(found["identity"].to_list()) == kept


def test_with_nothing_waiting_who_is_forgotten_is_so_at_once(world: World) -> None:
    world.archiving.forget(Forgotten(f"{1:032x}", "1-0"))
    assert [one.entry for one in world.archiving.forgotten_by_now()] == ["1-0"]
    assert not world.archiving.is_busy
