"""A producer that costs next to nothing: commands made beforehand, in which only the time is missing."""

from __future__ import annotations

import socket
import threading
import time
from bisect import bisect_right
from collections.abc import Iterable

PLACEHOLDER_MS = 1_000_000_000_000
"""An event with this time gets the moment at which it is sent; as many digits as the present has."""
_PLACEHOLDER = b"%d" % PLACEHOLDER_MS
_BATCH_S = 0.01
_REPLY_LINES = 2


def command(stream: str, event: bytes) -> bytes:
    """The XADD of an event as it goes over the wire."""
    name = stream.encode()
    return b"*5\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n$4\r\ndata\r\n$%d\r\n%b\r\n" % (
        len(name),
        name,
        len(event),
        event,
    )


class Producer:
    """Sends commands at a rate, all that are due each 10 ms as one pipeline, and remembers when.

    Behind its schedule it sends at once what is due, and never leaves anything out.
    """

    def __init__(self, port: int, commands: Iterable[bytes], rate: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._size = max(1, round(rate * _BATCH_S))
        self._every_s = self._size / rate
        everything = list(commands)
        self._batches = [
            (b"".join(everything[at : at + self._size]), len(everything[at : at + self._size]))
            for at in range(0, len(everything), self._size)
        ]
        self._stop = threading.Event()
        self.sent_ms: list[float] = []
        """When each pipeline began to be sent, epoch ms."""
        self.sent: list[int] = []
        """How many events had been sent with it."""

    @property
    def total(self) -> int:
        return self.sent[-1] if self.sent else 0

    def sent_by(self, time_ms: float) -> int:
        """How many events had begun their way at that moment."""
        at = bisect_right(self.sent_ms, time_ms)
        return self.sent[at - 1] if at else 0

    def run(self) -> None:
        """Send everything once."""
        begun = time.monotonic()
        for number, batch in enumerate(self._batches):
            self._stop.wait(max(0.0, begun + number * self._every_s - time.monotonic()))
            if self._stop.is_set():
                return
            self._send(*batch)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._socket.close()

    def _send(self, batch: bytes, count: int) -> None:
        now_ms = time.time_ns() / 1e6
        content = batch.replace(_PLACEHOLDER, b"%d" % int(now_ms))
        self.sent_ms.append(now_ms)
        self.sent.append(self.total + count)
        self._socket.sendall(content)
        lines = 0
        while lines < count * _REPLY_LINES:
            reply = self._socket.recv(1 << 16)
            if not reply or b"-ERR" in reply or b"-OOM" in reply:
                raise RuntimeError(f"the server did not take the events: {reply[:200]!r}")
            lines += reply.count(b"\n")
