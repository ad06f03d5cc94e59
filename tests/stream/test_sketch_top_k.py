"""The counts of `top_k` once there are more texts than it keeps."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.labels import MAX_TEXT, Texts
from stream.labels import MAX_TEXT as MAX_DIMENSION
from stream.measures.base import Inputs
from stream.measures.top_k import Tallies, Tally, TopK

CAPACITY = 8
NONE = np.zeros(0, dtype=np.int64)
# Small letters are frequent, so that some survive.
texts_ = st.lists(st.one_of(st.sampled_from("abc"), st.sampled_from("abcdefghijklmnopqrstuvwxyz")), max_size=80)


def tallied(sketch: Tallies, texts: list[str]) -> Tally:
    prepared = sketch.prepare(Inputs(Texts(pl.Series(texts, dtype=pl.String())), NONE, NONE, NONE))
    return sketch.add(sketch.empty(), prepared, np.arange(len(texts)))


def assert_bounded(state: Tally, texts: list[str]) -> None:
    """What Misra and Gries promise: never too many, too few by no more than said, and that is little."""
    under, counts = state
    true = Counter(texts)
    assert len(counts) <= CAPACITY
    assert counts.keys() <= true.keys()
    assert all(true[text] - under <= counts.get(text, 0) <= true[text] for text in true)
    assert under * (CAPACITY // 2 + 1) <= len(texts) - sum(counts.values())
    assert (under == 0) == (len(true) <= CAPACITY)


@settings(max_examples=150)
@given(parts=st.lists(texts_, min_size=1, max_size=6), data=st.data())
def test_the_bound_holds_in_any_tree_of_merges(parts: list[list[str]], data: st.DataObject) -> None:
    sketch = Tallies(CAPACITY)
    states = [(tallied(sketch, part), part) for part in parts]
    for state, texts in states:
        assert_bounded(state, texts)
    while len(states) > 1:
        (one, a), (other, b) = (states.pop(data.draw(st.integers(0, len(states) - 1))) for _ in range(2))
        forth, back = sketch.merge(one, other), sketch.merge(other, one)
        assert forth == back
        assert_bounded(forth, a + b)
        states.append((forth, a + b))


@settings(max_examples=50)
@given(texts=texts_.filter(bool))
def test_one_by_one_the_bound_holds_too(texts: list[str]) -> None:
    sketch = Tallies(CAPACITY)
    state = sketch.empty()
    for text in texts:
        state = sketch.merge(state, tallied(sketch, [text]))
    assert_bounded(state, texts)
    measure = TopK(3, CAPACITY)
    count = [np.array([float(len(texts))])]
    (found,), (error,) = measure.value(count, [state], np.ones(1)), measure.error(count, [state])
    assert isinstance(found, dict)
    assert error == (state[0] / len(texts) or None)
    true = Counter(texts)
    assert all(abs(true[text] - number) <= (error or 0) * len(texts) + 1e-9 for text, number in found.items())
    # Whoever must be among the k is: more than the error ahead of all but k - 1 others.
    ranked = [number for _, number in true.most_common()]
    bar = (ranked[3] if len(ranked) > 3 else 0) + state[0]
    assert {text for text, number in true.items() if number > bar} <= found.keys()


@pytest.mark.parametrize("few", [5, 5_000])
def test_few_and_many_events_are_counted_alike(few: int) -> None:
    rng = np.random.default_rng(few)
    texts = [str(number) for number in rng.zipf(2.0, few).tolist()]
    assert tallied(Tallies(10_000), texts) == (0, dict(Counter(texts)))


def test_the_greatest_come_first_then_by_text() -> None:
    measure = TopK(3)
    state = tallied(Tallies(1_000), list("ddbbaac") + ["z"] * 5)
    (found,) = measure.value([np.array([12.0])], [state], np.ones(1))
    assert isinstance(found, dict)
    assert list(found.items()) == [("z", 5), ("a", 2), ("b", 2)]


def test_long_texts_are_cut_as_dimensions_are() -> None:
    assert MAX_TEXT == MAX_DIMENSION
    long = "ä" * (MAX_TEXT + 1)
    assert tallied(Tallies(10), [long, long[:-1], long + "b"]) == (0, {"ä" * MAX_TEXT: 3})


def test_the_capacity_grows_with_k() -> None:
    for k, capacity in ((10, 1_000), (40, 2_000)):
        measure = TopK(k)
        kept = tallied_by(measure, [str(number) for number in range(capacity)])
        assert kept[0] == 0
        over = tallied_by(measure, [str(number) for number in range(capacity + 1)])
        assert over[0] > 0


def tallied_by(measure: TopK, texts: list[str]) -> Tally:
    assert isinstance(measure.sketch, Tallies)
    return tallied(measure.sketch, texts)
