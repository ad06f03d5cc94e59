"""What becomes of settled points in the store: triggers in its own database, which no change gets past."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sinks.records import Point, State

_TRIGGERS = """
CREATE TABLE ledger_broken (
    metric TEXT, window TEXT, dimensions TEXT, start_ms INTEGER,
    old_state TEXT, old_value TEXT, old_count INTEGER, new_state TEXT, new_value TEXT, new_count INTEGER);
CREATE TABLE ledger_pruned (
    metric TEXT, window TEXT, dimensions TEXT, names TEXT, start_ms INTEGER, value_json TEXT, count INTEGER,
    state TEXT, revision INTEGER, watermark_ms INTEGER, error REAL,
    PRIMARY KEY (metric, window, dimensions, start_ms)) WITHOUT ROWID;
CREATE TABLE ledger_counts (name TEXT PRIMARY KEY, times INTEGER) WITHOUT ROWID;
INSERT INTO ledger_counts VALUES ('corrections', 0), ('replayed', 0);

CREATE TRIGGER ledger_unsettled AFTER UPDATE ON points
WHEN OLD.state <> 'open' AND NEW.state <> 'corrected'
    AND (NEW.state = 'open' OR OLD.count <> NEW.count OR OLD.value_json <> NEW.value_json)
BEGIN
    INSERT INTO ledger_broken SELECT metric, window, dimensions, NEW.start_ms,
        OLD.state, OLD.value_json, OLD.count, NEW.state, NEW.value_json, NEW.count
    FROM series WHERE id = NEW.series_id;
END;
CREATE TRIGGER ledger_corrected AFTER UPDATE ON points
WHEN OLD.state <> 'open' AND NEW.state = 'corrected' AND NEW.count > OLD.count
BEGIN
    UPDATE ledger_counts SET times = times + 1 WHERE name = 'corrections';
END;
CREATE TRIGGER ledger_replayed AFTER UPDATE ON points WHEN OLD.state <> 'open' AND NEW.count < OLD.count
BEGIN
    UPDATE ledger_counts SET times = times + 1 WHERE name = 'replayed';
END;
CREATE TRIGGER ledger_deleted AFTER DELETE ON points
BEGIN
    INSERT OR REPLACE INTO ledger_pruned SELECT metric, window, dimensions, names, OLD.start_ms, OLD.value_json,
        OLD.count, OLD.state, OLD.revision, OLD.watermark_ms, OLD.error
    FROM series WHERE id = OLD.series_id;
END;
"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Notes each settled point that changed other than by a correction, and keeps what the store prunes.

    The tables stand beside the store's own, which the product does not mind.
    """

    database: Path

    def begin(self) -> None:
        with closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(_TRIGGERS)

    def broken(self) -> list[str]:
        """Settled points that became open, or another value that was not called a correction."""
        found: list[str] = []
        for place in self._read("SELECT * FROM ledger_broken"):
            metric, window, dimensions, start_ms, *then, new_state, new, new_count = place
            old_state, old, old_count = then
            if new_state == "open" or changed(json.loads(old), json.loads(new), old_count, new_count):
                before, after = f"{old_state} {old} of {old_count}", f"{new_state} {new} of {new_count}"
                found.append(f"store: {metric}@{window} {dimensions} {start_ms}: {before} became {after}")
        return found

    def counts(self) -> dict[str, int]:
        """How often a settled point was corrected upwards, and how often a replay passed through an earlier value."""
        return dict(self._read("SELECT name, times FROM ledger_counts"))

    def pruned(self) -> list[Point]:
        """The last of each point that is in the store no more."""
        rows = self._read("SELECT * FROM ledger_pruned")
        return [
            Point(
                metric,
                window,
                start_ms,
                tuple((name, json.loads(dimensions)[name]) for name in json.loads(names)),
                json.loads(value),
                count,
                State(state),
                revision,
                watermark_ms,
                error,
            )
            for metric, window, dimensions, names, start_ms, value, count, state, revision, watermark_ms, error in rows
        ]

    def _read(self, query: str) -> Iterator[Any]:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            yield from connection.execute(query)


def changed(old: Any, new: Any, old_count: int, new_count: int) -> bool:
    """Whether a point says something else. Floats that were added up in another order do not."""
    if old_count != new_count:
        return True
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() != new.keys() or any(changed(old[key], new[key], 0, 0) for key in old)
    if isinstance(old, float) or isinstance(new, float):
        return old is None or new is None or not math.isclose(old, new, rel_tol=1e-9)
    return bool(old != new)
