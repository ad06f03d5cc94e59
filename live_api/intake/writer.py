"""Events into their streams, each once: what decides whether one was there before also writes it."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, cast

import numpy as np
import valkey.asyncio
from valkey.exceptions import ConnectionError as LostConnection
from valkey.exceptions import OutOfMemoryError, ValkeyError
from valkey.exceptions import TimeoutError as LateAnswer

from stream.arrays import Ints
from stream.decode import MAX_ENTRY_BYTES
from stream.digests import Hashes

logger = logging.getLogger(__name__)

NO_ANSWER = "Valkey does not answer"
EVENTS_AN_ENTRY = 500
KNOWN_IDS = 1_000_000
"""So many ids are remembered in each of two generations, over all streams."""
_TAG = re.compile(r"\{[^}]+\}")
_WRITE = """
local n, ids = #ARGV[4] / 8, {}
if n == 0 then return redis.call('XADD', KEYS[1], '*', 'batch', ARGV[3]) end
for i = 1, n do ids[i] = string.sub(ARGV[4], 8 * i - 7, 8 * i) end
local found, any = redis.call('SMISMEMBER', KEYS[2], unpack(ids)), false
local before = redis.call('SMISMEMBER', KEYS[3], unpack(ids))
for i = 1, n do
  if before[i] == 1 then found[i] = 1 end
  any = any or found[i] == 1
end
if any then return found end
local added = redis.call('XADD', KEYS[1], '*', 'batch', ARGV[3])
local left = redis.call('PTTL', KEYS[2])
if left >= 0 and (left <= tonumber(ARGV[1]) or redis.call('SCARD', KEYS[2]) + n > tonumber(ARGV[2])) then
  redis.call('RENAME', KEYS[2], KEYS[3])
  left = -2
end
redis.call('SADD', KEYS[2], unpack(ids))
if left < 0 then redis.call('PEXPIRE', KEYS[2], 2 * ARGV[1]) end
return added
"""
"""Keys: the stream, and the ids of the newer and the older generation. Arguments: for how long an id is remembered, ms;
how many in a generation; an array of events; their ids as 64 bits each. Answers which are known, and writes nothing if
any is; else the new entry's id. The entry comes first: an id that is remembered without its event would lose it."""


class Outcome(IntEnum):
    ACCEPTED = 0
    DUPLICATE = 1
    NOT_WRITTEN = 2


@dataclass(slots=True)
class _Part:
    """Events of one stream that go into one entry."""

    stream: int
    rows: list[int]
    size: int = 2
    known: list[int] = field(default_factory=list)


class Writer:
    """Appends events to the catalog's streams as arrays, and says of each whether it was there before.

    *Guarantee*: an event is ACCEPTED only when it is in its stream. One with an id is a DUPLICATE where the same id was
    written within `dedupe_ms`, as far as so many are remembered; to say so and to write are one step of the server.
    *Failure*: NOT_WRITTEN, with the first reason in `why`; an answer that got lost is one, and its events are
    duplicates when they are sent again. *Cost*: one round trip, and one more where there are duplicates.
    """

    def __init__(self, client: valkey.asyncio.Valkey, streams: Sequence[str], dedupe_ms: int) -> None:
        """`client` answers bytes, and belongs to the caller."""
        self._client = client
        self._streams = tuple(streams)
        self._dedupe_ms = dedupe_ms
        self._most = max(EVENTS_AN_ENTRY, KNOWN_IDS // len(streams))
        self._keys = [(stream, f"{_ids_of(stream)}:new", f"{_ids_of(stream)}:old") for stream in streams]
        self._turn = 0
        self._failing = False

    def places(self, persons: Hashes, ids: Hashes) -> Ints:
        """Which stream each event (n) goes to: by its person, else by its id, else by turns; 0 for none of these."""
        deciding = np.where(persons == 0, ids, persons)
        found = (deciding % np.uint64(len(self._streams))).astype(np.int64)
        loose = np.flatnonzero(deciding == 0)
        if len(loose):
            found[loose] = (self._turn + np.arange(len(loose))) % len(self._streams)
            self._turn = (self._turn + len(loose)) % len(self._streams)
        return found

    async def write(self, events: Sequence[bytes], places: Ints, ids: Hashes) -> tuple[list[Outcome], str]:
        """What became of each event (n), and why some are not written. `ids`: 0 for none."""
        outcomes = [Outcome.NOT_WRITTEN] * len(events)
        known = ids.tolist() if self._dedupe_ms else [0] * len(events)
        first: dict[int, int] = {}
        again: list[tuple[int, int]] = []
        parts: list[_Part] = []
        open_: dict[int, _Part] = {}
        for row, (place, known_id) in enumerate(zip(places.tolist(), known, strict=True)):
            if known_id and first.setdefault(known_id, row) != row:
                again.append((row, first[known_id]))
                continue
            part, size = open_.get(place), len(events[row]) + 1
            if part is None or len(part.rows) >= EVENTS_AN_ENTRY or part.size + size > MAX_ENTRY_BYTES:
                part = open_[place] = _Part(place, [])
                parts.append(part)
            part.rows.append(row)
            part.size += size
        why = cause = ""
        while parts:
            left: list[_Part] = []
            for part, answer in zip(parts, await self._send(parts, events, known), strict=True):
                if isinstance(answer, bytes):
                    for row in part.rows:
                        outcomes[row] = Outcome.ACCEPTED
                elif isinstance(answer, list):
                    there = {row for row, one in zip(part.known, answer, strict=True) if one}
                    for row in there:
                        outcomes[row] = Outcome.DUPLICATE
                    rest = [row for row in part.rows if row not in there]
                    left.extend([_Part(part.stream, rest)] if rest else [])
                else:
                    why = why or f"{self._streams[part.stream]}: {_said(answer)}"
                    cause = cause or _quoted(answer)
            parts = left
        if why and not self._failing:
            # Once until something is written again: whoever sends events decides how often this is.
            logger.warning("events from requests are not written: %s", cause)
        self._failing = bool(why)
        for row, before in again:
            outcomes[row] = Outcome.NOT_WRITTEN if outcomes[before] is Outcome.NOT_WRITTEN else Outcome.DUPLICATE
        return outcomes, why

    async def _send(self, parts: list[_Part], events: Sequence[bytes], ids: list[int]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for part in parts:
            part.known = [row for row in part.rows if ids[row]]
            known = np.array([ids[row] for row in part.known], dtype=np.uint64).tobytes()
            body = b"[%b]" % b",".join([events[row] for row in part.rows])
            pipeline.eval(_WRITE, 3, *self._keys[part.stream], *cast(Any, (self._dedupe_ms, self._most, body, known)))
        try:
            # Raised by the client, an error would quote the command, that is the events: not for a log.
            return list(await pipeline.execute(raise_on_error=False))
        except (ValkeyError, OSError) as error:
            return [error] * len(parts)


def _ids_of(stream: str) -> str:
    """The key below which ids of a stream are remembered: in the same slot of a cluster."""
    return f"streamgauge:ids:{stream if _TAG.search(stream) else f'{{{stream}}}'}"


def _said(error: Any) -> str:
    """What those who send events are told: nothing of where Valkey is."""
    if isinstance(error, OutOfMemoryError) or "maxmemory" in str(error):
        return "Valkey is full"
    return NO_ANSWER if isinstance(error, LostConnection | LateAnswer | OSError) else _quoted(error)


def _quoted(error: Any) -> str:
    """What an error says, in a few words and without any event."""
    return str(error).split(" script: ")[0][:100] if isinstance(error, ValkeyError | OSError) else type(error).__name__
