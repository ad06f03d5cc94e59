"""Who is to be forgotten, on the way from the command line to the processor."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

import orjson

ERASURE_FIELD = b"f"
"""Field of an entry of the stream of commands."""
_PERSON = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person is to be forgotten."""

    person: str
    """Pseudonym, 32 hex digits; never an id as it came."""
    platform: str
    at_ms: int

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Erasure:
        """The inverse of `to_bytes`. Raises ValueError for anything else, without quoting it."""
        try:
            made = cls(**orjson.loads(raw))
        except (TypeError, ValueError):
            raise ValueError("not a word that somebody is to be forgotten") from None
        if type(made.person) is not str or not _PERSON.fullmatch(made.person):
            raise ValueError("not a word that somebody is to be forgotten: its person is no pseudonym")
        if type(made.platform) is not str or type(made.at_ms) is not int:
            raise ValueError("not a word that somebody is to be forgotten: its platform or its time is none")
        return made
