"""Events that wait on this machine's disk until they are in the archive: one file for each snapshot that had some."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from sinks.archive_forget import tells_of
from sinks.archive_io import write_whole
from sinks.archive_layout import ENTRY_MS, ENTRY_NO, IDENTITY, SHARD, STREAM, TIME, column_of
from sinks.errors import Misconfigured, Retryable
from stream import identity, origins
from stream.batches import Accepted
from stream.plan import Plan
from stream.snapshots import StateError

logger = logging.getLogger(__name__)

SUFFIX, BROKEN = ".arrow", ".broken"


@dataclass(frozen=True, slots=True)
class Increments:
    """Some increments of one shard, in a row."""

    run: str
    """Tells the files of one run from those of another that has gone back to an earlier snapshot."""
    first: int
    last: int
    rows: int
    size_bytes: int
    since_ms: int
    """When the first of them was counted."""

    def names(self, shard: int) -> list[str]:
        return [f"{shard}.{self.run}-{number}{SUFFIX}" for number in range(self.first, self.last + 1)]

    def and_then(self, later: Increments) -> Increments:
        """These, and those right behind them."""
        rows, size_bytes = self.rows + later.rows, self.size_bytes + later.size_bytes
        return Increments(self.run, self.first, later.last, rows, size_bytes, self.since_ms)


class Pending:
    """The files in a directory of the state.

    *Guarantee*: what `write` has returned of is there after a power cut. *Failure*: `Retryable` while the disk is
    full or does not let a file be read; one that is damaged is set aside, said, and the rest kept.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def setup(self) -> None:
        """Raises `Misconfigured` where nothing can be written."""
        probe = self.directory / "probe"
        try:
            write_whole(probe, b"streamgauge")
            probe.unlink()
        except OSError as error:
            raise Misconfigured(f"{self.directory} is for events that wait for the archive: {error}") from error

    def write(self, name: str, rows: pl.DataFrame) -> int:
        """Returns how many bytes it has."""
        buffer = io.BytesIO()
        rows.write_ipc(buffer, compression="lz4")
        content = buffer.getvalue()
        try:
            write_whole(self.directory / name, content)
        except OSError as error:
            raise Retryable(f"events that wait for the archive cannot be kept: {error}") from error
        return len(content)

    def read(self, names: Iterable[str]) -> pl.DataFrame | None:
        """The rows of some files; None without any. Raises Retryable where the disk does not let one be read now."""
        found: list[pl.DataFrame] = []
        for name in names:
            path = self.directory / name
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                logger.error("%s is gone: its events are not archived", path)
                continue
            except OSError as error:  # such as too many open files: nothing is wrong with it
                raise Retryable(f"events that wait for the archive cannot be read: {error}") from error
            try:
                found.append(pl.read_ipc(io.BytesIO(content)))
            except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                broken = self.directory / f"{name}{BROKEN}"
                path.rename(broken)
                logger.error("%s cannot be read, so its events are not archived: %s", broken, error)
        return pl.concat(found) if found else None

    def without(self, names: Iterable[str], person: str) -> None:
        """Write those files anew that have a person, by pseudonym, without them."""
        for name in names:
            if not (self.directory / name).exists():
                continue
            rows = self.read([name])
            if rows is None:
                continue
            others = rows.filter(~tells_of(rows, person))
            if len(others) < len(rows):
                self.write(name, others)

    def missing(self, names: Iterable[str]) -> None:
        """Raises StateError where one of some files is not there."""
        for name in names:
            if not (self.directory / name).exists() and not (self.directory / f"{name}{BROKEN}").exists():
                raise StateError(
                    f"expected {self.directory / name} with events that wait for the archive, found none. It is on the "
                    f"machine that counted them last: copy its directory `{self.directory.name}` here"
                )

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            (self.directory / name).unlink(missing_ok=True)

    def of_shard(self, shard: int) -> list[str]:
        return [path.name for path in self.directory.glob(f"{shard}.*{SUFFIX}")]


def rows_of(plan: Plan, batches: Sequence[Accepted], streams: Collection[str]) -> pl.DataFrame:
    """What was counted, in the archive's columns and with a column `stream`. Expects at least one batch."""
    frame = pl.concat([batch.frame for batch in batches]) if len(batches) > 1 else batches[0].frame
    place = {stream: number for number, stream in enumerate(streams)}
    lengths = [len(batch.time_ms) for batch in batches]
    which = np.repeat(np.array([place[batch.stream] for batch in batches], dtype=np.uint32), lengths)
    time_ms = np.concatenate([batch.time_ms for batch in batches])
    fields = [name for name in plan.fields if name != plan.event.time]
    return frame.select(
        pl.Series(STREAM, pl.Series(list(streams), dtype=pl.Enum(list(streams))).gather(which)),
        pl.Series(TIME, time_ms, dtype=pl.Int64()).cast(pl.Datetime("ms", "UTC")),
        pl.col(origins.ENTRY_MS).alias(ENTRY_MS),
        pl.col(origins.ENTRY_NO).alias(ENTRY_NO),
        pl.col(identity.IDENTITY).alias(IDENTITY),
        pl.lit(batches[0].shard, dtype=pl.Int32()).alias(SHARD),
        *(pl.col(name).alias(column_of(name)) for name in fields),
    )
