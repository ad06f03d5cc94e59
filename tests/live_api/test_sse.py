"""The live line as Server-Sent Events, over the real server."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest

from live_api import hub
from live_api.admission import Limits, Origins
from tests.patience import Stopwatch
from tests.stack import eventually

from .conftest import Api, Processor, point

Start = Callable[..., Api]


class Events:
    """What an EventSource does: one event at a time, and the id of the last."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.last_id: str | None = None
        self.retry_ms: int | None = None

    def next(self) -> dict[str, Any] | None:
        """The next message; None at the end of the stream."""
        data: list[str] = []
        while True:
            line = self._response.readline().decode()
            if not line:
                return None
            if line == "\n":
                if data:
                    message: dict[str, Any] = json.loads("\n".join(data))
                    return message
                continue
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "data":
                data.append(value)
            elif name == "id":
                self.last_id = value
            elif name == "retry":
                self.retry_ms = int(value)

    def until(self, op: str) -> dict[str, Any]:
        while True:
            message = self.next()
            assert message is not None, f"ended before {op}"
            if message["op"] == op:
                return message


@contextmanager
def events(api: Api, *topics: str, headers: dict[str, str] | None = None, **query: str) -> Iterator[Events]:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    path = "/v1/live?" + urlencode([*(("topics", topic) for topic in topics), *query.items()])
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    try:
        yield Events(response)
    finally:
        connection.close()


@pytest.mark.parametrize("plain", [False, True])
def test_the_same_messages_and_going_on_with_the_last_event_id(start: Start, processor: Processor, plain: bool) -> None:
    processor.say(point(1), point(1, metric="orders", country="US"))
    api = start(plain=plain).caught_up()
    with events(api, "metric:revenue@1m", "system") as stream:
        welcome = stream.next()
        assert welcome is not None
        assert (welcome["op"], welcome["resumed"]) == ("welcome", False)
        assert stream.last_id is None
        snapshot = stream.until("snapshot")
        assert set(snapshot["series"]) == {"revenue@1m"}
        assert snapshot["system"]["state"] == "live"
        assert stream.last_id == f"{api.hub.epoch}:{snapshot['seq']}"
        processor.say(point(2, revision=2))
        while (update := stream.until("update")).get("series") is None:
            pass
        assert update["series"]["revenue@1m"]["points"] == [[60_000, 2, 1, "open", 2]]
        last = stream.last_id
    processor.say(point(3, revision=3))
    eventually(lambda: api.hub.latest.values("revenue", "1m")[()].value == 3)
    for how in ({"headers": {"Last-Event-ID": last}}, {"resume": last}):
        with events(api, "metric:revenue@1m", **how) as stream:  # type: ignore[arg-type]
            welcome = stream.next()
            assert welcome is not None
            assert welcome["resumed"] is True
            missed = stream.next()
            assert missed is not None
            assert missed["op"] == "update"
            assert missed["series"]["revenue@1m"]["points"] == [[60_000, 3, 1, "open", 3]]
    eventually(lambda: len(api.hub) == 0, what="forgetting clients that left")


def test_heartbeats_and_a_goodbye_that_says_when_to_come_back(start: Start, processor: Processor) -> None:
    api = start(heartbeat_s=0.3).caught_up()
    with events(api, "metric:revenue") as stream:
        assert stream.until("heartbeat")["seq"] >= 0
        api.server.should_exit = True
        bye = stream.until("bye")
        assert stream.retry_ms == bye["retry_in_ms"]
        assert stream.next() is None


def test_what_is_wrong_is_said(start: Start, processor: Processor) -> None:
    api = start(limits=Limits(clients=2)).caught_up()
    refused = api.request("/v1/live?topics=metric:nothing")
    assert (refused.status, json.loads(refused.data)["code"]) == (400, "unknown_topic")
    refused = api.request("/v1/live?" + urlencode([("topics", f"metric:orders{{country={n}}}") for n in range(200)]))
    assert (refused.status, json.loads(refused.data)["code"]) == (400, "too_many_topics")
    refused = api.request("/v1/live?topics=system", headers={"Origin": "https://evil.example"})
    assert refused.status == 403
    with events(api, "system"), events(api, "system"):
        assert api.request("/v1/live?topics=system").status == 503
    # Those who were refused left no place taken.
    eventually(lambda: len(api.hub) == 0)
    with events(api, "system"), events(api, "system"):
        pass


def test_a_listed_origin_may_read(start: Start, processor: Processor) -> None:
    api = start(origins=Origins(["https://wall.example"], loopback=True)).caught_up()
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    connection.request("GET", "/v1/live?topics=system", headers={"Origin": "https://wall.example"})
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["access-control-allow-origin"] == "https://wall.example"
    connection.close()


def test_a_reader_that_stalls_is_cut_and_delays_nobody(
    start: Start, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "STALLED_AFTER_S", 0.5)
    processor.say_all([point(metric="orders", country=f"{n}" + "x" * 250) for n in range(8_000)])
    api = start(tick_ms=50).caught_up()
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        silent.settimeout(10)
        silent.connect(("127.0.0.1", api.port))
        silent.sendall(b"GET /v1/live?topics=metric:orders HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        eventually(lambda: len(api.hub) == 1)
        with api.live("metric:revenue") as client:
            for number in range(1, 8):
                watch = Stopwatch()
                processor.say(point(number))
                client.until(lambda c, number=number: c.total("revenue@1m") == number)
                assert watch.worked_s < 1
                time.sleep(0.1)
            eventually(lambda: len(api.hub) == 1, what="cutting the one that stalls")
        cut = api.hub.meters.registry.get_sample_value("streamgauge_hub_evicted_clients_total", {"reason": "stalled"})
        assert cut == 1
        with pytest.raises(ConnectionResetError):
            silent.makefile("rb").read()
