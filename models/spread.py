"""Where the numbers of a series usually lie, and how far from there: what makes a score of something bounded."""

from __future__ import annotations

from typing import Self

FURTHEST = 1e100
"""Values further from 0 are taken for it, so that no square of one overflows."""
MOST = 1e9
"""Nothing is further off than so many spreads."""
_FIRST = 10
_CLIP = 5.0
_LEAST_SHARE = 1e-6


def bounded(value: float, most: float = FURTHEST) -> float:
    return max(-most, min(most, value))


class Spread:
    """Centre and mean absolute deviation of numbers, forgetting over the last `memory` of them.

    After the first few a number counts at most as 5 deviations off, so that a spike leaves hardly a trace; the
    deviation grows by that, so that a new level is believed after some hundreds.
    """

    __slots__ = ("centre", "deviation", "least", "memory", "n")

    def __init__(self, memory: int, least: float = 0.0) -> None:
        self.memory = memory
        self.least = least
        """The deviation is never taken for less."""
        self.n = 0
        self.centre = 0.0
        self.deviation = 0.0

    @property
    def unit(self) -> float:
        """The deviation, or what is taken for it where numbers hardly vary."""
        return max(self.deviation, self.least, _LEAST_SHARE * abs(self.centre), 1 / FURTHEST)

    def off(self, number: float) -> float:
        """How many deviations a number is off, with its sign; 0 before there is any to compare with."""
        return bounded((number - self.centre) / self.unit, MOST) if self.n else 0.0

    def learn(self, number: float) -> None:
        if not self.n:
            self.n, self.centre = 1, number
            return
        self.n = min(self.n + 1, self.memory)
        difference = number - self.centre
        if self.n > _FIRST:
            difference = bounded(difference, _CLIP * self.unit)
        self.centre += difference / self.n
        self.deviation += (abs(difference) - self.deviation) / self.n

    def to_state(self) -> list[float]:
        return [self.memory, self.least, self.n, self.centre, self.deviation]

    @classmethod
    def from_state(cls, state: list[float]) -> Self:
        made = cls(int(state[0]), state[1])
        made.n, made.centre, made.deviation = int(state[2]), state[3], state[4]
        return made
