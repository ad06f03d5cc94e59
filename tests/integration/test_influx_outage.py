"""InfluxDB goes away for long and is killed, and so is the processor: every final point is there afterwards, once.

`INFLUX_OUTAGE_S` makes the outage longer: 300 is what an operator would call one.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from sinks.records import Point, State
from sinks.spool_places import left_bytes
from stream.catalog import parse
from tests.engines import Influx1, influx1
from tests.oracle import batch_points, differences_to
from tests.stack import Stack, eventually, stack, stop

OUTAGE_S = float(os.environ.get("INFLUX_OUTAGE_S", "15"))
_AROUND_S = 4.0
"""How long there is load before the outage, and after it."""
_EVENTS_PER_S = 300
_SPEED = 90
"""Seconds of event time in one of ours, so that hours end too."""
_START_MS = 1_761_400_800_000
_LATE_MS = 20 * 60_000
_CLOSING_MS = (7_200_000, 72 * 3_600_000)

CATALOG = """
[platform]
name = "Outage"
streams = ["events:{0}", "events:{1}"]

[event]
time = "time"
id = "id"
allowed_lateness = "90m"

[influx]
open = true

[[metric]]
name = "orders"
measure = "count"
where = "kind <> 'closing'"
by = ["kind"]
windows = ["10s", "1m", "1h", "day"]

[[metric]]
name = "takings"
measure = "sum"
value = "price"
where = "kind <> 'closing'"
by = ["kind", "country"]
windows = ["1m", "1h", "day"]

[[metric]]
name = "dearest"
measure = "max"
value = "price"
where = "kind <> 'closing'"
windows = ["10s", "1h"]

[[metric]]
name = "price"
measure = "quantile"
value = "price"
where = "kind <> 'closing'"
by = ["country"]
windows = ["1m", "1h"]
"""
_STREAMS = ("events:{0}", "events:{1}")


class _Load(threading.Thread):
    """Events at a steady pace until it is told to end; some are late by minutes, and correct what was final."""

    def __init__(self, made: Stack) -> None:
        super().__init__(name="load")
        self._client = made.client
        self._choose = random.Random(8)
        self._ended = threading.Event()
        self.sent: list[dict[str, Any]] = []

    def run(self) -> None:
        began_s = time.monotonic()
        while not self._ended.wait(0.1):
            due = int((time.monotonic() - began_s) * _EVENTS_PER_S)
            self.add([self._event(number) for number in range(len(self.sent), due)])

    def end(self) -> None:
        self._ended.set()
        self.join()

    def add(self, events: list[dict[str, Any]]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for event in events:
            pipe.xadd(_STREAMS[int(event["id"]) % 2], {"data": orjson.dumps(event)})
        pipe.execute()
        self.sent += events

    def close_windows(self) -> None:
        last_ms = max(event["time"] for event in self.sent)
        for after_ms in _CLOSING_MS:
            number = len(self.sent)
            self.add([{"id": str(number + i), "kind": "closing", "time": last_ms + after_ms} for i in range(2)])
            time.sleep(1.0)

    def _event(self, number: int) -> dict[str, Any]:
        choose = self._choose
        at_ms = _START_MS + int(number / _EVENTS_PER_S * _SPEED * 1_000)
        if choose.random() < 0.02:
            at_ms = max(_START_MS, at_ms - choose.randrange(_LATE_MS))
        return {
            "id": str(number),
            "time": at_ms,
            "kind": choose.choice(("book", "pen", "lamp, with shade")),
            "country": choose.choice(("DE", "FR", "NO")),
            "price": choose.randrange(1, 10_000) / 4,
        }


def _stored(engine: Influx1, databases: dict[str, str]) -> Iterator[Point]:
    """Every point in the database, each with the window that its database is for."""
    catalog = parse(CATALOG)
    for tier, database in databases.items():
        for metric in catalog.metric:
            for row in engine.rows(database, f"SELECT * FROM {metric.name} GROUP BY *"):
                assert tier == {"1h": "HOURLY", "day": "DAILY"}.get(row["window"], ""), row
                values = {f"p{q * 100:g}": row.get(f"p{q * 100:g}") for q in metric.quantiles}
                yield Point(
                    metric.name,
                    row["window"],
                    row["time"],
                    tuple((name, row[name]) for name in metric.by),
                    values if metric.measure == "quantile" else row["value"],  # type: ignore[arg-type]
                    row["count"],
                    State.FINAL if row["final"] else State.OPEN,
                    row["revision"],
                    0,
                )


def _await_spooling(directory: Path) -> None:
    """Wait until the processor runs and counts, which takes it some seconds on a busy machine."""
    before = _spooled(directory)
    eventually(lambda: _spooled(directory) > before, within_s=90, what="more to wait for the engine")


def _spooled(directory: Path) -> int:
    return sum(left_bytes(spools) for spools in directory.glob("state/*/influx"))


def _kill_processor(made: Stack) -> None:
    made.processes["run"].kill()
    made.processes["run"].wait()
    made.run_processor()


def test_no_final_point_is_lost_over_an_outage_and_kills(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG)
    with influx1(tmp_path / "engine") as engine:
        databases = {tier: engine.new_database() for tier in ("", "HOURLY", "DAILY")}
        settings = {f"INFLUX_BUCKET_{tier}".rstrip("_"): name for tier, name in databases.items()}
        with stack(tmp_path, path, environment={"INFLUX_URL": engine.url, **settings}) as made:
            made.run_processor()
            load = _Load(made)
            load.start()
            try:
                eventually(lambda: list(_stored(engine, databases)), within_s=90, what="the first points")
                time.sleep(_AROUND_S)
                engine.engine.kill()
                for _ in range(2):
                    time.sleep(OUTAGE_S / 3)
                    _await_spooling(tmp_path)
                    _kill_processor(made)
                time.sleep(OUTAGE_S / 3)
                _await_spooling(tmp_path)
                engine.engine.start()
                time.sleep(_AROUND_S / 2)
                engine.engine.kill()
                time.sleep(1.0)
                engine.engine.start()
                time.sleep(_AROUND_S / 2)
            finally:
                load.end()
            load.close_windows()

            expected = batch_points(parse(CATALOG), load.sent)
            found: list[Point] = []

            def wrong() -> list[str]:
                found[:] = _stored(engine, databases)
                settled = [point for point in found if point.state is not State.OPEN]
                return differences_to(parse(CATALOG), expected, settled)

            def right() -> bool:
                return not wrong()

            try:
                eventually(right, within_s=120, what="every point")
            except AssertionError:
                differences = wrong()
                raise AssertionError(
                    f"{len(differences)} of {len(expected)}: {differences[:10]}\n{made.logs()}"
                ) from None
            # InfluxDB has one point for a series and time at the most: as many as expected is each of them once.
            assert len(found) == len(expected) > 500
            assert stop(made.processes["run"]) == 0
            assert "for the next start" not in made.logs()
            assert "nothing is lost" in made.logs()
            assert not list(tmp_path.glob("state/*/influx/**/*.corrupt"))
            print(f"{len(load.sent)} events, {len(expected)} final points")
