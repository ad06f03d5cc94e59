from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.people.base import Facts
from stream.people.spans import add_spans

small = st.integers(0, 6)


@given(st.lists(st.tuples(small, small, st.integers(-2, 2), st.integers(0, 2), st.integers(7, 9)), max_size=30))
def test_fewer_spans_say_the_same(rows: list[tuple[int, int, int, int, int]]) -> None:
    first, after, weight, a, b = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    facts = Facts()
    add_spans(facts, "kind", first, after, weight, {"a": a, "b": b})
    said: Counter[tuple[int, int, int]] = Counter()
    for _, spans in facts.spans:
        columns = (spans.first, spans.after, spans.weight, spans.fields["a"], spans.fields["b"])
        for start, end, count, *fields in zip(*(column.tolist() for column in columns), strict=True):
            for period in range(start, end):
                key = (period, *fields)
                assert key not in said
                said[key] = count
    wanted: Counter[tuple[int, int, int]] = Counter()
    for start, end, count, *fields in rows:
        for period in range(start, end):
            wanted[(period, *fields)] += count
    assert said == {key: count for key, count in wanted.items() if count}
