"""Work over events that are sorted by unit, for all units at once: what a loop over each would do."""

from __future__ import annotations

import numpy as np

from stream.arrays import Floats, Ints, Mask
from stream.people.base import Array, Run


def is_first(owner: Ints) -> Mask:
    """Which rows (n) are the first of their unit."""
    first = np.empty(len(owner), dtype=np.bool_)
    first[:1] = True
    np.not_equal(owner[1:], owner[:-1], out=first[1:])
    return first


def is_last(owner: Ints) -> Mask:
    """Which rows (n) are the last of their unit."""
    last = np.empty(len(owner), dtype=np.bool_)
    last[-1:] = True
    np.not_equal(owner[1:], owner[:-1], out=last[:-1])
    return last


def before(values: Array, owner: Ints, start: Array) -> Array:
    """What each row's (n) predecessor has; of a unit's first row, what the unit (m) had at the `start`."""
    found = np.empty(len(owner), dtype=np.result_type(values.dtype, start.dtype))
    found[1:] = values[:-1]
    first = is_first(owner)
    found[first] = start[owner[first]]
    return found


def carried(values: Array, where: Mask, owner: Ints, start: Array) -> Array:
    """The latest of `values` (n) at a row that is picked by `where` (n), up to and with each row (n).

    Before a unit's first such row it is what the unit (m) had at the `start`.
    """
    place = np.where(where, np.arange(len(owner)), -1)
    np.maximum.accumulate(place, out=place)
    mine = (place >= 0) & (owner[np.maximum(place, 0)] == owner)
    return np.where(mine, values[np.maximum(place, 0)], start[owner])


def last_of(values: Array, where: Mask, owner: Ints, start: Array) -> Array:
    """For each unit (m) the last of `values` (n) at a row that `where` (n) picks, else what it had at `start`."""
    found = start.copy()
    rows = np.flatnonzero(where)
    # Of several assignments to one place the last counts; rows are in order.
    found[owner[rows]] = values[rows]
    return found


def rank(owner: Ints) -> Ints:
    """How many rows of the same unit come before each row (n)."""
    rows = np.arange(len(owner))
    first = is_first(owner)
    return rows - np.maximum.accumulate(np.where(first, rows, 0))


def totals(values: Floats | Ints | Mask, owner: Ints, units: int) -> Floats:
    """Sum of the values (n) of each unit (m)."""
    return np.bincount(owner, weights=values, minlength=units).astype(np.float64, copy=False)


def with_events(run: Run) -> Mask:
    """Which units (m) have any event in a run."""
    return run.sizes > 0
