"""Whether a model has become wrong: ADWIN over what its log loss is beyond what its own probabilities expect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from models.calibration import log_loss

if TYPE_CHECKING:
    from river.drift import ADWIN

Floats = NDArray[np.float64]

LEAST_ERROR = 0.02
"""Nats; the standard error of a day's mean is never taken for less, however many people there are."""
UNIT = 0.3
"""What that error becomes for ADWIN, whose bounds are those of numbers between 0 and 1.

With it, two weeks alarm when they are some 3 errors of a day worse than the months before. The labels of a day are
mostly those of the day before, so that the mean of two weeks errs nearly as much as that of one day: of people who all
keep their labels for a fortnight, one year in two has an alarm without a reason. A model soon learns what is new; with
a smaller unit, it would be right again before it was found to have been wrong."""
LEAST_ROWS = 50
"""Of a day, to be looked at."""
KEPT = 192
"""Days at most that ADWIN is shown before it begins anew with the later half of them."""


class Drift:
    """ADWIN (Bifet and Gavaldà 2007), as river has it, over days.

    A day counts as the mean of `loss - expected loss`, the latter by the probabilities themselves. That is 0 for a
    model that is right, whoever is there that day; the log loss alone also changes when people do. An ADWIN of river
    has no numbers to be stored, but is the same when it is shown the same again: so what it was shown is the state.
    """

    def __init__(self) -> None:
        self._shown: list[float] = []
        self._adwin = _adwin()

    def learn(self, probability: Floats, truth: NDArray[np.bool_]) -> bool:
        """Show it a day's probabilities, (n), as they were said. True if the model has become worse."""
        if len(probability) < LEAST_ROWS:
            return False
        expected = probability * log_loss(probability, np.ones_like(truth)) + (1 - probability) * log_loss(
            probability, np.zeros_like(truth)
        )
        excess = log_loss(probability, truth) - expected
        error = max(float(excess.std()) / math.sqrt(len(excess)), LEAST_ERROR)
        if len(self._shown) >= KEPT:
            self._show_again(self._shown[-KEPT // 2 :])
        value = float(np.float32(UNIT * excess.mean() / error))
        self._shown.append(value)
        before = self._adwin.estimation
        self._adwin.update(value)
        worse: bool = self._adwin.drift_detected and self._adwin.estimation > before
        if worse:
            self._show_again([])
        return worse

    def _show_again(self, shown: list[float]) -> None:
        self._shown = list(shown)
        self._adwin = _adwin()
        for value in shown:
            self._adwin.update(value)

    def to_state(self) -> dict[str, Any]:
        return {"shown": np.array(self._shown, dtype="<f4").tobytes()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls()
        made._show_again(np.frombuffer(state["shown"], dtype="<f4").tolist())
        return made


def _adwin() -> ADWIN:
    # Of all that the package imports, scipy takes seconds: only who learns of people is to wait for it.
    from river.drift import ADWIN

    return ADWIN(delta=0.002, clock=1, min_window_length=5, grace_period=10)
