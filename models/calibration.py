"""What a probability is worth: corrected by what came true, counted by tenths, and how sure that makes one of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 10
PRIOR = 20.0
"""Information that the uncorrected logit is taken to be right with."""
FADE = 0.97
"""What the days before count for."""
SLOPES = (0.2, 3.0)
OFFSETS = (-3.0, 3.0)
MOST_LOGIT = 8.0
Z = 1.96
"""95 %."""


def sigmoid(logit: Floats) -> Floats:
    """Never 0 or 1."""
    found: Floats = 1 / (1 + np.exp(-np.clip(logit, -30.0, 30.0)))
    return found


def log_loss(probability: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Of each row; nats, at most 13.8."""
    held = np.clip(np.where(truth, probability, 1 - probability), 1e-6, 1.0)
    found: Floats = -np.log(held)
    return found


class Platt:
    """A logit's slope and offset, learned from what came true (Platt 1999), one Newton step a day.

    Information is faded, so that the correction follows the model; and weighed, so that people who are there every
    day do not count as many.
    """

    def __init__(self) -> None:
        self.slope = 1.0
        self.offset = 0.0
        self._information: Floats = np.zeros((2, 2))

    def __call__(self, logit: Floats) -> Floats:
        return self.slope * logit + self.offset

    def learn(self, logit: Floats, truth: NDArray[np.bool_], weight: float) -> None:
        """Learn a day's logits, (n), as they were said, and their truths, (n), each at a weight."""
        held = np.clip(logit, -MOST_LOGIT, MOST_LOGIT)
        said = sigmoid(self(held))
        columns = np.stack([held, np.ones_like(held)])
        self._information = FADE * self._information + weight * (columns * (said * (1 - said))) @ columns.T
        gradient = weight * columns @ (said - truth)
        step = np.linalg.solve(self._information + PRIOR * np.eye(2), gradient)
        self.slope = _within(self.slope - float(step[0]), SLOPES)
        self.offset = _within(self.offset - float(step[1]), OFFSETS)

    def to_state(self) -> list[float]:
        return [self.slope, self.offset, *self._information.ravel().tolist()]

    @classmethod
    def from_state(cls, state: list[float]) -> Self:
        made = cls()
        made.slope, made.offset = state[0], state[1]
        made._information = np.array(state[2:]).reshape(2, 2)
        return made


class Bin(NamedTuple):
    """What was said with a tenth of the probabilities, and what came true."""

    rows: float
    said: float
    """Mean probability; NaN of none."""
    came_true: float
    """Share; NaN of none."""


class Reliability:
    """Probabilities by tenths beside what came true, over rows that fade."""

    def __init__(self) -> None:
        # Rows, what was said of them in all, what came true.
        self._bins: Floats = np.zeros((3, BINS))

    def learn(self, probability: Floats, truth: NDArray[np.bool_], fade: float) -> None:
        """Count a day's rows, (n), after those before were faded by a factor."""
        at = _bin(probability)
        seen = [np.bincount(at, each, BINS) for each in (np.ones_like(probability), probability, truth.astype(float))]
        self._bins = fade * self._bins + np.stack(seen)

    @property
    def table(self) -> list[Bin]:
        """From 0 to 1."""
        rows, said, true = self._bins.tolist()
        return [
            Bin(n, p / n if n else math.nan, y / n if n else math.nan) for n, p, y in zip(rows, said, true, strict=True)
        ]

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean distance of what was said and what came true; NaN of no rows."""
        rows, said, true = self._bins
        return float(np.abs(said - true).sum() / rows.sum()) if rows.sum() else math.nan

    @property
    def rows(self) -> float:
        return float(self._bins[0].sum())

    @property
    def true(self) -> float:
        return float(self._bins[2].sum())

    def confidence(self, probability: Floats, repeats: float) -> Floats:
        """How well is known what share of such probabilities comes true, from 0 to 1, (n).

        1 - the width of the 95 % Wilson interval of that share in the probability's tenth. A person is there day after
        day with labels that overlap, so rows count as `1 / repeats` of one.
        """
        rows = self._bins[0] / repeats
        share = np.divide(self._bins[2], self._bins[0], out=np.full(BINS, 0.5), where=self._bins[0] > 0)
        width = 2 * Z * np.sqrt(share * (1 - share) * rows + Z * Z / 4) / (rows + Z * Z)
        found: Floats = np.clip(1 - width, 0.0, 1.0)[_bin(probability)]
        return found

    def to_state(self) -> list[list[float]]:
        numbers: list[list[float]] = self._bins.tolist()
        return numbers

    @classmethod
    def from_state(cls, state: list[list[float]]) -> Self:
        made = cls()
        made._bins = np.array(state)
        return made


def _bin(probability: Floats) -> NDArray[np.intp]:
    return np.minimum((probability * BINS).astype(np.intp), BINS - 1)


def _within(value: Any, bounds: tuple[float, float]) -> float:
    return float(min(max(value, bounds[0]), bounds[1]))
