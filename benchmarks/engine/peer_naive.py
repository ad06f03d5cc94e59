"""A contender: Bytewax as its tutorial has it. `python -m benchmarks.engine.peer_naive URL STREAM COUNT`.

One item an event: parse, key by country, count in windows of 10 s. No recovery, and nothing is written.
"""

from __future__ import annotations

import operator
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import orjson
import valkey
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from benchmarks.engine.turn import say


class _Read(StatelessSourcePartition[bytes]):
    def __init__(self, url: str, stream: str, count: int, begun: list[float]) -> None:
        self._client = valkey.Valkey.from_url(url)
        self._client.ping()
        self._stream = stream
        self._left = count
        self._last: Any = b"0"
        self._begun = begun

    def next_batch(self) -> list[bytes]:
        if not self._begun:
            self._begun.append(time.perf_counter())
        if self._left <= 0:
            raise StopIteration
        reply: Any = self._client.xread({self._stream: self._last}, count=1_000)
        entries = reply[0][1][: self._left]
        self._left -= len(entries)
        self._last = entries[-1][0]
        return [fields[b"data"] for _, fields in entries]


class _Source(DynamicSource[bytes]):
    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Read:
        return _Read(*self._arguments)


class _Sum(StatelessSinkPartition[Any]):
    def __init__(self, counts: list[int]) -> None:
        self._counts = counts

    def write_batch(self, items: list[Any]) -> None:
        self._counts.extend(count for _, (_, count) in items)


class _Sink(DynamicSink[Any]):
    def __init__(self, counts: list[int]) -> None:
        self._counts = counts

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Sum:
        return _Sum(self._counts)


def main(url: str, stream: str, count: int) -> None:
    begun: list[float] = []
    counts: list[int] = []
    clock: EventClock[Any] = EventClock(
        lambda event: datetime.fromtimestamp(event["time"] / 1_000, UTC), wait_for_system_duration=timedelta(seconds=5)
    )
    windower = TumblingWindower(length=timedelta(seconds=10), align_to=datetime(2026, 1, 1, tzinfo=UTC))
    flow = Dataflow("naive")
    raw = op.input("source", flow, _Source(url, stream, count, begun))
    events = op.map("decode", raw, orjson.loads)
    keyed = op.key_on("country", events, operator.itemgetter("country"))
    counted = fold_window("count", keyed, clock, windower, int, lambda so_far, _: so_far + 1, operator.add)
    op.output("out", counted.down, _Sink(counts))
    cli_main(flow)
    took = time.perf_counter() - begun[0]
    assert sum(counts) == count, f"expected {count} events, counted {sum(counts)}"
    say(count, took)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
