"""What is usual at an hour of the week, learned as the series goes."""

from __future__ import annotations

from typing import Any, Self

from models.base import DAY_S, Expected

HOUR_S = 3_600.0
HOURS = 168
"""Of a week. The first one is Thursday's midnight, as that of the epoch was."""
VISIT_WEIGHT = 0.3
"""Of the newest visit to an hour, once there have been three."""
DAY_VISITS = 3.0
"""That the hour of the day counts for beside the visits to the hour of the week."""
MEMORY_S = 2 * DAY_S
"""In which the level follows a shift for two thirds."""
BAND = 4.0
"""Mean absolute deviations between what is expected and the ends of its band."""
FAR = 50.0
"""Mean absolute deviations that a value is learned as at the most, so that one row cannot move everything."""


class Profile:
    """The level and the mean absolute deviation of each hour of the week, and how far the series is above it of late.

    An hour of the week is a mix of itself and of its hour of the day, which weighs as much as three visits; where even
    that has not been visited, the mean of the last days stands in. Each visit to an hour counts as one, with its mean,
    however many rows it had. Apart from that the series as a whole is up or down, exponentially weighted over two days:
    after a shift of the level all hours follow within days, and keep their rhythm. Weeks are of UTC, or begin
    `utc_offset_s` before it.
    """

    __slots__ = ("_days", "_hour", "_overall", "_shift", "_usual", "_visit", "_weeks", "utc_offset_s")

    def __init__(self, utc_offset_s: float = 0.0) -> None:
        self.utc_offset_s = utc_offset_s
        # Of each hour: visits, level, deviation.
        self._weeks = [[0.0, 0.0, 0.0] for _ in range(HOURS)]
        self._days = [[0.0, 0.0, 0.0] for _ in range(24)]
        # Of all rows: rows, level, deviation, time of the last one.
        self._overall = [0.0, 0.0, 0.0, 0.0]
        self._shift = 0.0
        # Of the visit under way: hour since the epoch, rows, sum of values less the shift, sum of deviations.
        self._visit = [-1.0, 0.0, 0.0, 0.0]
        self._hour = -1
        self._usual: tuple[float, float] | None = None

    @property
    def level(self) -> float:
        """The mean of the last days, whatever the hour."""
        return self._overall[1]

    @property
    def spread(self) -> float:
        """The mean absolute deviation from it."""
        return self._overall[2]

    @property
    def overall(self) -> tuple[float, float] | None:
        """Level and spread; None before the first row."""
        return (self._overall[1], self._overall[2]) if self._overall[0] else None

    def usual(self, time_s: float) -> tuple[float, float] | None:
        """Value and mean absolute deviation of that hour; None while its hour of the day has not been seen."""
        hour = int((time_s + self.utc_offset_s) // HOUR_S)
        if hour != self._hour:
            self._hour = hour
            self._usual = self._mixed(hour)
        if self._usual is None:
            return None
        level, spread = self._usual
        return level + self._shift, spread

    def expected(self, time_s: float) -> Expected | None:
        """What is usual then, and four mean absolute deviations around it. None before the first row."""
        found = self.usual(time_s) or self.overall
        return None if found is None else band(*found)

    def learn(self, value: float, time_s: float) -> None:
        """Take a finite value in, of a time that is not before the last one."""
        overall = self._overall
        rows, level, spread, last_s = overall
        away = value - level
        if spread > 0:
            far = FAR * spread
            if away > far:
                away = far
            elif away < -far:
                away = -far
            value = level + away
        past_s = time_s - last_s if rows else 0.0
        recent = past_s / (past_s + MEMORY_S)
        rows += 1
        weight = max(1 / rows, recent)
        if rows > 1:
            overall[2] = spread + weight * (abs(away) - spread)
        overall[0] = rows
        overall[1] = level + weight * away
        overall[3] = time_s
        hour = int((time_s + self.utc_offset_s) // HOUR_S)
        if hour != self._visit[0]:
            self._close()
            self._visit = [hour, 0.0, 0.0, 0.0]
        usual = self.usual(time_s)
        visit = self._visit
        visit[1] += 1
        visit[2] += value - self._shift
        if usual is None:
            visit[3] += abs(value - overall[1])
        else:
            above = value - usual[0]
            visit[3] += abs(above)
            self._shift += recent * above

    def _close(self) -> None:
        """The visit under way is over."""
        hour, rows, values, deviations = self._visit
        if rows:
            for one in (self._weeks[int(hour) % HOURS], self._days[int(hour) % 24]):
                one[0] += 1
                weight = max(1 / one[0], VISIT_WEIGHT)
                one[1] += weight * (values / rows - one[1])
                one[2] += weight * (deviations / rows - one[2])
            self._hour = -1

    def _mixed(self, hour: int) -> tuple[float, float] | None:
        days, day_level, day_spread = self._days[hour % 24]
        if not days:
            return None
        weeks, week_level, week_spread = self._weeks[hour % HOURS]
        share = weeks / (weeks + DAY_VISITS)
        return day_level + share * (week_level - day_level), day_spread + share * (week_spread - day_spread)

    def to_state(self) -> dict[str, Any]:
        """Everything, as lists of numbers."""
        return {
            "utc_offset_s": self.utc_offset_s,
            "weeks": self._weeks,
            "days": self._days,
            "overall": self._overall,
            "shift": self._shift,
            "visit": self._visit,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of `to_state`."""
        made = cls(state["utc_offset_s"])
        made._weeks = [list(hour) for hour in state["weeks"]]
        made._days = [list(hour) for hour in state["days"]]
        made._overall = list(state["overall"])
        made._shift = state["shift"]
        made._visit = list(state["visit"])
        return made


def band(value: float, spread: float) -> Expected:
    """A value, and four mean absolute deviations around it."""
    return Expected(value, value - BAND * spread, value + BAND * spread)
