"""Who asks, in tests: the bearer token names one of a few people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException
from starlette.requests import HTTPConnection

from live_api.access.guard import Identify
from live_api.access.identity import NOBODY, Identity, Rows
from live_api.access.permissions import PERMISSIONS, Permission, Role

VIEWER = PERMISSIONS[Role.VIEWER]
GERMANY = Identity("key:germany", VIEWER | {Permission.ACKNOWLEDGE}, Rows.of({"country": ["DE"]}))
ANALYST = Identity("key:analyst", PERMISSIONS[Role.ANALYST])
TRACKER = Identity("key:tracker", frozenset({Permission.TRACK}))


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def identify_by(people: Mapping[str, Identity], anonymous: Identity = NOBODY) -> Identify:
    """Whoever says the name of one of `people` is that one; who says nothing, `anonymous`. People may change."""

    async def identify(connection: HTTPConnection) -> Identity:
        said = connection.headers.get("authorization", "").removeprefix("Bearer ")
        if not said:
            return anonymous
        if said not in people:
            raise HTTPException(401, "expected a key that is known")
        return people[said]

    return identify


def people(**more: Identity) -> dict[str, Any]:
    """Options of an API that knows them."""
    return {"identify": identify_by({"germany": GERMANY, "analyst": ANALYST, "tracker": TRACKER, **more})}
