"""The hub: one tick, every client at most one frame, with all that changed in its topics.

A client has a slot and not a queue: its task remembers the seq it has heard, and whenever it can send, it sends what
changed since. A client that stalls delays nobody and, when it comes back, gets one frame that makes it whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from live_api import protocol
from live_api.feed import Feed
from live_api.latest import Latest, Series
from live_api.protocol import Close, Hello, ProtocolError, Subscribe, Topic

logger = logging.getLogger(__name__)

HELLO_WITHIN_S = 10.0
SYSTEM_EVERY_MS = 1_000
STATE_WITHIN_S = 0.25
"""How soon a change of state behind the hub is noticed when nothing comes in."""
_GATHER_S = 0.005
"""What comes in together goes out together."""


class _Client:
    """What the hub knows of one connection."""

    def __init__(self, topics: Iterable[str]) -> None:
        self.topics = frozenset(topics)
        self.since = 0
        """The seq up to which this client has been told everything."""
        self.whole = False
        """Whether it has had a snapshot of its present topics."""
        self.told_system = 0
        """The number of the latest system that this client has been told."""
        self.spoken_to = asyncio.Event()
        """Set when there is an answer or a change of topics to be sent before the next tick."""
        self.answers: list[bytes] = []
        """Answers to its requests, sent before the next frame."""


class Hub:
    """All clients of this process.

    *Guarantee*: what a client holds after a frame is what the hub held at that frame's seq. *Cost*: one encoding for
    each distinct set of topics and age, whatever the number of clients.
    """

    def __init__(
        self,
        latest: Latest,
        feed: Feed,
        *,
        clock: Callable[[], int],
        version: str,
        tick_ms: int = 100,
        heartbeat_s: float = 5.0,
    ) -> None:
        self.epoch = secrets.token_hex(4)
        self._latest = latest
        self._feed = feed
        self._clock = clock
        self._version = version
        self._tick_ms = tick_ms
        self._heartbeat_s = heartbeat_s
        self._ticked = asyncio.Event()
        self._frames: dict[tuple[frozenset[str], int, bool], str] = {}
        self._matchers: dict[frozenset[str], Callable[[Series], bool]] = {}
        self._system: dict[str, Any] = {}
        self._system_seq = 0
        self._sockets: set[WebSocket] = set()
        self._draining = False

    async def run(self) -> None:
        """Tick until cancelled: soon after something has come in, and at most every `tick_ms`."""
        loop = asyncio.get_running_loop()
        system_at_ms, ticked_at = 0, 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._feed.arrived.wait(), STATE_WITHIN_S)
            # The processor ticks as often as this does. Waiting the whole time after the last tick would miss every
            # other of its by a hair; a little less, and each is passed on as it comes.
            await asyncio.sleep(max(_GATHER_S, ticked_at + 0.8 * self._tick_ms / 1_000 - loop.time()))
            self._feed.arrived.clear()
            ticked_at = loop.time()
            now_ms = self._clock()
            changed = self._latest.commit()
            state_changed = self._feed.system.state(now_ms) != self._system.get("state")
            if state_changed or now_ms - system_at_ms >= SYSTEM_EVERY_MS:
                system_at_ms = now_ms
                self._system = self._feed.describe()
                self._system_seq += 1
                changed = True
            if changed:
                self._frames.clear()
                self._ticked.set()
                self._ticked = asyncio.Event()

    async def serve(self, websocket: WebSocket) -> None:
        """Talk to one client until either side ends it."""
        await websocket.accept()
        if self._draining:
            await self._dismiss(websocket)
            return
        self._sockets.add(websocket)
        try:
            hello = await self._hello(websocket)
            if hello is None:
                return
            client = _Client(hello.topics)
            await _send(websocket, protocol.welcome(self.epoch, self._tick_ms, self._heartbeat_s, self._version))
            if hello.resume is not None and hello.resume[0] == self.epoch:
                client.since, client.whole = hello.resume[1], True
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(websocket, client))
                tasks.create_task(self._listen(websocket, client, writer))
        except* (WebSocketDisconnect, RuntimeError, OSError) as group:
            # A send on a connection that has just gone raises any of these; there is nobody left to tell.
            logger.debug("client gone: %s", group.exceptions[0])
        finally:
            self._sockets.discard(websocket)

    async def drain(self) -> None:
        """Tell every client to come back at a time of its own, and close."""
        self._draining = True
        # All at once: those that do not read must not use up the time of those that do.
        await asyncio.gather(*(self._dismiss(websocket) for websocket in list(self._sockets)))

    async def _dismiss(self, websocket: WebSocket) -> None:
        try:
            async with asyncio.timeout(1):
                await _send(websocket, protocol.bye(random.randint(100, 3_000)))
                await websocket.close(Close.RESTARTING)
        except (TimeoutError, RuntimeError, OSError, WebSocketDisconnect):
            return

    async def _hello(self, websocket: WebSocket) -> Hello | None:
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                while True:
                    try:
                        message = protocol.parse(await _receive(websocket))
                        if isinstance(message, Hello):
                            return message
                        raise ProtocolError("hello_first", "expected hello as the first message", message.request)
                    except ProtocolError as error:
                        await _send(websocket, error.frame())
        except TimeoutError:
            await websocket.close(Close.HELLO_TIMEOUT, "no hello")
        except WebSocketDisconnect:
            pass
        return None

    async def _listen(self, websocket: WebSocket, client: _Client, writer: asyncio.Task[None]) -> None:
        try:
            while True:
                try:
                    message = protocol.parse(await _receive(websocket))
                    topics = set(client.topics)
                    if isinstance(message, Subscribe | Hello):
                        topics.update(message.topics)
                    else:
                        topics.difference_update(message.topics)
                    if len(topics) > protocol.MAX_TOPICS:
                        raise ProtocolError(
                            "too_many_topics", f"expected at most {protocol.MAX_TOPICS} topics", _request(message)
                        )
                    client.whole = client.whole and topics <= client.topics
                    client.topics = frozenset(topics)
                    if not isinstance(message, Hello) and message.request is not None:
                        client.answers.append(protocol.ok(message.request))
                except ProtocolError as error:
                    client.answers.append(error.frame())
                client.spoken_to.set()
                # A client that reads has its answers taken away here.
                await asyncio.sleep(0)
                if len(client.answers) > protocol.MAX_TOPICS:
                    await websocket.close(Close.BAD_MESSAGE, "asks faster than it reads")
                    return
        finally:
            writer.cancel()

    async def _write(self, websocket: WebSocket, client: _Client) -> None:
        spoke_at = asyncio.get_running_loop().time()
        while True:
            ticked = self._ticked
            client.spoken_to.clear()
            while client.answers:
                await _send(websocket, client.answers.pop(0))
            # Taken together with the frame: what changes while it is being sent belongs to the next one.
            seq, text = self._latest.seq, self._frame(client)
            client.since, client.whole, client.told_system = seq, True, self._system_seq
            if text is not None:
                await websocket.send_text(text)
                spoke_at = asyncio.get_running_loop().time()
            try:
                wait_s = max(0.0, spoke_at + self._heartbeat_s - asyncio.get_running_loop().time())
                async with asyncio.timeout(wait_s):
                    await _either(ticked, client.spoken_to)
            except TimeoutError:
                await _send(websocket, protocol.heartbeat(self._latest.seq, self._clock()))
                spoke_at = asyncio.get_running_loop().time()

    def _frame(self, client: _Client) -> str | None:
        """What brings this client up to date, or None when nothing it asked for has changed."""
        since = client.since if client.whole else -1
        system = "system" in client.topics and client.told_system != self._system_seq
        key = (client.topics, since, system)
        text = self._frames.get(key)
        if text is None:
            text = self._encode(client.topics, since, with_system=system)
            self._frames[key] = text
        return text or None

    def _encode(self, topics: frozenset[str], since: int, *, with_system: bool) -> str:
        matches = self._matcher(topics)
        changes = self._latest.changes(since, matches) if since >= 0 else None
        system = self._system or self._feed.describe() if with_system else None
        seq, now_ms = self._latest.seq, self._clock()
        if changes is None:
            body = protocol.frame("snapshot", seq, now_ms, self._latest.snapshot(matches), system)
        elif changes or system is not None:
            body = protocol.frame("update", seq, now_ms, changes or None, system)
        else:
            return ""
        return body.decode()

    def _matcher(self, topics: frozenset[str]) -> Callable[[Series], bool]:
        matcher = self._matchers.get(topics)
        if matcher is None:
            if len(self._matchers) > 1_000:
                self._matchers.clear()
            wanted = [topic for text in topics if (topic := Topic.parse(text)) is not None]

            def matcher(series: Series) -> bool:
                return any(topic.matches(series.metric, series.window, series.dimensions) for topic in wanted)

            self._matchers[topics] = matcher
        return matcher


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    """Until one of them is set."""
    waits = [asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _request(message: protocol.ClientMessage) -> object:
    return None if isinstance(message, Hello) else message.request


async def _send(websocket: WebSocket, body: bytes) -> None:
    await websocket.send_text(body.decode())


async def _receive(websocket: WebSocket) -> str | bytes:
    """The next message. Raises WebSocketDisconnect when the client is gone."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect" or websocket.client_state is WebSocketState.DISCONNECTED:
        raise WebSocketDisconnect(message.get("code", 1006))
    text = message.get("text")
    return text if text is not None else message.get("bytes") or b""
