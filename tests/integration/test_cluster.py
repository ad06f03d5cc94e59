"""Several processes count as one: the same numbers as one pipeline, however they end and start again."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from sinks.store import Store
from stream.batches import RawBatch
from stream.catalog import load
from stream.enrich import Pseudonyms
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from stream.shard import STATE_VERSION
from stream.snapshots import pack_state, unpack_state
from tests.patience import Stopwatch
from tests.ports import free_port
from tests.stack import Stack, eventually, stack, stop

STREAMS = ("events:{0}", "events:{1}")
CATALOG = """
[platform]
name = "Scale"
streams = ["events:{0}", "events:{1}"]

[event]
person = "user"

[[metric]]
name = "orders"
measure = "count"
by = ["kind"]
windows = ["1m", "1d"]

[[metric]]
name = "revenue"
measure = "sum"
value = "price * quantity"
by = ["kind", "country"]
windows = ["1m", "1d"]

[[metric]]
name = "dearest"
measure = "max"
value = "price"
windows = ["1m"]
"""

Key = tuple[str, str, int, Any]


class Numbers:
    """Events sent, and what one pipeline makes of them."""

    def __init__(self, made: Stack, seed: int = 1) -> None:
        self._made = made
        self._random = random.Random(seed)
        self._now_ms = time.time_ns() // 1_000_000
        self._entries: dict[str, list[tuple[bytes, list[bytes]]]] = {stream: [] for stream in STREAMS}
        self.sent = 0

    def send(self, events: int) -> None:
        """So many to each stream, of the last ten minutes, in no order, some of them broken."""
        for stream in STREAMS:
            pipe = self._made.client.pipeline(transaction=False)
            datas = [self._event() for _ in range(events)]
            for data in datas:
                pipe.xadd(stream, {"data": data})
            ids = pipe.execute()
            self._entries[stream] += [(id_, [b"data", data]) for id_, data in zip(ids, datas, strict=True)]
            self.sent += events

    def _event(self) -> bytes:
        choose = self._random
        if choose.random() < 0.01:
            return b'{"kind": '
        event = {
            "time": self._now_ms - choose.randrange(600_000),
            "user": f"u{choose.randrange(300)}",
            "kind": choose.choice(["book", "pen", "ink"]),
            "country": choose.choice(["DE", "FR", "NO", "AT", "CH"]),
            "price": choose.randrange(1, 1_000),
            "quantity": choose.randrange(1, 5),
        }
        return orjson.dumps(event)

    def expected(self) -> dict[Key, tuple[Any, int]]:
        pipeline = Pipeline(compile_plan(load(self._made.catalog)), Pseudonyms(b"the-key-of-these-tests"))
        for stream, entries in self._entries.items():
            pipeline.add(RawBatch(stream, entries, False, self._now_ms), self._now_ms)
        return {
            (point.metric, point.window, point.start_ms, point.dimensions): (point.value, point.count)
            for point in pipeline.finish(self._now_ms).live
            # The others count by the time their entries were added.
            if point.metric != "streamgauge_rejects" or point.window == "total"
        }

    def stored(self, keys: set[tuple[str, str]]) -> dict[Key, tuple[Any, int]]:
        store = Store(self._made.environment["DATABASE_URL"])
        try:
            return {
                (point.metric, point.window, point.start_ms, point.dimensions): (point.value, point.count)
                for metric, window in keys
                for point in store.points(metric, window, limit=100_000)
            }
        finally:
            store.close()

    def come_out_exact(self, *, within_s: float = 40) -> None:
        expected = self.expected()
        # The shortest windows of the built-in metric are forgotten after a while.
        keys = {(metric, window) for metric, window, *_ in expected}
        deadline_s = time.monotonic() + within_s
        while (found := self.stored(keys)) != expected and time.monotonic() < deadline_s:
            time.sleep(0.2)
        wrong = {key: (found.get(key), expected.get(key)) for key in {**found, **expected}}
        wrong = {key: pair for key, pair in wrong.items() if pair[0] != pair[1]}
        assert not wrong, f"{len(wrong)} of {len(expected)} are wrong: {list(wrong.items())[:5]}\n{self._made.logs()}"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Stack]:
    with _stack(tmp_path) as it:
        yield it


@contextmanager
def _stack(directory: Path) -> Iterator[Stack]:
    catalog = directory / "catalog.toml"
    catalog.write_text(CATALOG)
    url = f"sqlite:///{directory}/points.db"
    with stack(directory, catalog, environment={"DATABASE_URL": url}) as it:
        Store(url).setup()
        yield it
        for pids in it.processes.values():
            for pid in _members(pids):
                os.kill(pid, signal.SIGKILL)


def _run(made: Stack, processes: int) -> subprocess.Popen[bytes]:
    return made.start("run", "run", "--catalog", str(made.catalog), "--processes", str(processes))


def _members(supervisor: subprocess.Popen[bytes]) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(supervisor.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def _alive(pids: list[int]) -> list[int]:
    stats = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    return [pid for pid, stat in stats.items() if stat.exists() and " Z " not in stat.read_text()]


def test_any_number_of_processes_counts_what_one_pipeline_counts(made: Stack) -> None:
    numbers = Numbers(made)
    for processes in (2, 3, 1):
        numbers.send(3_000)
        run = _run(made, processes)
        numbers.send(500)
        numbers.come_out_exact()
        members = _members(run)
        assert len(members) == (processes if processes > 1 else 0)
        assert stop(run) == 0, made.logs()
        assert not _alive(members)
    state = orjson.loads((made.directory / "state" / "scale" / "state.json").read_bytes())
    assert (len(state["shard_keys"]), state["processes"]) == (2, 3)
    assert "2 streams over 3 processes: 1 of them read nothing and only count" in made.logs()
    assert "Traceback" not in made.logs()


def test_whoever_is_killed_or_told_to_end_nothing_is_lost(made: Stack) -> None:
    numbers = Numbers(made)
    numbers.send(4_000)
    run = _run(made, 2)
    numbers.come_out_exact()

    # A member is killed under load: all start again.
    numbers.send(4_000)
    before = _members(run)
    os.kill(before[0], signal.SIGKILL)
    numbers.send(4_000)
    numbers.come_out_exact()
    assert not set(before) & set(_members(run))
    assert "member 0 ended with status -9" in made.logs()

    # The supervisor is killed under load: no process stays.
    numbers.send(4_000)
    members = _members(run)
    run.kill()
    run.wait()
    eventually(lambda: not _alive(members), within_s=10, what="an empty house")
    numbers.send(1_000)
    run = _run(made, 2)
    numbers.come_out_exact()

    # A member is told to end: all do, in order.
    numbers.send(4_000)
    members = _members(run)
    watch = Stopwatch()
    os.kill(members[1], signal.SIGTERM)
    assert run.wait(30) == 0, made.logs()
    assert watch.worked_s < 10
    assert not _alive(members)
    assert "a member was told to end" in made.logs()


def test_members_on_several_machines_count_as_one_and_strangers_are_refused(made: Stack) -> None:
    addresses = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"

    def start(member: int, catalog: Path) -> subprocess.Popen[bytes]:
        where = ("--cluster", addresses, "--member", str(member), "--state", str(made.directory / f"machine{member}"))
        return made.start(f"run{member}", "run", "--catalog", str(catalog), *where)

    other = made.directory / "other.toml"
    other.write_text(CATALOG.replace('measure = "max"', 'measure = "min"'))
    numbers = Numbers(made)
    numbers.send(2_000)
    first = start(0, made.catalog)
    stranger = start(1, other)
    assert stranger.wait(60) == 78, made.logs()
    assert re.search(r"member 1 cannot join the cluster: catalog: '\w+', member 0 has '\w+'", made.logs()), made.logs()
    assert "member 1 was refused: catalog" in made.logs()

    second = start(1, made.catalog)
    numbers.come_out_exact()
    # Each machine has its own part of the state.
    held = [
        sorted(path.name for path in made.directory.glob(f"machine{member}/scale/recovery/*.sqlite3"))
        for member in (0, 1)
    ]
    assert [len(names) for names in held] == [2, 2]
    assert not set(held[0]) & set(held[1])

    # One of them dies, supervisor and all: the other waits for it to come back.
    os.kill(second.pid, signal.SIGKILL)
    second.wait()
    numbers.send(2_000)
    second = start(1, made.catalog)
    numbers.come_out_exact()

    # Telling one is telling all.
    numbers.send(1_000)
    watch = Stopwatch()
    second.terminate()
    assert (first.wait(30), second.wait(30)) == (0, 0), made.logs()
    assert watch.worked_s < 10
    assert "Traceback" not in made.logs()


def test_a_state_that_cannot_be_used_is_refused_by_name(made: Stack) -> None:
    Numbers(made).send(1_000)
    run = _run(made, 1)
    state = made.directory / "state" / "scale"

    def saved() -> bool:
        found = 0
        for path in (state / "recovery").glob("*.sqlite3"):
            with closing(sqlite3.connect(path)) as connection:
                query = "SELECT count(*) FROM snaps WHERE step_id = 'streamgauge.shard'"
                found += connection.execute(query).fetchone()[0]
        return found > 0

    eventually(saved, within_s=30)
    assert stop(run) == 0, made.logs()
    sound = shutil.copytree(state, made.directory / "sound")

    def refused(processes: int) -> str:
        done = made.command("run", "--catalog", str(made.catalog), "--processes", str(processes))
        assert done.returncode == 78, done.stderr
        assert str(state) in done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    part = state / "recovery" / "part-3.sqlite3"
    part.write_bytes(part.read_bytes()[:5_000])
    assert "recovery/part-3.sqlite3 is not a sound recovery partition" in refused(1)
    shutil.rmtree(state)
    shutil.copytree(sound, state)

    # What only shows when the engine has already begun: snapshots of another version.
    for path in (state / "recovery").glob("*.sqlite3"):
        _reversion(path)
    for processes in (1, 2):
        assert f"expected a snapshot of version {STATE_VERSION}, found version 99" in refused(processes)


def _reversion(path: Path) -> None:
    """Have the snapshots of shards say that they are of another version."""
    import pickle

    with closing(sqlite3.connect(path)) as connection, connection:
        query = "SELECT rowid, ser_change FROM snaps WHERE step_id = 'streamgauge.shard'"
        for row, change in connection.execute(query).fetchall():
            again = pickle.dumps(pack_state(99, unpack_state(pickle.loads(change), STATE_VERSION)))
            connection.execute("UPDATE snaps SET ser_change = ? WHERE rowid = ?", (again, row))
