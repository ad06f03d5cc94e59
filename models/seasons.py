"""What a series was a season ago, and what is usual at each phase of the season, in bounded memory."""

from __future__ import annotations

import math
from array import array
from typing import Any, Self

from models.base import ModelError

LAST_CELLS = 720
"""That the values of the last season are kept in: a day by the two minutes; where it has more steps, means."""
USUAL_CELLS = 360
USUAL_WEIGHT = 0.2
"""Of the newest season in what is usual, once there have been five."""


class Cells:
    """A number for each phase of a season, in single precision. Where there are more steps than cells, some share one.

    NaN where nothing is known.
    """

    __slots__ = ("shared", "values")

    def __init__(self, steps: int, most: int) -> None:
        self.shared = -(-steps // most)
        """Steps that share a cell."""
        self.values = array("f", [math.nan]) * -(-steps // self.shared)

    def fill(self, raw: bytes) -> None:
        """Take the numbers of `values.tobytes()`. Raises ModelError where they are of another season."""
        values = array("f")
        values.frombytes(raw)
        if len(values) != len(self.values):
            raise ModelError(f"expected {len(self.values)} cells, found {len(values)}")
        self.values = values


class Season:
    """One season of a series: the last one, and an exponentially weighted mean over the seasons.

    With `learn` of a step, `difference` is how far its value was above that of a season before, `deviation` how far it
    was above what was usual, before it was learned; NaN where one is not known. `ago` and `usual` hold, for each
    horizon, the last known value of that phase and what is usual there. A hole leaves everything as it was.
    """

    __slots__ = ("_last", "_open", "_profile", "ago", "deviation", "difference", "horizons", "steps", "usual")

    def __init__(self, steps: int, horizons: tuple[int, ...], share: int = 1) -> None:
        self.steps = steps
        self.horizons = horizons
        self._last = Cells(steps, LAST_CELLS // share)
        self._profile = Cells(steps, USUAL_CELLS // share)
        # Of the cell of the last season that is being gathered, where steps share one: its number, values, their sum.
        self._open = [-1.0, 0.0, 0.0]
        self.difference = math.nan
        self.deviation = math.nan
        self.ago = [math.nan] * len(horizons)
        self.usual = [math.nan] * len(horizons)

    def learn(self, step: int, value: float) -> None:
        """Take the value of a step in; NaN for a hole."""
        last, profile = self._last, self._profile
        phase = step % self.steps
        at = phase // last.shared
        if last.shared > 1:
            self._gather(at, value)
        if value == value:
            self.difference = value - last.values[at]
            if last.shared == 1:
                last.values[at] = value
            at = phase // profile.shared
            usual = profile.values[at]
            self.deviation = deviation = value - usual
            if deviation == deviation:
                seasons = step // self.steps + 1
                weight = USUAL_WEIGHT if seasons > 5 else 1.0 / seasons
                profile.values[at] = usual + weight / profile.shared * deviation
            else:
                profile.values[at] = value
        else:
            self.difference = self.deviation = math.nan
        self._look(step)

    def skip(self, step: int) -> None:
        """Holes have passed, of which that step was the last."""
        if self._last.shared > 1:
            self._gather(-1, math.nan)
        self._look(step)

    def _look(self, step: int) -> None:
        steps = self.steps
        ahead = [(step + horizon) % steps for horizon in self.horizons]
        values, shared = self._last.values, self._last.shared
        self.ago = [values[phase // shared] for phase in ahead]
        values, shared = self._profile.values, self._profile.shared
        self.usual = [values[phase // shared] for phase in ahead]

    def _gather(self, at: int, value: float) -> None:
        """Where steps share a cell, it is replaced by their mean when it is over: until then it is that of a season
        ago."""
        gathered = self._open
        if gathered[0] != at:
            if gathered[1]:
                self._last.values[int(gathered[0])] = gathered[2] / gathered[1]
            self._open = gathered = [float(at), 0.0, 0.0]
        if value == value:
            gathered[1] += 1
            gathered[2] += value

    def to_state(self) -> dict[str, Any]:
        """Everything, as numbers and bytes."""
        return {
            "steps": self.steps,
            "last": self._last.values.tobytes(),
            "profile": self._profile.values.tobytes(),
            "open": self._open,
            "difference": self.difference,
            "deviation": self.deviation,
        }

    def restore(self, state: dict[str, Any], step: int) -> Self:
        """Become what `to_state` was taken of, when `step` was the last one learned."""
        if state["steps"] != self.steps:
            raise ModelError(f"expected a season of {self.steps} steps, found {state['steps']}")
        self._last.fill(state["last"])
        self._profile.fill(state["profile"])
        self._open = [float(each) for each in state["open"]]
        self.difference, self.deviation = state["difference"], state["deviation"]
        if step >= 0:
            self._look(step)
        return self
