from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream.arrays import Ints
from stream.rows import RowTable, pack, series_of, start_of

windows_ = st.integers(-(1 << 33), 1 << 38)
series_ = st.integers(0, 1_000_000)


@given(pairs=st.lists(st.tuples(windows_, series_), max_size=50))
def test_a_packed_key_gives_back_its_parts_and_sorts_by_window(pairs: list[tuple[int, int]]) -> None:
    windows = np.array([window for window, _ in pairs], dtype=np.int64)
    series = np.array([number for _, number in pairs], dtype=np.int64)
    keys = pack(windows, series)
    assert start_of(keys).tolist() == windows.tolist()
    assert series_of(keys).tolist() == series.tolist()
    assert [pairs[i] for i in np.argsort(keys, kind="stable")] == sorted(pairs)


@given(time_ms=st.integers(0, 4_102_444_799_999), series=series_)
def test_windows_of_a_second_last_until_2100(time_ms: int, series: int) -> None:
    window = np.array([time_ms // 1_000], dtype=np.int64)
    key = pack(window, np.array([series], dtype=np.int64))
    assert (start_of(key)[0], series_of(key)[0]) == (window[0], series)


def _packed(keys: list[tuple[int, int]]) -> Ints:
    windows, series = np.array(keys, dtype=np.int64).reshape(-1, 2).T
    return pack(windows, series)


class Table(RuleBasedStateMachine):
    """A RowTable against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table = RowTable()
        self.total = self.table.column(np.float64, 0.0)
        self.least = self.table.column(np.float64, np.inf)
        self.model: dict[tuple[int, int], tuple[float, float]] = {}

    @rule(keys=st.lists(st.tuples(st.integers(-3, 12), st.integers(0, 9)), max_size=40), value=st.integers(1, 9))
    def add(self, keys: list[tuple[int, int]], value: int) -> None:
        keys = list(dict.fromkeys(keys))
        rows = self.table.find(_packed(keys))
        assert len(set(rows.tolist())) == len(set(keys))
        for key, row in zip(keys, rows.tolist(), strict=True):
            self.table.get(self.total)[row] += value
            self.table.get(self.least)[row] = min(self.table.get(self.least)[row], value)
            total, least = self.model.get(key, (0.0, np.inf))
            self.model[key] = (total + value, min(least, value))

    @rule(window=st.integers(-5, 14))
    def drop(self, window: int) -> None:
        self.table.drop_before(window)
        self.model = {key: value for key, value in self.model.items() if key[0] >= window}

    @invariant()
    def equals_the_model(self) -> None:
        rows = np.flatnonzero(self.table.used())
        keys = self.table.key[rows]
        found = zip(
            zip(start_of(keys).tolist(), series_of(keys).tolist(), strict=True),
            zip(self.table.get(self.total)[rows].tolist(), self.table.get(self.least)[rows].tolist(), strict=True),
            strict=True,
        )
        assert dict(found) == self.model
        assert len(self.table) == len(self.model)

    @invariant()
    def unused_rows_are_as_new(self) -> None:
        unused = ~self.table.used()
        assert (self.table.get(self.total)[unused] == 0).all()
        assert np.isposinf(self.table.get(self.least)[unused]).all()


TestTable = Table.TestCase
TestTable.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


def test_dropped_rows_are_used_again() -> None:
    table = RowTable()
    for window in range(500):
        table.find(_packed([(window, series) for series in range(10)]))
        table.drop_before(window)
    assert table.capacity < 64


def test_a_row_with_another_key_is_found_by_that_and_no_longer_by_its_own() -> None:
    table = RowTable()
    value = table.column(np.int64, 7)
    keys = np.arange(1, 101, dtype=np.int64) * 1_000_003
    rows = table.find(keys)
    table.get(value)[rows] = keys
    table.rekey(rows[:3], np.array([-5, -3, -1]))
    assert table.look_up(keys[:3]).tolist() == [-1, -1, -1]
    assert table.look_up(np.array([-5, -3, -1])).tolist() == rows[:3].tolist()
    assert table.look_up(keys[3:]).tolist() == rows[3:].tolist()
    assert table.get(value)[rows].tolist() == keys.tolist()
    assert len(table) == 100
    (again,) = table.find(keys[:1])
    assert again == 100, "who comes back is somebody new"
