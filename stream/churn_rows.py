"""Rows of people at ends of days, in columns: gathered from the shards, put into one order, kept until they are known.

*The order* is that of what was seen of people, and of their pseudonyms only where that is the same: so a model that
learns from rows one after the other is the same for any number of shards and any key of pseudonyms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from stream.arrays import Floats, Ints, Mask
from stream.batches import State
from stream.digests import Hashes
from stream.people.told import Told

COUNTS = ("first_ms", "last_ms", "events", "days")
"""What every row has beside its inputs."""


@dataclass(frozen=True, slots=True)
class Persons:
    """Pseudonyms (n), as the two halves of each. Whoever has the same first half is taken for the same person."""

    high: Hashes
    low: Hashes

    def __len__(self) -> int:
        return len(self.high)

    def take(self, rows: Ints | Mask | slice) -> Persons:
        return Persons(self.high[rows], self.low[rows])

    def texts(self) -> list[str]:
        """As 32 hex digits."""
        return [f"{one:016x}{other:016x}" for one, other in zip(self.high.tolist(), self.low.tolist(), strict=True)]

    def within(self, others: Persons) -> Mask:
        """Which of them are among others (n)."""
        return np.isin(self.high, others.high)

    def places_in(self, others: Persons) -> Ints:
        """Where each is among others, -1 where they are not (n)."""
        order = np.argsort(others.high, kind="stable")
        at = np.searchsorted(others.high, self.high, sorter=order)
        if not len(order):
            return np.full(len(self), -1, dtype=np.int64)
        place = order[np.minimum(at, len(order) - 1)]
        return np.where(others.high[place] == self.high, place, -1)

    def are(self, person: str) -> Mask:
        """Which are this one, by pseudonym (n)."""
        high, low = halves_of(person)
        found: Mask = (self.high == high) & (self.low == low)
        return found


def halves_of(person: str) -> tuple[np.uint64, np.uint64]:
    """A pseudonym of 32 hex digits as two numbers."""
    return np.uint64(int(person[:16], 16)), np.uint64(int(person[16:], 16))


@dataclass(frozen=True, slots=True)
class DayRows:
    """What is known of people (n) at the end of a day."""

    persons: Persons
    counts: Ints
    """A column for each of `COUNTS` (n, 4)."""
    inputs: Floats
    """A column for each input of the catalog (n, f); NaN where it is not known."""

    def __len__(self) -> int:
        return len(self.persons)

    def take(self, rows: Ints | Mask) -> DayRows:
        return DayRows(self.persons.take(rows), self.counts[rows], self.inputs[rows])

    @property
    def first_ms(self) -> Ints:
        return self.counts[:, 0]

    @property
    def last_ms(self) -> Ints:
        return self.counts[:, 1]

    @property
    def events(self) -> Ints:
        return self.counts[:, 2]

    @property
    def days(self) -> Ints:
        """On how many they had any (n)."""
        return self.counts[:, 3]

    def in_order(self) -> DayRows:
        """The same rows in the one order."""
        keys = [self.persons.low, self.persons.high, *reversed(self._seen())]
        return self.take(np.lexsort(keys))

    def alike(self) -> Ints:
        """A number for each row, in order, that it shares with those of whom the very same was seen (n)."""
        different = np.zeros(len(self), dtype=np.bool_)
        for column in self._seen():
            one, other = column[1:], column[:-1]
            different[1:] |= (
                (one != other) & ~(np.isnan(one) & np.isnan(other)) if column.dtype.kind == "f" else (one != other)
            )
        return np.cumsum(different)

    def _seen(self) -> list[Any]:
        return [*self.counts.T, *self.inputs.T]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows as a shard told them, and which of them are taken back (n)."""

    rows: DayRows
    gone: Mask

    def without(self, person: str) -> Block:
        others = ~self.rows.persons.are(person)
        return self if others.all() else Block(self.rows.take(others), self.gone[others])

    def to_state(self) -> State:
        rows = self.rows
        return {
            "high": rows.persons.high.tobytes(),
            "low": rows.persons.low.tobytes(),
            "counts": rows.counts.tobytes(),
            "inputs": rows.inputs.tobytes(),
            "gone": self.gone.tobytes(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Block:
        high = np.frombuffer(state["high"], dtype=np.uint64)
        counts = np.frombuffer(state["counts"], dtype=np.int64).reshape(len(high), len(COUNTS))
        inputs = np.frombuffer(state["inputs"], dtype=np.float64)
        # Where there is nobody the number of columns is not known either, nor needed.
        inputs = inputs.reshape(len(high), -1) if len(high) else inputs.reshape(0, 0)
        rows = DayRows(Persons(high, np.frombuffer(state["low"], dtype=np.uint64)), counts, inputs)
        return cls(rows, np.frombuffer(state["gone"], dtype=np.bool_))


def blocks_of(told: Told, inputs: Sequence[str]) -> Iterable[tuple[int, Block]]:
    """What a shard told, by end of day; `inputs` are the names of the fields that are inputs, in their order."""
    if isinstance(told.persons, pl.Series):
        raw = np.frombuffer(bytes.fromhex("".join(told.persons.to_list())), dtype=">u8").astype(np.uint64)
        persons = Persons(raw[::2], raw[1::2])
    else:
        persons = Persons(*told.persons)
    count = len(told.time_ms)
    columns = [told.fields[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in inputs]
    counts = np.column_stack([told.fields[name].cast(pl.Int64).to_numpy() for name in COUNTS])
    rows = DayRows(persons, counts, np.column_stack(columns) if columns else np.empty((count, 0)))
    ends = np.unique(told.time_ms)
    for end_ms in ends.tolist():
        its = told.time_ms == end_ms
        yield end_ms, Block(rows, told.gone) if len(ends) == 1 else Block(rows.take(its), told.gone[its])


def last_words(blocks: Sequence[Block], inputs: int) -> DayRows:
    """The rows of one day in the one order: of each person the last that was told, and none who was taken back."""
    if not blocks:
        no_one = np.empty(0, dtype=np.uint64)
        counts = np.empty((0, len(COUNTS)), dtype=np.int64)
        return DayRows(Persons(no_one, no_one), counts, np.empty((0, inputs)))
    joined = _joined(blocks)
    high = joined.rows.persons.high
    order = np.argsort(high, kind="stable")
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = high[order][1:] != high[order][:-1]
    kept = order[last]
    return joined.rows.take(kept[~joined.gone[kept]]).in_order()


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    # One without anybody has no columns.
    blocks = [block for block in blocks if len(block.gone)] or blocks[:1]
    rows = [block.rows for block in blocks]
    return Block(
        DayRows(
            Persons(*(np.concatenate([getattr(one.persons, half) for one in rows]) for half in ("high", "low"))),
            np.concatenate([one.counts for one in rows]),
            np.concatenate([one.inputs for one in rows]),
        ),
        np.concatenate([block.gone for block in blocks]),
    )


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Rows of people (n) at the end of a day that have a score, in the one order, as they wait to be known."""

    persons: Persons
    alike: Ints
    """A number that rows share of whom the very same was seen (n)."""
    level: Ints
    """Of each, by its place among the levels (n)."""
    columns: Mapping[str, Any]
    """What the model wants back with the answers, arrays of n rows: features, and what it said."""

    def __len__(self) -> int:
        return len(self.persons)

    def without(self, person: str) -> ScoredRows:
        others = ~self.persons.are(person)
        if others.all():
            return self
        columns = {name: column[others] for name, column in self.columns.items()}
        return ScoredRows(self.persons.take(others), self.alike[others], self.level[others], columns)

    def to_state(self) -> State:
        return {
            "high": self.persons.high.tobytes(),
            "low": self.persons.low.tobytes(),
            "alike": self.alike.astype(np.int32).tobytes(),
            "level": self.level.astype(np.int8).tobytes(),
            "columns": {
                name: (column.dtype.str, list(column.shape[1:]), np.ascontiguousarray(column).tobytes())
                for name, column in self.columns.items()
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ScoredRows:
        high, low = (np.frombuffer(state[name], dtype=np.uint64) for name in ("high", "low"))
        columns = {
            name: np.frombuffer(raw, dtype=kind).reshape(len(high), *shape)
            for name, (kind, shape, raw) in state["columns"].items()
        }
        alike = np.frombuffer(state["alike"], dtype=np.int32).astype(np.int64)
        return cls(Persons(high, low), alike, np.frombuffer(state["level"], dtype=np.int8).astype(np.int64), columns)


def to_learn(rows: ScoredRows, churned: Mask) -> Ints:
    """The order in which answers (n) are learned: that of the rows, and among those alike who left come last."""
    return np.lexsort((churned, rows.alike))
