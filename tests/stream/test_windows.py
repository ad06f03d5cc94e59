from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.windows import Calendar, window_of

ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
_STEPS = {"hour": "1h", "day": "1d", "week": "1w", "month": "1mo"}
_times = st.lists(
    st.integers(946_684_800_000, 1_893_456_000_000)
    # Within a day of a change of clocks in one of the zones.
    | st.sampled_from(
        [1_445_734_800_000, 1_427_590_800_000, 1_508_036_400_000, 1_554_562_800_000, 1_325_239_200_000]
    ).flatmap(lambda change: st.integers(change - 86_400_000, change + 86_400_000)),
    min_size=1,
    max_size=20,
)


def iso_of(seconds: int, zone: str) -> str:
    return datetime.fromtimestamp(seconds, ZoneInfo(zone)).isoformat()


@given(times=_times, zone=st.sampled_from(ZONES), unit=st.sampled_from(["day", "week", "month"]))
@settings(deadline=None, max_examples=200)
def test_days_weeks_and_months_are_those_of_the_zone(times: list[int], zone: str, unit: str) -> None:
    panes = Calendar(unit, ZoneInfo(zone))
    starts = panes.start_s(np.array(times))
    local = pl.Series(times).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone(zone)
    assert starts.tolist() == (local.dt.truncate(_STEPS[unit]).dt.epoch("s")).to_list()


@given(times=_times, zone=st.sampled_from(ZONES), unit=st.sampled_from(list(_STEPS)))
@settings(deadline=None, max_examples=200)
def test_panes_follow_each_other_without_gaps(times: list[int], zone: str, unit: str) -> None:
    panes = Calendar(unit, ZoneInfo(zone))
    array = np.array(times)
    starts = panes.start_s(array)
    ends = panes.next_s(starts)
    assert ((starts * 1_000 <= array) & (array < ends * 1_000)).all()
    assert panes.start_s(starts * 1_000).tolist() == starts.tolist()
    assert panes.start_s(ends * 1_000).tolist() == ends.tolist()
    assert panes.start_s(ends * 1_000 - 1).tolist() == starts.tolist()
    if unit == "day":
        assert panes.back_s(ends, 1).tolist() == starts.tolist()


@pytest.mark.parametrize(
    ("zone", "unit", "at", "start", "end"),
    [
        # 25 hours in the night in which clocks are set back, 23 in the other; two hours that are both called 2.
        ("Europe/Berlin", "day", "2015-10-25T12:00:00Z", "2015-10-25T00:00:00+02:00", "2015-10-26T00:00:00+01:00"),
        ("Europe/Berlin", "day", "2015-03-29T12:00:00Z", "2015-03-29T00:00:00+01:00", "2015-03-30T00:00:00+02:00"),
        ("Europe/Berlin", "hour", "2015-10-25T00:30:00Z", "2015-10-25T02:00:00+02:00", "2015-10-25T02:00:00+01:00"),
        ("Europe/Berlin", "hour", "2015-10-25T01:30:00Z", "2015-10-25T02:00:00+01:00", "2015-10-25T03:00:00+01:00"),
        # Clocks set forward at midnight: that day begins at one.
        ("America/Sao_Paulo", "day", "2017-10-15T12:00:00Z", "2017-10-15T01:00:00-02:00", "2017-10-16T00:00:00-02:00"),
        # By half an hour: an hour of thirty minutes.
        (
            "Australia/Lord_Howe",
            "hour",
            "2019-04-06T15:10:00Z",
            "2019-04-07T01:30:00+10:30",
            "2019-04-07T02:00:00+10:30",
        ),
        ("Asia/Kathmandu", "hour", "2019-04-06T15:20:00Z", "2019-04-06T21:00:00+05:45", "2019-04-06T22:00:00+05:45"),
    ],
)
def test_changes_of_clocks(zone: str, unit: str, at: str, start: str, end: str) -> None:
    panes = Calendar(unit, ZoneInfo(zone))
    time_ms = int(datetime.fromisoformat(at).astimezone(UTC).timestamp() * 1_000)
    (start_s,) = panes.start_s(np.array([time_ms])).tolist()
    (end_s,) = panes.next_s(np.array([start_s])).tolist()
    assert (iso_of(start_s, zone), iso_of(end_s, zone)) == (start, end)


@pytest.mark.parametrize(
    ("text", "span", "about_ms"),
    [
        ("10s", 1, 10_000),
        ("day", 1, 86_400_000),
        ("5m/10s", 30, 300_000),
        ("7d/day", 7, 604_800_000),
        ("30d/1d", 30, 2_592_000_000),
    ],
)
def test_windows_as_the_catalog_writes_them(text: str, span: int, about_ms: int) -> None:
    window = window_of(text, ZoneInfo("UTC"))
    assert (window.name, window.span, window.about_ms) == (text, span, about_ms)


@pytest.mark.parametrize(
    "text",
    ["", "7s", "5m/7s", "10s/10s", "10s/1m", "7d/week", "36h/day", "400d/day", "1d/1s", "/", "5m/10s/1s", "year"],
)
def test_windows_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        window_of(text, ZoneInfo("UTC"))
