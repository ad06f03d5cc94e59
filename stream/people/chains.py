"""How far people come through steps: chains of events, for many people at once, in one of three orders.

What is followed is an *entrant*: a person, or a part of a person's events that stands for itself. Of each step the
latest valid chain is kept, which is the one that began last: whatever an older one could still reach, it can as well.
All events of a step are taken together, as that step depends on the chains of the step before and on nothing else.
Each step looks at the chains as they were before the event, so that one event never serves two steps of a chain.

*Cost*: of `Ordered` a search per event and step that it matches; of the others a pass over the events per step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stream.arrays import Ints, Mask
from stream.people.base import LONG_AGO_MS, Array, Column, State
from stream.people.segments import before, carried, is_last, last_of


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Between which steps, from 1, an event must not come."""

    after: int
    before: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes a chain."""

    steps: int
    window_ms: int
    """From the first step on; exactly so long is still within."""
    step_window_ms: int
    """From each step to the next."""
    exclusions: tuple[Exclusion, ...] = ()


@dataclass(frozen=True, slots=True)
class Events:
    """Events (n) of entrants (m): in order of entrant, of each in order of time."""

    owner: Ints
    """Which entrant each is of (n), rising. Each has one at least."""
    time_ms: Ints
    """(n)"""
    steps: Sequence[Mask]
    """Which match each step (n each)."""
    excluded: Sequence[Mask]
    """Which match each exclusion (n each)."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The events (k), by their place and in order, at which a chain reaches a step."""

    rows: Ints
    since_ms: Ints
    """How long the step before had been reached (k); 0 for the first."""
    entry_ms: Ints
    """When the chain began (k)."""


class Order(Protocol):
    """In which order steps have to come."""

    @property
    def columns(self) -> Sequence[Column]:
        """What is kept of each entrant."""
        ...

    def follow(self, events: Events, state: State) -> tuple[list[Reached], Mask]:
        """What is reached of each step, and which entrants (m) did what is excluded. Puts what they have into `state`.

        No step is reached before an entrant has reached the one before, also not at the same event.
        """
        ...


class Ordered:
    """One step after the other, whatever comes between."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        # Nothing follows the last step, but an exclusion asks whether a chain has reached it.
        self._kept = max((rules.steps - 1, *(exclusion.before for exclusion in rules.exclusions)))
        self.columns: Sequence[Column] = (
            Column("entry_ms", np.int64, LONG_AGO_MS, self._kept),
            # When the latest chain reached the step; the first it reached when it began.
            *([Column("at_ms", np.int64, LONG_AGO_MS, rules.steps - 2)] if rules.steps > 2 else ()),
        )

    def follow(self, events: Events, state: State) -> tuple[list[Reached], Mask]:
        rules, owner, time_ms = self._rules, events.owner, events.time_ms
        entry_ms = _wide(state["entry_ms"])
        at_ms = _wide(state["at_ms"]) if rules.steps > 2 else entry_ms[:, :0]
        reached: list[Reached] = []
        for step in range(rules.steps):
            rows = np.flatnonzero(events.steps[step])
            now_ms = time_ms[rows]
            if step == 0:
                reached.append(Reached(rows, np.zeros_like(now_ms), now_ms))
                continue
            chain = reached[-1]
            place, none = _place_before(chain.rows, rows, owner)
            entries = _taken(chain.entry_ms, place, none, entry_ms[:, step - 1], owner[rows])
            steps_ms = entries
            if step > 1:
                steps_ms = _taken(time_ms[chain.rows], place, none, at_ms[:, step - 2], owner[rows])
            valid = (now_ms - entries <= rules.window_ms) & (now_ms - steps_ms <= rules.step_window_ms)
            reached.append(Reached(rows[valid], (now_ms - steps_ms)[valid], entries[valid]))
        removed = self._removed(events, reached, entry_ms)
        for step in range(self._kept):
            entry_ms[owner[reached[step].rows], step] = reached[step].entry_ms
        for step in range(1, rules.steps - 1):
            at_ms[owner[reached[step].rows], step - 1] = time_ms[reached[step].rows]
        return reached, removed

    def _removed(self, events: Events, reached: Sequence[Reached], entry_ms: Ints) -> Mask:
        removed = np.zeros(len(entry_ms), dtype=np.bool_)
        for exclusion, excluded in zip(self._rules.exclusions, events.excluded, strict=True):
            rows = np.flatnonzero(excluded)
            mine = events.owner[rows]
            after_ms, before_ms = (
                _taken(
                    reached[step].entry_ms,
                    *_place_before(reached[step].rows, rows, events.owner),
                    entry_ms[:, step],
                    mine,
                )
                for step in (exclusion.after - 1, exclusion.before - 1)
            )
            on_the_way = (events.time_ms[rows] - after_ms <= self._rules.window_ms) & (after_ms != before_ms)
            removed[mine[on_the_way]] = True
        return removed


class Strict:
    """One step after the other, each the very next event."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.columns: Sequence[Column] = (
            # Of the chains that have reached each step with the latest event.
            Column("entry_ms", np.int64, LONG_AGO_MS, rules.steps - 1),
            Column("latest_ms", np.int64, LONG_AGO_MS),
        )

    def follow(self, events: Events, state: State) -> tuple[list[Reached], Mask]:
        rules, owner, now_ms = self._rules, events.owner, events.time_ms
        held = _wide(state["entry_ms"])
        since_ms = now_ms - before(now_ms, owner, state["latest_ms"])
        soon = since_ms <= rules.step_window_ms
        removed = np.zeros(len(held), dtype=np.bool_)
        last = is_last(owner)
        reached: list[Reached] = []
        entry_ms = now_ms
        for step in range(rules.steps):
            here = events.steps[step]
            if step > 0:
                begun_ms = before(entry_ms, owner, held[:, step - 1])
                alive = now_ms - begun_ms <= rules.window_ms
                for exclusion, excluded in zip(rules.exclusions, events.excluded, strict=True):
                    if exclusion.after <= step < exclusion.before:
                        removed[owner[alive & excluded]] = True
                here = here & alive & soon
                held[:, step - 1] = entry_ms[last]
                entry_ms = begun_ms
            rows = np.flatnonzero(here)
            reached.append(Reached(rows, since_ms[rows] if step else np.zeros_like(rows), entry_ms[rows]))
            entry_ms = np.where(here, entry_ms, LONG_AGO_MS)
        state["latest_ms"] = now_ms[last]
        return reached, removed


class AnyOrder:
    """Different steps, in whatever order. Here "step 3" is the third of them to come.

    An event serves the last of the steps that it matches. So many steps are reached as have their latest event within
    the window before an event; the chain began with the earliest of those.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.columns: Sequence[Column] = (Column("step_ms", np.int64, LONG_AGO_MS, rules.steps),)

    def follow(self, events: Events, state: State) -> tuple[list[Reached], Mask]:
        rules = self._rules
        served = np.full(len(events.owner), -1)
        for step, here in enumerate(events.steps):
            served[here] = step
        rows = np.flatnonzero(served >= 0)
        served, owner, now_ms = served[rows], events.owner[rows], events.time_ms[rows]
        step_ms = _wide(state["step_ms"])
        count = np.zeros_like(rows)
        entry_ms = now_ms
        before_ms = np.full_like(now_ms, LONG_AGO_MS)
        for step in range(rules.steps):
            mine = served == step
            latest_ms = carried(now_ms, mine, owner, step_ms[:, step])
            alive = now_ms - latest_ms <= rules.window_ms
            count += alive
            entry_ms = np.where(alive, np.minimum(entry_ms, latest_ms), entry_ms)
            before_ms = np.where(mine, before_ms, np.maximum(before_ms, latest_ms))
            step_ms[:, step] = last_of(now_ms, mine, owner, step_ms[:, step])
        reached = []
        for step in range(rules.steps):
            so_far = np.flatnonzero(count > step)
            since_ms = (now_ms - before_ms)[so_far] if step else np.zeros_like(so_far)
            reached.append(Reached(rows[so_far], since_ms, entry_ms[so_far]))
        return reached, np.zeros(len(step_ms), dtype=np.bool_)


def _wide(column: Array) -> Array:
    """A column (m) or (m, width) as (m, width), of the same memory."""
    return column.reshape(len(column), -1)


def _place_before(rows: Ints, of: Ints, owner: Ints) -> tuple[Ints, Mask]:
    """Which of `rows` (k, rising) is the latest before each row `of` (j), and where its owner has none (j)."""
    place = np.searchsorted(rows, of) - 1
    none = place < 0
    if len(rows):
        none |= owner[rows[place]] != owner[of]
    return place, none


def _taken(values: Ints, place: Ints, none: Mask, start: Ints, owner: Ints) -> Ints:
    """The values (k) at places (j), and where there is none, what the owner (j) had at the `start` (m)."""
    found = start[owner]
    some = ~none
    found[some] = values[place[some]]
    return found
