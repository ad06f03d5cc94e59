"""Quantiles of a value, to a hundredth of themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sinks.records import Value
from stream.arrays import Floats, Ints
from stream.measures.base import COUNT, Column, Inputs, Reduce, Sketch, Takes

ERROR = 0.01
LEAST = 1e-12
"""Magnitudes below it count as zero."""
MOST = 1e20
"""Magnitudes above it count as it."""

_LOG_GAMMA = math.log((1 + ERROR) / (1 - ERROR))
_BELOW = math.ceil(math.log(LEAST) / _LOG_GAMMA) - 1
BUCKETS = math.ceil(math.log(MOST) / _LOG_GAMMA) - _BELOW
"""How many there are of each sign; they are numbered from 1, those of negative values from -1 down, zero's is 0."""

_COUNT_BITS = 48
_COUNT_MASK = (1 << _COUNT_BITS) - 1
_HALF = 1 << (_COUNT_BITS - 1)
_EMPTY = np.zeros(0, dtype=np.int64)


class Quantile:
    """The value of rank ⌊q·(n - 1)⌋, counted from 0 in ascending order, for each quantile q: `{"p50": …, "p99.9": …}`.

    A log-bucket histogram, as DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
    relative-error guarantees", PVLDB 12(12), 2019): bucket i holds the magnitudes in (g^(i-1), g^i] with
    g = (1 + e)/(1 - e), and answers 2·g^i/(g + 1), which is within e = 1 % of each of them. Counts are exact, so no
    error comes from the rank, and the answer depends on neither order nor split. It is never beyond the least and the
    greatest value, which are kept beside it: q of 0 and 1, and windows of one value over and over, are exact.

    Error: 1 % of the value for magnitudes of 1e-12 to 1e20. Smaller ones are zero; larger ones are 1e20, and the stated
    error is then 1. Memory: 8 bytes for each bucket in use, at most 59 KB.
    """

    name = "quantile"
    options = frozenset({"quantiles"})
    takes = Takes.NUMBER

    def __init__(self, quantiles: tuple[float, ...], *, ends: bool = True) -> None:
        """`ends`: whether the least and the greatest value are kept, which cannot be taken back.

        Raises ValueError where a quantile is outside of 0 to 1, comes twice, or there is none."""
        if not quantiles or not all(0 <= quantile <= 1 for quantile in quantiles):
            raise ValueError(f"quantiles: expected numbers from 0 to 1, as in [0.5, 0.99]; found {list(quantiles)}")
        least_and_greatest = (Column("min", Reduce.MIN), Column("max", Reduce.MAX)) if ends else ()
        self.columns: tuple[Column, ...] = (COUNT, *least_and_greatest)
        self._quantiles = quantiles
        self._names = [quantile_name(quantile) for quantile in quantiles]
        if len(set(self._names)) < len(self._names):
            raise ValueError(f"quantiles: expected each once; found {list(quantiles)}")
        self.sketch: Sketch = LogBuckets()

    def without_ends(self) -> Quantile:
        """The same for values that may be taken back."""
        return Quantile(self._quantiles, ends=False)

    def value(self, columns: list[Floats], sketches: Sequence[Ints], seconds: Floats) -> list[Value]:
        # All rows at once: one after the other, with the ranks of each moved up by all that comes before it.
        cells = np.concatenate(sketches)
        up_to = np.cumsum(cells & _COUNT_MASK)
        ends = up_to[np.cumsum([len(sketch) for sketch in sketches]) - 1]
        before = np.concatenate(([0], ends[:-1]))
        size = ends - before
        found = []
        for quantile in self._quantiles:
            rank = np.floor(quantile * (size - 1)).astype(np.int64)
            bucket = cells[np.searchsorted(up_to, before + rank, side="right")] >> _COUNT_BITS
            answer = _ANSWERS[bucket + BUCKETS]
            if len(columns) > 1:
                _, least, greatest = columns
                # The outermost ranks are known exactly.
                answer = np.where(rank == 0, least, np.where(rank == size - 1, greatest, answer))
                answer = np.clip(answer, least, greatest)
            found.append(answer.tolist())
        return [dict(zip(self._names, row, strict=True)) for row in zip(*found, strict=True)]

    def error(self, columns: list[Floats], sketches: Sequence[Ints]) -> Sequence[float | None]:
        if len(columns) == 1:
            return [ERROR] * len(columns[0])
        _, least, greatest = columns
        errors: list[float | None] = np.where((greatest > MOST) | (least < -MOST), 1.0, ERROR).tolist()
        return errors


class LogBuckets:
    """State: one number for each bucket in use (n), in order: the bucket's in the upper 16 bits, its count in the rest.

    Sparse, as most series have few values, and values of both signs lie far apart on this scale.
    """

    def empty(self) -> Ints:
        return _EMPTY

    def prepare(self, inputs: Inputs) -> Ints:
        """A cell for each event (n), with a count of 1 or its weight."""
        values = inputs.values
        assert isinstance(values, np.ndarray)
        size = np.clip(np.abs(values), LEAST, MOST)
        bucket = np.ceil(np.log(size) / _LOG_GAMMA).astype(np.int64) - _BELOW
        # Rounding may put the limits themselves one too far.
        bucket = np.clip(bucket, 1, BUCKETS) * np.sign(values).astype(np.int64)
        bucket[np.abs(values) < LEAST] = 0
        cells: Ints = (bucket << _COUNT_BITS) + (1 if inputs.weight is None else inputs.weight)
        return cells

    def add(self, state: Ints, prepared: Ints, rows: Ints) -> Ints:
        cells = prepared[rows]
        cells.sort()
        return self.merge(state, cells)

    def merge(self, one: Ints, other: Ints) -> Ints:
        cells = np.concatenate((one, other))
        cells.sort(kind="stable")  # both are in order already, which only this kind makes use of
        counts = _counts(cells)
        buckets = cells - counts
        last = np.empty(len(cells), dtype=np.bool_)
        last[-1:] = True
        np.not_equal(buckets[1:], buckets[:-1], out=last[:-1])
        ends = np.flatnonzero(last)
        if len(ends) == len(cells):
            return cells
        up_to = counts.cumsum()[ends]
        merged: Ints = buckets[ends]
        merged += up_to
        merged[1:] -= up_to[:-1]
        left = merged != buckets[ends]
        return merged if left.all() else merged[left]

    def to_bytes(self, state: Ints) -> bytes:
        return state.tobytes()

    def from_bytes(self, raw: bytes) -> Ints:
        return np.frombuffer(raw, dtype=np.int64)


def _counts(cells: Ints) -> Ints:
    """The count of each cell (n): less than 0 in what takes back."""
    return ((cells + _HALF) & _COUNT_MASK) - _HALF


def quantile_name(quantile: float) -> str:
    """0.5 → p50, 0.999 → p99.9"""
    return f"p{100 * quantile:.10g}"


def _answers() -> Floats:
    """The value that stands for each bucket, from -BUCKETS to BUCKETS."""
    gamma = math.exp(_LOG_GAMMA)
    positive = 2 / (gamma + 1) * np.exp(_LOG_GAMMA * (np.arange(1, BUCKETS + 1) + _BELOW))
    return np.concatenate((-positive[::-1], [0.0], positive))


_ANSWERS = _answers()
