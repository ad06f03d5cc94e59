"""Clients of the door: `python -m benchmarks.ingest.sender PORT SECONDS CONNECTIONS`. Prints how many events it took.

Plain sockets and requests made beforehand: whoever measures must not take the time of those who are measured.
"""

from __future__ import annotations

import json
import random
import re
import selectors
import socket
import sys
import time

EVENTS_A_REQUEST = 100
_REQUESTS = 2_000
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"


def event(number: int, run: str) -> dict[str, object]:
    """One of a shop: some of what a catalog reads, and some that it does not."""
    return {
        "id": f"{run}-{number}",
        "event": ("view", "cart", "purchase")[number % 3],
        "user_id": f"user-{number * 7919 % 20_000}",
        "time": time.time_ns() // 1_000_000,
        "price": round(number % 997 / 10, 2),
        "quantity": 1 + number % 4,
        "country": ("DE", "FR", "AT", "PL")[number % 4],
        "page": f"/products/{number % 300}",
        "app": "web 4.2",
    }


def request(number: int, run: str, port: int) -> bytes:
    first = number * EVENTS_A_REQUEST
    body = json.dumps([event(first + one, run) for one in range(EVENTS_A_REQUEST)], separators=(",", ":")).encode()
    head = f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def main(port: int, seconds: float, connections: int) -> None:
    run = f"{random.getrandbits(40):x}"
    ready = [request(number, run, port) for number in range(_REQUESTS)]
    numbers = iter(range(_REQUESTS, 1 << 40))
    selector = selectors.DefaultSelector()
    sockets = []
    for _ in range(connections):
        made = socket.create_connection(("127.0.0.1", port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(made, selectors.EVENT_READ)
        sockets.append(made)
    heard: dict[socket.socket, bytes] = {}
    taken, began_s = 0, time.perf_counter()
    for made in sockets:
        made.sendall(ready.pop())
    waiting = len(sockets)
    while waiting:
        for key, _ in selector.select():
            made = key.fileobj  # type: ignore[assignment]
            heard[made] = answer = heard.get(made, b"") + made.recv(65_536)
            head, _, body = answer.partition(_END)
            if len(body) < int((_LENGTH.search(head) or [b"", b"1"])[1]):
                continue
            del heard[made]
            assert b" 202 " in head.split(b"\r\n")[0], answer[:500]
            found = json.loads(body)
            assert found["accepted"] == EVENTS_A_REQUEST, found
            taken += EVENTS_A_REQUEST
            waiting -= 1
            if time.perf_counter() - began_s < seconds:
                made.sendall(ready.pop() if ready else request(next(numbers), run, port))
                waiting += 1
    print(json.dumps({"events": taken, "seconds": time.perf_counter() - began_s}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
