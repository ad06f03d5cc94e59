"""Who is asked for: by the id that events have, or by the pseudonym that answers have."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import HTTPException

from sinks.errors import SinkError

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
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
    try:
        return [pseudonym(raw), *as_it_is]
    except SinkError as error:
        raise HTTPException(503, str(error)) from error
