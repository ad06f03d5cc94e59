"""river's one-class support vector machine, online: how far a row is on the wrong side of what is usual."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from river.anomaly.svm import OneClassSVM as Machine
from river.feature_extraction import RBFSampler
from river.utils import VectorDict

from models.base import whole
from models.featured import FEATURES, Featured

_COMPONENTS = 12
_GAMMA = 8.0


class OneClassSVM(Featured):
    """A linear machine over random Fourier features of a Gaussian kernel, 12 a feature.

    River's `score_one` is w · x, which is high for what is usual, the opposite of what its documents say, and which
    grows with w for thousands of rows. Here it is turned round and divided by the length of w. `memory` is of what
    scales features and scores; the machine itself forgets by its regularisation.
    """

    name: ClassVar[str] = "one_class_svm"
    cost_us: ClassVar[float] = 130.0
    max_bytes: ClassVar[int] = 2_500
    OPEN: ClassVar[float | None] = 30.0

    def __init__(self, memory: int = 1_000, seed: int = 1) -> None:
        self.memory = whole("memory", memory, 100, 100_000)
        self.seed = whole("seed", seed, 0, 2**32 - 1)
        self._sampler = RBFSampler(gamma=_GAMMA, n_components=_COMPONENTS, seed=self.seed)
        for name in FEATURES:
            self._sampler.weights[name]  # drawn when first asked for: now, and always in this order
        self._machine = Machine(nu=0.1)
        self._rows = 0
        self._start()

    def _raw(self, features: dict[str, float]) -> float | None:
        length = math.hypot(*self._machine._weights.values()) if self._rows else 0.0
        if not length:
            return None
        return -float(self._machine.score_one(self._sampler.transform_one(features))) / length

    def _learn(self, features: dict[str, float]) -> None:
        self._machine.learn_one(self._sampler.transform_one(features))
        self._rows = 1

    def _model_to_state(self) -> dict[str, Any]:
        directions: Any = self._sampler.weights
        weights: dict[tuple[str, int], float] = dict(self._machine._weights.items())
        return {
            "rows": self._rows,
            "offsets": list(self._sampler.offsets),
            "directions": [list(directions[name]) for name in FEATURES],
            # In the order in which the machine came to know them, as its sums are taken in it.
            "places": [[FEATURES.index(name), component] for name, component in weights],
            "weights": [*weights.values()],
            "intercept": self._machine.intercept,
            "iterations": self._machine.optimizer.n_iterations,
        }

    def _model_from_state(self, state: dict[str, Any]) -> None:
        self._rows = state["rows"]
        self._sampler.offsets = state["offsets"]
        for name, directions in zip(FEATURES, state["directions"], strict=True):
            self._sampler.weights[name] = directions
        places = [(FEATURES[index], component) for index, component in state["places"]]
        self._machine._weights = VectorDict(dict(zip(places, state["weights"], strict=True)))
        self._machine.intercept = state["intercept"]
        self._machine.optimizer.n_iterations = state["iterations"]
