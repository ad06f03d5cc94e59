"""What a rule would have done over a series of the past: scores, episodes, and how they agree with labels."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from sinks.alert_records import Scored, Severity
from sinks.records import iso
from stream.convert import times_of
from stream.episodes import Episodes
from stream.rules import Rule, lifecycle
from stream.windows import window_of
from streamgauge.series_file import SeriesRow

COLUMNS = ("timestamp", "value", "anomaly_score", "alert")
_METRIC, _WINDOW = "value", "1m"
_UTC = ZoneInfo("UTC")

Span = tuple[int, int]
"""From and to, in epoch ms, both included."""


class BacktestError(ValueError):
    """A rule or labels that make no sense. Says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A row, and what the rule makes of it."""

    row: SeriesRow
    score: float
    alert: bool
    """Whether an episode is open once the row has been judged."""


@dataclass(slots=True)
class Summary:
    """What came of it."""

    rows: int = 0
    missing: int = 0
    """Rows without a value."""
    back: int = 0
    """Rows whose time is before that of the row before; each is taken for that."""
    from_ms: int = 0
    to_ms: int = 0
    warm_ms: int | None = None
    """The first row that the detector could be believed at."""
    episodes: list[Span] = field(default_factory=list)
    """From the first row with an alert to the last."""
    alert_ms: list[int] = field(default_factory=list)
    """Times of the rows with an alert."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How episodes agree with labelled windows. *Precision* is the share of episodes that overlap a window, *recall*
    that of the windows in which there was an alert; each NaN where there is nothing to take a share of."""

    episodes: int
    right: int
    windows: int
    found: int
    delay_ms: float
    """From the start of a window to the first row with an alert in it; the median of those that were found."""

    @property
    def precision(self) -> float:
        return self.right / self.episodes if self.episodes else math.nan

    @property
    def recall(self) -> float:
        return self.found / self.windows if self.windows else math.nan


def make_rule(base: Rule | None, changes: Mapping[str, Any]) -> Rule:
    """The rule that is tried: one of a catalog with changes, or one of these alone. Raises BacktestError."""
    given: dict[str, Any] = {"metric": _METRIC, "window": _WINDOW}
    if base is not None:
        given = base.model_dump(exclude_unset=True)
        if changes.get("detector", base.detector) != base.detector:
            # Options and limits are in the terms of the detector that they were written for.
            for key in ("options", "severity", "close"):
                given.pop(key, None)
    merged = given | dict(changes)
    if "options" in changes:
        merged["options"] = given.get("options", {}) | changes["options"]
    try:
        return Rule.model_validate(merged)
    except ValidationError as error:
        told = [".".join(map(str, one["loc"])) + ": " * bool(one["loc"]) + _plain(one["msg"]) for one in error.errors()]
        raise BacktestError("; ".join(told)) from None


def opening(rule: Rule, limit: float | str) -> dict[Severity, float | str]:
    """The limits of a rule whose mildest is another; those no worse than it fall away. Raises BacktestError."""
    mildest = rule.limits[0][0]
    at = make_rule(rule, {"severity": {mildest: limit}, "close": None}).limits[0][1]
    return {mildest: limit} | {severity: rule.severity[severity] for severity, given in rule.limits[1:] if given > at}


def backtest(rule: Rule, rows: Iterable[SeriesRow], summary: Summary) -> Iterator[Judged]:
    """Judge each row as the processor judges each window of a series, with the same detector and the same episodes.

    The time of a row is taken for the end of its window. `summary` is filled on the way. Silences, notifications and
    what is in no series of its own (inhibition) do not come into it.
    """
    detector = rule.make()
    window = window_of(rule.window, _UTC)
    life = lifecycle(rule, "", window.about_ms, window.about_ms // window.span)
    episodes = Episodes(life, rule.metric, rule.window, ())
    last_ms: int | None = None
    was_open = False
    for row in rows:
        now_ms = row.time_ms if last_ms is None else max(row.time_ms, last_ms)
        summary.back += last_ms is not None and row.time_ms < last_ms
        if last_ms is None:
            summary.from_ms = now_ms
        x = {"value": row.value, "time": now_ms / 1_000}
        score = detector.score_one(x)
        expected, warm, why = detector.expected, detector.warm, detector.why
        detector.learn_one(x)
        if warm and summary.warm_ms is None:
            summary.warm_ms = now_ms
        missing = math.isnan(row.value)
        scored = Scored(
            rule=rule.called,
            metric=rule.metric,
            window=rule.window,
            start_ms=now_ms,
            dimensions=(),
            value=None if missing else row.value,
            score=score,
            warm=warm,
            anomalous=warm and score >= episodes.life.opens,
            expected=None if expected is None else expected.value,
            lower=None if expected is None else expected.lower,
            upper=None if expected is None else expected.upper,
            why=why,
            events=0 if missing else 1,
        )
        episodes.see(scored, now_ms)
        is_open = episodes.is_open
        episodes.settled()
        if is_open:
            summary.alert_ms.append(now_ms)
            begun = summary.episodes[-1][0] if was_open else now_ms
            summary.episodes[len(summary.episodes) - was_open :] = [(begun, now_ms)]
        was_open = is_open
        summary.rows += 1
        summary.missing += missing
        summary.to_ms = last_ms = now_ms
        yield Judged(row, score, is_open)


def write_scores(judged: Iterable[Judged], file: TextIO) -> None:
    """A row for each row, time and value as they were."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in judged:
        writer.writerow((each.row.timestamp, each.row.shown, repr(each.score), int(each.alert)))


def read_labels(path: Path, name: str) -> list[Span]:
    """Labelled windows: a list of `[from, to]`, or an object with such a list for each file, as NAB has them, of which
    that is taken whose name ends with `name`. Raises BacktestError."""
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise BacktestError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BacktestError(f"{path}: not JSON: {error}") from None
    if isinstance(found, dict):
        name = name.removesuffix(".gz")
        fitting = [key for key in found if key == name or key.endswith(f"/{name}")]
        if len(fitting) != 1:
            several = f"several: {', '.join(fitting)}" if fitting else "none"
            raise BacktestError(f"{path}: expected one entry whose name ends with {name!r}, found {several}")
        found = found[fitting[0]]
    if not isinstance(found, list):
        raise BacktestError(f"{path}: expected a list of [from, to], found {found!r}")
    return [_span(path, window) for window in found]


def judge(summary: Summary, windows: Sequence[Span]) -> Verdict:
    """Hold the episodes against labelled windows."""
    delays = []
    for start_ms, end_ms in windows:
        first_ms = next((at for at in summary.alert_ms if start_ms <= at <= end_ms), None)
        if first_ms is not None:
            delays.append(first_ms - start_ms)
    right = sum(any(first <= end and start <= last for start, end in windows) for first, last in summary.episodes)
    return Verdict(
        episodes=len(summary.episodes),
        right=right,
        windows=len(windows),
        found=len(delays),
        delay_ms=median(delays) if delays else math.nan,
    )


def report(rule: Rule, summary: Summary, verdict: Verdict | None, seconds: float) -> Iterator[str]:
    """The summary, for people."""
    if not summary.rows:
        yield "no rows"
        return
    yield f"rows        {summary.rows:,}, {iso(summary.from_ms)} to {iso(summary.to_ms)}"
    if summary.missing:
        yield f"            {summary.missing:,} without a value"
    if summary.back:
        yield f"            {summary.back:,} whose time goes back, taken for the time before"
    warm = "never warm" if summary.warm_ms is None else f"warm at {iso(summary.warm_ms)}"
    yield f"detector    {rule.detector}, opens at {rule.limits[0][1] * rule.kind.orientation:g}, {warm}"
    share = len(summary.episodes) / summary.rows * 10_000
    yield f"episodes    {len(summary.episodes):,}, {share:.1f} in 10,000 rows"
    yield f"speed       {summary.rows / max(seconds, 1e-9):,.0f} rows a second"
    if verdict is not None:
        yield f"precision   {_share(verdict.precision)}, {verdict.right} of {verdict.episodes} episodes in a window"
        yield f"recall      {_share(verdict.recall)}, {verdict.found} of {verdict.windows} windows found"
        yield f"delay       {_duration(verdict.delay_ms)}"


def _share(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.2f}"


def _duration(delay_ms: float) -> str:
    if math.isnan(delay_ms):
        return "-"
    seconds = round(delay_ms / 1_000)
    for size, unit, smaller, its in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // smaller} {its}"
    return f"{seconds} s"


def _span(path: Path, window: Any) -> Span:
    bad: dict[int, Any] = {}
    times = None
    if isinstance(window, list) and len(window) == 2:
        with suppress(TypeError):
            times = times_of("time", window, bad)
    if times is None or bad or None in window or times[0] > times[1]:
        raise BacktestError(f"{path}: expected [from, to], two times of which the first is earlier, found {window!r}")
    return int(times[0]), int(times[1])


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")
