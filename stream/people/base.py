"""What an analysis of people is: a person's events in order go in, facts about them come out.

An analysis keeps some columns of state for each person, and never sees a person twice at the same time: it is given the
events of many persons at once (a `Run`), each person's in order of time, and says what follows from them (`Facts`).
Facts are rows that ordinary metrics count, each with a weight. What came too early is taken back by the engine, which
runs the same analysis over the events as they were known before, with the sign turned: so an analysis knows nothing of
lateness, duplicates, shards or restarts. All it has to promise is this.

*Guarantee*: however a person's events are split into runs, and whatever the moments between that runs reach to, the
facts add up to the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from stream.arrays import Floats, Ints, Mask
from stream.digests import Hashes
from stream.expressions import FieldType
from stream.people.periods import Periods
from stream.people.vocabulary import Vocabulary

Array = npt.NDArray[Any]
State = dict[str, Array]
"""An analysis' columns, by name: one row (or a row of `width` numbers) for each of a run's m units."""
LONG_AGO_MS = -(1 << 62)
FAR_MS = 1 << 62
FLAGGED = "flagged"
"""Kind of the lines about persons of whom there were such."""
CAPPED = "people.capped"
"""Kind of the facts about events that are too many of one person for one day."""


@dataclass(frozen=True, slots=True)
class Column:
    """Something that is kept of each person."""

    name: str
    dtype: npt.DTypeLike
    fill: Any
    """Of somebody who was never seen."""
    width: int = 1
    """How many numbers; a column of more than one is an array of (m, width)."""


@dataclass(frozen=True, slots=True)
class Needs:
    """SQL expressions over the fields of an event that an analysis reads, as the catalog has them."""

    conditions: Sequence[str] = ()
    values: Sequence[str] = ()
    texts: Sequence[str] = ()
    """Read as numbers of a vocabulary, so of which there may be many but not without end: pages, devices."""
    hashes: Sequence[str] = ()
    """Texts of which only matters whether they are the same, such as ids."""


@dataclass(frozen=True, slots=True)
class UnitKey:
    """What else than the person makes a unit: a text of the event."""

    text: str
    """SQL expression. An event without it is of no unit, unless `named`."""
    named: bool = False
    """Whether the text itself is wanted (`Run.unit_texts`), and events without it are of `__none__`."""


@dataclass(frozen=True, slots=True)
class FactKind:
    """One kind of facts, and what is known of each: what metrics with `on = "<name>"` count."""

    name: str
    fields: Mapping[str, FieldType]
    settles_ms: int = 0
    """How long after the end of a window a fact may still be put into it: that much later it closes."""
    periods: Periods | None = None
    """What the spans of this kind are over; None for kinds without."""
    is_line: bool = False
    """Whether it is about lines of persons' own records, which nothing counts."""


@dataclass(slots=True)
class Run:
    """Events of some units (m), n in all: in order of unit, of each in order of time and, at equal times, of entry.

    A unit is a person, or for some analyses a person with a text of the event. It may have no event here: time has
    passed for it.
    """

    until_ms: int
    """Everything up to this moment, itself included, is known: what waits for silence has heard it until then."""
    owner: Ints
    """Which unit, from 0 to m - 1, each event is of (n), rising."""
    first: Ints
    """Place of each unit's first event (m); where a unit has none, that of the next one's."""
    time_ms: Ints
    """(n)"""
    identity: Hashes
    """64 bits that are the event's own (n)."""
    conditions: Mapping[str, Mask]
    """For each of the conditions that were asked for, which events meet it (n)."""
    values: Mapping[str, Floats]
    """(n each), NaN where there is none."""
    texts: Mapping[str, Ints]
    """Numbers of texts (n each), 0 where there is none."""
    hashes: Mapping[str, Hashes]
    """(n each), 0 where there is no text."""
    unit_hash: Hashes
    """64 bits that are the unit's own (m)."""
    unit_texts: Sequence[Ints] = ()
    """Numbers of the texts of the named unit keys (m each)."""
    session_begins: Mask | None = None
    """Which events are the first of a session (n); None before sessions were made, or where the catalog has none."""
    ended_ms: int = FAR_MS
    """Time of the latest event of all, once there will be no other; far ahead before. Time itself comes no further."""

    @property
    def units(self) -> int:
        return len(self.first)

    @property
    def sizes(self) -> Ints:
        """How many events each unit has (m)."""
        return np.diff(np.append(self.first, len(self.owner)))


@dataclass(frozen=True, slots=True)
class Rows:
    """Facts of one kind (n): when each counts, how often, and its fields (n each)."""

    time_ms: Ints
    weight: Ints
    fields: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Spans:
    """Facts of one kind (n) that hold for whole periods: from number `first` to before `after`."""

    first: Ints
    after: Ints
    weight: Ints
    fields: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Entries:
    """Lines (n) of persons' own records: what `GET /v1/persons/{id}` shows."""

    owner: Ints
    """Which of the run's units each is about (n)."""
    reference: Hashes
    """64 bits (n): a second line with the same kind, person and reference takes the place of the first."""
    time_ms: Ints
    weight: Ints
    """1, or -1 for a line that is no longer so."""
    fields: Mapping[str, Array]


@dataclass(slots=True)
class Facts:
    """What an analysis has to say of a run. Text fields are numbers of the vocabulary."""

    rows: list[tuple[str, Rows]] = field(default_factory=list)
    spans: list[tuple[str, Spans]] = field(default_factory=list)
    entries: list[tuple[str, Entries]] = field(default_factory=list)

    def add(self, kind: str, time_ms: Ints, weight: Ints | None = None, **fields: Array) -> None:
        """Rows (n) that count at `time_ms`, `weight` times each (default: once; less than 0 takes back)."""
        if len(time_ms):
            self.rows.append((kind, Rows(time_ms, _ones(time_ms) if weight is None else weight, fields)))

    def span(self, kind: str, first: Ints, after: Ints, weight: Ints | None = None, **fields: Array) -> None:
        """Rows (n) that count once in each period from number `first` to before `after`, also such as are yet to come.

        The engine says them when their periods begin. Empty spans are left out.
        """
        some = after > first
        if some.any():
            weight = _ones(first) if weight is None else weight
            kept = {name: values[some] for name, values in fields.items()}
            self.spans.append((kind, Spans(first[some], after[some], weight[some], kept)))

    def tell(
        self,
        kind: str,
        owner: Ints,
        reference: Hashes,
        time_ms: Ints,
        weight: Ints | None = None,
        **fields: Array,
    ) -> None:
        """Lines (n) for the records of the persons that the run's units `owner` (n) are of."""
        if len(owner):
            weight = _ones(owner) if weight is None else weight
            self.entries.append((kind, Entries(owner, reference, time_ms, weight, fields)))


class Analysis(Protocol):
    """One analysis. It has no state of its own."""

    @property
    def columns(self) -> Sequence[Column]:
        """What it keeps of each unit."""
        ...

    def run(self, state: State, run: Run, facts: Facts) -> None:
        """Take a run into account: put the units' new state into `state` and what follows into `facts`.

        `state` is the caller's to keep or to throw away: arrays in it may be changed or replaced.
        """
        ...

    def due_ms(self, state: State) -> Ints | None:
        """When each unit (m) next has something to say although nothing happens, `FAR_MS` for never; None: never any.

        It is then given a run that reaches to that moment or beyond.
        """
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What analyses are made with."""

    zone: ZoneInfo
    vocabulary: Vocabulary


class Declaration(Protocol):
    """A table of the catalog that declares an analysis: its class is what the registry names."""

    def needs(self) -> Needs:
        """What it reads of events."""
        ...

    def unit(self) -> Sequence[UnitKey]:
        """What its units are beside persons; empty for most."""
        ...

    def kinds(self, zone: ZoneInfo) -> Sequence[FactKind]:
        """The facts that it gives, and the lines; of a kind that others have as well, with the same fields."""
        ...

    def metrics(self) -> Iterable[Mapping[str, Any]]:
        """The metrics over those facts that every catalog gets which declares it, as `[[metric]]` tables with `on`."""
        ...

    def make(self, setting: Setting) -> Analysis: ...


def _ones(like: Ints) -> Ints:
    return np.ones(len(like), dtype=np.int64)
