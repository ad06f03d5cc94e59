"""Tickets: what opens a live line for somebody who has shown before who they are.

A browser cannot send a header with a WebSocket, and what stands in an address ends in logs. So whoever may see numbers
asks for a ticket over REST and shows that: it is good once, for a minute.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from live_api.access.identity import Identity
from live_api.access.tokens import Tokens

if TYPE_CHECKING:
    import valkey


@dataclass(frozen=True, slots=True)
class Ticket:
    token: str
    """The only copy: the server keeps its hash."""
    until_ms: int
    """By when it has to be shown."""


class Tickets:
    """Tickets in Valkey, so that any API process takes those of another.

    The client belongs to the caller; every call is a round trip, for a thread (`asyncio.to_thread`), not for the loop.

    *Guarantee*: a ticket is taken once, by one process. *Failure*: `Retryable` while the server is away.
    """

    REDEEM_MS: ClassVar[int] = 60_000
    """How long a ticket may wait to be shown."""
    LINE_MS: ClassVar[int] = 15 * 60_000
    """How long the line that it opens lasts, unless it is refreshed with another."""

    def __init__(self, client: valkey.Valkey) -> None:
        self._tokens = Tokens(client, "tickets")

    def issue(self, identity: Identity, now_ms: int) -> Ticket:
        """A ticket for somebody. Raises Retryable."""
        token = secrets.token_urlsafe(32)
        until_ms = now_ms + self.REDEEM_MS
        if identity.until_ms is not None:
            until_ms = min(until_ms, identity.until_ms)
        self._tokens.keep(token, identity.to_json(), until_ms - now_ms)
        return Ticket(token, until_ms)

    def redeem(self, token: str) -> Identity | None:
        """Whose ticket it is; None for one that was shown before, is too old, or never was. Raises Retryable."""
        found = self._tokens.take(token)
        return None if found is None else Identity.from_json(found)


def line_ms(identity: Identity, now_ms: int) -> int:
    """How long a line that is opened now lasts."""
    if identity.until_ms is None:
        return Tickets.LINE_MS
    return max(0, min(Tickets.LINE_MS, identity.until_ms - now_ms))
