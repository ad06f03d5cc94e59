"""`[actives]`: how many people there are a day, a week and a month, how often they come, who came back, who did not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from stream.arrays import Ints, Mask
from stream.expressions import FieldType
from stream.grouping import numbered
from stream.people.base import Column, FactKind, Facts, Needs, Run, Setting, State, UnitKey
from stream.people.periods import CalendarPeriods, Unit
from stream.people.segments import before, is_first, last_of
from stream.people.spans import add_spans, grouped
from stream.tables import FieldName, Table, each_once

ROLLING_DAYS = {"dau": 1, "wau": 7, "mau": 30}
STATUSES = ("new", "returning", "resurrecting", "dormant", "previous")
"""`previous` is everybody who was active in the period before: what rates are worked out from."""
_DAYS = 30
"""Of which each person's active ones are kept."""
_ALL_DAYS = (1 << _DAYS) - 1
_FAR_DAYS = 62
"""Two months have fewer: a silence of so many days or more is longer than anything that counts."""
_NEVER = -(1 << 30)
_OWN_FIELDS = ("span", "days", "status")
_LONGEST_NAME = 64


class Actives(Table):
    """`[actives]`: DAU, WAU, MAU, stickiness and the lifecycle of people; with `by` also for each value of fields.

    With `by` it stands for two analyses, see `parts`; taken by itself it is the second of them.
    """

    where: str | None = None
    """SQL condition: which events make somebody active. Default: any."""
    by: Annotated[list[FieldName], AfterValidator(each_once)] = Field([], max_length=2)
    """Fields: the same again for their values. Somebody with two values is one person of each, and new to each."""
    periods: Annotated[list[Unit], AfterValidator(each_once)] = Field(["day", "week", "month"], max_length=3)
    """Of which the lifecycle is told."""

    @model_validator(mode="after")
    def _check(self) -> Actives:
        for name in self.by:
            if name in _OWN_FIELDS:
                raise ValueError(f"by: expected fields other than {', '.join(_OWN_FIELDS)}, found {name!r}")
        longest = max((metric["name"] for metric in self.metrics()), key=len)
        if len(longest) > _LONGEST_NAME:
            raise ValueError(
                f"by: expected names that leave those of metrics at {_LONGEST_NAME} letters, found {longest!r}"
            )
        return self

    def parts(self) -> list[Actives]:
        """The analyses that it stands for: everybody, and with `by` also the split."""
        return [self.model_copy(update={"by": []}), self] if self.by else [self]

    @property
    def suffix(self) -> str:
        """What the split's names of metrics and kinds end in."""
        return "".join(("_by", *("_" + re.sub("[^a-z0-9_]", "_", name.lower()) for name in self.by))) if self.by else ""

    def needs(self) -> Needs:
        return Needs(conditions=() if self.where is None else (self.where,))

    def unit(self) -> Sequence[UnitKey]:
        return [UnitKey(f'"{name}"', named=True) for name in self.by]

    def kinds(self, zone: ZoneInfo) -> Sequence[FactKind]:
        split = dict.fromkeys(self.by, FieldType.STRING)
        days = CalendarPeriods("day", zone)
        return [
            FactKind(f"actives.rolling{self.suffix}", {"span": FieldType.STRING} | split, periods=days),
            FactKind(f"actives.days{self.suffix}", {"days": FieldType.STRING} | split, periods=days),
            *(
                FactKind(
                    f"actives.{period}{self.suffix}",
                    {"status": FieldType.STRING} | split,
                    periods=CalendarPeriods(period, zone),
                )
                for period in self.periods
            ),
        ]

    def metrics(self) -> Iterator[Mapping[str, Any]]:
        end, of_each = self.suffix, f" by {', '.join(self.by)}" if self.by else ""
        rolling = {"on": f"actives.rolling{end}", "windows": ["day"], "by": self.by}
        for name, days in ROLLING_DAYS.items():
            title = f"Active people, {days} day{'s' * (days > 1)}{of_each}"
            count = {"measure": "count", "where": f"span = '{days}'", "unit": "people"}
            yield {"name": f"{name}{end}", "title": title, **count, **rolling}
        yield {
            "name": f"stickiness{end}",
            "title": f"Stickiness (DAU / MAU){of_each}",
            "measure": "ratio",
            "of": f"dau{end}",
            "to": f"mau{end}",
            "on": rolling["on"],
        }
        yield {
            "name": f"stickiness_days{end}",
            "title": f"People by active days of the last {_DAYS}{of_each}",
            "measure": "count",
            "on": f"actives.days{end}",
            "by": ["days", *self.by],
            "windows": ["day"],
            "max_series": 100_000,
            "unit": "people",
        }
        for period in self.periods:
            yield from self._lifecycle(period, of_each)

    def _lifecycle(self, period: Unit, of_each: str) -> Iterator[Mapping[str, Any]]:
        end = f"{period}{self.suffix}"
        on = f"actives.{end}"
        common = {"measure": "count", "on": on, "by": self.by, "windows": [period], "unit": "people"}
        active = "status in ('new', 'returning', 'resurrecting')"
        yield {"name": f"active_{end}", "title": f"Active people of the {period}{of_each}", "where": active, **common}
        for status in STATUSES:
            title = f"{status.capitalize()} people of the {period}{of_each}"
            if status == "previous":
                title = f"Active people of the {period} before{of_each}"
            yield {"name": f"{status}_{end}", "title": title, "where": f"status = '{status}'", **common}
        yield {
            "name": f"churn_rate_{end}",
            "title": f"Churn rate of the {period}{of_each}",
            "measure": "ratio",
            "of": f"dormant_{end}",
            "to": f"previous_{end}",
            "on": on,
        }
        yield {
            "name": f"growth_{end}",
            "title": f"Growth of active people over the {period} before{of_each}",
            "measure": "expr",
            "value": f"(active_{end} - previous_{end}) / previous_{end}",
            "on": on,
        }

    def make(self, setting: Setting) -> _Actives:
        return _Actives(self, setting)


class _Actives:
    """Of each unit are kept the last active day and which of the 30 days that end on it were active.

    What follows from an active day x depends, beside x, on the days since the active one before, up to two months;
    so people are counted by both, and each count is said once, as spans. Only the number of active days of the last 30
    needs to know which they were. *Cost*: 12 bytes a unit.
    """

    columns: Sequence[Column] = (Column("day", np.int32, _NEVER), Column("days", np.uint32, 0))

    def __init__(self, declared: Actives, setting: Setting) -> None:
        self._where = declared.where
        self._by = declared.by
        self._suffix = declared.suffix
        self._days = CalendarPeriods("day", setting.zone)
        self._periods = {period: CalendarPeriods(period, setting.zone) for period in declared.periods}
        code = setting.vocabulary.code
        self._statuses = {status: code(status) for status in STATUSES}
        self._numbers = np.array([code(str(number)) for number in range(_DAYS + 1)], dtype=np.int64)

    def run(self, state: State, run: Run, facts: Facts) -> None:
        owner, day = self._active_days(state["day"], run)
        if not len(day):
            return
        last = before(day, owner, state["day"])
        silence = np.where(last == _NEVER, 0, np.minimum(day - last, _FAR_DAYS))
        labels, sample = grouped([codes[owner] for codes in run.unit_texts], len(owner))
        named = dict(zip(self._by, (codes[owner][sample] for codes in run.unit_texts), strict=True))
        cells, cell = numbered(self._packed(day, silence, labels))
        counts = np.bincount(cell, minlength=len(cells))
        at = np.empty(len(cells), dtype=np.int64)
        at[cell] = np.arange(len(day))
        split = {name: codes[labels[at]] for name, codes in named.items()}
        self._say_rolling(facts, day[at], silence[at], counts, split)
        for period in self._periods:
            self._say_lifecycle(facts, period, day[at], silence[at], counts, split)
        days = _recent_days(owner, day, state)
        self._say_days(facts, day, labels, days, named)
        everything = np.ones(len(owner), dtype=np.bool_)
        state["day"] = last_of(day.astype(np.int32), everything, owner, state["day"])
        state["days"] = last_of(days.astype(np.uint32), everything, owner, state["days"])

    def due_ms(self, state: State) -> None:
        return None

    def _active_days(self, known: Ints, run: Run) -> tuple[Ints, Ints]:
        """Units and their active days that are new, each once, in order."""
        owner, time_ms = run.owner, run.time_ms
        if self._where is not None:
            some = np.flatnonzero(run.conditions[self._where])
            owner, time_ms = owner[some], time_ms[some]
        day = self._days.of(time_ms)
        new: Mask = is_first(owner)
        new[1:] |= day[1:] != day[:-1]
        new &= day > known[owner]
        return owner[new], day[new]

    def _packed(self, day: Ints, silence: Ints, labels: Ints) -> Ints:
        least = int(day.min())
        width = int(day.max()) - least + 1
        return (labels * width + (day - least)) * (_FAR_DAYS + 1) + silence

    def _say_rolling(self, facts: Facts, day: Ints, silence: Ints, counts: Ints, split: Mapping[str, Ints]) -> None:
        for span in ROLLING_DAYS.values():
            first = np.where(silence == 0, day, np.maximum(day, day - silence + span))
            fields = {"span": np.full(len(day), self._numbers[span]), **split}
            add_spans(facts, f"actives.rolling{self._suffix}", first, day + span, counts, fields)

    def _say_lifecycle(
        self, facts: Facts, period: Unit, day: Ints, silence: Ints, counts: Ints, split: Mapping[str, Ints]
    ) -> None:
        of_day = self._of_days(period, day)
        last = self._of_days(period, day - silence)
        seen = silence > 0
        fresh = ~seen | (of_day > last)
        status = np.full(len(day), self._statuses["resurrecting"])
        status[of_day == last + 1] = self._statuses["returning"]
        status[~seen] = self._statuses["new"]
        # Nobody who comes is dormant, but of who was here in the period before it was said that they would be.
        back = seen & (of_day == last + 1)
        said = [
            (fresh, 0, status, 1),
            (fresh, 1, np.full(len(day), self._statuses["dormant"]), 1),
            (fresh, 1, np.full(len(day), self._statuses["previous"]), 1),
            (back, 0, np.full(len(day), self._statuses["dormant"]), -1),
        ]
        first = np.concatenate([of_day[which] + later for which, later, _, _ in said])
        weight = np.concatenate([counts[which] * sign for which, _, _, sign in said])
        fields = {"status": np.concatenate([code[which] for which, _, code, _ in said])}
        for name, codes in split.items():
            fields[name] = np.concatenate([codes[which] for which, _, _, _ in said])
        add_spans(facts, f"actives.{period}{self._suffix}", first, first + 1, weight, fields)

    def _of_days(self, period: Unit, day: Ints) -> Ints:
        return day if period == "day" else self._periods[period].of(self._days.start_ms(day))

    def _say_days(self, facts: Facts, day: Ints, labels: Ints, days: Ints, named: Mapping[str, Ints]) -> None:
        """Say on how many of the last 30 days each was active, from each active day on for 30 days.

        Of each of these days had been said one less, from the active day before: that is taken back.
        """
        place, sample = grouped([day, labels], len(day))
        first: list[Ints] = []
        number: list[Ints] = []
        group: list[Ints] = []
        count: list[Ints] = []
        active = np.zeros(len(day), dtype=np.int64)
        for back in range(_DAYS):
            # So many days before the day are still among the 30.
            active += (days >> back) & 1
            cells, sizes = _counted(place * (_DAYS + 1) + active, len(sample) * (_DAYS + 1))
            found, many = np.divmod(cells, _DAYS + 1)
            first.append(day[sample[found]] + (_DAYS - 1 - back))
            number.append(many)
            group.append(labels[sample[found]])
            count.append(sizes)
        start, many, label = np.concatenate(first), np.concatenate(number), np.concatenate(group)
        sizes = np.concatenate(count)
        had = many > 1
        start, label = np.concatenate((start, start[had])), np.concatenate((label, label[had]))
        fields = {"days": self._numbers[np.concatenate((many, many[had] - 1))]}
        fields |= {name: codes[label] for name, codes in named.items()}
        weight = np.concatenate((sizes, -sizes[had]))
        add_spans(facts, f"actives.days{self._suffix}", start, start + 1, weight, fields)


def _recent_days(owner: Ints, day: Ints, state: State) -> Ints:
    """Which of the 30 days that end on each active day (n) were active: bit 0 is the day itself."""
    silence = day - state["day"][owner]
    days = np.where(silence < _DAYS, state["days"][owner].astype(np.int64) << np.minimum(silence, _DAYS), 0) | 1
    for back in range(1, _DAYS):
        silence = day[back:] - day[:-back]
        near = np.flatnonzero((owner[back:] == owner[:-back]) & (silence < _DAYS))
        if not len(near):
            break
        days[near + back] |= np.int64(1) << silence[near]
    return days & _ALL_DAYS


def _counted(cells: Ints, size: int) -> tuple[Ints, Ints]:
    """The different numbers from 0 to before `size` among those given (n), and how often each is there."""
    if size > 4 * len(cells) + 65_536:
        return np.unique(cells, return_counts=True)
    counts = np.bincount(cells, minlength=size)
    different = np.flatnonzero(counts)
    return different, counts[different]
