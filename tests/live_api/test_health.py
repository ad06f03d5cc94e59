from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from live_api import feed
from sinks.live import LIVE_STREAM, LiveSink
from sinks.store import Store
from stream.walltime import clock_ms
from tests.ports import free_port
from tests.servers import ValkeyServer
from tests.stack import eventually

from .conftest import CATALOG, Api, Processor, point

Start = Callable[..., Api]


def test_the_process_answers_whatever_is_behind_it(start: Start) -> None:
    api = start(valkey_url=f"valkey://127.0.0.1:{free_port()}")
    assert api.get("/healthz") == {"status": "ok", "http": 200}


def test_not_ready_without_valkey_and_says_so(start: Start) -> None:
    api = start(valkey_url=f"valkey://127.0.0.1:{free_port()}")
    eventually(lambda: api.get("/readyz")["system"]["state"] == "valkey_down")
    eventually(lambda: not any("store" in reason for reason in api.get("/readyz")["reasons"]))
    answer = api.get("/readyz")
    assert (answer["http"], answer["status"]) == (503, "not ready")
    assert answer["reasons"] == ["the live stream has not been read to its end yet", "Valkey is out of reach"]
    assert answer["system"]["state"] == "valkey_down"


def test_ready_once_the_processor_was_heard(
    start: Start, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor.client.delete(LIVE_STREAM)
    api = start()
    eventually(lambda: api.get("/readyz")["reasons"] == ["the processor has not been heard of for 5 s"])
    processor.say(point(1, watermark_ms=17))
    eventually(lambda: api.get("/readyz")["http"] == 200)
    answer = api.get("/readyz")
    assert (answer["status"], answer["reasons"]) == ("ready", [])
    assert answer["system"]["watermark_ms"] == 17
    monkeypatch.setattr(feed, "SILENT_AFTER_MS", 0)
    assert api.get("/readyz")["http"] == 503


def test_not_ready_while_a_stream_of_the_catalog_is_not_read(start: Start, processor: Processor) -> None:
    """A processor with a catalog of another time, or whose thread for it is cut off."""
    catalog = CATALOG.replace("[platform]", '[platform]\nstreams = ["events:{0}", "events:{1}"]')
    api = start(catalog=catalog)
    eventually(lambda: api.get("/readyz")["reasons"] == ["the stream events:{1} has not been read for 5 s"])
    assert api.get("/readyz")["http"] == 503


def test_other_platforms_on_the_server_are_not_ours(start: Start, processor: Processor) -> None:
    other = LiveSink(processor.client, platform="Another")
    other.write([point(7)], {"events:{1}": {"at_ms": clock_ms()}}, now_ms=clock_ms())
    processor.say(point(1))
    api = start().caught_up()
    assert list(api.get("/readyz")["system"]["streams"]) == ["events:{0}"]
    with api.live("metric:revenue") as client:
        client.until(lambda c: c.series)
        assert [value for series in client.series.values() for value, *_ in series.values()] == [1]


def test_not_ready_while_valkey_is_gone_and_ready_when_it_is_back(start: Start, tmp_path: Path) -> None:
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey", persist=True)
    server.start()
    try:
        Processor(server.client()).say()
        api = start(valkey_url=server.connection_url)
        eventually(lambda: api.get("/readyz")["http"] == 200)
        server.terminate()
        eventually(lambda: "Valkey is out of reach" in api.get("/readyz")["reasons"], within_s=3)
        assert api.get("/healthz")["http"] == 200
        server.start()
        processor = Processor(server.client())

        def ready() -> bool:
            processor.say()
            return bool(api.get("/readyz")["http"] == 200)

        eventually(ready, within_s=10)
    finally:
        server.terminate()


def test_not_ready_until_the_store_was_read_and_then_what_is_quiet_is_told(
    start: Start, processor: Processor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_LONGEST_RECALL_BACKOFF_S", 0.5)
    place = tmp_path / "later" / "points.db"
    api = start(store_url=f"sqlite:///{place}").caught_up()
    with api.live("metric:revenue") as client:

        def reasons() -> list[str]:
            processor.say()  # else its silence is one, too, where this takes long
            found: list[str] = api.get("/readyz")["reasons"]
            return found

        # At first it has not answered, which does not say where it is.
        eventually(lambda: str(place) in reasons()[0])
        (reason,) = reasons()
        assert reason.startswith("the store has not been read yet: ")
        assert str(place) in reason
        place.parent.mkdir()
        store = Store(f"sqlite:///{place}")
        store.setup()
        store.write([point(7)])
        store.close()
        client.until(lambda c: c.total("revenue@1m") == 7)

    def ready() -> bool:
        processor.say()
        return bool(api.get("/readyz")["http"] == 200)

    eventually(ready)


def test_a_store_that_somebody_writes_to_is_read(start: Start, processor: Processor, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/points.db")
    store.setup()
    store.write([point(7)])
    store.close()
    with closing(sqlite3.connect(tmp_path / "points.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        api = start().caught_up()
        with api.live("metric:revenue") as client:
            client.until(lambda c: c.total("revenue@1m") == 7, within_s=1)
