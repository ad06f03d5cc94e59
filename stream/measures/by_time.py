"""The sketch of `first` and `last`: one event, chosen by its time."""

from __future__ import annotations

import struct

import numpy as np

from stream.arrays import Ints
from stream.measures.base import Inputs

Moment = tuple[int, int, int, float]
"""Time, the two parts of the entry's id, value."""

_BYTES = struct.Struct("<qqqd")


class ByTime:
    """The earliest (or latest) event by time, then by entry id; of several at the very same, that of the larger value.

    State: a Moment, None at the start. *Guarantee*: exact, 32 bytes, the same for every order and split.
    """

    def __init__(self, *, latest: bool) -> None:
        self._latest = latest

    def empty(self) -> Moment | None:
        return None

    def prepare(self, inputs: Inputs) -> Inputs:
        return inputs

    def add(self, state: Moment | None, prepared: Inputs, rows: Ints) -> Moment | None:
        if not len(rows):
            return state
        values = prepared.values
        assert isinstance(values, np.ndarray)
        # Sorting a whole batch by all four would cost more than looking for one event at a time.
        time_ms = prepared.time_ms[rows]
        rows = rows[time_ms == (time_ms.max() if self._latest else time_ms.min())]
        row = int(rows[0])
        if len(rows) > 1:
            value = values[rows] if self._latest else -values[rows]
            order = np.lexsort((value, prepared.entry_no[rows], prepared.entry_ms[rows]))
            row = int(rows[order[-1 if self._latest else 0]])
        moment = (
            prepared.time_ms.item(row),
            prepared.entry_ms.item(row),
            prepared.entry_no.item(row),
            values.item(row) + 0.0,  # -0.0 and 0.0 are equal, so which of them is kept would depend on the order
        )
        return self.merge(state, moment)

    def merge(self, one: Moment | None, other: Moment | None) -> Moment | None:
        if one is None or other is None:
            return other if one is None else one
        if one[:3] == other[:3]:
            return one if one[3] >= other[3] else other
        return one if (one > other) == self._latest else other

    def to_bytes(self, state: Moment | None) -> bytes:
        return b"" if state is None else _BYTES.pack(*state)

    def from_bytes(self, raw: bytes) -> Moment | None:
        return _BYTES.unpack(raw) if raw else None
