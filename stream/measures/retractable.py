"""A measure of what may be taken back: each row counts as often as its weight says, which may be less than 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sinks.records import Value
from stream.arrays import Floats
from stream.measures.base import COUNT, Column, Measure, Reduce, Sketch, Takes
from stream.measures.quantile import Quantile

MOVES = Column("moves", Reduce.ADD, ones=True)
"""How many rows contributed, those that took back included: it rises with every change, which COUNT does not."""


class Retractable:
    """Another measure, with one column more. Its columns are COUNT, MOVES and the other's own."""

    def __init__(self, measure: Measure) -> None:
        if isinstance(measure, Quantile):
            measure = measure.without_ends()
        assert all(column.reduce is Reduce.ADD for column in measure.columns), "the catalog was checked"
        self._measure = measure
        self.name = measure.name
        self.options = measure.options
        self.takes: Takes = measure.takes
        first, *others = measure.columns
        assert first is COUNT
        self.columns = (COUNT, MOVES, *others)
        self.sketch: Sketch | None = measure.sketch

    def value(self, columns: list[Floats], sketches: Sequence[Any], seconds: Floats) -> Floats | list[Value]:
        return self._measure.value(_own(columns), sketches, seconds)

    def error(self, columns: list[Floats], sketches: Sequence[Any]) -> Sequence[float | None] | None:
        return self._measure.error(_own(columns), sketches)


def _own(columns: list[Floats]) -> list[Floats]:
    return [columns[0], *columns[2:]]
