"""The hashes and registers of `distinct`: where one becomes the other, and that the stated error is true."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.labels import Texts
from stream.measures.base import Inputs
from stream.measures.distinct import ERROR, REGISTERS, Distinct, HashSet, estimate

NONE = np.zeros(0, dtype=np.int64)


def sketched(sketch: HashSet, texts: list[str]) -> np.ndarray:
    inputs = Inputs(Texts(pl.Series(texts, dtype=pl.String())), NONE, NONE, NONE)
    return sketch.add(sketch.empty(), sketch.prepare(inputs), np.arange(len(texts)))


def value_of(measure: Distinct, state: np.ndarray, count: int) -> tuple[float, float | None]:
    columns = [np.array([float(count)])]
    (value,), (error,) = measure.value(columns, [state], np.ones(1)), measure.error(columns, [state])
    return float(value), error


@pytest.mark.parametrize("cap", [0, 1, 10, 1_000])
def test_it_is_exact_up_to_the_cap_and_not_one_further(cap: int) -> None:
    measure, sketch = Distinct(cap), HashSet(cap)
    texts = [f"person {number}" for number in range(cap + 1)]
    at_cap, past = sketched(sketch, texts[:cap] * 2), sketched(sketch, texts)
    assert value_of(measure, at_cap, 2 * cap) == (cap, None)
    found, error = value_of(measure, past, cap + 1)
    # More than the cap, no more than events: here both leave one answer.
    assert (found, error) == (cap + 1, ERROR)
    assert sketch.merge(at_cap, sketched(sketch, texts[-1:])).tolist() == past.tolist()


@settings(max_examples=40)
@given(
    one=st.sets(st.integers(0, 60), max_size=40),
    other=st.sets(st.integers(0, 60), max_size=40),
    cap=st.integers(0, 50),
)
def test_the_state_depends_on_the_set_alone(one: set[int], other: set[int], cap: int) -> None:
    sketch = HashSet(cap)
    both = sketched(sketch, [str(number) for number in sorted(one | other)])
    parts = [sketched(sketch, [str(number) for number in part]) for part in (one, other)]
    assert both.dtype == (np.uint64 if len(one | other) <= cap else np.uint8)
    for state in (sketch.merge(*parts), sketch.merge(both, parts[0]), sketch.merge(parts[1], both)):
        assert (state.dtype, state.tolist()) == (both.dtype, both.tolist())


@pytest.mark.parametrize("size", [1_001, 5_000, 20_000, 100_000, 1_000_000])
def test_the_error_is_the_standard_error_at_every_size(size: int) -> None:
    """Over 100 sets: no bias, a spread no wider than stated, and none further off than 4 standard errors."""
    rng = np.random.default_rng(size)
    sketch, off = HashSet(0), []
    for _ in range(100 if size < 1_000_000 else 20):
        hashes = rng.integers(0, 2**64, size, dtype=np.uint64)
        off.append(estimate(sketch.merge(hashes, sketch.empty())) / size - 1)
    assert max(abs(share) for share in off) < 4 * ERROR
    assert abs(np.mean(off)) < 4 * ERROR / math.sqrt(len(off))
    assert np.std(off) < 1.3 * ERROR


def test_a_hundred_thousand_texts_are_within_four_standard_errors() -> None:
    measure, sketch = Distinct(1_000), HashSet(1_000)
    for salt in range(5):
        state = sketched(sketch, [f"{salt}:{number}" for number in range(100_000)])
        found, error = value_of(measure, state, 100_000)
        assert error == ERROR
        assert found == pytest.approx(100_000, rel=4 * error)
        assert found.is_integer()


def test_the_estimate_at_its_ends() -> None:
    assert estimate(np.zeros(REGISTERS, dtype=np.uint8)) == 0
    one = np.zeros(REGISTERS, dtype=np.uint8)
    one[7] = 3
    assert estimate(one) == pytest.approx(1, rel=0.01)
    # Registers that can rise no further: as many as 64 bits can tell apart, or more.
    full = np.full(REGISTERS, 53, dtype=np.uint8)
    assert estimate(full) == math.inf
    full[0] = 52
    assert 1e19 < estimate(full) < math.inf


def test_the_registers_are_those_of_the_paper() -> None:
    """Upper 12 bits: which register; the others: 1 + their leading zeros. By the digits, without any arithmetic."""
    rng = np.random.default_rng(3)
    hashes = np.concatenate(
        [rng.integers(0, 2**64, 2_000, dtype=np.uint64) >> np.uint64(shift) for shift in (0, 12, 30, 60)]
    )
    expected = np.zeros(REGISTERS, dtype=np.uint8)
    for number in [*hashes.tolist(), 0, 2**52 - 1, 2**64 - 1]:
        digits = f"{number:064b}"
        register, rest = int(digits[:12], 2), digits[12:] + "1"
        expected[register] = max(expected[register], rest.index("1") + 1)
    sketch = HashSet(0)
    extra = np.array([0, 2**52 - 1, 2**64 - 1], dtype=np.uint64)
    assert sketch.merge(hashes, extra).tolist() == expected.tolist()


@pytest.mark.parametrize("size", [2.0**40, 2.0**60, 2.0**63, 2.0**65])
def test_the_estimate_holds_far_beyond_what_can_be_added(size: float) -> None:
    """Registers drawn from their distribution, P(register ≤ k) = exp(-size/m · 2^-k); from 2^63 on many are full."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        ranks = np.ceil(-np.log2(-np.log(rng.random(REGISTERS)) * REGISTERS / size))
        assert estimate(np.clip(ranks, 0, 53).astype(np.uint8)) == pytest.approx(size, rel=5 * ERROR)
