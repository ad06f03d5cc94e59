"""The most frequent texts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from sinks.records import Value
from stream.arrays import Floats, Ints
from stream.labels import Labels, Texts
from stream.measures.base import COUNT, Inputs, Sketch, Takes

Tally = tuple[int, dict[str, int]]
"""By how much a text may be undercounted, and the counts."""

_DECODER = msgspec.msgpack.Decoder(tuple[int, dict[str, int]])
_FEW = 200
"""Up to so many events it is quicker to count them one by one."""


class TopK:
    """The k most frequent texts and their counts, the greatest first, then by text.

    Exact while there are at most max(1,000, 50·k) different texts. Past that the counts are pruned to the half of it as
    in J. Misra, D. Gries, "Finding repeated elements", 1982, with the merge of P. Agarwal and others, "Mergeable
    summaries", PODS 2012: the count of the first that has no place is taken from all, and those that reach 0 are
    forgotten. Counts are then too small, never too large, by no more than is stated, and that is at most
    count / (half + 1), which is below 0.2 % of all events: every text more frequent than that is among the counts.

    `error` is the largest undercount as a share of the row's count, not of each value. Memory: at most
    max(1,000, 50·k) texts of 256 characters, which is 1 MB at the very worst and k up to 20.
    """

    name = "top_k"
    options = frozenset({"k"})
    takes = Takes.TEXT
    columns = (COUNT,)

    def __init__(self, k: int, capacity: int | None = None) -> None:
        """Raises ValueError where k is below 1. `capacity`: other than max(1,000, 50·k)."""
        if k < 1:
            raise ValueError(f"k: expected 1 or more; found {k}")
        self._k = k
        self.sketch: Sketch = Tallies(max(1_000, 50 * k) if capacity is None else capacity)

    def value(self, columns: list[Floats], sketches: Sequence[Tally], seconds: Floats) -> list[Value]:
        return [self._most(counts) for _, counts in sketches]

    def error(self, columns: list[Floats], sketches: Sequence[Tally]) -> Sequence[float | None]:
        return [
            under / count if under else None for (under, _), count in zip(sketches, columns[0].tolist(), strict=True)
        ]

    def _most(self, counts: dict[str, int]) -> dict[str, float]:
        if len(counts) > self._k:
            least = _nth_greatest(counts, self._k)
            counts = {text: count for text, count in counts.items() if count >= least}
        items = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return dict(items[: self._k])


class Tallies:
    """State: a Tally, of at most `capacity` texts."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity

    def empty(self) -> Tally:
        return 0, {}

    def prepare(self, inputs: Inputs) -> Labels:
        texts = inputs.values
        assert isinstance(texts, Texts)
        return texts.labels

    def add(self, state: Tally, prepared: Labels, rows: Ints) -> Tally:
        texts, codes = prepared.texts, prepared.codes[rows]
        counts = state[1].copy()
        if len(codes) <= _FEW:
            for code in codes.tolist():
                text = texts[code]
                counts[text] = counts.get(text, 0) + 1
        else:
            times = np.bincount(codes)
            different = np.flatnonzero(times)
            for code, more in zip(different.tolist(), times[different].tolist(), strict=True):
                text = texts[code]
                counts[text] = counts.get(text, 0) + more
        return self._pruned(state[0], counts)

    def merge(self, one: Tally, other: Tally) -> Tally:
        if len(one[1]) < len(other[1]):
            one, other = other, one
        counts = one[1].copy()
        for text, more in other[1].items():
            counts[text] = counts.get(text, 0) + more
        return self._pruned(one[0] + other[0], counts)

    def to_bytes(self, state: Tally) -> bytes:
        return msgspec.msgpack.encode(state)

    def from_bytes(self, raw: bytes) -> Tally:
        return _DECODER.decode(raw)

    def _pruned(self, under: int, counts: dict[str, int]) -> Tally:
        if len(counts) <= self._capacity:
            return under, counts
        # To the half, or a stream of ever new texts would be pruned at each event.
        cut = _nth_greatest(counts, self._capacity // 2 + 1)
        return under + cut, {text: count - cut for text, count in counts.items() if count > cut}


def _nth_greatest(counts: dict[str, int], n: int) -> int:
    values = np.fromiter(counts.values(), dtype=np.int64, count=len(counts))
    return int(np.partition(values, -n)[-n])
