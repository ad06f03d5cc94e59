"""Widths and durations as the catalog spells them: "10s", "1m", "1h", "1d"."""

from __future__ import annotations

import re

SECOND_MS = 1_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
_UNITS_MS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": 3_600_000, "d": DAY_MS}
_DURATION = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")

TOTAL = "total"
"""The window that never closes. Only the built-in metrics use it."""
TOTAL_MS = 1 << 53
"""Its width: every time that `decode` lets through falls into the one window that starts at 0."""


def duration_ms(text: str) -> int:
    """`"90s"` → 90,000. Raises ValueError for anything else than a whole number and ms, s, m, h or d."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a duration such as 10s, 5m, 1h or 2d, found {text!r}")
    return int(found[1]) * _UNITS_MS[found[2]]


def window_ms(text: str) -> int:
    """Width of a tumbling window: 1s to 1d, and a divisor of the day so that windows line up with days."""
    if text == TOTAL:
        return TOTAL_MS
    width = duration_ms(text)
    if not SECOND_MS <= width <= DAY_MS:
        raise ValueError(f"expected a window from 1s to 1d, found {text!r}")
    if width % SECOND_MS or DAY_MS % width:
        raise ValueError(f"expected a window of whole seconds that divides a day evenly, found {text!r}")
    return width
