"""A limit that a series is about to cross: how likely it is beyond it within some windows, from its forecasts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from statistics import median
from typing import Any, ClassVar, Self

from models.base import DAY_S, Detector, ModelError, read, whole
from models.forecast import LEAST_STEP_S, MOST_STEP_S, Forecast, Forecaster

GAPS = 8
"""Between the first rows, of which the median is how far windows are apart."""
NOTICED = 0.05
"""Chances that nothing is said of are smaller."""
LIKELY = 0.5


class Crossing(Detector):
    """The chance that the value is above `above`, or below `below`, within the next windows; 1 while it is so already.

    Forecasts of a third, two thirds and all of `within` windows ahead are those of `models.forecast`, with one season.
    The chance at each is told from the last 64 errors of that forecast, `(k + ½) / 65` where k of them would carry it
    beyond the limit; the score is the highest of the three. A forecast that is poor has errors that are large, and
    promises little. Until it is warm, which takes a season and a hundred windows more, nothing is believed.

    Windows are as far apart as the first nine rows are, by their median; a row that is later than that has holes before
    it. A row is learned on trial when it is scored, as what it says of the next ones is what is asked; it is taken back
    when another one is asked about.
    """

    name: ClassVar[str] = "crossing"
    cost_us: ClassVar[float] = 80.0
    max_bytes: ClassVar[int] = 10_500
    learns: ClassVar[bool] = False
    OPEN: ClassVar[float | None] = LIKELY
    needs: ClassVar[tuple[str, ...]] = ("above", "below")

    def __init__(
        self, above: float | None = None, below: float | None = None, within: int = 6, season_s: float = DAY_S
    ) -> None:
        for name, limit in (("above", above), ("below", below)):
            if limit is not None and (isinstance(limit, bool) or not -1e30 < limit < 1e30):
                raise ModelError(f"{name}: expected a number within 1e30, found {limit!r}")
        if above is not None and below is not None and below >= above:
            raise ModelError(f"below: expected less than above = {above:g}, found {below:g}")
        if isinstance(season_s, bool) or not 0 <= season_s <= 400 * DAY_S:
            raise ModelError(f"season_s: expected seconds up to 400 days, or 0 for none, found {season_s!r}")
        self.above = above
        self.below = below
        self.within = whole("within", within, 1, 2_016)
        self.season_s = float(season_s)
        # The first rows, until it is known how far apart they are.
        self._first: list[tuple[float, float]] = []
        self._forecaster: Forecaster | None = None
        self._last_s = 0.0
        # The row that is learned on trial, and what there was before it.
        self._trial: tuple[float, float] | None = None
        self._before: tuple[bytes | None, float] = (None, 0.0)
        self._why = ""

    @property
    def warm(self) -> bool:
        if self.above is None and self.below is None:
            return True
        return self._forecaster is not None and self._forecaster.warm

    def score_one(self, x: Mapping[Any, Any]) -> float:
        value, time_s = read(x)
        self._take_back()
        self._why = ""
        if math.isnan(value) or (self.above is None and self.below is None):
            return 0.0
        if self.above is not None and value > self.above:
            self._why = f"is above {_number(self.above)}: {_number(value)}"
            return 1.0
        if self.below is not None and value < self.below:
            self._why = f"is below {_number(self.below)}: {_number(value)}"
            return 1.0
        if self._forecaster is None:
            return 0.0
        self._before = self._forecaster.to_bytes(), self._last_s
        self._trial = value, time_s
        self._learn(value, time_s)
        return self._chance()

    def _chance(self) -> float:
        """The highest chance of all limits and horizons; says which it is."""
        forecaster = self._forecaster
        assert forecaster is not None
        best, told = 0.0, None
        for found in forecaster.forecasts():
            for limit, words in ((self.above, "cross"), (self.below, "fall below")):
                if limit is None:
                    continue
                chance = forecaster.chance_above(found.horizon, limit)
                if words != "cross":
                    chance = 1.0 - chance
                if chance > best:
                    best, told = chance, (found, words, limit)
        if told is not None and best >= NOTICED:
            self._why = _words(best, *told)
        return best

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        value, time_s = read(x)
        if math.isnan(value) or (self.above is None and self.below is None):
            self._take_back()
            return
        if self._trial == (value, time_s):
            self._trial = None
            return
        self._take_back()
        if self._forecaster is not None:
            self._learn(value, time_s)
            return
        self._last_s = max(time_s, self._last_s) if self._first else time_s
        self._first.append((value, self._last_s))
        if len(self._first) > GAPS:
            gaps = [gap for (_, a), (_, b) in pairwise(self._first) if (gap := b - a) > 0]
            if gaps:
                self._begin(min(max(median(gaps), LEAST_STEP_S), MOST_STEP_S))
            else:
                del self._first[0]

    def _begin(self, step_s: float) -> None:
        horizons = sorted({-(-self.within * third // 3) for third in (1, 2, 3)})
        self._forecaster = Forecaster(horizons, season_s=self.season_s or None, step_s=step_s)
        first, self._first = self._first, []
        self._last_s = first[0][1]
        for value, time_s in first:
            self._learn(value, time_s)

    def _learn(self, value: float, time_s: float) -> None:
        """A row, after the holes before it. One whose time is not later than the last is of the next window."""
        forecaster = self._forecaster
        assert forecaster is not None
        holes = round(min((time_s - self._last_s) / forecaster.step_s, 1e15)) - 1
        if holes > 0:
            forecaster.skip(holes)
        self._last_s = max(time_s, self._last_s)
        forecaster.learn_one(value)

    def _take_back(self) -> None:
        if self._trial is not None:
            raw, self._last_s = self._before
            self._forecaster = None if raw is None else Forecaster.from_bytes(raw)
            self._trial = None

    def to_state(self) -> dict[str, Any]:
        raw = None if self._forecaster is None else self._forecaster.to_bytes()
        forecaster, last_s = self._before if self._trial is not None else (raw, self._last_s)
        return {
            "options": [self.above, self.below, self.within, self.season_s],
            "first": self._first,
            "forecaster": forecaster,
            "last_s": last_s,
            "why": self._why,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls(*state["options"])
        made._first = [(value, time_s) for value, time_s in state["first"]]
        raw = state["forecaster"]
        made._forecaster = None if raw is None else Forecaster.from_bytes(raw)
        made._last_s = float(state["last_s"])
        made._why = str(state["why"])
        return made


def _words(chance: float, found: Forecast, words: str, limit: float) -> str:
    windows = "the next window" if found.horizon == 1 else f"{found.horizon} windows"
    band = f"{_number(found.value)} expected ({_number(found.lower)} to {_number(found.upper)})"
    sure = found.value > limit if words == "cross" else found.value < limit
    return f"{'will' if sure else 'may'} {words} {_number(limit)} in {windows}: {band}, {chance:.0%} likely"


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e15 else f"{value:.3g}"
