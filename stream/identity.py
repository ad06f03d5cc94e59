"""Which event an event is: its id, or without one its content."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import xxhash

from stream.arrays import Mask
from stream.entries import flat_bytes
from stream.origins import Origins

IDENTITY = "\nidentity"
"""Column of a decoded batch: 64 bits that are equal for the same event and no other (up to chance, n² / 2^65)."""

Hashes = npt.NDArray[np.uint64]


def identities(origins: Origins, ids: pl.Series | None, no_time: Mask) -> pl.Series:
    """The identity of each of n events, from their ids (n), where there are any.

    Without an id it is the content; and where that does not say when it was either, the place in the stream, as two
    such events may well be two.
    """
    found = np.zeros(len(origins), dtype=np.uint64)
    unnamed = np.ones(len(origins), dtype=np.bool_)
    if ids is not None:
        unnamed = (ids.is_null() | (ids == "")).to_numpy()
        if not unnamed.all():
            # Texts that a batch has several times are hashed once; the hash is the same in every version and process.
            found = np.array(
                [xxhash.xxh3_64_intdigest(text.encode()) for text in ids.fill_null("").to_list()], dtype=np.uint64
            )
    for row in np.flatnonzero(unnamed).tolist():
        if no_time[row]:
            found[row] = xxhash.xxh3_64_intdigest(f"{origins.entry_id(row)}/{origins.index[row]}".encode())
        else:
            piece = origins.pieces[row]
            found[row] = xxhash.xxh3_64_intdigest(piece if isinstance(piece, bytes) else flat_bytes(piece))
    return pl.Series(IDENTITY, found)
