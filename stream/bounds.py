"""What a catalog may come to hold in memory, said before it does."""

from __future__ import annotations

from stream.durations import DAY_MS
from stream.panes import MOST_ROWS
from stream.plan import Plan

_MANY_PANES = 5_000
_LONG_SPAN = 100


def notes(plan: Plan) -> list[str]:
    """What whoever runs the catalog should know: windows that may be open at once in great numbers."""
    found: list[str] = []
    for cube in plan.all_cubes:
        for name, division in cube.divisions.items():
            open_panes = plan.event.allowed_lateness_ms // (division.grain_ms or DAY_MS) + 1
            if open_panes >= _MANY_PANES:
                found.append(
                    f"{cube.names}: with allowed_lateness up to {open_panes:,} windows of {name} are open at once "
                    f"for each series; past {MOST_ROWS:,} in all, new series count as __other__"
                )
        for window in cube.windows:
            if window.span >= _LONG_SPAN:
                rows = window.span * (cube.max_series if cube.by else 1)
                found.append(
                    f"{cube.names}: {window.name} is put together of {window.span:,} parts for each series, "
                    f"up to {rows:,} with max_series = {cube.max_series:,}"
                )
    return found
