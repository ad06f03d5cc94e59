from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.people.periods import CalendarPeriods
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
