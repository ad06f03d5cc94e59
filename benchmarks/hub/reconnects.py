"""Clients that lose their line: `python -m benchmarks.hub.reconnects PORT CLIENTS`, told by `benchmarks.hub.resume`.

Each is a client as a stranger would write it, from docs/protocol.md and with the websockets library. Commands are
lines of JSON on stdin, each answered by one on stdout.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from contextlib import suppress
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.hub.view import State, View

TOPICS: tuple[tuple[str, ...], ...] = (
    ("metric:*",),
    ("metric:load@10s",),
    ("metric:load", "metric:total@1m"),
    ("metric:load{part=part-03}", "metric:load@1m{part=part-04}", "metric:to*"),
)
"""What clients ask for, in turns."""
_PER_S = 200
_AGREE_WITHIN_S = 10.0


class Client:
    """One that keeps its view while it is away."""

    def __init__(self, port: int, topics: tuple[str, ...]) -> None:
        self._url = f"ws://127.0.0.1:{port}/v1/ws"
        self._line: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self.topics = topics
        self.view = View()
        self.told = asyncio.Event()
        """Set with the first snapshot or update."""
        self.resumed = 0
        self.snapshots = 0

    async def come(self) -> None:
        """Connect, go on where it was, and read from then on."""
        self._line = line = await connect(self._url, compression=None, ping_interval=None, max_size=None)
        hello: dict[str, Any] = {"op": "hello", "topics": self.topics}
        if self.view.resume is not None:
            hello["resume"] = self.view.resume
        await line.send(json.dumps(hello))
        welcome = orjson.loads(await line.recv())
        if welcome["resumed"]:
            self.resumed += 1
        else:
            self.snapshots += 1
        self.view.take(welcome)
        self._reading = asyncio.create_task(self._read(line))

    async def leave(self) -> None:
        """Lose the line: at once, whatever is on its way, and without a word."""
        assert self._line is not None
        assert self._reading is not None
        self._line.transport.abort()
        # Nothing that was in a buffer here is read any more.
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading

    async def reconnect(self, stays_s: float, away_s: float) -> None:
        await asyncio.sleep(stays_s)
        await self.leave()
        await asyncio.sleep(away_s)
        await self.come()

    async def _read(self, line: ClientConnection) -> None:
        async for text in line:
            self.view.take(orjson.loads(text))
            self.told.set()


class Reconnects:
    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self._chance = random.Random(4)
        self._clients = [Client(port, TOPICS[number % len(TOPICS)]) for number in range(clients)]

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            answer = await getattr(self, "do_" + command.pop("do"))(**command)
            print(json.dumps(answer), flush=True)

    async def do_connect(self) -> None:
        for client in self._clients:
            await client.come()
            await asyncio.sleep(1 / _PER_S)
        for client in self._clients:
            client.snapshots = 0

    async def do_round(self, seconds: float, long_away_s: float, long_share: float) -> None:
        """Each client loses its line once, at a moment of its own, and comes back; some after a long time."""
        async with asyncio.TaskGroup() as tasks:
            for client in self._clients:
                stays_s = self._chance.uniform(0, seconds / 2)
                away_s = self._chance.uniform(0, seconds / 2)
                if self._chance.random() < long_share:
                    away_s += long_away_s
                tasks.create_task(client.reconnect(stays_s, away_s))

    async def do_compare(self) -> dict[str, int]:
        """How many have exactly the state of a new client, once nothing is published; and how they came back."""
        fresh = {topics: await self._fresh(topics) for topics in TOPICS}
        if not all(fresh.values()):
            raise RuntimeError(
                f"a new snapshot is empty: { ({topics: len(state) for topics, state in fresh.items()}) }"
            )
        deadline = asyncio.get_running_loop().time() + _AGREE_WITHIN_S
        wrong = self._clients
        while wrong and asyncio.get_running_loop().time() < deadline:
            wrong = [client for client in wrong if client.view.state() != fresh[client.topics]]
            await asyncio.sleep(0.1)
        told = {
            "complete": len(self._clients) - len(wrong),
            "resumed": sum(client.resumed for client in self._clients),
            "snapshots": sum(client.snapshots for client in self._clients),
        }
        for client in self._clients:
            client.resumed = client.snapshots = 0
        return told

    async def _fresh(self, topics: tuple[str, ...]) -> State:
        client = Client(self._port, topics)
        await client.come()
        async with asyncio.timeout(_AGREE_WITHIN_S):
            await client.told.wait()
        await client.leave()
        return client.view.state()


if __name__ == "__main__":
    with suppress(WebSocketException):
        asyncio.run(Reconnects(int(sys.argv[1]), int(sys.argv[2])).run())
