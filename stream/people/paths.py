"""`[[paths]]`: which page or event follows which, and where paths begin and end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from stream.arrays import Ints, Mask
from stream.durations import duration_ms
from stream.expressions import FieldType
from stream.people.base import FAR_MS, Column, FactKind, Facts, Needs, Run, Setting, State, UnitKey
from stream.people.segments import before, carried, last_of
from stream.people.vocabulary import NONE
from stream.tables import Duration, Table, WindowText, each_once

START = "__start__"
END = "__end__"


class Paths(Table):
    """`[[paths]]`: transitions between the different texts, such as pages, that follow each other in people's paths."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,51}$")]
    of: str
    """SQL expression that gives the text, such as a page or the event's name. Events without one are left out."""
    where: str | None = None
    """SQL condition on the events that count; others are left out, and keep no path alive."""
    gap: Duration = "30m"
    """A longer silence ends a path."""
    start: str | None = None
    """Of each path only what follows this text counts, from its first time on. Default: everything."""
    end: str | None = None
    """A path ends with this text; the next other one begins a new path."""
    windows: Annotated[list[WindowText], AfterValidator(each_once)] = Field(["1h", "day"], min_length=1, max_length=16)
    max_transitions: int = Field(10_000, ge=1, le=1_000_000)
    """Different transitions past this many are counted together as `__other__`."""

    @model_validator(mode="after")
    def _check(self) -> Paths:
        for key in ("start", "end"):
            if getattr(self, key) in ("", START, END):
                raise ValueError(f"{key}: expected a text that events have, found {getattr(self, key)!r}")
        return self

    def needs(self) -> Needs:
        return Needs(conditions=() if self.where is None else (self.where,), texts=(self.of,))

    def unit(self) -> Sequence[UnitKey]:
        return ()

    def kinds(self, zone: ZoneInfo) -> Sequence[FactKind]:
        return [FactKind(f"path.{self.name}", {"from": FieldType.STRING, "to": FieldType.STRING})]

    def metrics(self) -> Iterator[Mapping[str, Any]]:
        yield {
            "name": f"{self.name}_transitions",
            "title": f"Transitions: {self.name}",
            "measure": "count",
            "on": f"path.{self.name}",
            "by": ["from", "to"],
            "windows": self.windows,
            "max_series": self.max_transitions,
        }

    def make(self, setting: Setting) -> _Paths:
        return _Paths(self, setting)


class _Paths:
    """Of each person the latest text of a path that counts and its time are kept; no text: no such path.

    A path that ended with the text `end` is kept too until it would end by itself, so that the same text once more is
    a repeat. The end by silence counts at the last event plus the gap, as soon as that has passed. *Cost*: 12 bytes
    a person.
    """

    columns: Sequence[Column] = (Column("text", np.int32, NONE), Column("time_ms", np.int64, 0))

    def __init__(self, declared: Paths, setting: Setting) -> None:
        code = setting.vocabulary.code
        self._kind = f"path.{declared.name}"
        self._of = declared.of
        self._where = declared.where
        self._gap_ms = duration_ms(declared.gap)
        self._start = None if declared.start is None else code(declared.start)
        # No text has a number below 0.
        self._end = -1 if declared.end is None else code(declared.end)
        self._from = code(START)
        self._to = code(END)

    def run(self, state: State, run: Run, facts: Facts) -> None:
        counts = run.texts[self._of] != NONE
        if self._where is not None:
            counts &= run.conditions[self._where]
        rows = np.flatnonzero(counts)
        owner, time_ms, text = run.owner[rows], run.time_ms[rows], run.texts[self._of][rows]
        last = before(text, owner, state["text"])
        last_ms = before(time_ms, owner, state["time_ms"])
        silent = (last != NONE) & (time_ms - last_ms > self._gap_ms)
        begins = (last == NONE) | silent | ((last == self._end) & (text != last))
        counted = self._counted(owner, text, begins, state["text"])
        was_counted = before(counted, owner, state["text"] != NONE)
        opens = counted & (begins | ~was_counted)
        goes_on = counted & ~opens & (text != last)
        ends = counted & (text == self._end) & (opens | goes_on)
        self._say_ended(facts, last, last_ms, silent & was_counted)
        self._say(facts, time_ms[opens], np.full(int(opens.sum()), self._from), text[opens])
        self._say(facts, time_ms[goes_on], last[goes_on], text[goes_on])
        self._say(facts, time_ms[ends], text[ends], np.full(int(ends.sum()), self._to))
        every = np.ones(len(rows), dtype=np.bool_)
        kept = np.where(counted, text, NONE).astype(np.int32)
        state["text"] = last_of(kept, every, owner, state["text"])
        state["time_ms"] = last_of(time_ms, every, owner, state["time_ms"])
        over = (state["text"] != NONE) & (state["time_ms"] + self._gap_ms <= run.until_ms)
        self._say_ended(facts, state["text"].astype(np.int64), state["time_ms"], over)
        state["text"][over] = NONE

    def due_ms(self, state: State) -> Ints:
        return np.where(state["text"] != NONE, state["time_ms"] + self._gap_ms, FAR_MS)

    def _counted(self, owner: Ints, text: Ints, begins: Mask, known: Ints) -> Mask:
        """Which texts (n) are of a path that counts: any, or from the first `start` of their path on."""
        if self._start is None:
            return np.ones(len(text), dtype=np.bool_)
        found: Mask = text == self._start
        # What came later, a `start` or a new path, tells.
        counted: Mask = carried(found, begins | found, owner, known != NONE)
        return counted

    def _say_ended(self, facts: Facts, text: Ints, time_ms: Ints, which: Mask) -> None:
        """Paths whose last text was at a time end after the gap; those that `end` had ended did so before."""
        which = which & (text != self._end)
        ended = text[which]
        self._say(facts, time_ms[which] + self._gap_ms, ended, np.full(len(ended), self._to))

    def _say(self, facts: Facts, time_ms: Ints, came_from: Ints, went_to: Ints) -> None:
        facts.add(self._kind, time_ms, **{"from": came_from, "to": went_to})
