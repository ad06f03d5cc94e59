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

    `min over j of sqrt(mean over k of (x[n - 12 + k] - x[j + k])²)` in the value's unit, neither centred nor scaled: a
    familiar course at an unfamiliar level is unfamiliar. New with each cell, in 10 µs. For left discords see Lu et al.,
    Matrix Profile XXIV, KDD 2022.
    """

    __slots__ = ("_cells", "_count", "_number", "_rows", "_step", "_sum", "_windows", "cell_s")

    def __init__(self, season_s: float) -> None:
        self.cell_s = season_s / CELLS
        # Twice as long as what is kept, so that it is moved to the front but seldom. NaN is where there were no rows.
        self._cells: NDArray[np.float64] = np.full(2 * (KEPT + LENGTH), np.nan)
        self._windows = np.lib.stride_tricks.sliding_window_view(self._cells, LENGTH).T
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
        if self._rows and number > self._number:
            self._append(self._sum / self._rows)
            step = number - self._number
            if step > BRIDGED * self._step:
                for _ in range(LENGTH):
                    self._append(math.nan)
            else:
                found = self._distance()
            # A step of a tenth towards it: the median, more or less, and never as long as a gap.
            self._step = max(self._step * (1.1 if step > self._step else 1 / 1.1), 1.0)
            self._rows = self._sum = 0.0
        self._number = number
        self._rows += 1
        self._sum += value
        return found

    def _append(self, mean: float) -> None:
        if self._count == len(self._cells):
            kept = KEPT + LENGTH - 1
            self._cells[:kept] = self._cells[self._count - kept :]
            self._count = kept
        self._cells[self._count] = mean
        self._count += 1

    def _distance(self) -> float | None:
        now = self._count - LENGTH
        end = now - APART + 1
        if end <= LENGTH:
            return None
        # Rows are added to one another as a whole, so that the sum is the same wherever the numbers lie in memory.
        apart = self._windows[:, max(0, now - KEPT) : end] - self._cells[now : self._count, None]
        apart *= apart
        least = float(np.fmin.reduce(np.add.reduce(apart, axis=0)))
        return math.sqrt(least / LENGTH) if math.isfinite(least) else None

    def to_state(self) -> dict[str, Any]:
        """Everything, as numbers and lists of them."""
        return {
            "season_s": self.cell_s * CELLS,
            "cells": self._cells[max(0, self._count - KEPT - LENGTH + 1) : self._count].tolist(),
            "open": [self._number, self._rows, self._sum, self._step],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of `to_state`."""
        made = cls(state["season_s"])
        cells = state["cells"]
        made._count = len(cells)
        made._cells[: made._count] = cells
        made._number, made._rows, made._sum, made._step = state["open"]
        return made
