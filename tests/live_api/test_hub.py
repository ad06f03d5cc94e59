from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from live_api import feed, latest, protocol, session
from sinks.live import FIELD, LIVE_STREAM
from sinks.records import State
from sinks.store import Store
from stream.walltime import clock_ms
from tests.patience import PATIENCE, Stopwatch
from tests.ports import free_port
from tests.servers import ValkeyServer
from tests.stack import Stack, eventually, live

from .conftest import CATALOG, Api, Processor, Stalled, point

Start = Callable[..., Api]


def answer(websocket: ClientConnection, message: Any, timeout_s: float = 5) -> dict[str, Any]:
    """What is answered to a message, past any frames."""
    websocket.send(message if isinstance(message, str | bytes) else json.dumps(message))
    while True:
        found: dict[str, Any] = json.loads(websocket.recv(timeout=timeout_s))
        if found["op"] in ("ok", "error"):
            return found


def closed(websocket: ClientConnection, within_s: float = 5) -> tuple[int | None, list[dict[str, Any]]]:
    """The code the server closes with, and what it said before."""
    said = []
    try:
        while True:
            said.append(json.loads(websocket.recv(timeout=within_s * PATIENCE)))
    except ConnectionClosed as error:
        return (error.rcvd.code if error.rcvd else None), said


BIG = 8_000


def many() -> list[Any]:
    """So many series that their snapshot, 5 MB, is more than any buffer on the way to a client takes."""
    return [point(metric="orders", country=f"{number}" + "x" * 250) for number in range(BIG)]


# What a client is told


def test_welcome_then_all_then_only_what_changed(start: Start, processor: Processor) -> None:
    processor.say(point(1), point(2, 120_000), point(7, metric="orders", country="US"))
    api = start().caught_up()
    with api.live("metric:*") as client:
        assert client.frames[0] == {
            "op": "welcome",
            "epoch": api.hub.epoch,
            "tick_ms": 50,
            "heartbeat_s": 5.0,
            "version": "1.2.3",
            "wall": api.hub._wall,
            "resumed": False,
        }
        snapshot = client.receive()
        assert snapshot["op"] == "snapshot"
        assert "system" not in snapshot
        assert abs(snapshot["t"] - clock_ms()) < 5_000
        assert snapshot["series"] == {
            "revenue@1m": {
                "metric": "revenue",
                "window": "1m",
                "dimensions": {},
                "points": [[60_000, 1, 1, "open", 1], [120_000, 2, 1, "open", 1]],
            },
            "orders@1m{country=US}": {
                "metric": "orders",
                "window": "1m",
                "dimensions": {"country": "US"},
                "points": [[60_000, 7, 1, "open", 1]],
            },
        }
        processor.say(point(5, 120_000, state=State.FINAL, revision=2, count=3))
        update = client.receive()
        assert update["op"] == "update"
        assert update["seq"] > snapshot["seq"]
        assert {key: series["points"] for key, series in update["series"].items()} == {
            "revenue@1m": [[120_000, 5, 3, "final", 2]]
        }


def test_topics_choose_what_is_told(start: Start, processor: Processor) -> None:
    processor.say(point(1), point(2, metric="orders", country="US"), point(3, metric="orders", country="a,b}=\\"))
    api = start().caught_up()
    with api.live("metric:orders@1m{country=a\\,b\\}\\=\\\\}") as odd, api.live("metric:orders*") as orders:
        assert list(odd.receive()["series"]) == ["orders@1m{country=a\\,b\\}\\=\\\\}"]
        assert len(orders.receive()["series"]) == 2


def test_a_client_without_topics_is_told_nothing_but_that_the_line_lives(start: Start, processor: Processor) -> None:
    api = start(heartbeat_s=0.3).caught_up()
    with api.live() as client:
        assert client.receive()["series"] == {}
        processor.say(point(1))
        assert client.receive()["op"] == "heartbeat"


def test_heartbeats_come_as_announced_when_nothing_moves(start: Start, processor: Processor) -> None:
    api = start(heartbeat_s=0.3).caught_up()
    with api.live("metric:revenue") as client:
        assert client.frames[0]["heartbeat_s"] == 0.3
        snapshot = client.receive()
        watch = Stopwatch()
        beats = [client.receive() for _ in range(4)]
        assert [beat["op"] for beat in beats] == ["heartbeat"] * 4
        assert {beat["seq"] for beat in beats} == {snapshot["seq"]}
        assert watch.passed_s > 0.9
        assert watch.worked_s < 3


def test_the_system_is_told_with_how_far_each_stream_was_read(start: Start, processor: Processor) -> None:
    rejects = {"metric": "streamgauge_rejects", "window": "total", "start_ms": 0}
    processor.say(
        point(3, count=3, reason="bot", **rejects),
        point(4, count=4, reason="too_late", **rejects),
        point(1, watermark_ms=55_000),
        point(1, metric="orders", country="US", watermark_ms=1 << 62),
    )
    api = start().caught_up()
    with api.live("system") as client:
        client.until(lambda c: c.system.get("state") == "live")
        system = client.system
        assert system["rejects"] == {"bot": 3, "too_late": 4}
        assert system["rejected_total"] == 7
        assert system["watermark_ms"] == 55_000
        stream = system["streams"]["events:{0}"]
        assert stream["caught_up"] is True
        assert [stream[name] for name in ("lag", "gaps", "lost", "lost_exact")] == [12, 2, 345, False]
        assert abs(system["processor_seen_ms"] - clock_ms()) < 5_000


def test_the_system_is_not_repeated_when_it_has_not_changed(start: Start, processor: Processor) -> None:
    api = start(tick_ms=20).caught_up()
    with api.live("system", "metric:revenue") as client:
        client.until(lambda c: c.system.get("state") == "live")
        before = len(client.frames)
        for number in range(40):
            # Another metric moves; nothing this client asked for does.
            processor.say(point(number, metric="orders", country="US"))
            time.sleep(0.025)
        client.until(lambda c: c.frames[-1]["t"] >= clock_ms() - 40, within_s=5)
        # The system changes once a second.
        assert len(client.frames) - before <= 5


def test_an_update_arrives_within_a_quarter_of_a_second(start: Start, processor: Processor) -> None:
    api = start(tick_ms=100).caught_up()
    with api.live("metric:revenue") as client:
        client.receive()
        took = []
        for number in range(1, 8):
            watch = Stopwatch()
            processor.say(point(number))
            client.until(lambda c, number=number: c.total("revenue@1m") == number)
            took.append(watch.worked_s)
            time.sleep(0.03 * number)
        assert statistics.median(took) < 0.25, took


# What a client may say


def test_subscribe_and_unsubscribe(start: Start, processor: Processor) -> None:
    processor.say(point(1), point(2, metric="orders", country="US"))
    api = start().caught_up()
    with api.live("metric:revenue") as client:
        websocket = client._socket
        assert set(client.receive()["series"]) == {"revenue@1m"}
        websocket.send('{"op":"subscribe","id":3,"topics":["metric:orders@1m{country=US}"]}')
        assert client.receive() == {"op": "ok", "id": 3}
        assert set(client.receive()["series"]) == {"revenue@1m", "orders@1m{country=US}"}
        websocket.send('{"op":"unsubscribe","id":"four","topics":["metric:revenue"]}')
        assert client.receive() == {"op": "ok", "id": "four"}
        processor.say(point(9), point(8, metric="orders", country="US"))
        assert set(client.receive()["series"]) == {"orders@1m{country=US}"}


def test_what_cannot_be_obeyed_is_answered_and_the_connection_stays(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with api.live("metric:revenue") as client:
        websocket = client._socket
        assert answer(websocket, {"op": "shout", "id": 1}) == {
            "op": "error",
            "id": 1,
            "code": "unknown_op",
            "message": "expected op hello, subscribe, unsubscribe or refresh; found 'shout'",
        }
        assert answer(websocket, {"op": "subscribe", "id": 2, "topics": ["weather"]})["code"] == "unknown_topic"
        for garbage in ("", "{", "null", "[]", b"\x00\xff\xfe", "x" * 16_000):
            assert answer(websocket, garbage)["code"] == "bad_json"
        processor.say(point(4))
        client.until(lambda c: c.total("revenue@1m") == 4)


def test_topics_are_limited_over_all_messages_of_a_client(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with api.live(*(f"metric:orders{{country=m{number}}}" for number in range(100))) as client:
        more = [f"metric:orders{{country=n{number}}}" for number in range(29)]
        refused = answer(client._socket, {"op": "subscribe", "id": 5, "topics": more})
        assert refused["code"] == "too_many_topics"
        assert answer(client._socket, {"op": "subscribe", "id": 6, "topics": more[1:]}) == {"op": "ok", "id": 6}
        # The answer says which request it is about.
        assert refused.get("id") == 5


def test_answers_do_not_wait_for_something_to_change(start: Start, processor: Processor) -> None:
    api = start(tick_ms=50).caught_up()
    with api.live("metric:revenue") as client:
        client.receive()
        took = []
        for number in range(5):
            time.sleep(0.13)
            watch = Stopwatch()
            assert answer(client._socket, {"op": "subscribe", "id": number, "topics": [f"metric:sizes{{a={number}}}"]})
            took.append(watch.worked_s)
        assert statistics.median(took) < 0.25, took


def test_a_client_that_asks_much_at_once_and_reads_is_answered(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with api.live("metric:revenue") as client:
        client.receive()
        for number in range(150):
            client._socket.send(json.dumps({"op": "subscribe", "id": number, "topics": ["metric:orders"]}))
        answered: list[int] = []
        while len(answered) < 150:
            message = client.receive()
            answered += [message["id"]] if message["op"] == "ok" else []
        assert answered == list(range(150))


def test_a_message_of_more_than_16_kb_ends_the_connection(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with api.live("metric:revenue") as client, api.live("metric:revenue") as other:
        client._socket.send("x" * 16_385)
        assert closed(client._socket)[0] == 1009
        other.receive()
        processor.say(point(4))
        other.until(lambda c: c.total("revenue@1m") == 4)


def test_hello_comes_first(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with api.connect() as websocket:
        refused = answer(websocket, {"op": "subscribe", "id": 1, "topics": ["system"]})
        assert (refused["code"], refused["id"]) == ("hello_first", 1)
        assert answer(websocket, "garbage")["code"] == "bad_json"
        assert answer(websocket, {"op": "hello", "topics": ["nothing"]})["code"] == "unknown_topic"
        websocket.send('{"op":"hello","topics":["metric:revenue"]}')
        assert json.loads(websocket.recv(timeout=20))["op"] == "welcome"


def test_who_says_no_hello_is_closed(start: Start, processor: Processor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "HELLO_WITHIN_S", 0.3)
    api = start().caught_up()
    with api.connect() as silent, api.connect() as babbling:
        babbling.send("{")
        assert closed(silent)[0] == protocol.Close.HELLO_TIMEOUT
        code, said = closed(babbling)
        assert code == protocol.Close.HELLO_TIMEOUT
        assert [message["op"] for message in said] == ["error"]


# Coming back


def test_resume_goes_on_where_the_client_was(start: Start, processor: Processor) -> None:
    processor.say(point(1), point(1, metric="orders", country="US"))
    api = start().caught_up()
    with api.live("metric:*") as client:
        heard = client.receive()
    processor.say(point(2, revision=2))
    processor.say(point(3, revision=3))
    with api.live("metric:*", resume=f"{api.hub.epoch}:{heard['seq']}") as client:
        update = client.receive()
        assert update["op"] == "update"
        client.until(lambda c: c.total("revenue@1m") == 3)
        assert set(client.series) == {"revenue@1m"}
    with api.live("metric:*", resume=f"{api.hub.epoch}:{client.frames[-1]['seq']}") as client:
        processor.say(point(4, revision=4))
        assert client.receive()["op"] == "update"


@pytest.mark.parametrize("resume", ["another:{seq}", "{epoch}:999999999", "{epoch}", "{epoch}:x", "{epoch}:-1"])
def test_a_resume_that_fits_nothing_gets_a_snapshot(start: Start, processor: Processor, resume: str) -> None:
    processor.say(point(1))
    api = start().caught_up()
    with api.live("metric:*") as client:
        seq = client.receive()["seq"]
    with api.live("metric:*", resume=resume.format(epoch=api.hub.epoch, seq=seq)) as client:
        snapshot = client.receive()
        assert (snapshot["op"], set(snapshot["series"])) == ("snapshot", {"revenue@1m"})


def test_a_resume_from_too_long_ago_gets_a_snapshot(
    start: Start, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latest, "RING_MS", 1)
    processor.say(point(1))
    api = start().caught_up()
    with api.live("metric:*") as client:
        seq = client.receive()["seq"]
        for minute in range(2, 12):
            processor.say(point(1, minute * 60_000))
            time.sleep(0.005)
        client.until(lambda c: 11 * 60_000 in c.series["revenue@1m"])
    with api.live("metric:*", resume=f"{api.hub.epoch}:{seq}") as client:
        assert client.receive()["op"] == "snapshot"
        assert len(client.series["revenue@1m"]) == 8


def test_quiet_series_are_shown_after_a_restart(start: Start, processor: Processor, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/points.db")
    store.setup()
    store.write(
        [
            point(5, 60_000, metric="orders", country="quiet", state=State.FINAL, revision=3),
            point(6, 120_000, metric="orders", country="both", state=State.FINAL, revision=2),
            point(7, 60_000, metric="removed"),
        ]
    )
    store.close()
    processor.say(
        point(9, 120_000, metric="orders", country="both", revision=1), point(8, metric="orders", country="moving")
    )
    api = start().caught_up()
    with api.live("metric:*") as client:
        client.receive()
        orders = {key: next(iter(points.values())) for key, points in client.series.items()}
        assert orders == {
            "orders@1m{country=quiet}": (5, 1, "final", 3),
            # What the live stream still says of a settled window does not unsettle it.
            "orders@1m{country=both}": (6, 1, "final", 2),
            "orders@1m{country=moving}": (8, 1, "open", 1),
        }


def test_the_wall_shows_the_store_while_valkey_is_away_from_the_start(start: Start, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/points.db"
    store = Store(url)
    store.setup()
    store.write([point(5, metric="orders", country="quiet", state=State.FINAL)])
    store.close()
    api = start(valkey_url=f"valkey://127.0.0.1:{free_port()}", store_url=url)
    with api.live("metric:*", "system") as client:
        client.until(lambda c: c.system.get("state") == "valkey_down")
        client.until(lambda c: "orders@1m{country=quiet}" in c.series, within_s=3)


# The parts behind the hub


@pytest.fixture
def own_server(tmp_path: Path) -> Any:
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey", persist=True, appendonly="yes")
    server.start()
    yield server
    if server._process is not None:
        server.stop()


def test_valkey_goes_and_comes_back_and_no_client_notices_more_than_the_state(
    start: Start, own_server: ValkeyServer
) -> None:
    processor = Processor(own_server.client())
    processor.say(point(1))
    api = start(valkey_url=own_server.connection_url).caught_up()
    with api.live("system", "metric:revenue") as client:
        client.until(lambda c: c.system.get("state") == "live")
        own_server.terminate()
        watch = Stopwatch()
        client.until(lambda c: c.system["state"] == "valkey_down")
        assert watch.worked_s < 2
        assert client.total("revenue@1m") == 1
        own_server.start()
        processor = Processor(own_server.client())
        processor.say(point(2, revision=2))
        client.until(lambda c: c.system["state"] == "live" and c.total("revenue@1m") == 2)
        assert "bye" not in {frame["op"] for frame in client.frames}
        assert api.get("/readyz")["http"] == 200


def test_a_valkey_that_lost_everything_is_read_from_its_new_beginning(start: Start, own_server: ValkeyServer) -> None:
    client = own_server.client()
    # Ids of a server whose clock was ahead: those to come are all before it.
    client.xadd(LIVE_STREAM, {FIELD: b'{"t":1}'}, id=f"{clock_ms() + 3_600_000}-0")
    api = start(valkey_url=own_server.connection_url).caught_up()
    with api.live("system", "metric:revenue") as wall:
        client.flushall()
        own_server.terminate()
        own_server.start()
        Processor(own_server.client()).say(point(3))
        wall.until(lambda c: c.total("revenue@1m") == 3)


def test_a_processor_that_says_nothing_is_called_silent(
    start: Start, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SILENT_AFTER_MS", 400)
    api = start().caught_up()
    with api.live("system") as client:
        processor.say()
        client.until(lambda c: c.system.get("state") == "live")
        client.until(lambda c: c.system["state"] == "processor_silent", within_s=3)
        processor.say()
        client.until(lambda c: c.system["state"] == "live", within_s=3)


def test_a_word_from_long_ago_does_not_count(start: Start, processor: Processor) -> None:
    processor.client.flushall()
    processor.say(point(1), at_ms=clock_ms() - 60_000)
    api = start().caught_up()
    with api.live("system") as client:
        client.until(lambda c: c.system.get("state") == "processor_silent")


NOT_OURS = (
    b"",
    b"null",
    b"{}",
    b'{"t":"soon"}',
    b'{"t":1,"status":[1]}',
    b'{"t":1,"status":{"events:{0}":3}}',
    b'{"t":1,"points":[["revenue"]]}',
    b'{"t":1,"points":[["revenue","1m",[],[],1,1,"open",1,0]]}',
    b'{"t":1,"points":[["revenue","1m","soon",[],1,1,"open",1,0]]}',
    b'{"t":1,"points":[["revenue","1m",0,[],1,1,"open",1,null]]}',
    b'{"t":1,"points":[["revenue","1m",0,[["a",1]],1,1,"open",1,0]]}',
    b'{"t":1,"points":[[["revenue"],"1m",0,[],1,1,"open",1,0]]}',
)


def test_entries_that_are_not_ours_stop_nothing(start: Start, processor: Processor) -> None:
    for entry in NOT_OURS:
        processor.client.xadd(LIVE_STREAM, {FIELD: entry})
    processor.client.xadd(LIVE_STREAM, {b"other": b"field"})
    processor.say(point(6, 120_000))
    api = start()
    with api.live("system", "metric:*") as client:
        client.until(lambda c: c.series.get("revenue@1m", {}).get(120_000), within_s=3)
        client.until(lambda c: c.system.get("state") == "live", within_s=3)


# Clients that do not read, and the end


def test_a_client_that_never_reads_delays_no_other(start: Start, processor: Processor, stall: Any) -> None:
    processor.say_all(many())
    api = start(tick_ms=50).caught_up()
    with api.live("metric:revenue") as client:
        client.receive()
        for _ in range(5):
            stall(api, "metric:orders")
        time.sleep(0.5)
        took = []
        for number in range(1, 11):
            watch = Stopwatch()
            processor.say(point(number))
            client.until(lambda c, number=number: c.total("revenue@1m") == number)
            took.append(watch.worked_s)
        assert statistics.median(took) < 0.25, took


def test_a_client_that_stalled_gets_one_frame_that_makes_it_whole(
    start: Start, processor: Processor, stall: Any
) -> None:
    processor.say_all(many())
    api = start(tick_ms=50).caught_up()
    one: Stalled = stall(api, "metric:orders", "metric:revenue")
    with api.live("metric:revenue") as client:
        for number in range(1, 21):
            processor.say(point(number))
            client.until(lambda c, number=number: c.total("revenue@1m") == number)
    messages = _messages(one, until=lambda body: body.get("series", {}).get("revenue@1m", {"points": [[0, 0]]}))
    assert [body["op"] for body in messages[:2]] == ["welcome", "snapshot"]
    # Not the twenty it missed.
    assert len(messages) <= 6
    assert messages[-1]["series"]["revenue@1m"]["points"][0][1] == 20


def _messages(one: Stalled, until: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    """Read frames from a raw socket until one has revenue 20."""
    one.socket.settimeout(10)
    stream = one.socket.makefile("rb")
    messages: list[dict[str, Any]] = []
    while True:
        first, length = stream.read(2)
        if length >= 126:
            length = int.from_bytes(stream.read(2 if length == 126 else 8), "big")
        payload = stream.read(length)
        if first & 0x0F != 1:
            continue
        messages.append(orjson.loads(payload))
        if until(messages[-1])["points"][0][1] == 20:
            return messages


def test_goodbye_to_every_client(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with api.live("metric:revenue") as one, api.live("system") as other, api.connect() as unnamed:
        api.server.should_exit = True
        for websocket in (one._socket, other._socket, unnamed):
            code, said = closed(websocket)
            assert code == protocol.Close.RESTARTING
            assert said[-1]["op"] == "bye"
            assert 0 < said[-1]["retry_in_ms"] <= 10_000
    api.thread.join(5)
    assert not api.thread.is_alive()


def test_clients_that_do_not_read_keep_nobody_from_a_goodbye_nor_the_process_from_its_end(
    processor: Processor, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """With the real command, as it is the process that must end."""
    processor.say_all(many())
    catalog = tmp_path / "shop.toml"
    catalog.write_text(CATALOG)
    environment = {"VALKEY_URL": valkey_server.connection_url, "PYTHONPATH": os.pathsep.join(sys.path)}
    made = Stack(tmp_path, catalog, valkey_server, environment, free_port())
    process = made.run_api()
    stalled: list[Stalled] = []
    try:
        eventually(lambda: not any("end" in reason for reason in made.get("/readyz")["reasons"]))
        with ExitStack() as stack:
            clients = [stack.enter_context(live(made, "metric:revenue")) for _ in range(8)]
            stalled += [Stalled(made.api_port, "metric:orders") for _ in range(20)]
            for client in clients:
                client.until(lambda c: c.frames and c.frames[-1]["op"] == "snapshot")
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            watch = Stopwatch()
            said = [closed(client._socket, within_s=10) for client in clients]
        assert process.wait(30) == 0, made.logs()
        assert watch.worked_s < 10
        assert [code for code, _ in said] == [protocol.Close.RESTARTING] * 8
        assert ["bye" in {message["op"] for message in messages} for _, messages in said] == [True] * 8
        assert "Traceback" not in made.logs(), made.logs()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for client in stalled:
            client.close()


def test_a_hundred_clients_are_all_told(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    with ExitStack() as stack:
        topics = ["metric:*", "metric:revenue"]
        clients = [stack.enter_context(api.live(topics[number % 2])) for number in range(100)]
        processor.say(point(11))
        for client in clients:
            client.until(lambda c: c.total("revenue@1m") == 11)
    eventually(lambda: not len(api.hub), what="forgetting clients that left")
