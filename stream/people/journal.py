"""How what is known of people survives: each snapshot writes what changed since the last, and a part of the rest.

A million people are too much to write down every few seconds, and nearly all of it would be as before. So a snapshot
makes one file with the units that changed, and with one in `TURNS` of all others: after `TURNS` files all of it is
there once more, and those from before are not needed. The snapshot itself only names the files.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import zstandard

from stream.people.events import TIME, Columns, Layout
from stream.people.people import People, PeoplePlan
from stream.people.space import SLOT, Space
from stream.snapshots import StateError

VERSION = 1
TURNS = 64
"""After so many snapshots every unit has been written down once more."""
KEPT = 8
"""So many snapshots can still be gone back to."""
_MOST_WORDS = 200
"""Files of the vocabulary, at the most, before it is written down anew as one."""
_MOST_FILES = 512
"""More files are never needed: then everything is written down anew. A long lateness keeps events for so long."""
_LEVEL = 1


class Files(Protocol):
    """Where the files are."""

    def write(self, name: str, content: bytes) -> None:
        """Write a new file. It is there as a whole, also after a power cut, or the call does not return."""
        ...

    def read(self, name: str) -> bytes:
        """What is in a file. Raises StateError where there is none."""
        ...

    def keep(self, prefix: str, names: Collection[str]) -> None:
        """Delete all whose names begin with `prefix`, but for these."""
        ...


class MemoryFiles:
    """Files of a process that nobody goes on from, such as a test's."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def write(self, name: str, content: bytes) -> None:
        self.content[name] = content

    def read(self, name: str) -> bytes:
        if name not in self.content:
            raise StateError(f"expected the file {name} with what is known of people, found none")
        return self.content[name]

    def keep(self, prefix: str, names: Collection[str]) -> None:
        for name in [name for name in self.content if name.startswith(prefix) and name not in names]:
            del self.content[name]


class Directory:
    """Files in a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        made = self.path / f"{name}.new"
        with made.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        made.rename(self.path / name)

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise StateError(
                f"expected {self.path / name} with what is known of people, found none ({error}). It is on the machine "
                "that counted them last: copy its directory `people` here"
            ) from error

    def keep(self, prefix: str, names: Collection[str]) -> None:
        for path in self.path.glob(f"{prefix}*"):
            if path.name not in names:
                path.unlink(missing_ok=True)


class Journal:
    """Writes down what one shard knows of people, and reads it back."""

    def __init__(self, files: Files, shard: int) -> None:
        self._files = files
        self._prefix = f"{shard}."
        # Whoever goes back to a snapshot writes other files than those that came after it.
        self._run = secrets.token_hex(4)
        self._number = 0
        self._units: deque[tuple[str, tuple[int, ...]]] = deque()
        """Files of units, oldest first, each with the beginnings of the generations that are in it."""
        self._words: list[str] = []
        self._words_written = 0
        self._former: deque[frozenset[str]] = deque(maxlen=KEPT)
        self._whole = True
        """Whether the next file has to have everything."""

    def write_whole(self) -> None:
        """Have the next snapshot write everything, so that no earlier file is needed."""
        self._whole = True

    def save(self, people: People) -> dict[str, Any]:
        """Write down what has changed. Returns what to keep, to read it back by."""
        self._number += 1
        name = f"{self._prefix}{self._run}-{self._number}"
        whole, self._whole = self._whole, False
        if whole:
            self._units.clear()
            self._words, self._words_written = [], 0
        meanings = people.plan.meanings
        begins: set[int] = set()
        spaces: dict[str, Any] = {}
        for key, space in people.spaces.items():
            parts = [one.unwritten(everything=whole) for one in space.tail.generations]
            parts = [part for part in parts if part["slots"] or part["events"][TIME]]
            begins.update(part["begin_ms"] for part in parts)
            spaces[key] = {
                "units": space.to_state(self._due(space, whole)),
                "conditions": list(space.layout.needs.conditions),
                "tail": parts,
                "alive": [one.begin_ms for one in space.tail.generations],
                "done_ms": space.done_ms,
                "waiting": _packed(space.held_back()),
            }
        state = {
            "spaces": spaces,
            "gauges": {kind: gauge.to_state() | {"means": meanings[kind]} for kind, gauge in people.gauges.items()},
            "newest_ms": people.newest_ms,
        }
        self._write(name, state)
        self._units.append((name, tuple(sorted(begins))))
        self._write_words(people, f"{name}.words")
        self._let_go(people)
        return {"version": VERSION, "files": [name for name, _ in self._units], "words": list(self._words)}

    def let_go(self) -> None:
        """Nothing is known of people any more: delete all files once no snapshot that can be gone back to has them."""
        self._number += 1
        if self._number == KEPT:
            self._files.keep(self._prefix, ())

    def restore(self, plan: PeoplePlan, saved: Mapping[str, Any]) -> People:
        """What a snapshot named. Raises StateError."""
        if saved["version"] != VERSION:
            raise StateError(f"expected what is known of people in version {VERSION}, found {saved['version']}")
        texts: list[str] = []
        for name in saved["words"]:
            texts.extend(self._read(name)["texts"])
        people = People(plan, texts)
        files = [(name, self._read(name)) for name in saved["files"]]
        _, latest = files[-1]
        for key, space in people.spaces.items():
            if key in latest["spaces"]:
                space.place([state["spaces"][key]["units"] for _, state in files if key in state["spaces"]])
        for name, state in files:
            begins: set[int] = set()
            for key, space in people.spaces.items():
                if key in state["spaces"] and key in latest["spaces"]:
                    kept = state["spaces"][key]
                    space.take_over(kept["units"])
                    for part in kept["tail"]:
                        begins.add(part["begin_ms"])
                        if part["begin_ms"] in latest["spaces"][key]["alive"]:
                            generation = space.tail.add(part["begin_ms"])
                            generation.take_over(part, kept["units"]["layout"], _translated(part, kept, space.layout))
            self._units.append((name, tuple(sorted(begins))))
        for key, space in people.spaces.items():
            if key in latest["spaces"]:
                kept = latest["spaces"][key]
                for begin_ms in kept["alive"]:
                    space.tail.add(begin_ms)
                space.go_on(kept["done_ms"], _unpacked(kept["waiting"], kept["conditions"], space))
        meanings = plan.meanings
        for kind, gauge in people.gauges.items():
            if kind in latest["gauges"] and latest["gauges"][kind]["means"] == meanings[kind]:
                gauge.restore(latest["gauges"][kind])
        people.newest_ms = latest["newest_ms"]
        self._words, self._words_written = list(saved["words"]), len(texts)
        # Each snapshot's part of all units follows that of the one before: else some would be in no file.
        self._number = int(saved["files"][-1].rsplit("-", 1)[1])
        # Files of before may have a space that was not there in between: they are not to be read again.
        self._whole = any(key not in latest["spaces"] for key in people.spaces)
        # Until there are others, these are what may be gone back to.
        self._former.append(frozenset((*saved["files"], *saved["words"])))
        return people

    def _due(self, space: Space, whole: bool) -> Any:
        """Rows of the units that are to be written down."""
        used = len(space)
        if whole:
            return np.arange(used)
        changed = space.units.get(space.changed)[:used]
        turn = np.zeros(used, dtype=np.bool_)
        turn[self._number % TURNS :: TURNS] = True
        return np.flatnonzero(changed | turn)

    def _write_words(self, people: People, name: str) -> None:
        texts = people.vocabulary.texts
        if len(self._words) >= _MOST_WORDS:
            self._words, self._words_written = [], 0
        if len(texts) > self._words_written:
            self._write(name, {"texts": texts[self._words_written :]})
            self._words.append(name)
            self._words_written = len(texts)

    def _let_go(self, people: People) -> None:
        """Forget the files that nothing needs any more."""
        alive = {one.begin_ms for space in people.spaces.values() for one in space.tail.generations}
        self._whole |= len(self._units) >= _MOST_FILES
        while len(self._units) > TURNS and not alive & set(self._units[0][1]):
            self._units.popleft()
        self._former.append(frozenset((*(name for name, _ in self._units), *self._words)))
        self._files.keep(self._prefix, frozenset().union(*self._former))

    def _write(self, name: str, state: Mapping[str, Any]) -> None:
        packed = msgspec.msgpack.encode({"version": VERSION, **state})
        self._files.write(name, zstandard.ZstdCompressor(_LEVEL).compress(packed))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            state: dict[str, Any] = msgspec.msgpack.decode(
                zstandard.ZstdDecompressor().decompress(self._files.read(name))
            )
        except (msgspec.DecodeError, zstandard.ZstdError) as error:
            raise StateError(f"{name}: not a file with what is known of people: {error}") from error
        return state


def _packed(columns: Columns | None) -> dict[str, tuple[str, bytes]]:
    return {} if columns is None else {name: (values.dtype.str, values.tobytes()) for name, values in columns.items()}


def _unpacked(packed: Mapping[str, Any], conditions: Collection[str], space: Space) -> Columns | None:
    """Events that waited, in the columns that the space has now."""
    if not packed:
        return None
    raw = {name: np.frombuffer(content, dtype=kind) for name, (kind, content) in packed.items()}
    return space.layout.translated(raw, list(conditions)) | {SLOT: raw[SLOT]}


def _translated(part: Mapping[str, Any], kept: Mapping[str, Any], layout: Layout) -> Columns:
    """A generation's events in the columns that the space has now."""
    known = layout.dtypes
    raw = {
        name: np.frombuffer(content, dtype=known.get(name, np.dtype(np.uint64) if name.startswith("flags") else None))
        for name, content in part["events"].items()
        if name in known or name.startswith("flags")
    }
    return layout.translated(raw, kept["conditions"])
