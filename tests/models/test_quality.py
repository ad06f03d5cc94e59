"""Counting how good probabilities are: beside the exact figures over all rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.calibration import BINS, Platt, Reliability, log_loss, sigmoid
from models.quality import DAY_MS, HALF_LIFE_DAYS, SILENCES, Baselines, Prequential, Ranking

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]


def exact_auc(ranks: Floats, truth: Truths, weights: Floats | None = None) -> float:
    """The share of pairs in the right order, ties as halves."""
    weights = np.ones(len(ranks)) if weights is None else weights
    _, at = np.unique(ranks, return_inverse=True)
    negatives = np.bincount(at, weights * ~truth)
    positives = np.bincount(at, weights * truth)
    return float((positives * (np.cumsum(negatives) - negatives / 2)).sum() / (positives.sum() * negatives.sum()))


def said(seed: int, rows: int, level: float, spread: float) -> tuple[Floats, Truths]:
    draw = np.random.default_rng(seed)
    probability = sigmoid(draw.normal(level, spread, rows))
    return probability, draw.random(rows) < probability


@pytest.mark.parametrize(("level", "spread"), [(0, 1.5), (-4, 1), (-6, 2), (3, 0.5), (0, 4), (-0.4, 0.2)])
def test_auc_agrees_with_the_exact_one(level: float, spread: float) -> None:
    probability, truth = said(1, 60_000, level, spread)
    counted = Prequential()
    silence = np.random.default_rng(2).beta(1 + truth, 3.0)
    for at in range(0, 60_000, 1_000):
        rows = slice(at, at + 1_000)
        base = np.full(1_000, 0.5)
        counted.learn(probability[rows], base, base, silence[rows], truth[rows], 5)
    quality = counted.quality(proven=False)
    assert quality.model.auc == pytest.approx(exact_auc(probability, truth), abs=1e-3)
    assert quality.recency.auc == pytest.approx(exact_auc(silence, truth), abs=1e-3)
    assert quality.model.log_loss == pytest.approx(log_loss(probability, truth).mean(), rel=1e-9)
    assert quality.constant.log_loss == pytest.approx(math.log(2))
    assert quality.labels == 60_000
    assert quality.base_rate == pytest.approx(truth.mean())


def test_rows_fade_with_their_half_life() -> None:
    (old, true_then), (new, true_now) = said(3, 5_000, 0, 0.3), said(4, 5_000, 0, 3)
    counted, base = Prequential(), np.full(5_000, 0.5)
    counted.learn(old, base, base, old, true_then, DAY_MS)
    counted.learn(new, base, base, new, true_now, DAY_MS + round(HALF_LIFE_DAYS * DAY_MS))
    weights = np.repeat([0.5, 1.0], 5_000)
    probability, truth = np.concatenate([old, new]), np.concatenate([true_then, true_now])
    quality = counted.quality(proven=True)
    assert quality.labels == pytest.approx(7_500)
    assert quality.model.auc == pytest.approx(exact_auc(probability, truth, weights), abs=1e-3)
    assert quality.model.log_loss == pytest.approx(np.average(log_loss(probability, truth), weights=weights))


def test_reliability_is_counted_by_tenths() -> None:
    probability, truth = said(5, 20_000, 0, 1.5)
    wrong = sigmoid(2.5 * np.log(probability / (1 - probability)))
    reliability = Reliability()
    reliability.learn(wrong, truth, 1.0)
    errors = []
    for tenth, found in enumerate(reliability.table):
        there = (wrong >= tenth / BINS) & (wrong < (tenth + 1) / BINS)
        assert found.rows == there.sum()
        assert found.said == pytest.approx(wrong[there].mean())
        assert found.came_true == pytest.approx(truth[there].mean())
        errors.append(there.mean() * abs(wrong[there].mean() - truth[there].mean()))
    assert reliability.ece == pytest.approx(sum(errors))
    assert reliability.ece > 0.05


def test_a_certainty_is_in_the_last_tenth() -> None:
    reliability = Reliability()
    reliability.learn(np.array([0.0, 1.0]), np.array([False, True]), 1.0)
    assert [found.rows for found in reliability.table] == [1, *[0] * 8, 1]


def test_of_nothing_nothing_is_said() -> None:
    quality = Prequential().quality(proven=False)
    assert quality.labels == 0
    figures = [
        quality.base_rate,
        quality.ece,
        *[each for of in (quality.model, quality.recency) for each in (of.auc, of.log_loss)],
    ]
    assert all(math.isnan(each) for each in figures)
    one = Ranking()
    one.learn(np.array([0.3, 0.9]), np.array([True, True]), 1.0)
    assert math.isnan(one.auc)


def test_platt_undoes_a_wrong_slope_and_offset() -> None:
    platt = Platt()
    draw = np.random.default_rng(6)
    for _ in range(120):
        logit = draw.normal(0, 1.5, 400)
        platt.learn(2 * logit + 1, draw.random(400) < sigmoid(logit), weight=1.0)
    assert platt.slope == pytest.approx(0.5, abs=0.05)
    assert platt.offset == pytest.approx(-0.5, abs=0.08)
    again = Platt.from_state(platt.to_state())
    assert (again.slope, again.offset) == (platt.slope, platt.offset)


@pytest.mark.parametrize("truth", [True, False])
def test_platt_is_bounded_where_there_is_one_kind_only(truth: bool) -> None:
    platt = Platt()
    for _ in range(500):
        platt.learn(np.linspace(-100, 100, 50), np.full(50, truth), weight=1.0)
    assert np.isfinite(platt(np.array([-100.0, 100.0]))).all()
    assert platt.slope > 0


def test_few_rows_are_corrected_little() -> None:
    platt = Platt()
    platt.learn(np.array([2.0, 1.0, 3.0]), np.array([False, False, False]), weight=1 / 14)
    assert abs(platt.slope - 1) < 0.05
    assert abs(platt.offset) < 0.05


def test_confidence_is_that_of_wilsons_interval() -> None:
    reliability = Reliability()
    probability = np.full(1_400, 0.25)
    assert reliability.confidence(probability[:1], 14.0)[0] == 0
    reliability.learn(probability, np.arange(1_400) % 4 == 0, 1.0)
    # Of 25 in 100, Wilson's interval is 0.1755 to 0.3430.
    assert reliability.confidence(probability[:1], 14.0)[0] == pytest.approx(1 - (0.3430 - 0.1755), abs=2e-4)
    assert reliability.confidence(probability[:1], 1.0)[0] > 0.95
    assert reliability.confidence(np.array([0.95]), 14.0)[0] == 0


def test_baselines_are_the_shares_there_have_been() -> None:
    baselines = Baselines()
    silence = np.array([0.0, 0.5, 1.0])
    alike, base = baselines.say(silence)
    assert alike.tolist() == [0.5, 0.5, 0.5]
    assert base == 0.5
    draw = np.random.default_rng(7)
    for _ in range(60):
        silent = draw.random(500)
        baselines.learn(silent, draw.random(500) < silent)
    found, base = baselines.say(np.array([0.1, 0.5, 0.95]))
    assert found == pytest.approx([0.1, 0.5, 0.95], abs=0.07)
    assert base == pytest.approx(0.5, abs=0.02)
    again = Baselines.from_state(baselines.to_state())
    np.testing.assert_array_equal(
        again.say(np.linspace(0, 1, SILENCES))[0], baselines.say(np.linspace(0, 1, SILENCES))[0]
    )
