"""How many standard deviations a value is off: river's Gaussian, without the traps of its scorer.

`river.anomaly.GaussianScorer` ends at 1, where the strange and the very strange are the same; and over a window its
variance, from which old values are subtracted again, falls below 0 on real series and raises. Here the score is the
distance itself, and old values are forgotten by the block, so that nothing is ever subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from river.proba import Gaussian as Distribution

from models.base import Detector, Expected, Warmth, read, whole
from models.spread import MOST, bounded

_FIRST = 20
_LEAST_SHARE = 1e-6
_BAND = 3.0


class Gaussian(Detector):
    """|value - mean| in standard deviations, of the last `memory` to 2 * `memory` rows.

    It knows nothing of hours and weekdays: for series without a rhythm. A value is held against a Gaussian, so that
    series with long tails alarm more often than a table of probabilities promises, and after a spike the deviation is
    large for as long as the spike is remembered.
    """

    name: ClassVar[str] = "gaussian"
    cost_us: ClassVar[float] = 8.0
    max_bytes: ClassVar[int] = 400
    OPEN: ClassVar[float | None] = 8.0

    def __init__(self, memory: int = 1_000) -> None:
        self.memory = whole("memory", memory, 50, 1_000_000)
        self._before = Distribution()
        self._now = Distribution()
        self._warmth = Warmth()
        self._last: tuple[float, float, float] | None = None

    @property
    def warm(self) -> bool:
        return self._warmth.warm

    @property
    def expected(self) -> Expected | None:
        if self._last is None:
            return None
        _, mean, deviation = self._last
        return Expected(mean, mean - _BAND * deviation, mean + _BAND * deviation)

    @property
    def why(self) -> str:
        if self._last is None:
            return ""
        off, mean, _ = self._last
        if abs(off) < _BAND:
            return ""
        return f"{abs(off):,.1f} standard deviations {'above' if off > 0 else 'below'} the mean of {mean:.6g}"

    def score_one(self, x: Mapping[Any, Any]) -> float:
        value, _ = read(x)
        self._last = None
        rows, mean, squares = self._pooled()
        if math.isnan(value) or rows < _FIRST:
            return 0.0
        deviation = _deviation(rows, mean, squares)
        off = bounded((bounded(value) - mean) / deviation, MOST)
        self._last = off, mean, deviation
        return abs(off)

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        value, time_s = read(x)
        if math.isnan(value):
            return
        self._warmth.saw(time_s)
        if self._now.n_samples >= self.memory:
            self._before, self._now = self._now, Distribution()
        self._now.update(bounded(value))

    def _pooled(self) -> tuple[float, float, float]:
        """Rows, mean and sum of squared deviations of both blocks (Chan, Golub and LeVeque 1983)."""
        (n, mean, squares), (m, other, more) = _numbers(self._before), _numbers(self._now)
        if not n or not m:
            return (n, mean, squares) if n else (m, other, more)
        gap = other - mean
        return n + m, mean + gap * m / (n + m), squares + more + gap * gap * n * m / (n + m)

    def to_state(self) -> dict[str, Any]:
        return {
            "memory": self.memory,
            "before": _numbers(self._before),
            "now": _numbers(self._now),
            "warmth": self._warmth.to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls(state["memory"])
        made._before, made._now = _distribution(state["before"]), _distribution(state["now"])
        made._warmth = Warmth.from_state(state["warmth"])
        return made


def _deviation(rows: float, mean: float, squares: float) -> float:
    """The standard deviation, or what is taken for it where values hardly vary."""
    return max(math.sqrt(squares / (rows - 1)), _LEAST_SHARE * abs(mean), 1e-100)


def _numbers(distribution: Distribution) -> tuple[float, float, float]:
    variance = distribution._var
    return variance.mean.n, variance.mean._mean, variance._S


def _distribution(numbers: list[float]) -> Distribution:
    made = Distribution()
    made._var.mean.n, made._var.mean._mean, made._var._S = numbers
    return made
