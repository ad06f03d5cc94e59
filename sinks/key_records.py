"""API keys: what is known of one, and its text, which only its holder has.

A key is `sg_`, its id of 8 letters and digits, `_`, 32 random letters and digits, and 8 hex digits that are the CRC-32
of all before them: a scanner for secrets can tell it from other text, and a slip of the hand is noticed without a look
into the store. What is stored is SHA-256 of it. A slow hash would protect what people make up; 190 random bits cannot
be guessed at any speed, and a fast one can be checked on every request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

_LETTERS = string.ascii_letters + string.digits
_TEXT = re.compile(r"(sg_([a-z0-9]{8})_[A-Za-z0-9]{32})([0-9a-f]{8})", re.ASCII)
PREFIX = "sg_"
ID_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What the store has of a key. Nothing in it opens anything."""

    id: str
    name: str
    hash: str
    role: str | None
    permissions: tuple[str, ...]
    """Besides those of the role."""
    rows: Mapping[str, tuple[str, ...]]
    """Of these dimensions only these values; none: every row."""
    person: str | None
    """Pseudonym of whose key it is."""
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None
    last_used_ms: int | None = field(default=None, compare=False)
    """To the minute."""

    def is_good(self, now_ms: int) -> bool:
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)

    def is_of(self, text: str) -> bool:
        """Whether `text` is this key, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(self.hash, hash_of(text))


def new_text() -> str:
    """A key that nobody has yet."""
    own_id = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(ID_CHARACTERS))
    text = f"{PREFIX}{own_id}_" + "".join(secrets.choice(_LETTERS) for _ in range(32))
    return text + _checksum(text)


def id_of(text: str) -> str | None:
    """The id in a key; None for what is none, or has a slip in it."""
    found = _TEXT.fullmatch(text)
    return found[2] if found is not None and found[3] == _checksum(found[1]) else None


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
