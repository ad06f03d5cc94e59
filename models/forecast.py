"""Where a series will be some steps ahead: an online mix of small models, with intervals that adapt to their errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from struct import Struct
from typing import Any, Self

import msgspec

from models.base import ModelError, whole
from models.forecast_members import MEMBERS, USUAL, Member, member_class
from models.forecast_quality import ForecastQuality, Tally
from models.intervals import Interval
from models.seasons import Season

VERSION = 1
MOST_HORIZONS = 4
MOST_SEASONS = 2
LEAST_STEP_S, MOST_STEP_S = 0.001, 1e10
FURTHEST_HORIZON = 2_016
PASSED = 300
"""Holes in a row that are learned one by one."""
LARGEST = 1e30
"""Values further from 0 are taken for it, so that all sums stay within what single precision holds."""
FURTHEST = 1e35
"""A forecast of a member beyond is none."""
PENDING = 16
"""Forecasts of a horizon that wait for their value: of a longer horizon every second, third, … is scored."""
WARM_STEPS = 100
"""That have to be scored of every horizon before forecasts are to be believed."""
MEMORY = 50
"""Errors that count for the recent error of a member, and five more for each step of the horizon: errors of forecasts
that overlap are alike."""
GOLDEN, HALF = 2_654_435_769, 1 << 31
"""Members are scored at every second step about, as weights change slowly and take long to work out: where the step
times the golden ratio has a fraction of a half or more, as every even one would see half of what an even season has."""
SHARPNESS = 8
"""Power of the inverse recent error that a member is weighed by: one a tenth worse than the best counts half."""
FEW = 12
"""Errors that a member has to have before it is weighed."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is said of the value `horizon` steps after the last one learned. In the series' unit."""

    horizon: int
    value: float
    lower: float
    upper: float


class _Horizon:
    """What is known of one horizon: errors and weights of the members, forecasts that wait, interval and quality."""

    __slots__ = (
        "_base",
        "_counts",
        "_errors",
        "_every",
        "_few",
        "_members",
        "_memory",
        "_non_negative",
        "_pending",
        "_said",
        "_slot",
        "_weight",
        "_weights",
        "horizon",
        "interval",
        "tally",
    )

    def __init__(self, horizon: int, members: int, base: int, coverage: float, non_negative: bool) -> None:
        self.horizon = horizon
        self.interval = Interval(coverage)
        self.tally = Tally()
        self._members = members
        self._base = base
        self._non_negative = non_negative
        self._every = -(-horizon // PENDING)
        self._memory = MEMORY + 5 * horizon // self._every
        # What the members said, the mix, and both ends: of the last step learned, and of each that is waited for.
        self._slot = Struct(f"<{members + 3}f")
        self._said = self._slot.pack(*[math.nan] * (members + 3))
        self._pending = bytearray(self._said * -(-horizon // self._every))
        self._errors = [0.0] * members
        # Of each member its errors so far, until there are enough of all.
        self._counts = [0] * members
        self._few = True
        self._weights = [1.0] * members
        self._weight = float(members)

    def score(self, step: int, value: float, warm: bool) -> None:
        """A known value has come: hold against it what was said of its step."""
        place = step - self.horizon
        if self._every > 1:
            if place % self._every:
                return
            place //= self._every
        # Before the first there is NaN.
        slot = self._slot.unpack_from(self._pending, place * self._slot.size % len(self._pending))
        if place * GOLDEN & HALF:
            self._weigh(slot, value)
        mixed, lower, upper = slot[-3:]
        if mixed != mixed:
            return
        if lower != lower:
            self.interval.learn(value - mixed, None)
            return
        covered = lower <= value <= upper
        error = value - mixed
        if warm:
            self.tally.count(abs(error), abs(value - slot[self._base]), covered)
        self.interval.learn(error, covered)

    def _weigh(self, slot: tuple[float, ...], value: float) -> None:
        share = 1.0 / self._memory
        errors = [error + share * (abs(slot[at] - value) - error) for at, error in enumerate(self._errors)]
        best = min(errors)
        if self._few or not best > 0.0 or sum(errors) != sum(errors):
            self._weigh_few(slot, value)
            return
        self._errors = errors
        self._weights = [(best / error) ** SHARPNESS for error in errors]
        self._weight = sum(self._weights)

    def _weigh_few(self, slot: tuple[float, ...], value: float) -> None:
        """As `_weigh`, where a member has said nothing, or has too few errors for all to count alike, or none."""
        errors, counts = self._errors, self._counts
        for at, said in enumerate(slot[: self._members]):
            if said == said:
                counts[at] = min(counts[at] + 1, self._memory)
                errors[at] += (abs(said - value) - errors[at]) / counts[at]
        best = min((error for error, count in zip(errors, counts, strict=True) if count >= FEW), default=math.inf)
        if best < math.inf:
            self._weights = [
                0.0 if count < FEW else 1.0 if error <= best else (best / error) ** SHARPNESS
                for error, count in zip(errors, counts, strict=True)
            ]
            self._weight = sum(self._weights)
        self._few = min(counts) < self._memory

    def say(self, step: int, forecasts: Sequence[float]) -> None:
        """Mix what the members say now."""
        value = sum(map(mul, forecasts, self._weights)) / self._weight
        if not -LARGEST < value < LARGEST:
            forecasts, value = self._mix_known(forecasts)
        half = self.interval.half
        lower, upper = value - half, value + half
        if lower < 0.0 and self._non_negative:
            value, lower, upper = max(value, 0.0), 0.0, max(upper, 0.0)
        try:
            said = self._slot.pack(*forecasts, value, lower, upper)
        except OverflowError:
            # Of a member that has run away: even with next to no weight it is not to be mixed in.
            self.say(step, self._mix_known(forecasts)[0])
            return
        self._said = said
        if step % self._every == 0:
            at = step // self._every * len(said) % len(self._pending)
            self._pending[at : at + len(said)] = said

    def _mix_known(self, forecasts: Sequence[float]) -> tuple[Sequence[float], float]:
        """What members said that have something to say that makes sense, and the mix of that."""
        known = [each if -FURTHEST < each < FURTHEST else math.nan for each in forecasts]
        mixed = [(each, weight) for each, weight in zip(known, self._weights, strict=True) if each == each and weight]
        total = sum(weight for _, weight in mixed)
        return known, sum(each * weight for each, weight in mixed) / total if total > 0.0 else known[0]

    def forget_said(self) -> None:
        """No value will come of what is waited for."""
        self._pending = bytearray(self._slot.pack(*[math.nan] * (self._members + 3)) * -(-self.horizon // self._every))

    @property
    def is_held_against(self) -> bool:
        """Whether there is a baseline, known well enough to be weighed."""
        return self._counts[self._base] >= FEW

    @property
    def forecast(self) -> Forecast | None:
        value, lower, upper = self._slot.unpack(self._said)[-3:]
        if lower != lower:
            return None
        return Forecast(self.horizon, value, lower, upper)

    def to_state(self) -> Any:
        return [
            bytes(self._pending),
            self._said,
            self._errors,
            self._counts,
            self._weights,
            self.interval.to_state(),
            self.tally.to_state(),
        ]

    def restore(self, state: Any) -> None:
        pending, said, self._errors, self._counts, self._weights, interval, tally = state
        if (len(pending), len(said)) != (len(self._pending), len(self._said)):
            raise ModelError(f"expected {len(self._pending)} bytes of forecasts, found {len(pending)}")
        self._pending, self._said = bytearray(pending), said
        if not len(self._errors) == len(self._counts) == len(self._weights) == self._members:
            raise ModelError(f"expected errors of {self._members} members, found {len(self._errors)}")
        self._few = min(self._counts) < self._memory
        self._weight = sum(self._weights)
        self.interval.restore(interval)
        self.tally.restore(tally)


class Forecaster:
    """Forecasts of one series, for up to four horizons. It is shown each closed window once, in order: `learn_one`.

    For each horizon the members (`models.forecast_members`) are mixed with weights `error^-8`, of the mean absolute
    error of each over about the last hundred steps; the interval is that of `models.intervals`.

    `horizons` are steps from 1 to 2016; `season_s` is one season or two, in seconds, `step_s` how long a step is. A
    season is rounded to whole steps; one of less than two steps is none. The first season is the one that forecasts are
    held against. With `non_negative` no forecast is below 0. `members` are mixed besides naive and seasonal naive.

    *Guarantee*: nothing that is shown raises; forecasts are finite, and lower ≤ value ≤ upper. A value that is not
    finite is a hole: a step passes, and nothing is learned but that. The same steps give the same forecasts, also when
    it is saved and restored in between. Values are kept in single precision, to seven digits. *Failure*: ModelError for
    options and bytes. *Cost*: some 30 µs a step for three horizons and one season, 10 KB at the most with the usual
    members, whatever the season. Of horizons beyond 16 every second step is scored and weighed by, beyond 32 every
    third, and so on.
    """

    def __init__(
        self,
        horizons: Sequence[int],
        *,
        season_s: float | Sequence[float] | None,
        step_s: float,
        coverage: float = 0.9,
        non_negative: bool = False,
        members: Sequence[str] = USUAL,
    ) -> None:
        self.horizons = tuple(whole("horizons", each, 1, FURTHEST_HORIZON) for each in horizons)
        if not 1 <= len(set(self.horizons)) == len(self.horizons) <= MOST_HORIZONS:
            raise ModelError(f"horizons: expected one to {MOST_HORIZONS} different ones, found {list(horizons)}")
        self.step_s = _seconds("step_s", step_s)
        given = () if season_s is None else (season_s,) if isinstance(season_s, int | float) else tuple(season_s)
        self.season_s = tuple(_seconds("season_s", each) for each in given)
        if len(self.season_s) > MOST_SEASONS:
            raise ModelError(f"season_s: expected {MOST_SEASONS} seasons at the most, found {len(self.season_s)}")
        if isinstance(coverage, bool) or not isinstance(coverage, int | float) or not 0.5 <= coverage <= 0.99:
            raise ModelError(f"coverage: expected a number from 0.5 to 0.99, found {coverage!r}")
        self.coverage = float(coverage)
        self.non_negative = bool(non_negative)
        self.members = tuple(dict.fromkeys((*USUAL[:2], *members)))
        for name in self.members:
            if name not in MEMBERS:
                raise ModelError(f"members: expected some of {', '.join(MEMBERS)}; found {name!r}")
        steps = [steps for each in self.season_s if (steps := round(each / self.step_s)) >= 2]
        share = len(steps)
        self._seasons = [Season(each, self.horizons, share) for each in steps]
        self._members = [made for name in self.members for made in self._made(name)]
        base = 1 if self._seasons else 0
        self._lines = [
            _Horizon(each, len(self._members), base, self.coverage, self.non_negative) for each in self.horizons
        ]
        self._step = -1
        self._is_warm = False
        self._last = math.nan
        # Of the baseline one season ahead, or one step where there is none: values it was held against, sum of errors.
        self._usual = [0.0, 0.0]

    def _made(self, name: str) -> list[Member]:
        kind = member_class(name)
        if not self._seasons:
            return [] if kind.seasonal else [kind(self.horizons, None)]
        of = self._seasons if kind.seasonal else self._seasons[:1]
        return [kind(self.horizons, season) for season in of]

    @property
    def warm(self) -> bool:
        """Whether it knows enough errors of every horizon, and the first season. Once it is, it stays so."""
        return self._is_warm

    def _warmed(self) -> bool:
        return all(line.interval.count >= WARM_STEPS and line.is_held_against for line in self._lines)

    def learn_one(self, value: float) -> None:
        """Take the value of the next step in; NaN, or any that is not finite, for a hole."""
        self._step = step = self._step + 1
        if value - value == 0.0:
            # As it is kept, so that a constant is forecast without an error.
            value = _SINGLE.unpack(_SINGLE.pack(max(-LARGEST, min(LARGEST, value))))[0]
            for line in self._lines:
                line.score(step, value, self._is_warm)
        else:
            value = math.nan
        for season in self._seasons:
            season.learn(step, value)
        off = self._seasons[0].difference if self._seasons else value - self._last
        if off == off:
            self._usual[0] += 1
            self._usual[1] += abs(off)
        if value == value:
            self._last = value
        said = []
        for member in self._members:
            member.learn(value)
            said.append(member.forecasts())
        for at, line in enumerate(self._lines):
            line.say(step, [forecasts[at] for forecasts in said])
        if not self._is_warm:
            self._is_warm = self._warmed()

    def skip(self, steps: int) -> None:
        """So many holes at once. Of the first 300 each is learned; then it is the time alone that passes."""
        each = min(steps, PASSED)
        for _ in range(each):
            self.learn_one(math.nan)
        if steps > each:
            self._step += steps - each
            for line in self._lines:
                line.forget_said()
            for season in self._seasons:
                season.skip(self._step)
            said = [member.forecasts() for member in self._members]
            for at, line in enumerate(self._lines):
                line.say(self._step, [forecasts[at] for forecasts in said])

    def forecasts(self) -> tuple[Forecast, ...]:
        """From what is known now, one for each horizon of which a first error is known; before that none."""
        return tuple(found for line in self._lines if (found := line.forecast) is not None)

    def chance_above(self, horizon: int, limit: float) -> float:
        """How likely the value so many steps ahead is above a limit, from the last 64 errors; NaN before the first."""
        line = self._line(horizon)
        found = line.forecast
        return math.nan if found is None else line.interval.above(limit - found.value)

    def quality(self, horizon: int) -> ForecastQuality:
        """How good it has been since it was warm. Raises ModelError for a horizon that is none of its own."""
        count, total = self._usual
        return self._line(horizon).tally.told(total / count if count else math.nan)

    def _line(self, horizon: int) -> _Horizon:
        for line in self._lines:
            if line.horizon == horizon:
                return line
        raise ModelError(f"horizon: expected one of {', '.join(map(str, self.horizons))}, found {horizon!r}")

    def to_bytes(self) -> bytes:
        """Options and state, versioned. Not a pickle: it survives other versions of every library."""
        return msgspec.msgpack.encode(
            {
                "forecaster": VERSION,
                "options": {
                    "horizons": self.horizons,
                    "season_s": self.season_s,
                    "step_s": self.step_s,
                    "coverage": self.coverage,
                    "non_negative": self.non_negative,
                    "members": self.members,
                },
                "step": self._step,
                "last": self._last,
                "usual": self._usual,
                "seasons": [season.to_state() for season in self._seasons],
                "members": [member.to_state() for member in self._members],
                "lines": [line.to_state() for line in self._lines],
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The forecaster as it was. Raises ModelError for anything but bytes of this version."""
        try:
            packed = msgspec.msgpack.decode(raw)
            found = packed["forecaster"]
        except (msgspec.DecodeError, TypeError, KeyError) as error:
            raise ModelError(f"not the state of a forecaster: {error}") from error
        if found != VERSION:
            raise ModelError(f"expected a forecaster of version {VERSION}, found {found!r}")
        try:
            made = cls(**packed["options"])
            made._step, made._last = int(packed["step"]), float(packed["last"])
            count, total = packed["usual"]
            made._usual = [float(count), float(total)]
            for season, state in zip(made._seasons, packed["seasons"], strict=True):
                season.restore(state, made._step)
            for member, state in zip(made._members, packed["members"], strict=True):
                member.restore(state)
            for line, state in zip(made._lines, packed["lines"], strict=True):
                line.restore(state)
            made._is_warm = made._warmed()
        except (TypeError, LookupError, AttributeError, ValueError, ArithmeticError) as error:
            raise ModelError(f"not a state of a forecaster: {error!r}") from error
        return made


def _seconds(name: str, given: float) -> float:
    good = isinstance(given, int | float) and not isinstance(given, bool)
    if not good or not LEAST_STEP_S <= given <= MOST_STEP_S:
        raise ModelError(f"{name}: expected seconds from {LEAST_STEP_S:g} to {MOST_STEP_S:g}, found {given!r}")
    return float(given)


_SINGLE = Struct("<f")
