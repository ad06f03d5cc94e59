"""Signatures by Standard Webhooks: who sent a request, that it is as it was sent, and when."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
SHORTEST_BYTES, LONGEST_BYTES = 24, 64


class SigningKey:
    """A key that signs, and is never shown."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """`whsec_` and base64, with or without its padding. Raises ValueError, which never quotes it."""
        expected = f"expected {PREFIX} and base64 of {SHORTEST_BYTES} to {LONGEST_BYTES} bytes"
        if not text.startswith(PREFIX):
            raise ValueError(f"{expected}; found a text that does not begin with {PREFIX}")
        body = text.removeprefix(PREFIX)
        try:
            key = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"{expected}; found {len(body)} characters that are not base64") from None
        if not SHORTEST_BYTES <= len(key) <= LONGEST_BYTES:
            raise ValueError(f"{expected}; found {len(key)} bytes")
        return cls(key)

    def sign(self, message: bytes) -> str:
        return "v1," + base64.b64encode(hmac.new(self._key, message, hashlib.sha256).digest()).decode()

    def __repr__(self) -> str:
        return "SigningKey(…)"


def signed_headers(message_id: str, now_ms: int, body: bytes, keys: Sequence[SigningKey]) -> dict[str, str]:
    """The headers of one attempt: id, time in seconds, and a signature for each key, the present one first.

    Without any key there is no signature. Raises ValueError for an id with a dot, which could be read in two ways.
    """
    if "." in message_id or not message_id:
        raise ValueError(f"expected an id without dots; found {message_id!r}")
    timestamp = str(now_ms // 1_000)
    headers = {"webhook-id": message_id, "webhook-timestamp": timestamp}
    if keys:
        message = f"{message_id}.{timestamp}.".encode() + body
        headers["webhook-signature"] = " ".join(key.sign(message) for key in keys)
    return headers
