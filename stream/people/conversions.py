"""What a funnel says of people: who reaches which step, under which label, and how long it takes.

A unit's events are of one entrant or of several, one after the other; an entrant counts once for each step that it
reaches, in the window of its entry. Where the catalog names a period, the first step in another period than that of
the present entrance begins a new entrant, and chains of before are cut off; with units of sessions, each session does.
In any order there is no first step: there the first event of any step in another period begins a new entrant.

Only a unit's last entrant is kept: what was said of the others stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from stream.arrays import Ints, Mask
from stream.digests import Hashes, hashes_of
from stream.durations import SECOND_MS, duration_ms
from stream.people.base import LONG_AGO_MS, Column, Facts, Run, Setting, State
from stream.people.chains import AnyOrder, Events, Order, Ordered, Rules, Strict
from stream.people.periods import CalendarPeriods
from stream.people.segments import before, is_first, is_last
from stream.people.vocabulary import NONE

if TYPE_CHECKING:
    from stream.people.funnel import Funnel

ALL = "all"
"""In the place of a step: from the first to the last. Of a breakdown: every value that there is."""
WITHIN = ("10s", "30s", "1m", "5m", "10m", "30m", "1h", "3h", "6h", "12h", "1d", "3d", "7d", "14d", "more")
"""What times to convert are counted by: each in the smallest that holds it."""
_WITHIN_MS = np.array([duration_ms(text) for text in WITHIN[:-1]], dtype=np.int64)
_REMOVED = -1
"""The depth of an entrant that did what is excluded: nothing is said of it any more."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_ORDERS: Mapping[str, Callable[[Rules], Order]] = {"ordered": Ordered, "strict": Strict, "any": AnyOrder}


@dataclass(frozen=True, slots=True)
class _Entrants:
    """Who of a run the entrants are (e), in order of unit and time."""

    owner: Ints
    """Which entrant each of the events is of (n), rising."""
    unit: Ints
    """Which of the run's units each is of (e)."""
    anew: Mask
    """Which begin in this run (e); the others go on from the state."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """How far entrants (e) are said to have come, and under which label."""

    depth: Ints
    label: Ints


@dataclass(frozen=True, slots=True)
class _Steps:
    """That entrants reach steps (k)."""

    who: Ints
    """Which entrant (k)."""
    step: Ints
    """From 1 (k)."""
    at_ms: Ints
    """When (k)."""
    since_ms: Ints
    """How long after the step before (k)."""
    whole_ms: Ints
    """How long after the chain began (k)."""


class Conversions:
    """The analysis of one funnel.

    *Cost*: for a funnel of four steps some 100 to 400 ns for an event that takes a step or, in strict order, for any
    event; in any order up to twice that. Of each person about two numbers are kept for a step, and two more where
    something is excluded: 41 and 113 bytes.
    """

    def __init__(self, funnel: Funnel, setting: Setting) -> None:
        self._funnel = funnel
        self._vocabulary = setting.vocabulary
        self._steps = len(funnel.steps)
        self._order: Order = _ORDERS[funnel.order](funnel.rules)
        self._periods = None if funnel.period == "total" else CalendarPeriods(funnel.period, setting.zone)
        self._salt: np.uint64 = hashes_of(pl.Series([funnel.name]))[0]
        self._begins_anew = self._periods is not None or funnel.entrants == "session"
        self._takes_back = bool(funnel.exclude)
        self._is_labelled = funnel.breakdown is not None
        self._label = None if funnel.attribution == ALL else funnel.breakdown
        """The text that is read of events; of `all`, labels are of units."""
        self._labelled_by = _labelling(funnel.attribution, self._steps)
        # What may have to be taken back. Before the first step there is none: its place is that of the whole time.
        remembered = ("reached_ms", "since_ms") if self._takes_back else ()
        self.columns: Sequence[Column] = (
            Column("depth", np.int8, 0),
            *self._order.columns,
            *([Column("began_ms", np.int64, LONG_AGO_MS)] if self._begins_anew else ()),
            *([Column("label", np.int32, NONE)] if self._label is not None else ()),
            *(Column(name, np.int64, 0, self._steps) for name in remembered),
        )

    def run(self, state: State, run: Run, facts: Facts) -> None:
        rows = self._rows(run)
        if not len(rows):
            return
        steps = [run.conditions[step.where][rows] for step in self._funnel.steps]
        excluded = [run.conditions[exclude.where][rows] for exclude in self._funnel.exclude]
        entrants = self._entrants(state, run, rows, steps)
        events = Events(entrants.owner, run.time_ms[rows], steps, excluded)
        held = {column.name: state[column.name][entrants.unit] for column in self.columns}
        for column in self.columns:
            held[column.name][entrants.anew] = column.fill
        label = self._label_held(run, entrants, held)
        was = _Standing(held["depth"].astype(np.int64), label)
        now = _Standing(was.depth.copy(), label.copy())

        reached, removed = self._order.follow(events, held)
        news = []
        for step, found in enumerate(reached, 1):
            who, place = _first_of_each(events.owner[found.rows], was.depth, step)
            at = found.rows[place]
            at_ms = events.time_ms[at]
            whole_ms = at_ms - found.entry_ms[place]
            news.append(_Steps(who, np.full_like(who, step), at_ms, found.since_ms[place], whole_ms))
            now.depth[who] = step
            if self._label is not None and step in self._labelled_by:
                now.label[who] = run.texts[self._label][rows[at]]
        now.depth[removed] = _REMOVED
        if self._begins_anew:
            held["began_ms"][news[0].who] = news[0].at_ms

        began_ms = held.get("began_ms", np.zeros_like(was.depth))
        window_ms = self._window_ms(began_ms)
        reference = (run.unit_hash[entrants.unit] ^ self._salt) + began_ms.astype(np.uint64) * _MIX
        self._say_people(facts, window_ms, was, now)
        if self._takes_back:
            gone = self._remembered(held, np.where(now.depth == _REMOVED, np.maximum(was.depth, 0), 0))
            self._say_steps(facts, entrants.unit, reference, window_ms, gone, -1)
            self._remember(held, news)
        self._say_steps(facts, entrants.unit, reference, window_ms, _all_of(news, now.depth != _REMOVED), 1)

        held["depth"] = now.depth.astype(np.int8)
        if self._label is not None:
            held["label"] = now.label.astype(np.int32)
        last = is_last(entrants.unit)
        for name, values in held.items():
            state[name][entrants.unit[last]] = values[last]

    def due_ms(self, state: State) -> Ints | None:
        return None

    def _rows(self, run: Run) -> Ints:
        """The events that matter (n): in strict order all of them."""
        if self._funnel.order == "strict":
            return np.arange(len(run.owner))
        matter = [run.conditions[text] for text in self._funnel.needs().conditions]
        if self._funnel.entrants == "session":
            matter.append(_session_begins(run))
        return np.flatnonzero(np.logical_or.reduce(matter))

    def _entrants(self, state: State, run: Run, rows: Ints, steps: Sequence[Mask]) -> _Entrants:
        unit = run.owner[rows]
        anew = np.zeros(len(rows), dtype=np.bool_)
        if self._funnel.entrants == "session":
            anew |= _session_begins(run)[rows]
        if self._periods is not None:
            opening = np.flatnonzero(np.logical_or.reduce(steps) if self._funnel.order == "any" else steps[0])
            mine = unit[opening]
            present = np.full(run.units, LONG_AGO_MS)
            seen = mine[is_first(mine)]
            seen = seen[state["began_ms"][seen] != LONG_AGO_MS]
            present[seen] = self._periods.of(state["began_ms"][seen])
            # All openings of one entrant are of one period, so the one before stands for the entrance.
            period = self._periods.of(run.time_ms[rows[opening]])
            anew[opening] |= period != before(period, mine, present)
        begins = is_first(unit) | anew
        return _Entrants(np.cumsum(begins) - 1, unit[begins], anew[begins])

    def _label_held(self, run: Run, entrants: _Entrants, held: State) -> Ints:
        """The label that each entrant has so far (e)."""
        if self._label is not None:
            return held["label"].astype(np.int64)
        if self._is_labelled:
            return run.unit_texts[0][entrants.unit]
        return np.full_like(entrants.unit, NONE)

    def _window_ms(self, began_ms: Ints) -> Ints:
        """The time of facts about entrants (e)."""
        found = np.zeros_like(began_ms)
        if self._periods is not None:
            entered = began_ms != LONG_AGO_MS
            found[entered] = self._periods.start_ms(self._periods.of(began_ms[entered]))
        return found

    def _say_people(self, facts: Facts, window_ms: Ints, was: _Standing, now: _Standing) -> None:
        """Who is at which step, and who no longer, as far as it is not what was said before."""
        was_depth, depth = np.maximum(was.depth, 0), np.maximum(now.depth, 0)
        same = np.where(was.label == now.label, np.minimum(was_depth, depth), 0)
        codes = self._step_codes()
        for weight, label, upto in ((-1, was.label, was_depth), (1, now.label, depth)):
            who, step = _each_step(same, upto)
            fields = {"breakdown": label[who]} if self._is_labelled else {}
            facts.add(self._funnel.kind, window_ms[who], np.full_like(who, weight), step=codes[step], **fields)

    def _say_steps(
        self, facts: Facts, unit: Ints, reference: Hashes, window_ms: Ints, steps: _Steps, weight: int
    ) -> None:
        """When entrants reached steps and how long it took; with a weight of -1 that is taken back."""
        codes = self._step_codes()
        within = np.array([self._vocabulary.code(text) for text in WITHIN], dtype=np.int64)
        further, through = steps.step > 1, steps.step == self._steps
        for some, step, took_ms in (
            (further, codes[steps.step], steps.since_ms),
            (through, np.full_like(steps.step, self._vocabulary.code(ALL)), steps.whole_ms),
        ):
            who = steps.who[some]
            facts.add(
                f"{self._funnel.kind}.seconds",
                window_ms[who],
                np.full_like(who, weight),
                step=step[some],
                seconds=took_ms[some] / SECOND_MS,
                within=within[np.searchsorted(_WITHIN_MS, took_ms[some])],
            )
        facts.tell(
            "funnel",
            unit[steps.who],
            (reference[steps.who] ^ steps.step.astype(np.uint64)) * _MIX,
            steps.at_ms,
            np.full_like(steps.who, weight),
            funnel=np.full_like(steps.who, self._vocabulary.code(self._funnel.name)),
            step=steps.step,
        )

    def _remember(self, held: State, news: Sequence[_Steps]) -> None:
        for new in news:
            held["reached_ms"][new.who, new.step - 1] = new.at_ms
            held["since_ms"][new.who, new.step - 1] = new.since_ms
        held["since_ms"][news[-1].who, 0] = news[-1].whole_ms

    def _remembered(self, held: State, depth: Ints) -> _Steps:
        """What was said of entrants (e) that had come so far (e)."""
        who, step = _each_step(np.zeros_like(depth), depth)
        since_ms = held["since_ms"]
        return _Steps(who, step, held["reached_ms"][who, step - 1], since_ms[who, step - 1], since_ms[who, 0])

    def _step_codes(self) -> Ints:
        """The vocabulary's number of each step, which are from 1."""
        return np.array([NONE, *(self._vocabulary.code(str(step + 1)) for step in range(self._steps))], dtype=np.int64)


def _labelling(attribution: str | int, steps: int) -> range:
    """The steps at which an entrant gets its label."""
    if isinstance(attribution, int):
        return range(attribution, attribution + 1)
    return range(1, (steps if attribution == "last" else 1) + 1)


def _session_begins(run: Run) -> Mask:
    if run.session_begins is None:
        raise ValueError("a funnel of sessions: expected a run that has session_begins, found one without")
    return run.session_begins


def _first_of_each(owner: Ints, depth: Ints, step: int) -> tuple[Ints, Ints]:
    """Which entrants a step takes further than their `depth` (e), and the place of each one's first row (k)."""
    place = np.full(len(depth), -1)
    place[owner[::-1]] = np.arange(len(owner))[::-1]
    who = np.flatnonzero((place >= 0) & (depth >= 0) & (depth < step))
    return who, place[who]


def _each_step(after: Ints, upto: Ints) -> tuple[Ints, Ints]:
    """Entrants and steps: of each entrant (e) those behind one and up to another."""
    count = np.maximum(upto - after, 0)
    who = np.repeat(np.arange(len(count)), count)
    return who, after[who] + 1 + np.arange(len(who)) - (np.cumsum(count) - count)[who]


def _all_of(news: Sequence[_Steps], where: Mask) -> _Steps:
    """Steps of the entrants that are picked (e)."""
    some = [where[new.who] for new in news]
    return _Steps(
        *(
            np.concatenate([getattr(new, part.name)[kept] for new, kept in zip(news, some, strict=True)])
            for part in fields(_Steps)
        )
    )
