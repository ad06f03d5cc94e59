"""`[engagement]`: a score for each person from weighted actions that fade, levels, and how many people are where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import Field, model_validator

from stream.arrays import Floats, Ints
from stream.durations import DAY_MS, duration_ms
from stream.expressions import FieldType
from stream.people.base import Column, FactKind, Facts, Needs, Run, Setting, State, UnitKey
from stream.people.periods import CalendarPeriods
from stream.people.segments import is_first, is_last, rank, totals
from stream.people.spans import add_spans
from stream.tables import Duration, Table

INACTIVE = "inactive"
MOST_DAYS = 400
"""For so many days from an action on it is said what is left of its score."""
_MOST_LEVELS = 20
_HIGHEST_SCORE = 1_000_000
_ROUNDING = 1e-9
"""A score that is short of a bound by this share of it has reached it: sums differ so in another order."""
_NEVER_MS = -1
_NO_DAY = 1 << 40


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Action(Table):
    """`[[engagement.action]]`: something that people do, and what it is worth."""

    where: str
    """SQL condition on the events that are one."""
    weight: Positive = 1


class Engagement(Table):
    """`[engagement]`: each person's score is the sum of their actions' weights, each halved every `half_life`.

    An event that is several actions counts as each of them.
    """

    half_life: Duration = "7d"
    action: list[Action] = Field(min_length=1, max_length=30)
    levels: dict[Annotated[str, Field(min_length=1, max_length=64)], Positive] = Field(
        {"casual": 1, "regular": 5, "power": 20}, min_length=1, max_length=_MOST_LEVELS
    )
    """The scores from which on people are of each level. Who is below the least is `inactive`, and is not counted:
    that has no end."""

    @model_validator(mode="after")
    def _check(self) -> Engagement:
        if INACTIVE in self.levels:
            raise ValueError(f"levels: expected names other than {INACTIVE}, found {INACTIVE!r}")
        bounds = list(self.levels.values())
        if len(set(bounds)) < len(bounds):
            raise ValueError(f"levels: expected another score for each, found {self.levels!r}")
        if min(bounds) < 1e-6 or max(bounds) > _HIGHEST_SCORE:
            raise ValueError(f"levels: expected scores from 0.000001 to {_HIGHEST_SCORE}, found {self.levels!r}")
        return self

    @property
    def rising(self) -> list[tuple[float, str]]:
        """Levels and the scores they begin at, from the least."""
        return sorted((float(score), name) for name, score in self.levels.items())

    def needs(self) -> Needs:
        return Needs(conditions=tuple(dict.fromkeys(action.where for action in self.action)))

    def unit(self) -> Sequence[UnitKey]:
        return ()

    def kinds(self, zone: ZoneInfo) -> Sequence[FactKind]:
        days = CalendarPeriods("day", zone)
        return [
            FactKind("engagement.level", {"level": FieldType.STRING}, periods=days),
            FactKind("engagement.score", {"score": FieldType.STRING}, periods=days),
            FactKind("engagement", {"level": FieldType.STRING, "score": FieldType.NUMBER}, is_line=True),
        ]

    def metrics(self) -> Iterator[Mapping[str, Any]]:
        for name, field, title in (
            ("engagement_people", "level", "People by level of engagement"),
            ("engagement_scores", "score", "People by score of engagement, from"),
        ):
            yield {
                "name": name,
                "title": title,
                "measure": "count",
                "on": f"engagement.{field}",
                "by": [field],
                "windows": ["day"],
                "unit": "people",
                "description": "At the end of the day, if nothing more happens.",
            }

    def make(self, setting: Setting) -> _Engagement:
        return _Engagement(self, setting)


class _Engagement:
    """Of each person the score at the latest action and its time are kept.

    From them follows until which day the score is above each bound: that is said as spans of days when there is an
    action, and for the days from the next one's on taken back then. *Cost*: 16 bytes a person.
    """

    columns: Sequence[Column] = (Column("score", np.float64, 0.0), Column("time_ms", np.int64, _NEVER_MS))

    def __init__(self, declared: Engagement, setting: Setting) -> None:
        code = setting.vocabulary.code
        self._weights = [(action.where, float(action.weight)) for action in declared.action]
        self._half_life_ms = duration_ms(declared.half_life)
        self._days = CalendarPeriods("day", setting.zone)
        levels = declared.rising
        least = levels[0][0]
        self._inactive = code(INACTIVE)
        self._levels = [(bound, code(name)) for bound, name in levels]
        # Whoever is of no level is not counted by score either.
        self._scores = [(max(bound, least), code(text)) for bound, text in score_bounds(least)]

    def run(self, state: State, run: Run, facts: Facts) -> None:
        worth = np.zeros(len(run.owner))
        for where, weight in self._weights:
            worth[run.conditions[where]] += weight
        rows = np.flatnonzero(worth)
        if not len(rows):
            return
        owner, time_ms, score, day = self._daily(run.owner[rows], run.time_ms[rows], worth[rows], state)
        following = np.append(day[1:], 0)
        following[is_last(owner)] = _NO_DAY
        seen = np.flatnonzero(is_first(owner) & (state["time_ms"][owner] != _NEVER_MS))
        known = owner[seen]
        said_ms = state["time_ms"][known]
        self._say(
            facts,
            score=np.concatenate((score, state["score"][known])),
            time_ms=np.concatenate((time_ms, said_ms)),
            day=np.concatenate((day, self._days.of(said_ms))),
            first=np.concatenate((day, day[seen])),
            after=np.concatenate((following, np.full(len(known), _NO_DAY))),
            weight=np.repeat([1, -1], [len(owner), len(known)]),
        )
        last = is_last(owner)
        owner, time_ms, score = owner[last], time_ms[last], score[last]
        state["score"][owner] = score
        state["time_ms"][owner] = time_ms
        one_line = np.zeros(len(owner), dtype=np.uint64)
        facts.tell("engagement", owner, one_line, time_ms, level=self._level(score), score=score)

    def due_ms(self, state: State) -> None:
        return None

    def _daily(self, owner: Ints, time_ms: Ints, worth: Floats, state: State) -> tuple[Ints, Ints, Floats, Ints]:
        """For each person and day with an action: person, time of the day's last action, score at that time, day."""
        day = self._days.of(time_ms)
        ends = is_last(owner)
        ends[:-1] |= day[1:] != day[:-1]
        place: Ints = np.cumsum(ends) - ends
        at = np.flatnonzero(ends)
        of_day = totals(worth * self._left(time_ms[at][place] - time_ms), place, len(at))
        owner, time_ms, day = owner[at], time_ms[at], day[at]
        number = rank(owner)
        order = np.argsort(number, kind="stable")
        bounds = np.cumsum(np.bincount(number))[:-1]
        score, score_ms = state["score"].copy(), state["time_ms"].copy()
        # One step for each day that anybody has, however many people have it.
        for rows in np.split(order, bounds):
            who, now_ms = owner[rows], time_ms[rows]
            score[who] = score[who] * self._left(now_ms - score_ms[who]) + of_day[rows]
            score_ms[who] = now_ms
            of_day[rows] = score[who]
        return owner, time_ms, of_day, day

    def _left(self, passed_ms: Ints) -> Floats:
        """What is left of 1 after so many milliseconds (n): `0.5 ** (passed / half_life)`."""
        left: Floats = np.exp2(passed_ms / -self._half_life_ms)
        return left

    def _level(self, score: Floats) -> Ints:
        bounds = np.array([bound for bound, _ in self._levels]) * (1 - _ROUNDING)
        codes = np.array([self._inactive, *(code for _, code in self._levels)], dtype=np.int64)
        return codes[np.searchsorted(bounds, score, side="right")]

    def _say(
        self, facts: Facts, *, score: Floats, time_ms: Ints, day: Ints, first: Ints, after: Ints, weight: Ints
    ) -> None:
        """Say what follows from scores (n) at times, on days `day`, for the days from `first` to before `after`."""
        after = np.minimum(after, day + MOST_DAYS)
        halvings = np.log2(score)
        highest = float(score.max())
        starts = self._days.start_ms(np.arange(int(day.min()), int(day.max()) + MOST_DAYS + 2))
        for kind, field, bounds in (
            ("engagement.level", "level", self._levels),
            ("engagement.score", "score", self._scores),
        ):
            # From the highest bound on: scores are above it before they are below it and above the next.
            begin = first
            spans: list[tuple[Ints, ...]] = []
            for bound, code in reversed(bounds):
                if highest < bound * (1 - _ROUNDING):
                    continue
                below = self._below(halvings, time_ms, bound, day, starts)
                end = np.minimum(after, below)
                some = np.flatnonzero(end > begin)
                spans.append((begin[some], end[some], weight[some], np.full(len(some), code)))
                begin = np.maximum(first, below)
            if spans:
                begins, ends, weights, codes = (np.concatenate(column) for column in zip(*spans, strict=True))
                add_spans(facts, kind, begins, ends, weights, {field: codes})

    def _below(self, halvings: Floats, time_ms: Ints, bound: float, day: Ints, starts: Ints) -> Ints:
        """First day, from `day` (n) on, at whose end scores of 2 to the power of `halvings` (n) are less than a bound.

        That is the day during which one gets there: at that moment itself it is not yet less.
        """
        left = halvings - np.log2(bound * (1 - _ROUNDING))
        some = np.flatnonzero(left >= 0)
        found = day.copy()
        if len(some):
            most = (MOST_DAYS + 2) * DAY_MS
            lasts_ms = np.floor(np.minimum(left[some] * self._half_life_ms, most)).astype(np.int64)
            found[some] = np.searchsorted(starts, time_ms[some] + lasts_ms, side="right") - 1 + int(day.min())
        return found


def score_bounds(least: float) -> list[tuple[float, str]]:
    """Scores 1, 2, 5, 10 and so on that buckets begin at, with their names, from the last that is not above `least`."""
    bounds = [(float(f"{digit}e{power}"), _plain(digit, power)) for power in range(-6, 6) for digit in (1, 2, 5)]
    bounds.append((float(_HIGHEST_SCORE), str(_HIGHEST_SCORE)))
    first = max(place for place, (bound, _) in enumerate(bounds) if bound <= least)
    return bounds[first:]


def _plain(digit: int, power: int) -> str:
    """`5e-2` → `0.05`."""
    return f"{digit * 10**power}" if power >= 0 else f"{digit / 10**-power:.{-power}f}"
