"""What passes between the steps of the processor. Plain data; all of it survives pickling between processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from sinks.records import DeadLetter, Point, Reason
from sinks.score_records import PersonScore
from stream.arrays import Floats, Ints
from stream.entries import Fields, entry_time_ms
from stream.origins import Origins
from stream.position import Position

if TYPE_CHECKING:
    from stream.people.told import Told


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Entries read from one stream at once; empty ones report progress."""

    stream: str
    entries: list[tuple[bytes, Fields]]
    caught_up: bool
    """Whether the read reached the end of the stream."""
    read_at_ms: int
    report: bool = False
    """Asks for a Status to be published."""
    position: Position | None = None
    """Where the stream is read up to with this batch; None for batches that come from no stream."""
    lag: int | None = None
    """Entries behind this batch, by the server's own count; None while that is not known."""

    @property
    def added_ms(self) -> int | None:
        """When its oldest entry was added, by its id; None without entries."""
        # Producers may choose ids: none is from after the read.
        return min(entry_time_ms(self.entries[0][0].decode()), self.read_at_ms) if self.entries else None


@dataclass(frozen=True, slots=True)
class Status:
    """How far one stream has been read, for people who watch the processor."""

    stream: str
    at_ms: int
    caught_up: bool
    lag_ms: int
    """How long ago the last entry read was added, while there is a backlog; 0 when caught up."""
    max_event_ms: int | None
    """Latest event time in this batch."""
    lag: int | None = None
    """Entries that are not read yet, by the server's own count; None while that is not known."""
    gaps: int = 0
    """How often entries were gone before they were read, since the state directory was made."""
    lost: int = 0
    """How many entries those were, as far as that is known."""
    lost_exact: bool = True
    """False once there was a gap whose size could not be told."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The honest events of one RawBatch as columns, and what was refused.

    `frame` (n rows) has a column for each field of the plan and one for the time, `time_ms` (n) the event times,
    `origins` (n) where each came from.
    """

    stream: str
    frame: pl.DataFrame
    time_ms: Ints
    origins: Origins
    rejects: list[DeadLetter]
    caught_up: bool
    read_at_ms: int
    decoded_at_ms: int
    status: Status | None = None
    added_ms: int | None = None
    """When the oldest entry of the batch was added, where that is to be known."""

    @property
    def max_event_ms(self) -> int | None:
        return int(self.time_ms.max()) if len(self.time_ms) else None


@dataclass(frozen=True, slots=True)
class ShardBatch:
    """One shard's part of a batch, and the progress of its stream, which every shard is told."""

    shard: int
    stream: str
    frame: pl.DataFrame
    time_ms: Ints
    late_rows: Ints
    """Rows that could be too late, and so may have to be dead-lettered (k), in rising order."""
    origins: Origins
    """Where those came from (k)."""
    max_event_ms: int | None
    """Latest event time in the whole batch, not only in this shard's part."""
    caught_up: bool
    read_at_ms: int
    rejects: list[tuple[Reason, int]] = field(default_factory=list)
    """Refused events to be counted, each with its reason and the time its entry was added."""
    added_ms: int | None = None
    """When the oldest entry of the whole batch was added, where that is to be known."""


@dataclass(frozen=True, slots=True)
class Block:
    """Accumulated partials of the series (n) that changed in one kind of pane of one cube."""

    panes: str
    start_s: Ints
    """Start of each row's pane (n)."""
    series: list[tuple[str, ...]]
    """Dimension values of each row (n)."""
    columns: list[Floats]
    """Accumulators, in the order of the metrics and their measures' columns; n each."""
    sketches: list[list[Any]]
    """Sketches of the metrics that have one, in their order; n each, None where nothing was added."""


@dataclass(frozen=True, slots=True)
class Partials:
    """What one shard has to say about one cube at one tick. Totals since the window began, never increments."""

    shard: int
    cube: str
    watermark_ms: int
    blocks: list[Block]
    added_ms: int | None = None
    """When the oldest entry was added that is counted here for the first time; None without any."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What one shard has to say at one tick in persons' own records."""

    told: list[Told]


@dataclass(frozen=True, slots=True)
class Accepted:
    """Events that a shard has counted, each once: what the archive keeps."""

    shard: int
    stream: str
    frame: pl.DataFrame
    """As in ShardBatch, with the columns of identity and order (n)."""
    time_ms: Ints
    """When each was (n)."""


@dataclass(frozen=True, slots=True)
class PersonDays:
    """What one shard has to say to the model of churn: rows of people at ends of days, and how far it has come."""

    shard: int
    done_ms: int
    """All ends of days before it have been told of, but for what comes late."""
    told: list[Told]
    """Lines of kind `churn`: the time is the end of the day, and a later line of the same person and time stands in for
    an earlier one."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model of churn says of people at the end of a day."""

    as_of_ms: int
    scores: Sequence[PersonScore]
    left: list[str] = field(default_factory=list)
    """Persons who had a score at the end of the day before, and have none now: nothing of theirs counts any more."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A person is to be forgotten, by the shard that has them."""

    shard: int
    person: str
    """Pseudonym, 32 hex digits."""
    entry: str
    """Id of the entry that asked for it."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A shard knows nothing of a person any more, and takes nothing of theirs; their record is still to be deleted."""

    person: str
    entry: str
    """Id of the entry that asked for it."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """A crash has taken a cube back: what was emitted of its metrics behind a watermark may never be said again."""

    metrics: tuple[str, ...]
    after_ms: int


@dataclass(frozen=True, slots=True)
class Emission:
    """Points that changed. `live` is everything since the last emission, `durable` what a database should keep."""

    live: list[Point]
    durable: list[Point]
    added_ms: int | None = None
    """When the oldest entry was added that `live` counts for the first time; None without any."""
    watermark_ms: int = -(1 << 62)
    """The merged watermark; every window of the cube that ended before is closed."""
    rolled_back: tuple[RollBack, ...] = ()
    """Comes before the points; only of what may be taken back, as all else is said again by itself."""
    until_ms: int | None = None
    """No other window ends up to then; None: whoever wants to know looks at the windows there are."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The windows of one cube that closed, and how far it has come."""

    cube: str
    points: list[Point]
    watermark_ms: int
    until_ms: int | None = None
    """No other window ends up to then, where that is known."""


State = dict[str, Any]
"""State as plain numbers, texts and bytes, for msgpack."""


def earliest(one: int | None, other: int | None) -> int | None:
    """The earlier of two times, either of which may be unknown."""
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
