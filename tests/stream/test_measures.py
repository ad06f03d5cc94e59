"""One suite for every measure: whoever adds one to the registry is tested here, and adds a line to `BY_HAND`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.arrays import Floats
from stream.measures.base import COUNT, Measure
from stream.measures.registry import MEASURES

BY_HAND: Mapping[str, Callable[[list[float]], float]] = {
    "count": len,
    "sum": math.fsum,
    "mean": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
}

every = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
# Whole numbers add up exactly in any order, so equality below may be strict.
values_ = st.lists(st.integers(-(2**40), 2**40).map(float), min_size=1, max_size=30)


def neutral(measure: Measure, groups: int = 1) -> list[Floats]:
    return [np.full(groups, column.reduce.neutral) for column in measure.columns]


def accumulated(measure: Measure, values: list[float]) -> list[Floats]:
    """One group's columns, as a shard makes them of a batch."""
    array, group = np.array(values), np.zeros(len(values), dtype=np.int64)
    return [
        column.reduce.by_group(np.ones(len(values)) if column.ones else array, group, 1) for column in measure.columns
    ]


def merged(measure: Measure, one: list[Floats], other: list[Floats]) -> list[Floats]:
    return [column.reduce.ufunc(a, b) for column, a, b in zip(measure.columns, one, other, strict=True)]


def same(one: list[Floats], other: list[Floats]) -> bool:
    return all(a.tolist() == b.tolist() for a, b in zip(one, other, strict=True))


def test_every_measure_is_worked_out_by_hand_too() -> None:
    assert BY_HAND.keys() == MEASURES.keys()


@every
def test_a_measure_describes_itself(measure: Measure) -> None:
    assert MEASURES[measure.name] is measure
    assert re.fullmatch("[a-z][a-z0-9_]*", measure.name)
    assert measure.columns[0] is COUNT
    names = [column.name for column in measure.columns]
    assert len(set(names)) == len(names)
    assert measure.needs_value == any(not column.ones for column in measure.columns)


@every
@settings(deadline=None, max_examples=40)
@given(values=values_)
def test_the_value_is_what_it_says(measure: Measure, values: list[float]) -> None:
    (found,) = measure.value(accumulated(measure, values)).tolist()
    assert found == pytest.approx(BY_HAND[measure.name](values), rel=1e-12)
    assert accumulated(measure, values)[0].tolist() == [len(values)]


@every
@settings(deadline=None, max_examples=40)
@given(a=values_, b=values_, c=values_)
def test_merging_is_associative_and_commutative_with_a_neutral_start(
    measure: Measure, a: list[float], b: list[float], c: list[float]
) -> None:
    x, y, z = (accumulated(measure, values) for values in (a, b, c))
    assert same(merged(measure, x, y), merged(measure, y, x))
    assert same(merged(measure, merged(measure, x, y), z), merged(measure, x, merged(measure, y, z)))
    assert same(merged(measure, neutral(measure), x), x)
    assert same(merged(measure, x, neutral(measure)), x)


@every
@settings(deadline=None, max_examples=40)
@given(values=values_, data=st.data())
def test_any_order_and_any_split_give_the_same_value(
    measure: Measure, values: list[float], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(values))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=5)))
    state = neutral(measure)
    for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        state = merged(measure, state, accumulated(measure, shuffled[start:end]))
    whole = accumulated(measure, values)
    assert same(state, whole)
    assert measure.value(state).tolist() == measure.value(whole).tolist()


@every
@settings(deadline=None, max_examples=40)
@given(events=st.lists(st.tuples(st.integers(0, 4), st.integers(-99, 99).map(float)), max_size=40))
def test_groups_do_not_touch_each_other(measure: Measure, events: list[tuple[int, float]]) -> None:
    group = np.array([number for number, _ in events], dtype=np.int64)
    array = np.array([value for _, value in events], dtype=np.float64)
    columns = [
        column.reduce.by_group(np.ones(len(events)) if column.ones else array, group, 5) for column in measure.columns
    ]
    for number in range(5):
        own = [value for of, value in events if of == number]
        expected = accumulated(measure, own) if own else neutral(measure)
        assert [column[number] for column in columns] == [column[0] for column in expected]
