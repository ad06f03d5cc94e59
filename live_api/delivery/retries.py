"""When a delivery that failed is tried again. Pure: time and chance are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

STANDARD_S = (0.0, 5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Before each attempt, as Standard Webhooks recommends: at once, 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h."""
LONGEST_RETRY_AFTER_S = 3_600.0
"""What an endpoint may ask for; one that asks for a year is asked again in an hour."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`delays_s[k]` is waited before attempt k + 1; `jitter` is the share of it by which it may be longer."""

    delays_s: Sequence[float] = STANDARD_S
    jitter: float = 0.2

    @property
    def span_ms(self) -> int:
        """From the first attempt to the latest that the last may be."""
        return int(sum(self.delays_s) * (1 + self.jitter) * 1_000)

    def next_ms(self, attempts: int, now_ms: int, chance: float, retry_after_s: float | None = None) -> int | None:
        """When to try again after so many attempts; None when that was the last.

        `chance` is from 0 to 1. Never earlier than the schedule has it, nor than the endpoint asked for.
        """
        if attempts >= len(self.delays_s):
            return None
        delay_s = self.delays_s[attempts] * (1 + self.jitter * chance)
        return now_ms + int(max(delay_s, retry_after_s or 0.0) * 1_000)


def retry_after_s(text: str | None, now_ms: int) -> float | None:
    """What a `Retry-After` asks for, in seconds or as a date; None for none and for what is neither."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), LONGEST_RETRY_AFTER_S)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    wait_s = (when - datetime.fromtimestamp(now_ms / 1_000, UTC)).total_seconds()
    return min(max(wait_s, 0.0), LONGEST_RETRY_AFTER_S)
