"""Records over horizons: what they forget, what they do not, and what noise is worth."""

from __future__ import annotations

import random

import pytest

from models.records import Records

DAY_S = 86_400.0


def learned(rows: list[tuple[float, float]], margin: float = 1.0) -> Records:
    records = Records(2 * DAY_S, margin)
    for time_s, value in rows:
        records.learn(value, time_s)
    return records


def hours(days: float, value: float) -> list[tuple[float, float]]:
    return [(at * 3600.0, value) for at in range(int(days * 24))]


def test_before_the_first_row_there_is_no_record() -> None:
    assert Records(DAY_S, 1.0).beyond(1.0, 0.0) is None


def test_what_was_seen_breaks_nothing() -> None:
    records = learned([*hours(10, 1.0), (10 * DAY_S, 3.0), (10 * DAY_S + 3600, 2.0)])
    assert records.beyond(3.0, 0.0) is None
    assert records.beyond(1.0, 0.0) is None
    assert records.beyond(2.5, 0.0) is None


@pytest.mark.parametrize(("ago_days", "horizons"), [(1.0, 0), (3.0, 1), (6.0, 2), (12.0, 3)])
def test_an_old_peak_stands_on_the_horizons_that_reach_back_to_it(ago_days: float, horizons: int) -> None:
    rows = [(time_s, 1.0 if time_s % 7200 else 0.0) for time_s, _ in hours(30, 0.0)]
    at = len(rows) - int(ago_days * 24)
    rows[at] = rows[at][0], 100.0
    found = learned(rows).beyond(90.0, 0.0)
    if not horizons:
        assert found is None
        return
    assert found is not None
    assert found.high
    assert [term > 0 for term in found.terms] == [at < horizons for at in range(4)]
    assert found.horizon == horizons - 1


def test_a_dip_is_below() -> None:
    found = learned([(time_s, time_s % 7200) for time_s, _ in hours(9, 0.0)]).beyond(-50_000.0, 0.0)
    assert found is not None
    assert not found.high
    assert min(found.terms) > 0.5


def test_terms_grow_with_the_excess_and_stay_below_one() -> None:
    records = learned([(time_s, time_s % 7200) for time_s, _ in hours(9, 0.0)])
    terms = []
    for value in (1e4, 2e4, 1e6, 1e12):
        found = records.beyond(value, 0.0)
        assert found is not None
        terms.append(found.terms[3])
    assert terms == sorted(terms)
    assert 0 < terms[0] < terms[-1] < 1


def test_extremes_that_jump_about_make_a_margin() -> None:
    draw = random.Random(4)
    jumpy = [(at * 60.0, draw.lognormvariate(0, 1)) for at in range(10 * 1440)]
    highest = max(value for _, value in jumpy)
    # A little more than the highest ever is nothing in a series whose peaks differ by themselves.
    little = learned(jumpy).beyond(highest * 1.02, 0.0)
    assert little is None or little.terms[3] == 0
    found = learned(jumpy).beyond(highest * 3, 0.0)
    assert found is not None
    assert found.terms[3] > 0.5


def test_differences_within_the_tolerance_are_none() -> None:
    records = learned(hours(5, 0.3))
    assert records.beyond(0.1 + 0.2, 1e-9) is None
    assert records.beyond(0.3001, 1e-9) is not None


def test_a_gap_takes_no_record_away() -> None:
    records = learned([*[(time_s, time_s % 7200) for time_s, _ in hours(9, 0.0)], (40 * DAY_S, 1_800.0)])
    assert records.beyond(3_000.0, 0.0) is None


def test_the_span_of_a_horizon_is_its_time_or_that_since_the_first_row() -> None:
    records = learned(hours(30, 1.0))
    now_s = 30 * DAY_S
    assert records.span_s(0, now_s) == pytest.approx(2 * DAY_S, abs=DAY_S / 4)
    assert records.span_s(2, now_s) == pytest.approx(8 * DAY_S, abs=DAY_S / 4)
    assert records.span_s(3, now_s) == now_s
    assert learned(hours(1, 1.0)).span_s(2, DAY_S) == DAY_S


def test_state_and_back() -> None:
    draw = random.Random(4)
    rows = [(at * 1000.0, draw.gauss(0, 1)) for at in range(2_000)]
    records = learned(rows[:1_500], margin=2.0)
    again = Records.from_state(records.to_state())
    for time_s, value in rows[1_500:]:
        assert again.beyond(5 * value, 0.0) == records.beyond(5 * value, 0.0)
        again.learn(value, time_s)
        records.learn(value, time_s)
    assert again.to_state() == records.to_state()
