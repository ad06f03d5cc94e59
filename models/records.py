"""How far a value is beyond everything of the last 2, 4 and 8 days, and of all time, in bounded memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

BLOCKS = 8
"""That a season is divided into: a record is forgotten an eighth of a season too late at the most."""
HORIZONS = (1, 2, 4)
"""Seasons; the last horizon is all time."""
CELLS = 48
"""That a season is divided into to see how much extremes differ from one cell to the next."""
RANGE_SHARE = 0.3
"""Share of the range of the longest horizon that, once exceeded by, makes half a term."""
ROWS = 30
"""Before which nothing is a record."""
NOISE_WEIGHT = 0.01
"""Of the newest cell in the noise, once there are a hundred."""


class Beyond(NamedTuple):
    """A value that breaks records."""

    high: bool
    """Whether it is above them; below otherwise."""
    terms: tuple[float, float, float, float]
    """For each horizon from 0, where the record stands, up to 1."""

    @property
    def horizon(self) -> int:
        """The longest one whose record is broken."""
        return max(at for at, term in enumerate(self.terms) if term > 0)


class Records:
    """The highest and lowest of a series over several horizons, as extremes of blocks.

    With `hi_h` the highest value of horizon h, N the root mean square of how much the highest of a cell differs from
    that of the cell before, and R the range of the longest horizon but all time: `excess_h = value - hi_h - margin N`
    and `term_h = excess_h / (excess_h + 0.3 R + N)`; likewise downwards, with the lowest. While the series is younger
    than a horizon, its term is less by the root of the share there is; that of all time as that of the longest.

    Extremes that jump about by themselves, as those of rare counts and of latencies do, are thus no news, in whatever
    unit and however often rows come. Horizons are of blocks that have rows, so that a gap takes no record away.
    """

    __slots__ = (
        "_all",
        "_blocks",
        "_bounds",
        "_cell",
        "_noise",
        "_open",
        "_rows",
        "_weights",
        "block_s",
        "cell_s",
        "first_s",
        "margin",
    )

    def __init__(self, season_s: float, margin: float) -> None:
        self.margin = margin
        self.block_s = season_s / BLOCKS
        self.cell_s = season_s / CELLS
        self.first_s = 0.0
        self._rows = 0
        # Highest and lowest of all time; of each closed block with its start; of the one that is open.
        self._all: list[float] = []
        self._blocks: list[list[float]] = []
        self._open: list[float] = []
        # Highest and lowest of the closed blocks of each horizon.
        self._bounds: list[tuple[float, float]] = []
        # Of each horizon, and of all time.
        self._weights: list[float] = []
        # Of the open cell: number, highest, lowest; of the one before: highest, lowest. Then cells, and the mean
        # squares of the differences, upwards and downwards.
        self._cell: list[float] = []
        self._noise = [0.0, 0.0, 0.0]

    @property
    def seasons(self) -> float:
        """That it remembers in closed blocks."""
        return len(self._blocks) / BLOCKS

    def beyond(self, value: float, tolerance: float) -> Beyond | None:
        """How far a value breaks records, by more than the tolerance; None where it breaks none."""
        if self._rows < ROWS:
            return None
        top, bottom = self._bounds[0]
        _, open_top, open_bottom = self._open
        if value > top and value > open_top:
            high, noise = True, math.sqrt(self._noise[1])
            margin = self.margin * noise + tolerance
            excess = [value - margin - max(top, open_top) for top, _ in self._bounds]
            excess.append(value - margin - self._all[0])
        elif value < bottom and value < open_bottom:
            high, noise = False, math.sqrt(self._noise[2])
            margin = self.margin * noise + tolerance
            excess = [min(bottom, open_bottom) - margin - value for _, bottom in self._bounds]
            excess.append(self._all[1] - margin - value)
        else:
            return None
        if excess[0] <= 0:
            return None
        top, bottom = self._bounds[-1]
        scale = RANGE_SHARE * (max(top, open_top) - min(bottom, open_bottom)) + noise
        terms = [
            over / (over + scale) * weight if over > 0 else 0.0
            for over, weight in zip(excess, self._weights, strict=True)
        ]
        a, b, c, d = terms
        return Beyond(high, (a, b, c, d))

    def span_s(self, horizon: int, time_s: float) -> float:
        """The time since the beginning of a horizon, or since the first row."""
        if horizon < len(HORIZONS):
            kept = self._blocks[-BLOCKS * HORIZONS[horizon] :]
            if kept:
                return time_s - max(kept[0][0], self.first_s)
        return time_s - self.first_s

    def learn(self, value: float, time_s: float) -> None:
        """Take a value in, of a time that is not before the last one."""
        start_s = time_s // self.block_s * self.block_s
        self._rows += 1
        if not self._all:
            self.first_s = time_s
            self._all = [value, value]
            self._open = [start_s, value, value]
            self._bind()
        elif start_s > self._open[0]:
            self._blocks.append(self._open)
            del self._blocks[: -BLOCKS * HORIZONS[-1]]
            self._open = [start_s, value, value]
            self._bind()
        else:
            block = self._open
            if value > block[1]:
                block[1] = value
            if value < block[2]:
                block[2] = value
        if value > self._all[0]:
            self._all[0] = value
        if value < self._all[1]:
            self._all[1] = value
        self._learn_noise(value, time_s // self.cell_s)

    def _learn_noise(self, value: float, number: float) -> None:
        cell = self._cell
        if not cell:
            self._cell = [number, value, value]
        elif number > cell[0]:
            if len(cell) > 3:
                noise = self._noise
                noise[0] += 1
                weight = max(1 / noise[0], NOISE_WEIGHT)
                noise[1] += weight * ((cell[1] - cell[3]) ** 2 - noise[1])
                noise[2] += weight * ((cell[2] - cell[4]) ** 2 - noise[2])
            self._cell = [number, value, value, cell[1], cell[2]]
        elif value > cell[1]:
            cell[1] = value
        elif value < cell[2]:
            cell[2] = value

    def _bind(self) -> None:
        """Work out bounds and weights of all horizons, in one walk back over the closed blocks."""
        blocks = self._blocks or [self._open]
        _, top, bottom = blocks[-1]
        bounds = []
        at = len(blocks)
        for horizon in HORIZONS:
            for _, block_top, block_bottom in blocks[max(0, len(blocks) - BLOCKS * horizon) : at]:
                if block_top > top:
                    top = block_top
                if block_bottom < bottom:
                    bottom = block_bottom
            at = max(0, len(blocks) - BLOCKS * horizon)
            bounds.append((top, bottom))
        self._bounds = bounds
        lived = (len(self._blocks) + 1) / BLOCKS
        weights = [math.sqrt(min(1.0, lived / horizon)) for horizon in HORIZONS]
        self._weights = [*weights, weights[-1]]

    def to_state(self) -> dict[str, Any]:
        """Everything, as lists of numbers."""
        return {
            "season_s": self.block_s * BLOCKS,
            "margin": self.margin,
            "first_s": self.first_s,
            "rows": self._rows,
            "all": self._all,
            "blocks": self._blocks,
            "open": self._open,
            "cell": self._cell,
            "noise": self._noise,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of `to_state`."""
        made = cls(state["season_s"], state["margin"])
        made.first_s = state["first_s"]
        made._rows = state["rows"]
        made._all = list(state["all"])
        made._blocks = [list(block) for block in state["blocks"]]
        made._open = list(state["open"])
        made._cell = list(state["cell"])
        made._noise = list(state["noise"])
        if made._all:
            made._bind()
        return made
