"""Sessions of browsers: what a cookie stands for, in Valkey under its hash.

A cookie is 256 random bits. Who it is of stands on the server alone, so that a session can be ended there.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection
from starlette.responses import Response

from live_api.access.identity import Identity
from live_api.access.tokens import Tokens

if TYPE_CHECKING:
    import valkey

COOKIE = "streamgauge"
KEY_MS = 30 * 86_400_000
"""How long a session that began with a key outlives its last request: a wall stays for weeks."""
PERSON_MS = 12 * 3_600_000
"""How long that of a person does."""
MOST_PERSON_MS = 7 * 86_400_000
"""How long that of a person lasts in all: what somebody may do is asked anew after it."""
_COOKIE_S = 400 * 86_400
"""As long as browsers keep any. The server ends sessions sooner."""


@dataclass(frozen=True, slots=True)
class Browser:
    """A session as it is kept."""

    identity: Identity
    """Who it was when it began."""
    key: str | None
    """Id of the key that it began with, which is asked for anew each time; None for a person's."""
    until_ms: int | None
    """When it ends whatever happens."""

    @property
    def slide_ms(self) -> int:
        return PERSON_MS if self.key is None else KEY_MS

    def lasts_ms(self, now_ms: int) -> int:
        """How long it lasts from now without another request; 0 or less: it is over."""
        return self.slide_ms if self.until_ms is None else min(self.slide_ms, self.until_ms - now_ms)


class Browsers:
    """Sessions in Valkey. The client belongs to the caller; calls are round trips, for threads.

    *Failure*: `Retryable` while the server is away.
    """

    def __init__(self, client: valkey.Valkey) -> None:
        self._tokens = Tokens(client, "sessions")

    def begin(self, browser: Browser, now_ms: int) -> str:
        """A new session. Returns what the cookie has. Raises Retryable."""
        token = secrets.token_urlsafe(32)
        kept = {"identity": browser.identity.to_json(), "key": browser.key, "until_ms": browser.until_ms}
        self._tokens.keep(token, kept, browser.lasts_ms(now_ms))
        return token

    def of(self, token: str, now_ms: int) -> Browser | None:
        """The session of a cookie, which lasts longer by that. Raises Retryable."""
        kept = self._tokens.get(token)
        if kept is None:
            return None
        browser = Browser(Identity.from_json(kept["identity"]), kept["key"], kept["until_ms"])
        lasts_ms = browser.lasts_ms(now_ms)
        if lasts_ms <= 0:
            return None
        self._tokens.extend(token, lasts_ms)
        return browser

    def end(self, token: str) -> None:
        """Raises Retryable."""
        self._tokens.drop(token)


def is_secure(connection: HTTPConnection, public_url: str | None) -> bool:
    """Whether browsers reach us by HTTPS, as far as we or our proxy can tell."""
    return connection.url.scheme in ("https", "wss") or (public_url or "").startswith("https://")


def cookie_of(connection: HTTPConnection, *, secure: bool) -> str | None:
    return connection.cookies.get(cookie_name(secure=secure)) or None


def cookie_name(*, secure: bool) -> str:
    # With this prefix browsers take it only from us, over HTTPS, for all our paths: no neighbour can put his there.
    return f"__Host-{COOKIE}" if secure else COOKIE


def set_cookie(response: Response, token: str, *, secure: bool) -> None:
    """`Strict` also after a login elsewhere: the page that one comes back to is everybody's, and what it then asks for
    is asked by us."""
    name = cookie_name(secure=secure)
    response.set_cookie(name, token, _COOKIE_S, path="/", secure=secure, httponly=True, samesite="strict")


def drop_cookie(response: Response, *, secure: bool) -> None:
    name = cookie_name(secure=secure)
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")
