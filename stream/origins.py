"""Where the events of a batch came from, for the few that have to be sent back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream.arrays import Ints
from stream.entries import Fields, flat_bytes

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

    def entry_id(self, row: int) -> str:
        entry_id, _ = self.entries[self.entry[row]]
        return bytes(entry_id).decode()

    def at(self, row: int) -> Origin:
        entry_id, fields = self.entries[self.entry[row]]
        piece = self.pieces[row]
        # JSON with other fields beside it goes back with them.
        alone = isinstance(piece, bytes) and (len(fields) == 2 or b"batch" in fields[::2])
        return entry_id.decode(), int(self.index[row]), piece if alone else flat_bytes(fields)  # type: ignore[return-value]

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
