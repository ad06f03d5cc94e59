"""The inputs of the model of churn: what each is, what it needs to be kept of a person, and how it follows.

All that is kept is of two sorts. *Fading* sums lose half of what they are in each half-life, so what they come to at
the end of a day is the sum over all events of what each adds, times 0.5 to the power of its age in half-lives. *Held*
numbers are those of the last event that has one, or of the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from stream.arrays import Floats, Ints
from stream.durations import DAY_MS

if TYPE_CHECKING:
    from stream.people.features import Feature

_ALL_TIME = math.inf
_NAMED = {1: "day", 7: "week", 28: "month"}
"""How half-lives in days are called, for people."""
_SPAN_DAYS = 1 / math.log(2)
"""A sum that fades with a half-life of one day is that of so many days at its rate."""


class Adds(StrEnum):
    """What an event may add to a sum."""

    QUALIFYING = "1 if it qualifies"
    DAY = "1 if it is the first of its day that qualifies"
    VISIT = "1 if a visit begins with it"
    MINUTES = "the minutes since the event before of the same visit"
    LOG_GAP = "the logarithm of the days since the visit before, if a visit begins with it that is not the first"
    GAP = "1 if a visit begins with it that is not the first"
    MEETING = "1 if it meets a condition"
    VALUE = "its value, if it has one"
    VALUED = "1 if it has a value"


@dataclass(frozen=True, slots=True)
class Fading:
    """A sum that fades."""

    adds: Adds
    half_life_days: float
    where: str | None = None
    value: str | None = None


class Holds(StrEnum):
    """What may be held of an event."""

    LAST_TIME = "the time of the last that meets a condition, in milliseconds"
    FIRST_TIME = "the time of the first that meets a condition, in milliseconds"
    VALUE = "the last value"
    PLACE = "the place of the last text among those of a list; how many these are for any other"


@dataclass(frozen=True, slots=True)
class Held:
    """A number that is held, NaN until there is one."""

    holds: Holds
    where: str | None = None
    value: str | None = None
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of some persons (n) at the end of a day."""

    end_ms: int
    first_ms: Ints
    """Of the first event that qualifies (n)."""
    log_gap: Floats
    """Mean of the logarithms of the days between visits, each worth less than the next (n); NaN without any."""
    fading: Mapping[Fading, Floats]
    held: Mapping[Held, Floats]


@dataclass(frozen=True, slots=True)
class Input:
    """One number of the model, with what it is made of."""

    name: str
    feature: str
    """What the catalog calls it: a feature that it declares, or one that is always there."""
    more: str
    """What it says of a person of whom it is more than of others, in words,"""
    less: str
    """and of whom it is less."""
    work_out: Callable[[Known], Floats]
    """At the end of a day for each person (n); NaN where it is unknown."""
    fading: tuple[Fading, ...] = ()
    held: tuple[Held, ...] = ()
    log: bool = False
    """Whether it is never negative, and matters by how many times more one is than another."""


def always() -> list[Input]:
    """The inputs that there are without any declared."""
    found = list(_counts("events", ("active more", "active less"), Adds.QUALIFYING, None, _NAMED))
    found += _counts("days", ("active on more days", "active on fewer days"), Adds.DAY, None, (7, 28))
    visits, gaps = Fading(Adds.VISIT, _ALL_TIME), Fading(Adds.GAP, _ALL_TIME)
    found.append(_summed("visits", "visits", visits, "many visits in all", "few visits in all"))
    found += _counts("visits", ("more visits", "fewer visits"), Adds.VISIT, None, (7, 28))
    rare, often = "long times between visits", "short times between visits"
    log_gaps = Fading(Adds.LOG_GAP, _ALL_TIME)
    found.append(Input("gap", "gap", rare, often, lambda known: _ratio(known, log_gaps, gaps), (log_gaps, gaps)))
    found.append(Input("gap.fading", "gap", f"{rare} of late", f"{often} of late", lambda known: known.log_gap))
    minutes, recent = Fading(Adds.MINUTES, 28), Fading(Adds.VISIT, 28)
    long, short = "long visits in the last month", "short visits in the last month"
    used = (minutes, recent)
    found.append(Input("minutes", "minutes", long, short, lambda known: _ratio(known, minutes, recent), used, log=True))
    return found


def inputs_of(feature: Feature) -> list[Input]:
    """The inputs that a declared feature makes."""
    return list(_OF_KIND[feature.kind](feature, feature.words or feature.name.replace("_", " ")))


def _count(feature: Feature, words: str) -> Iterator[Input]:
    return _counts(feature.name, (f"{words} more", f"{words} less"), Adds.MEETING, feature.where, _NAMED)


def _share(feature: Feature, words: str) -> Iterator[Input]:
    # An event that is one of those but not of all would make it more than 1.
    both = f"({feature.where}) AND ({feature.of})"
    part, whole = Fading(Adds.MEETING, 28, both), Fading(Adds.MEETING, 28, feature.of)
    more, less = f"{words} in more of the cases than others", f"{words} in fewer of the cases than others"
    yield Input(feature.name, feature.name, more, less, lambda known: _ratio(known, part, whole), (part, whole))


def _mean(feature: Feature, words: str) -> Iterator[Input]:
    name, where, value = feature.name, feature.where, _number(feature)
    sums = {days: Fading(Adds.VALUE, days, where, value) for days in (7, 28)}
    counts = {days: Fading(Adds.VALUED, days, where, value) for days in (7, 28)}
    yield _value(feature, f"{name}.last", words)

    def mean(known: Known, days: int) -> Floats:
        return _ratio(known, sums[days], counts[days])

    def trend(known: Known) -> Floats:
        return mean(known, 7) - mean(known, 28)

    week = (sums[7], counts[7])
    more, less = f"{words} higher than of others in the last week", f"{words} lower than of others in the last week"
    yield Input(f"{name}.7d", name, more, less, lambda known: mean(known, 7), week, log=feature.log)
    used = (*week, sums[28], counts[28])
    yield Input(f"{name}.trend", name, f"{words} higher than before", f"{words} lower than before", trend, used)


def _trend(feature: Feature, words: str) -> Iterator[Input]:
    week, month = (Fading(Adds.MEETING, days, feature.where) for days in (7, 28))

    def work_out(known: Known) -> Floats:
        # Of who is here for less than these spans there is less than a whole one to compare.
        age = np.maximum(known.end_ms - known.first_ms, 1) / DAY_MS
        seen_7, seen_28 = ((1 - np.exp2(-age / days)) * days * _SPAN_DAYS for days in (7, 28))
        # One more of both, or the first event would be an endless rise.
        found: Floats = np.log((known.fading[week] + 1) / (known.fading[month] * seen_7 / seen_28 + 1))
        return found

    more, less = f"{words} more than before", f"{words} less than before"
    yield Input(feature.name, feature.name, more, less, work_out, (week, month))


def _latest(feature: Feature, words: str) -> Iterator[Input]:
    if not feature.values:
        yield _value(feature, feature.name, words)
        return
    held = Held(Holds.PLACE, feature.where, feature.value, tuple(feature.values))

    def is_at(place: int) -> Callable[[Known], Floats]:
        def work_out(known: Known) -> Floats:
            found = known.held[held]
            return np.where(np.isnan(found), np.nan, found == place)

        return work_out

    for place, text in enumerate(feature.values):
        more, less = f"{words} is {text}", f"{words} is not {text}"
        yield Input(f"{feature.name}.{text}", feature.name, more, less, is_at(place), held=(held,))


def _days_since(feature: Feature, words: str) -> Iterator[Input]:
    held = Held(Holds.FIRST_TIME if feature.first else Holds.LAST_TIME, feature.where)
    which = "first" if feature.first else "last"

    def work_out(known: Known) -> Floats:
        return (known.end_ms - known.held[held]) / DAY_MS

    more, less = f"long since the {which} time: {words}", f"not long since the {which} time: {words}"
    yield Input(feature.name, feature.name, more, less, work_out, held=(held,), log=True)


_OF_KIND: Mapping[str, Callable[[Feature, str], Iterator[Input]]] = {
    "count": _count,
    "share": _share,
    "mean": _mean,
    "trend": _trend,
    "latest": _latest,
    "days_since": _days_since,
}


def _number(feature: Feature) -> str:
    """The value as SQL has it: what is true or false is 1 or 0."""
    return f"CAST(({feature.value}) AS DOUBLE)"


def _value(feature: Feature, name: str, words: str) -> Input:
    held = Held(Holds.VALUE, feature.where, _number(feature))
    more, less = f"{words} higher than of others", f"{words} lower than of others"
    return Input(name, feature.name, more, less, lambda known: known.held[held], held=(held,), log=feature.log)


def _counts(
    name: str, words: tuple[str, str], adds: Adds, where: str | None, half_lives: Iterable[int]
) -> Iterator[Input]:
    for days in half_lives:
        more, less = (f"{one} than others in the last {_NAMED[days]}" for one in words)
        yield _summed(f"{name}.{days}d", name, Fading(adds, days, where), more, less)


def _summed(name: str, feature: str, fading: Fading, more: str, less: str) -> Input:
    return Input(name, feature, more, less, lambda known: known.fading[fading], (fading,), log=True)


def _ratio(known: Known, part: Fading, whole: Fading) -> Floats:
    """NaN where there is nothing to divide by."""
    divisor = known.fading[whole]
    found = np.full(len(divisor), np.nan)
    np.divide(known.fading[part], divisor, out=found, where=divisor > 0)
    return found
