"""How late the live stream is: XADD to live sink at 20,000 events a second."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from benchmarks.engine.backlog import SINGLE
from benchmarks.engine.place import LiveCounts, Place, Processor
from benchmarks.engine.producer import PLACEHOLDER_MS, Producer, command
from benchmarks.engine_catalog import catalog, events

WARM_UP_S = 10
"""A processor that has just started is slower, for reasons that have nothing to do with its work."""
_READ_S = 0.5


@dataclass(frozen=True)
class Latency:
    p50_ms: float
    p99_ms: float
    max_ms: float
    rate: float
    """Events a second that were sent in the end."""


def measure(where: Place, rate: int, seconds: int) -> Latency:
    """The full catalog over one stream, one process, the producer on the same machine.

    An event's way begins when the producer turns to the pipeline that it is in. It ends with the first entry of the
    live stream whose count has as many events; the server's clock gives that to the millisecond, and the end of that
    millisecond is taken.
    """
    where.clear((SINGLE,))
    count = rate * (WARM_UP_S + seconds)
    made = events(count, start_ms=PLACEHOLDER_MS, per_second=count * 1_000_000)
    producer = Producer(where.port, (command(SINGLE, event) for event in made), rate)
    with Processor(where, "latency", catalog((SINGLE,))) as processor:
        counts = LiveCounts(where.client(), (SINGLE,))
        sending = threading.Thread(target=producer.run)
        counts.wait_ready(processor)
        sending.start()
        counts.until(lambda: counts.read() < 0 or not sending.is_alive(), processor, "the end", 3_600, _READ_S)
        counts.wait(count, processor, within_s=120)
    producer.close()
    where.client().delete(SINGLE)
    visible_ms, visible = np.array(counts.seen).T
    sent_ms, sent = np.array(producer.sent_ms), np.array(producer.sent)
    sizes = np.diff(sent, prepend=0)
    begun_ms = np.repeat(sent_ms, sizes)
    numbers = np.arange(1, count + 1)
    late_ms = visible_ms[np.searchsorted(visible, numbers)] + 1 - begun_ms
    kept = late_ms[rate * WARM_UP_S :]
    took_s = (sent_ms[-1] - sent_ms[0]) / 1_000
    return Latency(
        float(np.percentile(kept, 50)), float(np.percentile(kept, 99)), float(kept.max()), (count - sizes[-1]) / took_s
    )
