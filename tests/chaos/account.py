"""What the streams themselves say was sent to them, and what the dead letters say was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import valkey

from sinks.deadletter import DeadLetters
from tests.chaos.events import STREAMS, Traffic


@dataclass(slots=True)
class Found:
    """What is in the streams: all events, whoever was told of them."""

    distinct: int
    duplicates: int
    reasons: dict[str, int]
    garbage: set[tuple[str, str]]
    """Stream and entry of every refused event."""


def read_back(client: valkey.Valkey, sent: Traffic) -> Found:
    seen: set[str] = set()
    pieces = 0
    reasons: Counter[str] = Counter()
    garbage: set[tuple[str, str]] = set()
    for stream in STREAMS:
        for entry_id, fields in _entries(client, stream):
            raw = fields.get(b"data")
            if raw is not None and raw in sent.garbage:
                reasons[sent.garbage[raw]] += 1
                garbage.add((stream, entry_id.decode()))
                continue
            ids = _ids(fields)
            seen.update(ids)
            pieces += len(ids)
    return Found(len(seen), pieces - len(seen), dict(reasons), garbage)


def _entries(client: valkey.Valkey, stream: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    first = b"-"
    while True:
        page: Any = client.xrange(stream, first, b"+", 5_000)
        if not page:
            return
        yield from page
        first = b"(" + page[-1][0]


def _ids(fields: dict[bytes, bytes]) -> list[str]:
    if b"data" in fields:
        return [orjson.loads(fields[b"data"])["id"]]
    if b"batch" in fields:
        return [event["id"] for event in orjson.loads(fields[b"batch"])]
    return [fields[b"id"].decode()]


def letters(client: valkey.Valkey) -> set[tuple[str, str]]:
    """Which entries have a dead letter; a crash may have left several of the same."""
    kept = [letter.letter for page in DeadLetters(client).pages() for letter in page]
    return {(letter.stream, letter.entry_id) for letter in kept if letter is not None}
