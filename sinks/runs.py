"""The points of one series over a range, by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sinks.records import Dimensions, State, Value

STATES = tuple(State)
"""What the numbers of `Run.states` stand for."""


@dataclass(frozen=True, slots=True)
class Run:
    """Ordered by start, each start once. Lists are as long as `starts`, or empty where nobody asked for them."""

    dimensions: Dimensions
    starts: list[int]
    values_json: str
    """The values as they are stored, JSON, with commas between: charts get them as they are."""
    states: list[int]
    counts: list[int] = field(default_factory=list)
    revisions: list[int] = field(default_factory=list)
    errors: list[float | None] = field(default_factory=list)

    @property
    def values(self) -> list[Value]:
        found: list[Value] = orjson.loads(f"[{self.values_json}]")
        return found

    def sorted(self) -> Run:
        """The same by start."""
        order = sorted(range(len(self.starts)), key=self.starts.__getitem__)

        def put(column: Sequence[Any]) -> list[Any]:
            return [column[i] for i in order] if column else []

        rest = (self.counts, self.revisions, self.errors)
        return Run(
            self.dimensions, put(self.starts), json_of(put(self.values)), put(self.states), *(put(one) for one in rest)
        )


def json_of(values: Sequence[Value]) -> str:
    """Values as `Run.values_json` has them."""
    return orjson.dumps(values)[1:-1].decode()
