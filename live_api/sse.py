"""The live line as Server-Sent Events: the same messages, for whoever cannot open a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from live_api import protocol
from live_api.access.guard import address_of, identity_of
from live_api.frame import Frame
from live_api.hub import Client
from live_api.protocol import Close, ProtocolError
from live_api.session import Door, left_s
from live_api.transport import EXTENSION, RequestProtocol, TaskLine

_BACK_IN_MS = 1_000
_BYE_WITHIN_S = 2.0
"""How long the last word may take: who does not read it is cut off."""


async def stream(request: Request, door: Door) -> Response:
    """`GET /v1/live?topics=…&topics=…`. `Last-Event-ID`, which browsers send by themselves, or `resume` goes on."""
    if request.method == "HEAD":
        return Response(media_type="text/event-stream")
    if not door.origin_allowed(request):
        return PlainTextResponse("this page may not read here\n", 403)
    if not door.arrive():
        return PlainTextResponse("busy; come back in a moment\n", 503, headers={"Retry-After": "1"})
    address = address_of(request)
    full = door.enter(address)
    if full is not None:
        return PlainTextResponse(full + "\n", 503, headers={"Retry-After": "10"})
    try:
        await door.ready()
        resume = request.headers.get("last-event-id") or request.query_params.get("resume")
        hello = protocol.hello(request.query_params.getlist("topics"), resume)
        connection = request.scope.get("extensions", {}).get(EXTENSION)
        line = TaskLine("sse", connection if isinstance(connection, RequestProtocol) else None)
        identity = identity_of(request)
        until_ms = door.until_ms(identity)
        client = door.hub.join(line, hello, identity.rows, until_ms)
    except ProtocolError as error:
        door.admission.leave(address)
        return Response(error.frame(), 400, media_type="application/json")
    except BaseException:
        door.admission.leave(address)
        raise
    return _Events(door, line, client, address, until_ms)


class _Events(Response):
    """The answer that goes on until either side ends it."""

    def __init__(self, door: Door, line: TaskLine, client: Client, address: str, until_ms: int | None) -> None:
        self._door, self._line, self._client, self._address = door, line, client, address
        self._until_ms = until_ms
        # A proxy that gathers what it passes on would make every number late.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(None, 200, headers, "text/event-stream")
        del self.headers["content-length"]

    def _expire(self) -> None:
        """The time of whoever reads is over: they may come back soon, and are asked again who they are."""
        self._door.hub.meters.evicted(Close.EXPIRED.name.lower())
        self._door.hub.leave(self._client)
        self._line.write(Frame(protocol.bye(_BACK_IN_MS), retry_ms=_BACK_IN_MS))
        self._line.close(Close.EXPIRED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(frames: list[Frame]) -> None:
            events = b"".join([frame.event for frame in frames])
            await send({"type": "http.response.body", "body": events, "more_body": True})

        async def end(code: int, reason: str) -> None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        connection = scope.get("extensions", {}).get(EXTENSION)
        if isinstance(connection, RequestProtocol):
            connection.hold_little()
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            tasks = [asyncio.create_task(self._line.run(tell, end)), asyncio.create_task(gone())]
            try:
                within_s = left_s(self._until_ms, self._door.clock())
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=within_s)
                if not done:
                    self._expire()
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=_BYE_WITHIN_S)
            finally:
                for task in tasks:
                    task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._door.hub.leave(self._client)
            self._door.admission.leave(self._address)
