from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sinks.records import MISSING, OTHER
from stream.labels import MAX_TEXT, labels_of
from stream.series import SeriesIndex, rows_of

rows_ = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy")), max_size=40)


@given(rows=rows_)
def test_equal_rows_have_equal_numbers(rows: list[tuple[str, ...]]) -> None:
    index = SeriesIndex(2, 1_000)
    numbers = index.numbers(rows).tolist()
    assert [index.series[number] for number in numbers] == rows
    assert numbers == index.numbers(rows).tolist()
    assert len(index) == len(set(rows))
    assert not index.overflowed


@given(batches=st.lists(rows_, max_size=6), limit=st.integers(1, 6))
def test_past_the_limit_all_share_one_number(batches: list[list[tuple[str, ...]]], limit: int) -> None:
    index = SeriesIndex(2, limit)
    first = list(dict.fromkeys(row for rows in batches for row in rows))[:limit]
    for rows in batches:
        found = [index.series[number] for number in index.numbers(rows).tolist()]
        assert found == [row if row in first else (OTHER, OTHER) for row in rows]
    assert len(index) <= limit + 1
    assert index.overflowed == (len({row for rows in batches for row in rows}) > limit)


@given(batches=st.lists(rows_, min_size=1, max_size=4), more=rows_, limit=st.integers(1, 6))
def test_a_restored_index_goes_on_alike(
    batches: list[list[tuple[str, ...]]], more: list[tuple[str, ...]], limit: int
) -> None:
    index, restored = SeriesIndex(2, limit), SeriesIndex(2, limit)
    for rows in batches:
        index.numbers(rows)
    restored.restore(index.to_state())
    assert restored.numbers(more).tolist() == index.numbers(more).tolist()
    assert (restored.series, restored.overflowed) == (index.series, index.overflowed)


def test_an_event_that_says_other_joins_the_others() -> None:
    index = SeriesIndex(1, 1)
    assert index.numbers([("a",), ("b",), (OTHER,), ("c",)]).tolist() == [0, 1, 1, 1]


def test_no_dimensions_are_one_series() -> None:
    index = SeriesIndex(0, 1)
    assert index.numbers([(), ()]).tolist() == [0, 0]
    assert index.series == [()]


def test_dimensions_are_texts() -> None:
    frame = pl.DataFrame(
        {
            "text": ["a", "", None, "é" * 300, " "],
            "number": [200.0, 1.5, None, -0.0, 1e300],
            "flag": [True, False, None, True, False],
        }
    )
    rows, which = rows_of([labels_of(frame[name]) for name in ("text", "number", "flag")])
    assert [rows[place] for place in which] == [
        ("a", "200", "true"),
        (MISSING, "1.5", "false"),
        (MISSING, MISSING, MISSING),
        ("é" * MAX_TEXT, "0", "true"),
        (" ", "1" + "0" * 255, "false"),
    ]


@given(
    columns=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(st.text(max_size=3) | st.none(), min_size=width, max_size=width), max_size=30)
    )
)
def test_each_event_finds_its_series(columns: list[list[str | None]]) -> None:
    width = len(columns[0]) if columns else 1
    labels = [labels_of(pl.Series([row[place] for row in columns], dtype=pl.String())) for place in range(width)]
    rows, which = rows_of(labels)
    assert [rows[place] for place in which.tolist()] == [tuple(text or MISSING for text in row) for row in columns]
    assert len(set(rows)) == len(rows) == len(set(which.tolist()))
