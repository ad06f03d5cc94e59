"""What an entry of a stream looks like: flat fields, JSON in `data`, a JSON array in `batch`."""

from __future__ import annotations

import json
from collections.abc import Container
from urllib.parse import urlencode

Fields = list[bytes]
"""An entry's fields as Valkey sends them: name, value, name, value …"""

MAX_ELEMENTS = 10_000
"""An entry with more events is refused whole: a letter for each could stop everything else."""
_LATEST_MS = 1 << 48
"""Later than any clock (the year 10889), and small enough for every sum that follows."""


def entry_time_ms(entry_id: str) -> int:
    """`"1526919030474-55"` → 1526919030474: when the server added the entry, unless the producer chose the id."""
    return min(int(entry_id.partition("-")[0]), _LATEST_MS)


def json_field(fields: Fields, named: Container[str]) -> tuple[bytes, bytes]:
    """`data` or `batch` and its JSON, or two empty texts for an entry of flat fields.

    Other fields beside it are the producer's own business, and a catalog that names a field so means the field.
    """
    names = fields[::2]
    for kind in (b"data", b"batch"):
        if kind in names and (len(names) == 1 or kind.decode() not in named):
            return kind, fields[2 * names.index(kind) + 1]
    return b"", b""


def elements_one_by_one(body: bytes) -> list[bytes]:
    """The elements of an array of which some cannot be decoded; none where it is no array.

    Slower than the decoder's own way and more lenient: each element is judged by itself afterwards.
    """
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return []
    if not (text.startswith("[") and text.endswith("]")):
        return []
    scanner, at, found = json.JSONDecoder(), 1, []
    while True:
        at += len(text) - at - len(text[at:].lstrip())
        try:
            _, end = scanner.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        found.append(text[at:end].encode())
        at = end + len(text) - end - len(text[end:].lstrip())
        if text[at] == "]":
            return found if at == len(text) - 1 else []
        if text[at] != ",":
            return []
        at += 1


def flat_bytes(fields: Fields) -> bytes:
    """Flat fields as `name=value&…`, percent-encoded: readable, and any bytes survive."""
    return urlencode(list(zip(fields[::2], fields[1::2], strict=True))).encode()
