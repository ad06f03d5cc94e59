"""What each client still has to be told, as frames that are made once for all who need the same. No socket, no clock.

Clients that want the same topics are an audience. Those that have heard all of it are in step, and one frame serves
them; who fell behind has only the seq up to which it was told, and gets one merged frame once it can take it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from live_api import protocol
from live_api.alerts import Alerts
from live_api.frame import Frame
from live_api.latest import Latest, Series
from live_api.protocol import ALERTS, BOARD, SYSTEM, Topic

if TYPE_CHECKING:
    from live_api.hub import Client

NOTHING = -1
"""The seq of a client that has been told nothing."""


class Wanted:
    """What a set of topics is about. `boards` has the topics of each board."""

    def __init__(self, topics: Iterable[str], boards: Mapping[str, Iterable[str]]) -> None:
        texts: set[str] = set()
        for text in topics:
            texts.update(boards[text.removeprefix(BOARD)] if text.startswith(BOARD) else (text,))
        self.system = SYSTEM in texts
        self.alerts = ALERTS in texts
        self._exact: dict[str, list[Topic]] = {}
        """By metric: nearly all topics name one, and most series are of none of them."""
        self._prefixes: list[Topic] = []
        for text in texts:
            topic = Topic.parse(text)
            if topic is not None and topic.prefix:
                self._prefixes.append(topic)
            elif topic is not None:
                self._exact.setdefault(topic.name, []).append(topic)

    def matches(self, series: Series) -> bool:
        for topic in self._exact.get(series.metric, ()):
            if topic.matches(series.metric, series.window, series.dimensions):
                return True
        return any(topic.matches(series.metric, series.window, series.dimensions) for topic in self._prefixes)


class Audience:
    """Clients with the same topics, and what those of them that are in step have been told."""

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
        self.epoch = ""
        self.now_ms = 0
        self.system: bytes = b""
        self.encoded = 0
        """How many frames were put together since the tick began."""
        self.encoding_s = 0.0
        """How long that took."""

    def begin(self, epoch: str, now_ms: int, system: bytes) -> None:
        """Begin a tick: what was made for the last one is no longer true."""
        self._made.clear()
        self._changes.clear()
        self.epoch, self.now_ms, self.system = epoch, now_ms, system
        self.encoded, self.encoding_s = 0, 0.0

    def since(self, wanted: Wanted, seq: int, *, with_system: bool) -> Frame | None:
        """What brings a client up to date that was told all up to `seq`; None when nothing has changed for it.

        An update where all of that is still known, else a snapshot: never a part.
        """
        key = (wanted, seq, with_system and wanted.system)
        if key not in self._made:
            started_s = self._stopwatch()
            frame = self._made[key] = self._frame(*key)
            self.encoding_s += self._stopwatch() - started_s
            self.encoded += frame is not None
        return self._made[key]

    def _frame(self, wanted: Wanted, seq: int, with_system: bool) -> Frame | None:
        latest = self._latest
        system = self.system if with_system else b""
        if not latest.knows_since(seq):
            series: Iterable[bytes] = [one.snapshot() for one in latest.all() if wanted.matches(one)]
            alerts = self._alerts.snapshot(self.now_ms) if wanted.alerts else None
            # Whoever gets everything gets the system too.
            system = self.system if wanted.system else b""
            return self._named(protocol.snapshot(self.epoch, latest.seq, self.now_ms, series, alerts, system))
        changed = self._changed(wanted, seq)
        alerts = self._alerts.changes(seq) if wanted.alerts else None
        if not changed and alerts is None and not system:
            return None
        return self._named(protocol.update(latest.seq, self.now_ms, changed, alerts, system))

    def _changed(self, wanted: Wanted, seq: int) -> list[bytes]:
        changes = self._changes.get(seq)
        if changes is None:
            changes = self._changes[seq] = [_Change(series) for series in self._latest.changes(seq)]
        return [change.said(seq) for change in changes if wanted.matches(change.series)]

    def heartbeat(self) -> Frame:
        return self._named(protocol.heartbeat(self._latest.seq, self.now_ms))

    def _named(self, body: bytes) -> Frame:
        return Frame(body, f"{self.epoch}:{self._latest.seq}")
