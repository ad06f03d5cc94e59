"""Thousands of clients in one process: `python -m benchmarks.hub.clients`, told what to do by `benchmarks.hub.crowd`.

Commands are lines of JSON on stdin, each answered by one on stdout. One thread, epoll, and one buffer for all: a frame
that comes alone costs one `recv` and a look at four bytes, so that one core takes several times what a server of one
core can send. Frames are counted by their headers; only where a group is `timed` the value in them is looked for, which
must be the CLOCK_MONOTONIC of its publishing in microseconds.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from benchmarks.hub.costs import raise_file_limit
from benchmarks.hub.frames import CLOSE, PING, PONG, TEXT, masked, split, upgrade

_BUFFER_BYTES = 1 << 18
_PER_S = 400
"""Connections that are made each second: less than any server here refuses."""
_PER_ADDRESS = 500
"""Clients that come from one address of loopback, as a server may let in no more; the next come from another."""
_EVENTS = 4_096
_POINTS = b'"points":[['
_SINGLE = 0x81
"""The first byte of a text frame that is a whole message."""


@dataclass
class Group:
    """Connections that do the same, and what came of it."""

    name: str
    port: int
    path: str
    says: list[bytes]
    """Frames that each client sends: the first once it is connected, each other after one more frame of the server."""
    ready_after: int
    """Frames of the server after which a client is ready; the count begins there."""
    timed: bool = False
    stalls: bool = False
    """Whether a client stops reading once it is ready, for good."""
    receive_bytes: int = 0
    """SO_RCVBUF; 0: as the machine has it."""
    connections: list[Connection] = field(default_factory=list)
    ready: int = 0
    frames: int = 0
    bytes: int = 0
    late_us: array[int] = field(default_factory=lambda: array("q"))
    """Microseconds from publishing to having read it, of each frame since they were asked for last."""
    stalled_at: dict[int, float] = field(default_factory=dict)
    """By the port of the client: when it stopped reading, CLOCK_MONOTONIC seconds."""
    lost: list[tuple[int, float]] = field(default_factory=list)
    """Connections that ended and were not closed here: the port of the client, and when."""


class Connection:
    __slots__ = ("group", "number", "receive", "rest", "seen", "socket", "steps", "upgraded")

    def __init__(self, group: Group, address: str) -> None:
        self.group = group
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if group.receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, group.receive_bytes)
        self.socket.bind((address, 0))
        self.receive = self.socket.recv_into
        self.rest = b""
        """The beginning of a frame that has not come whole."""
        self.seen = 0
        self.upgraded = False
        self.number = self.socket.getsockname()[1]
        """The port on this side."""


class Crowd:
    """All groups, and the loop that serves them."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._of: dict[int, Connection] = {}
        self._groups: dict[str, Group] = {}
        self._waiting: deque[Connection] = deque()
        self._connect_at_s = 0.0
        self._nap_s = 0.0
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._pending = b""

    def run(self) -> None:
        """Until stdin ends."""
        stdin = sys.stdin.fileno()
        os.set_blocking(stdin, False)
        self._poll.register(stdin, select.EPOLLIN)
        while True:
            for number, events in self._poll.poll(1 / _PER_S if self._waiting else -1, _EVENTS):
                connection = self._of.get(number)
                if connection is not None:
                    if events & select.EPOLLIN:
                        self._read(connection)
                    elif events & select.EPOLLOUT:
                        self._connected(connection)
                    else:
                        self._lost(connection)
                elif number == stdin and not self._listen(stdin):
                    return
            if self._waiting:
                self._connect_due()
            if self._nap_s:
                time.sleep(self._nap_s)

    def _read(self, connection: Connection) -> None:
        buffer, group = self._buffer, connection.group
        try:
            size = connection.receive(buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if size == 0:
            self._lost(connection)
            return
        now_us = time.monotonic_ns() // 1_000 if group.timed else 0
        group.bytes += size
        # Nearly always it is one frame, all of it, of a client that has been ready for long.
        if connection.seen > group.ready_after and not connection.rest and _is_one_frame(buffer, size):
            group.frames += 1
            if now_us:
                self._time(group, buffer, 2, size, now_us)
            return
        self._take(connection, size, now_us)

    def _take(self, connection: Connection, size: int, now_us: int) -> None:
        """The general case: any number of frames, of any kind, cut anywhere."""
        data: bytes | bytearray = connection.rest + self._view[:size] if connection.rest else self._buffer[:size]
        if not connection.upgraded:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                connection.rest = bytes(data)
                return
            if b" 101 " not in data[:20]:
                raise SystemExit(f"refused: {bytes(data[:300])!r}")
            connection.upgraded = True
            self._say(connection)
            data = data[head + 4 :]
        end = 0
        for opcode, begin, end in split(data):
            if opcode == PING:
                connection.socket.send(masked(PONG, bytes(data[begin:end])))
            elif opcode == CLOSE:
                self._lost(connection)
                return
            elif opcode <= TEXT + 1:
                self._frame(connection, data, begin, end, now_us)
        connection.rest = bytes(data[end:])

    def _frame(self, connection: Connection, data: bytes | bytearray, begin: int, end: int, now_us: int) -> None:
        group = connection.group
        connection.seen += 1
        if connection.seen > group.ready_after:
            group.frames += 1
            if now_us:
                self._time(group, data, begin, end, now_us)
            return
        self._say(connection)
        if connection.seen == group.ready_after:
            connection.seen += 1  # from now on the short way
            group.ready += 1
            if group.stalls:
                # What is left is to be told of the end of the connection.
                self._poll.modify(connection.socket.fileno(), select.EPOLLRDHUP)
                group.stalled_at[connection.number] = time.monotonic()

    def _time(self, group: Group, data: bytes | bytearray, begin: int, end: int, now_us: int) -> None:
        at = data.find(_POINTS, begin, end)
        if at >= 0:
            # [start, value, count, …]: the first point of the frame.
            value = data[at + len(_POINTS) : end].split(b",", 2)[1]
            group.late_us.append(now_us - int(value))

    def _say(self, connection: Connection) -> None:
        if connection.seen < len(connection.group.says):
            connection.socket.send(connection.group.says[connection.seen])

    def _connect_due(self) -> None:
        now_s = time.monotonic()
        while self._waiting and self._connect_at_s <= now_s:
            self._connect_at_s = self._connect_at_s + 1 / _PER_S
            connection = self._waiting.popleft()
            self._of[connection.socket.fileno()] = connection
            self._poll.register(connection.socket.fileno(), select.EPOLLOUT)
            connection.socket.connect_ex(("127.0.0.1", connection.group.port))

    def _connected(self, connection: Connection) -> None:
        failed = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise SystemExit(f"cannot connect: {os.strerror(failed)}")
        self._poll.modify(connection.socket.fileno(), select.EPOLLIN)
        connection.socket.send(upgrade(connection.group.port, connection.group.path))

    def _lost(self, connection: Connection) -> None:
        connection.group.lost.append((connection.number, time.monotonic()))
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        if self._of.pop(connection.socket.fileno(), None) is not None:
            self._poll.unregister(connection.socket.fileno())
        connection.socket.close()

    def _listen(self, stdin: int) -> bool:
        said = os.read(stdin, 1 << 16)
        *lines, self._pending = (self._pending + said).split(b"\n")
        for line in lines:
            command: dict[str, Any] = json.loads(line)
            answer = getattr(self, "do_" + command.pop("do"))(**command)
            print(json.dumps(answer), flush=True)
        return bool(said)

    def do_connect(self, name: str, count: int, says: list[str], **settings: Any) -> None:
        group = Group(name, says=[masked(TEXT, text.encode()) if text else b"" for text in says], **settings)
        self._groups[name] = group
        group.connections = [Connection(group, f"127.0.0.{1 + at // _PER_ADDRESS}") for at in range(count)]
        self._waiting.extend(group.connections)
        self._connect_at_s = time.monotonic()

    def do_counts(self, name: str) -> dict[str, Any]:
        group = self._groups[name]
        return {
            "at_s": time.monotonic(),
            "ready": group.ready,
            "frames": group.frames,
            "bytes": group.bytes,
            "stalled_at": group.stalled_at,
            "lost": group.lost,
        }

    def do_latencies(self, name: str) -> list[int]:
        """Microseconds of every frame since this was asked last."""
        group = self._groups[name]
        taken, group.late_us = group.late_us, array("q")
        return taken.tolist()

    def do_nap(self, seconds: float) -> None:
        self._nap_s = seconds

    def do_close(self, name: str) -> None:
        for connection in self._groups.pop(name).connections:
            self._close(connection)


def _is_one_frame(buffer: bytearray, size: int) -> bool:
    """Whether the first `size` bytes are one whole text frame of less than 64 KiB."""
    if buffer[0] != _SINGLE:
        return False
    length = buffer[1]
    return length + 2 == size if length < 126 else length == 126 and (buffer[2] << 8 | buffer[3]) + 4 == size


if __name__ == "__main__":
    raise_file_limit()
    Crowd().run()
