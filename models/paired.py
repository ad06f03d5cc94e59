"""Whether one model is better than another on the same days, beyond noise."""

from __future__ import annotations

import math
from typing import Self

BLOCKS = 8
"""Before which nothing is beyond noise."""
MEMORY = 32
"""Blocks; older ones fade."""
BLOCKS_A_HORIZON = 4
SURE = 7.0
"""Standard errors to be ahead by for a change, as if blocks were independent.

They are not: a label is in the horizon's `BLOCKS_A_HORIZON` blocks, and so errors are about twice as large. Of equals
looked at all the time, 4 in 100 were told apart in a year of horizons of a fortnight."""
LIKELY = 4.0
"""The same for what may be found out to be otherwise."""
LEAST = 0.002
"""Nats; less is not worth a change."""


class Paired:
    """The difference of two losses, day by day, in blocks of a quarter of the horizon."""

    def __init__(self, horizon_ms: int, errors: float) -> None:
        self.errors = errors
        """That are beyond noise."""
        self.block_ms = max(1, horizon_ms // BLOCKS_A_HORIZON)
        # Number, mean and mean square deviation of the closed blocks; number, days and sum of the open one.
        self._closed = [0.0, 0.0, 0.0]
        self._open = [0.0, 0.0, 0.0]

    def learn(self, as_of_ms: int, ahead: float) -> None:
        """Take in how much less the one's mean loss of a day is than the other's."""
        block = float(as_of_ms // self.block_ms)
        number, days, total = self._open
        if days and block != number:
            self._close(total / days)
            days = total = 0.0
        self._open = [block, days + 1, total + ahead]

    def _close(self, ahead: float) -> None:
        blocks, mean, square = self._closed
        weight = 1 / min(blocks + 1, MEMORY)
        off = ahead - mean
        mean += weight * off
        square = (1 - weight) * (square + weight * off * off)
        self._closed = [blocks + 1, mean, square]

    @property
    def ahead(self) -> float:
        """How much less the one's loss is, in the mean of the closed blocks; nats."""
        return self._closed[1]

    @property
    def beyond_noise(self) -> bool:
        """Whether the one is better for sure."""
        blocks, mean, square = self._closed
        if blocks < BLOCKS:
            return False
        error = math.sqrt(square / (min(blocks, MEMORY) - 1))
        return mean > max(self.errors * error, LEAST)

    def to_state(self) -> list[float]:
        return [float(self.block_ms), self.errors, *self._closed, *self._open]

    @classmethod
    def from_state(cls, state: list[float]) -> Self:
        made = cls(int(state[0]) * BLOCKS_A_HORIZON, state[1])
        made._closed, made._open = list(state[2:5]), list(state[5:8])
        return made
