"""What an entry of a stream looks like: flat fields, JSON in `data`, a JSON array in `batch`."""

from __future__ import annotations

import json
from collections.abc import Container
from urllib.parse import unquote_to_bytes, urlencode

import msgspec

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


_array = msgspec.json.Decoder(list[msgspec.Raw])


def elements_of(body: bytes) -> list[bytes]:
    """The elements of a JSON array, each with its own bytes, also where some of them cannot be decoded. Raises
    ValueError where it is no array."""
    try:
        return [bytes(element) for element in _array.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = elements_one_by_one(body)
        if not found:
            raise ValueError(f"expected a JSON array of events: {error}") from None
        return found


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


def flat_fields(raw: bytes) -> Fields:
    """The inverse of `flat_bytes`, byte for byte. Raises ValueError for what `flat_bytes` never gives."""
    fields: Fields = []
    for pair in raw.split(b"&") if raw else ():
        name, _, value = pair.partition(b"=")
        fields += (unquote_to_bytes(name.replace(b"+", b" ")), unquote_to_bytes(value.replace(b"+", b" ")))
    if flat_bytes(fields) != raw:
        raise ValueError(f"expected fields as name=value&…, percent-encoded; found {raw[:40]!r}")
    return fields


def with_time(fields: Fields, named: Container[str], time_field: str, time: str, at: Container[int]) -> Fields:
    """The same entry, with `time` written into the events at the places `at`, which have none of their own.

    `time_field` is where the catalog looks for it, `a.b` being field b of the object a. All else is kept as it came.
    Raises ValueError for JSON that cannot be read.
    """
    kind, body = json_field(fields, named)
    if not kind:
        # The first of a repeated name is the one that is read, and the other may be there without a value.
        return [time_field.encode(), time.encode(), *fields]
    path, value = time_field.split("."), json.dumps(time).encode()
    if kind == b"data":
        body = json_with(body, path, value)
    else:
        events = elements_one_by_one(body)
        body = b"[%s]" % b",".join(
            json_with(event, path, value) if index in at else event for index, event in enumerate(events)
        )
    place = 2 * fields[::2].index(kind) + 1
    return [*fields[:place], body, *fields[place + 1 :]]


def json_at(body: bytes, path: list[str]) -> bytes:
    """The value at `path` in a JSON object, as it is written; none where there is none."""
    for part in path:
        if body.lstrip(b" \t\r\n")[:1] != b"{":
            return b""
        body = bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get(part, b""))
    return body


def json_with(body: bytes, path: list[str], value: bytes) -> bytes:
    """A JSON object with `value` at `path`; the bytes of every other value are left alone."""
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    head, *rest = path
    if rest:
        inner = bytes(members.get(head, b""))
        value = json_with(b"{}" if inner in (b"", b"null") else inner, rest, value)
    members[head] = msgspec.Raw(value)
    return msgspec.json.encode(members)
