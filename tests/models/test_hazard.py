"""Rates lent from the population, and what a silence means beside them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.hazard import MOST_LOGIT, MOST_SURPRISE, NAMES, SCALES, SHAPES, Population, features

Floats = NDArray[np.float64]


def gamma_people(shape: float, scale: float, count: int, seed: int = 1) -> tuple[Floats, Floats]:
    """Visits after the first, and the time until the last of them, of people whose rates are spread so."""
    draw = np.random.default_rng(seed)
    rates = draw.gamma(shape, 1 / scale, count)
    repeats = draw.integers(1, 30, count).astype(np.float64)
    return repeats, draw.gamma(repeats) / rates


@pytest.mark.parametrize(("shape", "scale"), [(1.2, 0.2), (3.0, 0.5), (0.6, 0.1), (8.0, 4.0)])
def test_the_population_is_found(shape: float, scale: float) -> None:
    population = Population()
    for seed in range(20):
        population.observe(*gamma_people(shape, scale, 2_000, seed))
    found_shape, found_scale = population.shape_and_scale
    assert found_shape == pytest.approx(shape, rel=0.35)
    assert found_shape / found_scale == pytest.approx(shape / scale, rel=0.25)


def test_before_anybody_is_known_a_horizon_is_taken_for_a_visit() -> None:
    population = Population()
    assert population.shape_and_scale == (1.0, 1.0)
    population.observe(np.zeros(50), np.zeros(50))
    population.observe(*gamma_people(1, 1, 5))
    assert population.shape_and_scale == (1.0, 1.0)


@pytest.mark.parametrize(("repeats", "span"), [(1.0, 0.0), (1e15, 0.0), (1e15, 1e-9), (1.0, 1e12), (5.0, 1.0)], ids=str)
def test_it_stays_within_bounds_when_all_are_alike(repeats: float, span: float) -> None:
    population = Population()
    population.observe(np.full(100, repeats), np.full(100, span))
    shape, scale = population.shape_and_scale
    assert SHAPES[0] <= shape <= SHAPES[1]
    assert SCALES[0] <= scale <= SCALES[1]


def test_features_are_what_their_names_say() -> None:
    found = features(np.array([9.0]), np.array([4.0]), np.array([0.5]), 1.0, 1.0)[0]
    rate, missed, surprise, rarely, often = dict(zip(NAMES, found, strict=True)).values()
    assert rate == pytest.approx(math.log(10 / 5))
    assert missed == pytest.approx(math.log1p(2 * 0.5))
    assert surprise == pytest.approx(10 * math.log(5.5 / 5))
    by_chance = (5.5 / 6.5) ** 10
    gone = 0.03 / (0.03 + 0.97 * math.exp(-surprise))
    both = gone + (1 - gone) * by_chance
    assert rarely == pytest.approx(math.log(both / (1 - both)))
    assert often > rarely


def test_silence_makes_all_of_them_grow_but_the_rate() -> None:
    silence = np.linspace(0, 3, 20)
    found = features(np.full(20, 5.0), np.full(20, 2.0), silence, 1.0, 1.0)
    assert np.ptp(found[:, 0]) == 0
    assert (np.diff(found[:, 1:], axis=0) > 0).all()


def test_extremes_are_finite() -> None:
    repeats, span, silence = (each.ravel() for each in np.meshgrid(*[[0.0, 1.0, 1e6, 1e18]] * 3))
    for shape, scale in ((SHAPES[0], SCALES[1]), (SHAPES[1], SCALES[0])):
        found = features(repeats, span, silence, shape, scale)
        assert np.isfinite(found).all()
        assert found[:, 2].max() <= MOST_SURPRISE
        assert np.abs(found[:, 3:]).max() <= MOST_LOGIT + 1e-9
