"""No contender but the ceiling: frames made beforehand, one `send` for each and nothing else. `… peer_bare PORT SIZE`.

Nothing in Python sends faster, so this is what the kernel takes for a frame. With a third argument, `gather`, the
kernel may send several as one, as it does where TCP_NODELAY is not set, which every event loop sets: that is more than
any contender can send, and so shows that the clients take more than that.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

CLIENTS = 500
_HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def main(port: int, size: int, *, gather: bool) -> None:
    frame = bytes((0x81, 126)) + size.to_bytes(2, "big") + b"x" * size
    clients: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port), backlog=2_048) as listening:
        while len(clients) < CLIENTS:
            client, _ = listening.accept()
            request = b""
            while b"\r\n\r\n" not in request:
                request += client.recv(4_096)
            client.sendall(_HEAD + frame)
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not gather)
            clients.append(client)
    sends = [client.send for client in clients]
    with suppress(ConnectionError):
        while True:
            for send in sends:
                with suppress(BlockingIOError):
                    send(frame)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), gather=sys.argv[3:] == ["gather"])
