"""The way out: one POST to an address that was looked at, and to no other.

A name is resolved here, every address it has is held against the networks that nothing may be sent to, and the
connection is made to one of those very addresses: what a name server says a moment later is never asked for. TLS and
`Host` go by the name. There are no redirects, no proxies and nothing from the environment, as the client has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpcore2

from live_api.spans import Trace, untraced
from stream.addresses import Network, refused

MOST_READ_BYTES = 64 << 10
"""Of an answer's body."""
_KEPT_BYTES = 2_048
_BODY_WITHIN_S = 2.0
_IDLE_S = 15.0
_CONNECT_SHARE = 0.8
"""Of a request's time, what connections to all but the last of a host's addresses may take."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host's addresses. Raises OSError."""


class EgressRefused(Exception):
    """Nothing was sent, as nothing may be sent there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said."""

    status: int
    retry_after: str | None
    body: bytes
    """How it began."""
    duration_ms: float

    @property
    def delivered(self) -> bool:
        return 200 <= self.status <= 299


async def resolve(host: str, port: int) -> Sequence[str]:
    """By the system's resolver, in a thread of its own: a name server that is silent holds its thread for half a
    minute, and the loop's few threads are everybody's. Raises OSError."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(addresses: Sequence[str], error: Exception | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def look() -> None:
        addresses: list[str] = []
        failure: Exception | None = None
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
        except (OSError, UnicodeError) as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, addresses, failure)

    threading.Thread(target=look, name="resolve", daemon=True).start()
    return await found


class Egress:
    """Posts to one endpoint, over connections that are kept for a while.

    *Guarantee*: no byte leaves to an address that is neither public nor in `allowed`, at any number of name changes; a
    request takes `timeout_s` at most, and at most 64 KB of its answer are read. *Failure*: `post` raises EgressRefused,
    TimeoutError, OSError and httpcore2's errors. *Cost*: one connection for each request under way.
    """

    def __init__(
        self,
        *,
        allowed: Sequence[Network] = (),
        timeout_s: float = 10.0,
        connections: int = 4,
        resolver: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        trace: Trace = untraced,
    ) -> None:
        self.trace = trace
        self._timeout_s = timeout_s
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or httpcore2.default_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_IDLE_S,
            network_backend=_Checked(resolver, tuple(allowed), timeout_s),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        began_s = time.monotonic()
        sent = {**headers, "content-length": str(len(body)), "accept-encoding": "identity"}
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in sent.items()]
        address = _address(url)
        encoded.insert(0, (b"host", _host(address)))
        async with (
            asyncio.timeout(self._timeout_s),
            self._pool.stream("POST", address, headers=encoded, content=body) as response,
        ):
            start = b""
            left_s = self._timeout_s - (time.monotonic() - began_s)
            # It has said what it makes of the request; however its text ends, nothing changes.
            with contextlib.suppress(TimeoutError, httpcore2.NetworkError, httpcore2.ProtocolError):
                async with asyncio.timeout(min(_BODY_WITHIN_S, left_s * 0.9)):
                    read = 0
                    async for chunk in response.aiter_stream():
                        start += chunk[: _KEPT_BYTES - len(start)]
                        read += len(chunk)
                        if read >= MOST_READ_BYTES:
                            break
            named = {name.lower(): value for name, value in response.headers}
            after = named.get(b"retry-after")
            return Answer(
                response.status,
                None if after is None else after.decode("latin-1"),
                start,
                (time.monotonic() - began_s) * 1_000,
            )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Checked(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, resolver: Resolve, allowed: tuple[Network, ...], timeout_s: float) -> None:
        self._resolve = resolver
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._under = httpcore2.AnyIOBackend()
        self._looking: asyncio.Task[Sequence[str]] | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as the client calls it
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            found = await self._look(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the host's name is not known: {error}") from error
        addresses = [ipaddress.ip_address(text) for text in found]
        for address in addresses:
            # One bad address among good ones is a trick, or a mistake that should be put right.
            if (kind := refused(address, self._allowed)) is not None:
                raise EgressRefused(f"the host's address {address} is {kind}; `allow_private` allows such networks")
        last: Exception = httpcore2.ConnectError("the host's name has no address")
        for number, address in enumerate(addresses):
            # One that swallows what it is sent, as IPv6 does at many a host, leaves time for the others.
            share_s = self._timeout_s * _CONNECT_SHARE / (2 ** (number + 1))
            within_s = timeout if number == len(addresses) - 1 else share_s
            try:
                return await self._under.connect_tcp(str(address), port, within_s, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last = error
        raise last

    async def _look(self, host: str, port: int) -> Sequence[str]:
        """One look at a time, which requests share: one that hangs is not begun over and over."""
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._resolve(host, port))
            self._looking.add_done_callback(self._looked)
        return await asyncio.shield(self._looking)

    def _looked(self, look: asyncio.Task[Sequence[str]]) -> None:
        self._looking = None
        if not look.cancelled():
            look.exception()  # whoever waits has it; when nobody does any more it is no news

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise EgressRefused("a webhook is no Unix socket")

    async def sleep(self, seconds: float) -> None:
        await self._under.sleep(seconds)


def _address(url: str) -> httpcore2.URL:
    """Taken apart here, as the client loses what follows a semicolon in the last part of a path."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return httpcore2.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target=target)


def _host(url: httpcore2.URL) -> bytes:
    host = b"[" + url.host + b"]" if b":" in url.host else url.host
    usual = {b"https": 443, b"http": 80}[url.scheme]
    return host if url.port in (None, usual) else host + f":{url.port}".encode()
