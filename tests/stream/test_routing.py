from __future__ import annotations

import subprocess
import sys

import orjson
import pytest

from stream.routing import shard_keys, worker_keys, worker_of

KEYS = [str(n) for n in range(40)] + ["", "kind", "kind,country", "é", "streamgauge|rejects", "x" * 100]
ENGINE = """
import os, sys
import orjson
import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main
from bytewax.testing import TestingSource

class Echo(StatefulBatchLogic):
    def on_batch(self, values):
        return values, True
    def snapshot(self):
        return b""

class Partition(StatelessSinkPartition):
    def __init__(self, worker):
        self.worker = worker
    def write_batch(self, keys):
        for key in keys:
            os.write(1, orjson.dumps([key, self.worker]) + b"\\n")

class Sink(DynamicSink):
    def build(self, step_id, worker, workers):
        return Partition(worker)

flow = Dataflow("routes")
keyed = op.input("in", flow, TestingSource([(key, key) for key in orjson.loads(sys.argv[2])]))
kept = op.stateful_batch("state", keyed, lambda _: Echo())
op.output("out", op.map("key", kept, lambda item: item[0]), Sink())
cli_main(flow, workers_per_process=int(sys.argv[1]))
"""


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_it_knows_where_the_engine_sends_a_key(workers: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENGINE, str(workers), orjson.dumps(KEYS)], capture_output=True, timeout=60, check=True
    )
    found = dict(orjson.loads(line) for line in done.stdout.splitlines() if line.startswith(b"["))
    assert found == {key: worker_of(key, workers) for key in KEYS}


def test_shards_are_spread_evenly_over_nearly_every_number_of_workers() -> None:
    keys = shard_keys(16)
    assert len(set(keys)) == 16
    for workers in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 16):
        assert [worker_of(key, workers) for key in keys] == [shard % workers for shard in range(16)]
    assert shard_keys(4) == keys[:4]


def test_a_single_shard_keeps_the_key_it_always_had() -> None:
    assert shard_keys(1) == ("0",)


@pytest.mark.parametrize("workers", range(1, 17))
def test_every_worker_can_be_reached(workers: int) -> None:
    assert [worker_of(key, workers) for key in worker_keys(workers)] == list(range(workers))
