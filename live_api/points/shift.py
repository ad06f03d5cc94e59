"""Which window of an earlier range stands beside each one of a range."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from live_api.points.choose import EARLIEST_MS, Choice, Impossible
from stream.durations import DAY_MS, SECOND_MS, TOTAL
from stream.windows import Calendar, Window

COMPARES = {"previous": None, "yesterday": 1, "last_week": 7}
"""How many days back; None: as many windows as there are in the range."""
_HOUR_MS = 3_600_000


def shifted(choice: Choice, compare: str, zone: ZoneInfo) -> list[int | None]:
    """For each window the start of the one it is compared with; None where there is no such window.

    Days are those of the platform: windows of an hour and less, and of the calendar, are compared at the same local
    time, whatever clocks were set in between. Longer fixed ones are counted in UTC, and so are their days. An hour that
    was skipped on the day before has nothing beside it. Raises Impossible.
    """
    window = choice.step
    if window.name == TOTAL:
        raise Impossible("compare: expected a window that ends; found total")
    days = COMPARES[compare]
    if days is None:
        found: list[int | None] = []
        start_ms = choice.starts[0] if choice.starts else 0
        for _ in choice.starts:
            start_ms = window.before_ms(start_ms, 1)
            found.append(_known(start_ms))
        return found[::-1]
    if window.about_ms // window.span > days * DAY_MS:
        raise Impossible(f"compare: expected windows of at most {days} d for {compare}; found {window.name}")
    local = isinstance(window.panes, Calendar) or window.panes.grain_ms <= _HOUR_MS
    if not local:
        return [_known(start - days * DAY_MS) for start in choice.starts]
    return [_on_day(start, days, window, zone) for start in choice.starts]


def _on_day(start_ms: int, days: int, window: Window, zone: ZoneInfo) -> int | None:
    """The window that began at the same local time so many days before."""
    # Where a time comes twice, the first goes with the first, and the second with the second where there are two.
    here = datetime.fromtimestamp(start_ms // SECOND_MS, zone)
    wall = here.replace(tzinfo=None) - timedelta(days=days)
    there = wall.replace(tzinfo=zone, fold=here.fold).astimezone(UTC)
    began_ms = int(there.timestamp()) * SECOND_MS
    if isinstance(window.panes, Calendar) and window.panes.unit != "hour":
        # A midnight that was skipped is when clocks were set forward.
        return _known(int(window.panes.start_s(np.array([began_ms]))[0]) * SECOND_MS)
    if there.astimezone(zone).replace(tzinfo=None) != wall:
        return None
    on_grid = int(window.panes.start_s(np.array([began_ms]))[0]) * SECOND_MS == began_ms
    return _known(began_ms) if on_grid else None


def _known(start_ms: int) -> int | None:
    return start_ms if start_ms >= EARLIEST_MS else None
