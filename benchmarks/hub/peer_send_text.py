"""A contender: Starlette with a loop of `await websocket.send_text(text)`. `python -m … peer_send_text PORT SIZE`.

The same Starlette and uvicorn as ours, with uvloop, without compression, pings, logs and access logs. Each round makes
one text, encoded once for all by orjson.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.hub.costs import raise_file_limit

_clients: set[WebSocket] = set()


async def _client(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("welcome")
    _clients.add(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        _clients.discard(websocket)


async def _send(size: int) -> None:
    empty = len(orjson.dumps({"op": "update", "seq": 1_000_000, "pad": ""}))
    for seq in count(1_000_000):
        text = orjson.dumps({"op": "update", "seq": seq, "pad": "x" * (size - empty)}).decode()
        for websocket in list(_clients):
            try:
                await websocket.send_text(text)
            except (WebSocketDisconnect, RuntimeError):
                _clients.discard(websocket)
        await asyncio.sleep(0)


def main(port: int, size: int) -> None:
    raise_file_limit()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sending = asyncio.create_task(_send(size))
        yield
        sending.cancel()

    app = Starlette(routes=[WebSocketRoute("/v1/ws", _client)], lifespan=lifespan)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        access_log=False,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
