"""Days, weeks and months of zones as one would list them by hand, for oracles."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

RANGES = {
    # Clocks are set back on the 25th of October.
    "Europe/Berlin": (datetime(2015, 9, 20, tzinfo=UTC), datetime(2015, 12, 20, tzinfo=UTC)),
    # There was no 30th of December.
    "Pacific/Apia": (datetime(2011, 11, 15, tzinfo=UTC), datetime(2012, 2, 15, tzinfo=UTC)),
    "UTC": (datetime(2024, 1, 20, tzinfo=UTC), datetime(2024, 4, 10, tzinfo=UTC)),
}
zones = st.sampled_from(sorted(RANGES))


@cache
def days_of(zone: str) -> list[tuple[date, int]]:
    """Each day that there is in a zone's range and the millisecond that it begins at; with a year behind it."""
    begin, end = RANGES[zone]
    found: list[tuple[date, int]] = []
    at = begin - timedelta(days=2)
    while at < end + timedelta(days=460):
        day = at.astimezone(ZoneInfo(zone)).date()
        if not found or found[-1][0] != day:
            found.append((day, int(at.timestamp() * 1_000)))
        at += timedelta(minutes=30)
    return found[1:]


def period_of(day: date, period: str) -> date:
    """The first date of the day, week or month that a date is in."""
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def start_ms(first: date, zone: str) -> int:
    return int(datetime(first.year, first.month, first.day, tzinfo=ZoneInfo(zone)).timestamp() * 1_000)


def times(zone: str) -> st.SearchStrategy[int]:
    """Moments of a zone's range: any, the bounds of days, and those around the turn that the range is there for."""
    begin, end = (int(at.timestamp() * 1_000) for at in RANGES[zone])
    bounds = [start for _, start in days_of(zone) if begin <= start < end]
    middle = (begin + end) // 2
    return (
        st.integers(begin, end - 1)
        | st.integers(middle - 10 * 86_400_000, middle + 10 * 86_400_000)
        | st.sampled_from(bounds)
        | st.sampled_from(bounds).map(lambda start: start - 1)
    )
