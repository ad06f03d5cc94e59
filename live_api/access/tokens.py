"""What tokens stand for, in Valkey, each for a time: tickets of lines, logins under way, sessions of browsers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
from valkey.exceptions import ValkeyError

from sinks.errors import Retryable

if TYPE_CHECKING:
    import valkey


class Tokens:
    """Tokens of one kind, with what each stands for as JSON; any API process knows those of another.

    Kept under their hashes: whoever reads the server's keys finds nothing to show. The client belongs to the caller;
    every call is a round trip, for a thread (`asyncio.to_thread`), not for the loop.

    *Failure*: `Retryable` while the server is away.
    """

    def __init__(self, client: valkey.Valkey, kind: str) -> None:
        self._client, self._kind = client, kind

    def keep(self, token: str, value: Any, lasts_ms: int) -> None:
        with self._asking():
            self._client.set(self._key(token), orjson.dumps(value), px=max(1, lasts_ms))

    def get(self, token: str) -> Any:
        """None for one that is over, or never was."""
        with self._asking():
            return _read(self._client.get(self._key(token)))

    def take(self, token: str) -> Any:
        """The same, once: one process gets it, and nobody after that."""
        with self._asking():
            return _read(self._client.getdel(self._key(token)))

    def extend(self, token: str, lasts_ms: int) -> None:
        with self._asking():
            self._client.pexpire(self._key(token), lasts_ms)

    def drop(self, token: str) -> None:
        with self._asking():
            self._client.delete(self._key(token))

    def _key(self, token: str) -> str:
        return f"streamgauge:{self._kind}:{hashlib.sha256(token.encode()).hexdigest()}"

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except ValkeyError as error:
            raise Retryable(f"{self._kind}: {error}") from error


def _read(found: Any) -> Any:
    return None if found is None else orjson.loads(found)
