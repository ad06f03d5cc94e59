"""`serve` as processes: one port shared by several, ports of their own, limits, and an end that everybody hears of."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from sinks.live import LiveSink
from sinks.person_records import PersonLine
from sinks.person_store import PersonStore
from sinks.records import Point, State
from stream.enrich import Pseudonyms
from stream.walltime import clock_ms
from tests.patience import Stopwatch
from tests.ports import free_ports
from tests.servers import ValkeyServer
from tests.stack import Stack, eventually

CATALOG = """
[platform]
name = "Shop"

[[metric]]
name = "revenue"
measure = "sum"
value = "price"
windows = ["1m"]
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Stack]:
    catalog = tmp_path / "shop.toml"
    catalog.write_text(CATALOG)
    with ValkeyServer() as server:
        environment = {
            "VALKEY_URL": server.connection_url,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PATH": os.environ["PATH"],
            "STREAMGAUGE_API_METRICS_PORT": str(free_ports(3)),
        }
        found = Stack(tmp_path, catalog, server, environment, free_ports(3))
        yield found
        for process in found.processes.values():
            if process.poll() is None:
                process.terminate()
                process.wait(30)


def clients_of(made: Stack, number: int) -> float:
    port = int(made.environment["STREAMGAUGE_API_METRICS_PORT"]) + number
    text = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics", retries=False).data.decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "streamgauge_hub_clients"
    )


def listeners(port: int) -> int:
    """How many sockets of this machine listen on a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def say(made: Stack, value: float) -> None:
    point = Point("revenue", "1m", 60_000, (), value, 1, State.OPEN, 1, 0)
    LiveSink(made.client, platform="Shop").write([point], {}, now_ms=clock_ms())


def told(websocket: Any, value: float) -> None:
    while True:
        message = json.loads(websocket.recv(timeout=10))
        for series in message.get("series", {}).values():
            if any(point[1] == value for point in series["points"]):
                return


def test_several_share_one_port_and_all_tell_the_same(made: Stack) -> None:
    say(made, 1)
    process = made.start("serve", "serve", "-c", str(made.catalog), "--port", str(made.api_port), "--processes", "2")
    eventually(lambda: [clients_of(made, number) for number in (0, 1)] == [0, 0], within_s=30)
    # Metrics are there before anybody listens.
    eventually(lambda: listeners(made.api_port) == 2, within_s=30)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(f"ws://127.0.0.1:{made.api_port}/v1/ws")) for _ in range(40)]
        epochs = set()
        for client in clients:
            client.send('{"op":"hello","topics":["metric:revenue"]}')
            epochs.add(json.loads(client.recv(timeout=10))["epoch"])
        assert len(epochs) == 1
        say(made, 2)
        for client in clients:
            told(client, 2)
        # The kernel shares them out.
        shares = [clients_of(made, number) for number in (0, 1)]
        assert sum(shares) == 40
        assert min(shares) > 0, shares
        process.send_signal(signal.SIGTERM)
        watch = Stopwatch()
        for client in clients:
            with pytest.raises(ConnectionClosed) as caught:
                told(client, 3)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1012
    assert process.wait(30) == 0, made.logs()
    assert watch.worked_s < 10


def test_one_that_is_killed_is_started_again_and_its_clients_go_on(made: Stack) -> None:
    process = made.start(
        "serve", "serve", "-c", str(made.catalog), "-p", str(made.api_port), "--processes", "2", "--own-ports"
    )
    eventually(lambda: [clients_of(made, number) for number in (0, 1)] == [0, 0], within_s=30)
    # Metrics are there before anybody listens.
    eventually(lambda: [listeners(made.api_port + number) for number in (0, 1)] == [1, 1], within_s=30)
    say(made, 1)
    with connect(f"ws://127.0.0.1:{made.api_port + 1}/v1/ws") as client:
        client.send('{"op":"hello","topics":["metric:revenue"]}')
        epoch = json.loads(client.recv(timeout=10))["epoch"]
        seq = json.loads(client.recv(timeout=10))["seq"]
        listening = [int(pid) for pid in _children(process.pid) if "--number\x001" in _line(pid)]
        assert len(listening) == 1
        os.kill(listening[0], signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            told(client, 5)
    say(made, 2)

    def back() -> bool:
        with connect(f"ws://127.0.0.1:{made.api_port + 1}/v1/ws") as again:
            again.send(json.dumps({"op": "hello", "topics": ["metric:revenue"], "resume": f"{epoch}:{seq}"}))
            welcome = json.loads(again.recv(timeout=10))
            assert welcome["resumed"] is True
            told(again, 2)
            return True

    lost: list[str] = []
    assert eventually(lambda: _unless_refused(back, lost), within_s=20)
    assert process.poll() is None
    assert len(lost) < 2, f"{lost}\n{made.logs()}"


def _unless_refused(connects: Callable[[], bool], lost: list[str]) -> bool:
    """A process that goes while somebody connects leaves half an answer. A line that is lost is tried again, as by the
    wall, and noted."""
    try:
        return connects()
    except InvalidHandshake:
        return False
    except ConnectionClosed as error:
        lost.append(str(error))
        return False


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _line(pid: str) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_a_taken_port_is_named(made: Stack) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", made.api_port + 1))
        other.listen()
        done = made.command("serve", "-c", str(made.catalog), "-p", str(made.api_port), "-n", "2", "--own-ports")
    assert done.returncode == 1
    assert f"port {made.api_port + 1} on 127.0.0.1 is taken" in done.stderr


def test_everything_that_lets_strangers_in_is_announced(made: Stack) -> None:
    made.environment |= {"STREAMGAUGE_ORIGINS": "*", "STREAMGAUGE_HOST": "0.0.0.0", "STREAMGAUGE_ANONYMOUS": "viewer"}
    process = made.run_api()
    eventually(lambda: made.logs().count("INSECURE") >= 2, within_s=20)
    assert "LETS ANY PAGE THAT IS OPEN IN A BROWSER READ ALL NUMBERS" in made.logs()
    assert "MAY DO WHAT THE ROLE VIEWER MAY, WITHOUT A KEY" in made.logs()
    process.terminate()
    assert process.wait(30) == 0


@pytest.mark.parametrize("verb", [("serve",), ("serve", "-n", "2"), ("up",)])
def test_it_does_not_listen_openly_unless_somebody_said_for_whom(made: Stack, verb: tuple[str, ...]) -> None:
    done = made.command(*verb, "-c", str(made.catalog), "-p", str(made.api_port), "--host", "0.0.0.0")
    assert done.returncode == 78
    for way in ("streamgauge keys create", "STREAMGAUGE_OIDC_ISSUER", "STREAMGAUGE_ANONYMOUS=viewer"):
        assert way in done.stderr, done.stderr


def test_behind_an_address_of_others_it_is_not_open_either(made: Stack) -> None:
    made.environment |= {"STREAMGAUGE_PUBLIC_URL": "https://wall.example"}
    done = made.command("serve", "-c", str(made.catalog), "-p", str(made.api_port))
    assert done.returncode == 78
    assert "https://wall.example is reached by other machines" in done.stderr
    made.environment |= {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
    done = made.command("serve", "-c", str(made.catalog), "-p", str(made.api_port))
    assert done.returncode == 1, "it may be there in a moment"


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("STREAMGAUGE_OIDC_ISSUER", "login.example", "expected https://"),
        ("STREAMGAUGE_OIDC_ISSUER", "https://login.example", "needs STREAMGAUGE_OIDC_CLIENT_ID"),
        ("STREAMGAUGE_PUBLIC_URL", "wall.example", "expected https://"),
    ],
)
def test_settings_that_do_not_go_together_are_named(made: Stack, setting: str, value: str, said: str) -> None:
    made.environment |= {setting: value}
    done = made.command("serve", "-c", str(made.catalog), "-p", str(made.api_port))
    assert done.returncode == 78
    assert f"{setting}" in done.stderr
    assert said in done.stderr


def test_a_proxy_before_loopback_is_announced_while_nobody_needs_a_key(made: Stack) -> None:
    made.environment |= {"STREAMGAUGE_ORIGINS": "https://wall.example,http://localhost:5173"}
    process = made.run_api()
    eventually(lambda: "INSECURE: PAGES OF https://wall.example, AND WHOEVER" in made.logs(), within_s=20)
    process.terminate()
    assert process.wait(30) == 0


def test_keys_are_made_used_listed_and_revoked(made: Stack) -> None:
    made.environment |= {"STREAMGAUGE_HOST": "0.0.0.0"}
    catalog = str(made.catalog)
    for wrong in (["--role", "king"], ["--can", "fly"], [], ["--role", "viewer", "--row", "nothing=1"]):
        assert made.command("keys", "create", "wall", "-c", catalog, *wrong).returncode == 2, wrong
    done = made.command("keys", "create", "wall", "-c", catalog, "--role", "viewer", "--expires", "90d")
    assert done.returncode == 0, done.stderr
    text = done.stdout.strip()
    assert text not in done.stderr
    made.run_api()
    eventually(lambda: made.get("/healthz")["http"] == 200, within_s=30)
    bearer = {"Authorization": f"Bearer {text}"}

    def status(headers: dict[str, str]) -> int:
        return urllib3.request("GET", f"{made.api}/v1/metrics", headers=headers, retries=False, timeout=20).status

    assert (status({}), status(bearer), status({"X-Write-Key": text})) == (401, 200, 200)
    listed = made.command("keys", "list", "-c", catalog).stdout
    assert text[3:11] in listed
    assert "good until" in listed
    assert text not in listed
    assert made.command("keys", "revoke", text[3:11], "-c", catalog).returncode == 0
    eventually(lambda: status(bearer) == 401, within_s=6)
    assert "revoked" in made.command("keys", "list", "-c", catalog).stdout
    assert made.command("keys", "revoke", text[3:11], "-c", catalog).returncode == 1
    # There were keys, so that nobody gets in without one on loopback either.
    assert status({}) == 401


def test_pages_are_told_to_reload(made: Stack) -> None:
    made.run_api()
    eventually(lambda: made.get("/healthz")["http"] == 200, within_s=20)
    with connect(f"ws://127.0.0.1:{made.api_port}/v1/ws") as client:
        client.send('{"op":"hello","topics":[]}')
        assert json.loads(client.recv(timeout=10))["op"] == "welcome"
        done = made.command("reload", "-c", str(made.catalog), "--within", "2")
        assert done.returncode == 0, done.stderr
        assert "Shop" in done.stdout
        while (message := json.loads(client.recv(timeout=10)))["op"] != "reload":
            pass
        assert message["within_ms"] == 2_000


def serve_patched(made: Stack, patch: str) -> subprocess.Popen[bytes]:
    """`serve` in a process of its own, in which something has been changed."""
    program = (
        f"import asyncio, sys, time\n{patch}\nfrom streamgauge.cli import app\n"
        f"app(['serve', '-c', {str(made.catalog)!r}, '-p', '{made.api_port}'])"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env=made.environment, cwd=made.directory)
    made.processes["serve"] = process
    return process


_FAILS = """
from live_api.feed import Feed
async def run(self):
    await asyncio.sleep(0.2)
    raise RuntimeError("a mistake")
Feed.follow = run
"""
_HANGS = """
import live_api.app
live_api.app.HARD_LIMIT_S = 0.5
async def drain(*_):
    time.sleep(60)
live_api.app.ticker.drain = drain
"""


@pytest.mark.parametrize(
    ("patch", "asked", "status"),
    [("", True, 0), (_HANGS, True, 75), (_FAILS, False, 1), (_FAILS + _HANGS, False, 1)],
    ids=["as asked", "cut off", "failed", "failed and cut off"],
)
def test_the_status_says_how_it_ended(made: Stack, patch: str, asked: bool, status: int) -> None:
    process = serve_patched(made, patch)
    if asked:
        eventually(lambda: made.get("/healthz")["http"] == 200, within_s=30)
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == status


def test_a_person_is_found_by_their_id_once_the_processor_has_made_the_key(made: Stack) -> None:
    made.run_api()
    eventually(lambda: made.get("/healthz"), within_s=30)
    answer = made.get("/v1/persons/ada@example.org")
    assert answer["http"] == 503
    assert "key of the pseudonyms" in answer["detail"]

    made.run_processor()
    [key] = eventually(lambda: list(made.directory.glob("**/person.key")), within_s=30)
    eventually(lambda: made.get("/v1/persons/ada@example.org")["http"] == 404)
    name = Pseudonyms(key.read_text().strip().encode()).of("ada@example.org")
    store = PersonStore(f"sqlite:///{key.parent}/points.db")
    store.write([(PersonLine(name, "event", 1, clock_ms(), {"name": "came"}), False)])
    store.close()
    found = made.get("/v1/persons/ada@example.org")
    assert (found["http"], found["person"], len(found["timeline"])) == (200, name, 1)
    assert "example.org" not in (made.directory / "serve.log").read_text()
