"""How many different texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.arrays import Floats, Ints
from stream.digests import Hashes
from stream.labels import Texts
from stream.measures.base import COUNT, Inputs, Sketch, Takes

Unsigned = npt.NDArray[np.unsignedinteger[Any]]
"""Unsigned are uint64, registers and what raises them uint8."""

INDEX_BITS = 12
REGISTERS = 1 << INDEX_BITS
ERROR = 1.04 / math.sqrt(REGISTERS)
"""Relative standard error past the cap: 1.6 %."""

_REST_BITS = 64 - INDEX_BITS
_REST_MASK = np.uint64((1 << _REST_BITS) - 1)
_WEIGHTS = 0.5 ** np.arange(1, _REST_BITS + 1)
_EXACT, _ESTIMATED = b"e", b"r"


class Distinct:
    """Number of different texts. Exact up to `exact_up_to`, above it an estimate; `error` is its standard error.

    Exact means: by 64-bit hashes (xxh3), of which two among 1,000 are the same once in 4·10^13 windows. The estimate is
    that of a HyperLogLog of 4,096 registers, evaluated as in O. Ertl, "New cardinality estimation algorithms for
    HyperLogLog sketches", 2017, arXiv 1702.01284, algorithm 6: unbiased at all sizes, without tables. It is kept within
    what is known: more than `exact_up_to`, no more than there were events. Which of the two is used, and the state,
    depend on the set of texts alone, not on order, repetition or split.

    Memory: 8 bytes a text while exact, then 4 KB.
    """

    name = "distinct"
    options = frozenset({"exact_up_to"})
    takes = Takes.TEXT
    columns = (COUNT,)

    def __init__(self, exact_up_to: int) -> None:
        """Raises ValueError where it is negative."""
        if exact_up_to < 0:
            raise ValueError(f"exact_up_to: expected 0 or more; found {exact_up_to}")
        self._exact_up_to = exact_up_to
        self.sketch: Sketch = HashSet(exact_up_to)

    def value(self, columns: list[Floats], sketches: Sequence[Unsigned], seconds: Floats) -> Floats:
        exact = np.array([_is_exact(state) for state in sketches], dtype=np.bool_)
        found = np.array([len(state) if _is_exact(state) else estimate(state) for state in sketches], dtype=np.float64)
        return np.where(exact, found, np.clip(np.rint(found), self._exact_up_to + 1, columns[0]))

    def error(self, columns: list[Floats], sketches: Sequence[Unsigned]) -> Sequence[float | None]:
        return [None if _is_exact(state) else ERROR for state in sketches]


class HashSet:
    """State: the hashes in order (uint64) while there are at most `exact_up_to`, then the registers (4096, uint8)."""

    def __init__(self, exact_up_to: int) -> None:
        self._exact_up_to = exact_up_to

    def empty(self) -> Unsigned:
        return np.zeros(0, dtype=np.uint64)

    def prepare(self, inputs: Inputs) -> Hashes:
        """The hash of each event's text (n)."""
        texts = inputs.values
        assert isinstance(texts, Texts)
        return texts.hashes

    def add(self, state: Unsigned, prepared: Hashes, rows: Ints) -> Unsigned:
        if _is_exact(state):
            return self._settled(_union(state, prepared[rows]))
        return _raised(state, *_places(prepared[rows]))

    def merge(self, one: Unsigned, other: Unsigned) -> Unsigned:
        if _is_exact(one) and _is_exact(other):
            return self._settled(_union(one, other))
        if _is_exact(one):
            return _raised(other, *_places(one))
        if _is_exact(other):
            return _raised(one, *_places(other))
        return np.maximum(one, other)

    def to_bytes(self, state: Unsigned) -> bytes:
        return (_EXACT if _is_exact(state) else _ESTIMATED) + state.tobytes()

    def from_bytes(self, raw: bytes) -> Unsigned:
        if raw[:1] == _EXACT:
            return np.frombuffer(raw[1:], dtype=np.uint64)
        return np.frombuffer(raw[1:], dtype=np.uint8)

    def _settled(self, hashes: Unsigned) -> Unsigned:
        if len(hashes) <= self._exact_up_to:
            return hashes
        return _raised(np.zeros(REGISTERS, dtype=np.uint8), *_places(hashes))


def _is_exact(state: Unsigned) -> bool:
    return state.dtype.itemsize == 8


def _union(one: Unsigned, other: Unsigned) -> Unsigned:
    """The different ones of both, in order."""
    hashes = np.concatenate((one, other))
    hashes.sort()
    first = np.empty(len(hashes), dtype=np.bool_)
    first[:1] = True
    np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
    different: Unsigned = hashes[first]
    return different


def _places(hashes: Unsigned) -> tuple[Ints, Unsigned]:
    """The register of each hash (n), and what it raises it to (n): 1 + the leading zeros of the other 52 bits."""
    # 52 bits are exact as a float, whose exponent is their length.
    _, length = np.frexp((hashes & _REST_MASK).astype(np.float64))
    return (hashes >> np.uint64(_REST_BITS)).astype(np.int64), (_REST_BITS + 1 - length).astype(np.uint8)


def _raised(registers: Unsigned, register: Ints, rank: Unsigned) -> Unsigned:
    result: Unsigned = registers.copy()
    np.maximum.at(result, register, rank)
    return result


def estimate(registers: Unsigned) -> float:
    """How many different hashes the registers have seen: Ertl 2017, algorithm 6. Infinite if none can rise further."""
    counts = np.bincount(registers, minlength=_REST_BITS + 2)
    z = REGISTERS * _tau(1 - int(counts[-1]) / REGISTERS) * float(_WEIGHTS[-1])
    z += float(counts[1:-1] @ _WEIGHTS) + REGISTERS * _sigma(int(counts[0]) / REGISTERS)
    return REGISTERS * REGISTERS / (2 * math.log(2) * z) if z else math.inf


def _sigma(x: float) -> float:
    """x + Σ x^(2^k)·2^(k-1) over k ≥ 1: the correction for registers that nothing has reached."""
    if x == 1:
        return math.inf
    weight, total, before = 1.0, x, -1.0
    while total != before:
        x *= x
        before = total
        total += x * weight
        weight *= 2
    return total


def _tau(x: float) -> float:
    """(1 - x - Σ (1 - x^(2^-k))²·2^-k over k ≥ 1) / 3: the correction for registers that can rise no further."""
    if x in (0.0, 1.0):
        return 0.0
    weight, total, before = 1.0, 1 - x, -1.0
    while total != before:
        x = math.sqrt(x)
        before = total
        weight /= 2
        total -= (1 - x) ** 2 * weight
    return total / 3
