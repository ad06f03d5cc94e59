"""Texts of a batch, as numbers: each different one once, or by their hashes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from sinks.records import MISSING
from stream.arrays import Ints
from stream.convert import scalar_text
from stream.digests import Hashes, hashes_of
from stream.grouping import numbered

_FEW = 300
"""Up to so many texts are numbered sooner one by one than natively."""
MAX_TEXT = 256
"""Longer texts are cut here: they are labels, not documents."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Texts of n events, each different one once."""

    codes: Ints
    """Place of each event's text (n); events without one are left out before a measure sees them."""
    texts: list[str]


class Texts:
    """A text column (n), read as its user needs it: which texts there are, or only which are the same."""

    def __init__(self, column: pl.Series) -> None:
        self._column = column

    @cached_property
    def labels(self) -> Labels:
        return labels_of(self._column)

    @cached_property
    def hashes(self) -> Hashes:
        """Of the whole texts (n), however long they are."""
        return hashes_of(self._column)


def labels_of(column: pl.Series) -> Labels:
    """The texts of a column (n); `__none__` where there is none. *Cost*: 50 ns a row."""
    column = pl.Series("", column)
    if column.dtype == pl.String() and len(column) > _FEW:
        return _of_texts(column.fill_null("") if column.null_count() else column)
    if column.dtype == pl.String():
        values = [text or MISSING for text in column.to_list()]
    else:
        # Zeros of both signs are equal, so they have one label.
        values = [0.0 if value == 0 and value is not False else value for value in column.to_list()]
    known = {value: place for place, value in enumerate(dict.fromkeys(values))}
    codes = np.array([known[value] for value in values], dtype=np.int64)
    return Labels(codes, [_text(value)[:MAX_TEXT] for value in known])


def _text(value: str | bool | float | None) -> str:
    if value is None:
        return MISSING
    return value if isinstance(value, str) else scalar_text(value)


def _of_texts(column: pl.Series) -> Labels:
    codes = column.cast(pl.Categorical()).to_physical().to_numpy().astype(np.int64)
    if not len(codes):
        return Labels(codes, [])
    different = int(codes.max()) + 1
    if different > len(codes):
        # Somebody else's column of this kind is alive, and its texts have numbers too.
        _, codes = numbered(codes)
        different = int(codes.max()) + 1
    first = np.empty(different, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return Labels(codes, [text[:MAX_TEXT] or MISSING for text in column.gather(first).to_list()])
