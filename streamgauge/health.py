"""Whether the processor and the deliverer do their work, by what they say of themselves: pure, so it waits for nobody.

A dead sink or server shows as a number that grows, and is never asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from live_api.conditions import Condition, State, of_stream
from sinks.alert_records import COMMANDS_STREAM
from streamgauge.samples import Samples

STUCK_S = 60.0
"""A main loop that has not turned for so long is taken for dead. Snapshots, and a full batch, take seconds at most; a
write that is tried again counts as a turn, as nobody is helped by ending a processor that waits for a server."""
SILENT_S = 5.0
FAILING_S = 10.0
SPOOLED_S = 60.0
ARCHIVE_S = 900.0
UNTOLD_S = 300.0
UNHEARD_S = 15.0
_HOLDS_UP = ("live", "store")
"""What the processor waits for: while one of these fails, numbers stand still."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a part answers when it is asked how it is. Both functions are quick, and may be called from any thread."""

    alive: Callable[[], Sequence[Condition]]
    ready: Callable[[], Sequence[Condition]]


def alive(since_turned_s: float | None) -> list[Condition]:
    """Whether a main loop turns; None: it has not begun."""
    if since_turned_s is None:
        return [Condition("loop", State.READY, "the main loop has not begun yet")]
    if since_turned_s > STUCK_S:
        return [Condition("loop", State.NOT_READY, f"the main loop has not turned for {since_turned_s:.0f} s")]
    return [Condition("loop", State.READY, "the main loop turns")]


def of_processor(samples: Samples, now_s: float) -> Iterator[Condition]:
    """`now_s`: epoch seconds."""
    p = "streamgauge_processor"
    yield from alive(samples.most(f"{p}_loop_seconds"))
    yield from _streams(samples, now_s)
    behind_s = samples.most(f"{p}_event_time_lag_seconds")
    if behind_s is not None:
        yield Condition("watermark", State.READY, f"the slowest watermark is {behind_s:.0f} s behind the clock")
    for stage, failing_s in samples.each(f"{p}_failing_seconds", "stage"):
        if failing_s > FAILING_S:
            state = State.NOT_READY if stage in _HOLDS_UP else State.DEGRADED
            yield Condition(stage, state, f"{stage} has been tried again for {failing_s:.0f} s")
        else:
            yield Condition(stage, State.READY, f"{stage} works")
    waiting_s = samples.most(f"{p}_influx_oldest_waiting_seconds") or 0.0
    if waiting_s > SPOOLED_S:
        lines = samples.total(f"{p}_influx_waiting_lines") or 0
        said = f"{lines:,.0f} lines wait on disk for InfluxDB, the oldest for {waiting_s:.0f} s"
        yield Condition("influx spool", State.DEGRADED, said)
    archive_s = samples.most(f"{p}_archive_waiting_seconds") or 0.0
    if archive_s > ARCHIVE_S:
        events = samples.total(f"{p}_archive_waiting_events") or 0
        said = f"{events:,.0f} events wait for the archive, the oldest for {archive_s:.0f} s"
        yield Condition("archive waiting", State.DEGRADED, said)


def _streams(samples: Samples, now_s: float) -> Iterator[Condition]:
    p = "streamgauge_processor"
    reported = dict(samples.each(f"{p}_reported_timestamp_seconds", "stream"))
    lag_s = dict(samples.each(f"{p}_lag_seconds", "stream"))
    entries = dict(samples.each(f"{p}_lag_entries", "stream"))
    # A member of a cluster may read none. Those that it reads are known before anything was heard of them.
    for stream, _ in samples.each(f"{p}_queued_batches", "stream"):
        if stream == COMMANDS_STREAM:
            continue  # what people say of alerts, of which nothing is told
        if stream not in reported:
            yield Condition("stream", State.NOT_READY, f"the stream {stream} has not been heard of yet")
        elif (silent_s := now_s - reported[stream]) > SILENT_S:
            yield Condition("stream", State.NOT_READY, f"the stream {stream} was heard of {silent_s:.0f} s ago")
        else:
            yield of_stream(stream, lag_s.get(stream, 0.0), entries.get(stream))


def of_deliver(samples: Samples, now_s: float) -> Iterator[Condition]:
    """`now_s`: epoch seconds."""
    p = "streamgauge_deliver"
    yield from alive(samples.most(f"{p}_loop_seconds"))
    heard = dict(samples.each(f"{p}_reached_timestamp_seconds", "endpoint"))
    gauges = {
        name: dict(samples.each(f"{p}_{name}", "endpoint"))
        for name in ("disabled", "circuit_open", "oldest_waiting_seconds")
    }
    for endpoint, reached in heard.items():
        waited_s = gauges["oldest_waiting_seconds"].get(endpoint, 0.0)
        if not reached:
            yield Condition(endpoint, State.NOT_READY, f"{endpoint}: its part of the outbox has not been read yet")
        elif (unheard_s := now_s - reached) > UNHEARD_S:
            yield Condition(endpoint, State.NOT_READY, f"{endpoint}: Valkey was last reached {unheard_s:.0f} s ago")
        elif gauges["disabled"].get(endpoint):
            yield Condition(endpoint, State.DEGRADED, f"{endpoint} is switched off, as it answered 410")
        elif gauges["circuit_open"].get(endpoint):
            yield Condition(endpoint, State.DEGRADED, f"{endpoint} fails, and is only tried now and then")
        elif waited_s > UNTOLD_S:
            said = f"{endpoint}: the oldest notification has waited for {waited_s:.0f} s"
            yield Condition(endpoint, State.DEGRADED, said)
        else:
            yield Condition(endpoint, State.READY, f"{endpoint} is delivered to")
