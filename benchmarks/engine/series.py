"""What many series cost: their memory, the pause for a snapshot, and the way back after `kill -9`.

One metric, a `count` by one dimension, of which each value is a series; all events are of one moment, so each series
has one row in each kind of pane, and no window closes meanwhile. The keys of the result are with one window, `1h`; with
the four windows that a metric has by default, which the table shows as well, there are four rows for each series. Every
measure beside the first adds columns to those rows; a sketch would add an object for each.
"""

from __future__ import annotations

import json
import random
import statistics
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from benchmarks.engine.place import LiveCounts, Place, Processor
from benchmarks.engine.producer import Producer, command

STREAM = "bench:series"
FEW = 1_000
"""Series there are before memory is measured for the first time."""
ONE_WINDOW = ("1h",)
DEFAULT_WINDOWS = ("10s", "1m", "1h", "1d")
_CATALOG = """
[platform]
name = "Series benchmark"
streams = ["{stream}"]
[event]
id = "id"
[[metric]]
name = "n"
measure = "count"
by = ["key"]
max_series = 1_000_000
windows = {windows}
"""
_LOAD_RATE = 10_000
_IDLE_RATE = 200
_BUSY_RATE = 1_000
_SETTLE_S = 6
_SAMPLES_S = 4
_FRESH_MS = 250
"""How far behind the producer a live count may be and still be called up to date: what the product promises."""
_SNAPSHOT_EACH_S = {"STREAMGAUGE_SNAPSHOT_S": "1"}
_names = count()


@dataclass(frozen=True)
class Pause:
    """Milliseconds between the end of one call of the source and the beginning of the next."""

    longest_ms: float
    median_ms: float
    ordinary_ms: float
    """The median of calls with no snapshot between them: what the source waits for when nothing comes."""
    ordinary_p99_ms: float
    shard_ms: float
    """The longest time that the shard took to give its state as bytes."""
    merge_ms: float
    """The longest time that the merge of the cube took for it."""
    snapshots: int


class _Events:
    """Events with ids of their own, all of the moment at which this was made."""

    def __init__(self) -> None:
        self._time_ms = time.time_ns() // 1_000_000
        self._number = count()

    def of(self, key: int) -> bytes:
        return command(STREAM, b'{"id":"%d","time":%d,"key":"key-%d"}' % (next(self._number), self._time_ms, key))


def bytes_per_series(where: Place, series: int, windows: tuple[str, ...]) -> float:
    """Growth of the processor's resident memory from FEW series to `series`, for each of those that came.

    Before the first look as many events come as between the two, all of the FEW series, so that what a processor takes
    for events, and for remembering their ids, is not taken for the cost of series. Each look is the median of some
    seconds with snapshots and a little traffic.
    """
    with _processor(where, windows) as (processor, counts):
        made = _Events()
        more = series - FEW
        assert more > 0, f"expected more than {FEW} series, found {series}"
        total = 0

        def rss_after(keys: Iterable[int]) -> float:
            nonlocal total
            total += _send(where, [made.of(key) for key in keys], _LOAD_RATE).total
            counts.wait(total, processor, within_s=120)
            idle = [made.of(key % FEW) for key in range(_IDLE_RATE * (_SETTLE_S + _SAMPLES_S))]
            producer = Producer(where.port, idle, _IDLE_RATE)
            sending = threading.Thread(target=producer.run)
            sending.start()
            time.sleep(_SETTLE_S)
            seen: list[int] = []
            while sending.is_alive():
                seen.append(processor.rss_bytes())
                time.sleep(0.1)
            total += producer.total
            producer.close()
            return statistics.median(seen)

        before = rss_after(number % FEW for number in range(more))
        return (rss_after(range(FEW, series)) - before) / more


def epoch_pause(where: Place, series: int, windows: tuple[str, ...], seconds: int) -> Pause:
    """How long the source is not asked for anything around a snapshot, at a little traffic and a snapshot each second.

    The real processor runs with a watch on the calls of its source (`benchmarks.engine.probe`). In that time nothing is
    read, so it is what a live number may be later than usual. It has everything in it that happens meanwhile: the state
    as bytes, the engine's own copy and commit, and the work of an ordinary tick.
    """
    found = where.directory / f"probe-{next(_names)}.json"
    command_line = ("benchmarks.engine.probe", str(found))
    with _processor(where, windows, command_line, _SNAPSHOT_EACH_S) as (processor, counts):
        made = _Events()
        total = _send(where, [made.of(key) for key in range(series)], _LOAD_RATE).total
        counts.wait(total, processor, within_s=120)
        time.sleep(3)
        mark_s = time.monotonic()
        chosen = random.Random(1)
        _send(where, [made.of(chosen.randrange(series)) for _ in range(_IDLE_RATE * seconds)], _IDLE_RATE)
        end_s = time.monotonic()
    told = json.loads(found.read_text())
    across = [gap for at, gap, snapshot in told["gaps"] if mark_s < at < end_s and snapshot]
    ordinary = [gap for at, gap, snapshot in told["gaps"] if mark_s < at < end_s and not snapshot]
    longest = {name: max(took for at, took in calls if mark_s < at < end_s) for name, calls in told["to_bytes"].items()}
    return Pause(
        longest_ms=max(across) * 1_000,
        median_ms=statistics.median(across) * 1_000,
        ordinary_ms=statistics.median(ordinary) * 1_000,
        ordinary_p99_ms=statistics.quantiles(ordinary, n=100)[98] * 1_000,
        shard_ms=longest["shard"] * 1_000,
        merge_ms=longest["merge"] * 1_000,
        snapshots=len(across),
    )


def recovery(where: Place, series: int, windows: tuple[str, ...], kills: int) -> list[float]:
    """Seconds from each `kill -9` to the first live update that is up to date again, while 1,000 events a second come.

    It is started again at once, as a supervisor would. A live update is up to date when its count has everything that
    was sent until 250 ms before it: traffic does not stop, so no count ever has all that was sent.
    """
    found: list[float] = []
    with _processor(where, windows, environment=_SNAPSHOT_EACH_S) as (processor, counts):
        made, chosen = _Events(), random.Random(2)
        loaded = _send(where, [made.of(key) for key in range(series)], _LOAD_RATE).total
        counts.wait(loaded, processor, within_s=120)
        seconds = 60 * kills
        traffic = (made.of(chosen.randrange(series)) for _ in range(_BUSY_RATE * seconds))
        producer = Producer(where.port, traffic, _BUSY_RATE)
        sending = threading.Thread(target=producer.run)
        sending.start()
        try:
            for number in range(kills):
                _wait_up_to_date(counts, processor, producer, loaded, 0.0)
                # At another moment of the second between two snapshots each time, and never before there was one.
                time.sleep(4 + number / kills)
                killed_ms = time.time_ns() / 1e6
                processor.kill()
                gone_ms = _settled_ms(where)
                processor.start()
                found.append((_wait_up_to_date(counts, processor, producer, loaded, gone_ms) - killed_ms) / 1_000)
        finally:
            producer.stop()
            sending.join()
            producer.close()
    return found


def _wait_up_to_date(
    counts: LiveCounts, processor: Processor, producer: Producer, loaded: int, after_ms: float
) -> float:
    """When the first live update after that moment came that was up to date, epoch ms."""
    looked = len(counts.seen)
    found: list[float] = []

    def probe() -> bool:
        nonlocal looked
        counts.read()
        for at_ms, counted in counts.seen[looked:]:
            if at_ms > after_ms and counted >= loaded + producer.sent_by(at_ms - _FRESH_MS):
                found.append(at_ms)
        looked = len(counts.seen)
        return bool(found)

    counts.until(probe, processor, "a count that is up to date", 55, 0.05)
    return found[0]


def _settled_ms(where: Place) -> float:
    """Now, when the server has done with what the dead process had sent it; epoch ms by its clock."""
    client = where.client()
    client.ping()
    told: Any = client.time()
    seconds, micros = told
    return float(seconds * 1_000 + micros / 1_000)


@contextmanager
def _processor(
    where: Place,
    windows: tuple[str, ...],
    command_line: tuple[str, ...] = ("streamgauge",),
    environment: dict[str, str] | None = None,
) -> Iterator[tuple[Processor, LiveCounts]]:
    client = where.client()
    client.delete(STREAM)
    where.clear((STREAM,))
    text = _CATALOG.format(stream=STREAM, windows=json.dumps(windows))
    made = Processor(where, f"series-{next(_names)}", text, command=command_line, environment=environment)
    with made as processor:
        counts = LiveCounts(client, (STREAM,))
        counts.wait_ready(processor)
        yield processor, counts
    client.delete(STREAM)


def _send(where: Place, commands: list[bytes], rate: int) -> Producer:
    producer = Producer(where.port, commands, rate)
    producer.run()
    producer.close()
    return producer
