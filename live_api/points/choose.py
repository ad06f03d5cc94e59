"""Which windows a range is shown in: the finest that a metric has, or longer ones put together where that is exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from sinks.combined import MEASURES, Combine
from stream.durations import DAY_MS, SECOND_MS, TOTAL, duration_ms
from stream.windows import Calendar, Fixed, Window, window_of

MOST_WINDOWS = 1_000
"""Of a series, where the windows are chosen: no screen has more columns to show them in."""
MOST_NAMED = 100_000
"""Of a series, where the window is named."""
EARLIEST_MS, LATEST_MS = 0, 7_258_118_400_000
"""No window of the store starts before, and no calendar is asked for what comes after: 1970 to 2200."""
_CALENDAR = ("hour", "day", "week", "month")
_STEPS = (
    *("1s", "2s", "5s", "10s", "15s", "20s", "30s", "1m", "2m", "3m", "5m", "10m", "15m", "20m", "30m"),
    *("1h", "2h", "3h", "4h", "6h", "8h", "12h", "1d", "day", "week", "month"),
)
"""What is chosen from, where windows are combined."""


class Impossible(Exception):
    """What is asked for cannot be answered exactly, or at all; says what can be."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which windows are read, and what they are put together into."""

    window: Window
    """Of the metric: what is read."""
    step: Window
    """What is answered: the same, or longer."""
    starts: list[int]
    """When the windows of the answer start, epoch ms."""
    chosen: bool
    """Whether it was for us to choose."""
    why: str

    @property
    def combines(self) -> bool:
        return self.step.name != self.window.name

    @property
    def end_ms(self) -> int:
        """End of the last window; without any, 0."""
        return self.step.end_ms(self.starts[-1]) if self.starts else 0

    def how(self, measure: str) -> Combine:
        """How the windows that are read are put together."""
        slice_ms = self.step.panes.grain_ms
        if isinstance(self.step.panes, Calendar) and isinstance(self.window.panes, Fixed):
            # Windows as long as this lie in one pane of the calendar each, or they would not line up.
            slice_ms = max(slice_ms, self.window.panes.width_ms)
        return Combine(measure, self.window.about_ms, slice_ms)


def choose(
    measure: str,
    windows: Sequence[str],
    zone: ZoneInfo,
    *,
    from_ms: int,
    to_ms: int,
    window: str | None = None,
    step: str | None = None,
) -> Choice:
    """The windows for [from_ms, to_ms) of a metric that has `windows`. Raises Impossible."""
    made = [window_of(name, zone) for name in windows]
    from_ms, to_ms = max(from_ms, EARLIEST_MS), min(to_ms, LATEST_MS)
    if step is not None:
        return _stepped(measure, made, zone, from_ms, to_ms, window, step)
    if window is not None:
        [named] = [one for one in made if one.name == window]
        starts = _starts(named, from_ms, to_ms, MOST_NAMED)
        if starts is None:
            raise Impossible(
                f"to: expected at most {MOST_NAMED:,} windows of {window}, so {_span(named, MOST_NAMED)}; found more. "
                "Without window one is chosen that fits"
            )
        return Choice(named, named, starts, False, "asked for")
    tumbling = [one for one in made if one.span == 1 and one.name != TOTAL]
    for one in sorted(tumbling or made, key=_pane_ms):
        starts = _starts(one, from_ms, to_ms, MOST_WINDOWS)
        if starts is not None:
            why = f"the finest of its windows of which the range has at most {MOST_WINDOWS:,}"
            return Choice(one, one, starts, True, why)
    if measure in MEASURES:
        for name in _STEPS:
            longer = window_of(name, zone)
            starts = _starts(longer, from_ms, to_ms, MOST_WINDOWS)
            source = _made_of(longer, tumbling, starts) if starts else None
            if starts is not None and source is not None:
                why = f"put together from {source.name}, as the range has more than {MOST_WINDOWS:,} windows of each"
                return Choice(source, longer, starts, True, why)
    raise Impossible(_too_long(measure, sorted(tumbling or made, key=_pane_ms)))


def steps_of(measure: str, windows: Sequence[str]) -> str:
    """What a step may be, in words."""
    own = ", ".join(windows)
    return f"{own} or longer ones made of them" if measure in MEASURES else own


def _stepped(
    measure: str, made: Sequence[Window], zone: ZoneInfo, from_ms: int, to_ms: int, window: str | None, step: str
) -> Choice:
    asked = _step_of(step, zone, {one.name for one in made})
    starts = _starts(asked, from_ms, to_ms, MOST_WINDOWS)
    if starts is None:
        raise Impossible(
            f"step: expected at most {MOST_WINDOWS:,} windows of a series, so {_span(asked, MOST_WINDOWS)} "
            f"in steps of {step}; found a longer range. Ask for less of it, or for a longer step"
        )
    for one in made:
        # Asked for what there is already, under this name or another.
        if one.span == 1 and window in (None, one.name) and _same(one, asked, starts):
            return Choice(one, one, starts, False, "asked for")
    if measure not in MEASURES:
        raise Impossible(
            f"step: windows of a {measure} cannot be put together exactly, so expected one of "
            f"{', '.join(one.name for one in made)}; found {step!r}"
        )
    sources = [one for one in made if one.span == 1 and one.name != TOTAL and window in (None, one.name)]
    source = _made_of(asked, sources, starts)
    if source is None:
        names = ", ".join(one.name for one in sources) or "none"
        raise Impossible(f"step: expected one that whole windows of {names} make up; found {step!r}")
    return Choice(source, asked, starts, False, f"put together from {source.name}, as step asks for it")


def _step_of(text: str, zone: ZoneInfo, own: set[str]) -> Window:
    if text in own or text in _CALENDAR:
        return window_of(text, zone)
    try:
        width_ms = duration_ms(text)
    except ValueError:
        width_ms = 0
    if width_ms < SECOND_MS or width_ms % SECOND_MS or (DAY_MS % width_ms and width_ms % DAY_MS):
        raise Impossible(
            "step: expected whole seconds that divide a day evenly, days, or one of "
            f"{', '.join(_CALENDAR)}, such as 5m, 6h, 7d or week; found {text!r}"
        )
    return Window(text, Fixed(width_ms), text, about_ms=width_ms)


def _starts(window: Window, from_ms: int, to_ms: int, most: int) -> list[int] | None:
    """When its windows in [from_ms, to_ms) start; None if those are more than `most`."""
    if to_ms <= from_ms:
        return []
    panes = window.panes
    if isinstance(panes, Fixed):
        width = panes.width_ms
        first = -(-from_ms // width) * width
        found = range(first, to_ms, width)
        return list(found) if len(found) <= most else None
    if not isinstance(panes, Calendar):
        return [0] if from_ms <= 0 < to_ms else []
    if (to_ms - from_ms) > (most + 2) * _pane_ms(window) * 1.05:
        return None
    starts: list[int] = []
    for start in _from(window, from_ms):
        if start >= to_ms or len(starts) > most:
            break
        starts.append(start)
    return starts if len(starts) <= most else None


def _from(window: Window, from_ms: int) -> Iterator[int]:
    start = int(window.panes.start_s(np.array([from_ms]))[0]) * SECOND_MS
    while True:
        if start >= from_ms:
            yield start
        start = window.next_ms(start)


def _made_of(longer: Window, windows: Sequence[Window], starts: Sequence[int]) -> Window | None:
    """The longest of `windows` that whole ones of make up each of the longer windows."""
    if not starts:
        shorter = [one for one in windows if one.about_ms < longer.about_ms]
        return max(shorter, key=lambda one: one.about_ms, default=None)
    ends = np.array([*starts, longer.end_ms(starts[-1])], dtype=np.int64)
    for one in sorted(windows, key=lambda one: -one.about_ms):
        if one.about_ms < longer.about_ms and bool((one.panes.start_s(ends) * SECOND_MS == ends).all()):
            return one
    return None


def _same(one: Window, other: Window, starts: Sequence[int]) -> bool:
    """Whether two windows are the same wherever it matters: a day of a calendar in UTC is `1d`."""
    if one.name == other.name:
        return True
    if not starts or abs(one.about_ms - other.about_ms) > DAY_MS // 8:
        return False
    ends = np.array([*starts, other.end_ms(starts[-1])], dtype=np.int64)
    if not (one.panes.start_s(ends) * SECOND_MS == ends).all():
        return False
    return bool((one.panes.next_s(ends[:-1] // SECOND_MS) * SECOND_MS == ends[1:]).all())


def _pane_ms(window: Window) -> int:
    return window.about_ms // window.span


def _too_long(measure: str, windows: Sequence[Window]) -> str:
    ranges = ", ".join(f"{_span(one, MOST_WINDOWS)} in {one.name}" for one in windows)
    can = "" if measure in MEASURES else f"; windows of a {measure} cannot be put together into longer ones exactly"
    return f"from: expected a range of at most {MOST_WINDOWS:,} windows, so {ranges}; found a longer one{can}"


def _span(window: Window, windows: int) -> str:
    """How long so many of its windows are, roughly: `41 days`, `16 hours`."""
    whole_ms = windows * _pane_ms(window)
    for unit_ms, name in ((DAY_MS, "days"), (3_600_000, "hours"), (60_000, "minutes")):
        if whole_ms >= 2 * unit_ms:
            return f"{whole_ms // unit_ms:,} {name}"
    return f"{whole_ms // SECOND_MS:,} seconds"
