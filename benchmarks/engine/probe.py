"""The real processor with a watch on it: `python -m benchmarks.engine.probe FOUND.json run --catalog …`.

Notes how long the engine takes from one call of the source to the next, without what it writes to sinks meanwhile,
which it would write without a snapshot as well, and whether it asked for a snapshot between them; and how long the
shards and merges take to give their state as bytes. Written when the processor ends.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from bytewax.inputs import StatefulSourcePartition

from stream.adapters import _Writer
from stream.merge import Merge
from stream.shard import Shard
from stream.source import ValkeySource
from streamgauge.__main__ import main

GAPS: list[tuple[float, float, bool]] = []
"""When a call of the source began (monotonic s), how long the one before had been over less the time in sinks (s), a
snapshot between?"""
WRITING_S = [0.0]
"""Time in sinks, in all."""
TO_BYTES: dict[str, list[tuple[float, float]]] = {"shard": [], "merge": []}
"""When (monotonic s), and for how long (s)."""


class _Watched(StatefulSourcePartition[Any, str]):
    def __init__(self, partition: StatefulSourcePartition[Any, str]) -> None:
        self._partition = partition
        self._ended_s: float | None = None
        self._written_s = 0.0
        self._snapshot = False

    def next_batch(self) -> Any:
        now_s = time.monotonic()
        if self._ended_s is not None:
            GAPS.append((now_s, now_s - self._ended_s - (WRITING_S[0] - self._written_s), self._snapshot))
        self._snapshot = False
        try:
            return self._partition.next_batch()
        finally:
            self._ended_s, self._written_s = time.monotonic(), WRITING_S[0]

    def next_awake(self) -> datetime | None:
        return self._partition.next_awake()

    def snapshot(self) -> str:
        self._snapshot = True
        return self._partition.snapshot()

    def close(self) -> None:
        self._partition.close()


def _timed(to_bytes: Callable[[Any], bytes], calls: list[tuple[float, float]]) -> Callable[[Any], bytes]:
    def timed(self: Any) -> bytes:
        begun_s = time.monotonic()
        try:
            return to_bytes(self)
        finally:
            calls.append((begun_s, time.monotonic() - begun_s))

    return timed


def _timed_write(write: Callable[[Any, list[Any]], None]) -> Callable[[Any, list[Any]], None]:
    def timed(self: Any, items: list[Any]) -> None:
        begun_s = time.monotonic()
        try:
            write(self, items)
        finally:
            WRITING_S[0] += time.monotonic() - begun_s

    return timed


def watch() -> None:
    build_part = ValkeySource.build_part

    def watched(self: ValkeySource, step_id: str, for_part: str, resume_state: str | None) -> Any:
        return _Watched(build_part(self, step_id, for_part, resume_state))

    ValkeySource.build_part = watched  # type: ignore[method-assign]
    _Writer.write_batch = _timed_write(_Writer.write_batch)  # type: ignore[method-assign]
    Shard.to_bytes = _timed(Shard.to_bytes, TO_BYTES["shard"])  # type: ignore[assignment, method-assign]
    Merge.to_bytes = _timed(Merge.to_bytes, TO_BYTES["merge"])  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    found = Path(sys.argv.pop(1))
    watch()
    try:
        main()
    finally:
        found.write_text(json.dumps({"gaps": GAPS, "to_bytes": TO_BYTES}))
