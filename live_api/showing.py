"""Which of a metric's windows is shown, and which one its history is drawn from, where nobody says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from stream.durations import DAY_MS, MINUTE_MS, TOTAL
from stream.forecast import Forecast
from stream.metrics import Metric
from stream.windows import Fixed, Window, window_of

_GROWING = frozenset({"count", "sum", "distinct", "top_k"})
"""Measures whose value of an open window only grows towards its total."""
_UTC = ZoneInfo("UTC")


def main_window(metric: Metric) -> str:
    """The window whose value is shown.

    A total reads best over the longest window up to a day, which grows with every event and starts again once a day.
    Anything else over a day would hide the moment, and over ten seconds would jump: the shortest from a minute up.
    """
    windows = _plainest(metric)
    if metric.measure in _GROWING:
        return max((one for one in windows if one.about_ms <= DAY_MS), key=_width, default=windows[0]).name
    return min((one for one in windows if one.about_ms >= MINUTE_MS), key=_width, default=windows[-1]).name


def fine_window(metric: Metric) -> str:
    """The window that an hour of history is drawn from: of a minute, or the nearest to it, of two the shorter."""
    return min(_plainest(metric), key=lambda one: abs(math.log(one.about_ms / MINUTE_MS))).name


def forecast_window(metric: Metric, key: str | None, asked: bool | None, forecasts: Sequence[Forecast]) -> str | None:
    """The window in which lines of a metric go on into what is forecast of it; None where they do not.

    It is that of the history. Where a forecast is `asked` for and there is none of that, the history is of the shortest
    window that has one.
    """
    of = (one for one in forecasts if one.metric == metric.name and asked is not False)
    own = [one.window for one in of if key == (None if one.key is None else metric.key_of(one.key))]
    fine = fine_window(metric)
    if fine in own or not asked:
        return fine if fine in own else None
    windows = sorted((window_of(name, _UTC) for name in own), key=_width)
    return next((one.name for one in windows if isinstance(one.panes, Fixed)), None)


def _plainest(metric: Metric) -> list[Window]:
    """Its windows of a fixed width, shortest first; where there are none those of the calendar, and then any."""
    # The zone decides when a day begins, not how long it is.
    windows = sorted((window_of(name, _UTC) for name in metric.windows if name != TOTAL), key=_width)
    whole = [one for one in windows if one.span == 1]
    return [one for one in whole if isinstance(one.panes, Fixed)] or whole or windows


def _width(window: Window) -> int:
    return window.about_ms
