"""Routes for events: our own, Segment's, PostHog's and CloudEvents, and the script for pages."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import valkey.asyncio
from fastapi import HTTPException
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from valkey.exceptions import TimeoutError as LateAnswer
from valkey.exceptions import ValkeyError

from live_api.access.guard import address_of, identity_of, refusal
from live_api.access.permissions import Permission
from live_api.admission import Bucket, Origins
from live_api.intake import cloudevents, posthog, segment, snippet
from live_api.intake.backlog import Backlog
from live_api.intake.bodies import TooLong, Unreadable, body_of
from live_api.intake.door import RETRY_AFTER_S, Door
from live_api.intake.keys import IdentifyKey, admit
from live_api.intake.meters import IngestMeters
from live_api.intake.salt import Salt
from live_api.intake.sent import Sent, Unusable, native
from live_api.intake.verdict import Rejected, Verdict
from live_api.intake.who import Visitor
from live_api.intake.writer import NO_ANSWER, Writer
from sinks.errors import Misconfigured, SinkError
from sinks.records import Reason
from stream.catalog import Catalog
from stream.entries import MAX_ELEMENTS
from stream.geo import Geo
from stream.walltime import clock_ms

GROUP = "streamgauge"
_SEGMENT = {f"/v1/{call}": call for call in segment.CALLS} | {f"/v1/{call[0]}": call for call in segment.CALLS[:4]}
_SEGMENT |= {"/v1/g": "group", "/v1/a": "alias"}
_POSTHOG = ("/capture", "/batch", "/capture/", "/batch/", "/e/", "/i/v0/e/")
_ALLOWED_HEADERS = "authorization, content-encoding, content-type, x-sent-at, x-write-key"


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """Of one API process."""

    max_bytes: int = 5 << 20
    """Largest body, once it is unpacked."""
    events_per_s: float = 100_000.0
    """From one key, for long; twice as many at once."""
    backlog: int = 1_000_000
    """Entries that may wait in the streams."""
    dedupe_s: int = 600
    """For how long ids are remembered; 0: not at all."""


class _Refused(Exception):
    """A request is answered before its events are looked at."""

    def __init__(self, status: int, detail: str, stage: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.stage = status, detail, stage
        self.retry_after_s = retry_after_s


class Ingest:
    """The routes, and what they share: one connection pool to Valkey, which `close` ends."""

    def __init__(
        self,
        catalog: Catalog,
        valkey_url: str,
        *,
        registry: CollectorRegistry,
        pseudonym: Callable[[str], str] | None = None,
        identify_key: IdentifyKey | None = None,
        limits: IngestLimits | None = None,
        origins: Origins | None = None,
        group: str = GROUP,
        geo: Geo | None = None,
    ) -> None:
        """`group`: the consumer group that shows how far the processor is. `origins`: pages that may send events."""
        self._limits = limits or IngestLimits()
        self._origins = origins or Origins()
        self._identify_key = identify_key
        self._client = valkey.asyncio.Valkey.from_url(valkey_url, socket_timeout=5, socket_connect_timeout=2)
        streams = catalog.platform.streams
        writer = Writer(self._client, streams, self._limits.dedupe_s * 1_000)
        self._door = Door(catalog, writer, pseudonym or _no_pseudonyms, geo)
        self._backlog = Backlog(self._client, streams, group, self._limits.backlog)
        self._salt = Salt(self._client, f"{group}:salt", catalog.platform.zone, clock_ms)
        self._cookieless = catalog.ingest.cookieless and catalog.event.person is not None
        self._dnt = catalog.ingest.dnt
        self._meters = IngestMeters(registry)
        self._buckets: dict[str, Bucket] = {}
        self._script = snippet.Snippet()

    async def close(self) -> None:
        await self._client.aclose()

    def routes(self) -> list[Route]:
        names = self._door.names

        def of_segment(call: str | None) -> _Read:
            return lambda body, *_: segment.read(body, call, names)

        def of_posthog(body: bytes, _: Request, received_ms: int) -> Sent:
            return posthog.read(body, names, received_ms)

        readers: dict[str, _Read] = {"/v1/events": self._native, "/v1/batch": of_segment(None)}
        readers |= {"/v1/b": of_segment(None)}
        readers |= {path: of_segment(call) for path, call in _SEGMENT.items()}
        readers |= dict.fromkeys(_POSTHOG, of_posthog)
        made = [Route(path, self._endpoint(read), methods=["POST", "OPTIONS"]) for path, read in readers.items()]

        async def script(request: Request) -> Response:
            return await self._script.endpoint(request)

        script.permissions = ()  # type: ignore[attr-defined]
        return [*made, Route("/s.js", script, methods=["GET"])]

    def _endpoint(self, read: _Read) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            began_s = time.monotonic()
            if not self._may_send(request):
                self._meters.failed("origin")
                return refusal(HTTPException(403, "expected a page of our own, or one of STREAMGAUGE_INGEST_ORIGINS"))
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=self._cors(request))
            try:
                answer = await self._answer(request, read)
            except HTTPException as error:
                self._meters.failed("key")
                answer = refusal(error)
            except ClientDisconnect:
                answer = Response(status_code=400)  # nobody will read it
            for name, value in self._cors(request).items():
                answer.headers[name] = value
            self._meters.took(time.monotonic() - began_s)
            return answer

        # The key may be in the body, so who asks is looked at inside; this is what they have to be allowed.
        endpoint.permissions = (Permission.TRACK,)  # type: ignore[attr-defined]
        return endpoint

    async def _answer(self, request: Request, read: _Read) -> Response:
        received_ms = clock_ms()
        try:
            sent = await self._sent(request, read, received_ms)
            self._let_in(identity_of(request).name, sent.count)
            await self._has_room()
            verdict = await self._judged(sent, await self._visitor(request), received_ms)
        except _Refused as refused:
            self._meters.failed(refused.stage)
            return _answered(Verdict(), refused.status, refused.detail, refused.retry_after_s)
        except Unusable as error:
            verdict = Verdict(rejected=[Rejected(0, Reason.MALFORMED, "", str(error))])
            self._meters.judged(verdict)
            self._meters.failed("parse")
            return _answered(verdict, 400, str(error))
        self._meters.judged(verdict)
        status = verdict.status
        if status in (202, 207) and verdict.retry_after_s is None and _wants_200(request):
            status = 200
        return _answered(verdict, status, None, verdict.retry_after_s)

    async def _sent(self, request: Request, read: _Read, received_ms: int) -> Sent:
        """The events of a request by somebody who may send them."""
        if read == self._native:
            # The others may have their key in the body, which has to be read first.
            await admit(request, self._identify_key, None)
        try:
            body = await body_of(request, self._limits.max_bytes)
        except TooLong as error:
            raise _Refused(413, str(error), "body") from None
        except Unreadable as error:
            raise _Refused(415 if "Content-Encoding: expected" in str(error) else 400, str(error), "body") from None
        try:
            sent = read(body, request, received_ms)
        except Unusable:
            # What is wrong with a body is said to those who may send one.
            if read != self._native:
                await admit(request, self._identify_key, None)
            raise
        if read != self._native:
            await admit(request, self._identify_key, sent.key)
        if sent.count > MAX_ELEMENTS:
            raise _Refused(413, f"expected at most {MAX_ELEMENTS} events, found {sent.count}", "body")
        sent.sent_at = request.headers.get("x-sent-at") or sent.sent_at
        return sent

    def _native(self, body: bytes, request: Request, _: int) -> Sent:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in (cloudevents.STRUCTURED, cloudevents.SEVERAL) or cloudevents.is_binary(request.headers):
            return cloudevents.read(body, kind, request.headers, self._door.names)
        return native(body, kind)

    async def _judged(self, sent: Sent, visitor: Visitor, received_ms: int) -> Verdict:
        try:
            return await self._door.take(sent, visitor, received_ms)
        except SinkError as error:
            raise _Refused(503, f"no pseudonyms can be made: {error}", "person", RETRY_AFTER_S) from error

    async def _visitor(self, request: Request) -> Visitor:
        headers = request.headers
        followed = headers.get("sec-gpc") != "1" and not (self._dnt and headers.get("dnt") == "1")
        salt = None
        if self._cookieless and followed:
            try:
                salt = await self._salt.today()
            except (ValkeyError, OSError) as error:
                raise _Refused(503, NO_ANSWER, "person", RETRY_AFTER_S) from error
        browser = headers.get("user-agent", "")
        origin = headers.get("origin") or headers.get("referer")
        if origin is None or not browser.startswith("Mozilla/"):
            # A program sends the events of others: its own address and name say nothing of those.
            return Visitor(followed, site=_host(origin or ""), salt=salt)
        return Visitor(followed, address_of(request) or None, browser, headers.get("referer"), _host(origin), salt)

    async def _has_room(self) -> None:
        """Raises _Refused while the processor is behind, or while Valkey does not say whether it is."""
        try:
            full = await self._backlog.is_too_long(time.monotonic())
        except LateAnswer as error:
            raise _Refused(503, NO_ANSWER, "write", RETRY_AFTER_S) from error
        if full:
            entries = self._backlog.entries
            raise _Refused(503, f"{entries} entries wait to be counted, which is all there may be", "backlog", 5)

    def _let_in(self, name: str, events: int) -> None:
        """Count events against the rate of whoever sends them. Raises _Refused."""
        now_s, per_s = time.monotonic(), self._limits.events_per_s
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(per_s, 2 * per_s, now_s)
        # A request with more than are ever there at once may come when all are there.
        amount = min(float(events), 2 * per_s)
        if not bucket.take(now_s, amount):
            detail = f"expected at most {per_s:g} events a second from one key"
            raise _Refused(429, detail, "rate", bucket.wait_s(amount))

    def _may_send(self, request: Request) -> bool:
        return self._origins.allow(request.headers.get("origin"), request.headers.get("host"))

    def _cors(self, request: Request) -> dict[str, str]:
        """Never with credentials: nobody is known to the door by a cookie."""
        origin = request.headers.get("origin")
        if origin is None:
            return {}
        said = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        if request.method == "OPTIONS":
            wanted = request.headers.get("access-control-request-headers", "").lower()
            attributes = [name for one in wanted.split(",") if (name := one.strip()).startswith("ce-")]
            said["Access-Control-Allow-Methods"] = "POST"
            said["Access-Control-Allow-Headers"] = ", ".join([_ALLOWED_HEADERS, *attributes])
            said["Access-Control-Max-Age"] = "3600"
        else:
            said["Access-Control-Expose-Headers"] = "Retry-After"
            # Else a browser says in the console of a page that only sends (`sendBeacon`) that the answer was blocked.
            said["Cross-Origin-Resource-Policy"] = "cross-origin"
        return said


_Read = Callable[[bytes, Request, int], Sent]


def _answered(verdict: Verdict, status: int, detail: str | None, retry_after_s: float | None = None) -> Response:
    headers = {"Cache-Control": "no-store"}
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    return Response(verdict.to_bytes(detail), status, headers, "application/json")


def _wants_200(request: Request) -> bool:
    """PostHog's own clients take any other success for a failure, and send all of it again."""
    return request.headers.get("user-agent", "").startswith("posthog-")


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _no_pseudonyms(_: str) -> Any:
    raise Misconfigured("there is no key of the pseudonyms")
