"""Where the events of a batch came from, for the few that have to be sent back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sinks.records import Shape
from stream.arrays import Ints
from stream.entries import MAX_ELEMENTS, Fields, flat_bytes

ENTRY_MS, ENTRY_NO = "\nentry_ms", "\nentry_no"
"""Columns of a decoded batch, where a measure asks for them: which of two events of the same time came first."""
_MOST = (1 << 63) - 1

Origin = tuple[str, int, bytes]
"""Where an event came from: entry id, position in the entry, bytes as they came."""


@dataclass(frozen=True, slots=True)
class Origins:
    """Where each of n events came from. Nothing is copied until an event is asked for."""

    entries: Sequence[tuple[bytes, Fields]]
    entry: Ints
    """Which of the entries each event was in (n)."""
    index: Ints
    """Its position in the entry (n)."""
    pieces: Sequence[bytes | Fields]
    """What was read as the event (n): its JSON, or flat fields."""

    def __len__(self) -> int:
        return len(self.entry)

    def __iter__(self) -> Iterator[Origin]:
        return map(self.at, range(len(self)))

    def entry_id(self, row: int) -> str:
        entry_id, _ = self.entries[self.entry[row]]
        return bytes(entry_id).decode()

    def at(self, row: int) -> Origin:
        entry_id, fields = self.entries[self.entry[row]]
        piece = self.pieces[row]
        raw = piece if isinstance(piece, bytes) and self.shape(row) is Shape.DATA else flat_bytes(fields)
        return entry_id.decode(), int(self.index[row]), raw

    def shape(self, row: int) -> Shape:
        """What the bytes of `at` are."""
        _, fields = self.entries[self.entry[row]]
        piece = self.pieces[row]
        # JSON with other fields beside it goes back with them; an element of a batch, no field by itself, without.
        beside = len(fields) > 2 and any(piece is value for value in fields[1::2])
        return Shape.DATA if isinstance(piece, bytes) and not beside else Shape.FIELDS

    def order(self) -> tuple[pl.Series, pl.Series]:
        """The first part of each event's entry id, and its second with the place in the entry, as columns (n)."""
        parts = [entry_id.partition(b"-") for entry_id, _ in self.entries]
        first = np.array([min(int(one), _MOST) for one, _, _ in parts], dtype=np.int64)
        second = np.array([min(int(two or 0), _MOST // MAX_ELEMENTS) for _, _, two in parts], dtype=np.int64)
        number = second[self.entry] * MAX_ELEMENTS + self.index
        return pl.Series(ENTRY_MS, first[self.entry]), pl.Series(ENTRY_NO, number)

    def take(self, rows: Ints) -> Origins:
        """Those of some rows (k), by themselves: what is left out is not kept alive."""
        used, entry = np.unique(self.entry[rows], return_inverse=True)
        return Origins(
            [self.entries[number] for number in used.tolist()],
            entry.astype(np.int64),
            self.index[rows],
            [self.pieces[row] for row in rows.tolist()],
        )


NOWHERE = Origins([], np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), [])
