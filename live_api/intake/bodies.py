"""Bodies of requests, read and unpacked no further than they may be long."""

from __future__ import annotations

import zlib

from starlette.requests import Request

_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31
"""What zlib calls gzip, with its largest window."""
_MOST_MEMBERS = 100
"""Of gzip, one behind the other. Each is found by copying all that is behind it, and one of nothing has 20 bytes."""


class TooLong(Exception):
    """A body is longer than it may be."""


class Unreadable(Exception):
    """A body is not what it says."""


async def body_of(request: Request, most: int) -> bytes:
    """The whole body, unpacked. Raises TooLong as soon as that shows, Unreadable, ClientDisconnect.

    What begins as gzip does is taken for it, as some clients do not say; no JSON begins so.
    """
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > most:
        raise TooLong(f"expected at most {most} bytes, found {said}")
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLong(f"expected at most {most} bytes, found more")
        parts.append(part)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    if body.startswith(_GZIP):
        return unpacked(body, most)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise Unreadable(f"Content-Encoding: expected gzip or none, found {encoding[:40]}")
    if encoding in ("gzip", "x-gzip") and body:
        raise Unreadable("Content-Encoding: gzip: the body does not begin as gzip does")
    return body


def unpacked(body: bytes, most: int) -> bytes:
    """The contents of gzip. Raises TooLong without having unpacked more than `most` bytes, Unreadable."""
    found: list[bytes] = []
    left = most
    try:
        while body:
            if len(found) == _MOST_MEMBERS:
                raise Unreadable(f"gzip: expected at most {_MOST_MEMBERS} members, found more")
            member = zlib.decompressobj(_GZIP_WINDOW)
            part = member.decompress(body, left + 1)
            left -= len(part)
            if left < 0:
                raise TooLong(f"expected at most {most} bytes once unpacked, found more")
            if not member.eof:
                raise Unreadable("gzip: it ends before its end")
            found.append(part)
            body = member.unused_data
    except zlib.error as error:
        raise Unreadable(f"gzip: {error}") from None
    return b"".join(found)
