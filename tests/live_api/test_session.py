"""Who is let in, what ends a connection, and servers that are not ours; over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from live_api import hub, transport
from live_api.admission import Limits, Origins
from live_api.feed import Feed
from live_api.protocol import MESSAGE_BURST, Close
from tests.patience import Stopwatch
from tests.stack import eventually

from .conftest import Api, Processor, Stalled, point
from .test_hub import answer, closed, many

Start = Callable[..., Api]


def counted(api: Api, name: str, **labels: str) -> float:
    return api.hub.meters.registry.get_sample_value(f"streamgauge_hub_{name}", labels) or 0.0


def test_more_than_there_may_be_are_told_to_come_back(start: Start, processor: Processor) -> None:
    api = start(limits=Limits(clients=3)).caught_up()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(api.live("metric:revenue"))
        with api.connect() as fourth:
            code, _ = closed(fourth)
            assert code == Close.FULL
    eventually(lambda: len(api.hub) == 0)
    with api.live("metric:revenue"):
        pass
    assert counted(api, "refused_clients_total", reason="full") == 1


def test_one_address_does_not_take_all_places(start: Start, processor: Processor) -> None:
    api = start(limits=Limits(clients_per_address=1)).caught_up()
    with api.live("metric:revenue"):
        with api.connect() as second:
            code, _ = closed(second)
            assert code == Close.FULL
        # A proxy on this machine says who it is for.
        with api.connect(additional_headers={"X-Forwarded-For": "203.0.113.7"}) as other:
            other.send('{"op":"hello","topics":[]}')
            assert json.loads(other.recv(timeout=20))["op"] == "welcome"


def test_too_many_at_once_are_refused_before_they_cost_anything(start: Start, processor: Processor) -> None:
    api = start(limits=Limits(accepts_per_s=0.01)).caught_up()
    with pytest.raises(InvalidStatus) as caught, connect(f"ws://127.0.0.1:{api.port}/v1/ws"):
        pass
    assert caught.value.response.status_code == 503
    assert caught.value.response.headers["retry-after"] == "1"
    assert counted(api, "refused_clients_total", reason="rate") == 1


def test_pages_of_other_origins_are_refused_and_counted(start: Start, processor: Processor) -> None:
    api = start(origins=Origins(["https://wall.example"], loopback=True)).caught_up()
    url = f"ws://127.0.0.1:{api.port}/v1/ws"
    with pytest.raises(InvalidStatus) as caught, connect(url, origin="https://evil.example"):  # type: ignore[arg-type]
        pass
    assert caught.value.response.status_code == 403
    assert counted(api, "refused_clients_total", reason="origin") == 1
    with connect(url, origin="https://wall.example"):  # type: ignore[arg-type]
        pass


def test_ten_thousand_subscriptions_end_one_connection_and_disturb_nobody(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with api.live("metric:revenue") as other, api.live() as greedy:
        with contextlib.suppress(ConnectionClosed):
            for number in range(10_000):
                topics = [f"metric:orders{{country={number}}}"]
                greedy._socket.send(json.dumps({"op": "subscribe", "id": number, "topics": topics}))
        code, said = closed(greedy._socket)
        assert code == Close.TOO_MANY_MESSAGES
        assert sum(message["op"] == "ok" for message in said) <= 128
        assert sum(message["op"] in ("ok", "error") for message in said) <= MESSAGE_BURST + 40
        other.receive()
        processor.say(point(4))
        other.until(lambda c: c.total("revenue@1m") == 4)
    with api.live() as greedy:
        topics = [f"metric:orders{{country={number}}}" for number in range(10_000)]
        greedy._socket.send(json.dumps({"op": "subscribe", "topics": topics}))
        assert closed(greedy._socket)[0] == 1009


def test_a_megabyte_ends_the_connection(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with api.live() as client:
        client._socket.send("x" * 1_000_000)
        assert closed(client._socket)[0] == 1009


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        # No mask; a reserved bit; an opcode that is none; a text that is no UTF-8; a control frame in pieces.
        (b"\x81\x05hello", 1002),
        (b"\xc1\x85\0\0\0\0hello", 1002),
        (b"\x83\x85\0\0\0\0hello", 1002),
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007),
        (b"\x09\x80\0\0\0\0", 1002),
    ],
)
def test_frames_that_are_none_end_the_connection_that_sent_them(
    start: Start, processor: Processor, sent: bytes, code: int
) -> None:
    api = start().caught_up()
    one = Stalled(api.port, "metric:revenue")
    with api.live("metric:revenue") as other:
        one.socket.settimeout(5)
        one.socket.sendall(sent)
        received = b""
        while chunk := one.socket.recv(65_536):
            received += chunk
        # The last frame says why.
        at = received.rindex(b"\x88")
        assert int.from_bytes(received[at + 2 : at + 4], "big") == code
        other.receive()
        processor.say(point(4))
        other.until(lambda c: c.total("revenue@1m") == 4)
    one.close()
    eventually(lambda: len(api.hub) == 0)


def test_bytes_at_random_before_and_after_the_handshake_harm_nobody(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with api.live("metric:revenue") as other:
        other.receive()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", api.port), timeout=5) as raw:
                raw.sendall(os.urandom(500))
            one = Stalled(api.port, "metric:revenue")
            one.socket.sendall(os.urandom(500))
            one.close()
        processor.say(point(4))
        other.until(lambda c: c.total("revenue@1m") == 4)
    eventually(lambda: len(api.hub) == 0)


def test_a_client_that_never_reads_is_cut(
    start: Start, processor: Processor, stall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "STALLED_AFTER_S", 0.5)
    processor.say_all(many())
    api = start(tick_ms=50).caught_up()
    one: Stalled = stall(api, "metric:orders")
    eventually(lambda: len(api.hub) == 1)
    watch = Stopwatch()
    eventually(lambda: len(api.hub) == 0, within_s=5)
    assert watch.passed_s > 0.3
    assert watch.worked_s < 3
    assert counted(api, "evicted_clients_total", reason="stalled") == 1
    one.socket.settimeout(5)
    with pytest.raises(ConnectionResetError):
        one.socket.makefile("rb").read()


def test_a_client_that_never_reads_and_says_goodbye_holds_no_file(
    start: Start, processor: Processor, stall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_CLOSE_WITHIN_S", 0.3)
    processor.say_all(many())
    api = start(tick_ms=50).caught_up()
    before = len(os.listdir("/proc/self/fd"))
    ways = (b"\x88\x82\0\0\0\0\x03\xe8", b"\xff\xff\xff\xff")
    for number in range(10):
        one: Stalled = stall(api, "metric:orders")
        eventually(lambda number=number: counted(api, "joined_clients_total", first="snapshot") == number + 1)
        one.socket.sendall(ways[number % 2])
    eventually(lambda: len(api.hub) == 0)
    # The test's own ends are still open; the server's are not.
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 10, within_s=5)


def test_who_says_nothing_at_all_is_let_go(start: Start, processor: Processor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "REQUEST_WITHIN_S", 0.4)
    api = start().caught_up()
    address = ("127.0.0.1", api.port)
    with socket.create_connection(address, timeout=5) as silent, socket.create_connection(address, timeout=5) as half:
        half.sendall(b"GET /v1/ws HTTP/1.1\r\nHo")
        with api.live("metric:revenue") as client:
            for one in (silent, half):
                with pytest.raises(ConnectionResetError):
                    one.recv(1)
            time.sleep(0.5)
            processor.say(point(4))
            client.until(lambda c: c.total("revenue@1m") == 4)


def test_a_flood_of_pings_ends_the_connection(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    one = Stalled(api.port)
    ping = b"\x89\xfd" + bytes(4) + b"p" * 125
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        one.socket.sendall(ping * 200_000)
    one.close()
    assert api.get("/healthz")["http"] == 200


def test_a_half_open_connection_is_cut(
    start: Start, processor: Processor, stall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a cable was pulled: nothing comes back, and what little is sent the kernel takes."""
    monkeypatch.setattr(hub, "PING_EVERY_S", 0.3)
    api = start(tick_ms=50).caught_up()
    stall(api, "metric:revenue")
    with api.live("metric:revenue") as client:
        eventually(lambda: counted(api, "evicted_clients_total", reason="silent") == 1, within_s=5)
        time.sleep(1)
        # Who answers is not cut.
        processor.say(point(9))
        client.until(lambda c: c.total("revenue@1m") == 9)
    assert counted(api, "evicted_clients_total", reason="silent") == 1


def test_under_another_server_it_is_plain_asgi(start: Start, processor: Processor, stall: Any) -> None:
    processor.say(point(1))
    api = start(plain=True, tick_ms=50, heartbeat_s=0.4).caught_up()
    with api.live("metric:revenue") as client:
        assert client.receive()["op"] == "snapshot"
        for value in range(2, 12):
            processor.say(point(value, revision=value))
            client.until(lambda c, value=value: c.total("revenue@1m") == value)
        assert answer(client._socket, {"op": "subscribe", "id": 1, "topics": ["metric:orders"]})["op"] == "ok"
        assert answer(client._socket, "{")["code"] == "bad_json"
        client.until(lambda c: c.frames[-1]["op"] == "heartbeat")
    eventually(lambda: len(api.hub) == 0)
    with api.live("metric:revenue") as client:
        client.receive()
        api.server.should_exit = True
        code, said = closed(client._socket)
        assert (code, said[-1]["op"]) == (Close.RESTARTING, "bye")


@pytest.mark.parametrize("plain", [False, True])
def test_a_fault_of_ours_is_told_and_logged_and_ends_no_other_line(
    start: Start,
    processor: Processor,
    plain: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    processor.say(point(1))
    api = start(plain=plain).caught_up()
    with api.live("metric:revenue") as other, api.live("metric:revenue") as client:
        other.receive()

        def obey(*_: object) -> None:
            raise RuntimeError("dictionary changed size during iteration")

        with monkeypatch.context() as patched:
            patched.setattr(api.hub, "obey", obey)
            client._socket.send('{"op":"unsubscribe","topics":[]}')
            assert closed(client._socket)[0] == Close.FAULT
        processor.say(point(2, revision=2))
        other.until(lambda c: c.total("revenue@1m") == 2)
    [record] = [record for record in caplog.records if record.exc_info]
    assert "dictionary changed size" in str(record.exc_info)
    assert counted(api, "evicted_clients_total", reason="fault") == 1
    eventually(lambda: len(api.hub) == 0)


def test_a_stalled_client_of_another_server_delays_nobody_and_is_let_go(
    start: Start, processor: Processor, stall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "STALLED_AFTER_S", 0.5)
    processor.say_all(many())
    api = start(plain=True, tick_ms=50).caught_up()
    stall(api, "metric:orders")
    eventually(lambda: len(api.hub) == 1)
    with api.live("metric:revenue") as client:
        client.receive()
        for value in range(1, 6):
            watch = Stopwatch()
            # The server takes one message more than it can send; only the next one waits.
            processor.say(point(value), point(value, metric="orders", country="0"))
            client.until(lambda c, value=value: c.total("revenue@1m") == value)
            assert watch.worked_s < 1
        eventually(lambda: len(api.hub) == 1, within_s=5)
    assert counted(api, "evicted_clients_total", reason="stalled") == 1


def test_pages_are_told_to_reload_by_a_word_on_the_live_stream(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    from stream.walltime import clock_ms

    with api.live("metric:revenue") as client:
        processor._sink.reload(1_500, now_ms=clock_ms())
        client.until(lambda c: c.frames[-1] == {"op": "reload", "within_ms": 1_500})


def test_seqs_are_the_same_in_every_process_and_after_a_restart(start: Start, processor: Processor) -> None:
    processor.say(point(1), point(5, metric="orders", country="US"))
    one, other = start().caught_up(), start().caught_up()
    assert one.hub.epoch == other.hub.epoch
    with one.live("metric:*") as client:
        heard = client.receive()["seq"]
    processor.say(point(2, revision=2))
    third = start().caught_up()
    for api in (other, third):
        eventually(lambda api=api: api.hub.latest.values("revenue", "1m")[()].value == 2)
        with api.live("metric:*", resume=f"{one.hub.epoch}:{heard}") as client:
            assert client.frames[0]["resumed"] is True
            update = client.receive()
            assert update["op"] == "update"
            assert {key: series["points"] for key, series in update["series"].items()} == {
                "revenue@1m": [[60_000, 2, 1, "open", 2]]
            }


def test_it_ends_though_its_parts_do_not_hear_of_that_at_once(
    start: Start, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Valkey's client, whose sending swallows a cancellation now and then."""
    parts = {name: getattr(Feed, name) for name in ("follow", "remember")}
    deaf: list[str] = []

    def deafened(name: str) -> Callable[[Feed], Any]:
        async def go_on(feed: Feed) -> None:
            try:
                await parts[name](feed)
            except asyncio.CancelledError:
                deaf.append(name)
                await parts[name](feed)

        return go_on

    for name in parts:
        monkeypatch.setattr(Feed, name, deafened(name))
    api = start().caught_up()
    processor.say(point(1))
    api.stop()
    assert sorted(deaf) == sorted(parts)


def test_who_comes_before_a_process_has_read_anything_resumes_too(
    start: Start, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor.say(point(1))
    with start().caught_up().live("metric:revenue") as client:
        client.until(lambda c: c.series)
        epoch = client.frames[0]["epoch"]
        seq = client.frames[-1]["seq"]
    follow = Feed.follow

    async def later(feed: Feed) -> None:
        await asyncio.sleep(0.5)
        await follow(feed)

    monkeypatch.setattr(Feed, "follow", later)
    with start().live("metric:revenue", resume=f"{epoch}:{seq}") as client:
        assert client.frames[0]["resumed"] is True
