"""The churn model: what it must find, what it must say of itself, and that it is one thing however it is stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.base import ModelError
from models.calibration import log_loss
from models.churn import STORED, WORDS, ChurnModel, PersonDays
from models.quality import DAY_MS
from tests.models.people import Day, Days, live, people

Floats = NDArray[np.float64]
HORIZON_DAYS = 7
INPUTS = 30
"""As many as the bytes are promised for."""


@pytest.fixture(scope="module")
def days() -> Days:
    return people(seed=1, count=400, days=90, horizon_days=HORIZON_DAYS)


def model() -> ChurnModel:
    return ChurnModel(["depth", "noise"], horizon_ms=HORIZON_DAYS * DAY_MS, active_ms=14 * DAY_MS)


def test_it_is_better_than_recency_and_says_so(days: Days) -> None:
    found = model()
    live(found, days)
    quality = found.quality
    assert found.proven
    assert quality.model.auc > quality.recency.auc + 0.03
    assert quality.model.log_loss < quality.recency.log_loss < quality.constant.log_loss
    assert quality.ece < 0.05
    assert found.feature_names == (*WORDS, "depth", "noise")


def test_contributions_add_up_to_the_logit(days: Days) -> None:
    found = model()
    live(found, days)
    prepared = found.prepare(days[-1].people)
    scores = found.score(prepared)
    assert scores.stored.shape == (len(scores.logit), len(STORED))
    for features, logit in zip(prepared.features[:50], scores.logit[:50], strict=True):
        explained = found.explain(features)
        assert explained.logit == pytest.approx(logit, abs=1e-12)
        added = explained.intercept + explained.rest + sum(factor.contribution for factor in explained.factors)
        assert added == pytest.approx(explained.logit, abs=1e-12)
        sizes = [abs(factor.contribution) for factor in explained.factors]
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) == 5


def test_it_goes_on_as_if_it_had_not_been_stored(days: Days) -> None:
    kept = live(model(), days)
    stored = live(model(), days, stored_every=3)
    assert all(np.array_equal(one, other) for one, other in zip(kept, stored, strict=True))


def test_bytes_of_something_else_are_refused() -> None:
    raw = model().to_bytes()
    with pytest.raises(ModelError):
        ChurnModel.from_bytes(raw[:-1])
    with pytest.raises(ModelError):
        ChurnModel.from_bytes(raw.replace(b"churn", b"chirn"))


def test_shapes_that_do_not_fit_are_refused(days: Days) -> None:
    day = days[0].people
    with pytest.raises(ModelError, match=r"inputs: expected \(\d+, 2\)"):
        model().prepare(PersonDays(day.as_of_ms, day.first_ms, day.last_ms, day.events, day.days, day.inputs[:, :1]))


def test_its_state_is_small_and_bounded(days: Days) -> None:
    wide = ChurnModel([f"input_{at}" for at in range(INPUTS)], horizon_ms=7 * DAY_MS, active_ms=14 * DAY_MS)
    again = [
        Day(replace(shown, as_of_ms=shown.as_of_ms + turn * 90 * DAY_MS), churned)
        for turn in range(2)
        for shown, churned in (widened(day, INPUTS) for day in days)
    ]
    live(wide, again)
    assert wide.trained > 10_000
    assert len(wide.to_bytes()) <= 10_000


def widened(day: Day, inputs: int) -> Day:
    shown, churned = day
    return Day(replace(shown, inputs=np.resize(shown.inputs, (len(shown.inputs), inputs))), churned)


def rows(as_of_day: int, count: int, inputs: Floats, seed: int = 0) -> PersonDays:
    """People who differ in their inputs alone, up to noise."""
    draw = np.random.default_rng([seed, as_of_day])
    now = as_of_day * DAY_MS
    first = now - draw.integers(20 * DAY_MS, 40 * DAY_MS, count)
    last = now - draw.integers(0, 14 * DAY_MS, count)
    events = draw.integers(2, 40, count)
    return PersonDays(now, first, last, events, np.minimum(events, 20), inputs)


def turning(count: int, turn_day: int, seed: int = 0) -> Days:
    """What speaks for leaving speaks against it from a day on."""
    draw = np.random.default_rng(seed)
    found = []
    for day in range(1, count):
        inputs = draw.normal(size=(150, 2))
        sign = 1 if day < turn_day else -1
        churned = draw.random(150) < 1 / (1 + np.exp(-2 * sign * inputs[:, 0]))
        found.append(Day(rows(day, 150, inputs, seed), churned))
    return found


def test_a_drift_is_noticed_and_the_challenger_that_begins_anew_takes_over() -> None:
    found, turn = model(), 80
    shown = turning(200, turn)
    live(found, shown[: turn - 1 + HORIZON_DAYS])
    assert found.proven
    assert (found.drifts, found.version, found.swapped_ms) == (0, 1, None)
    said = live(found, shown[turn - 1 + HORIZON_DAYS :])
    assert found.drifted_ms is not None
    assert (turn + HORIZON_DAYS) * DAY_MS <= found.drifted_ms <= (turn + HORIZON_DAYS + 21) * DAY_MS
    assert found.version > 1
    assert found.swapped_ms is not None
    assert found.swapped_ms > found.drifted_ms
    ends = shown[-20:]
    assert np.mean([log_loss(p, day.churned).mean() for p, day in zip(said[-20:], ends, strict=True)]) < 0.5


def test_without_a_drift_nothing_is_begun_anew() -> None:
    found = model()
    live(found, turning(200, 10_000, seed=3))
    assert found.drifts == 0
    assert found.quality.ece < 0.03


@pytest.mark.parametrize("seed", [2, 3])
def test_people_who_repeat_day_by_day_are_no_drift(seed: int) -> None:
    found = model()
    live(found, people(seed=seed, count=250, days=150, horizon_days=HORIZON_DAYS))
    assert found.drifts == 0


def test_the_order_of_rows_hardly_matters(days: Days) -> None:
    """Rows that are sorted by what they say must not drag the model after whatever comes last."""
    plain, ordered = model(), model()
    live(plain, days)
    live(ordered, [taken(day, np.lexsort((day.people.last_ms, day.churned))) for day in days])
    assert ordered.quality.model.log_loss == pytest.approx(plain.quality.model.log_loss, abs=0.01)
    assert ordered.quality.ece < 0.05


def taken(day: Day, order: NDArray[np.intp]) -> Day:
    shown = day.people
    columns = [each[order] for each in (shown.first_ms, shown.last_ms, shown.events, shown.days, shown.inputs)]
    return Day(PersonDays(shown.as_of_ms, *columns), day.churned[order])


def test_logs_of_inputs_are_learned_where_told(days: Days) -> None:
    day = rows(50, 4, np.array([[0.0, 3.0], [7.0, -2.0], [-5.0, np.nan], [np.inf, 1.0]]))
    logging = ChurnModel(["spent", "trend"], horizon_ms=7 * DAY_MS, active_ms=14 * DAY_MS, logs=["spent"])
    inputs = logging.prepare(day).features[:, len(WORDS) :]
    expected = [[0, 3], [math.log(8), -2], [0, np.nan], [np.nan, 1]]
    np.testing.assert_allclose(inputs, np.array(expected), rtol=1e-6)


def test_scoring_changes_nothing(days: Days) -> None:
    found = model()
    live(found, days[:40])
    prepared = found.prepare(days[40].people)
    before = found.to_bytes()
    one, other = found.score(prepared), found.score(prepared)
    np.testing.assert_array_equal(one.probability, other.probability)
    found.explain(prepared.features[0])
    assert found.quality.labels > 0
    assert found.to_bytes() == before


def test_only_what_was_said_then_counts(days: Days) -> None:
    """The model as it is when the labels come would know better."""
    found = model()
    live(found, days[:60])
    prepared = found.prepare(days[60].people)
    stored = found.score(prepared).stored
    churned = days[60].churned
    worse = stored.copy()
    worse[:, STORED.index("probability")] = np.where(churned, 0.01, 0.99)
    again = ChurnModel.from_bytes(found.to_bytes())
    now_ms = prepared.as_of_ms + HORIZON_DAYS * DAY_MS
    found.learn(prepared, stored, churned, now_ms)
    again.learn(prepared, worse, churned, now_ms)
    assert again.quality.model.log_loss > found.quality.model.log_loss
    np.testing.assert_array_equal(found.score(prepared).probability, again.score(prepared).probability)


BAD: dict[str, Callable[[Day, int], Day]] = {
    "nobody returns": lambda day, _: Day(day.people, np.ones_like(day.churned)),
    "everybody returns": lambda day, _: Day(day.people, np.zeros_like(day.churned)),
    "three people": lambda day, _: taken(day, np.arange(min(3, len(day.churned)))),
    "nobody": lambda day, _: taken(day, np.arange(0)),
    "nothing known": lambda day, _: with_inputs(day, np.full_like(day.people.inputs, np.nan)),
    "constant": lambda day, _: with_inputs(day, np.full_like(day.people.inputs, 7.1)),
    "infinite": lambda day, _: with_inputs(day, np.where(day.people.inputs > 0, np.inf, -np.inf)),
    "extreme": lambda day, _: with_inputs(day, day.people.inputs * 1e307),
    "tiny": lambda day, _: with_inputs(day, day.people.inputs * 1e-300),
    "turns unknown": lambda day, at: with_inputs(day, day.people.inputs if at < 40 else day.people.inputs * np.nan),
    "appears late": lambda day, at: with_inputs(day, day.people.inputs if at > 40 else day.people.inputs * np.nan),
    "times of nonsense": lambda day, _: Day(
        replace(day.people, first_ms=day.people.last_ms + 5, last_ms=day.people.last_ms + 90 * DAY_MS), day.churned
    ),
    "counts of nonsense": lambda day, _: Day(
        replace(day.people, events=day.people.events * 0 - 7, days=day.people.days * 0 + 2**60), day.churned
    ),
}


def with_inputs(day: Day, inputs: Floats) -> Day:
    return Day(replace(day.people, inputs=inputs), day.churned)


@pytest.mark.parametrize("case", BAD)
def test_nothing_makes_it_fail(days: Days, case: str) -> None:
    found = model()
    shown = [BAD[case](day, at) for at, day in enumerate(days)]
    for said in live(found, shown):
        assert ((said > 0) & (said < 1)).all()
    prepared = found.prepare(shown[-1].people)
    scores = found.score(prepared)
    assert np.isfinite(scores.logit).all()
    assert ((scores.confidence >= 0) & (scores.confidence <= 1)).all()
    for features in prepared.features[:5]:
        assert math.isfinite(found.explain(features).logit)
    if case in ("nobody returns", "everybody returns", "three people", "nobody"):
        assert not found.proven
        assert not scores.proven
    assert len(ChurnModel.from_bytes(found.to_bytes()).to_bytes()) == len(found.to_bytes())


def test_before_any_label_a_score_is_a_half_and_unproven(days: Days) -> None:
    found = ChurnModel(["depth", "noise"], horizon_ms=400 * DAY_MS, active_ms=400 * DAY_MS)
    assert all((said == 0.5).all() for said in live(found, days))
    assert not found.proven
    assert math.isnan(found.quality.model.auc)
    assert found.trained == 0


def test_an_input_that_turns_unknown_costs_no_more_than_never_having_had_it(days: Days) -> None:
    without = live(model(), [with_inputs(day, day.people.inputs * np.nan) for day in days])
    turned = live(model(), [BAD["turns unknown"](day, at) for at, day in enumerate(days)])

    def loss(said: list[Floats]) -> float:
        late = zip(said[60:], days[60:], strict=True)
        return float(np.mean([log_loss(p, day.churned).mean() for p, day in late]))

    assert loss(turned) < loss(without) + 0.02


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"names": ["a", "a"]}, "names: expected each once"),
        ({"names": ["recency"]}, "names: expected each once and none of events_rate"),
        ({"logs": ["b"]}, "logs: expected some of a, found b"),
        ({"horizon_ms": 0}, "horizon_ms: expected 1 to active_ms"),
        ({"horizon_ms": 2 * DAY_MS}, "horizon_ms: expected 1 to active_ms"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        ChurnModel(**{"names": ["a"], "horizon_ms": DAY_MS, "active_ms": DAY_MS, **options})
