"""One suite for every measure: whoever adds one to the registry is tested here, and adds a line to `BY_HAND`."""

from __future__ import annotations

import math
import pickle
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as fields_of
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.records import Value
from stream.arrays import Floats
from stream.labels import Texts
from stream.measures.base import COUNT, Inputs, Measure, Options, Takes
from stream.measures.registry import MEASURES, make

SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Event:
    value: float
    text: str
    time_ms: int = 0
    entry_ms: int = 0
    entry_no: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A measure as one metric has it, and how it is worked out by hand."""

    measure: Measure
    by_hand: Callable[[list[Event]], Any]
    slack: float = 1.0
    """By how many of its stated errors a value may be off."""

    @property
    def has_value(self) -> bool:
        return any(not column.ones for column in self.measure.columns)


@dataclass(frozen=True, slots=True)
class Partial:
    """One row, as a shard keeps it."""

    columns: list[Floats]
    state: Any


def moment(event: Event) -> tuple[int, int, int]:
    return event.time_ms, event.entry_ms, event.entry_no


def by_rank(quantiles: Sequence[float]) -> Callable[[list[Event]], dict[str, float]]:
    def worked_out(events: list[Event]) -> dict[str, float]:
        ordered = sorted(event.value for event in events)
        return {f"p{100 * q:g}": ordered[math.floor(q * (len(ordered) - 1))] for q in quantiles}

    return worked_out


def most(k: int) -> Callable[[list[Event]], dict[str, int]]:
    def worked_out(events: list[Event]) -> dict[str, int]:
        counts = Counter(event.text[:256] for event in events)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:k])

    return worked_out


DEFAULTS = Options()
FEW = Options(quantiles=(0.0, 0.25, 0.999, 1.0), k=2, exact_up_to=4)

BY_HAND: Mapping[str, Callable[[Options, bool], Callable[[list[Event]], Any]]] = {
    "count": lambda options, has_value: len,
    "sum": lambda options, has_value: lambda events: math.fsum(event.value for event in events),
    "mean": lambda options, has_value: lambda events: math.fsum(event.value for event in events) / len(events),
    "min": lambda options, has_value: lambda events: min(event.value for event in events),
    "max": lambda options, has_value: lambda events: max(event.value for event in events),
    "rate": lambda options, has_value: (
        lambda events: (math.fsum(event.value for event in events) if has_value else len(events)) / SECONDS
    ),
    "first": lambda options, has_value: lambda events: min(events, key=lambda e: (*moment(e), -e.value)).value,
    "last": lambda options, has_value: lambda events: max(events, key=lambda e: (*moment(e), e.value)).value,
    "quantile": lambda options, has_value: by_rank(options.quantiles),
    "distinct": lambda options, has_value: lambda events: len({event.text for event in events}),
    "top_k": lambda options, has_value: most(options.k),
}
# `error` of distinct is a standard error, all others are bounds.
SLACK = {"distinct": 4.0}
STATE_BYTES = {"first": 32, "last": 32, "quantile": 59_000, "distinct": 8_001, "top_k": 1_000 * (4 * 256 + 8)}


def cases() -> dict[str, Case]:
    """Every measure with its default options, with small ones where it reads any, with and without a value."""
    result = {}
    for name in MEASURES:
        for options, word in ((DEFAULTS, ""), (FEW, " of few")):
            takes = make(name, options, has_value=True).takes
            for has_value in (False, True) if takes is Takes.NUMBER_OR_NOTHING else (takes is not Takes.NOTHING,):
                measure = make(name, options, has_value=has_value)
                if options is DEFAULTS or measure.options:
                    by = " by value" if takes is Takes.NUMBER_OR_NOTHING and has_value else ""
                    by_hand = BY_HAND[name](options, has_value)
                    result[f"{name}{word}{by}"] = Case(measure, by_hand, SLACK.get(name, 1.0))
    return result


CASES = cases()
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
sketched = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.measure.sketch],
    ids=[name for name, case in CASES.items() if case.measure.sketch],
)

# Whole numbers add up exactly in any order, so equality below may be strict. Moments and texts are few enough to meet.
events_ = st.lists(
    st.builds(
        Event,
        value=st.one_of(st.integers(-5, 5), st.integers(-(2**40), 2**40)).map(float),
        text=st.one_of(st.sampled_from("abcdefgh"), st.text(min_size=1, max_size=5), st.just("x" * 300)),
        time_ms=st.integers(0, 3),
        entry_ms=st.integers(0, 2),
        entry_no=st.integers(0, 2),
    ),
    min_size=1,
    max_size=40,
)


def inputs(case: Case, events: Sequence[Event]) -> Inputs:
    values: Floats | Texts
    if case.measure.takes is Takes.TEXT:
        values = Texts(pl.Series([event.text for event in events], dtype=pl.String()))
    else:
        values = np.array([event.value for event in events], dtype=np.float64)
    moments = np.array([moment(event) for event in events], dtype=np.int64).reshape(-1, 3)
    return Inputs(values, moments[:, 0], moments[:, 1], moments[:, 2])


def grouped(case: Case, events: Sequence[Event], groups: Sequence[int], size: int) -> list[Partial]:
    """A batch, reduced to `size` rows as a shard does it."""
    group, measure = np.array(groups, dtype=np.int64), case.measure
    values, ones = np.array([event.value for event in events], dtype=np.float64), np.ones(len(events))
    columns = [column.reduce.by_group(ones if column.ones else values, group, size) for column in measure.columns]
    states: list[Any] = [None] * size
    if measure.sketch:
        prepared = measure.sketch.prepare(inputs(case, events))
        states = [
            measure.sketch.add(measure.sketch.empty(), prepared, np.flatnonzero(group == row)) for row in range(size)
        ]
    return [Partial([column[row : row + 1] for column in columns], states[row]) for row in range(size)]


def accumulated(case: Case, events: Sequence[Event]) -> Partial:
    return grouped(case, events, [0] * len(events), 1)[0]


def neutral(case: Case) -> Partial:
    measure = case.measure
    columns = [np.full(1, column.reduce.neutral) for column in measure.columns]
    return Partial(columns, measure.sketch.empty() if measure.sketch else None)


def merged(case: Case, one: Partial, other: Partial) -> Partial:
    measure = case.measure
    columns = [
        column.reduce.ufunc(a, b) for column, a, b in zip(measure.columns, one.columns, other.columns, strict=True)
    ]
    return Partial(columns, measure.sketch.merge(one.state, other.state) if measure.sketch else None)


def plain(value: Any) -> Any:
    """Something that is equal when the state is."""
    return (str(value.dtype), value.tolist()) if isinstance(value, np.ndarray) else value


def same(one: Partial, other: Partial) -> bool:
    columns = all(a.tolist() == b.tolist() for a, b in zip(one.columns, other.columns, strict=True))
    return columns and plain(one.state) == plain(other.state)


def value_of(case: Case, partial: Partial) -> Value:
    sketches = [partial.state] if case.measure.sketch else []
    (value,) = list(case.measure.value(partial.columns, sketches, np.array([SECONDS])))
    return value.item() if isinstance(value, np.generic) else value


def error_of(case: Case, partial: Partial) -> float | None:
    errors = case.measure.error(partial.columns, [partial.state] if case.measure.sketch else [])
    if errors is None:
        return None
    (error,) = errors
    return error


def assert_agrees(case: Case, partial: Partial, events: list[Event]) -> None:
    """The value is the one worked out by hand, within the error it states."""
    found, expected = value_of(case, partial), case.by_hand(events)
    error = (error_of(case, partial) or 0.0) * case.slack
    if isinstance(expected, dict):
        assert isinstance(found, Mapping)
        assert list(found) == list(expected)
        for name in expected:
            assert found[name] == pytest.approx(expected[name], rel=error + 1e-12, abs=0), name
    else:
        assert found == pytest.approx(expected, rel=error + 1e-12)


def test_every_measure_is_worked_out_by_hand_too() -> None:
    assert BY_HAND.keys() == MEASURES.keys()
    assert {case.measure.name for case in CASES.values()} == MEASURES.keys()


@every
def test_a_measure_describes_itself(case: Case) -> None:
    measure = case.measure
    assert measure.name in MEASURES
    assert make(measure.name, DEFAULTS, has_value=case.has_value).name == measure.name
    assert re.fullmatch("[a-z][a-z0-9_]*", measure.name)
    assert measure.columns[0] is COUNT
    names = [column.name for column in measure.columns]
    assert len(set(names)) == len(names)
    assert measure.options <= {field.name for field in fields_of(Options)}
    assert (measure.takes in (Takes.NUMBER, Takes.NUMBER_OR_NOTHING)) or not case.has_value
    assert bool(measure.sketch) == (measure.name in STATE_BYTES)


@every
@settings(max_examples=40)
@given(events=events_)
def test_the_value_is_what_it_says(case: Case, events: list[Event]) -> None:
    partial = accumulated(case, events)
    assert partial.columns[0].tolist() == [len(events)]
    if error_of(case, partial) is not None and case.measure.name == "distinct":
        # Of so few, one pair in the same register is more than any share; sizes that matter are tested apart.
        assert value_of(case, partial) == pytest.approx(case.by_hand(events), abs=2)
    else:
        assert_agrees(case, partial, events)


@every
@settings(max_examples=40)
@given(a=events_, b=events_, c=events_)
def test_merging_is_associative_and_commutative_with_a_neutral_start(
    case: Case, a: list[Event], b: list[Event], c: list[Event]
) -> None:
    x, y, z = (accumulated(case, events) for events in (a, b, c))
    assert same(merged(case, x, y), merged(case, y, x))
    assert same(merged(case, merged(case, x, y), z), merged(case, x, merged(case, y, z)))
    assert same(merged(case, neutral(case), x), x)
    assert same(merged(case, x, neutral(case)), x)
    assert same(merged(case, neutral(case), neutral(case)), neutral(case))


@every
@settings(max_examples=40)
@given(events=events_, data=st.data())
def test_any_order_and_any_split_give_the_same_value(case: Case, events: list[Event], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=5)))
    whole, parts, one_by_one = accumulated(case, events), neutral(case), neutral(case).state
    for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        parts = merged(case, parts, accumulated(case, shuffled[start:end]))
        if case.measure.sketch:
            prepared = case.measure.sketch.prepare(inputs(case, shuffled[start:end]))
            for row in range(end - start):
                one_by_one = case.measure.sketch.add(one_by_one, prepared, np.array([row]))
    assert same(parts, whole)
    assert plain(one_by_one) == plain(whole.state)
    assert value_of(case, parts) == value_of(case, whole)
    assert error_of(case, parts) == error_of(case, whole)


@every
@settings(max_examples=40)
@given(events=events_, data=st.data())
def test_groups_do_not_touch_each_other(case: Case, events: list[Event], data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(0, 4), min_size=len(events), max_size=len(events)))
    rows = grouped(case, events, groups, 5)
    full = []
    for number, row in enumerate(rows):
        own = [event for event, group in zip(events, groups, strict=True) if group == number]
        assert same(row, accumulated(case, own) if own else neutral(case))
        full += [row] if own else []
    # Many rows are worked out at once.
    columns = [np.concatenate(column) for column in zip(*(row.columns for row in full), strict=True)]
    states = [row.state for row in full] if case.measure.sketch else []
    values = list(case.measure.value(columns, states, np.full(len(full), SECONDS)))
    assert values == [value_of(case, row) for row in full]
    errors = case.measure.error(columns, states)
    assert [error_of(case, row) for row in full] == ([None] * len(full) if errors is None else list(errors))


@sketched
@settings(max_examples=40)
@given(a=events_, b=events_)
def test_a_sketch_survives_bytes_and_pickle_and_goes_on(case: Case, a: list[Event], b: list[Event]) -> None:
    sketch, partial = case.measure.sketch, accumulated(case, a)
    assert sketch is not None
    prepared, rows = sketch.prepare(inputs(case, b)), np.arange(len(b))
    expected = plain(sketch.merge(partial.state, sketch.add(sketch.empty(), prepared, rows)))
    for again in (sketch.from_bytes(sketch.to_bytes(partial.state)), pickle.loads(pickle.dumps(partial.state))):
        assert plain(again) == plain(partial.state)
        assert plain(sketch.merge(again, sketch.add(sketch.empty(), prepared, rows))) == expected
        assert plain(sketch.add(again, prepared, rows)) == expected
    assert plain(sketch.from_bytes(sketch.to_bytes(sketch.empty()))) == plain(sketch.empty())


@sketched
@settings(max_examples=40)
@given(a=events_, b=events_, c=events_)
def test_no_state_is_ever_changed(case: Case, a: list[Event], b: list[Event], c: list[Event]) -> None:
    sketch = case.measure.sketch
    assert sketch is not None
    one, other = accumulated(case, a).state, accumulated(case, b).state
    before = pickle.dumps((one, other))
    prepared, rows = sketch.prepare(inputs(case, c)), np.arange(len(c))
    results = [
        sketch.merge(one, other),
        sketch.merge(one, sketch.empty()),
        sketch.merge(sketch.empty(), one),
    ]
    for state in results:
        sketch.add(state, prepared, rows)
    sketch.add(sketch.empty(), prepared, rows)
    assert pickle.dumps((one, other)) == before
    assert plain(sketch.empty()) == plain(accumulated(case, []).state)


@sketched
def test_memory_is_bounded(case: Case) -> None:
    rng = np.random.default_rng(7)
    many = [
        Event(sign * 10.0**power, f"{number:06}" + "\N{SNOWMAN}" * 300, number)
        for number, (sign, power) in enumerate(
            zip(rng.choice([-1, 1], 100_000), rng.uniform(-30, 30, 100_000), strict=True)
        )
    ]
    sketch, state, limit = case.measure.sketch, neutral(case).state, STATE_BYTES[case.measure.name]
    assert sketch is not None
    for start in range(0, len(many), 20_000):
        batch = many[start : start + 20_000]
        prepared = sketch.prepare(inputs(case, batch))
        for rows in np.array_split(np.arange(len(batch)), 50):
            state = sketch.add(state, prepared, rows)
            assert len(sketch.to_bytes(state)) <= limit
        state = sketch.merge(state, state)
        assert len(sketch.to_bytes(state)) <= limit
    assert len(pickle.dumps(state)) <= 2 * limit + 500


@every
def test_what_is_stated_holds_for_many_events_in_any_split(case: Case) -> None:
    """10^5 events with heavy tails and, for the sketches of texts, far more of them than are kept exactly."""
    rng = np.random.default_rng(11)
    size = 100_000
    values = np.round(rng.lognormal(0, 4, size) * rng.choice([-1, 1], size, p=[0.2, 0.8]) * 1000)
    texts = np.where(rng.random(size) < 0.5, rng.zipf(1.5, size) % 50, rng.integers(0, 30_000, size)).tolist()
    events = [
        Event(value, f"t{text}", time, number)
        for number, (value, text, time) in enumerate(
            zip(values.tolist(), texts, rng.integers(0, 1000, size).tolist(), strict=True)
        )
    ]
    whole = accumulated(case, events)
    order = rng.permutation(size)
    parts = neutral(case)
    for cut in np.array_split(order, 37):
        parts = merged(case, accumulated(case, [events[place] for place in cut.tolist()]), parts)
    if case.measure.name == "top_k":
        # What is kept of the rare ones differs past the cap, so only the bound is the same: a share of all events.
        expected = case.by_hand(events)
        for partial in (whole, parts):
            found, error = value_of(case, partial), error_of(case, partial)
            assert error is not None
            assert 0 < error < 0.002
            assert isinstance(found, Mapping)
            assert all(expected[text] - error * size <= count <= expected[text] for text, count in found.items())
            assert found.keys() == expected.keys()
        return
    assert same(parts, whole)
    assert error_of(case, whole) == error_of(case, parts)
    assert_agrees(case, whole, events)


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(KeyError):
        make("median", DEFAULTS, has_value=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("quantile", Options(quantiles=()), "quantiles: expected numbers from 0 to 1"),
        ("quantile", Options(quantiles=(0.5, 1.5)), "quantiles: expected numbers from 0 to 1"),
        ("quantile", Options(quantiles=(math.nan,)), "quantiles: expected numbers from 0 to 1"),
        ("quantile", Options(quantiles=(0.5, 0.5)), "quantiles: expected each once"),
        ("top_k", Options(k=0), "k: expected 1 or more"),
        ("distinct", Options(exact_up_to=-1), "exact_up_to: expected 0 or more"),
    ],
)
def test_options_it_cannot_work_with_are_refused(name: str, options: Options, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make(name, options, has_value=True)


def test_a_rate_waits_until_its_window_has_lasted() -> None:
    rate = make("rate", DEFAULTS, has_value=False)
    found = rate.value([np.array([4.0, 4.0])], [], np.array([0.0, 2.0]))
    assert np.array_equal(found, [np.nan, 2.0], equal_nan=True)
