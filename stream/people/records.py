"""What is kept of units as records: all of one unit's numbers side by side, so that fetching one is one access.

Analyses work over columns. With a million people, fetching thirty numbers from thirty arrays costs thirty times the
wait for memory; a record is fetched at once, and columns are made of some thousand records while these are still near.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.arrays import Ints
from stream.people.base import Array, Column, State
from stream.rows import raw

_BLOCK = 2_048
"""So many records are taken apart at once: they stay in the processor's cache."""


class Records:
    """How columns are laid out in a record."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        # The widest first, so that each stands where the machine reads it at once and little room is lost.
        order = sorted(columns, key=lambda one: -np.dtype(one.dtype).itemsize)
        self.dtype = np.dtype(
            [(one.name, one.dtype) if one.width == 1 else (one.name, one.dtype, (one.width,)) for one in order],
            align=True,
        )
        fill = np.zeros((), dtype=self.dtype)
        for one in columns:
            fill[one.name] = one.fill
        self.fill: Any = fill[()]
        """The record of somebody who was never seen."""

    def take(self, records: Array, rows: Ints) -> Array:
        """The records in some rows (m)."""
        return raw(records)[rows].view(self.dtype)

    def read(self, records: Array) -> State:
        """The columns of records (m)."""
        state: State = {
            one.name: np.empty(len(records) if one.width == 1 else (len(records), one.width), dtype=one.dtype)
            for one in self.columns
        }
        for start in range(0, len(records), _BLOCK):
            block = records[start : start + _BLOCK]
            for name, values in state.items():
                values[start : start + _BLOCK] = block[name]
        return state

    def write(self, records: Array, rows: Ints, state: State) -> None:
        """Put columns (m) into the records of some rows (m, distinct)."""
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            block = np.zeros(len(part), dtype=self.dtype)
            for one in self.columns:
                block[one.name] = state[one.name][start : start + _BLOCK]
            raw(records)[part] = raw(block)

    def describe(self) -> list[list[Any]]:
        """The layout as plain data, to read records by that were written down."""
        found: list[list[Any]] = []
        assert self.dtype.fields is not None
        for name in self.dtype.names or ():
            kind, offset = self.dtype.fields[name][:2]
            found.append([name, kind.base.str, list(kind.shape), offset])
        return [*found, ["", "", [], self.dtype.itemsize]]

    def adopt(self, raw: bytes, described: Sequence[Sequence[Any]]) -> Array:
        """Records that were written down in a layout; columns that it had not are as of somebody never seen."""
        *fields, (_, _, _, size) = described
        saved = np.dtype(
            {
                "names": [name for name, *_ in fields],
                "formats": [(kind, tuple(shape)) for _, kind, shape, _ in fields],
                "offsets": [offset for *_, offset in fields],
                "itemsize": size,
            }
        )
        former = np.frombuffer(raw, dtype=saved)
        if saved == self.dtype:
            return former
        records = np.full(len(former), self.fill, dtype=self.dtype)
        for name in set(self.dtype.names or ()) & set(saved.names or ()):
            if saved[name] == self.dtype[name]:
                records[name] = former[name]
        return records
