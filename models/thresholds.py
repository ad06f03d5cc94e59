"""Rules instead of models: a value over or under a limit, a change, and no data at all.

The limits are those of the catalog's rule (`severity`), in the rule's own terms. They are believed at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from models.base import CALM, Detector, Expected, ModelError, Warmth, read, whole
from models.profile import Profile
from models.spread import FURTHEST, MOST, bounded

Relative = Literal["usual"] | None
Direction = Literal["both", "up", "down"]


def _least(given: float) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= FURTHEST:
        raise ModelError(f"least: expected a number from 0, found {given!r}")
    return float(given)


def _share(difference: float, of: float, least: float) -> float:
    """A difference as a share of what it is a difference from, which counts as `least` where it is smaller."""
    size = max(abs(of), least)
    if not size:
        return math.copysign(MOST, difference) if difference else 0.0
    return bounded(difference / size, MOST)


class Above(Detector):
    """The value itself; with `relative = "usual"`, how many times what is usual at that hour of the week.

    Usual is the week-hour profile of `models.profile`, learned as rows come: it is warm after a day and a hundred
    rows, and until then nothing is above it. `least` is what the usual is taken for where it is smaller, so that three
    people at night are not ten times the usual third of one.
    """

    name: ClassVar[str] = "above"
    cost_us: ClassVar[float] = 25.0
    max_bytes: ClassVar[int] = 8_000
    learns: ClassVar[bool] = False

    def __init__(self, relative: Relative = None, least: float = 0.0) -> None:
        if relative not in (None, "usual"):
            raise ModelError(f'relative: expected "usual" or nothing, found {relative!r}')
        self.relative = relative
        self.least = _least(least)
        self._profile = Profile() if relative else None
        self._warmth = Warmth()
        self._expected: Expected | None = None
        self._why = ""

    @property
    def warm(self) -> bool:
        return self._profile is None or self._warmth.warm

    @property
    def expected(self) -> Expected | None:
        return self._expected

    def score_one(self, x: Mapping[Any, Any]) -> float:
        value, time_s = read(x)
        self._expected, self._why = None, ""
        if self._profile is None:
            if math.isnan(value):
                return CALM
            self._why = f"{value:.6g}"
            return self.orientation * bounded(value)
        expected = self._profile.expected(max(time_s, self._warmth.last_s) if self._warmth.rows else time_s)
        if math.isnan(value) or expected is None:
            return float(self.orientation)
        value = bounded(value)
        self._expected = expected
        usual = expected.value
        if abs(usual) < self.least:
            # Not with its sign: what is learned of a count may come out just below zero, and would be turned round.
            usual = self.least
        times = 1.0 + _share(value - usual, usual, 0.0)
        self._why = f"{value:.6g}, {_times(times)} the usual {expected.value:.4g}"
        return self.orientation * times

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        value, time_s = read(x)
        if not math.isnan(value) and self._profile is not None:
            self._profile.learn(bounded(value), self._warmth.saw(time_s))

    def to_state(self) -> dict[str, Any]:
        return {
            "relative": self.relative,
            "least": self.least,
            "warmth": self._warmth.to_state(),
            "profile": None if self._profile is None else self._profile.to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls(state["relative"], state["least"])
        made._warmth = Warmth.from_state(state["warmth"])
        if made._profile is not None:
            made._profile = Profile.from_state(state["profile"])
        return made


class Below(Above):
    """The value itself, or how many times the usual it is, with the sign turned round: a limit is undershot.

    A limit of 0.3 is held against the score as -0.3 (`orientation`), so that higher is stranger here too.
    """

    name: ClassVar[str] = "below"
    orientation: ClassVar[int] = -1


class Change(Detector):
    """|value - before| / |before|, before being the value `over` rows ago: 0.5 is a change by half.

    `direction` takes only what rises or only what falls. A `before` smaller than `least` counts as that; a rise from 0
    without a `least` is as large as anything gets. Rows without a value are left out, and not counted in `over`.
    """

    name: ClassVar[str] = "change"
    cost_us: ClassVar[float] = 6.0
    max_bytes: ClassVar[int] = 92_000
    learns: ClassVar[bool] = False

    def __init__(self, over: int = 1, direction: Direction = "both", least: float = 0.0) -> None:
        if direction not in ("both", "up", "down"):
            raise ModelError(f"direction: expected one of both, up, down; found {direction!r}")
        self.over = whole("over", over, 1, 10_080)
        self.direction = direction
        self.least = _least(least)
        self._values: deque[float] = deque(maxlen=self.over)
        self._why = ""

    @property
    def warm(self) -> bool:
        return True

    def score_one(self, x: Mapping[Any, Any]) -> float:
        value, _ = read(x)
        self._why = ""
        if math.isnan(value) or len(self._values) < self.over:
            return 0.0
        value, before = bounded(value), self._values[0]
        change = _share(value - before, before, self.least)
        if change:
            self._why = f"{'up' if change > 0 else 'down'} {abs(change):,.0%} from {before:.6g} to {value:.6g}"
        return abs(change) if self.direction == "both" else change if self.direction == "up" else -change

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        value, _ = read(x)
        if not math.isnan(value):
            self._values.append(bounded(value))

    def to_state(self) -> dict[str, Any]:
        return {
            "over": self.over,
            "direction": self.direction,
            "least": self.least,
            "values": list(self._values),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls(state["over"], state["direction"], state["least"])
        made._values.extend(state["values"])
        return made


class NoData(Detector):
    """Seconds since the last row that had a value; 0 for a row that has one.

    The one detector that is shown rows without a value, NaN, one for each window in which nothing came: they are what
    it counts. Before the first value, time runs from the first row.
    """

    name: ClassVar[str] = "nodata"
    cost_us: ClassVar[float] = 3.0
    max_bytes: ClassVar[int] = 200
    learns: ClassVar[bool] = False
    takes_silence: ClassVar[bool] = True

    def __init__(self) -> None:
        self._last_data_s: float | None = None
        self._last_s: float | None = None
        self._why = ""

    @property
    def warm(self) -> bool:
        return True

    def score_one(self, x: Mapping[Any, Any]) -> float:
        value, time_s = read(x)
        self._why = ""
        if not math.isnan(value) or self._last_data_s is None:
            return 0.0
        silent_s = bounded(self._moved(time_s) - self._last_data_s)
        if silent_s:
            self._why = f"no data for {_span(silent_s)}"
        return silent_s

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        value, time_s = read(x)
        self._last_s = self._moved(time_s)
        if not math.isnan(value) or self._last_data_s is None:
            self._last_data_s = self._last_s

    def _moved(self, time_s: float) -> float:
        return time_s if self._last_s is None else max(time_s, self._last_s)

    def to_state(self) -> dict[str, Any]:
        return {"last_data_s": self._last_data_s, "last_s": self._last_s}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls()
        if state["last_s"] is not None:
            made._last_data_s, made._last_s = float(state["last_data_s"]), float(state["last_s"])
        return made


def _times(times: float) -> str:
    if times > 1:
        return f"{times:,.1f} times" if times < 100 else f"{times:,.0f} times"
    return f"{times:.0%} of"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"
