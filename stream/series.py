"""Which series there are: dimension values to small numbers, within a limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from sinks.records import MISSING, OTHER
from stream.arrays import Ints
from stream.convert import scalar_text

MAX_TEXT = 256
"""Longer dimension values are cut here: they are labels, not documents."""

Series = tuple[str, ...]


class SeriesIndex:
    """Numbers the series of one cube from 0, in order of appearance.

    The first `limit` series get a number of their own; all later ones share that of `__other__`.
    """

    def __init__(self, width: int, limit: int) -> None:
        self._limit = limit
        self._numbers: dict[Series, int] = {}
        self.series: list[Series] = []
        """Dimension values of each number."""
        self._other = (OTHER,) * width
        self.overflowed = False
        """Whether any series had to share `__other__`."""

    def __len__(self) -> int:
        return len(self.series)

    def numbers(self, rows: Sequence[Series]) -> Ints:
        """The number of each row's series (n)."""
        known = self._numbers
        found = [known.get(row, -1) for row in rows]
        if -1 in found:
            found = [number if number >= 0 else self._admit(row) for row, number in zip(rows, found, strict=True)]
        return np.array(found, dtype=np.int64)

    def _admit(self, row: Series) -> int:
        number = self._numbers.get(row)
        if number is not None:
            return number
        if row != self._other and len(self.series) - self.overflowed >= self._limit:
            # Rows past the limit are not remembered, or the index would grow with them.
            self.overflowed = True
            return self._admit(self._other)
        number = len(self.series)
        self._numbers[row] = number
        self.series.append(row)
        return number

    def to_state(self) -> list[list[str]]:
        return [list(row) for row in self.series]

    def restore(self, state: list[list[str]]) -> None:
        self.series = [tuple(row) for row in state]
        self._numbers = {row: number for number, row in enumerate(self.series)}
        self.overflowed = self._other in self._numbers


def dimension_rows(frame: pl.DataFrame, by: tuple[str, ...]) -> list[Series]:
    """Dimension values of each row of `frame` (n), as text; `__none__` where the event has none."""
    columns = [_texts(frame[name]) for name in by]
    return list(zip(*columns, strict=True))


def _texts(column: pl.Series) -> list[str]:
    if column.dtype == pl.String():
        return [value[:MAX_TEXT] if value else MISSING for value in column.to_list()]
    return [MISSING if value is None else scalar_text(value)[:MAX_TEXT] for value in column.to_list()]
