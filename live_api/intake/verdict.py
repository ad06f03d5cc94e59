"""What is said of each event that came in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

NOT_WRITTEN = "not_written"
"""Code of events that are good, but are in no stream: they may be sent again."""
_AT = re.compile(r" - at `\$\.?(.*)`$")
_NAMED = re.compile(r"([^:\s]+): ")


@dataclass(frozen=True, slots=True)
class Rejected:
    """One event that was not taken."""

    index: int
    """Its place in the request."""
    code: str
    """A `Reason`, or `not_written`."""
    path: str
    """The field that it is about; empty for the whole event."""
    message: str

    def to_json(self) -> dict[str, Any]:
        return {"index": self.index, "code": self.code, "path": self.path, "message": self.message}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the events of a request: accepted + duplicates + rejected are all that were sent."""

    accepted: int = 0
    duplicates: int = 0
    rejected: Sequence[Rejected] = field(default=())
    retry_after_s: int | None = None
    """When to send again what was not written."""

    @property
    def status(self) -> int:
        """Of HTTP: 202, or 207 where an event was rejected, or 503 where nothing could be written at all."""
        if not self.rejected:
            return 202
        if self.accepted or self.duplicates or any(one.code != NOT_WRITTEN for one in self.rejected):
            return 207
        return 503

    def to_bytes(self, detail: str | None = None) -> bytes:
        """As JSON; `detail` says why the whole request was refused."""
        said: dict[str, Any] = {} if detail is None else {"detail": detail}
        said |= {"accepted": self.accepted, "duplicates": self.duplicates}
        return orjson.dumps(said | {"rejected": [one.to_json() for one in self.rejected]})


def path_of(message: str, names: Iterable[str]) -> str:
    """The field that a message of the decoder is about; `names` are those that there are."""
    found = _AT.search(message)
    if found is not None:
        return found[1]
    begins = _NAMED.match(message)
    return begins[1] if begins is not None and begins[1] in names else ""
