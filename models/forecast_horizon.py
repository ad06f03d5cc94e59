"""One horizon of a forecast: the members' errors there, their mix, and what waits for its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from struct import Struct
from typing import Any

from models.base import ModelError
from models.forecast_quality import Tally
from models.intervals import Interval

LARGEST = 1e30
"""Values further from 0 are taken for it, so that all sums stay within what single precision holds."""
FURTHEST = 1e35
"""A forecast of a member beyond is none."""
PENDING = 12
"""Forecasts of a horizon that wait for their value: of a longer horizon every second, third, … is scored."""
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


class Horizon:
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
        if self._few or not best > 0.0 or not sum(errors) < math.inf:
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
        self._few = min(counts) < self._memory
        self._find_weights()

    def _find_weights(self) -> None:
        """From the errors of those members that have enough; all alike where none has."""
        pairs = list(zip(self._errors, self._counts, strict=True))
        best = min((error for error, count in pairs if count >= FEW), default=math.inf)
        if best < math.inf:
            self._weights = [
                0.0 if count < FEW else 1.0 if error <= best else (best / error) ** SHARPNESS for error, count in pairs
            ]
            self._weight = sum(self._weights)

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
    def scored_steps(self) -> int:
        """That its scored forecasts stand for."""
        return self.interval.count * self._every

    @property
    def is_held_against(self) -> bool:
        """Whether there is a baseline, known well enough to be weighed."""
        return self._counts[self._base] >= FEW

    @property
    def told(self) -> tuple[float, float, float] | None:
        """The forecast from the last step learned, and its interval; None before a first error is known."""
        value, lower, upper = self._slot.unpack(self._said)[-3:]
        return None if lower != lower else (value, lower, upper)

    def to_state(self) -> Any:
        return [
            bytes(self._pending),
            self._said,
            self._errors,
            self._counts,
            self.interval.to_state(),
            self.tally.to_state(),
        ]

    def restore(self, state: Any) -> None:
        pending, said, self._errors, self._counts, interval, tally = state
        if (len(pending), len(said)) != (len(self._pending), len(self._said)):
            raise ModelError(f"expected {len(self._pending)} bytes of forecasts, found {len(pending)}")
        self._pending, self._said = bytearray(pending), said
        if not len(self._errors) == len(self._counts) == self._members:
            raise ModelError(f"expected errors of {self._members} members, found {len(self._errors)}")
        self._few = min(self._counts) < self._memory
        self._find_weights()
        self.interval.restore(interval)
        self.tally.restore(tally)
