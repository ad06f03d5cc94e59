"""How many sessions there were, what they were like, where they began and ended, and how many people are here now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from live_api.people.past import Number, Past, by_start, count, number, settled
from live_api.people.paths import most
from sinks.records import Point, iso
from stream.durations import TOTAL
from stream.windows import window_of

MEANS = {
    "bounce_rate": "bounce_rate",
    "duration_s": "session_duration",
    "pages": "session_pages",
    "engaged_rate": "engaged_rate",
    "engaged_s": "engaged_time",
}
"""What is told of a window's sessions beside how many there were, and the metric that has it."""
PAGES = ("entry_pages", "exit_pages")
NOW = {"active_now": "active_now", "concurrent": "concurrent_sessions"}
"""What is told of the present, and the metric that has it."""


def read(
    past: Past, window: str, split: Mapping[str, str], now: Mapping[str, str], *, periods: int, limit: int
) -> dict[str, Any]:
    """The latest `periods` windows and what was most in the last of them. Raises SinkError, TooMuch.

    `split` has for each field that sessions are told apart by the metric that does, `now` for each metric of `NOW` the
    window in which it is counted.
    """
    starts = past.starts("sessions", window, limit=periods)
    names = ("sessions", *MEANS.values())
    points = {name: past.points(name, window, from_ms=starts[0]) if starts else [] for name in names}

    def latest(metric: str) -> list[Point]:
        return past.at(metric, window, starts[-1], by=1) if starts else []

    pages = {name: latest(name) for name in PAGES}
    by = {field: latest(metric) for field, metric in split.items()}
    here = {called: _now(past, metric, now[metric]) for called, metric in NOW.items() if metric in now}
    return table(window, points, pages, by, here, limit=limit)


def table(
    window: str,
    points: Mapping[str, Sequence[Point]],
    pages: Mapping[str, Sequence[Point]],
    by: Mapping[str, Sequence[Point]],
    now: Mapping[str, Number | None],
    *,
    limit: int,
) -> dict[str, Any]:
    """A row for each window in which a session began or ended.

    `points` are those of `sessions` and of each of `MEANS` by metric; `pages` and `by` are of one window, by one
    dimension.
    """
    of = {name: by_start(found) for name, found in points.items()}
    periods = []
    for start in sorted({start for found in of.values() for start in found}):
        row = {name: found[start] for name, found in of.items() if start in found}
        means = {called: number(row.get(metric)) for called, metric in MEANS.items()}
        state = settled(row.values()).value
        periods.append({"start": iso(start), "sessions": count(row.get("sessions")), **means, "state": state})
    return {
        "window": window,
        "periods": periods,
        **{name: most(_texts(pages.get(name, ())), "page", limit) for name in PAGES},
        "by": {name: most(_texts(found), "value", limit) for name, found in by.items()},
        **{name: now.get(name) for name in NOW},
    }


def _texts(points: Sequence[Point]) -> list[tuple[int, str]]:
    return [(count(point), point.dimensions[0][1]) for point in points if count(point) > 0]


def _now(past: Past, metric: str, window: str) -> Number | None:
    """What the latest window says; 0 where that is over and nothing has been said since."""
    start = past.last_start([metric], window)
    if start is None:
        return None
    found = past.at(metric, window, start)
    about_ms = window_of(window, past.zone).about_ms if window != TOTAL else 0
    if about_ms and past.as_of_ms is not None and past.as_of_ms > start + 2 * about_ms:
        return 0
    return number(found[0]) if found else None
