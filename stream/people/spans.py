"""Facts that hold for periods, of many people at once: as few spans as say the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stream.arrays import Ints
from stream.grouping import numbered
from stream.people.base import Facts


def add_spans(facts: Facts, kind: str, first: Ints, after: Ints, weight: Ints, fields: Mapping[str, Ints]) -> None:
    """Add spans (n) with fields of whole numbers (n each), put together where the fields are equal.

    What is said and taken back of the same period is not said at all. Empty spans are left out.
    """
    some = np.flatnonzero(after > first)
    if not len(some):
        return
    group, sample = grouped([values[some] for values in fields.values()], len(some))
    first, after, weight, group = merged(first[some], after[some], weight[some], group)
    facts.span(kind, first, after, weight, **{name: values[some][sample[group]] for name, values in fields.items()})


def grouped(columns: list[Ints], size: int) -> tuple[Ints, Ints]:
    """Number of the combination of values that each row (`size`) has, and a row with each combination."""
    group = np.zeros(size, dtype=np.int64)
    for values in columns:
        different, place = numbered(values)
        _, group = numbered(group * len(different) + place)
    sample = np.zeros(int(group.max(initial=-1)) + 1, dtype=np.int64)
    sample[group] = np.arange(size)
    return group, sample


def merged(first: Ints, after: Ints, weight: Ints, group: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The fewest spans that add up, in each group and period, to the given ones (n, none empty).

    Returns first, after, weight and group of each.
    """
    bound = np.concatenate((first, after))
    least = int(bound.min())
    width = int(bound.max()) - least + 1
    keys, place = numbered(np.concatenate((group, group)) * width + (bound - least))
    change = np.bincount(place, weights=np.concatenate((weight, -weight)), minlength=len(keys)).astype(np.int64)
    keys, change = keys[change != 0], change[change != 0]
    # Each group's changes add up to nothing, so one running sum does for all of them.
    total = np.cumsum(change)
    held = np.flatnonzero(total)
    number, start = np.divmod(keys[held], width)
    return start + least, keys[held + 1] % width + least, total[held], number
