"""The default detector: what it must find, what it must leave alone, and that it is one thing however it is stored."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.anomaly.nab import FOLDER, measure, scorer
from benchmarks.anomaly.result import TARGETS
from benchmarks.targets import is_met
from models.base import DAY_S, ModelError
from models.novelty import Novelty
from models.registry import make_detector

Rows = list[tuple[float, float]]
START_S = 1_699_833_600.0
"""A Monday's midnight, UTC."""


def rhythm(days: float, step_s: float = 300.0, seed: int = 7, level: float = 100.0, noise: float = 3.0) -> Rows:
    """A day's wave with Gaussian noise."""
    draw = random.Random(seed)
    times = (START_S + at * step_s for at in range(int(days * DAY_S / step_s)))
    wave = level * 0.4
    return [(when, level + wave * math.sin(2 * math.pi * when / DAY_S) + draw.gauss(0, noise)) for when in times]


def scores(detector: Novelty, rows: Rows) -> list[float]:
    found = []
    for when, value in rows:
        row = {"value": value, "time": when}
        found.append(detector.score_one(row))
        detector.learn_one(row)
    return found


def alerts(found: list[float], since: int = 0) -> list[int]:
    return [at for at, score in enumerate(found) if at >= since and score >= Novelty.OPEN]


WEEK = 7 * 288


def test_it_is_quiet_while_nothing_happens() -> None:
    assert alerts(scores(Novelty(), rhythm(21)), since=WEEK) == []


def test_a_series_that_begins_is_no_news() -> None:
    draw = random.Random(8)
    rows = [(START_S + at * 300.0, draw.gauss(10, 2)) for at in range(WEEK)]
    assert alerts(scores(Novelty(), rows)) == []


@pytest.mark.parametrize("rows", [100, 300, 3_000])
def test_a_spike_early_on_scores_above_everything_before_it(rows: int) -> None:
    draw = random.Random(rows)
    detector = Novelty()
    found = scores(detector, [(START_S + at * 60.0, draw.gauss(10, 2)) for at in range(rows)])
    assert detector.score_one({"value": 100.0, "time": START_S + rows * 60.0}) > max(found)


def test_each_of_growing_spikes_scores_above_the_one_before() -> None:
    rows = rhythm(28)
    for spike in range(6):
        rows[(spike + 14) * 288] = rows[(spike + 14) * 288][0], 400.0 * 2**spike
    found = scores(Novelty(), rows)
    spikes = [found[(spike + 14) * 288] for spike in range(6)]
    assert spikes == sorted(set(spikes))
    assert spikes[0] >= Novelty.OPEN


def test_a_spike_scores_above_everything_before_it_and_says_why() -> None:
    rows = rhythm(14)
    detector = Novelty()
    found = scores(detector, rows[:-1])
    when, _ = rows[-1]
    spike = detector.score_one({"value": 400.0, "time": when})
    assert spike > max(found[WEEK:])
    assert spike >= Novelty.OPEN
    assert "highest in 14 days" in detector.why
    assert detector.expected is not None
    assert detector.expected.lower < 140
    assert detector.expected.value == pytest.approx(100, abs=12)


def test_a_dip_is_the_lowest_and_far_from_what_is_usual() -> None:
    rows = rhythm(14)
    detector = Novelty()
    scores(detector, rows)
    when = rows[-1][0] + 300
    assert detector.score_one({"value": -50.0, "time": when}) >= Novelty.OPEN
    assert "lowest in 14 days" in detector.why
    assert "far from what is usual at this hour: -50 instead of " in detector.why


def test_a_value_of_the_day_is_strange_at_night() -> None:
    rows = [(when, 10.0 + 90.0 * (6 <= when % DAY_S / 3600 < 18)) for when, _ in rhythm(14)]
    draw = random.Random(3)
    rows = [(when, value + draw.gauss(0, 1)) for when, value in rows]
    detector = Novelty()
    scores(detector, rows)
    when = START_S + 14 * DAY_S + 3 * 3600
    rest = rhythm(15)[14 * 288 : 14 * 288 + 36]
    scores(detector, [(at, 10 + draw.gauss(0, 1)) for at, _ in rest])
    assert detector.score_one({"value": 95.0, "time": when}) >= Novelty.OPEN
    assert detector.why.startswith("far from what is usual at this hour: 95 instead of 9.9")


def test_a_missing_peak_is_told_when_it_should_have_begun() -> None:
    rows = [(when, 20 + 60 * (8 <= when % DAY_S / 3600 < 20)) for when, _ in rhythm(16)]
    draw = random.Random(5)
    rows = [(when, value + draw.gauss(0, 2)) for when, value in rows]
    missing = [(when, 20 + draw.gauss(0, 2) if at // 288 == 14 else value) for at, (when, value) in enumerate(rows)]
    detector, reasons = Novelty(), []
    for at, (when, value) in enumerate(missing):
        score = detector.score_one({"value": value, "time": when})
        if at >= WEEK and score >= Novelty.OPEN:
            reasons.append((at // 288, detector.why))
        detector.learn_one({"value": value, "time": when})
    assert reasons, "nothing was said of a day without its peak"
    assert {day for day, _ in reasons} <= {14, 15}
    assert "far from what is usual at this hour: " in reasons[0][1]


def test_a_flat_line_where_there_is_rhythm_is_told() -> None:
    rows = rhythm(16)
    frozen = [(when, rows[14 * 288 - 1][1] if at >= 14 * 288 else value) for at, (when, value) in enumerate(rows)]
    told = alerts(scores(Novelty(), frozen), since=WEEK)
    assert told
    assert 14 * 288 <= told[0] < 15 * 288


def test_a_shift_of_the_level_alerts_and_is_then_usual() -> None:
    rows = [(when, value + 200 * (at >= 14 * 288)) for at, (when, value) in enumerate(rhythm(35))]
    detector = Novelty()
    told = alerts(scores(detector, rows), since=WEEK)
    assert told[0] == 14 * 288
    assert all(at < 16 * 288 for at in told), "a level that has become usual must not alert again"
    assert detector.expected is not None
    assert detector.expected.value == pytest.approx(300, abs=45)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e12, 1e-300, 1.7e308])
def test_a_constant_series_scores_nothing_for_ever(value: float) -> None:
    assert set(scores(Novelty(), [(START_S + at * 600.0, value) for at in range(3_000)])) == {0.0}


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_the_unit_does_not_matter(unit: float) -> None:
    rows = rhythm(6)
    rows[1500] = rows[1500][0], 500.0
    plain = scores(Novelty(), rows)
    scaled = scores(Novelty(), [(when, value * unit) for when, value in rows])
    assert scaled == pytest.approx(plain, rel=1e-3, abs=1e-3)


def test_quiet_counts_of_a_minute_raise_no_alert() -> None:
    """Poisson counts of a rhythm by day and week, few and many; the third week of each is looked at."""
    told = 0
    for seed, rate in enumerate((0.2, 2.0, 20.0, 200.0)):
        draw = random.Random(seed)
        rows = []
        for at in range(21 * 1440):
            when = START_S + at * 60.0
            busy = 1 + 0.6 * math.sin(2 * math.pi * when / DAY_S)
            mean = rate * busy * (0.7 if at // 1440 % 7 >= 5 else 1.0)
            rows.append((when, float(_poisson(draw, mean))))
        told += len(alerts(scores(Novelty(), rows), since=14 * 1440))
    assert told == 0


def _poisson(draw: random.Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), draw.random(), 0
    while product > limit:
        product *= draw.random()
        count += 1
    return count


def test_a_gap_of_days_is_no_news_in_itself() -> None:
    before, after = rhythm(14), [(when + 5 * DAY_S, value) for when, value in rhythm(21)[14 * 288 :]]
    assert alerts(scores(Novelty(), before + after), since=WEEK) == []


def test_nothing_is_learned_from_what_is_no_number() -> None:
    rows = rhythm(3)
    detector, other = Novelty(), Novelty()
    scores(detector, rows)
    scores(other, rows)
    for value in (math.nan, math.inf, -math.inf):
        row = {"value": value, "time": rows[-1][0] + 300}
        assert detector.score_one(row) == 0.0
        assert detector.why == ""
        detector.learn_one(row)
    detector.score_one({"value": 1.0, "time": rows[-1][0]})
    other.score_one({"value": 1.0, "time": rows[-1][0]})
    assert detector.to_bytes() == other.to_bytes()


def test_scoring_changes_no_later_score() -> None:
    rows = rhythm(4)
    asked, plain = Novelty(), Novelty()
    draw = random.Random(1)
    for when, value in rows:
        for _ in range(2):
            asked.score_one({"value": draw.uniform(-1e4, 1e4), "time": when + draw.uniform(-1e6, 1e6)})
        row = {"value": value, "time": when}
        assert asked.score_one(row) == plain.score_one(row)
        assert asked.why == plain.why
        assert asked.expected == plain.expected
        asked.learn_one(row)
        plain.learn_one(row)


def test_times_that_repeat_or_go_back_are_taken_for_the_last_one() -> None:
    rows = rhythm(3)
    back, last = Novelty(), Novelty()
    scores(back, rows)
    scores(last, rows)
    now_s = rows[-1][0]
    for minus_s, value in ((0.0, 90.0), (86_400.0, 300.0), (5.0, 80.0)):
        assert back.score_one({"value": value, "time": now_s - minus_s}) == last.score_one(
            {"value": value, "time": now_s}
        )
        back.learn_one({"value": value, "time": now_s - minus_s})
        last.learn_one({"value": value, "time": now_s})
    assert back.to_bytes() == last.to_bytes()


def test_it_goes_on_as_if_it_had_not_been_stored() -> None:
    rows = rhythm(9, step_s=900)
    rows[700] = rows[700][0], 500.0
    kept, stored = Novelty(), Novelty()
    for at, (when, value) in enumerate(rows):
        row = {"value": value, "time": when}
        assert kept.score_one(row) == stored.score_one(row)
        assert kept.expected == stored.expected
        assert kept.why == stored.why
        if at % 7 == 0:
            stored = Novelty.from_bytes(stored.to_bytes())
            assert kept.why == stored.why
            assert kept.expected == stored.expected
        kept.learn_one(row)
        stored.learn_one(row)
        if at % 5 == 0:
            stored = Novelty.from_bytes(stored.to_bytes())
        assert kept.warm == stored.warm
    assert kept.to_bytes() == stored.to_bytes()


@pytest.mark.parametrize("step_s", [0.01, 1.0, 60.0, 3600.0, 86_400.0, 30 * 86_400.0])
def test_its_state_is_bounded_whatever_the_interval(step_s: float) -> None:
    draw = random.Random(2)
    detector, largest = Novelty(season_s=DAY_S / 24), 0
    for at in range(6_000):
        row = {"value": draw.lognormvariate(0, 3), "time": START_S + at * step_s}
        assert math.isfinite(detector.score_one(row))
        detector.learn_one(row)
        if at % 500 == 0:
            largest = max(largest, len(detector.to_bytes()))
    assert largest <= Novelty.max_bytes


def test_it_is_warm_after_a_day_and_a_hundred_rows() -> None:
    detector = Novelty()
    warm = []
    for when, value in rhythm(2, step_s=600):
        detector.learn_one({"value": value, "time": when})
        warm.append(detector.warm)
    assert warm.index(True) == 144
    hourly = Novelty()
    for at in range(99):
        hourly.learn_one({"value": 1.0, "time": at * 3600.0})
    assert not hourly.warm


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ModelError, match=r"season_s: expected seconds between a minute and 400 days, found 3\.0"):
        make_detector("novelty", {"season_s": 3.0})
    with pytest.raises(ModelError, match="utc_offset_s"):
        Novelty(utc_offset_s=1e6)
    with pytest.raises(ModelError, match="novelty"):
        make_detector("novelty", {"seson_s": 3.0})


def test_bytes_of_another_version_are_refused() -> None:
    raw = Novelty().to_bytes()
    with pytest.raises(ModelError):
        Novelty.from_bytes(raw[:-1])
    with pytest.raises(ModelError):
        Novelty.from_bytes(raw.replace(b"novelty", b"novelti"))


@pytest.mark.skipif(not FOLDER.exists(), reason="the labelled series are not there")
def test_it_scores_on_labelled_series_as_it_claims() -> None:
    figures = measure("novelty", scorer())
    held = {key: getattr(figures, key) for key in TARGETS if key != "us_per_row"}
    missed = {key: value for key, value in held.items() if not is_met(TARGETS[key], value)}
    assert not missed
    assert figures.max_bytes <= Novelty.max_bytes


def test_an_incident_is_told_when_it_begins_and_again_when_it_gets_worse() -> None:
    rows = rhythm(14)
    detector = Novelty()
    scores(detector, rows)
    now_s = rows[-1][0]
    incident = [(now_s + 300.0 * at, 400.0) for at in range(1, 20)]
    found = scores(detector, incident)
    assert found[0] >= Novelty.OPEN
    assert all(later == 0.0 for later in found[1:])
    worse = scores(detector, [(now_s + 300.0 * 20, 4_000.0)])
    assert worse[0] > found[0]
