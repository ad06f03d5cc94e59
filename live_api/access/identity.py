"""Who asks, what they may do, and which rows of the numbers are theirs to see."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from live_api.access.permissions import Permission
from sinks.records import Dimensions


@dataclass(frozen=True, slots=True)
class Rows:
    """The series that somebody may see: of each dimension named here, only those with one of its values.

    A series without such a dimension is a total over rows that are not theirs, and so is not theirs either.
    """

    allowed: tuple[tuple[str, frozenset[str]], ...] = ()
    """Dimensions in rising order; none: every series."""

    @staticmethod
    def of(allowed: Mapping[str, Collection[str]]) -> Rows:
        return Rows(tuple((name, frozenset(values)) for name, values in sorted(allowed.items())))

    @property
    def limited(self) -> bool:
        """Whether anything is kept from them."""
        return bool(self.allowed)

    def to_json(self) -> dict[str, list[str]]:
        return {name: sorted(values) for name, values in self.allowed}

    def may_show(self, by: Collection[str]) -> bool:
        """Whether a metric with these dimensions can have series that are theirs."""
        return all(name in by for name, _ in self.allowed)

    def show(self, dimensions: Dimensions) -> bool:
        """Whether a series is theirs."""
        if not self.allowed:
            return True
        values = dict(dimensions)
        return all(values.get(name) in mine for name, mine in self.allowed)


EVERY_ROW = Rows()


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who asks. Nothing in it is secret."""

    name: str
    """As the audit log has it: `key:<id>`, `user:<subject>`, `local` or `anonymous`."""
    permissions: frozenset[Permission]
    rows: Rows = field(default=EVERY_ROW)
    person: str | None = None
    """Their pseudonym, where they are one of the persons that events are about."""
    until_ms: int | None = None
    """When it ends: a key's or a token's time; None for never."""

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "permissions": sorted(self.permissions),
            "rows": self.rows.to_json(),
            "person": self.person,
            "until_ms": self.until_ms,
        }

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Identity:
        """What `to_json` gave, in this version or in one that had other permissions."""
        known = frozenset(one for one in Permission if one.value in told["permissions"])
        return Identity(told["name"], known, Rows.of(told["rows"]), told["person"], told["until_ms"])


LOCAL = Identity("local", frozenset(Permission))
"""Whoever is on this machine, while nobody has said who may do what."""
NOBODY = Identity("anonymous", frozenset())
LASTING = (LOCAL.name, NOBODY.name)
"""Those who have nothing that could be taken back from them, or be somebody else's in a moment."""
