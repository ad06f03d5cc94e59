"""Lines to clients: how a frame leaves, and how a line says that it is full.

`HubProtocol` is uvicorn's WebSocket protocol with a way to the connection itself: ASGI's `send` makes whoever calls it
wait for a client that does not read, and neither it nor `close` ever ends such a connection; only `transport.abort()`
does. It uses names that uvicorn does not promise (`conn`, `transport`, `close_sent`, `close_timer`, `queue`,
`disconnected`), so uvicorn is pinned and `tests/live_api/test_transport.py` holds both to each other. Under any other
server, and for Server-Sent Events, a `TaskLine` does the same with a task and plain ASGI.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, runtime_checkable

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from live_api.admission import Bucket
from live_api.frame import Frame

EXTENSION = "streamgauge.line"
"""Under this name the ASGI scope has the `HubProtocol` of a WebSocket, or what `abort`s the connection of a request."""
SEND_BUFFER_BYTES = 16_384
"""What the kernel may hold for a client; by default it takes 4 MB, an hour of numbers, before a stall shows."""
REQUEST_WITHIN_S = 10.0
"""From a new connection to the end of its first request's head."""
BYTES_PER_S, BYTES_AT_ONCE = 65_536.0, 1_048_576.0
"""What may come over a WebSocket, for long and at once: clients have little to say, and pings cost as well."""
_PING = b"\x89\x00"
_AT_ONCE = struct.pack("ii", 1, 0)
_CLOSE_WITHIN_S = 2.0
"""How long a client may take to answer the end of its connection."""


class Listener(Protocol):
    """Who is told how a line fares. Called while the line is being written to, so it must not write at once."""

    def stalled(self) -> None: ...
    def drained(self) -> None: ...


@runtime_checkable
class Line(Protocol):
    """What the hub writes to."""

    kind: str
    """`ws` or `sse`."""
    paused: bool
    """Whether something written has not left yet: nothing but answers may be written then."""
    heard: bool
    """Whether the client gave a sign of life since this was last set to False."""
    pings: bool
    """Whether a client answers pings."""
    listener: Listener | None

    @property
    def left_bytes(self) -> int:
        """How much of what was written has not left yet, as far as that is known."""

    def write(self, frame: Frame) -> None: ...
    def ping(self) -> None: ...
    def close(self, code: int, reason: str = "") -> None: ...
    def abort(self) -> None: ...


class HubProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection, as a Line.

    *Guarantee*: `write` never waits, and sends whole frames in the order of the calls; while `paused` more may be
    written and is kept in memory. *Cost*: one system call a frame.
    """

    kind = "ws"
    pings = True
    paused = False
    heard = True
    listener: Listener | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        _bound(self.transport)
        self._said = Bucket(BYTES_PER_S, BYTES_AT_ONCE, self.loop.time())

    @property
    def left_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    @property
    def ended(self) -> bool:
        """Whether either side has ended it: what is written now does not arrive."""
        return self.close_sent or self.disconnected or self.transport.is_closing()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.paused = True
        if self.listener is not None:
            self.listener.stalled()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.paused = False
        if self.listener is not None:
            self.listener.drained()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if not self._said.take(self.loop.time(), len(data)):
            self.abort()
            return
        super().data_received(data)

    def handle_ping(self) -> None:
        if self.paused:
            # Who does not read gets no answers either: they would pile up.
            self.conn.data_to_send()
            return
        super().handle_ping()

    def handle_close(self, event: Any) -> None:
        super().handle_close(event)
        self._end_soon()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._end_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        self.listener = None
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = dict(self.scope.get("extensions") or {})
        self.scope["extensions"] = extensions | {EXTENSION: self}
        await super().run_asgi()
        self._end_soon()

    def write(self, frame: Frame) -> None:
        # Between the end of a connection and the end of its session there is a turn of the loop, or several.
        if not self.transport.is_closing():
            self.transport.write(frame.websocket)

    def ping(self) -> None:
        # Not by `conn.send_ping`, which would remember each one until it is answered.
        if not self.transport.is_closing():
            self.transport.write(_PING)

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye and end; what uvicorn's `send` does for `websocket.close`, without waiting for the client."""
        if self.ended:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # uvicorn's own timer would close the transport, which waits for ever for a client that does not read.
        self.close_timer = self.loop.call_later(_CLOSE_WITHIN_S, self.abort)

    def abort(self) -> None:
        _reset(self.transport)

    def _end_soon(self) -> None:
        """Whatever has not left by then never will."""
        if self._deadline is None and not self.disconnected:
            self._deadline = self.loop.call_later(_CLOSE_WITHIN_S, self.abort)


class TaskLine:
    """A Line over plain ASGI: what is written is sent by a task, one piece at a time.

    *Guarantee*: as HubProtocol. *Failure*: `abort` cannot end a connection whose server gives no way to it; the task is
    cancelled, and the server's own limits have to do the rest. *Cost*: a task, and a turn of the loop for each frame.
    """

    paused = False
    heard = True
    listener: Listener | None = None

    def __init__(self, kind: str, connection: RequestProtocol | None = None) -> None:
        """`connection`: what the answer goes to, where that is known."""
        self.kind = kind
        self.pings = False
        self._connection = connection
        self._frames: list[Frame] = []
        self._written = asyncio.Event()
        self._ended: tuple[int, str] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def left_bytes(self) -> int:
        waiting = sum(len(frame.body) for frame in self._frames)
        return waiting + (self._connection.left_bytes if self._connection is not None else 0)

    async def run(
        self, send: Callable[[list[Frame]], Awaitable[None]], end: Callable[[int, str], Awaitable[None]]
    ) -> None:
        """Send what is written until the line is closed or aborted."""
        self._task = asyncio.current_task()
        while True:
            await self._written.wait()
            self._written.clear()
            while self._frames:
                frames, self._frames = self._frames, []
                await send(frames)
            if self._ended is not None:
                await end(*self._ended)
                return
            if self.paused:
                self.paused = False
                if self.listener is not None:
                    self.listener.drained()

    def write(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._written.set()
        if not self.paused:
            self.paused = True
            if self.listener is not None:
                self.listener.stalled()

    def ping(self) -> None:
        raise RuntimeError("plain ASGI has no pings; ask `pings` first")

    def close(self, code: int, reason: str = "") -> None:
        self._ended = code, reason
        self._written.set()

    def abort(self) -> None:
        self.listener = None
        if self._connection is not None:
            self._connection.abort()
        if self._task is not None:
            self._task.cancel()


class RequestProtocol(H11Protocol):
    """uvicorn's HTTP connection, which gives an endpoint the way to itself that a stream of events needs, and does not
    wait for ever for a request."""

    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        app = self.app

        async def with_connection(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[EXTENSION] = self
            await app(scope, receive, send)

        self.app = with_connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Who connects and says nothing holds a file that somebody else could use.
        self._deadline = self.loop.call_later(REQUEST_WITHIN_S, self.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is not None and self.scope is not None:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def hold_little(self) -> None:
        """For an answer that goes on: notice soon when it is not read."""
        _bound(self.transport)

    @property
    def left_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    def abort(self) -> None:
        _reset(self.transport)


def _bound(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    # With any limit above zero uvloop gathers writes for the end of its turn, and a stall shows only at that size.
    transport.set_write_buffer_limits(high=0)


def _reset(transport: asyncio.Transport) -> None:
    """End a connection and what the kernel still holds for it, which it would go on trying to send for minutes."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError, ValueError):  # it has ended by itself
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()
