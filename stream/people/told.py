"""What is to be told in persons' own records, many lines at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import polars as pl

from sinks.person_records import PersonLine
from stream.arrays import Ints, Mask
from stream.digests import Hashes


@dataclass(frozen=True, slots=True)
class Told:
    """Lines (n) of persons' records, of one kind. Made into objects where they are written: most are so at leisure."""

    kind: str
    persons: pl.Series | tuple[Hashes, Hashes]
    """Their pseudonyms (n), or the two halves of each (n each)."""
    reference: Hashes
    time_ms: Ints
    gone: Mask
    """Which of them are there no more (n)."""
    fields: Mapping[str, pl.Series]

    @classmethod
    def of(cls, line: PersonLine, gone: bool) -> Told:
        """A single one."""
        return cls(
            line.kind,
            pl.Series([line.person]),
            np.array([line.reference], dtype=np.uint64),
            np.array([line.at_ms], dtype=np.int64),
            np.array([gone]),
            {name: pl.Series([value]) for name, value in line.fields.items()},
        )

    def lines(self) -> Iterable[tuple[PersonLine, bool]]:
        """Each line, and whether it is gone."""
        names = list(self.fields)
        columns = zip(*(values.to_list() for values in self.fields.values()), strict=True)
        fields: Iterable[Any] = columns if names else repeat(())
        known = zip(self._pseudonyms(), self.reference.tolist(), self.time_ms.tolist(), self.gone.tolist(), strict=True)
        for (person, reference, time_ms, gone), values in zip(known, fields, strict=False):
            told = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            yield PersonLine(person, self.kind, reference, time_ms, told), gone

    def without(self, person: str) -> Told:
        """The same but for the lines of one person."""
        others = np.array([one != person for one in self._pseudonyms()], dtype=np.bool_)
        if others.all():
            return self
        kept = pl.Series(others)
        return Told(
            self.kind,
            self.persons.filter(kept) if isinstance(self.persons, pl.Series) else _both(self.persons, others),
            self.reference[others],
            self.time_ms[others],
            self.gone[others],
            {name: values.filter(kept) for name, values in self.fields.items()},
        )

    def _pseudonyms(self) -> list[str]:
        if isinstance(self.persons, pl.Series):
            return self.persons.to_list()
        return [f"{one:016x}{other:016x}" for one, other in zip(*(half.tolist() for half in self.persons), strict=True)]


def _both(halves: tuple[Hashes, Hashes], rows: Mask) -> tuple[Hashes, Hashes]:
    high, low = halves
    return high[rows], low[rows]
