"""Which series there are: dimension values to small numbers, within a limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson

from sinks.records import OTHER
from stream.arrays import Ints
from stream.grouping import numbered
from stream.labels import Labels

Series = tuple[str, ...]


class SeriesLog:
    """Series in the order of their numbers, written down once each: a snapshot copies what is there."""

    def __init__(self) -> None:
        self._written = bytearray()

    def append(self, series: Series) -> None:
        self._written += orjson.dumps(series)
        self._written += b","

    def to_bytes(self) -> bytes:
        return bytes(self._written)

    @staticmethod
    def read(raw: bytes) -> list[Series]:
        return [tuple(series) for series in orjson.loads(b"[%s]" % raw[:-1])]


class SeriesIndex:
    """Numbers the series of one cube from 0, in order of appearance.

    The first `limit` series get a number of their own; all later ones share that of `__other__`.
    """

    def __init__(self, width: int, limit: int) -> None:
        self._limit = limit
        self._numbers: dict[Series, int] = {}
        self.series: list[Series] = []
        """Dimension values of each number."""
        self._log = SeriesLog()
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

    def other(self) -> int:
        """The number of `__other__`."""
        self.overflowed = True
        number = self._numbers.get(self._other)
        return self._append(self._other) if number is None else number

    def _admit(self, row: Series) -> int:
        number = self._numbers.get(row)
        if number is not None:
            return number
        if row != self._other and len(self.series) - self.overflowed >= self._limit:
            # Rows past the limit are not remembered, or the index would grow with them.
            return self.other()
        return self._append(row)

    def _append(self, row: Series) -> int:
        number = self._numbers[row] = len(self.series)
        self.series.append(row)
        self._log.append(row)
        return number

    def to_state(self) -> bytes:
        return self._log.to_bytes()

    def restore(self, state: bytes) -> None:
        for row in SeriesLog.read(state):
            self._append(row)
        self.overflowed = self._other in self._numbers


def rows_of(dimensions: Sequence[Labels]) -> tuple[list[Series], Ints]:
    """The different series of a batch (m), and which of them each event (n) belongs to (n).

    `dimensions` has the events' values for each dimension, of which there is at least one.
    """
    first, *others = dimensions
    # At most four dimensions, and no more texts in each than a batch has events: no overflow.
    combined = first.codes
    for labels in others:
        combined = combined * len(labels.texts) + labels.codes
    different, which = numbered(combined)
    columns: list[list[str]] = []
    for labels in reversed(others):
        different, codes = np.divmod(different, max(1, len(labels.texts)))
        columns.append([labels.texts[code] for code in codes.tolist()])
    columns.append([first.texts[code] for code in different.tolist()])
    return list(zip(*reversed(columns), strict=True)), which
