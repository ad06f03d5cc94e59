from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.people.periods import CalendarPeriods, FixedDays
from tests.stream.people.calendars import days_of, zones


@given(zone=zones, data=st.data())
def test_days_are_numbered_one_after_the_other(zone: str, data: st.DataObject) -> None:
    calendar = days_of(zone)
    place = data.draw(st.integers(0, len(calendar) - 1))
    periods = CalendarPeriods("day", ZoneInfo(zone))
    starts = np.array([start for _, start in calendar])
    numbers = periods.of(starts)
    assert (np.diff(numbers) == 1).all()
    assert periods.start_ms(numbers).tolist() == starts.tolist()
    assert periods.of(starts[place : place + 1] - 1).tolist() == [numbers[place] - 1]


@pytest.mark.parametrize(
    ("zone", "left_out"), [("UTC", 0), ("Europe/Berlin", 0), ("Pacific/Apia", 1), ("Pacific/Kwajalein", 1)]
)
def test_a_date_that_a_zone_went_over_has_no_number(zone: str, left_out: int) -> None:
    periods = CalendarPeriods("day", ZoneInfo(zone))
    starts = periods.start_ms(np.arange(20_001 - left_out))
    assert (np.diff(starts) > 0).all()
    # 20,000 days after the epoch.
    assert starts[-1] == datetime(2024, 10, 4, tzinfo=ZoneInfo(zone)).timestamp() * 1_000


@pytest.mark.parametrize(
    ("zone", "hours"),
    [
        ("UTC", 0),
        ("Europe/Berlin", 1),
        ("Australia/Sydney", 10),
        ("America/Los_Angeles", -8),
        ("Asia/Kolkata", 5.5),
        ("Europe/Dublin", 0),
    ],
)
def test_fixed_days_end_at_midnight_without_summer_time(zone: str, hours: float) -> None:
    days = FixedDays(ZoneInfo(zone))
    summer_and_winter = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 7)]
    ends = np.array([int((start - timedelta(hours=hours)).timestamp() * 1000) for start in summer_and_winter])
    number = days.of(ends)
    assert days.end_ms(number).tolist() == ends.tolist()
    assert days.of(ends + 1).tolist() == (number + 1).tolist()
    assert days.of(ends - 86_399_999).tolist() == number.tolist()
    assert np.diff(number) == 181, "as many days as from the first of January to that of July"
    assert [days.passed(int(end)) for end in ends] == number.tolist()
    assert [days.passed(int(end) - 1) for end in ends] == (number - 1).tolist()
    assert days.of(np.array([-int(hours * 3_600_000)])).tolist() == [-1]
