"""What is left of a person who is to be forgotten: every store is looked through, and each says what was found."""

from __future__ import annotations

import io
import mmap
import pickle
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import valkey
import zstandard
from sqlalchemy import Text, or_, select
from sqlalchemy.engine import Engine, make_url

from sinks import schema
from sinks.alert_records import COMMANDS_STREAM
from sinks.database import transaction
from sinks.deadletter import DEADLETTER_STREAM, DeadLetters
from sinks.erasure import ERASURE_FIELD
from stream.churn_files import knows
from streamgauge.forgetting import Marks, Theirs, Whose, pages
from streamgauge.resend import fields_of

_PAGE = 1_000
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Scan:
    """One place that was looked through."""

    place: str
    scanned: str
    """How much there was, such as `1,204 entries`."""
    found: int = 0
    """How often there was something of the person."""
    note: str = ""
    """What was found, or what is allowed to be there."""


def scan_stream(client: valkey.Valkey, stream: str, theirs: Theirs, marks: Marks) -> Scan:
    """One of the catalog's streams: events of the person, and their pseudonym in those that are of nobody or others."""
    read = alone = shared = pseudonyms = 0
    for page in pages(client, stream):
        read += len(page)
        found = theirs.of(page)
        alone += sum(whose is Whose.ALONE for whose in found.values())
        shared += sum(whose is Whose.SHARED for whose in found.values())
        pseudonyms += sum(entry not in found and marks.pseudonym in b"\n".join(fields) for entry, fields in page)
    notes = _notes((alone, "of theirs"), (shared, "with events of others too"), (pseudonyms, "with the pseudonym"))
    return Scan(stream, f"{read:,} entries", alone + shared + pseudonyms, notes)


def scan_letters(letters: DeadLetters, theirs: Theirs, marks: Marks) -> Scan:
    read, found = 0, set[str]()
    for page in letters.pages():
        read += len(page)
        entries = [(kept.id, fields_of(kept.letter)) for kept in page if kept.letter is not None]
        found.update(theirs.of([(entry_id, fields) for entry_id, fields in entries if fields]))
        for kept in page:
            letter = kept.letter
            if letter is not None and (marks.tells(letter.raw) or marks.tells(letter.message.encode())):
                found.add(kept.id)
    return Scan(DEADLETTER_STREAM, f"{read:,} letters", len(found))


def scan_keys(client: valkey.Valkey, marks: Marks) -> Iterator[Scan]:
    """All other keys of ours. The command to forget the person may be among the commands."""
    names: set[bytes] = set(client.scan_iter(match="streamgauge:*", count=_PAGE))
    for name in sorted(names):
        # A key that is no text is none of ours.
        key = name.decode(errors="replace")
        if key == DEADLETTER_STREAM:
            continue
        read = found = commands = 0
        for item in _items(client, key):
            read += 1
            if not marks.tells(b"\n".join(item)):
                continue
            if key == COMMANDS_STREAM and ERASURE_FIELD in item[::2] and not marks.names(b"\n".join(item)):
                commands += 1
            else:
                found += 1
        yield Scan(key, f"{read:,} items", found, f"{commands} to forget them" if commands else "")


def _items(client: valkey.Valkey, name: str) -> Iterator[list[bytes]]:
    """What is in a key, whatever its type."""
    kind: Any = client.type(name)
    answer: Any
    if kind == b"stream":
        for page in pages(client, name):
            yield from (fields for _, fields in page)
    elif kind == b"hash":
        yield from ([field, value] for field, value in client.hscan_iter(name))
    elif kind == b"set":
        yield from ([member] for member in client.sscan_iter(name))
    elif kind == b"zset":
        yield from ([member] for member, _ in client.zscan_iter(name))
    elif kind == b"list":
        answer = client.lrange(name, 0, -1)
        yield from ([member] for member in answer)
    elif kind == b"string":
        answer = client.get(name)
        yield [answer or b""]


def scan_tables(engine: Engine, marks: Marks, user_id: str) -> Iterator[Scan]:
    """Every text of every table of the store. *Cost*: with a server of its own, all of it comes here to be read."""
    for table in schema.tables.sorted_tables:
        texts = [column for column in table.columns if isinstance(column.type, Text)]
        if not texts:
            continue
        query = select(*texts)
        if engine.dialect.name == "sqlite":
            # A server may log what it is asked, so that none is asked for an id.
            wanted = [marks.pseudonym.decode(), *([user_id] if marks.searches_id else [])]
            like = [column.contains(text, autoescape=True) for column in texts for text in wanted]
            query = query.where(or_(*like))
        found = 0
        with transaction(engine) as connection:
            read = connection.exec_driver_sql(f'SELECT count(*) FROM "{table.name}"').scalar_one()
            rows = connection.execution_options(stream_results=True, max_row_buffer=_PAGE).execute(query)
            for row in rows:
                found += marks.tells("\n".join(text for text in row if text is not None).encode())
        yield Scan(f"store, {table.name}", f"{read:,} rows", found)


def scan_store_files(url: str, marks: Marks) -> Iterator[Scan]:
    """The bytes of an SQLite store's files, where rows that were deleted may still be."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database is None:
        return
    for path in (Path(parsed.database), Path(f"{parsed.database}-wal")):
        if path.exists() and (size := path.stat().st_size):
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
                found = (raw.find(marks.pseudonym) >= 0) + marks.names(raw)
            yield Scan(f"store, {path.name}", f"{size:,} bytes", found, "in its bytes" if found else "")


def scan_people(directory: Path, marks: Marks, snapshot_s: float) -> Scan:
    """The files in which the processor writes down what is known of people, once in `snapshot_s`: units, and rows that
    wait for what becomes of them. Events that wait and those that may still be changed are of units, so who has no unit
    there has none of these."""
    read = found = 0
    for path in sorted(directory.glob("*")):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        read += 1
        found += _is_in_file(content, marks)
    note = "" if not found else f"such files go with 8 snapshots after the forgetting: {8 * snapshot_s:g} s of running"
    return Scan("state, people", f"{read:,} files", found, note)


def _is_in_file(content: bytes, marks: Marks) -> bool:
    try:
        packed = zstandard.ZstdDecompressor().decompress(content)
        state = msgspec.msgpack.decode(packed)
    except (zstandard.ZstdError, msgspec.DecodeError):
        # Half written when its process ended.
        return True
    if marks.tells(packed):
        return True
    high, low = (np.uint64(int(marks.pseudonym[at : at + 16], 16)) for at in (0, 16))
    # What is known of people, and rows of people that wait for what becomes of them.
    lists = [*(space["units"] for space in state.get("spaces", {}).values()), *state.get("rows", ())]
    for one in lists:
        highs, lows = (np.frombuffer(one[name], dtype=np.uint64) for name in ("high", "low"))
        if ((highs == high) & (lows == low)).any():
            return True
    return knows(state, high, low)


def scan_recovery(directory: Path, marks: Marks) -> Scan:
    """The engine's snapshots. The list of people of whom nothing is taken any more is in those of the shards."""
    read = found = listed = 0
    for path in sorted(directory.glob("*.sqlite3")):
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            for (saved,) in connection.execute("SELECT ser_change FROM snaps WHERE ser_change IS NOT NULL"):
                read += 1
                raw = _unpickled(saved)
                if raw.startswith(_ZSTANDARD):
                    raw = zstandard.ZstdDecompressor().decompress(raw)
                    state = msgspec.msgpack.decode(raw)
                    if marks.pseudonym.decode() in state.get("forgotten", ()):
                        listed += 1
                        raw = msgspec.msgpack.encode({name: one for name, one in state.items() if name != "forgotten"})
                found += marks.tells(raw)
    note = f"{listed} have them on the list of those of whom nothing is taken" if listed else ""
    return Scan("state, recovery", f"{read:,} snapshots", found, note)


class _Plain(pickle.Unpickler):
    """Takes texts, bytes and numbers, and never runs anything."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"expected plain bytes, found {module}.{name}")


def _unpickled(saved: bytes) -> bytes:
    """What the engine has of one of our states; as it is where it cannot be read."""
    try:
        value = _Plain(io.BytesIO(saved)).load()
    except Exception:
        return saved
    return value if isinstance(value, bytes) else repr(value).encode()


def _notes(*counts: tuple[int, str]) -> str:
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)


def table(scans: Sequence[Scan]) -> Iterable[str]:
    """A line for each place: what it is, how much there was, what was found."""
    widths = [max(len(one.place) for one in scans), max(len(one.scanned) for one in scans)]
    for one in scans:
        found = f"found {one.found:,}" if one.found else "nothing"
        note = f" ({one.note})" if one.note else ""
        yield f"{one.place:<{widths[0]}}  {one.scanned:>{widths[1]}}  {found}{note}"
