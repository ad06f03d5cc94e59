"""Intervals around forecasts that adapt to how often they were right, and what errors were like of late."""

from __future__ import annotations

import math
from array import array
from typing import Any

STEP = 0.05
"""That the logarithm of the width moves by with a miss, less the share of misses that are aimed at."""
SCALE_WEIGHT = 0.1
"""Of the newest error in the unit of widths."""
LOWEST, HIGHEST = math.log(0.3), math.log(50.0)
"""Widths in mean absolute errors of late. Lower would take long to widen when a constant series begins to move."""
FIRST = math.log(2.3)
"""Covers 90 % of errors that are distributed as Laplace has it."""
AIM = 0.87
"""Of the misses that are allowed are aimed at, so that bad stretches are not far from what was asked either."""
KEPT = 64
"""Errors that chances are told from."""


class Interval:
    """A width either side of the forecasts of one horizon: adaptive conformal inference on absolute errors.

    `half = exp(w) * scale`, where `scale` is the mean absolute error of about the last ten, and with each error
    `w += STEP * (missed - a)`. These steps telescope: over any n of them misses are `a n + (w_end - w_begin) / STEP`,
    whatever the series does, as long as w is within its bounds. Gibbs and Candès (2021), tracking the quantile as
    Angelopoulos, Candès and Tibshirani (2023) do, here its logarithm.
    """

    __slots__ = ("_errors", "_misses", "_width", "count", "half", "scale")

    def __init__(self, coverage: float) -> None:
        self._misses = AIM * (1.0 - coverage)
        self._width = FIRST
        self.scale = 0.0
        self.count = 0
        """Errors that were learned."""
        self.half = math.nan
        """NaN before the first error."""
        self._errors = array("f", [math.nan]) * KEPT
        """The last ones, with their sign."""

    def learn(self, error: float, covered: bool | None) -> None:
        """Take value less forecast in, and whether the interval that was told of it held it; None where none was."""
        self._errors[self.count % KEPT] = error
        self.count += 1
        weight = 1.0 / self.count if self.count < 10 else SCALE_WEIGHT
        self.scale += weight * (abs(error) - self.scale)
        if covered is not None:
            width = self._width - STEP * self._misses if covered else self._width + STEP * (1.0 - self._misses)
            self._width = LOWEST if width < LOWEST else HIGHEST if width > HIGHEST else width
        self.half = math.exp(self._width) * self.scale

    def above(self, margin: float) -> float:
        """How likely a value is more than `margin` above its forecast, from the last errors; NaN before the first.

        `(k + ½) / (n + 1)` where k of n were: never quite 0 or 1.
        """
        known = min(self.count, KEPT)
        if not known:
            return math.nan
        return (sum(error > margin for error in self._errors[:known]) + 0.5) / (known + 1)

    def to_state(self) -> Any:
        return [self._width, self.scale, self.count, self._errors.tobytes()]

    def restore(self, state: Any) -> None:
        self._width, self.scale, self.count, raw = state
        errors = array("f")
        errors.frombytes(raw)
        if len(errors) != KEPT:
            raise ValueError(f"expected {KEPT} errors, found {len(errors)}")
        self._errors = errors
        self.half = math.exp(self._width) * self.scale if self.count else math.nan
