"""What a forecast is mixed of: small models of one series, each of which says something for every horizon."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from models.seasons import Season

MEMORY = 0.995
"""What is left of a step in the slopes after the next: two hundred steps count."""
ERROR_WEIGHT = 0.05
"""Of the newest error in the mean absolute error that larger ones are cut off by."""
LAGS = 24
"""The longest lag that a slope is learned of; beyond, it fades geometrically."""


class Member(ABC):
    """Shown every step of a series once, in order; NaN is a step without a value.

    *Guarantee*: a forecast is a number or NaN, where the member cannot tell; nothing raises. Forecasts need not make
    sense: whoever mixes them weighs them by their errors.
    """

    name: ClassVar[str]
    seasonal: ClassVar[bool] = False
    """Whether there is none without a season, and one for each."""

    def __init__(self, horizons: tuple[int, ...], season: Season | None) -> None:
        self.horizons = horizons
        self.season = season

    @abstractmethod
    def learn(self, value: float) -> None:
        """Take a step in. The season has taken it in already."""

    @abstractmethod
    def forecasts(self) -> list[float]:
        """For each horizon, from what is known now."""

    def to_state(self) -> Any:
        """Numbers and lists of them; the season keeps its own."""
        return None

    def restore(self, state: Any) -> None:  # noqa: B027  some have no state
        """Become what `to_state` was taken of. Raises what comes of a state that is none."""


class Naive(Member):
    """The last known value."""

    name: ClassVar[str] = "naive"

    def __init__(self, horizons: tuple[int, ...], season: Season | None) -> None:
        super().__init__(horizons, season)
        self._last = math.nan

    def learn(self, value: float) -> None:
        if value == value:
            self._last = value

    def forecasts(self) -> list[float]:
        return [self._last] * len(self.horizons)

    def to_state(self) -> Any:
        return self._last

    def restore(self, state: Any) -> None:
        self._last = float(state)


class SeasonalNaive(Member):
    """The last known value at that phase of the season: where it is known, that of one season before."""

    name: ClassVar[str] = "seasonal_naive"
    seasonal: ClassVar[bool] = True

    def learn(self, value: float) -> None:
        pass

    def forecasts(self) -> list[float]:
        assert self.season is not None
        return self.season.ago


class HoltWinters(Member):
    """Damped Holt's method on the value less what is usual at its phase; without a season on the value itself.

    With `d` what is left of the value, `e = d - l - PHI b`, `l += PHI b + ALPHA e`, `b = PHI b + ALPHA BETA e`; the
    forecast is `l + (PHI + … + PHI^h) b + usual`. The season is additive, and learned apart from the level, which makes
    up for it while it lags behind. Gardner and McKenzie (1985), with the seasonal part of Winters (1960) as a mean over
    the seasons, and errors cut off so that a spike is no trend, as Gelper, Fried and Croux (2010) do.
    """

    name: ClassVar[str] = "holt_winters"
    ALPHA: ClassVar[float] = 0.2
    BETA: ClassVar[float] = 0.02
    PHI: ClassVar[float] = 0.9
    FAR: ClassVar[float] = 3.0
    """Mean absolute errors that one is learned as at the most."""

    def __init__(self, horizons: tuple[int, ...], season: Season | None) -> None:
        super().__init__(horizons, season)
        phi = self.PHI
        self._damped = [phi * (1 - phi**horizon) / (1 - phi) for horizon in horizons]
        self._level = math.nan
        self._trend = 0.0
        self._error = 0.0

    def learn(self, value: float) -> None:
        off = value if self.season is None else self.season.deviation
        level, slope = self._level, self.PHI * self._trend
        if level != level:
            self._level = off
            return
        level += slope
        if off == off:
            error = off - level
            size = abs(error)
            usual = self._error
            self._error = usual + ERROR_WEIGHT * (size - usual)
            if size > self.FAR * self._error:
                error *= self.FAR * self._error / size
            level += self.ALPHA * error
            slope += self.ALPHA * self.BETA * error
        self._level, self._trend = level, slope

    def forecasts(self) -> list[float]:
        level, trend = self._level, self._trend
        if self.season is None:
            return [level + damped * trend for damped in self._damped]
        usual = self.season.usual
        return [usual[at] + level + damped * trend for at, damped in enumerate(self._damped)]

    def to_state(self) -> Any:
        return [self._level, self._trend, self._error]

    def restore(self, state: Any) -> None:
        self._level, self._trend, self._error = map(float, state)


class Trend(HoltWinters):
    """The same without a season, faster, and hardly damped: a rise that has just begun goes on."""

    name: ClassVar[str] = "trend"
    ALPHA: ClassVar[float] = 0.5
    BETA: ClassVar[float] = 0.2
    PHI: ClassVar[float] = 0.97

    def __init__(self, horizons: tuple[int, ...], season: Season | None) -> None:
        super().__init__(horizons, None)


class Slopes:
    """What is left of a deviation some steps later, by least squares through the origin, forgetting.

    `slope_h = Σ w d[t] d[t-h] / Σ w d[t-h]²` for each horizon by itself, within -1 and 1: as AR(1) where the series is
    one, and still right where it is none. Beyond 24 steps it fades as `slope_24^(h / 24)`.
    """

    __slots__ = ("_deviations", "_lags", "_now", "_powers", "_products", "_squares", "slopes")

    def __init__(self, horizons: tuple[int, ...]) -> None:
        self._lags = [min(horizon, LAGS) for horizon in horizons]
        self._powers = [horizon / LAGS for horizon in horizons]
        self._deviations = [math.nan] * max(self._lags)
        """The last ones; that of step t at t modulo their number."""
        self._now = 0
        self._products = [0.0] * len(horizons)
        self._squares = [0.0] * len(horizons)
        self.slopes = [0.0] * len(horizons)

    def learn(self, deviation: float) -> None:
        now, before = self._now, self._deviations
        if deviation == deviation:
            products, squares = self._products, self._squares
            for at, lag in enumerate(self._lags):
                earlier = before[now - lag]  # a place before the first is one from the end
                if earlier == earlier:
                    products[at] = product = MEMORY * products[at] + earlier * deviation
                    squares[at] = square = MEMORY * squares[at] + earlier * earlier
                    if lag == LAGS or not -square < product < square:
                        self.slopes[at] = self._slope(at, product, square)
                    else:
                        self.slopes[at] = product / square
        before[now] = deviation
        self._now = (now + 1) % len(before)

    def _slope(self, at: int, product: float, square: float) -> float:
        if square <= 0.0:
            return 0.0
        slope = product / square
        slope = 1.0 if slope > 1.0 else -1.0 if slope < -1.0 else slope
        power = self._powers[at]
        return slope if power <= 1.0 else max(slope, 0.0) ** power

    def to_state(self) -> Any:
        return [self._deviations, self._now, self._products, self._squares]

    def restore(self, state: Any) -> None:
        self._deviations, self._now, self._products, self._squares = state
        self.slopes = [self._slope(at, *of) for at, of in enumerate(zip(self._products, self._squares, strict=True))]


class SeasonalAr(Member):
    """Seasonal naive, and what is left of how far the series is from it now."""

    name: ClassVar[str] = "seasonal_ar"
    seasonal: ClassVar[bool] = True

    def __init__(self, horizons: tuple[int, ...], season: Season | None) -> None:
        super().__init__(horizons, season)
        self._slopes = Slopes(horizons)

    def learn(self, value: float) -> None:
        assert self.season is not None
        self._slopes.learn(self.season.difference)

    def forecasts(self) -> list[float]:
        assert self.season is not None
        off = self.season.difference
        if off != off:
            return self.season.ago
        ago = self.season.ago
        return [ago[at] + slope * off for at, slope in enumerate(self._slopes.slopes)]

    def to_state(self) -> Any:
        return self._slopes.to_state()

    def restore(self, state: Any) -> None:
        self._slopes.restore(state)


class ProfileAr(SeasonalAr):
    """What is usual at that phase, and what is left of how far the series is from it now."""

    name: ClassVar[str] = "profile_ar"

    def learn(self, value: float) -> None:
        assert self.season is not None
        self._slopes.learn(self.season.deviation)

    def forecasts(self) -> list[float]:
        assert self.season is not None
        off = self.season.deviation
        if off != off:
            return self.season.usual
        usual = self.season.usual
        return [usual[at] + slope * off for at, slope in enumerate(self._slopes.slopes)]


class Level(Member):
    """Near the median of late: it follows a value by no more than a share of the mean absolute distance from it.

    What is far off pulls no more than what is near: of a series with long tails the median is forecast with the least
    absolute error, not the mean.
    """

    name: ClassVar[str] = "level"
    STEP: ClassVar[float] = 0.1
    DISTANCE_WEIGHT: ClassVar[float] = 0.05

    def __init__(self, horizons: tuple[int, ...], season: Season | None) -> None:
        super().__init__(horizons, season)
        self._level = math.nan
        self._distance = 0.0

    def learn(self, value: float) -> None:
        if value != value:
            return
        if self._level != self._level:
            self._level = value
            return
        off = value - self._level
        self._distance += self.DISTANCE_WEIGHT * (abs(off) - self._distance)
        most = self.STEP * self._distance
        self._level += most if off > most else -most if off < -most else off

    def forecasts(self) -> list[float]:
        return [self._level] * len(self.horizons)

    def to_state(self) -> Any:
        return [self._level, self._distance]

    def restore(self, state: Any) -> None:
        self._level, self._distance = map(float, state)


class FastLevel(Level):
    """Three times as fast."""

    name: ClassVar[str] = "fast_level"
    STEP: ClassVar[float] = 0.3


MEMBERS: Mapping[str, str] = {
    **{
        kind.name: f"{__name__}:{kind.__name__}"
        for kind in (Naive, SeasonalNaive, HoltWinters, Trend, SeasonalAr, ProfileAr, Level, FastLevel)
    },
    "river_holt_winters": "models.river_forecasters:RiverHoltWinters",
    "river_snarimax": "models.river_forecasters:RiverSnarimax",
}
"""Name → `module:class`, imported when one is asked for: river takes seconds."""
USUAL = ("naive", "seasonal_naive", "holt_winters", "trend", "seasonal_ar", "profile_ar", "level", "fast_level")
"""Those that are mixed by default."""


def member_class(name: str) -> type[Member]:
    """Raises KeyError for a name that is none."""
    module, _, made = MEMBERS[name].partition(":")
    found: type[Member] = getattr(import_module(module), made)
    return found
