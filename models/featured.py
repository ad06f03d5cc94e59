"""What river's detectors of many features have in common when they watch one series."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

from models.base import Detector, Warmth, read
from models.spread import Spread, bounded

FEATURES = ("value", "before", "step", "mean")
"""The value, the one before it, the difference of the two, and the mean of the last dozen; each from 0 to 1."""
_MEAN_ROWS = 12
_SCALE = 3.0
_SMALLEST_SPREAD = 0.05
_STRANGE = 3.0
_WORDS = {
    "value": ("higher than usual", "lower than usual"),
    "before": ("the value before was higher than usual", "the value before was lower than usual"),
    "step": ("rises faster than usual", "falls faster than usual"),
    "mean": (f"higher than usual for {_MEAN_ROWS} windows", f"lower than usual for {_MEAN_ROWS} windows"),
}


class Featured(Detector):
    """A detector of river's, shown a few features of the series, each scaled to 0..1 by its recent spread.

    River's scores end somewhere, or are never the same for two series. So the score is how far river's is above its own
    recent mean, in its mean deviations; times 1 + ln(1 + z / 3), z being how many deviations the furthest feature is
    off. The logarithm tells apart what is outside of anything river's model can tell apart.

    `memory` is in rows: after about so many what was is forgotten.
    """

    memory: int
    seed: int

    def _start(self) -> None:
        self._value = Spread(self.memory)
        self._step = Spread(self.memory)
        self._strangeness = Spread(self.memory, _SMALLEST_SPREAD)
        self._recent: deque[float] = deque(maxlen=_MEAN_ROWS)
        self._warmth = Warmth()
        self._why = ""
        self._asked: tuple[dict[str, float], float | None] | None = None

    @abstractmethod
    def _raw(self, features: dict[str, float]) -> float | None:
        """How strange river finds it, on a scale that does not end abruptly; None while it cannot tell."""

    @abstractmethod
    def _learn(self, features: dict[str, float]) -> None: ...

    @abstractmethod
    def _model_to_state(self) -> dict[str, Any]: ...

    @abstractmethod
    def _model_from_state(self, state: dict[str, Any]) -> None: ...

    @property
    def warm(self) -> bool:
        return self._warmth.warm

    def score_one(self, x: Mapping[Any, Any]) -> float:
        value, _ = read(x)
        self._why = ""
        if math.isnan(value):
            return 0.0
        off = self._off(bounded(value))
        raw = self._ask(_scaled(off))
        if raw is None or not self._strangeness.n:
            return 0.0
        name = max(FEATURES, key=lambda feature: abs(off[feature]))
        furthest = abs(off[name])
        score = max(0.0, self._strangeness.off(raw)) * (1 + math.log1p(furthest / _SCALE))
        if score >= _STRANGE:
            self._why = _WORDS[name][off[name] < 0] if furthest >= _SCALE else "an unusual course of values"
        return score

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        value, time_s = read(x)
        if math.isnan(value):
            return
        value = bounded(value)
        self._warmth.saw(time_s)
        features = _scaled(self._off(value))
        raw = self._ask(features)
        if raw is not None:
            self._strangeness.learn(raw)
        self._learn(features)
        self._asked = None
        if self._recent:
            self._step.learn(value - self._recent[-1])
        self._value.learn(value)
        self._recent.append(value)

    def _ask(self, features: dict[str, float]) -> float | None:
        """What river finds, which is asked once only for a row that is scored and then learned."""
        if self._asked is None or self._asked[0] != features:
            self._asked = features, self._raw(features)
        return self._asked[1]

    def _off(self, value: float) -> dict[str, float]:
        """How many deviations each feature is off."""
        before = self._recent[-1] if self._recent else value
        recent = [*self._recent, value][-_MEAN_ROWS:]
        return {
            "value": self._value.off(value),
            "before": self._value.off(before),
            "step": self._step.off(value - before),
            "mean": self._value.off(math.fsum(recent) / len(recent)),
        }

    def to_state(self) -> dict[str, Any]:
        return {
            "memory": self.memory,
            "seed": self.seed,
            "value": self._value.to_state(),
            "step": self._step.to_state(),
            "strangeness": self._strangeness.to_state(),
            "recent": list(self._recent),
            "warmth": self._warmth.to_state(),
            "model": self._model_to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls(memory=state["memory"], seed=state["seed"])  # type: ignore[call-arg]
        made._value = Spread.from_state(state["value"])
        made._step = Spread.from_state(state["step"])
        made._strangeness = Spread.from_state(state["strangeness"])
        made._recent.extend(state["recent"])
        made._warmth = Warmth.from_state(state["warmth"])
        made._model_from_state(state["model"])
        return made


def _scaled(off: dict[str, float]) -> dict[str, float]:
    return {name: 0.5 + 0.5 * z / (_SCALE + abs(z)) for name, z in off.items()}
