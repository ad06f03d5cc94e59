"""The log of deliveries: every attempt to tell an endpoint something, for a month, in the store's database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, insert, select

from sinks import schema
from sinks.database import open_database, transaction
from sinks.records import iso

KEPT_MS = 30 * 86_400_000
_deliveries = schema.deliveries


class Outcome(StrEnum):
    """What came of an attempt. The list is closed."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """It is tried again."""
    REFUSED = "refused"
    """Nothing was sent, as nothing may be sent to that address; it is tried again."""
    GONE = "gone"
    """The endpoint wants no more: it is switched off."""
    DEAD = "dead"
    """Given up, and kept as a dead letter."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt. Nothing in it is secret: no URL, no header, no body."""

    endpoint: str
    notification: str
    """Its id."""
    attempt: int
    """From 1."""
    at_ms: int
    outcome: Outcome
    status: int | None = None
    """HTTP's; None where there was no answer."""
    duration_ms: float | None = None
    """None where nothing was sent."""
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint,
            "notification": self.notification,
            "attempt": self.attempt,
            "at": iso(self.at_ms),
            "outcome": self.outcome.value,
            "status": self.status,
            "duration_ms": self.duration_ms,
            "error": self.error,
        }


class Deliveries:
    """The log as rows of the store's database, whose tables `Store.setup` makes.

    *Guarantee*: what `write` was given is committed when it returns. *Failure*: as `Store`. *Cost*: some 50 µs a row;
    deliveries are few.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0) -> None:
        self._engine = open_database(url, busy_timeout_s=busy_timeout_s)

    def write(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        rows = [asdict(one) | {"outcome": one.outcome.value} for one in deliveries]
        with transaction(self._engine, write=True) as connection:
            connection.execute(insert(_deliveries), rows)

    def read(self, endpoint: str | None = None, *, limit: int = 100) -> list[Delivery]:
        """The newest first."""
        query = select(*(_deliveries.c[name] for name in _FIELDS))
        if endpoint is not None:
            query = query.where(_deliveries.c.endpoint == endpoint)
        query = query.order_by(_deliveries.c.at_ms.desc(), _deliveries.c.id.desc()).limit(limit)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return [Delivery(**dict(zip(_FIELDS, row, strict=True)) | {"outcome": Outcome(row[4])}) for row in rows]

    def prune(self, now_ms: int) -> int:
        """Delete what is older than 30 days; how many."""
        with transaction(self._engine, write=True) as connection:
            return connection.execute(delete(_deliveries).where(_deliveries.c.at_ms < now_ms - KEPT_MS)).rowcount

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


_FIELDS = ("endpoint", "notification", "attempt", "at_ms", "outcome", "status", "duration_ms", "error")
