"""One event's whole way: XADD, processor, live stream, hub, WebSocket frame, store, REST, tail."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import engines
from tests.stack import Stack, eventually, live, stack, stop

CATALOG = """
[platform]
name = "First light"
streams = ["events:{0}", "events:{1}"]

[event]
person = "user"
required = ["kind"]
dedupe_window = "off"

[[metric]]
name = "orders"
measure = "count"
by = ["kind"]
windows = ["1s", "1m", "1d"]

[[metric]]
name = "revenue"
measure = "sum"
value = "price * quantity"
where = "kind != 'test'"
windows = ["1m", "1d"]
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Stack]:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    with stack(tmp_path, catalog) as it:
        yield it
        print(it.logs())


def test_an_event_reaches_a_websocket_frame_and_the_store(made: Stack) -> None:
    made.run_processor()
    made.run_api()
    made.ready()
    with live(made, "metric:*", "system") as client:
        client.until(lambda c: "system" in c.frames[-1] if c.frames else False)
        made.client.xadd("events:{0}", {"kind": "book", "price": "2.5", "quantity": "4"})
        made.client.xadd("events:{1}", {"data": json.dumps({"kind": "book", "price": 5, "quantity": 2, "user": "ann"})})
        array = [{"kind": "pen", "price": 1, "quantity": 7}, {"kind": "test", "price": 1000, "quantity": 1}]
        made.client.xadd("events:{0}", {"batch": json.dumps(array)})

        client.until(lambda c: c.total("revenue@1d") == 27)
        client.until(lambda c: c.total("orders@1d{kind=book}") == 2)
        client.until(lambda c: c.total("orders@1m{kind=test}") == 1)
        # The second closes when the watermark passes it: by itself, as nothing more is sent.
        client.until(lambda c: {s for *_, s, _ in c.series.get("orders@1s{kind=pen}", {}).values()} == {"final"})
        assert client.system["state"] == "live"
    eventually(lambda: made.total("revenue") == 27, what="the store")
    assert {tuple(p["dimensions"].items()) for p in made.points("orders", "1d")} == {
        (("kind", "book"),),
        (("kind", "pen"),),
        (("kind", "test"),),
    }
    assert made.total("orders", kind="book") == 2
    assert stop(made.processes["run"]) == 0
    assert stop(made.processes["serve"]) == 0


def test_tail_prints_points_as_they_arrive(made: Stack) -> None:
    tail = subprocess.Popen(
        [sys.executable, "-m", "streamgauge", "tail", "revenue", "--json"],
        env=made.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # It begins at the end of the stream, so it must be listening before the event. Nobody else waits at Valkey yet.
        eventually(lambda: made.client.info("clients")["blocked_clients"], within_s=30, what="tail listens")
        made.run_processor()
        made.add("events:{0}", [{"kind": "book", "price": 3, "quantity": 3}])
        assert tail.stdout is not None
        # A busy processor may tell of the second only once it is over; the day is open whatever the load.
        points = (json.loads(line) for line in tail.stdout)
        day = next(point for point in points if point["window"] == "1d")
        assert (day["metric"], day["value"], day["state"]) == ("revenue", 9, "open")
        tail.send_signal(signal.SIGINT)
        assert tail.wait(30) == 0
    finally:
        tail.kill()
        tail.communicate()


def test_kill_minus_nine_and_a_restart_lose_and_double_nothing(made: Stack) -> None:
    processor = made.run_processor()
    made.run_api()
    now = datetime.now(UTC).isoformat()
    for round_ in range(4):
        made.add("events:{0}", [{"kind": "book", "price": 1, "quantity": 1, "time": now}] * 500)
        made.add("events:{1}", [{"kind": "pen", "price": 1, "quantity": 2, "time": now}] * 500)
        if round_ == 1:
            # Some of it is behind a snapshot by now, some is not.
            made.ready()
            eventually(lambda: made.total("orders") > 0)
            processor.kill()
            processor.wait()
            processor = made.run_processor()
        elif round_ == 2:
            made.ready()
            assert stop(processor) == 0
            processor = made.run_processor()
        time.sleep(0.7)
    eventually(lambda: made.total("orders") == 4_000, what="every order")
    eventually(lambda: made.total("revenue") == 6_000, what="all revenue")
    # A moment later it is still so.
    time.sleep(1.5)
    assert made.total("orders") == 4_000


def test_valkey_may_go_and_come_back(made: Stack) -> None:
    made.run_processor()
    made.run_api()
    made.ready()
    with live(made, "metric:orders@1d", "system") as client:
        made.add("events:{0}", [{"kind": "book", "price": 1, "quantity": 1}] * 10)
        client.until(lambda c: c.total("orders@1d{kind=book}") == 10)
        port = made.server.port
        made.server.stop()
        client.until(lambda c: c.system.get("state") == "valkey_down")
        assert made.get("/readyz")["http"] == 503
        made.server._desired_port = port
        made.server.start()
        made.add("events:{0}", [{"kind": "book", "price": 1, "quantity": 1}] * 5)
        client.until(lambda c: c.total("orders@1d{kind=book}") == 15, within_s=40)
        client.until(lambda c: c.system.get("state") == "live")
    assert made.processes["run"].poll() is None


def test_points_reach_a_real_engine_that_takes_influx_writes(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    with engines.victoria_metrics(tmp_path) as engine:
        url = {"INFLUX_URL": engine.url, "INFLUX_TOKEN": "t", "INFLUX_ORG": "o", "INFLUX_BUCKET": "b"}
        with stack(tmp_path, catalog, environment=url) as made:
            made.run_processor()
            made.add("events:{0}", [{"kind": "pen", "price": 2, "quantity": 2}] * 3)

            def written() -> bool:
                # Seconds are final as soon as the stream has been idle for a while.
                seconds = engine.series(__name__="orders_value", kind="pen", window="1s")
                return sum(sum(line["values"]) for line in seconds) == 3

            eventually(written, within_s=30, what="the write")
            assert stop(made.processes["run"]) == 0
