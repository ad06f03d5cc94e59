"""How good probabilities have been, counted as labels arrive, beside what is said without any model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.calibration import Bin, Reliability, log_loss

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

HALF_LIFE_DAYS = 90.0
"""Of the rows that quality is told of."""
CELLS = 200
"""That ranks are told apart by: AUC is exact to less than 1e-3."""
SILENCES = 24
"""That the baseline knows a probability for."""
BASE_ROWS = 10.0
"""That a silence counts as having been seen with the base rate."""
BASELINE_FADE = 0.97
"""What the days before count for in the baselines."""
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Compared:
    """How well something tells who will be gone. NaN before some were gone and some came."""

    auc: float
    """Probability that one who was gone had been said to be likelier gone than one who came."""
    log_loss: float
    """Mean, nats."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the probabilities have been, as they were said before the labels were known (prequential).

    Over all labels, fading with a half-life of 90 days.
    """

    labels: float
    """Rows, faded."""
    base_rate: float
    """Share of rows that were positive; NaN of none."""
    model: Compared
    recency: Compared
    """Of the time since the last event alone."""
    constant: Compared
    """Of the share of positives alone."""
    ece: float
    """Expected calibration error over tenths; NaN of no rows."""
    reliability: tuple[Bin, ...]
    """Ten, from 0 to 1."""
    proven: bool
    """Whether labels are enough, and the model's loss is less than that of recency beyond noise."""


class Ranking:
    """AUC of numbers between 0 and 1, from two histograms; ties within a cell count half."""

    def __init__(self) -> None:
        # Negatives, positives.
        self._cells: NDArray[np.float32] = np.zeros((2, CELLS), dtype=np.float32)

    def learn(self, ranks: Floats, truth: Truths, fade: float) -> None:
        at = np.minimum((ranks * CELLS).astype(np.intp), CELLS - 1)
        self._cells *= np.float32(fade)
        self._cells += np.bincount(at + CELLS * truth, minlength=2 * CELLS).reshape(2, CELLS).astype(np.float32)

    @property
    def auc(self) -> float:
        negatives, positives = self._cells.astype(np.float64)
        pairs = negatives.sum() * positives.sum()
        if not pairs > 0:
            return math.nan
        below = np.cumsum(negatives) - negatives / 2
        return float((positives * below).sum() / pairs)

    def to_state(self) -> bytes:
        return self._cells.astype("<f4").tobytes()

    @classmethod
    def from_state(cls, state: bytes) -> Self:
        made = cls()
        made._cells = np.frombuffer(state, dtype="<f4").reshape(2, CELLS).astype(np.float32)
        return made


class Baselines:
    """What is said without a model: the share of people who were gone, of all and of those as long silent."""

    def __init__(self) -> None:
        # Rows and positives, by silence.
        self._seen: Floats = np.zeros((2, SILENCES))

    def say(self, silence: Floats) -> tuple[Floats, float]:
        """Probabilities by silence, (n), given between 0 and 1; and the one for everybody."""
        rows, positives = self._seen
        base = float((positives.sum() + 1) / (rows.sum() + 2))
        return ((positives + BASE_ROWS * base) / (rows + BASE_ROWS))[_cell(silence)], base

    def learn(self, silence: Floats, truth: Truths) -> None:
        at = _cell(silence)
        seen = [np.bincount(at, minlength=SILENCES), np.bincount(at, truth.astype(float), SILENCES)]
        self._seen = BASELINE_FADE * self._seen + np.stack(seen)

    def to_state(self) -> list[list[float]]:
        numbers: list[list[float]] = self._seen.tolist()
        return numbers

    @classmethod
    def from_state(cls, state: list[list[float]]) -> Self:
        made = cls()
        made._seen = np.array(state)
        return made


class Prequential:
    """Counts how good probabilities have been, in bounded memory."""

    def __init__(self) -> None:
        self.reliability = Reliability()
        self._ranking = Ranking()
        self._recency = Ranking()
        # Sums of the losses of the model, of recency and of the constant; faded as rows are.
        self._losses: Floats = np.zeros(3)
        self._last_ms = 0

    def learn(
        self, said: Floats, by_recency: Floats, constant: Floats, silence: Floats, truth: Truths, as_of_ms: int
    ) -> None:
        """Count a day's rows, (n): the model's probabilities, those of the baselines, and the silence from 0 to 1."""
        days = max(0, as_of_ms - self._last_ms) / DAY_MS if self._last_ms else 0.0
        fade = 0.5 ** (days / HALF_LIFE_DAYS)
        self._last_ms = max(as_of_ms, self._last_ms)
        self.reliability.learn(said, truth, fade)
        self._ranking.learn(_spread(said), truth, fade)
        self._recency.learn(np.sqrt(silence), truth, fade)
        losses = [log_loss(each, truth).sum() for each in (said, by_recency, constant)]
        self._losses = fade * self._losses + np.array(losses)

    def quality(self, proven: bool) -> Quality:
        rows, true = self.reliability.rows, self.reliability.true
        model, recency, constant = (self._losses / rows).tolist() if rows else [math.nan] * 3
        return Quality(
            labels=rows,
            base_rate=true / rows if rows else math.nan,
            model=Compared(self._ranking.auc, model),
            recency=Compared(self._recency.auc, recency),
            constant=Compared(0.5 if 0 < true < rows else math.nan, constant),
            ece=self.reliability.ece,
            reliability=tuple(self.reliability.table),
            proven=proven,
        )

    def to_state(self) -> dict[str, Any]:
        return {
            "reliability": self.reliability.to_state(),
            "ranking": self._ranking.to_state(),
            "recency": self._recency.to_state(),
            "losses": self._losses.tolist(),
            "last_ms": self._last_ms,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls()
        made.reliability = Reliability.from_state(state["reliability"])
        made._ranking = Ranking.from_state(state["ranking"])
        made._recency = Ranking.from_state(state["recency"])
        made._losses = np.array(state["losses"])
        made._last_ms = state["last_ms"]
        return made


def _spread(probability: Floats) -> Floats:
    """Half the logit as a probability: as many cells below 0.1 as a fifth, for where hardly anybody leaves."""
    root, other = np.sqrt(probability), np.sqrt(1 - probability)
    found: Floats = root / (root + other)
    return found


def _cell(silence: Floats) -> NDArray[np.intp]:
    return np.minimum((np.sqrt(silence) * SILENCES).astype(np.intp), SILENCES - 1)
