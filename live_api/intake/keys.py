"""Keys that come in other ways than as bearer tokens: in a header, as a user's name, in the address, in the body."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable

from fastapi import HTTPException
from starlette.requests import Request

from live_api.access.guard import address_of, check, identify_as, identity_of, refused_of
from live_api.access.identity import LOCAL, Identity
from live_api.access.permissions import Permission

IdentifyKey = Callable[[str, str], Awaitable[Identity | None]]
"""Who has a key, which somebody at an address shows; None where nobody has. Answers 429 and 503."""
_WRITES_ONLY = frozenset({Permission.TRACK})


async def admit(request: Request, identify_key: IdentifyKey | None, in_body: str | None) -> Identity:
    """Whoever sends events, if they may. While nobody needs a key, those that come are not looked at.

    Raises HTTPException 401, 403, 429 and 503.
    """
    in_address = request.query_params.get("key")
    if in_address is not None:
        # Whoever logs requests behind us shall not find it.
        request.scope["query_string"] = b""
    if identify_key is not None and identity_of(request) is not LOCAL:
        shown = request.headers.get("x-write-key") or _user(request.headers.get("authorization", "")) or in_body
        refused = refused_of(request)
        if refused is not None and "x-write-key" in request.headers:
            raise refused  # looked at for all routes, and counted if it is bad: not a second time here
        key = shown or in_address
        if key is not None:
            found = await identify_key(key, address_of(request))
            if found is None:
                raise HTTPException(401, "expected a key that is good; this one is not", {"WWW-Authenticate": "Bearer"})
            if not shown and found.permissions != _WRITES_ONLY:
                raise HTTPException(403, "expected a key that may do nothing but track in an address")
            identify_as(request, found)
    return check(request, Permission.TRACK)


def _user(authorization: str) -> str | None:
    """The user's name of HTTP basic, where Segment's clients put the key."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[0] or None
    except (binascii.Error, UnicodeDecodeError):
        return None
