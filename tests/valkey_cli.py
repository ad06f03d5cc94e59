"""As much of `valkey-cli` as the documents use, for machines without it: `[-h HOST] [-p PORT] COMMAND …`."""

from __future__ import annotations

import socket
import sys
from typing import IO


def answer_of(lines: IO[bytes]) -> list[str]:
    """One answer of the server, as `valkey-cli` prints it into a pipe."""
    line = lines.readline().rstrip(b"\r\n").decode()
    kind, rest = line[:1], line[1:]
    if kind == "*":
        return [text for _ in range(int(rest)) for text in answer_of(lines)]
    if kind == "$":
        if int(rest) < 0:
            return [""]
        return [lines.read(int(rest) + 2)[:-2].decode()]
    return [rest]


def main(words: list[str]) -> None:
    host, port = "127.0.0.1", 6379
    while words and words[0] in ("-h", "-p"):
        option, value, *words = words
        host, port = (value, port) if option == "-h" else (host, int(value))
    with socket.create_connection((host, port), timeout=10) as connection, connection.makefile("rb") as lines:
        said = [word.encode() for word in words]
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in said)
        connection.sendall(b"*%d\r\n%s" % (len(said), parts))
        print("\n".join(answer_of(lines)))


if __name__ == "__main__":
    main(sys.argv[1:])
