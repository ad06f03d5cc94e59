"""API keys in SQL, in the store's database."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import insert, select, update

from sinks import schema
from sinks.database import open_database, transaction
from sinks.key_records import ApiKey
from sinks.prepared import prepare

_keys = schema.api_keys


class KeyStore:
    """Keys, each by its id. `url` as for `sinks.store.Store`; creating one connects to nothing.

    *Guarantee*: what `add` and `revoke` did is committed when they return. No key is ever deleted: what it did is in
    the audit log by its id. *Failure*: as `Store`. *Cost*: a row looked up by its primary key.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0) -> None:
        self._engine = open_database(url, busy_timeout_s=busy_timeout_s)

    def setup(self) -> None:
        """Create what is missing and check the schema version; `Misconfigured` for a newer database."""
        prepare(self._engine)

    def add(self, key: ApiKey) -> None:
        row = {
            "id": key.id,
            "name": key.name,
            "hash": key.hash,
            "role": key.role,
            "permissions": orjson.dumps(list(key.permissions)).decode(),
            "rows": orjson.dumps({name: list(values) for name, values in key.rows.items()}).decode(),
            "person": key.person,
            "created_ms": key.created_ms,
            "expires_ms": key.expires_ms,
        }
        with transaction(self._engine, write=True) as connection:
            connection.execute(insert(_keys), row)

    def get(self, key_id: str) -> ApiKey | None:
        with transaction(self._engine) as connection:
            row = connection.execute(select(_keys).where(_keys.c.id == key_id)).mappings().one_or_none()
        return None if row is None else _key(row)

    def all(self) -> list[ApiKey]:
        """Every key there has been, the oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(_keys).order_by(_keys.c.created_ms, _keys.c.id)).mappings().all()
        return [_key(row) for row in rows]

    def any(self) -> bool:
        """Whether there has ever been a key."""
        with transaction(self._engine) as connection:
            return connection.execute(select(_keys.c.id).limit(1)).first() is not None

    def revoke(self, key_id: str, now_ms: int) -> bool:
        """Whether it was good until now, but for its time."""
        query = update(_keys).where(_keys.c.id == key_id, _keys.c.revoked_ms.is_(None)).values(revoked_ms=now_ms)
        with transaction(self._engine, write=True) as connection:
            return connection.execute(query).rowcount == 1

    def used(self, key_id: str, now_ms: int) -> None:
        """Note that somebody came with it."""
        with transaction(self._engine, write=True) as connection:
            connection.execute(update(_keys).where(_keys.c.id == key_id).values(last_used_ms=now_ms))

    def forget(self, person: str) -> int:
        """Have keys be nobody's who was this person, by pseudonym; how many. They stay good for all else."""
        query = update(_keys).where(_keys.c.person == person).values(person=None)
        with transaction(self._engine, write=True) as connection:
            return connection.execute(query).rowcount

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _key(row: Any) -> ApiKey:
    known = dict(row)
    known["permissions"] = tuple(orjson.loads(known["permissions"]))
    known["rows"] = {name: tuple(values) for name, values in orjson.loads(known["rows"]).items()}
    return ApiKey(**known)
