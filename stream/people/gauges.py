"""Facts that hold for whole periods, some of which are yet to come: each is said when its period begins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from stream.batches import State
from stream.people.base import Array, FactKind, Rows, Spans
from stream.people.spans import grouped

Key = tuple[int, ...]


class Gauge:
    """How many hold in each period, by what is known of them. Knows the future as far as spans reach."""

    def __init__(self, kind: FactKind) -> None:
        assert kind.periods is not None
        self._periods = kind.periods
        self._names = list(kind.fields)
        self._level: dict[Key, int] = {}
        """How many hold in the present period."""
        self._changes: dict[Key, dict[int, int]] = {}
        """By how much that changes with the beginning of later periods."""
        self._now: int | None = None

    def advance(self, time_ms: int) -> list[Rows]:
        """Time has come to `time_ms`: what holds in the periods that have begun since."""
        now = int(self._periods.of(np.array([time_ms]))[0])
        if self._now is None:
            self._now = now
        if now <= self._now:
            return []
        told: list[tuple[Key, int, int]] = []
        for key in list(self._changes.keys() | self._level.keys()):
            told.extend(self._walked(key, self._now, now))
        self._now = now
        return self._rows(told)

    def add(self, spans: Sequence[Spans]) -> list[Rows]:
        """Take spans in. Returns what they say of periods that have begun."""
        assert self._now is not None, "time comes first"
        past: dict[Key, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for span in spans:
            for first, after, weight, key in _summed(span, self._names):
                if first <= self._now:
                    past[key][first] += weight
                    past[key][min(after, self._now + 1)] -= weight
                    if after > self._now:
                        self._level[key] = self._level.get(key, 0) + weight
                        self._change(key, after, -weight)
                else:
                    self._change(key, first, weight)
                    self._change(key, after, -weight)
        told: list[tuple[Key, int, int]] = []
        for key, changes in past.items():
            level, numbers = 0, sorted(changes)
            for number, following in pairwise(numbers):
                level += changes[number]
                if level:
                    told.extend((key, period, level) for period in range(number, following))
        return self._rows(told)

    def _change(self, key: Key, number: int, weight: int) -> None:
        changes = self._changes.setdefault(key, {})
        changes[number] = changes.get(number, 0) + weight
        if not changes[number]:
            del changes[number]

    def _walked(self, key: Key, since: int, now: int) -> list[tuple[Key, int, int]]:
        """What holds of one key in the periods behind `since`, up to `now`."""
        level, changes = self._level.get(key, 0), self._changes.get(key, {})
        due = sorted(number for number in changes if number <= now)
        told: list[tuple[Key, int, int]] = []
        at = since + 1
        for number in [*due, now + 1]:
            if level:
                told.extend((key, period, level) for period in range(at, number))
            at = max(at, number)
            level += changes.pop(number, 0) if number <= now else 0
        if level:
            self._level[key] = level
        else:
            self._level.pop(key, None)
        if not changes:
            self._changes.pop(key, None)
        return told

    def _rows(self, told: list[tuple[Key, int, int]]) -> list[Rows]:
        if not told:
            return []
        time_ms = self._periods.start_ms(np.array([number for _, number, _ in told], dtype=np.int64))
        weight = np.array([level for _, _, level in told], dtype=np.int64)
        fields: Mapping[str, Array] = {
            name: np.array([key[place] for key, _, _ in told], dtype=np.int64) for place, name in enumerate(self._names)
        }
        return [Rows(time_ms, weight, fields)]

    def to_state(self) -> State:
        return {
            "now": self._now,
            "level": list(self._level.items()),
            "changes": [(key, list(changes.items())) for key, changes in self._changes.items()],
        }

    def restore(self, state: State) -> None:
        self._now = state["now"]
        self._level = {tuple(key): level for key, level in state["level"]}
        self._changes = {tuple(key): dict(changes) for key, changes in state["changes"]}


def _summed(span: Spans, names: Sequence[str]) -> list[tuple[int, int, int, Key]]:
    """The different spans, each once: (first, after, weight, key)."""
    columns = [span.first, span.after, *(span.fields[name].astype(np.int64, copy=False) for name in names)]
    group, sample = grouped(columns, len(span.first))
    weights = np.bincount(group, weights=span.weight, minlength=len(sample)).astype(np.int64)
    rows = zip(*(column[sample].tolist() for column in columns), strict=True)
    return [
        (first, after, weight, tuple(key))
        for (first, after, *key), weight in zip(rows, weights.tolist(), strict=True)
        if weight
    ]
