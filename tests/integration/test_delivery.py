"""Delivery under fault: receivers that misbehave, a deliverer that is killed, a writer that repeats itself."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import urllib3
import valkey

from sinks.alert_records import Change, Notification
from sinks.outbox import Outbox
from tests.alerts import notification
from tests.ports import free_port
from tests.receiver import SECRET, Receiver, Reply, Request, receiving
from tests.servers import ValkeyServer
from tests.stack import eventually
from tests.up import running_up

OUTBOX = "streamgauge:outbox:shop"
ROUNDS = 4
QUICK = {
    "delays_s": [0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
    "lease_beyond_s": 1.0,
    "first_probe_ms": 50,
    "longest_probe_ms": 200,
}
CATALOG = '[platform]\nname = "Shop"\n[[metric]]\nname = "edits"\nmeasure = "count"\n'


def webhook(name: str, receiver: Receiver, **keys: object) -> str:
    given = {
        "name": name,
        "url": receiver.url,
        "secret_env": "OPS_SECRET",
        "allow_http": True,
        "allow_private": ["127.0.0.0/8"],
        "timeout": "1s",
    } | keys
    given = {key: value for key, value in given.items() if value is not None}
    return "[[webhook]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in given.items())


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {json.dumps(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


class Deliverer:
    """The real command, which may be killed and started again."""

    def __init__(self, directory: Path, server: ValkeyServer, *webhooks: str, pace: dict[str, object]) -> None:
        self.directory = directory
        self.catalog = directory / "shop.toml"
        self.catalog.write_text(CATALOG + "".join(webhooks))
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("STREAMGAUGE_", "VALKEY_", "DATABASE_"))}
        self.environment = clean | {
            "VALKEY_URL": f"valkey://127.0.0.1:{server.port}/0",
            "STREAMGAUGE_STATE": str(directory / "state"),
            "STREAMGAUGE_DELIVER_METRICS_PORT": "off",
            "OPS_SECRET": SECRET,
            "HTTP_PROXY": "http://127.0.0.1:1",
            "http_proxy": "http://127.0.0.1:1",
        }
        self.pace = pace
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "streamgauge", "deliver", "-c", str(self.catalog)]
        with (self.directory / "deliver.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--pace", json.dumps(self.pace)], env=self.environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def verb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "streamgauge", "webhooks", *arguments, "-c", str(self.catalog)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=False)

    def said(self) -> str:
        return (self.directory / "deliver.log").read_text()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


Start = Callable[..., Deliverer]


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as made:
        yield made


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[valkey.Valkey]:
    made: valkey.Valkey = server.client(socket_timeout=10)
    made.flushall()
    yield made
    made.close()


@pytest.fixture
def deliverer(tmp_path: Path, server: ValkeyServer, client: valkey.Valkey) -> Iterator[Start]:
    made: list[Deliverer] = []

    def start(*webhooks: str, **pace: object) -> Deliverer:
        made.append(Deliverer(tmp_path, server, *webhooks, pace=QUICK | pace))
        return made[-1]

    yield start
    for one in made:
        one.end()


def episodes(groups: int, each: int) -> list[Notification]:
    """What is told of so many groups, in an order as a processor writes it: opened, repeated …, resolved."""
    told = []
    for number in range(each):
        change = Change.OPENED if number == 0 else Change.RESOLVED if number == each - 1 else Change.REPEATED
        told += [notification(f"g{group}", number, change) for group in range(groups)]
    return told


def in_order(told: Sequence[Notification], taken: Sequence[Request]) -> None:
    """Each notification once, and those of a group in the order in which they were told."""
    ids = [request.id for request in taken]
    assert sorted(ids) == sorted(one.id for one in told)
    for group in {one.group for one in told}:
        wanted = [one.id for one in told if one.group == group]
        assert [own for own in ids if own in set(wanted)] == wanted, group


def test_a_deliverer_killed_at_random_loses_nothing_and_keeps_order(deliverer: Start, client: valkey.Valkey) -> None:
    chance = random.Random(20)
    # One receiver misbehaves in every way it can; the other is slow now and then, and must not wait for the first.
    replies = [
        Reply(500),
        Reply(429, (("retry-after", "0"),)),
        Reply(503),
        Reply(302, (("location", "http://127.0.0.1:1/"),)),
        Reply(after_s=1.5),
        Reply(reset=True),
        Reply(200, after_s=0.1),
    ]
    bad = Receiver(lambda _: chance.choice(replies) if chance.random() < 0.35 else Reply())
    good = Receiver(lambda _: Reply(after_s=0.03 if chance.random() < 0.2 else 0.0))
    told = episodes(12, 10)
    with receiving(bad), receiving(good):
        deliver = deliverer(webhook("bad", bad), webhook("good", good, concurrency=2), delays_s=[0, *[0.1] * 60, 600])
        outbox = Outbox(client, OUTBOX, ["bad", "good"])
        outbox.setup()

        def write(first: int, last: int) -> None:
            """As a processor that was killed: it says again what it last said, and goes on."""
            at = max(0, first - chance.randrange(12))
            while at < last:
                some = told[at : min(last, at + chance.randrange(1, 9))]
                outbox.write(some)
                at += len(some)
                time.sleep(chance.random() * 0.1)

        share = len(told) // (ROUNDS + 1)
        for number in range(ROUNDS):
            process = deliver.start()
            # Until it has loaded there is nothing to be killed.
            eventually(lambda: deliver.said().count("webhook good: delivering") > number, within_s=60)  # noqa: B023
            writer = threading.Thread(target=write, args=(number * share, (number + 1) * share))
            writer.start()
            time.sleep(chance.uniform(0.05, 0.6))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            writer.join()
        # So that, however quick it was, there is something to go on with.
        write(ROUNDS * share, len(told))
        assert len(good.ids()) < len(told)
        process = deliver.start()
        eventually(lambda: len(bad.ids()) == len(good.ids()) == len(told), within_s=90)
        # A receiver has it a moment before the deliverer knows.
        eventually(lambda: all(client.xpending(OUTBOX, f"webhook:{one}")["pending"] == 0 for one in ("bad", "good")))
        process.terminate()
        assert process.wait(40) == 0
        assert bad.wrong == []
        assert good.wrong == []
        in_order(told, bad.taken)
        in_order(told, good.taken)
        assert deliver.verb("list").stdout.count("waiting 0  dead 0") == 2
        assert "of-secrecy" not in deliver.said()
        assert SECRET not in deliver.said()


def test_of_two_deliverers_one_is_at_work_and_the_other_goes_on_where_it_ended(
    deliverer: Start, client: valkey.Valkey
) -> None:
    slow = Receiver(lambda _: Reply(after_s=0.05))
    told = episodes(3, 12)
    with receiving(slow):
        # So long that none is sent twice because this machine stood still.
        deliver = deliverer(webhook("ops", slow, timeout="20s"), lease_beyond_s=20.0)
        outbox = Outbox(client, OUTBOX, ["ops"])
        outbox.setup()
        first, second = deliver.start(), deliver.start()
        eventually(lambda: "webhook ops: delivering" in deliver.said(), within_s=60)
        outbox.write(told[:18])
        eventually(lambda: len(slow.ids()) > 3, within_s=30)
        assert deliver.said().count("webhook ops: delivering") == 1
        # Whoever is at work is told to end, and the other, once it has loaded, takes over.
        for process in (first, second):
            process.terminate()
            outbox.write(told[18:] if process is first else told[-3:])
            if process is first:
                assert process.wait(30) == 0
                eventually(lambda: len(slow.ids()) == len(told), within_s=60)
        assert second.wait(30) == 0
        assert slow.wrong == []
        in_order(told, slow.taken)
        # Nothing was sent twice in an orderly change.
        assert len(slow.requests) == len(told)


def test_secrets_are_in_no_log_list_or_store(deliverer: Start, client: valkey.Valkey, tmp_path: Path) -> None:
    def echo(request: Request) -> Reply:
        """An endpoint that says what it was sent, and where."""
        return Reply(400, body=b"no: " + request.headers["x-token"].encode() + b" /hook/of-secrecy ?of-secrecy")

    with receiving(Receiver(echo)) as receiver:
        deliver = deliverer(
            webhook("ops", receiver, headers={"x-token": "OPS_TOKEN"}, url=None, url_env="OPS_URL"), delays_s=[0, 0.05]
        )
        deliver.environment |= {
            "OPS_TOKEN": "hunter2hunter2",
            "OPS_URL": receiver.url,
            "STREAMGAUGE_LOG_LEVEL": "DEBUG",
        }
        outbox = Outbox(client, OUTBOX, ["ops"])
        outbox.setup()
        process = deliver.start()
        outbox.write([notification("g")])
        eventually(lambda: "is given up" in deliver.said(), within_s=60)
        listed = (
            deliver.verb("list").stdout + deliver.verb("list", "--dead").stdout + deliver.verb("list", "--json").stdout
        )
        tried = deliver.verb("test", "ops")
        process.terminate()
        assert process.wait(30) == 0
    assert "dead 1" in listed
    assert tried.returncode == 1
    assert "HTTP 400" in tried.stdout
    keys = [key for key in client.scan_iter() if client.type(key) == b"hash"]
    kept = b"".join(repr(client.hgetall(key)).encode() for key in keys)
    store = b"".join(path.read_bytes() for path in (tmp_path / "state" / "shop").glob("points.db*"))
    assert b"deliveries" in store
    for text in (deliver.said(), listed, tried.stdout + tried.stderr, kept.decode(), store.decode("latin-1")):
        for secret in ("hunter2", "of-secrecy", SECRET, SECRET.removeprefix("whsec_")):
            assert secret not in text


def test_up_delivers_when_the_catalog_has_webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_SECRET", SECRET)
    with receiving() as receiver:
        catalog = tmp_path / "shop.toml"
        catalog.write_text(CATALOG + webhook("ops", receiver))
        with running_up(tmp_path, free_port(), "--catalog", str(catalog)) as up:
            up.ready()
            eventually(lambda: "webhook ops: delivering" in up.said, within_s=60)
            client = up.client()
            Outbox(client, OUTBOX, ["ops"]).write([notification()])
            client.close()
            eventually(lambda: receiver.ids() == [notification().id])
            url = f"http://127.0.0.1:{up.port}/v1/deliveries"

            def logged() -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = json.loads(urllib3.request("GET", url).data)["deliveries"]
                return found

            [delivery] = eventually(logged)
            up.process.terminate()
            assert up.process.wait(30) == 0
    assert receiver.wrong == []
    assert {name: delivery[name] for name in ("endpoint", "notification", "attempt", "outcome", "status", "error")} == {
        "endpoint": "ops",
        "notification": notification().id,
        "attempt": 1,
        "outcome": "delivered",
        "status": 200,
        "error": None,
    }
