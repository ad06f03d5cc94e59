"""The histogram of `quantile`: how far its error reaches, and that it is DDSketch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.records import Value
from stream.arrays import Floats
from stream.measures.base import Inputs
from stream.measures.quantile import BUCKETS, ERROR, LEAST, MOST, LogBuckets, Quantile, quantile_name

NONE = np.zeros(0, dtype=np.int64)


def of(values: Floats, *quantiles: float) -> tuple[Value, float | None]:
    measure = Quantile(quantiles)
    state = measure.sketch.add(
        measure.sketch.empty(), measure.sketch.prepare(Inputs(values, NONE, NONE, NONE)), np.arange(len(values))
    )
    columns = [np.array([float(len(values))]), values.min(keepdims=True), values.max(keepdims=True)]
    (value,), (error,) = measure.value(columns, [state], np.ones(1)), measure.error(columns, [state])
    return value, error


def lower(values: Floats, quantile: float) -> float:
    return float(np.sort(values)[math.floor(quantile * (len(values) - 1))])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.pareto(0.5, n),
        lambda rng, n: rng.lognormal(0, 5, n),
        lambda rng, n: rng.standard_cauchy(n),
        lambda rng, n: rng.standard_cauchy(n) * (rng.random(n) < 0.5),
        lambda rng, n: rng.integers(-3, 3, n).astype(np.float64),
        lambda rng, n: rng.normal(1e6, 1, n),
    ],
    ids=["pareto", "lognormal", "cauchy", "zeros", "whole", "narrow"],
)
def test_the_error_is_a_bound(draw: object, seed: int) -> None:
    assert callable(draw)
    rng = np.random.default_rng(seed)
    for size in (1, 2, 3, 100, 20_000):
        values = draw(rng, size)
        quantiles = [0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0]
        found, error = of(values, *quantiles)
        assert error == ERROR
        assert isinstance(found, dict)
        for quantile in quantiles:
            answer, true = found[quantile_name(quantile)], lower(values, quantile)
            assert abs(answer - true) <= ERROR * abs(true) * (1 + 1e-9)
            assert values.min() <= answer <= values.max()
        assert list(found.values()) == sorted(found.values())


@settings(max_examples=100)
@given(st.floats(LEAST, MOST), st.sampled_from([-1, 1]))
def test_every_bucket_answers_within_the_error(size: float, sign: int) -> None:
    """Between a smaller and a larger one, so that neither the least nor the greatest value gives it away."""
    values = np.array([-MOST, sign * size, MOST])
    found, _ = of(values, 0.5)
    assert isinstance(found, dict)
    assert found["p50"] == pytest.approx(sign * size, rel=ERROR + 1e-9, abs=0)


def test_the_limits_are_as_stated() -> None:
    assert of(np.array([-1.0, LEAST / 2, 1.0]), 0.5) == ({"p50": 0.0}, ERROR)
    assert of(np.array([-1.0, -LEAST / 2, 1.0]), 0.5) == ({"p50": 0.0}, ERROR)
    assert of(np.array([-1.0, -0.0, 1.0]), 0.5) == ({"p50": 0.0}, ERROR)
    found, error = of(np.array([1.0, MOST * 1e9, MOST * 1e10]), 0.5)
    assert found == {"p50": pytest.approx(MOST, rel=2 * ERROR)}
    assert error == 1.0
    assert of(np.array([-MOST * 1e9, 0.0]), 0.0) == ({"p0": -MOST * 1e9}, 1.0)


def test_outermost_ranks_and_constant_values_are_exact() -> None:
    assert of(np.array([17.3]), 0.5, 0.99)[0] == {"p50": 17.3, "p99": 17.3}
    assert of(np.full(1000, -17.3), 0.5)[0] == {"p50": -17.3}
    assert of(np.array([3.1, 5.7, 1e9]), 0.0, 1.0)[0] == {"p0": 3.1, "p100": 1e9}


def test_each_quantile_has_its_name() -> None:
    names = {0.0: "p0", 0.5: "p50", 0.29: "p29", 0.99: "p99", 0.999: "p99.9", 0.99999: "p99.999", 1.0: "p100"}
    assert {quantile: quantile_name(quantile) for quantile in names} == names


def test_counts_beyond_any_float_of_32_bits_add_up() -> None:
    sketch = LogBuckets()
    state = sketch.prepare(Inputs(np.array([-5.0, 0.0, 5.0]), NONE, NONE, NONE))
    for _ in range(40):
        state = sketch.merge(state, state)
    measure = Quantile((0.2, 0.5, 0.9))
    columns = [np.array([3.0 * 2**40]), np.array([-5.0]), np.array([5.0])]
    (found,) = measure.value(columns, [state], np.ones(1))
    assert isinstance(found, dict)
    assert list(found.values()) == pytest.approx([-5, 0, 5], rel=ERROR)
    assert len(state) == 3


def test_it_cannot_have_more_cells_than_buckets() -> None:
    sketch = LogBuckets()
    sizes = np.geomspace(LEAST / 10, MOST * 10, 100_000)
    cells = sketch.prepare(Inputs(np.concatenate((sizes, -sizes, [0.0])), NONE, NONE, NONE))
    state = sketch.add(sketch.empty(), cells, np.arange(len(cells)))
    assert len(state) == 2 * BUCKETS + 1
    assert len(sketch.to_bytes(state)) < 60_000
