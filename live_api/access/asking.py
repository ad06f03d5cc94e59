"""Who a request is of: by its key or token, by its browser's session, or nobody in particular."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from fastapi import HTTPException
from starlette.requests import HTTPConnection

from live_api.access.browsers import Browsers, cookie_of, is_secure
from live_api.access.guard import address_of
from live_api.access.identity import LOCAL, NOBODY, Identity
from live_api.access.issuer import Issuer
from live_api.access.keys import Keys
from live_api.access.oidc import Unverified, identity_from
from live_api.admission import Origins, Slowed
from live_api.stored import or_503
from live_api.whose import Pseudonym
from sinks.errors import SinkError
from sinks.key_records import PREFIX

_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
Nobody = Callable[[], Awaitable[Identity]]
"""Who shows neither a key nor a login. Raises SinkError."""


class Asking:
    """Finds out who asks; what `create_app` calls `identify`.

    A bearer key or token comes first, then `X-Write-Key`, then the cookie. What is shown and is not good answers 401,
    and is never passed over for what comes after it; a session that has ended is as if there were none.
    """

    def __init__(
        self,
        keys: Keys,
        issuer: Issuer | None,
        browsers: Browsers,
        nobody: Nobody,
        *,
        origins: Origins,
        public_url: str | None,
        pseudonym: Pseudonym | None,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._keys, self._issuer, self._browsers, self._nobody = keys, issuer, browsers, nobody
        self._origins, self._public_url, self._pseudonym = origins, public_url, pseudonym
        self._clock, self._monotonic = clock, monotonic
        self._slowed = Slowed()

    async def __call__(self, connection: HTTPConnection) -> Identity:
        with or_503("who asks cannot be found out now"):
            return await self._of(connection)

    async def key(self, text: str, address: str) -> Identity:
        """Whose key it is that somebody at an address shows. Answers 401, 429 and 503."""
        if not self._keys.has_seen(text):
            self._may_try(address)
        with or_503("keys cannot be looked up now"):
            found = await self._keys.of(text)
        if found is None:
            raise self._bad(address, "a key that is good; found one that is unknown, revoked or past its time")
        return found

    async def identify_key(self, text: str, address: str = "") -> Identity | None:
        """The same for those who answer themselves: None where it is nobody's. Answers 429 and 503."""
        try:
            return await self.key(text, address)
        except HTTPException as error:
            if error.status_code != 401:
                raise
            return None

    async def person_of(self, identity: Identity) -> Identity:
        """With the pseudonym in place of the person's id, which is kept nowhere."""
        if identity.person is None:
            return identity
        if self._pseudonym is None:
            return replace(identity, person=None)
        try:
            return replace(identity, person=await asyncio.to_thread(self._pseudonym, identity.person))
        except SinkError:
            # No key of pseudonyms yet: then nothing is known of anybody.
            return replace(identity, person=None)

    def own_page(self, connection: HTTPConnection) -> bool:
        """Whether a page of ours asks. `*` lets strangers' pages read, and not act for whoever looks at them."""
        named = tuple(one for one in self._origins.allowed if one != "*")
        strict = Origins(named, self._origins.loopback)
        origin = connection.headers.get("origin")
        return origin is not None and strict.allow(origin, connection.headers.get("host"))

    async def _of(self, connection: HTTPConnection) -> Identity:
        scheme, _, shown = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._bearer(shown.strip(), address_of(connection))
        write_key = connection.headers.get("x-write-key")
        if write_key is not None:
            return await self.key(write_key.strip(), address_of(connection))
        cookie = cookie_of(connection, secure=is_secure(connection, self._public_url))
        found = None if cookie is None else await self._session(cookie)
        if found is None:
            return await self._nobody()
        # A browser lets any page open a line, and sends the cookie along to a neighbouring port or subdomain.
        asks = connection.scope["type"] == "http" and connection.scope["method"] in _SAFE
        if not asks and not self.own_page(connection):
            raise HTTPException(403, "Origin: expected a page of this server; found another, or none")
        return found

    async def _bearer(self, shown: str, address: str) -> Identity:
        if shown.startswith(PREFIX):
            return await self.key(shown, address)
        self._may_try(address)
        if self._issuer is None:
            raise self._bad(address, f"a key, which begins with {PREFIX}; tokens need STREAMGAUGE_OIDC_ISSUER")
        try:
            told = await self._issuer.claims(shown)
        except Unverified as why:
            raise self._bad(address, f"a token of {self._issuer.oidc.issuer} for this server; {why}") from None
        return await self.person_of(identity_from(told, self._issuer.oidc))

    async def _session(self, cookie: str) -> Identity | None:
        browser = await asyncio.to_thread(self._browsers.of, cookie, self._clock())
        if browser is None or browser.key is None:
            return None if browser is None else browser.identity
        found = await self._keys.by_id(browser.key)
        if found is None:
            await asyncio.to_thread(self._browsers.end, cookie)
        return found

    def _may_try(self, address: str) -> None:
        if address and not self._slowed.may_try(address, self._monotonic()):
            raise HTTPException(429, "too many bad keys or tokens from this address", {"Retry-After": "10"})

    def _bad(self, address: str, expected: str) -> HTTPException:
        if address:
            self._slowed.failed(address, self._monotonic())
        return HTTPException(401, f"expected {expected}", {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def nobody_is(somebody: Identity | None, keys: Keys) -> Nobody:
    """Who shows nothing: `somebody`, or where that is None `LOCAL` until there is a key, and nobody from then on."""

    async def found() -> Identity:
        if somebody is not None:
            return somebody
        return NOBODY if await keys.any_ever() else LOCAL

    return found
