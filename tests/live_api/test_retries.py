from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_api.delivery.retries import LONGEST_RETRY_AFTER_S, STANDARD_S, Schedule, retry_after_s

NOW_MS = 1_700_000_000_000


def test_the_schedule_is_the_standards() -> None:
    since = 0.0
    seen = []
    for attempts in range(1, 10):
        due_ms = Schedule().next_ms(attempts, 0, 0.0)
        assert due_ms is not None
        since += due_ms / 1_000
        seen.append(since)
    assert seen == [5, 305, 2_105, 9_305, 27_305, 63_305, 113_705, 185_705, 272_105]
    assert Schedule().next_ms(10, 0, 0.0) is None


@given(st.integers(1, 9), st.floats(0, 1), st.none() | st.floats(0, LONGEST_RETRY_AFTER_S))
def test_it_is_never_earlier_than_the_schedule_or_the_endpoint_has_it(
    attempts: int, chance: float, asked_s: float | None
) -> None:
    due_ms = Schedule().next_ms(attempts, NOW_MS, chance, asked_s)
    assert due_ms is not None
    wait_s = (due_ms - NOW_MS) / 1_000
    assert wait_s >= max(STANDARD_S[attempts], asked_s or 0) - 0.001
    assert wait_s <= max(STANDARD_S[attempts] * 1.2, asked_s or 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 0 ", 0),
        ("99999999999999999999999", LONGEST_RETRY_AFTER_S),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
        ("Tue, 14 Nov 2033 22:00:00 GMT", LONGEST_RETRY_AFTER_S),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("١٢", None),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
        ("Tue, 14 Nov 99999999999999999999 22:14:20 GMT", None),
        ("Tue, 14 Nov 2023 22:14:20 +99999999999999999999", None),
        ("Tue, 14 Nov 2023 99999999999999999999:14:20 GMT", None),
    ],
)
def test_both_forms_of_retry_after_are_read_and_bounded(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text, NOW_MS) == seconds
