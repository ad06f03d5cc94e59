"""The WebSocket as a client that must cost nothing sees it: the handshake by hand, and frames by their headers."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_FIN, _MASKED = 0x80, 0x80
_TWO_BYTES, _EIGHT_BYTES = 126, 127


def upgrade(port: int, path: str) -> bytes:
    """The request that makes a connection a WebSocket. No `Origin`, as no browser sends it, and no extensions."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame from a client. The mask is four zero bytes, which is as good as any other and leaves all as it is."""
    size = len(payload)
    if size < _TWO_BYTES:
        head = bytes((_FIN | opcode, _MASKED | size))
    else:
        head = bytes((_FIN | opcode, _MASKED | _TWO_BYTES)) + size.to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload


def split(data: bytes | bytearray | memoryview) -> Iterator[tuple[int, int, int]]:
    """The whole frames of what a server sent: (opcode, where the payload begins, where it ends)."""
    at, size = 0, len(data)
    while size - at >= 2:
        length, begin = data[at + 1], at + 2
        if length == _TWO_BYTES:
            begin = at + 4
            length = int.from_bytes(data[at + 2 : begin], "big") if size >= begin else size
        elif length == _EIGHT_BYTES:
            begin = at + 10
            length = int.from_bytes(data[at + 2 : begin], "big") if size >= begin else size
        if begin + length > size:
            return
        yield data[at] & 15, begin, begin + length
        at = begin + length
