# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "python-socketio>=5.14,<6", "orjson>=3.13", "uvicorn==0.54.0", "uvloop>=0.23", "websockets>=17.4",
# ]
# ///
"""A contender: python-socketio (ASGI), `emit` to a room of all clients. `python peer_socketio.py PORT SIZE`.

The same uvicorn as ours, with uvloop, without compression, logs and access logs; pings so far apart that there are
none; orjson in place of its own JSON. Clients speak WebSocket from the start, without long polling before it. It runs
in an environment of its own, so nothing of this project is imported here.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from itertools import count
from typing import Any

import orjson
import socketio
import uvicorn

ROOM = "all"


class _Json:
    """What python-socketio asks of a JSON module."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        return orjson.dumps(value).decode()

    loads = staticmethod(orjson.loads)


def main(port: int, size: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = socketio.AsyncServer(
        async_mode="asgi",
        transports=["websocket"],
        ping_interval=3_600,
        json=_Json,
        http_compression=False,
        # Its own setting for servers whose clients are all alive: no task that looks after them.
        monitor_clients=False,
    )
    begun: list[asyncio.Task[None]] = []

    async def send() -> None:
        # `42["update",{"seq":1000000,"pad":""}]` is what is sent.
        empty = len('42["update",{"seq":1000000,"pad":""}]')
        for seq in count(1_000_000):
            await server.emit("update", {"seq": seq, "pad": "x" * (size - empty)}, room=ROOM)
            await asyncio.sleep(0)

    @server.event
    async def connect(sid: str, _: dict[str, Any]) -> None:
        await server.enter_room(sid, ROOM)
        if not begun:
            begun.append(asyncio.create_task(send()))

    uvicorn.run(
        socketio.ASGIApp(server),
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
