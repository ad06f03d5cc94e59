"""Event time: how far each stream has come, and the watermark that follows from it.

No clock is read here. Time passes only through what readers report, so a processor that was down, or whose server
is away, finds its watermark where it left it, and a backlog is never late because of the wait.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from stream.batches import State

NEVER_MS = -(1 << 62)
"""The watermark before the first event, and of a shard that has not been heard of."""
END_MS = 1 << 62
"""The watermark once all input has been read: every window is closed."""
IDLE_AFTER_MS = 5_000
"""A stream that is caught up and had no event for so long no longer holds the watermark back."""
SILENT_AFTER_MS = 10_000
"""A reader that reported so much less recently than another may be cut off from a backlog: it counts as live."""


@dataclass(slots=True)
class _Stream:
    max_event_ms: int | None = None
    last_event_at_ms: int = 0
    """Reader's clock when the latest batch with events was read."""
    reported_at_ms: int = 0
    caught_up: bool = False

    def idle(self, latest_report_ms: int) -> bool:
        heard = latest_report_ms - self.reported_at_ms < SILENT_AFTER_MS
        return heard and self.caught_up and self.reported_at_ms - self.last_event_at_ms >= IDLE_AFTER_MS


class Watermark:
    """The watermark of one shard over all its streams. It never moves back.

    A stream's watermark is its latest event time less `out_of_orderness_ms`; the shard's is the least over the
    streams that are live. When every stream is caught up and idle it moves on with the readers' clock, by as much as
    has passed since the last event: so the last windows of a live stream close, and a replay of old events is not
    pushed years ahead.
    """

    def __init__(self, streams: tuple[str, ...], out_of_orderness_ms: int) -> None:
        self._streams = {name: _Stream() for name in streams}
        self._out_of_orderness_ms = out_of_orderness_ms
        self.now_ms = NEVER_MS
        """The watermark, epoch milliseconds."""

    def observe(self, stream: str, max_event_ms: int | None, *, caught_up: bool, read_at_ms: int) -> None:
        """Take in a batch's progress: its latest event time (None without events) and when it was read."""
        seen = self._streams.setdefault(stream, _Stream())
        seen.caught_up = caught_up
        seen.reported_at_ms = max(seen.reported_at_ms, read_at_ms)
        if max_event_ms is not None:
            seen.last_event_at_ms = max(seen.last_event_at_ms, read_at_ms)
            if seen.max_event_ms is None or max_event_ms > seen.max_event_ms:
                seen.max_event_ms = max_event_ms
        self.now_ms = max(self.now_ms, self._candidate_ms())

    def finish(self) -> None:
        """All input has been read."""
        self.now_ms = END_MS

    def _candidate_ms(self) -> int:
        latest_report = max(stream.reported_at_ms for stream in self._streams.values())
        live = [stream for stream in self._streams.values() if not stream.idle(latest_report)]
        if live:
            times = [NEVER_MS if stream.max_event_ms is None else stream.max_event_ms for stream in live]
            return max(NEVER_MS, min(times) - self._out_of_orderness_ms)
        seen = [stream for stream in self._streams.values() if stream.max_event_ms is not None]
        if not seen:
            return NEVER_MS
        latest = max(stream.max_event_ms or 0 for stream in seen)
        reported = min(stream.reported_at_ms for stream in self._streams.values())
        passed = max(0, reported - max(stream.last_event_at_ms for stream in seen))
        return latest - self._out_of_orderness_ms + passed

    def to_state(self) -> State:
        streams = {name: asdict(stream) for name, stream in self._streams.items()}
        return {"now_ms": self.now_ms, "streams": streams}

    def restore(self, state: State) -> None:
        """Take over a snapshot. Streams that the catalog no longer names are forgotten: they would never move on."""
        self.now_ms = state["now_ms"]
        for name, stream in state["streams"].items():
            if name in self._streams:
                self._streams[name] = _Stream(**stream)
