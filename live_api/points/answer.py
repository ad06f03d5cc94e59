"""The answer to a question about the past: series on a row of windows, with what stands beside and between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from zoneinfo import ZoneInfo

from live_api.points.choose import Choice, Impossible, choose
from live_api.points.question import Question
from live_api.points.shift import shifted
from sinks.history import Past, Series
from sinks.records import Value
from sinks.runs import STATES, Run

MOST_CELLS = 1_000_000
"""Windows times series of one answer."""
_FINAL = STATES.index(STATES[1])
_ADDS_UP = frozenset({"count", "sum"})


class Cell(NamedTuple):
    """One window of one series."""

    value: Value
    events: int
    state: int
    """Which of `STATES`."""
    revision: int
    error: float | None
    filled: bool = False
    """The store has no point of it: there were no events."""


@dataclass(frozen=True, slots=True)
class Filling:
    """Which windows without a point are known to have had no events, and what stands there."""

    fill: str
    from_ms: int | None
    """When the first window starts that the store has of the metric; None: it has none."""
    to_ms: int | None
    """Up to when the store has everything."""

    def covers(self, start_ms: int, end_ms: int) -> bool:
        if self.fill == "none" or self.from_ms is None or self.to_ms is None:
            return False
        return end_ms > self.from_ms and end_ms <= self.to_ms


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found. `runs` and `compared` are of the same series, by dimensions."""

    choice: Choice
    runs: list[Run]
    then: list[int | None] | None
    """For each window the start of the one beside it; None where nothing is compared."""
    then_ends: list[int]
    """When those windows end; 0 where there is none."""
    compared: list[Run]
    filling: Filling
    series_total: int
    watermark_ms: int | None
    """Up to when the store has everything."""

    @property
    def ends(self) -> list[int]:
        return [*self.choice.starts[1:], self.choice.end_ms] if self.choice.starts else []


def answer(past: Past, asked: Question, zone: ZoneInfo) -> Answer:
    """Reads what is asked for. Raises Impossible, SinkError."""
    metric = asked.metric
    from_ms, to_ms = _range(past, asked)
    windows = metric["windows"]
    choice = choose(
        metric["measure"], windows, zone, from_ms=from_ms, to_ms=to_ms, window=asked.window, step=asked.step
    )
    then = None if asked.compare is None else shifted(choice, asked.compare, zone)
    found = past.series(metric["name"], choice.window.name, metric["by"], asked.dimensions)
    total = len(found)
    cells = len(choice.starts) * min(total, asked.limit)
    if cells > MOST_CELLS:
        raise Impossible(
            f"limit: expected at most {MOST_CELLS:,} points, so {MOST_CELLS // len(choice.starts):,} series of "
            f"{len(choice.starts):,} windows; found {min(total, asked.limit):,}. Ask for less series, less time, or "
            "without window"
        )
    if not choice.starts:
        return Answer(choice, [], then, [], [], Filling("none", None, None), total, None)
    if total > asked.limit:
        adds_up = metric["measure"] in _ADDS_UP
        found = past.largest(found, choice.starts[0], choice.end_ms, asked.limit, adds_up=adds_up)
    watermark_ms = past.watermark_ms([one.id for one in found], of_events=asked.of_events)
    bounds = past.bounds(metric["name"], choice.window.name, asked.own) if asked.fill != "none" else None
    filling = Filling(asked.fill, None if bounds is None else bounds[0], watermark_ms)
    runs = _runs(past, found, choice, asked, watermark_ms)
    compared = _compared(past, found, choice, then, asked, watermark_ms)
    then_ends = [0 if start is None else choice.step.end_ms(start) for start in then or ()]
    return Answer(choice, runs, then, then_ends, compared, filling, total, watermark_ms)


def cells(run: Run, starts: Sequence[int | None], ends: Sequence[int], filling: Filling) -> list[Cell | None]:
    """A series on a row of windows; None where nothing is known.

    A window of the range that is compared with is as long as the one that it stands beside, but for days on which
    clocks are set.
    """
    at = dict(zip(run.starts, _points(run), strict=True))
    found: list[Cell | None] = []
    before: Value = None
    for start_ms, end_ms in zip(starts, ends, strict=True):
        cell = None if start_ms is None else at.get(start_ms)
        if cell is None and start_ms is not None and filling.covers(start_ms, end_ms):
            value = {"zero": 0, "previous": before}.get(filling.fill)
            cell = Cell(value, 0, _FINAL, 0, None, filled=True)
        if cell is not None:
            before = cell.value
        found.append(cell)
    return found


def _points(run: Run) -> list[Cell]:
    none: list[None] = [None] * len(run.starts)
    zeros = [0] * len(run.starts)
    counts, revisions = run.counts or zeros, run.revisions or zeros
    columns = zip(run.values, counts, run.states, revisions, run.errors or none, strict=True)
    return [Cell(*one) for one in columns]


def _range(past: Past, asked: Question) -> tuple[int, int]:
    """What is left open reaches as far as the store does."""
    if asked.from_ms is not None and asked.to_ms is not None:
        return asked.from_ms, asked.to_ms
    names = asked.metric["windows"] if asked.window is None else [asked.window]
    known = [found for name in names if (found := past.bounds(asked.metric["name"], name, asked.own)) is not None]
    from_ms = min((first for first, _ in known), default=0) if asked.from_ms is None else asked.from_ms
    to_ms = max((last + 1 for _, last in known), default=0) if asked.to_ms is None else asked.to_ms
    return from_ms, max(from_ms, to_ms)


def _runs(past: Past, found: Sequence[Series], choice: Choice, asked: Question, watermark_ms: int | None) -> list[Run]:
    if choice.combines:
        how = choice.how(asked.metric["measure"])
        return past.combined(found, choice.starts, choice.end_ms, how, watermark_ms)
    return past.runs(found, choice.starts, details=asked.shape == "rows")


def _compared(
    past: Past,
    found: Sequence[Series],
    choice: Choice,
    then: Sequence[int | None] | None,
    asked: Question,
    watermark_ms: int | None,
) -> list[Run]:
    known = [start for start in then or () if start is not None]
    if not known:
        return [Run(one.dimensions, [], "", []) for one in found] if then is not None else []
    row = [min(known)]
    while row[-1] < max(known):
        row.append(choice.step.next_ms(row[-1]))
    return _runs(past, found, replace(choice, starts=row), asked, watermark_ms)
