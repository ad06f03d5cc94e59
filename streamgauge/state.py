"""The state directory: what is fixed for its life, whether it can be used, and that only one run uses it."""

from __future__ import annotations

import fcntl
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from stream import merge, shard
from stream.routing import shard_keys
from stream.snapshots import StateError

FORMAT = 1
PARTITIONS = 4
"""Parts of the recovery directory at the least. Fixed for its life; each is a transaction more in every snapshot, and
processes past their number do without one."""
SNAPSHOTS = (shard.STATE_VERSION, merge.STATE_VERSION)
"""Versions of the snapshots that this code writes and reads."""
_ENGINE_SCHEMA = 5
"""What the engine's SQLite files say of their own version."""
_LOCK_PATIENCE_S = 12.0
"""A run that was told to end, or whose supervisor was killed, needs up to so long."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is fixed when a state directory is made, kept in its `state.json`."""

    format: int
    snapshots: tuple[int, ...]
    shard_keys: tuple[str, ...]
    partitions: int
    """How many parts the recovery directory has; over several machines each has some of them."""
    processes: int
    """The most processes that have ever run on it."""
    id: str
    """Tells parts of one cluster's state from those of another's."""

    @property
    def shards(self) -> int:
        return len(self.shard_keys)


_OLDEST = Facts(1, (1, 1), ("0",), 16, 1, "")
"""Directories from before there was a state.json."""


def new_facts(shards: int, processes: int) -> Facts:
    partitions = max(PARTITIONS, processes)
    return Facts(FORMAT, SNAPSHOTS, shard_keys(shards), partitions, processes, secrets.token_hex(6))


def facts_of(value: Any) -> Facts:
    """Facts from JSON. Raises ValueError for anything else."""
    return msgspec.convert(value, Facts)


def read_facts(state: Path) -> Facts | None:
    """The facts of a directory; None where there is no state yet. Raises StateError for what cannot be used."""
    path = state / "state.json"
    try:
        facts = msgspec.json.decode(path.read_bytes(), type=Facts)
    except FileNotFoundError:
        if not (state / "recovery").exists():
            return None
        facts = _OLDEST
    except (msgspec.DecodeError, OSError) as error:
        raise unusable(state, f"state.json cannot be read: {error}") from None
    if facts.format != FORMAT:
        raise unusable(state, f"it has format {facts.format}, this version reads format {FORMAT}")
    if facts.snapshots != SNAPSHOTS:
        found, known = ("/".join(map(str, versions)) for versions in (facts.snapshots, SNAPSHOTS))
        raise unusable(state, f"its snapshots are of version {found}, this version reads version {known}")
    if not facts.shard_keys or not 0 < facts.partitions <= 1_000:
        raise unusable(state, "state.json names no shards, or no sound number of recovery partitions")
    return facts


def write_facts(state: Path, facts: Facts) -> None:
    written = state / f"state.json.{secrets.token_hex(4)}"
    written.write_bytes(msgspec.json.format(msgspec.json.encode(asdict(facts)), indent=2))
    written.rename(state / "state.json")


def agreed(state: Path, facts: Facts | None, *, shards: int | None, processes: int) -> Facts:
    """The facts to run with: those that are there, or new ones. `shards` is what is set, None for "as it is".

    A new directory has a shard for each process when nothing is set. Raises StateError where the directory was made
    with other ones.
    """
    if facts is None:
        return new_facts(shards or processes, processes)
    if shards is not None and shards != facts.shards:
        raise StateError(
            f"STREAMGAUGE_SHARDS is {shards}, but {state} was made with {facts.shards}, which is fixed for its life; "
            "unset it, or choose another directory with --state"
        )
    return replace(facts, processes=max(processes, facts.processes))


def settle(
    state: Path, shards: int | None, processes: int, make: Callable[[Path, int, Collection[int]], None]
) -> Facts:
    """Check a directory that is used by one machine alone, or make what is missing of it. Returns its facts."""
    before = read_facts(state)
    facts = agreed(state, before, shards=shards, processes=processes)
    found = held_partitions(state, facts)
    if (state / "recovery").exists() and len(found) != facts.partitions:
        missing = ", ".join(f"part-{part}.sqlite3" for part in range(facts.partitions) if part not in found)
        raise unusable(state, f"recovery lacks {missing} of its {facts.partitions} partitions")
    if facts != before or not (state / "state.json").exists():
        write_facts(state, facts)
    if not (state / "recovery").exists():
        make(state / "recovery", facts.partitions, range(facts.partitions))
    return facts


def held_partitions(state: Path, facts: Facts) -> dict[int, bool]:
    """The recovery partitions in a directory, each with whether anything was ever saved in it.

    Raises StateError for files that are not the engine's, of another of its versions, damaged, or of another number.
    """
    recovery = state / "recovery"
    if not recovery.exists():
        return {}
    found: dict[int, bool] = {}
    for path in sorted(recovery.glob("*.sqlite3")):
        try:
            number, of, used = _partition(path)
        except (sqlite3.Error, ValueError, OSError) as error:
            raise unusable(state, f"recovery/{path.name} is not a sound recovery partition: {error}") from None
        if of != facts.partitions:
            message = f"recovery/{path.name} is one of {of} partitions, expected one of {facts.partitions}"
            raise unusable(state, message)
        if number in found:
            raise unusable(state, f"recovery/{path.name} is partition {number}, of which there is another")
        found[number] = used
    return found


def _partition(path: Path) -> tuple[int, int, bool]:
    # The engine is not yet running in this process, so that no lock of its own SQLite can be lost by closing this.
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=5)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != _ENGINE_SCHEMA:
            raise ValueError(f"expected version {_ENGINE_SCHEMA} of the engine's format, found version {version}")
        (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise ValueError(sound)
        rows = connection.execute("SELECT part_index, part_count FROM parts").fetchall()
        if len(rows) != 1:
            raise ValueError(f"expected one partition in it, found {len(rows)}")
        (used,) = connection.execute("SELECT EXISTS (SELECT * FROM commits)").fetchone()
        return rows[0][0], rows[0][1], bool(used)


def unusable(state: Path, why: str) -> StateError:
    return StateError(
        f"{state}: {why}. Nothing was changed in it. Run the version that wrote it, restore it from a backup, choose "
        "another directory with --state, or move `recovery` and `state.json` out of it to count anew from the streams"
    )


@contextmanager
def held(state: Path, *, shared: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a state directory; two runs on one state would each undo the other. Raises StateError when it is in use.

    What it gives lets the processes of this run in, each of which holds it as `shared`.
    """
    with (state / "run.lock").open("w") as file:
        deadline_s = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline_s:
                    raise StateError(
                        f"another streamgauge runs on {state}; stop it, or choose another directory with --state"
                    ) from None
                time.sleep(0.1)
        yield lambda: fcntl.flock(file, fcntl.LOCK_SH)
