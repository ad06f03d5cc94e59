"""The issuer of people's tokens: where its parts are, and its keys, asked for when they are needed and kept."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpcore2
import orjson

from live_api.access.oidc import Oidc, Unverified, verified
from sinks.errors import Retryable

_WITHIN_S = 8.0
_MOST_BYTES = 1 << 20
_KEYS_EVERY_S = 60.0
"""A token may name any key: for an unknown one the issuer is asked so often at most."""
_KEPT_S = 3_600.0
_AWAY = (TimeoutError, OSError, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)


class Issuer:
    """What we know of the issuer, and how it is asked. Redirects are not followed, and no proxy is used.

    The operator has said where it is, so that it may be on any network, this machine included.

    *Guarantee*: keys are those of at most an hour ago. *Failure*: Retryable when the issuer is needed and away; with
    the keys that are known, tokens are verified without it. *Cost*: two requests an hour.
    """

    def __init__(self, oidc: Oidc, *, clock_s: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self.oidc = oidc
        self._clock_s, self._monotonic = clock_s, monotonic
        self._pool: httpcore2.AsyncConnectionPool | None = None
        self._places: dict[str, Any] | None = None
        self._keys: list[Mapping[str, Any]] = []
        self._read_s: float | None = None
        self._tried_s: float | None = None
        self._lock = asyncio.Lock()

    async def claims(self, token: str, audience: str | None = None) -> dict[str, Any]:
        """What a token says that is to be believed. Raises Unverified, Retryable."""
        for_us = audience or self.oidc.for_us
        await self._read_keys(self._read_s is None or self._monotonic() - self._read_s >= _KEPT_S)
        try:
            return self._verified(token, for_us)
        except LookupError as unknown:
            if not await self._read_keys(True):
                raise Unverified(str(unknown)) from None
        try:
            return self._verified(token, for_us)
        except LookupError as unknown:
            raise Unverified(str(unknown)) from None

    async def login_url(self, back: str, state: str, nonce: str, challenge: str) -> str:
        """Where a browser is sent to log in. Raises Retryable."""
        asked = {
            "response_type": "code",
            "client_id": self.oidc.client_id or "",
            "redirect_uri": back,
            "scope": "openid profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        place = await self._place("authorization_endpoint")
        return f"{place}{'&' if urlsplit(place).query else '?'}{urlencode(asked)}"

    async def id_token(self, code: str, back: str, verifier: str) -> str:
        """What the issuer gives for a browser's code. Raises Unverified, Retryable."""
        oidc = self.oidc
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if oidc.client_secret:
            pair = f"{quote(oidc.client_id or '', safe='')}:{quote(oidc.client_secret, safe='')}"
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = oidc.client_id or ""
        place = await self._place("token_endpoint")
        status, body = await self._asked("POST", place, headers, urlencode(form).encode())
        if status >= 500:
            raise Retryable(f"the OIDC issuer answers {status}")
        token = body.get("id_token") if status == 200 else None
        if not isinstance(token, str):
            why = str(body.get("error_description") or body.get("error") or "no id_token in its answer")
            raise Unverified(f"the issuer gave no token ({status}): {why[:200]}")
        return token

    async def aclose(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()

    def _verified(self, token: str, audience: str) -> dict[str, Any]:
        return verified(token, self._keys, self.oidc, audience=audience, now_s=self._clock_s())

    async def _read_keys(self, wanted: bool) -> bool:
        """Read the keys anew if that is wanted and may be; whether they were. Raises Retryable where there are none."""
        if not wanted:
            return False
        began_s = self._monotonic()
        async with self._lock:
            if self._read_s is not None and self._read_s >= began_s:
                return True  # somebody else has meanwhile
            if self._tried_s is not None and began_s - self._tried_s < (_KEYS_EVERY_S if self._keys else 1.0):
                if not self._keys:
                    raise Retryable("the OIDC issuer could not be asked a moment ago")
                return False
            self._tried_s = began_s
            try:
                status, body = await self._asked("GET", await self._place("jwks_uri"))
                if status != 200 or not isinstance(body.get("keys"), list):
                    raise Retryable(f"the OIDC issuer's keys: expected a key set; found status {status}")
            except Retryable:
                if not self._keys:
                    raise
                return False
            self._keys = [one for one in body["keys"] if isinstance(one, dict)]
            self._read_s = self._monotonic()
            return True

    async def _place(self, name: str) -> str:
        """An address of the issuer's discovery document. Raises Retryable."""
        if self._places is None:
            url = f"{self.oidc.issuer.rstrip('/')}/.well-known/openid-configuration"
            status, body = await self._asked("GET", url)
            if status != 200 or body.get("issuer") != self.oidc.issuer:
                found = f"{body.get('issuer')!r} (status {status})"
                raise Retryable(f"STREAMGAUGE_OIDC_ISSUER: expected {url} to name {self.oidc.issuer!r}; found {found}")
            self._places = body
        place = self._places.get(name)
        if not isinstance(place, str) or urlsplit(place).scheme not in ("http", "https"):
            raise Retryable(f"the OIDC issuer's discovery document has no {name}")
        return place

    async def _asked(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        if self._pool is None:
            # Of the loop that it is used in.
            self._pool = httpcore2.AsyncConnectionPool(max_connections=4, keepalive_expiry=15.0)
        sent = [("accept", "application/json"), ("accept-encoding", "identity"), *(headers or {}).items()]
        if body is not None:
            sent.append(("content-length", str(len(body))))
        encoded = [(b"host", _host(url)), *((name.encode(), value.encode()) for name, value in sent)]
        read = b""
        try:
            async with (
                asyncio.timeout(_WITHIN_S),
                self._pool.stream(method, url, headers=encoded, content=body) as response,
            ):
                async for chunk in response.aiter_stream():
                    read += chunk
                    if len(read) > _MOST_BYTES:
                        raise Retryable(f"the OIDC issuer answers more than {_MOST_BYTES:,} bytes")
                status = response.status
        except _AWAY as error:
            raise Retryable(f"the OIDC issuer cannot be asked: {error or 'no answer in time'}") from error
        try:
            told = orjson.loads(read)
        except ValueError:
            told = None
        return status, told if isinstance(told, dict) else {}


def _host(url: str) -> bytes:
    return urlsplit(url).netloc.rpartition("@")[2].encode()
