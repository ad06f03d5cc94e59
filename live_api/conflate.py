"""What each client still has to be told, as frames that are made once for all who need the same. No socket, no clock.

Clients that want the same topics are an audience. Those that have heard all of it are in step, and one frame serves
them; who fell behind has only the seq up to which it was told, and gets one merged frame once it can take it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from live_api import protocol
from live_api.alerts import Alerts
from live_api.frame import Frame
from live_api.interest import Wanted
from live_api.latest import Latest, Series

if TYPE_CHECKING:
    from live_api.hub import Client

NOTHING = -1
"""The seq of a client that has been told nothing."""


class Audience:
    """Clients with the same topics and rows, and what those of them that are in step have been told."""

    def __init__(self, topics: frozenset[str], wanted: Wanted, seq: int, system: int, now_s: float) -> None:
        self.topics = topics
        self.wanted = wanted
        self.seq = seq
        self.system = system
        self.spoken_at_s = now_s
        """When all of them were last told anything."""
        self.in_step: dict[Client, None] = {}
        self.behind: set[Client] = set()

    def __len__(self) -> int:
        return len(self.in_step) + len(self.behind)


class _Change:
    """A series that changed, and what is said of it once anybody has asked."""

    __slots__ = ("_said", "series")

    def __init__(self, series: Series) -> None:
        self.series = series
        self._said: bytes | None = None

    def said(self, since: int) -> bytes:
        if self._said is None:
            self._said = self.series.changed(since)
        return self._said


class Frames:
    """The frames of one tick. Each is made when it is first asked for, and then shared."""

    def __init__(self, latest: Latest, alerts: Alerts, stopwatch: Callable[[], float]) -> None:
        """`stopwatch` gives seconds since any moment."""
        self._stopwatch = stopwatch
        self._latest = latest
        self._alerts = alerts
        self._made: dict[tuple[Wanted, int, bool], Frame | None] = {}
        self._changes: dict[int, list[_Change]] = {}
        """By seq: the series that changed since."""
        self._moved: dict[Wanted, list[_Change]] = {}
        """What changed in this tick, by who wants it: for all who are in step."""
        self._before = NOTHING
        """The seq of the last tick."""
        self._encoded = 0
        self._encoding_s = 0.0
        self.epoch = ""
        self.now_ms = 0
        self.system: bytes = b""
        self.system_of_some: bytes = b""

    def begin(self, epoch: str, now_ms: int, system: bytes, before: int, system_of_some: bytes = b"") -> None:
        """Begin a tick: what was made for the last one, which ended at seq `before`, is no longer true.

        `system_of_some` is what those are told of the system who see some rows only."""
        self._made.clear()
        self._changes.clear()
        self._moved.clear()
        self.epoch, self.now_ms, self.system, self.system_of_some = epoch, now_ms, system, system_of_some
        self._before = before
        for change in self._since(before):
            for wanted in change.series.wanted:
                self._moved.setdefault(wanted, []).append(change)

    def take_costs(self) -> tuple[int, float]:
        """How many frames were put together since this was last asked, and how many seconds that took."""
        costs = self._encoded, self._encoding_s
        self._encoded, self._encoding_s = 0, 0.0
        return costs

    def since(self, wanted: Wanted, seq: int, *, with_system: bool, in_step: bool = False) -> Frame | None:
        """What brings a client up to date that was told all up to `seq`; None when nothing has changed for it.

        An update where all of that is still known, else a snapshot: never a part. `in_step`: asked while the tick
        begins, for those who were there before it did.
        """
        key = (wanted, seq, with_system and wanted.system)
        if key not in self._made:
            started_s = self._stopwatch()
            moved = self._moved.get(wanted, ()) if in_step and seq == self._before else None
            frame = self._made[key] = self._frame(*key, moved)
            self._encoding_s += self._stopwatch() - started_s
            self._encoded += frame is not None
        return self._made[key]

    def heartbeat(self, wanted: Wanted) -> Frame:
        return self._named(protocol.heartbeat(self._latest.seq, self.now_ms), wanted)

    def _frame(self, wanted: Wanted, seq: int, with_system: bool, moved: Iterable[_Change] | None) -> Frame | None:
        latest, rows = self._latest, wanted.rows
        told = self.system_of_some if rows.limited else self.system
        system = told if with_system else b""
        if not latest.knows_since(seq):
            series = [one.snapshot() for one in wanted.series]
            alerts = self._alerts.snapshot(self.now_ms, rows) if wanted.alerts else None
            # Whoever gets everything gets the system too.
            system = told if wanted.system else b""
            epoch = self.epoch + wanted.mark
            return self._named(protocol.snapshot(epoch, latest.seq, self.now_ms, series, alerts, system), wanted)
        if moved is None:
            moved = [change for change in self._since(seq) if change.series in wanted.series]
        changed = [change.said(seq) for change in moved]
        alerts = self._alerts.changes(seq, rows) if wanted.alerts else None
        if not changed and alerts is None and not system:
            return None
        return self._named(protocol.update(latest.seq, self.now_ms, changed, alerts, system), wanted)

    def _since(self, seq: int) -> list[_Change]:
        changes = self._changes.get(seq)
        if changes is None:
            changes = self._changes[seq] = [_Change(series) for series in self._latest.changes(seq)]
        return changes

    def _named(self, body: bytes, wanted: Wanted) -> Frame:
        return Frame(body, f"{self.epoch}{wanted.mark}:{self._latest.seq}")
