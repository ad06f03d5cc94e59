"""Which event an event is: its id, or without one its content."""

from __future__ import annotations

import numpy as np
import polars as pl
import xxhash

from stream.arrays import Mask
from stream.columns import empty
from stream.digests import hashes_of
from stream.entries import flat_bytes
from stream.origins import Origins

IDENTITY = "\nidentity"
"""Column of a decoded batch: 64 bits that are equal for the same event and no other (up to chance, n² / 2^65)."""


def identities(origins: Origins, ids: pl.Series | None, no_time: Mask, stream: str = "") -> pl.Series:
    """The identity of each of n events, from their ids (n), where there are any.

    Without an id it is the content; and where that does not say when it was either, the place in the stream, as two
    such events may well be two: so may those of two streams that got entries in the same millisecond.
    """
    if ids is None:
        found, unnamed = np.zeros(len(origins), dtype=np.uint64), np.arange(len(origins))
    else:
        found = hashes_of(ids)
        unnamed = np.flatnonzero(empty(ids))
    if len(unnamed):
        found = found.copy()
        pieces = [origins.pieces[row] for row in unnamed.tolist()]
        contents = [piece if isinstance(piece, bytes) else flat_bytes(piece) for piece in pieces]
        found[unnamed] = hashes_of(pl.Series(contents, dtype=pl.Binary()))
        for row in unnamed[no_time[unnamed]].tolist():
            found[row] = xxhash.xxh3_64_intdigest(f"{stream} {origins.entry_id(row)}/{origins.index[row]}".encode())
    return pl.Series(IDENTITY, found)
