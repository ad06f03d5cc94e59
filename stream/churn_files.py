"""Where rows of people wait for what becomes of them: a file a day, and files of days that are not finished.

The rows of a horizon are too much for the engine's snapshots every few seconds, which only name the files. A file is
written once and never changed; one that nothing names any more goes once no snapshot does that may be gone back to.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import numpy as np
import zstandard

from stream.churn_rows import Block, ScoredRows
from stream.people.journal import KEPT, Files
from stream.snapshots import StateError

PREFIX = "churn."
VERSION = 1
_LEVEL = 1


class ChurnFiles:
    """The files of one stage. *Failure*: StateError for one that is missing or cannot be read."""

    def __init__(self, files: Files) -> None:
        self._files = files
        # Whoever goes back to a snapshot writes other files than those that came after it.
        self._run = secrets.token_hex(4)
        self._number = 0
        self._former: deque[frozenset[str]] = deque(maxlen=KEPT)
        """What the last snapshots name."""
        self._known: frozenset[str] = frozenset()

    def write_rows(self, rows: ScoredRows) -> str:
        """Write down the rows of a day that have a score. Returns the file's name."""
        return self._write({"rows": [rows.to_state()]})

    def read_rows(self, name: str) -> ScoredRows:
        (state,) = self._read(name)["rows"]
        return ScoredRows.from_state(state)

    def write_blocks(self, blocks: Mapping[int, Collection[Block]]) -> str:
        """Write down rows of days that are not finished, by their ends. Returns the file's name."""
        told = [(end_ms, block) for end_ms, some in blocks.items() for block in some]
        return self._write({"rows": [block.to_state() | {"end_ms": end_ms} for end_ms, block in told]})

    def read_blocks(self, name: str) -> list[tuple[int, Block]]:
        return [(state["end_ms"], Block.from_state(state)) for state in self._read(name)["rows"]]

    def named(self, names: Collection[str]) -> None:
        """A snapshot names these; delete what neither it nor any of those before needs, which may be gone back to."""
        self._former.append(frozenset(names))
        self.keep(names)

    @property
    def has_old(self) -> bool:
        """Whether there are files that only snapshots of before name."""
        return bool(self._former) and self._known != self._former[-1]

    def keep(self, names: Collection[str]) -> None:
        """These are needed now; delete what no snapshot that may be gone back to needs either."""
        known = frozenset(names).union(*self._former)
        if known != self._known:
            self._known = known
            self._files.keep(PREFIX, known)

    def _write(self, state: Mapping[str, Any]) -> str:
        self._number += 1
        name = f"{PREFIX}{self._run}-{self._number}"
        packed = msgspec.msgpack.encode({"version": VERSION, **state})
        self._files.write(name, zstandard.ZstdCompressor(_LEVEL).compress(packed))
        return name

    def _read(self, name: str) -> dict[str, Any]:
        try:
            packed = zstandard.ZstdDecompressor().decompress(self._files.read(name))
            state: dict[str, Any] = msgspec.msgpack.decode(packed)
            version = state["version"]
        except (msgspec.DecodeError, zstandard.ZstdError, TypeError, KeyError) as error:
            raise StateError(f"{name}: not a file with rows of people: {error}") from error
        if version != VERSION:
            raise StateError(f"{name}: expected rows of people in version {VERSION}, found version {version}")
        return state


def knows(state: Mapping[str, Any], high: np.uint64, low: np.uint64) -> bool:
    """Whether a file's content has rows of the person with such a pseudonym."""
    for rows in state.get("rows", ()):
        highs, lows = (np.frombuffer(rows[name], dtype=np.uint64) for name in ("high", "low"))
        if ((highs == high) & (lows == low)).any():
            return True
    return False
