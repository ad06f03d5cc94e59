"""Logistic regressions learned row by row, side by side: river's `StandardScaler | LogisticRegression(FTRLProximal)`.

Over arrays, because river's pipeline walks dictionaries: a row of 28 features takes it some 100 us to learn, which is
more than there is for everything; two models take some 20 here, as a step of either is a few operations over both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BETA = 1.0
L2 = 1.0
INTERCEPT_RATE = 0.01
"""All as river has them by default."""
CLIP = 5.0
"""Standard deviations; nothing is further from its mean."""
OUTLIER = 8.0
"""Standard deviations from which on a value is taken for one that far out when the mean and the deviation learn."""
KNOWN_ROWS = 100
"""Of a feature, before its deviation is believed as far as that."""
LARGEST = 1e15
"""Values beyond are taken for it, so that no square overflows."""
_LEAST_SHARE = 1e-7
"""Of its mean that a feature has to vary by: less is what rounding to float32 makes."""


class Logistics:
    """`m` models of the same `g` features, each with its own learning rate, scaler and weights.

    Each does what river's `StandardScaler() | LogisticRegression(optim.FTRLProximal(alpha))` does, step for step: the
    scaler learns the row first; the gradient is that of the weights of the step before, as river has it; the
    intercept goes by plain gradient descent. Different on purpose: a value that is NaN or infinite is unknown, stands
    for its feature's mean and teaches nothing; standardised values end at `CLIP`; the scaler takes values beyond
    `OUTLIER` standard deviations, as they were when `learn` was called, for ones that far out. The gradient of a row is
    thereby within `CLIP`, however wrong the model.

    FTRL-Proximal: McMahan et al., Ad click prediction: a view from the trenches, KDD 2013.
    """

    def __init__(self, features: int, alphas: Sequence[float]) -> None:
        models = len(alphas)
        self.alphas: Floats = np.array(alphas, dtype=np.float64)
        self.intercepts: Floats = np.zeros(models)
        self._known: Floats = np.zeros((models, features))
        self._mean: Floats = np.zeros((models, features))
        self._squares: Floats = np.zeros((models, features))
        self._z: Floats = np.zeros((models, features))
        self._n: Floats = np.zeros((models, features))
        self._weights: Floats = np.zeros((models, features))

    @property
    def weights(self) -> Floats:
        """Of the standardised features, (m, g)."""
        return self._weights

    def begin(self, model: int, alpha: float) -> None:
        """Forget everything one of the models knows."""
        self.alphas[model] = alpha
        self.intercepts[model] = 0.0
        for array in self._arrays():
            array[model] = 0.0

    def scaled(self, features: NDArray[np.floating[Any]], model: int) -> Floats:
        """Standardised features, (n, g), as the model sees them now."""
        found = _finite(features)
        deviation = _deviation(self._mean[model], self._squares[model], self._known[model])
        return _standardised(found, self._mean[model], deviation)

    def logits(self, features: NDArray[np.floating[Any]]) -> Floats:
        """What each model says of each row, (m, n)."""
        found = _finite(features)
        return np.stack([self._logits(found, model) for model in range(len(self.alphas))])

    def _logits(self, found: Floats, model: int) -> Floats:
        deviation = _deviation(self._mean[model], self._squares[model], self._known[model])
        scaled = _standardised(found, self._mean[model], deviation)
        # Not as a product of matrices: that adds up in another order where there are more rows.
        logits: Floats = np.einsum("ij,j->i", scaled, self._weights[model]) + self.intercepts[model]
        return logits

    def learn(self, features: NDArray[np.floating[Any]], truths: NDArray[np.bool_]) -> None:
        """Learn rows (n, g), one after the other in the given order, and their truths (n)."""
        if not len(features):
            return
        found = _finite(features)
        models = range(len(self.alphas))
        # Of each row for each model: (n, m, g).
        scaled = np.stack([self._learn_scale(found, model) for model in models], axis=1)
        rates = (1.0 / self.alphas)[:, None]
        floor = BETA * rates + L2
        z, n, weights = self._z, self._n, self._weights
        root = np.sqrt(n)
        gradient, product, step = (np.empty_like(z) for _ in range(3))
        error = np.empty((len(self.alphas), 1))
        intercepts = self.intercepts.tolist()
        exp = math.exp
        for row, truth in zip(scaled, truths.tolist(), strict=True):
            for model in models:
                logit = float(row[model].dot(weights[model])) + intercepts[model]
                wrong = (1.0 / (1.0 + exp(-logit)) if logit > -700.0 else 0.0) - truth
                intercepts[model] -= INTERCEPT_RATE * wrong
                error[model, 0] = wrong
            np.multiply(row, error, out=gradient)
            np.multiply(root, rates, out=product)
            product += floor
            np.divide(z, product, out=weights)
            np.negative(weights, out=weights)
            np.multiply(gradient, gradient, out=product)
            n += product
            np.sqrt(n, out=step)
            np.subtract(step, root, out=product)
            root, step = step, root
            product *= rates
            product *= weights
            z += gradient
            z -= product
        self.intercepts[:] = intercepts

    def _learn_scale(self, found: Floats, model: int) -> Floats:
        """Standardised rows, each by the mean and deviation up to and with itself (Welford 1962), all at once."""
        known, mean, squares = self._known[model], self._mean[model], self._squares[model]
        deviation = _deviation(mean, squares, known)
        furthest = np.where((known >= KNOWN_ROWS) & (deviation > 0), OUTLIER * deviation, np.inf)
        held = np.clip(found, mean - furthest, mean + furthest)
        there = ~np.isnan(held)
        counts = known + np.cumsum(there, axis=0)
        # From the mean there is, or the first value: sums of the numbers themselves would lose small deviations.
        first = np.where(known > 0, mean, _first(held, there))
        off = np.where(there, held - first, 0.0)
        divisor = np.maximum(counts, 1.0)
        means = first + np.cumsum(off, axis=0) / divisor
        before = np.vstack([np.where(known > 0, mean, first), means[:-1]])
        grown = squares + np.cumsum(np.where(there, (held - before) * (held - means), 0.0), axis=0)
        self._known[model], self._mean[model], self._squares[model] = counts[-1], means[-1], grown[-1]
        return _standardised(found, means, _deviation(means, grown, counts))

    def _arrays(self) -> tuple[Floats, ...]:
        return self._known, self._mean, self._squares, self._z, self._n, self._weights

    def to_state(self) -> dict[str, Any]:
        return {
            "alphas": self.alphas.tolist(),
            "intercepts": self.intercepts.tolist(),
            "features": self._mean.shape[1],
            "arrays": np.stack(self._arrays()).astype("<f8").tobytes(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls(state["features"], state["alphas"])
        made.intercepts[:] = state["intercepts"]
        packed = np.frombuffer(state["arrays"], dtype="<f8").reshape(6, *made._mean.shape)
        for array, numbers in zip(made._arrays(), packed, strict=True):
            array[:] = numbers
        return made


def _finite(features: NDArray[np.floating[Any]]) -> Floats:
    found = np.clip(features.astype(np.float64), -LARGEST, LARGEST)
    found[~np.isfinite(features)] = np.nan
    return found


def _first(held: Floats, there: NDArray[np.bool_]) -> Floats:
    """Of each column the first value there is; 0 where there is none."""
    rows = np.argmax(there, axis=0)
    columns = np.arange(held.shape[1])
    return np.where(there[rows, columns], held[rows, columns], 0.0)


def _deviation(mean: Floats, squares: Floats, known: Floats) -> Floats:
    """0 where a feature does not vary."""
    deviation: Floats = np.sqrt(np.maximum(squares, 0.0) / np.maximum(known, 1.0))
    return np.where(deviation > _LEAST_SHARE * np.abs(mean), deviation, 0.0)


def _standardised(found: Floats, mean: Floats, deviation: Floats) -> Floats:
    scaled = (found - mean) / np.where(deviation > 0, deviation, np.inf)
    np.nan_to_num(scaled, copy=False, nan=0.0)
    return np.clip(scaled, -CLIP, CLIP, out=scaled)
