"""Who is asked for: by the id that events have, or by the pseudonym that answers have."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import HTTPException

from live_api.access.guard import check_whole
from live_api.access.identity import Identity
from live_api.access.permissions import Permission
from live_api.stored import or_503

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
ME = "me"
Pseudonym = Callable[[str], str]
"""Makes of an id as it comes the name under which a person is kept; may raise SinkError."""


def names_of(raw: str, pseudonym: Pseudonym | None, path: str) -> list[str]:
    """The pseudonyms that may be meant, most likely first. Nothing of `raw` is kept or said.

    What looks like a pseudonym may be an id all the same. Answers 404 for an empty text, 501 for an id where there is
    no key to make a pseudonym with, 503 where the key cannot be read now. `path` is where one asks, for the message.
    """
    if not raw:
        raise HTTPException(404, f"person: expected an id, as in {path}/4711; found none")
    as_it_is = [raw] if _PSEUDONYM.fullmatch(raw) else []
    if pseudonym is None:
        if not as_it_is:
            raise HTTPException(501, "persons: this server was started without the key of the pseudonyms")
        return as_it_is
    with or_503():
        return [pseudonym(raw), *as_it_is]


def names_of_or_me(raw: str, identity: Identity, pseudonym: Pseudonym | None, path: str) -> list[str]:
    """The same, with `me` for whoever asks. Answers 404 where they are none of the persons."""
    if raw != ME:
        return names_of(raw, pseudonym, path)
    if identity.person is None:
        raise HTTPException(404, f"me: {identity.name} is none of the persons that events are about")
    return [identity.person]


def readable(identity: Identity, names: list[str]) -> list[str]:
    """Those of `names` that somebody may read of. Answers 403 where there is none."""
    if identity.may(Permission.VIEW_OWN) and identity.person in names:
        return [identity.person]
    if not identity.may(Permission.VIEW_OTHERS):
        raise HTTPException(403, f"{identity.name} may read of themselves only, at {ME}")
    check_whole(identity)
    return names
