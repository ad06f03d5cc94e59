"""64-bit hashes of whole columns: the same in every version, process and machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh
import xxhash

Hashes = npt.NDArray[np.uint64]

_FEW = 250
"""Up to so many are quicker one by one: asking the native way costs 70 µs, each by itself 0.25."""


def hashes_of(column: pl.Series) -> Hashes:
    """xxh3 of each text or bytes (n), seed 0; 0 where there is none. *Cost*: 15 ns for one of many."""
    if len(column) < _FEW:
        digest = xxhash.xxh3_64_intdigest
        values = column.to_list()
        if column.dtype == pl.String():
            values = [None if value is None else value.encode() for value in values]
        return np.array([0 if value is None else digest(value) for value in values], dtype=np.uint64)
    frame = column.alias("value").to_frame()
    return frame.select(plh.col("value").nchash.xxh3_64().fill_null(0)).to_series().to_numpy()
