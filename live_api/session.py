"""One WebSocket connection: from the handshake to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from live_api import protocol
from live_api.access.guard import address_of, identity_of, refused_of
from live_api.access.identity import LASTING, Identity
from live_api.access.permissions import Permission
from live_api.access.tickets import line_ms
from live_api.admission import Admission, Bucket, Origins
from live_api.feed import Feed
from live_api.frame import Frame
from live_api.hub import Client, Hub
from live_api.protocol import MESSAGE_BURST, MESSAGES_PER_S, Close, Hello, ProtocolError, Refresh
from live_api.transport import EXTENSION, HubProtocol, Line, TaskLine
from live_api.waiting import set_within
from sinks.errors import SinkError

logger = logging.getLogger(__name__)

HELLO_WITHIN_S = 10.0
READY_WITHIN_S = 2.0
"""How long a client may wait for the live stream to be read for the first time."""


@dataclass(frozen=True, slots=True)
class Door:
    """What every connection passes, whichever kind it is."""

    hub: Hub
    feed: Feed
    admission: Admission
    origins: Origins
    monotonic: Callable[[], float]
    clock: Callable[[], int]
    redeem: Callable[[str], Identity | None]
    """Whose a ticket is, once; None: nobody's. Waits for Valkey, and may raise SinkError."""

    def origin_allowed(self, connection: Any) -> bool:
        """Whether the page that opens this may. Counts those that may not."""
        allowed = self.origins.allow(connection.headers.get("origin"), connection.headers.get("host"))
        if not allowed:
            self.hub.meters.refused("origin")
        return allowed

    def arrive(self) -> bool:
        """Whether there is time for one more just now."""
        if self.hub.draining or not self.admission.arrive(self.monotonic()):
            self.hub.meters.refused("draining" if self.hub.draining else "rate")
            return False
        return True

    def enter(self, address: str) -> str | None:
        why = self.admission.enter(address)
        if why is not None:
            self.hub.meters.refused("full")
        return why

    async def holder(self, ticket: str) -> Identity | None:
        """Whose a ticket is; None for one that is of no use, or cannot be looked up now."""
        try:
            return await asyncio.to_thread(self.redeem, ticket)
        except SinkError as error:
            logger.warning("a ticket cannot be looked up: %s", error)
            return None

    def until_ms(self, identity: Identity) -> int | None:
        """When a line that begins or is refreshed now ends, epoch ms. Keys and logins may be taken back, and nobody
        looks for that at each frame, so no line of theirs lasts long; None: it lasts."""
        if identity.name in LASTING:
            return identity.until_ms
        now_ms = self.clock()
        return now_ms + line_ms(identity, now_ms)

    async def ready(self) -> None:
        """Wait until what there is to tell has been read, but not for long."""
        await set_within(self.feed.first_read, READY_WITHIN_S)


def left_s(until_ms: int | None, now_ms: int) -> float | None:
    """How long a line has; None: for ever."""
    return None if until_ms is None else max(0, until_ms - now_ms) / 1_000


async def serve(websocket: WebSocket, door: Door) -> None:
    """Talk to one client until either side ends it.

    A page of a strange origin and a connection too many for this second are refused before there is one, with 403 and
    503, as that costs least; where the client should know why, the connection is accepted and closed with a code.
    """
    if not door.origin_allowed(websocket):
        await websocket.close()
        return
    if not door.arrive():
        await websocket.send_denial_response(
            PlainTextResponse("busy; come back in a moment\n", 503, headers={"Retry-After": "1"})
        )
        return
    await websocket.accept()
    address = address_of(websocket)
    full = door.enter(address)
    if full is not None:
        await _close(websocket, Close.FULL, full)
        return
    try:
        await _converse(websocket, door)
    except Exception as error:
        if isinstance(error, WebSocketDisconnect) or _is_gone(websocket):
            logger.debug("client gone: %s", error)
            return
        # Ended without a word, a line would look to both sides as if the network had lost it.
        logger.exception("a client's line is ended: a fault")
        door.hub.meters.evicted(Close.FAULT.name.lower())
        await _close(websocket, Close.FAULT, "a fault of the server")
    finally:
        door.admission.leave(address)


def _line_of(websocket: WebSocket) -> HubProtocol | None:
    """The way to the connection itself, under a server that gives one."""
    direct = websocket.scope.get("extensions", {}).get(EXTENSION)
    return direct if isinstance(direct, HubProtocol) else None


def _is_gone(websocket: WebSocket) -> bool:
    """Whether nobody is left to tell: a send on a connection that has just gone raises what a mistake might raise."""
    line = _line_of(websocket)
    if line is not None:
        return line.ended
    return WebSocketState.DISCONNECTED in (websocket.client_state, websocket.application_state)


async def _close(websocket: WebSocket, code: Close, why: str) -> None:
    line = _line_of(websocket)
    if line is not None:
        line.close(code, why)
    else:
        await websocket.close(code, why)


async def _converse(websocket: WebSocket, door: Door) -> None:
    direct = _line_of(websocket)
    if direct is not None:
        await _talk(websocket, direct, door)
        return
    line = TaskLine("ws")

    async def send(frames: list[Frame]) -> None:
        for frame in frames:
            await websocket.send_text(frame.body.decode())

    tasks = [asyncio.create_task(line.run(send, websocket.close)), asyncio.create_task(_talk(websocket, line, door))]
    try:
        # When the writer ends first, the line was closed or cut.
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _talk(websocket: WebSocket, line: Line, door: Door) -> None:
    hub = door.hub
    hub.expect(line)
    client: Client | None = None
    identity = identity_of(websocket)
    budget = Bucket(MESSAGES_PER_S, MESSAGE_BURST, door.monotonic())
    try:
        async with asyncio.timeout(HELLO_WITHIN_S) as patience:
            while True:
                said = await _receive(websocket)
                line.heard = True
                if not budget.take(door.monotonic()):
                    hub.meters.evicted(Close.TOO_MANY_MESSAGES.name.lower())
                    line.close(Close.TOO_MANY_MESSAGES, f"more than {MESSAGES_PER_S} messages a second")
                    return
                try:
                    message = protocol.parse(said)
                    if isinstance(message, Refresh) and client is not None:
                        until_ms = await _refreshed(door, identity, message)
                        _patient(patience, left_s(until_ms, door.clock()))
                        hub.answer(client, protocol.ok(message.request, until_ms))
                    elif client is not None and not isinstance(message, Refresh):
                        hub.obey(client, message)
                    elif isinstance(message, Hello):
                        in_doubt = _is_in_doubt(refused_of(websocket))
                        found = await _let_in(line, door, message, identity, in_doubt=in_doubt)
                        if found is None:
                            return
                        identity = found
                        await door.ready()
                        until_ms = door.until_ms(identity)
                        client = hub.join(line, message, identity.rows, until_ms)
                        _patient(patience, left_s(until_ms, door.clock()))
                    else:
                        raise ProtocolError("hello_first", "expected hello as the first message", message.request)
                except ProtocolError as error:
                    if client is not None:
                        hub.answer(client, error.frame())
                    elif not line.paused:
                        line.write(Frame(error.frame()))
                if client is not None and client not in hub:
                    return  # dismissed for what it asked
                # Many messages may have come in one piece; others have their turn in between.
                await asyncio.sleep(0)
    except TimeoutError:
        code, why = (Close.HELLO_TIMEOUT, "no hello") if client is None else (Close.EXPIRED, "no refresh in time")
        hub.meters.evicted(code.name.lower())
        line.close(code, why)
    finally:
        hub.forget(line)
        if client is not None:
            hub.leave(client)


async def _let_in(line: Line, door: Door, message: Hello, identity: Identity, *, in_doubt: bool) -> Identity | None:
    """Who says hello: the holder of its ticket, or without one `identity`, unless they are `in_doubt`. None for those
    who may not listen, who have been told why."""
    if message.token is not None:
        holder = await door.holder(message.token)
        if holder is None:
            door.hub.meters.refused("ticket")
            line.close(Close.BAD_TICKET, "the ticket is of no use; come back with another")
            return None
        identity = holder
    elif in_doubt:
        door.hub.meters.refused("in_doubt")
        line.close(Close.BAD_TICKET, "who this is cannot be found out now; come back")
        return None
    if not identity.may(Permission.VIEW_NUMBERS):
        door.hub.meters.refused("unauthorized")
        why = f"expected somebody who may {Permission.VIEW_NUMBERS}; {identity.name} may not"
        line.write(Frame(ProtocolError("unauthorized", why).frame()))
        line.close(Close.UNAUTHORIZED, "unauthorized")
        return None
    return identity


async def _refreshed(door: Door, identity: Identity, message: Refresh) -> int | None:
    """When the line ends from now on. Raises ProtocolError, and then it ends when it would have.

    A line stays somebody's: what its client holds is what they may see, so who they are and their rows are to be the
    same.
    """
    holder = await door.holder(message.token)
    if holder is None:
        raise ProtocolError("bad_ticket", "the ticket is of no use; ask with another", message.request)
    if (holder.name, holder.rows) != (identity.name, identity.rows):
        raise ProtocolError("other_identity", "this line is somebody else's; open another", message.request)
    if not holder.may(Permission.VIEW_NUMBERS):
        why = f"expected somebody who may {Permission.VIEW_NUMBERS}; {holder.name} may not"
        raise ProtocolError("unauthorized", why, message.request)
    return door.until_ms(holder)


def _is_in_doubt(refused: HTTPException | None) -> bool:
    """Whether whoever shook hands may be somebody all the same: what they showed could not be looked up."""
    return refused is not None and refused.status_code not in (401, 403)


def _patient(patience: asyncio.Timeout, for_s: float | None) -> None:
    patience.reschedule(None if for_s is None else asyncio.get_running_loop().time() + for_s)


async def _receive(websocket: WebSocket) -> str | bytes:
    """The next message. Raises WebSocketDisconnect when the client is gone."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect" or websocket.client_state is WebSocketState.DISCONNECTED:
        raise WebSocketDisconnect(message.get("code", 1006))
    text = message.get("text")
    return text if text is not None else message.get("bytes") or b""
