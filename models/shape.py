"""How unlike everything before the recent course of a series is: the left discord of its means by the hour."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

CELLS = 48
"""That a season is divided into; each becomes one mean."""
LENGTH = 12
"""Cells of a shape: a quarter of a season."""
KEPT = 384
"""Cells that shapes are looked for in: eight seasons."""
APART = 6
"""Cells that a shape begins before another at the least, lest it be found in itself."""
BRIDGED = 4
"""Usual distances between cells with rows; a shape does not reach over a longer gap."""


class Shape:
    """The distance of the last twelve cells to the most similar twelve before them, looking back only.

    `min over lags of sqrt(mean over k of (x[n - k] - x[n - k - lag])²)` with lags of six cells to eight seasons, in the
    value's unit, neither centred nor scaled: a familiar course at an unfamiliar level is unfamiliar. New with each cell,
    in 15 µs. For left discords see Lu et al., Matrix Profile XXIV, KDD 2022.
    """

    __slots__ = ("_cells", "_count", "_number", "_rows", "_squares", "_step", "_sum", "cell_s")

    def __init__(self, season_s: float) -> None:
        self.cell_s = season_s / CELLS
        # The newest last, after NaN for those that never were, and where there were no rows.
        self._cells: NDArray[np.float64] = np.full(KEPT + LENGTH, np.nan)
        # Of the newest twelve cells in turn, the squared difference from the cell of each lag, the longest first.
        self._squares: NDArray[np.float64] = np.full((LENGTH, KEPT - APART + 1), np.nan)
        self._count = 0
        # The open cell: its number, rows, and their sum.
        self._number = 0.0
        self._rows = 0.0
        self._sum = 0.0
        # Cells from one with rows to the next, usually.
        self._step = 1.0

    def learn(self, value: float, time_s: float) -> float | None:
        """Take a finite value in. Returns the distance of the shape that ends before it, when that is new and whole."""
        number = time_s // self.cell_s
        found = None
        if number > self._number and self._rows:
            mean = self._sum / self._rows
            self._append(mean)
            step = number - self._number
            if step > BRIDGED * self._step:
                for _ in range(LENGTH):
                    self._append(math.nan)
            else:
                for _ in range(min(int(step) - 1, LENGTH)):
                    self._append(mean)
                found = self._distance()
            # A step of a tenth towards it: the median, more or less, and never as long as a gap.
            self._step = max(self._step * (1.1 if step > self._step else 1 / 1.1), 1.0)
            self._rows = self._sum = 0.0
        self._number = number
        self._rows += 1
        self._sum += value
        return found

    def _append(self, mean: float) -> None:
        cells = self._cells
        cells[:-1] = cells[1:]
        cells[-1] = mean
        self._square(len(cells) - 1, self._count % LENGTH)
        self._count += 1

    def _square(self, at: int, row: int) -> None:
        """Work out a row of the squares, for the cell at that place."""
        squares = self._squares[row]
        np.subtract(self._cells[at - KEPT : at - APART + 1], self._cells[at], out=squares)
        np.multiply(squares, squares, out=squares)

    def _distance(self) -> float | None:
        if self._count < 2 * LENGTH + APART:
            return None
        # Rows are added to one another as a whole, so that the sum is the same wherever the numbers lie in memory.
        least = float(np.fmin.reduce(np.add.reduce(self._squares, axis=0)))
        return math.sqrt(least / LENGTH) if least == least else None

    def to_state(self) -> dict[str, Any]:
        """Everything, as numbers and lists of them."""
        return {
            "season_s": self.cell_s * CELLS,
            "cells": self._cells[max(0, len(self._cells) - self._count) :].tolist(),
            "count": self._count,
            "open": [self._number, self._rows, self._sum, self._step],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of `to_state`."""
        made = cls(state["season_s"])
        cells = state["cells"]
        made._cells[len(made._cells) - len(cells) :] = cells
        made._count = state["count"]
        made._number, made._rows, made._sum, made._step = state["open"]
        for age in range(min(LENGTH, made._count)):
            made._square(len(made._cells) - 1 - age, (made._count - 1 - age) % LENGTH)
        return made
