"""The audit log: who read of persons, exported, answered alerts, had somebody forgotten, made and ended keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import insert, select

from sinks import schema
from sinks.database import open_database, transaction
from sinks.prepared import prepare
from sinks.records import iso

_audit = schema.audit
_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
_GROUPED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_CHARACTERS = 500
"""Of a subject and of a detail, which may be what a client sent."""


class Action(StrEnum):
    """What was done. The list is closed."""

    READ_PERSON = "read_person"
    EXPORTED = "exported"
    ACKNOWLEDGED = "acknowledged"
    """Answered an alert, or began or ended a silence."""
    ERASED = "erased"
    """Asked that a person be forgotten."""
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    LOGGED_IN = "logged_in"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. No address, no id as events have it, no secret."""

    at_ms: int
    who: str
    action: Action
    subject: str
    """A pseudonym, or the name of what it was done to."""
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "at": iso(self.at_ms),
            "who": self.who,
            "action": self.action.value,
            "subject": self.subject,
            "detail": self.detail,
        }


class AuditStore:
    """The log as rows of the store's database, which refuses to change or delete any.

    A pseudonym stands there in groups of digits: whoever looks through the bytes of the store for what is left of a
    person who was forgotten can tell this log, which stays, from what had to go.

    *Guarantee*: what `write` was given is committed when it returns. *Failure*: as `Store`. *Cost*: a transaction an
    entry.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0) -> None:
        self._engine = open_database(url, busy_timeout_s=busy_timeout_s)

    def setup(self) -> None:
        """Create what is missing and check the schema version; `Misconfigured` for a newer database."""
        prepare(self._engine)

    def write(self, entry: Entry) -> None:
        row = {
            "at_ms": entry.at_ms,
            "who": entry.who[:MOST_CHARACTERS],
            "action": entry.action.value,
            "subject": _grouped(entry.subject[:MOST_CHARACTERS]),
            "detail": entry.detail[:MOST_CHARACTERS],
        }
        with transaction(self._engine, write=True) as connection:
            connection.execute(insert(_audit), row)

    def read(
        self,
        *,
        from_ms: int | None = None,
        who: str | None = None,
        action: Action | None = None,
        subject: str | None = None,
        limit: int = 100,
    ) -> list[Entry]:
        """The newest first."""
        query = select(_audit.c.at_ms, _audit.c.who, _audit.c.action, _audit.c.subject, _audit.c.detail)
        if from_ms is not None:
            query = query.where(_audit.c.at_ms >= from_ms)
        if who is not None:
            query = query.where(_audit.c.who == who)
        if action is not None:
            query = query.where(_audit.c.action == action.value)
        if subject is not None:
            query = query.where(_audit.c.subject == _grouped(subject))
        query = query.order_by(_audit.c.at_ms.desc(), _audit.c.id.desc()).limit(limit)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return [Entry(at_ms, by, Action(what), _plain(of), detail) for at_ms, by, what, of, detail in rows]

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _grouped(subject: str) -> str:
    if not _PSEUDONYM.fullmatch(subject):
        return subject
    return "-".join((subject[:8], subject[8:12], subject[12:16], subject[16:20], subject[20:]))


def _plain(subject: str) -> str:
    return subject.replace("-", "") if _GROUPED.fullmatch(subject) else subject
