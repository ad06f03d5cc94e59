"""Sends what a simulator makes to Valkey, as any producer would: `XADD stream * data <json>`."""

from __future__ import annotations

import logging
import random
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson
import valkey

logger = logging.getLogger(__name__)

Span = tuple[int, int]
Entry = tuple[str, str, bytes]  # stream, event time, JSON

TICK_MS = 50
PIPELINE_ENTRIES = 1000
SPAN_EVENTS = 2000  # about this many events are in memory at once, at the mean rate
PATIENCE_S = (0.1, 5.0)  # back-off: at first, at most
NAP_S = 0.2  # how long a stop may go unnoticed

_PASSING = (
    valkey.exceptions.ConnectionError,
    valkey.exceptions.TimeoutError,
    valkey.exceptions.OutOfMemoryError,
    valkey.exceptions.ReadOnlyError,
)
_PASSING_CODES = ("LOADING", "MISCONF", "NOREPLICAS", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "BUSY")
_LASTING = (valkey.exceptions.AuthenticationError, valkey.exceptions.AuthorizationError)


class Simulator(Protocol):
    """What makes the events: `id`, `time` (as 2026-03-02T18:04:11.250Z) and whatever else there is to say."""

    events_per_s: float

    def events_between(self, start_ms: int, end_ms: int) -> list[dict[str, Any]]: ...


@dataclass(slots=True)
class Tally:
    """What became of the events of a run. Sent ones are at the server; skipped spans were never made."""

    sent: int = 0
    given_up: int = 0  # made, but too old when the server came back
    skipped_ms: int = 0  # not made, because the pause was too long
    retries: int = 0


@dataclass(slots=True)
class Pace:
    """Which span of time to send next: the past up to now in bounded steps, and only up to a limit of it.

    The first limit holds until now is reached once: it covers the history. After that a pause is made up for
    by up to `catch_up_ms`; what is older is skipped.
    """

    sent_until_ms: int
    step_ms: int
    catch_up_ms: int
    limit_ms: int
    skipped_ms: int = 0

    @classmethod
    def beginning(cls, now_ms: int, *, history_ms: int, step_ms: int, catch_up_ms: int) -> Pace:
        return cls(now_ms - history_ms, step_ms, catch_up_ms, history_ms + catch_up_ms)

    def too_old_ms(self, now_ms: int) -> int:
        return now_ms - self.limit_ms

    def take(self, now_ms: int) -> Span | None:
        """The next span, or None when less than a tick is left to send."""
        oldest = self.too_old_ms(now_ms)
        if self.sent_until_ms < oldest:
            self.skipped_ms += oldest - self.sent_until_ms
            self.sent_until_ms = oldest
        # A clock that was set back: what is sent again has the same ids.
        if self.sent_until_ms > now_ms + self.catch_up_ms:
            self.sent_until_ms = now_ms
        if now_ms - self.sent_until_ms < TICK_MS:
            return None
        span = self.sent_until_ms, min(now_ms, self.sent_until_ms + self.step_ms)
        self.sent_until_ms = span[1]
        if span[1] == now_ms:
            self.limit_ms = self.catch_up_ms
        return span


@dataclass(slots=True)
class BackOff:
    """How long to wait after the n-th failure in a row: up to twice as long each time, with full jitter."""

    first_s: float = PATIENCE_S[0]
    most_s: float = PATIENCE_S[1]
    jitter: Callable[[], float] = field(default=random.random)
    failures: int = 0

    def failed(self) -> float:
        ceiling = min(self.most_s, self.first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        # Never nothing at all: a server that refuses at once would be asked in a tight loop.
        return self.first_s / 2 + (ceiling - self.first_s / 2) * self.jitter()

    def succeeded(self) -> None:
        self.failures = 0


def stream_of(event: dict[str, Any], streams: Sequence[str]) -> str:
    """The stream of an event: always the same for one person; for nobody's events, by their id."""
    key = event.get("user_id") or event["id"]
    return streams[zlib.crc32(str(key).encode()) % len(streams)]


def produce(
    client: valkey.Valkey,
    streams: Sequence[str],
    simulator: Simulator,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
    stop: Callable[[], bool],
    history_s: float = 0,
    catch_up_s: float = 10,
    max_entries: int | None = 500_000,
) -> Tally:
    """Send events as they happen until `stop()` is true, after `history_s` of the past as fast as it goes.

    `clock` gives epoch seconds; `sleep` may return early (`threading.Event.wait` is a good one). Streams are
    trimmed to about `max_entries` each, read or not; None keeps all. Give the client a `socket_timeout`: a
    server that hangs would hold up the stop.

    *Guarantee*: in order of event time but for what is retried; at least once, with the same ids, while
    Valkey is back within `catch_up_s`. After a longer pause of either side, what is older is left out, and
    counted.

    *Failure*: retries with jittered back-off when Valkey is away, loading, read-only or out of memory. Raises
    valkey's error for what time does not mend: a wrong password, a key that is no stream.

    *Cost*: one pipeline for each `PIPELINE_ENTRIES` entries, at most one each `TICK_MS` when up to date.
    """
    if not streams:
        raise ValueError("streams: expected at least one stream to send to, got none")
    pace = Pace.beginning(
        _ms(clock),
        history_ms=int(history_s * 1000),
        step_ms=max(TICK_MS, int(1000 * SPAN_EVENTS / simulator.events_per_s)),
        catch_up_ms=int(catch_up_s * 1000),
    )
    tally = Tally()
    back_off = BackOff()
    waiting: list[Entry] = []
    while not stop():
        now_ms = _ms(clock)
        if back_off.failures:
            oldest = _iso(pace.too_old_ms(now_ms))
            fresh = [entry for entry in waiting if entry[1] >= oldest]
            tally.given_up += len(waiting) - len(fresh)
            waiting = fresh
        if not waiting:
            span = pace.take(now_ms)
            tally.skipped_ms = pace.skipped_ms
            if span is None:
                _wait(TICK_MS / 1000, sleep, stop)
                continue
            events = simulator.events_between(*span)
            waiting = [(stream_of(event, streams), event["time"], orjson.dumps(event)) for event in events]
            if not waiting:
                continue
        chunk, rest = waiting[:PIPELINE_ENTRIES], waiting[PIPELINE_ENTRIES:]
        unsent, error = _send(client, chunk, max_entries)
        tally.sent += len(chunk) - len(unsent)
        waiting = unsent + rest
        if error is None:
            if back_off.failures:
                logger.warning("Valkey takes events again after %d attempts", back_off.failures)
            back_off.succeeded()
            continue
        if not back_off.failures:
            logger.warning("Valkey takes no events, trying again: %s", error)
        tally.retries += 1
        _wait(back_off.failed(), sleep, stop)
    return tally


def _send(client: valkey.Valkey, entries: list[Entry], max_entries: int | None) -> tuple[list[Entry], Exception | None]:
    """Add these entries; returns those that may not have arrived, and why. Raises what time does not mend."""
    pipeline = client.pipeline(transaction=False)
    for stream, _, data in entries:
        pipeline.xadd(stream, {"data": data}, maxlen=max_entries, approximate=True)
    try:
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    except valkey.ValkeyError as error:
        if not _passes(error):
            raise
        return entries, error
    refusals = [reply for reply in replies if isinstance(reply, Exception)]
    for refusal in refusals:
        if not _passes(refusal):
            raise refusal
    unsent = [entry for entry, reply in zip(entries, replies, strict=True) if isinstance(reply, Exception)]
    return unsent, refusals[0] if refusals else None


def _passes(error: Exception) -> bool:
    if isinstance(error, _LASTING):
        return False
    return isinstance(error, _PASSING) or str(error).startswith(_PASSING_CODES)


def _wait(seconds: float, sleep: Callable[[float], object], stop: Callable[[], bool]) -> None:
    while seconds > 0 and not stop():
        sleep(min(seconds, NAP_S))
        seconds -= NAP_S


def _ms(clock: Callable[[], float]) -> int:
    return int(clock() * 1000)


def _iso(time_ms: int) -> str:
    """A time as events have it, so that the two can be compared as text."""
    whole = datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{time_ms % 1000:03}Z"
