"""Forgetting a person: what the front door does itself, and what it asks the processor for.

The processor has what is known of a person, and forgets it; raw ids are only in the streams that producers write and in
dead letters that could not be read, and are deleted here, with the events that name the person by pseudonym.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import valkey
from valkey.exceptions import ResponseError

from sinks.deadletter import DeadLetters
from sinks.errors import Retryable
from sinks.person_store import PersonStore
from stream.adapters import decode_safely
from stream.batches import RawBatch
from stream.decode import Decoder
from stream.enrich import made
from stream.entries import Fields, json_field
from stream.expressions import FieldType
from stream.plan import Plan
from streamgauge.resend import fields_of

_PAGE = 500
_POLL_S = 0.1
_SHORT = 6
"""An id of fewer bytes may stand anywhere by chance."""
_NOT_NAMED = "no field has this name"
_FAR_MS = 1 << 50


class Marks:
    """What tells of a person where nothing can be read as an event: their id as a word of its own, their pseudonym."""

    def __init__(self, user_id: str, pseudonym: str) -> None:
        self.pseudonym = pseudonym.encode()
        self.searches_id = len(user_id.encode()) >= _SHORT
        """Whether the id is long enough to be looked for."""
        spelled = {user_id.encode(), orjson.dumps(user_id)[1:-1], quote_plus(user_id).encode()}
        ascii_json = json.dumps(user_id)[1:-1]
        # As JSON may have it: letters as numbers, in either case, and strokes with one before them.
        capitals = re.sub(r"\\u[0-9a-f]{4}", lambda found: "\\u" + found[0][2:].upper(), ascii_json)
        written = {user_id, ascii_json, capitals}
        spelled |= {text.replace("/", "\\/").encode() for text in written} | {text.encode() for text in written}
        percent = quote(user_id, safe="")
        spelled |= {percent.encode(), re.sub("%..", lambda found: found[0].lower(), percent).encode()}
        any_of = b"|".join(map(re.escape, sorted(spelled)))
        # A number is a person's only where it is written as a text.
        only_digits = user_id.replace("-", "").replace(".", "").isdigit()
        word = rb"(?<![A-Za-z0-9_])(?:%b)(?![A-Za-z0-9_])"
        self._id = re.compile((rb'(?<=")(?:%b)(?=")' if only_digits else word) % any_of)

    def names(self, raw: Any) -> bool:
        """Whether the id is in there; never where it is too short."""
        return self.searches_id and self._id.search(raw) is not None

    def tells(self, raw: bytes) -> bool:
        """Whether the id or the pseudonym is in there."""
        return self.pseudonym in raw or self.names(raw)


class Whose(Enum):
    ALONE = "alone"
    """Every event of the entry is the person's."""
    SHARED = "shared"
    """Events of others, or such that cannot be read, are in it too."""


class Theirs:
    """Finds the entries that have events of one person, as the processor would read them.

    An event counts as theirs whatever else is wrong with it, by their id or by their pseudonym. What cannot be read at
    all is theirs where it has their id as a word of its own, or their pseudonym.
    """

    def __init__(self, plan: Plan, user_id: str, marks: Marks) -> None:
        assert plan.event.person is not None
        self._person = plan.event.person
        self._named = {user_id, made(marks.pseudonym.decode())}
        self._marks = marks
        envelope = replace(
            plan.event,
            time=_NOT_NAMED,
            id=None,
            name=None,
            required=(),
            max_skew_ms=_FAR_MS,
            dedupe_ms=0,
            earliest_ms=-_FAR_MS,
        )
        fields = {self._person: plan.fields.get(self._person, FieldType.STRING)}
        lenient = replace(plan, event=envelope, fields=fields, enrich=None, people=None, ordered=False)
        self._decoder = Decoder(lenient, max_entry_bytes=1 << 40)

    def of(self, entries: Sequence[tuple[str, Fields]]) -> dict[str, Whose]:
        """Those of some entries (with ids, all different) that have events of the person."""
        raw = RawBatch("", [(entry_id.encode(), fields) for entry_id, fields in entries], True, 0)
        decoded = decode_safely(self._decoder, raw, 0)
        mine: set[str] = set()
        others: set[str] = set()
        persons = decoded.frame[self._person].to_list()
        for row, person in enumerate(persons):
            (mine if person in self._named else others).add(decoded.origins.entry_id(row))
        bodies = {entry_id: json_field(fields, ())[0] for entry_id, fields in entries} if decoded.rejects else {}
        for letter in decoded.rejects:
            named = self._marks.tells(letter.raw)
            (mine if named else others).add(letter.entry_id)
            if named and bodies[letter.entry_id] == b"batch":
                # Nobody knows whose else it is.
                others.add(letter.entry_id)
        return {one: Whose.SHARED if one in others else Whose.ALONE for one in mine}


@dataclass(slots=True)
class Deleted:
    """What became of the entries of one stream."""

    deleted: int = 0
    shared: int = 0
    """Entries that were left, as they have events of others too."""
    uncounted: int = 0
    """Entries that were left, as the processor has not counted them, or not safely."""
    ids: list[str] = field(default_factory=list)
    """Of those with events of others, the first few."""


def delete_letters(letters: DeadLetters, theirs: Theirs) -> Deleted:
    """Delete the dead letters that are events of the person alone."""
    done = Deleted()
    for page in letters.pages():
        entries = [(kept.id, fields_of(kept.letter)) for kept in page if kept.letter is not None]
        found = theirs.of([(entry_id, fields) for entry_id, fields in entries if fields])
        alone = [entry_id for entry_id, whose in found.items() if whose is Whose.ALONE]
        done.deleted += letters.remove(alone)
        shared = [entry_id for entry_id, whose in found.items() if whose is Whose.SHARED]
        done.shared += len(shared)
        done.ids.extend(shared[: 3 - len(done.ids)])
    return done


def delete_entries(client: valkey.Valkey, stream: str, theirs: Theirs, group: str) -> Deleted:
    """Delete the entries of a catalog's stream that are of the person alone and are counted safely.

    One that is not yet counted stays: deleted before it is read, it would look like a loss.
    """
    done = Deleted()
    counted = _order(counted_until(client, stream, group))
    for page in pages(client, stream):
        found = theirs.of(page)
        gone: list[str] = []
        for entry_id, whose in found.items():
            if whose is Whose.SHARED:
                done.shared += 1
                done.ids.extend([entry_id] if len(done.ids) < 3 else [])
            elif _order(entry_id) > counted:
                done.uncounted += 1
            else:
                gone.append(entry_id)
        if gone:
            removed: Any = client.xdel(stream, *gone)
            done.deleted += int(removed)
    return done


def counted_until(client: valkey.Valkey, stream: str, group: str) -> str:
    """Id of the last entry that is in a snapshot of the processor."""
    try:
        groups: Any = client.xinfo_groups(stream)
    except ResponseError:
        return "0-0"
    for one in groups:
        if one["name"] == group.encode():
            last: bytes = one["last-delivered-id"]
            return last.decode()
    return "0-0"


def all_counted(client: valkey.Valkey, streams: Sequence[str], group: str) -> Callable[[], bool]:
    """Says whether all that is in some streams now is in a snapshot of the processor."""
    newest: dict[str, Any] = {stream: client.xrevrange(stream, count=1) for stream in streams}
    left = {stream: _order(entries[0][0].decode()) for stream, entries in newest.items() if entries}

    def counted() -> bool:
        return all(_order(counted_until(client, stream, group)) >= newest for stream, newest in left.items())

    return counted


def pages(client: valkey.Valkey, stream: str) -> Iterator[list[tuple[str, Fields]]]:
    """The entries of a stream, as they come from the server, some at a time; those there were when it began."""
    # The library's own parsing makes dicts, which loses repeated field names.
    client.set_response_callback("XRANGE", lambda reply, **_: reply)
    newest: Any = client.xrevrange(stream, count=1)
    if not newest:
        return
    last, edge = newest[0][0].decode(), "-"
    while True:
        reply: Any = client.execute_command("XRANGE", stream, edge, last, "COUNT", _PAGE)
        if not reply:
            return
        yield [(entry_id.decode(), fields) for entry_id, fields in reply]
        edge = f"({reply[-1][0].decode()}"


def wait_until(done: Callable[[], bool], within_s: float) -> bool:
    """Whether it is done within that time; `Retryable` counts as "not yet"."""
    deadline_s = time.monotonic() + within_s
    while True:
        with suppress(Retryable):
            if done():
                return True
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_POLL_S)


def scrub(store: PersonStore, within_s: float) -> bool | None:
    """Leave nothing of deleted rows in the store's file. Returns None where the database does so in its own time, and
    False where others were in the way for as long."""
    answer: list[bool] = []

    def once() -> bool:
        answer.append(store.scrub())
        return True

    if not wait_until(once, within_s):
        return False
    return True if answer[-1] else None


def rewrite_log(client: valkey.Valkey) -> str:
    """Have the server write its append-only file anew, without what was deleted. Returns what came of it."""
    try:
        about: Any = client.info("persistence")
        if not about.get("aof_enabled"):
            return "keeps no append-only file"
        client.bgrewriteaof()
    except ResponseError as error:
        return f"does not write its append-only file anew: {error}"
    return "writes its append-only file anew"


def _order(entry_id: str) -> tuple[int, int]:
    first, _, second = entry_id.partition("-")
    return int(first), int(second or 0)
