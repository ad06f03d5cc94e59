"""What is usual at an hour: of the week where that is known, of the day where not, and after a shift."""

from __future__ import annotations

import random

import pytest

from models.base import DAY_S
from models.profile import Profile

MONDAY_S = 1_699_833_600.0
HOUR_S = 3600.0


def usual(time_s: float) -> float:
    """A day's rhythm that is half as strong at the weekend."""
    hour, day = time_s % DAY_S / HOUR_S, int((time_s - MONDAY_S) // DAY_S) % 7
    return (10.0 if hour < 8 else 50.0) * (0.5 if day >= 5 else 1.0)


def learned(days: int, plus: float = 0.0, since: float = 1e9, profile: Profile | None = None) -> Profile:
    profile = profile or Profile()
    draw = random.Random(days)
    for at in range(days * 144):
        time_s = MONDAY_S + at * 600.0
        profile.learn(usual(time_s) + draw.uniform(-1, 1) + plus * (at >= since * 144), time_s)
    return profile


def test_before_the_first_row_nothing_is_expected() -> None:
    assert Profile().expected(MONDAY_S) is None
    assert Profile().usual(MONDAY_S) is None


def test_where_the_hour_is_new_the_mean_stands_in() -> None:
    profile = Profile()
    for at in range(6):
        profile.learn(7.0 + at % 2, MONDAY_S + at * 600.0)
    found = profile.expected(MONDAY_S + 12 * HOUR_S)
    assert found is not None
    assert found.value == pytest.approx(7.5)
    assert found.lower < 7 < 8 < found.upper


def test_the_hour_of_the_day_serves_a_day_of_the_week_that_is_new() -> None:
    found = learned(2).expected(MONDAY_S + 2 * DAY_S + 12 * HOUR_S)
    assert found is not None
    assert found.value == pytest.approx(50, abs=1)


def test_weekends_become_usual_as_weekends() -> None:
    profile = learned(8 * 7)
    saturday = profile.expected(MONDAY_S + (8 * 7 + 5) * DAY_S + 12 * HOUR_S)
    tuesday = profile.expected(MONDAY_S + (8 * 7 + 1) * DAY_S + 12 * HOUR_S)
    assert saturday is not None
    assert tuesday is not None
    assert saturday.value < 35
    assert tuesday.value > 43
    assert tuesday.lower < 50 < tuesday.upper


def test_a_shift_of_the_level_is_usual_within_a_week() -> None:
    found = learned(35, plus=1_000.0, since=28).expected(MONDAY_S + 35 * DAY_S + 12 * HOUR_S)
    assert found is not None
    assert found.value == pytest.approx(1_050, rel=0.1)


def test_one_absurd_value_does_not_move_it() -> None:
    profile = learned(14)
    then = MONDAY_S + 14 * DAY_S
    before = profile.expected(then + 12 * HOUR_S)
    profile.learn(1e12, then)
    after = profile.expected(then + 12 * HOUR_S)
    assert before is not None
    assert after is not None
    assert after.value == pytest.approx(before.value, abs=10)


def test_weeks_of_another_zone_begin_earlier() -> None:
    here, there = Profile(), Profile(utc_offset_s=8 * HOUR_S)
    for at in range(21 * 48):
        time_s = MONDAY_S + at * 1800.0
        assert there.usual(time_s - 8 * HOUR_S) == here.usual(time_s)
        here.learn(usual(time_s), time_s)
        there.learn(usual(time_s), time_s - 8 * HOUR_S)
    assert here.usual(MONDAY_S) != there.usual(MONDAY_S)


def test_state_and_back() -> None:
    profile = learned(9)
    again = Profile.from_state(profile.to_state())
    for at in range(500):
        time_s = MONDAY_S + 9 * DAY_S + at * 700.0
        assert again.expected(time_s) == profile.expected(time_s)
        again.learn(at % 17, time_s)
        profile.learn(at % 17, time_s)
    assert again.to_state() == profile.to_state()
