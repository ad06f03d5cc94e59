# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "channels>=4.3,<5", "daphne>=4.2,<5", "django>=5.2,<6", "orjson>=3.13",
#     "uvicorn==0.54.0", "uvloop>=0.23", "websockets>=17.4",
# ]
# ///
"""A contender: Django Channels with its in-memory layer, `group_send` to a group. `python peer_channels.py PORT SIZE`.

The same uvicorn as ours, with uvloop, without compression, pings, logs and access logs. A third argument, `daphne`, has
it served by that instead. A consumer passes each message of the group on with `send`, as the documents show it. The
layer drops what a consumer has no room for, so the next message is sent when the last has reached all.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from itertools import count
from typing import Any

import django
import orjson
import uvicorn
from django.conf import settings

GROUP = "all"
settings.configure(
    SECRET_KEY="bench",
    ALLOWED_HOSTS=["*"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402

_begun: list[asyncio.Task[None]] = []
_waiting: list[asyncio.Future[None]] = []
_left = 0
_clients = 0


class Client(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def connect(self) -> None:
        global _clients
        await self.accept()
        await self.send(text_data="welcome")
        await self.channel_layer.group_add(GROUP, self.channel_name)
        _clients += 1
        if not _begun:
            _begun.append(asyncio.create_task(_send(int(sys.argv[2]))))

    async def disconnect(self, _: int) -> None:
        global _clients
        _clients -= 1
        await self.channel_layer.group_discard(GROUP, self.channel_name)
        _reached()

    async def update(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])
        _reached()


def _reached() -> None:
    global _left
    _left -= 1
    if _left <= 0:
        while _waiting:
            _waiting.pop().set_result(None)


async def _send(size: int) -> None:
    global _left
    layer = get_channel_layer()
    empty = len(orjson.dumps({"op": "update", "seq": 1_000_000, "pad": ""}))
    for seq in count(1_000_000):
        text = orjson.dumps({"op": "update", "seq": seq, "pad": "x" * (size - empty)}).decode()
        _left = _clients
        all_reached = asyncio.get_running_loop().create_future()
        _waiting.append(all_reached)
        await layer.group_send(GROUP, {"type": "update", "text": text})
        await asyncio.wait([all_reached], timeout=1)


def main(port: int, server: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if server == "daphne":
        from daphne.server import Server

        Server(
            Client.as_asgi(), endpoints=[f"tcp:port={port}:interface=127.0.0.1"], ping_interval=0, signal_handlers=True
        ).run()
        return
    uvicorn.run(
        Client.as_asgi(),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        lifespan="off",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        access_log=False,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else "uvicorn")
