"""How good forecasts have been, beside what anybody could have said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK = 500
"""Steps in a row that the worst coverage is of."""
RECENT = 0.995
"""What is left of a step after the next in what is told of late: two hundred steps count."""


@dataclass(frozen=True, slots=True)
class ForecastQuality:
    """Of the steps that were forecast while warm, of one horizon. NaN where there is nothing to tell of yet.

    The baseline is the seasonal naive forecast of the first season, the value one season before; without a season the
    last value when the forecast was made.
    """

    steps: int
    """That were scored."""
    mae: float
    """Mean absolute error, in the series' unit."""
    mase: float
    """Mean absolute error in that of the baseline one season (without a season: one step) ahead over all values so far
    (Hyndman and Koehler 2006)."""
    relative: float
    """Mean absolute error in that of the baseline for the same steps: below 1 is better than it."""
    recent: float
    """As `relative`, exponentially weighted over the last two hundred steps or so."""
    coverage: float
    """Share of values within their interval."""
    worst_coverage: float
    """The least share in any 500 steps in a row; NaN before there were as many."""


class Tally:
    """Counts what `ForecastQuality` is of, in bounded memory."""

    __slots__ = ("_block", "_compared", "_in_block", "_missed", "_own", "_recent", "_sum", "_theirs", "_worst", "steps")

    def __init__(self) -> None:
        self.steps = 0
        self._sum = 0.0
        # Steps that the baseline had something to say of, and the absolute errors at them.
        self._compared = 0
        self._own = 0.0
        self._theirs = 0.0
        self._recent = [0.0, 0.0]
        # Intervals that missed: all; of the last block each, how many, and the most there ever were.
        self._missed = 0
        self._block = bytearray(BLOCK)
        self._in_block = 0
        self._worst = 0

    def count(self, error: float, baseline: float, covered: bool) -> None:
        """A step with the absolute errors of the forecast and of the baseline, which may be NaN."""
        self.steps += 1
        self._sum += error
        if baseline == baseline:
            self._compared += 1
            self._own += error
            self._theirs += baseline
            # Both as sums, of which only the ratio is told.
            self._recent = [RECENT * self._recent[0] + error, RECENT * self._recent[1] + baseline]
        at = self.steps % BLOCK
        missed = 0 if covered else 1
        if missed != self._block[at]:
            self._block[at] = missed
            self._in_block += 1 if missed else -1
        self._missed += missed
        if self._in_block > self._worst and self.steps >= BLOCK:
            self._worst = self._in_block

    def told(self, usual_error: float) -> ForecastQuality:
        """`usual_error` is the baseline's mean absolute error that MASE is measured in."""
        steps = self.steps
        mae = self._sum / steps if steps else math.nan
        return ForecastQuality(
            steps=steps,
            mae=mae,
            mase=_ratio(mae, usual_error),
            relative=_ratio(self._own, self._theirs) if self._compared else math.nan,
            recent=_ratio(*self._recent) if self._compared else math.nan,
            coverage=1.0 - self._missed / steps if steps else math.nan,
            worst_coverage=1.0 - self._worst / BLOCK if steps >= BLOCK else math.nan,
        )

    def to_state(self) -> Any:
        block = np.packbits(np.frombuffer(self._block, np.uint8)).tobytes()
        return [
            self.steps,
            self._sum,
            self._compared,
            self._own,
            self._theirs,
            self._recent,
            self._missed,
            block,
            self._worst,
        ]

    def restore(self, state: Any) -> None:
        self.steps, self._sum, self._compared, self._own, self._theirs, recent, self._missed, block, self._worst = state
        self._recent = [float(each) for each in recent]
        self._block = bytearray(np.unpackbits(np.frombuffer(block, np.uint8), count=BLOCK))
        self._in_block = sum(self._block)


def _ratio(own: float, theirs: float) -> float:
    """NaN where both are nothing, and where that of the baseline alone is, infinite."""
    if theirs > 0.0:
        return own / theirs
    return math.inf if own > 0.0 else math.nan
