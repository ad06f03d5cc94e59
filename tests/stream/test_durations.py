from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.durations import DAY_MS, TOTAL, TOTAL_MS, duration_ms, window_ms

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@given(number=st.integers(1, 999_999_999), unit=st.sampled_from(sorted(UNITS_MS)))
def test_a_duration_is_a_number_and_a_unit(number: int, unit: str) -> None:
    assert duration_ms(f"{number}{unit}") == number * UNITS_MS[unit]


@pytest.mark.parametrize(
    "text",
    [
        *("", "10", "s", "0s", "-1s", "+1s", "01s", "1.5h", "1e3s", "10S", " 10s", "10 s", "10s\n", "1h30m", "1w"),
        *("1_0s", "\u0661s", "1\u0663s", "1000000000s", "total", "P1D"),
    ],
)
def test_anything_else_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as") as caught:
        duration_ms(text)
    assert repr(text) in str(caught.value)


@given(text=st.text("0123456789msdh \n\u0663", max_size=5) | st.text(max_size=8))
def test_what_is_taken_is_spelled_one_way_only(text: str) -> None:
    try:
        found_ms = duration_ms(text)
    except ValueError:
        return
    unit = text.lstrip("0123456789")
    assert text == f"{found_ms // UNITS_MS[unit]}{unit}"


@pytest.mark.parametrize(
    ("text", "width_ms"),
    [("1s", 1_000), ("1000ms", 1_000), ("15s", 15_000), ("5m", 300_000), ("6h", 21_600_000), ("1d", DAY_MS)],
)
def test_windows_divide_the_day(text: str, width_ms: int) -> None:
    assert window_ms(text) == width_ms
    assert DAY_MS % width_ms == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("999ms", "from 1s to 1d"),
        ("1ms", "from 1s to 1d"),
        ("25h", "from 1s to 1d"),
        ("2d", "from 1s to 1d"),
        ("7s", "divides a day"),
        ("7h", "divides a day"),
        ("1x", "such as"),
    ],
)
def test_other_widths_are_no_windows(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        window_ms(text)
    assert repr(text) in str(caught.value)


def test_the_total_starts_at_0_for_every_time_there_is() -> None:
    assert window_ms(TOTAL) == TOTAL_MS
    assert 253_402_300_799_999 // TOTAL_MS == 0, "the end of the year 9999"
