"""Limits that are about to be crossed: told before, with a chance that means what it says."""

from __future__ import annotations

import math
import random

import pytest

from models.base import ModelError
from models.crossing import Crossing
from models.registry import make_detector
from stream.catalog import CatalogError, parse

from .test_detectors import DAY_ROWS, Row, at, usual, watch

DAYS = 3


def ramp(rows: int, step: float) -> list[Row]:
    """Days as usual, and then a rise."""
    found = usual(DAYS * DAY_ROWS + rows)
    for i in range(rows):
        found[DAYS * DAY_ROWS + i]["value"] += step * i
    return found


def judged(detector: Crossing, rows: list[Row]) -> list[tuple[float, str]]:
    found = []
    for row in rows:
        found.append((detector.score_one(row), detector.why))
        detector.learn_one(row)
    return found


def test_a_rise_is_told_before_it_is_over_the_limit_and_while_it_is() -> None:
    rows = ramp(60, 2.0)
    found = judged(Crossing(above=160.0, within=6), rows)
    crossed = next(i for i, row in enumerate(rows) if row["value"] > 160)
    assert max(score for score, _ in found[DAY_ROWS : DAYS * DAY_ROWS]) < 0.05
    opened = next(i for i, (score, _) in enumerate(found) if score >= Crossing.OPEN)
    assert crossed - 8 <= opened < crossed
    assert all(score == 1.0 for score, _ in found[crossed + 12 :])
    assert found[-1][1] == f"is above 160: {rows[-1]['value']:.3g}"


def test_a_fall_as_well() -> None:
    rows = ramp(60, -1.0)
    found = judged(Crossing(below=60.0, above=500.0, within=6), rows)
    crossed = next(i for i, row in enumerate(rows) if row["value"] < 60)
    told = [why for score, why in found[:crossed] if score >= Crossing.OPEN]
    assert told
    assert "fall below 60 in " in told[-1]


def test_why_says_what_is_expected_when_and_how_surely() -> None:
    rows = [row | {"value": row["value"] * 500} for row in ramp(60, 2.0)]
    found = judged(Crossing(above=80_000.0), rows)
    told = [why for score, why in found if why.startswith("will")]
    assert told[0].startswith("will cross 80,000 in 6 windows: 8")
    assert told[0].endswith("% likely")
    assert " expected (" in told[0]
    # While it is not expected but possible.
    assert any(why.startswith("may cross 80,000 in ") for score, why in found if 0.05 < score < 0.5)


def test_chances_come_true_about_as_often_as_they_say() -> None:
    """Over noise around a daily rhythm, of which the peaks reach the limit now and then."""
    rows = usual(40 * DAY_ROWS)
    detector = Crossing(above=112.5, within=1)
    scores = watch(detector, rows)
    told = [(scores[i], rows[i + 1]["value"] > 112.5) for i in range(3 * DAY_ROWS, len(rows) - 1) if scores[i] < 1]
    # Half an error of 65 is always possible.
    said = sum(chance - 0.5 / 65 for chance, _ in told)
    came = sum(came for _, came in told)
    # A little high: where a forecast is high by chance, the value is not.
    assert came <= said <= 1.6 * came
    likely = [came for chance, came in told if chance > 0.1]
    unlikely = [came for chance, came in told if chance < 0.02]
    assert sum(likely) / len(likely) > 0.07 > 0.01 > sum(unlikely) / len(unlikely)


def test_it_is_warm_after_a_day_and_a_hundred_rows() -> None:
    detector = Crossing(above=1_000.0)
    warm = []
    for row in usual(2 * DAY_ROWS):
        warm.append(detector.warm)
        watch(detector, [row])
    assert DAY_ROWS < warm.index(True) < DAY_ROWS + 120
    short = Crossing(above=1_000.0, season_s=0)
    warm = []
    for row in usual(200):
        warm.append(short.warm)
        watch(short, [row])
    assert 100 <= warm.index(True) <= 120


def test_asking_changes_nothing_and_a_restart_neither() -> None:
    plain, asked = Crossing(above=125.0), Crossing(above=125.0)
    draw = random.Random(4)
    for i, row in enumerate(ramp(40, 1.0)):
        for _ in range(draw.choice([0, 0, 1, 2])):
            odd = draw.choice([math.nan, 0.0, 1e9, 101.0])
            asked.score_one({"value": odd, "time": row["time"] + draw.randrange(9_999)})
        if i % 97 == 0:
            asked = Crossing.from_bytes(asked.to_bytes())
        assert asked.score_one(row) == plain.score_one(row)
        assert asked.why == plain.why
        if i % 89 == 0:
            # Between a score and what is learned.
            asked = Crossing.from_bytes(asked.to_bytes())
        asked.learn_one(row)
        plain.learn_one(row)
    assert asked.to_bytes() == plain.to_bytes()
    assert len(plain.to_bytes()) <= plain.max_bytes


def test_a_row_without_a_value_is_calm_and_not_learned() -> None:
    one, other = Crossing(above=110.0), Crossing(above=110.0)
    rows = usual(2 * DAY_ROWS)
    watch(one, rows)
    watch(other, rows)
    assert watch(one, [at(2 * DAY_ROWS, math.nan)]) == [0.0]
    rest = usual(2 * DAY_ROWS + 50)[2 * DAY_ROWS + 1 :]
    assert watch(one, rest) == watch(other, rest)


@pytest.mark.parametrize("between", ["odd", "back", "huge"])
def test_rows_at_any_times_and_of_any_size(between: str) -> None:
    draw = random.Random(9)
    detector, time_s = Crossing(above=120.0, below=-5.0, within=4), 1.442e9
    steps = {"odd": [1, 7, 61, 613, 10_800], "back": [0, -400, 300, 300, 86_400 * 40], "huge": [300, 1e18, 1e-9]}
    for row in usual(600):
        time_s += draw.choice(steps[between])
        value = draw.choice([row["value"], 0.0, 1.7e308, -1e150, 5e-324]) if between == "huge" else row["value"]
        (score,) = watch(detector, [{"value": value, "time": time_s}])
        assert 0 <= score <= 1
    assert len(detector.to_bytes()) <= detector.max_bytes
    assert Crossing.from_bytes(detector.to_bytes()).to_bytes() == detector.to_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"above": 5.0, "below": 5.0}, "crossing: below: expected less than above = 5, found 5"),
        ({"above": math.nan}, "crossing: above: expected a number within 1e30, found nan"),
        ({"above": "much"}, "crossing: above: expected a number or nothing, found 'much'"),
        ({"above": 5.0, "within": 0}, "crossing: within: expected a whole number from 1 to 2016, found 0"),
        ({"above": 5.0, "season_s": -1.0}, "crossing: season_s: expected seconds up to 400 days"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make_detector("crossing", options)


def test_a_rule_has_to_say_which_limit() -> None:
    text = """
    [platform]
    name = "Shop"
    streams = ["events:{0}"]
    [[metric]]
    name = "orders"
    measure = "count"
    windows = ["5m"]
    [[anomaly]]
    metric = "orders"
    window = "5m"
    detector = "crossing"
    """
    with pytest.raises(CatalogError, match="options: expected above or below, which crossing needs; found none"):
        parse(text)
    (rule,) = parse(text + 'options = { above = 50000, within = 12, season = "7d" }').anomaly
    detector = rule.make()
    assert isinstance(detector, Crossing)
    assert (detector.above, detector.within, detector.season_s) == (50_000, 12, 7 * 86_400)
    assert rule.limits[0][1] == 0.5
