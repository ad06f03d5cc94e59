"""Rules: what a score means, and the rules that people ask for first."""

from __future__ import annotations

import math
import random
import tomllib
from typing import Any

import pytest

from models.base import CALM, ModelError
from models.registry import DETECTORS, detector_class, make_detector
from stream.catalog import parse
from stream.rules import Rule
from tests.stack import ROOT

from .test_detectors import DAY_ROWS, START_S, STEP_S, at, watch

MINUTES = 1_440


def people(days: float, *, level: float = 200.0, minutes: int = 5) -> list[dict[str, Any]]:
    """Concurrent users: twice as many in the afternoon as on the average, hardly any at night."""
    noise = random.Random(8)
    rows = int(days * MINUTES / minutes)
    found = []
    for i in range(rows):
        of_day = 2 * math.pi * (i * minutes % MINUTES) / MINUTES
        found.append(
            {
                "value": max(0.0, level * (1 + 0.9 * math.sin(of_day)) * noise.gauss(1, 0.05)),
                "time": START_S + i * minutes * 60,
            }
        )
    return found


def reached(name: str, limit: float, score: float) -> bool:
    """As a rule of the catalog holds a score against its limit."""
    return score >= limit * detector_class(name).orientation


def ready_rules() -> dict[str, Rule]:
    text = (ROOT / "docs" / "detectors.md").read_text()
    blocks = [block.split("```", 1)[0] for block in text.split("```toml\n")[1:]]
    (block,) = [block for block in blocks if "[[metric]]" in block]
    assert tomllib.loads(block)
    return {rule.called: rule for rule in parse(block).anomaly}


@pytest.mark.parametrize(
    ("name", "value", "score"), [("above", 412.0, 412.0), ("above", -3.0, -3.0), ("below", 5.0, -5.0)]
)
def test_absolute_limits_hold_the_value_itself_from_the_first_row(name: str, value: float, score: float) -> None:
    rule = make_detector(name, {})
    assert rule.warm
    assert rule.score_one(at(0, value)) == score
    assert rule.expected is None
    assert rule.why == f"{value:g}"


def test_limits_are_oriented() -> None:
    assert not reached("above", 3, make_detector("above", {}).score_one(at(0, 2.9)))
    assert reached("above", 3, make_detector("above", {}).score_one(at(0, 3.1)))
    assert reached("below", 3, make_detector("below", {}).score_one(at(0, 2.9)))
    assert not reached("below", 3, make_detector("below", {}).score_one(at(0, 3.1)))


@pytest.mark.parametrize("name", ["above", "below"])
@pytest.mark.parametrize("limit", [-5.0, 0.0, 5.0])
def test_a_row_without_a_value_is_beyond_no_limit(name: str, limit: float) -> None:
    score = make_detector(name, {}).score_one(at(0, math.nan))
    assert score == CALM
    assert not reached(name, limit, score)


@pytest.mark.parametrize(("name", "factor", "limit"), [("above", 2.5, 2.0), ("below", 0.2, 0.3)])
def test_relative_to_what_is_usual_at_that_hour(name: str, factor: float, limit: float) -> None:
    rows = people(21)
    rule = make_detector(name, {"relative": "usual"})
    scores = []
    for row in rows:
        (score,) = watch(rule, [row])
        if rule.warm and row["time"] >= START_S + 14 * 86_400:
            scores.append(score)
    # The noise is 5 %; whatever the hour, nothing comes near a limit.
    assert not any(reached(name, limit, score) for score in scores)
    now = rows[-1] | {"time": rows[-1]["time"] + STEP_S}
    rule.score_one(now)
    usual = rule.expected
    assert usual is not None
    (score,) = watch(rule, [now | {"value": factor * usual.value}])
    assert reached(name, limit, score)
    assert score * rule.orientation == pytest.approx(factor)
    assert rule.expected is not None
    assert rule.expected.lower <= rule.expected.value <= rule.expected.upper
    assert "the usual " in rule.why


def test_why_says_how_many_times_the_usual() -> None:
    rule = make_detector("above", {"relative": "usual"})
    watch(rule, [at(i, 180.0) for i in range(2 * DAY_ROWS)])
    assert rule.score_one(at(2 * DAY_ROWS, 412.0)) == pytest.approx(412 / 180)
    assert rule.why == "412, 2.3 times the usual 180"
    rule.score_one(at(2 * DAY_ROWS, 45.0))
    assert rule.why == "45, 25% of the usual 180"


def test_relative_is_warm_after_a_day_and_as_usual_before_the_first_row() -> None:
    for name, as_usual in (("above", 1.0), ("below", -1.0)):
        rule = make_detector(name, {"relative": "usual"})
        assert rule.score_one(at(0, 1e6)) == as_usual
        assert not rule.warm
        watch(rule, [at(i, 50.0) for i in range(DAY_ROWS)])
        assert not rule.warm
        assert rule.score_one(at(DAY_ROWS, math.nan)) == as_usual
        watch(rule, [at(DAY_ROWS, 50.0)])
        assert rule.warm
        restored = type(rule).from_bytes(rule.to_bytes())
        rest = [at(i, 40.0 + i % 30) for i in range(DAY_ROWS + 1, 3 * DAY_ROWS)]
        assert watch(restored, rest) == watch(rule, rest)
        assert len(rule.to_bytes()) <= rule.max_bytes


def test_relative_adapts_to_another_level() -> None:
    rule = make_detector("above", {"relative": "usual"})
    watch(rule, people(7))
    later = [row | {"time": row["time"] + 7 * 86_400} for row in people(14, level=600.0)]
    scores = watch(rule, later)
    assert max(scores[:DAY_ROWS]) > 2
    assert max(scores[-3 * DAY_ROWS :]) < 2


@pytest.mark.parametrize(
    ("usual", "least", "value", "times"),
    [
        (0.0, 0.0, 0.0, 1.0),
        (0.0, 0.0, 3.0, 1e9),
        (0.0, 10.0, 25.0, 2.5),
        (4.0, 10.0, 25.0, 2.5),
        (-0.1, 10.0, 25.0, 2.5),
        (-10.0, 0.0, -5.0, 1.5),
    ],
)
def test_a_usual_of_nothing_or_hardly_anything(usual: float, least: float, value: float, times: float) -> None:
    rule = make_detector("above", {"relative": "usual", "least": least})
    watch(rule, [at(i, usual) for i in range(2 * DAY_ROWS)])
    assert rule.score_one(at(2 * DAY_ROWS, value)) == pytest.approx(times)


@pytest.mark.parametrize(
    ("direction", "before", "value", "score"),
    [
        ("both", 100.0, 150.0, 0.5),
        ("both", 100.0, 50.0, 0.5),
        ("up", 100.0, 150.0, 0.5),
        ("up", 100.0, 50.0, -0.5),
        ("down", 100.0, 50.0, 0.5),
        ("down", 100.0, 150.0, -0.5),
        ("both", -100.0, -150.0, 0.5),
        ("both", 0.0, 0.0, 0.0),
        ("up", 0.0, 7.0, 1e9),
        ("down", 0.0, 7.0, -1e9),
    ],
)
def test_change(direction: str, before: float, value: float, score: float) -> None:
    rule = make_detector("change", {"direction": direction})
    watch(rule, [at(0, before)])
    assert rule.warm
    assert rule.score_one(at(1, value)) == score


def test_change_over_several_rows_leaves_out_those_without_a_value() -> None:
    rule = make_detector("change", {"over": 3, "least": 10.0})
    values = [100.0, 1.0, math.nan, 1.0, 125.0]
    assert watch(rule, [at(i, value) for i, value in enumerate(values)]) == [0.0, 0.0, 0.0, 0.0, 0.25]
    assert rule.why == "up 25% from 100 to 125"
    # One of less than ten counts as ten.
    assert rule.score_one(at(5, 21.0)) == 2.0


def test_the_longest_change_stays_within_its_bytes() -> None:
    rule = make_detector("change", {"over": 10_080})
    noise = random.Random(1)
    watch(rule, [at(i, noise.gauss(0, 1e300)) for i in range(11_000)])
    assert len(rule.to_bytes()) <= rule.max_bytes


def test_nodata_counts_seconds_since_there_was_a_value() -> None:
    rule = make_detector("nodata", {})
    values = [math.nan, math.nan, 1.0, math.nan, math.nan, 0.0, math.nan]
    assert watch(rule, [at(i, value) for i, value in enumerate(values)]) == [0, 300, 0, 300, 600, 0, 300]
    assert rule.takes_silence
    assert rule.score_one(at(30, math.nan)) == 25 * 300
    assert rule.why == "no data for 2 h"
    assert rule.score_one(at(31, 5.0)) == 0
    assert rule.why == ""


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("above", {"relative": "usually"}, r"above: relative: expected one of usual, None, found 'usually'"),
        ("above", {"least": -1.0}, r"above: least: expected a number from 0, found -1.0"),
        ("above", {"least": math.nan}, r"above: least: expected a number from 0, found nan"),
        ("change", {"over": 0}, r"change: over: expected a whole number from 1 to 10080, found 0"),
        ("change", {"over": 1.5}, r"change: over: expected a whole number, found 1.5"),
        ("change", {"over": True}, r"change: over: expected a whole number, found True"),
        ("change", {"direction": "sideways"}, r"direction: expected one of both, up, down, found 'sideways'"),
        ("nodata", {"after": "5m"}, r"nodata: options: expected none; found 'after'"),
        ("gaussian", {"memory": 3}, r"gaussian: memory: expected a whole number from 50 to 1000000, found 3"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make_detector(name, options)


@pytest.mark.parametrize(
    ("called", "calm", "alarm"),
    [("crowd", 1.5, 2.3), ("few_posts", 0.5, 0.25)],
)
def test_the_ready_rules_relative_to_the_usual(called: str, calm: float, alarm: float) -> None:
    rule = ready_rules()[called]
    detector = rule.make()
    watch(detector, people(14))
    detector.score_one({"value": 0.0, "time": START_S + 14 * 86_400})
    usual = detector.expected
    assert usual is not None
    for factor, expected in ((calm, False), (alarm, True)):
        score = detector.score_one({"value": factor * usual.value, "time": START_S + 14 * 86_400})
        assert (score >= rule.limits[0][1]) is expected


def test_the_ready_rule_of_response_time() -> None:
    rule = ready_rules()["slow"]
    assert [rule.make().score_one(at(0, value)) >= rule.limits[0][1] for value in (2.9, 3.0, 4.0)] == [
        False,
        True,
        True,
    ]


def test_every_detector_has_its_row_and_its_options_in_the_documents() -> None:
    text = (ROOT / "docs" / "detectors.md").read_text()
    for name in DETECTORS:
        kind = detector_class(name)
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        for option in kind.options():
            assert f"`{option}" in row or f"`{option.removesuffix('_s')}" in row, f"{name}: {option}"
        assert cells[-2] == f"{kind.cost_us:g}"
        assert cells[-1] == f"{kind.max_bytes / 1_000:g}"
