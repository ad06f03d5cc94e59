"""The week of the community: how busy an hour is, and where a local day begins and ends."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HOUR_MS = 3_600_000

# Two humps: lunch, and the evening when bakeries close and people come home.
_WORKDAY = [
    0.18, 0.10, 0.07, 0.06, 0.08, 0.18, 0.45, 0.80, 1.00, 1.05, 1.10, 1.35,
    1.60, 1.35, 1.10, 1.10, 1.30, 1.70, 2.05, 2.00, 1.65, 1.20, 0.75, 0.38,
]  # fmt: skip
# Later to rise, flatter through the day, up longer.
_WEEKEND = [
    0.30, 0.20, 0.12, 0.08, 0.07, 0.10, 0.22, 0.45, 0.85, 1.30, 1.60, 1.70,
    1.65, 1.50, 1.45, 1.45, 1.50, 1.60, 1.65, 1.50, 1.25, 1.00, 0.75, 0.50,
]  # fmt: skip
_DAYS = [0.95, 0.92, 0.95, 1.00, 1.14, 1.16, 0.98]  # Monday first

_curve = np.array([
    factor * level
    for weekday, factor in enumerate(_DAYS)
    for level in (_WEEKEND if weekday >= 5 else _WORKDAY)
])  # fmt: skip
# Straight lines between equally spaced points of a closed curve keep the mean of the points, so this one is
# exactly 1 over a week.
WEEK = (_curve / _curve.mean()).tolist()
_HOURS = np.array(_WORKDAY).cumsum() / sum(_WORKDAY)


def hour_of_day(share: Floats) -> Floats:
    """The hour (0 to 24, with a fraction) by which this share of a working day's activity has happened."""
    hours: Floats = np.interp(share, np.concatenate(([0.0], _HOURS)), np.arange(25.0))
    return hours


class Rhythm:
    """Hour-of-day and day-of-week rhythm in one time zone.

    Raises `zoneinfo.ZoneInfoNotFoundError` for a zone that does not exist.
    """

    def __init__(self, timezone: str) -> None:
        self.zone = ZoneInfo(timezone)

    def local(self, time_ms: int) -> datetime:
        return datetime.fromtimestamp(time_ms / 1000, self.zone)

    def level(self, time_ms: int) -> float:
        """How busy this moment is, relative to the mean of a week (1.0)."""
        local = self.local(time_ms)
        # A weight stands for the middle of its hour, hence the half.
        position = local.weekday() * 24 + local.hour + local.minute / 60 + local.second / 3600 - 0.5
        before = int(position // 1)
        fraction = position - before
        return float(WEEK[before % 168] * (1 - fraction) + WEEK[(before + 1) % 168] * fraction)

    def day_factor(self, day: date) -> float:
        return _DAYS[day.weekday()]

    def day_span(self, day: date) -> tuple[int, int]:
        """Start and end of a local day in epoch ms: 23, 24 or 25 hours."""
        return _midnight_ms(day, self.zone), _midnight_ms(day + timedelta(days=1), self.zone)


@lru_cache(maxsize=64)
def _midnight_ms(day: date, zone: ZoneInfo) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
