"""The points of a window that is named, as they are: what is asked for most, and by every reader from before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from zoneinfo import ZoneInfo

import numpy as np
import orjson

from live_api.points.question import Question
from sinks.history import Past
from sinks.records import Point
from sinks.runs import STATES, Run
from stream.windows import window_of

_MOST_READ = 200_000
"""Windows times series that are read at once, whether or not they have points."""


def earliest(past: Past, asked: Question, zone: ZoneInfo, limit: int) -> list[Run] | None:
    """Points of each series, at least the `limit` earliest of them all; None where they lie so far apart, in so long a
    range, that the database should look for them. Raises SinkError."""
    metric, window = asked.metric, asked.window
    assert window is not None
    series = past.series(metric["name"], window, metric["by"], asked.dimensions)
    known = past.bounds(metric["name"], window, asked.own)
    if not series or known is None:
        return []
    from_ms = known[0] if asked.from_ms is None else max(asked.from_ms, known[0])
    to_ms = known[1] + 1 if asked.to_ms is None else min(asked.to_ms, known[1] + 1)
    shown = window_of(window, zone)
    pane_ms = shown.about_ms // shown.span
    windows = (to_ms - from_ms) // pane_ms
    # Where there is a point nearly everywhere, the beginning is enough.
    beginning = 5 * limit // (4 * len(series)) + 1
    if windows > beginning:
        found = past.between(series, from_ms, from_ms + beginning * pane_ms)
        if sum(len(run.starts) for run in found) >= limit:
            return found
    return past.between(series, from_ms, to_ms) if windows * len(series) <= _MOST_READ else None


def written(asked: Question, runs: Sequence[Run], limit: int) -> bytes:
    """The `limit` earliest points in JSON, by start and then by dimensions."""
    rows: list[tuple[int, int, str]] = []
    all_starts = sorted(chain.from_iterable(run.starts for run in runs))
    truncated = len(all_starts) > limit
    different = sorted(set(all_starts[:limit]))
    # Windows start at whole seconds, and a thousand texts made at once take as long as ten made one by one.
    shown = np.datetime_as_string(np.array(different, dtype="datetime64[ms]"), unit="s").tolist()
    texts = dict(zip(different, shown, strict=True))
    for place, run in enumerate(runs):
        if not run.starts:
            continue
        before = f'{{"metric":"{asked.metric["name"]}","window":"{asked.window}","start":"'
        after = f'","dimensions":{orjson.dumps(dict(run.dimensions)).decode()},"value":'
        # Of one number each, a comma stands between two values only.
        values = run.values_json.split(",") if "{" not in run.values_json else [_json(one) for one in run.values]
        columns = (run.starts, values, run.counts, run.states, run.revisions, run.errors)
        for start_ms, value, count, state, revision, error in zip(*columns, strict=True):
            start = texts.get(start_ms)
            if start is None:
                break
            off = "" if error is None else f',"error":{_json(error)}'
            said = f'"count":{count},"state":"{STATES[state].value}","revision":{revision}{off}'
            rows.append((start_ms, place, f"{before}{start}Z{after}{value},{said}}}"))
    rows.sort(key=lambda row: row[:2])
    return _answer(asked, ",".join(text for _, _, text in rows[:limit]), truncated=truncated)


def written_points(asked: Question, points: Sequence[Point], limit: int) -> bytes:
    """The same of points; those with other dimensions are of a former catalog, and left out."""
    own = [one for one in points[:limit] if [name for name, _ in one.dimensions] == asked.metric["by"]]
    return _answer(asked, ",".join(_json(one.to_json()) for one in own), truncated=len(points) > limit)


def _answer(asked: Question, points: str, *, truncated: bool) -> bytes:
    head = f'"metric":"{asked.metric["name"]}","window":"{asked.window}"'
    return f'{{{head},"points":[{points}],"truncated":{_json(truncated)}}}'.encode()


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
