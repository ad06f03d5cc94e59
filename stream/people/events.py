"""What is kept of events until they are taken into account, and for as long as others may come in before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from stream.arrays import Ints
from stream.digests import hashes_of
from stream.expressions import compile_expression, evaluate
from stream.identity import IDENTITY
from stream.origins import ENTRY_MS, ENTRY_NO
from stream.people.base import Array, Needs
from stream.people.vocabulary import Vocabulary

Columns = dict[str, Array]
"""Columns of n events by name; each (n)."""
TIME, FIRST, SECOND, SELF = "time", "entry_ms", "entry_no", "identity"
_FLAGS = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns events have, and which of the expressions of their analyses each stands for."""

    needs: Needs

    @classmethod
    def of(cls, needs: Sequence[Needs]) -> Layout:
        """That of several analyses together."""

        def union(key: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(text for one in needs for text in getattr(one, key)))

        return cls(Needs(union("conditions"), union("values"), union("texts"), union("hashes")))

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """Of each column, by its name."""
        needs = self.needs
        integer, unsigned = np.dtype(np.int64), np.dtype(np.uint64)
        found: dict[str, np.dtype[Any]] = {TIME: integer, FIRST: integer, SECOND: integer, SELF: unsigned}
        found |= {f"flags{word}": unsigned for word in range(-(-len(needs.conditions) // _FLAGS))}
        found |= {f"value {text}": np.dtype(np.float64) for text in needs.values}
        found |= {f"text {text}": np.dtype(np.int32) for text in needs.texts}
        return found | {f"hash {text}": unsigned for text in needs.hashes}

    def read(self, frame: pl.DataFrame, time_ms: Ints, vocabulary: Vocabulary) -> Columns:
        """The columns of a decoded batch (n)."""
        needs = self.needs
        found = iter(evaluate(frame, _compiled(needs)))
        columns: Columns = {
            TIME: time_ms,
            FIRST: frame[ENTRY_MS].to_numpy(),
            SECOND: frame[ENTRY_NO].to_numpy(),
            SELF: frame[IDENTITY].to_numpy(),
        }
        for place, _ in enumerate(needs.conditions):
            word, bit = divmod(place, _FLAGS)
            flags = next(found).to_numpy().astype(np.uint64) << np.uint64(bit)
            columns[f"flags{word}"] = flags if bit == 0 else columns[f"flags{word}"] | flags
        for text in needs.values:
            columns[f"value {text}"] = next(found).to_numpy()
        for text in needs.texts:
            columns[f"text {text}"] = vocabulary.codes(next(found)).astype(np.int32)
        for text in needs.hashes:
            columns[f"hash {text}"] = hashes_of(next(found))
        return columns

    def translated(self, columns: Columns, conditions: Sequence[str]) -> Columns:
        """Events (n) of a layout with these conditions, in the columns of this one; what they lack is missing."""
        count = len(columns[TIME])
        found: Columns = {}
        for name, dtype in self.dtypes.items():
            nothing = np.nan if dtype.kind == "f" else 0
            known = name in columns and not name.startswith("flags")
            found[name] = columns[name] if known else np.full(count, nothing, dtype=dtype)
        for place, text in enumerate(self.needs.conditions):
            if text in conditions:
                before, bit = divmod(conditions.index(text), _FLAGS)
                meets = (columns[f"flags{before}"] >> np.uint64(bit)) & np.uint64(1)
                word, bit = divmod(place, _FLAGS)
                found[f"flags{word}"] |= meets << np.uint64(bit)
        return found

    def conditions(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        """Which events (n) meet each condition."""
        found = {}
        for place, text in enumerate(self.needs.conditions):
            word, bit = divmod(place, _FLAGS)
            found[text] = (columns[f"flags{word}"] & np.uint64(1 << bit)) != 0
        return found


@lru_cache(maxsize=64)
def _compiled(needs: Needs) -> list[pl.Expr]:
    """The expressions, in the order of the columns that are made of them."""
    expressions = [compile_expression(text).fill_null(False) for text in needs.conditions]
    expressions += [compile_expression(text).cast(pl.Float64).fill_null(float("nan")) for text in needs.values]
    expressions += [compile_expression(text).cast(pl.String) for text in (*needs.texts, *needs.hashes)]
    kinds = "c" * len(needs.conditions) + "v" * len(needs.values) + "t" * (len(needs.texts) + len(needs.hashes))
    return [one.alias(f"{kind}{i}") for i, (kind, one) in enumerate(zip(kinds, expressions, strict=True))]


def taken(columns: Columns, rows: Array | slice) -> Columns:
    """The events at some rows (k), or those that a mask (n) picks, or those of a slice, without a copy."""
    return {name: values[rows] for name, values in columns.items()}


def joined(parts: Sequence[Columns]) -> Columns:
    """The events of several, one after the other; of at least one."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def in_order(columns: Columns, slots: Ints) -> Ints:
    """The order of events (n) by unit, time and entry."""
    # Events come nearly in order of time: sorted by it first, the rest has little to do.
    return np.lexsort((columns[SECOND], columns[FIRST], columns[TIME], slots))
