from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.convert import Bad, times_of
from stream.usual_times import usual_times

_moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
_forms = st.one_of(
    _moments.map(lambda when: when.isoformat().replace("+00:00", "Z")),
    _moments.map(lambda when: when.isoformat(timespec="milliseconds").replace("+00:00", "Z")),
    _moments.map(lambda when: when.isoformat(timespec="seconds").replace("+00:00", "+05:30")),
    st.integers(0, 10**19).map(str),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z", fullmatch=True),
    st.from_regex(r"\d{4}.\d{2}.\d{2}.\d{2}.\d{2}.\d{2}.*Z?", fullmatch=True),
    st.text(max_size=8),
    st.none(),
)


@given(texts=st.lists(_forms, max_size=20))
@settings(deadline=None, max_examples=500)
def test_a_column_of_times_is_read_as_each_of_them_is(texts: list[Any]) -> None:
    time_ms, usual = usual_times(pl.Series("q*", texts, dtype=pl.String()))
    bad: Bad = {}
    expected = times_of("time", texts, bad)
    for row, text in enumerate(texts):
        if usual[row]:
            assert row not in bad, text
            assert time_ms[row] == expected[row], text


@pytest.mark.parametrize(
    "text", ["2015-09-12T00:00:00Z", "2015-09-12T00:00:00.25Z", "2024-02-29T23:59:59.123456789Z", "1442016000007", "0"]
)
def test_the_usual_forms_are_usual(text: str) -> None:
    assert usual_times(pl.Series([text]))[1].tolist() == [True]


@pytest.mark.parametrize(
    "text",
    [
        "2015-02-29T00:00:00Z",
        "2015-13-01T00:00:00Z",
        "2015-00-01T00:00:00Z",
        "2015-01-32T00:00:00Z",
        "2015-01-01T24:00:00Z",
        "2015-01-01T00:60:00Z",
        "2015-01-01T00:00:60Z",
        "2015-01-01 00:00:00Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_is_not(text: str) -> None:
    assert usual_times(pl.Series([text]))[1].tolist() == [False]
