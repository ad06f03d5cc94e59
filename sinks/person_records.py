"""What is kept about one person: lines of their own record, each under a pseudonym."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sinks.records import iso

PersonField = str | int | float | bool


@dataclass(frozen=True, slots=True)
class PersonLine:
    """One line of a person's record, as an upsert: a later one of the same person, kind and reference replaces it."""

    person: str
    """Pseudonym, 32 hex digits; never an id as it came."""
    kind: str
    """What the line is about: `session`, `funnel`, `engagement`, `event`, `flagged`."""
    reference: int
    """Which of that kind it is, 64 bits without a sign."""
    at_ms: int
    fields: Mapping[str, PersonField]

    def to_json(self) -> dict[str, Any]:
        """The public shape of a line: the person is said once, beside them."""
        return {
            "kind": self.kind,
            # A number of 64 bits is none that JavaScript can hold.
            "reference": f"{self.reference:016x}",
            "at": iso(self.at_ms),
            "fields": dict(self.fields),
        }
