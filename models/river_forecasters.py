"""River's forecasters as members of a mix, made safe: they never raise, never say NaN for long, and cannot run away.

They are for comparison: not mixed by default, several times as dear as all others together, and their season is kept as
64-bit numbers. A season of more than `LONGEST` steps is none to them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

from river.time_series import SNARIMAX, HoltWinters

from models.forecast_members import Member
from models.seasons import Season
from models.spread import Spread, bounded

LONGEST = 288
FAR = 20.0
"""Mean absolute deviations from the mean that a forecast is cut off at; river's is thought to diverge beyond."""
CUT = 10.0
"""As far a value is learned at the most."""
PATIENCE = 20
"""Forecasts in a row that diverge before the model is begun anew."""


class _Guarded(Member):
    """A model of river's that is shown values in mean absolute deviations from their mean, as scales are not its thing.

    A hole is filled with the model's own forecast, so that the season keeps its place. What is forecast is cut off at
    20 deviations. A model that goes on beyond, or whose numbers are none any more, is begun anew.
    """

    def __init__(self, horizons: tuple[int, ...], season: Season | None) -> None:
        super().__init__(horizons, season)
        self._spread = Spread(memory=2_000)
        self._furthest = max(horizons)
        self._diverged = 0
        self._model = self._begun()

    @property
    def steps(self) -> int:
        """Of the season; 0 for none."""
        return self.season.steps if self.season is not None and self.season.steps <= LONGEST else 0

    @abstractmethod
    def _begun(self) -> Any:
        """A model that has seen nothing."""

    @abstractmethod
    def _model_state(self) -> Any: ...

    @abstractmethod
    def _restore_model(self, state: Any) -> None: ...

    def _ahead(self, horizon: int) -> list[float]:
        """What the model says, cut off. Empty before it says anything, or once it is not to be trusted."""
        try:
            found = [float(each) for each in self._model.forecast(horizon)]
        except (IndexError, OverflowError, ZeroDivisionError):
            return []
        return [bounded(each, FAR) for each in found] if all(map(math.isfinite, found)) else []

    def learn(self, value: float) -> None:
        if not self._spread.n and value != value:
            return
        ahead = self._ahead(1)
        if value == value:
            self._spread.learn(value)
            shown = bounded(self._spread.off(value), CUT)
        else:
            shown = ahead[0] if ahead else 0.0
        try:
            self._model.learn_one(shown)
        except (OverflowError, ZeroDivisionError):
            self._diverged = PATIENCE
        known = self._ahead(1)
        astray = abs(known[0]) >= FAR if known else bool(ahead)
        self._diverged = self._diverged + 1 if astray else 0
        if self._diverged > PATIENCE:
            self._model, self._diverged = self._begun(), 0

    def forecasts(self) -> list[float]:
        ahead = self._ahead(self._furthest)
        if not ahead:
            return [math.nan] * len(self.horizons)
        centre, unit = self._spread.centre, self._spread.unit
        return [centre + unit * ahead[horizon - 1] for horizon in self.horizons]

    def to_state(self) -> Any:
        return [self._spread.to_state(), self._diverged, self._model_state()]

    def restore(self, state: Any) -> None:
        spread, self._diverged, model = state
        self._spread = Spread.from_state(spread)
        self._restore_model(model)


class RiverHoltWinters(_Guarded):
    """`river.time_series.HoltWinters`, additive. It says nothing before its first season is over."""

    name: ClassVar[str] = "river_holt_winters"

    def _begun(self) -> Any:
        if self.steps:
            return HoltWinters(alpha=0.2, beta=0.02, gamma=0.2, seasonality=self.steps)
        return HoltWinters(alpha=0.2, beta=0.02)

    def _model_state(self) -> Any:
        model = self._model
        season = [] if model.season is None else list(model.season)
        return [list(model._first_values), model._initialized, list(model.level), list(model.trend), season]

    def _restore_model(self, state: Any) -> None:
        model = self._model = self._begun()
        model._first_values, model._initialized, level, trend, season = state
        model.level.extend(level)
        model.trend.extend(trend)
        if model.season is not None:
            model.season.extend(season)


class RiverSnarimax(_Guarded):
    """`river.time_series.SNARIMAX` of order (3, 0, 1), with one seasonal lag, on its scaled linear regression."""

    name: ClassVar[str] = "river_snarimax"

    def _begun(self) -> Any:
        if self.steps:
            return SNARIMAX(p=3, d=0, q=1, m=self.steps, sp=1)
        return SNARIMAX(p=3, d=0, q=1)

    def _model_state(self) -> Any:
        model = self._model
        scaler, regression = model.regressor.steps.values()
        # In the order in which they were met, as sums are taken in it.
        return [
            list(model.y_diff),
            list(model.errors),
            [[name, scaler.counts[name], scaler.means[name], scaler.vars[name]] for name in scaler.counts],
            [[name, weight] for name, weight in regression._weights.items()],
            regression.intercept,
            regression.optimizer.n_iterations,
        ]

    def _restore_model(self, state: Any) -> None:
        model = self._model = self._begun()
        scaler, regression = model.regressor.steps.values()
        lags, errors, scales, weights, regression.intercept, regression.optimizer.n_iterations = state
        model.y_diff.extend(lags)
        model.errors.extend(errors)
        for name, count, mean, variance in scales:
            scaler.counts[name], scaler.means[name], scaler.vars[name] = count, mean, variance
        regression._weights = type(regression._weights)(dict(weights))
