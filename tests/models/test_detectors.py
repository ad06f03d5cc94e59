"""What every detector promises, of each that the registry has. One that is added is tested here by being registered."""

from __future__ import annotations

import json
import math
import pickle
import random
import re
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from models.base import CALM, Detector, ModelError
from models.registry import DETECTORS, detector_class, make_detector
from tests.stack import ROOT

Row = dict[str, Any]

STEP_S = 300
START_S = 1_442_016_000
DAY_ROWS = 86_400 // STEP_S
MEASURED = ROOT / "benchmarks" / "results" / "anomaly.json"

LEARNING = [name for name in DETECTORS if detector_class(name).learns]
SEEDED = [name for name in DETECTORS if "seed" in detector_class(name).options()]


def usual(rows: int, *, seed: int = 3, level: float = 100.0) -> list[Row]:
    """A daily rhythm with noise of standard deviation 2, a row each five minutes."""
    noise = random.Random(seed)
    return [
        {
            "value": level + 10 * math.sin(2 * math.pi * i / DAY_ROWS) + noise.gauss(0, 2),
            "time": START_S + i * STEP_S,
        }
        for i in range(rows)
    ]


def at(row: int, value: float) -> Row:
    return {"value": value, "time": START_S + row * STEP_S}


def watch(detector: Detector, rows: Iterable[Row]) -> list[float]:
    scores = []
    for row in rows:
        scores.append(detector.score_one(row))
        detector.learn_one(row)
    return scores


def watch_warm(detector: Detector, rows: Iterable[Row]) -> list[float]:
    """Scores of the rows that came when it was warm."""
    return [score for row in rows for warm in [detector.warm] for score in watch(detector, [row]) if warm]


@pytest.fixture(params=DETECTORS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def detector(name: str) -> Detector:
    return make_detector(name, {})


learning = pytest.mark.parametrize("name", LEARNING, indirect=True)


def test_it_is_what_the_registry_says(name: str, detector: Detector) -> None:
    assert detector.name == name
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert isinstance(detector, detector_class(name))
    assert detector.orientation in (1, -1)
    assert detector.__class__.__doc__


def test_every_row_has_a_score_and_what_goes_with_it(detector: Detector) -> None:
    for row in usual(2 * DAY_ROWS):
        score = detector.score_one(row)
        assert isinstance(score, float)
        assert math.isfinite(score)
        assert isinstance(detector.why, str)
        expected = detector.expected
        if expected is not None:
            assert expected.lower <= expected.value <= expected.upper
            assert all(map(math.isfinite, (expected.lower, expected.value, expected.upper)))
        detector.learn_one(row)


def test_it_is_warm_after_a_day_and_a_hundred_rows_or_at_once(detector: Detector) -> None:
    if not detector.learns:
        assert detector.warm
        return
    warm = []
    for row in usual(DAY_ROWS + 10):
        warm.append(detector.warm)
        watch(detector, [row])
    assert warm.index(True) == DAY_ROWS + 1
    slow = make_detector(detector.name, {})
    watch(slow, [{"value": 1.0, "time": START_S + 86_400 * day} for day in range(99)])
    assert not slow.warm


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_calm_and_not_learned(name: str, detector: Detector, odd: float) -> None:
    other = make_detector(name, {})
    rows = usual(DAY_ROWS + 100)
    before = watch(detector, rows[:DAY_ROWS])
    watch(other, rows[:DAY_ROWS])
    (score,) = watch(detector, [rows[DAY_ROWS] | {"value": odd}])
    if not detector.takes_silence:
        assert score in (0.0, CALM)
        assert score <= min(before)
    assert watch(detector, rows[DAY_ROWS:]) == watch(other, rows[DAY_ROWS:])


@pytest.mark.parametrize("odd", [None, "x", 10**400, [1.0]], ids=["none", "text", "huge", "list"])
def test_a_value_that_is_no_number_is_refused(detector: Detector, odd: Any) -> None:
    for ask in (detector.score_one, detector.learn_one):
        with pytest.raises(ModelError, match="expected a row"):
            ask({"value": odd, "time": START_S})


def test_a_series_of_nothing_but_missing_values(detector: Detector) -> None:
    for i in range(300):
        assert math.isfinite(watch(detector, [at(i, math.nan)])[0])
    assert all(map(math.isfinite, watch(detector, usual(300))))


@pytest.mark.parametrize("time_s", [math.nan, math.inf, None, "noon"])
def test_a_row_without_a_time_is_refused(detector: Detector, time_s: Any) -> None:
    for ask in (detector.score_one, detector.learn_one):
        with pytest.raises(ModelError):
            ask({"value": 1.0, "time": time_s})
        with pytest.raises(ModelError, match="expected a row"):
            ask({"value": 1.0})
        with pytest.raises(ModelError, match="expected a row"):
            ask({"time": START_S})


def test_values_of_any_size(detector: Detector) -> None:
    sizes = [0.0, -0.0, 5e-324, 1e-300, 1.0, -1.0, 1e18, 1e150, 1.7e308, -1.7e308]
    draw = random.Random(5)
    for i in range(1_000):
        (score,) = watch(detector, [at(i, draw.choice(sizes))])
        assert math.isfinite(score)
    assert all(map(math.isfinite, watch(detector, [at(1_000 + i, 3.0) for i in range(50)])))
    assert len(detector.to_bytes()) <= detector.max_bytes


@learning
def test_a_constant_series_is_calm_until_it_changes(detector: Detector) -> None:
    scores = watch_warm(detector, [at(i, 7.0) for i in range(2_000)])
    assert max(scores) < 1
    assert watch(detector, [at(2_000, 9.0)])[0] > 1


@learning
@pytest.mark.parametrize("spike", [200.0, 0.0, 1e6])
def test_a_spike_scores_above_everything_before_it(detector: Detector, spike: float) -> None:
    before = watch_warm(detector, usual(5 * DAY_ROWS))
    (score,) = watch(detector, [at(5 * DAY_ROWS, spike)])
    assert score > max(before)
    assert detector.why


@learning
def test_a_level_shift_becomes_usual(detector: Detector) -> None:
    watch(detector, usual(4 * DAY_ROWS))
    shifted = [row | {"value": row["value"] + 80} for row in usual(20 * DAY_ROWS)[4 * DAY_ROWS :]]
    scores = watch(detector, shifted)
    at_first, at_last = max(scores[:12]), scores[-2 * DAY_ROWS :]
    assert sum(at_last) / len(at_last) < 0.25 * at_first
    assert sum(score > 0.5 * at_first for score in at_last) <= 0.01 * len(at_last)


def test_gaps_and_times_that_repeat_or_go_back(name: str, detector: Detector) -> None:
    draw = random.Random(9)
    time_s = float(START_S)
    for row in usual(2_000):
        time_s += draw.choice([0, 0, -400, -86_400 * 30, 1, 300, 300, 300, 86_400, 86_400 * 40])
        (score,) = watch(detector, [row | {"time": time_s}])
        assert math.isfinite(score)
    assert len(detector.to_bytes()) <= detector.max_bytes
    restored = type(detector).from_bytes(detector.to_bytes())
    rest = [row | {"time": row["time"] - 86_400} for row in usual(300)]
    assert watch(restored, rest) == watch(detector, rest)


def test_a_time_that_goes_back_is_taken_for_the_last(name: str, detector: Detector) -> None:
    other = make_detector(name, {})
    rows = usual(2 * DAY_ROWS)
    watch(detector, rows)
    watch(other, rows)
    last_s = rows[-1]["time"]
    assert watch(detector, [{"value": 300.0, "time": last_s - 7_200}]) == watch(
        other, [{"value": 300.0, "time": last_s}]
    )
    rest = usual(3 * DAY_ROWS)[2 * DAY_ROWS :]
    assert watch(detector, rest) == watch(other, rest)


@pytest.mark.parametrize("between", ["even", "odd"])
def test_memory_and_bytes_are_bounded(detector: Detector, between: str) -> None:
    draw = random.Random(2)
    time_s, sizes = float(START_S), []
    for i, row in enumerate(usual(20_000)):
        time_s += STEP_S if between == "even" else draw.choice([1, 7, 61, 613, 10_800])
        watch(detector, [row | {"time": time_s}])
        if i % 1_000 == 999:
            assert len(detector.to_bytes()) <= detector.max_bytes
            # A pickle holds everything that it holds on to.
            sizes.append(len(pickle.dumps(detector)))
    assert sizes[-1] <= 1.2 * sizes[len(sizes) // 2]


@pytest.mark.parametrize("cut", [0, 1, 7, 99, 250, 500, 1_037, 1_500])
def test_a_round_trip_goes_on_identically(detector: Detector, cut: int) -> None:
    rows = usual(cut + 800)
    rows[cut + 400] = at(cut + 400, 500.0)
    watch(detector, rows[:cut])
    raw = detector.to_bytes()
    restored = type(detector).from_bytes(raw)
    assert restored.to_bytes() == raw
    for row in rows[cut:]:
        assert restored.score_one(row) == detector.score_one(row)
        assert (restored.why, restored.expected, restored.warm) == (detector.why, detector.expected, detector.warm)
        restored.learn_one(row)
        detector.learn_one(row)
    assert restored.to_bytes() == detector.to_bytes()


def test_the_same_rows_give_the_same_scores(name: str) -> None:
    rows = usual(1_500)
    assert watch(make_detector(name, {}), rows) == watch(make_detector(name, {}), rows)


@pytest.mark.parametrize("name", SEEDED)
def test_another_seed_gives_other_scores(name: str) -> None:
    rows = usual(1_500)
    first, again, other = (watch(make_detector(name, {"seed": seed}), rows) for seed in (1, 1, 2))
    assert first == again != other


def test_asking_for_a_score_changes_none(name: str, detector: Detector) -> None:
    other = make_detector(name, {})
    draw = random.Random(4)
    for row in usual(1_200):
        for _ in range(draw.choice([0, 1, 3])):
            other.score_one({"value": draw.choice([math.nan, 0.0, 1e9]), "time": row["time"] + draw.randrange(9_999)})
        assert watch(other, [row]) == watch(detector, [row])


def test_neither_the_order_of_keys_nor_others_matter(name: str, detector: Detector) -> None:
    other = make_detector(name, {})
    rows = usual(600)
    turned = [{"zone": "x", "time": row["time"], "extra": math.nan, "value": row["value"]} for row in rows]
    assert watch(detector, rows) == watch(other, turned)


def test_numbers_of_other_kinds_are_numbers(name: str, detector: Detector) -> None:
    other = make_detector(name, {})
    ints = [at(i, 100 + i % 7) for i in range(300)]
    assert watch(detector, ints) == watch(other, [row | {"value": float(row["value"])} for row in ints])


def test_options_are_known_and_others_refused(name: str, detector: Detector) -> None:
    options = type(detector).options()
    for option in options.values():
        option.check(option.default)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(detector.to_state())) is not None
    again = make_detector(name, {option.name: option.default for option in options.values()})
    assert again.to_bytes() == detector.to_bytes()
    with pytest.raises(ModelError, match=rf"{name}: options: .*found 'no_such_option'"):
        make_detector(name, {"no_such_option": 1})
    for option in options.values():
        with pytest.raises(ModelError, match=rf"^{name}: .*{option.name}"):
            make_detector(name, {option.name: ["neither"]})


def test_bytes_of_another_detector_or_version_are_refused(name: str, detector: Detector) -> None:
    watch(detector, usual(300))
    made = type(detector)
    packed = msgspec.msgpack.decode(detector.to_bytes())
    for change in ({"version": made.VERSION + 1}, {"detector": "another"}):
        with pytest.raises(ModelError, match="expected"):
            made.from_bytes(msgspec.msgpack.encode(packed | change))
    whole = detector.to_bytes()
    for raw in (b"", b"\x01", b"\x80\x04N.", whole[: len(whole) // 2]):
        with pytest.raises(ModelError):
            made.from_bytes(raw)
    for state in ({}, [], None, dict.fromkeys(packed["state"], "odd")):
        with pytest.raises(ModelError):
            made.from_bytes(msgspec.msgpack.encode(packed | {"state": state}))


def test_the_cost_is_stated_and_was_measured(detector: Detector) -> None:
    """Timing is the benchmark's; what is held here is that its result agrees with what is stated."""
    assert 0 < detector.cost_us < 1_000
    assert 0 < detector.max_bytes < 1 << 20
    measured = json.loads(MEASURED.read_text())[detector.name]
    assert measured["us_per_row"] <= 2 * detector.cost_us
    assert measured["max_bytes"] <= detector.max_bytes


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ModelError, match=r"expected one of .*gaussian.*found 'gausian'"):
        make_detector("gausian", {})
