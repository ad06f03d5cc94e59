"""How far a value is beyond everything of the last 2, 4 and 8 days, and of all time, in bounded memory."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

BLOCKS = 8
"""That a season is divided into: a record is forgotten an eighth of a season too late at the most."""
HORIZONS = (1, 2, 4)
"""Seasons; the last horizon is all time."""
CELLS = 48
"""That a season is divided into to see how much extremes differ from one cell to the next."""
MARGIN = 1.0
"""Times the noise of extremes that a value has to exceed a record by before it counts as beyond."""
RANGE_SHARE = 0.3
"""Share of the range of the longest horizon that, once exceeded by, makes half a term."""
NOISE_WEIGHT = 0.02
"""Of the newest cell in the noise, once there are fifty."""


class Beyond(NamedTuple):
    """A value that breaks records."""

    high: bool
    """Whether it is above them; below otherwise."""
    terms: tuple[float, float, float, float]
    """For each horizon in [0, 1): excess / (excess + scale), 0 where the record stands."""

    @property
    def horizon(self) -> int:
        """The longest one whose record is broken."""
        return max(at for at, term in enumerate(self.terms) if term > 0)


class Records:
    """The highest and lowest of a series over several horizons, as extremes of blocks.

    With `hi_h` the highest value of horizon h, `lo_h` the lowest, N the mean absolute difference of the highest of a
    cell and of the cell before (of the lowest, for records downwards), and R the range of the longest horizon but all
    time: `excess_h = value - hi_h - N` and `term_h = excess_h / (excess_h + 0.3 R + N)`. Extremes that jump about
    by themselves, as those of rare counts and of latencies do, are thus no news, in whatever unit and however often
    rows come. Horizons are of blocks that have rows, so that a gap takes no record away.
    """

    __slots__ = ("_all", "_blocks", "_bounds", "_cell", "_noise", "_open", "block_s", "cell_s", "first_s")

    def __init__(self, season_s: float) -> None:
        self.block_s = season_s / BLOCKS
        self.cell_s = season_s / CELLS
        self.first_s = 0.0
        # Highest and lowest of all time; of each closed block with its start; of the one that is open.
        self._all: list[float] = []
        self._blocks: list[list[float]] = []
        self._open: list[float] = []
        # Highest and lowest of the closed blocks of each horizon.
        self._bounds: list[tuple[float, float]] = []
        # Of the open cell: number, highest, lowest; of the one before: highest, lowest. Then cells and noise.
        self._cell: list[float] = []
        self._noise = [0.0, 0.0, 0.0]

    def beyond(self, value: float, tolerance: float) -> Beyond | None:
        """How far a value breaks records, by more than the tolerance; None where it breaks none."""
        if not self._all:
            return None
        top, bottom = self._bounds[0]
        _, open_top, open_bottom = self._open
        if value > top and value > open_top:
            high, noise = True, self._noise[1]
            margin = MARGIN * noise + tolerance
            excess = [value - margin - max(top, open_top) for top, _ in self._bounds]
            excess.append(value - margin - self._all[0])
        elif value < bottom and value < open_bottom:
            high, noise = False, self._noise[2]
            margin = MARGIN * noise + tolerance
            excess = [min(bottom, open_bottom) - margin - value for _, bottom in self._bounds]
            excess.append(self._all[1] - margin - value)
        else:
            return None
        if excess[0] <= 0:
            return None
        top, bottom = self._bounds[-1]
        scale = RANGE_SHARE * (max(top, open_top) - min(bottom, open_bottom)) + noise
        a, b, c, d = [over / (over + scale) if over > 0 else 0.0 for over in excess]
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
                noise[1] += weight * (abs(cell[1] - cell[3]) - noise[1])
                noise[2] += weight * (abs(cell[2] - cell[4]) - noise[2])
            self._cell = [number, value, value, cell[1], cell[2]]
        elif value > cell[1]:
            cell[1] = value
        elif value < cell[2]:
            cell[2] = value

    def _bind(self) -> None:
        self._bounds = []
        for horizon in HORIZONS:
            kept = self._blocks[-BLOCKS * horizon :] or [self._open]
            self._bounds.append((max(block[1] for block in kept), min(block[2] for block in kept)))

    def to_state(self) -> dict[str, Any]:
        """Everything, as lists of numbers."""
        return {
            "season_s": self.block_s * BLOCKS,
            "first_s": self.first_s,
            "all": self._all,
            "blocks": self._blocks,
            "open": self._open,
            "cell": self._cell,
            "noise": self._noise,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of `to_state`."""
        made = cls(state["season_s"])
        made.first_s = state["first_s"]
        made._all = list(state["all"])
        made._blocks = [list(block) for block in state["blocks"]]
        made._open = list(state["open"])
        made._cell = list(state["cell"])
        made._noise = list(state["noise"])
        if made._all:
            made._bind()
        return made
