from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey
from valkey.asyncio import Valkey

from live_api.delivery.ledger import Ledger
from live_api.delivery.queue import Waiting
from sinks.outbox import Outbox
from tests.alerts import notification
from tests.receiver import SECRET, Receiver, Reply, receiving
from tests.servers import ValkeyServer
from tests.streamgauge.conftest import CATALOG, Command

OUTBOX = "streamgauge:outbox:shop"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver(lambda _: Reply(200, body=b"well\x1b[31m done"))) as made:
        yield made


@pytest.fixture
def catalog(tmp_path: Path, receiver: Receiver) -> Path:
    path = tmp_path / "hooks.toml"
    keys = f'url = "{receiver.url}"\nsecret_env = "OPS_SECRET"\nallow_http = true\nallow_private = ["127.0.0.0/8"]\n'
    path.write_text(f'{CATALOG}\n[[webhook]]\nname = "ops"\n{keys}[[webhook]]\nname = "chat"\nurl_env = "CHAT_URL"\n')
    return path


def given_up(server: ValkeyServer, *numbers: int) -> None:
    """Notifications of one group that were given up, at the endpoint `ops`."""

    async def run() -> None:
        client = Valkey.from_url(server.connection_url)
        ledger = Ledger(client, OUTBOX, "ops", "test")
        assert await ledger.acquire(10_000)
        for taken in await ledger.fresh(10):
            assert taken.notification is not None
            waiting = Waiting(taken.entry, taken.notification, 0, 0)
            await ledger.finish(waiting, 1, dead="HTTP 500" if taken.notification.at_ms % 10 in numbers else None)
        await ledger.release()
        await client.aclose()

    asyncio.run(run())


def test_list_says_how_each_stands_without_its_secrets(
    verb: Command, catalog: Path, valkey_server: ValkeyServer, valkey_client: valkey.Valkey
) -> None:
    outbox = Outbox(valkey_client, OUTBOX, ["ops", "chat"])
    outbox.setup()
    outbox.write([notification("g", number) for number in range(3)])
    given_up(valkey_server, 1)
    done = verb("webhooks", "list", "-c", catalog, VALKEY_URL=valkey_server.connection_url)
    assert done.returncode == 0, done.stderr
    ops, chat = done.stdout.splitlines()
    assert ops.startswith("ops  generic  http://127.0.0.1:")
    assert "nobody delivers  waiting 0  dead 1  last nothing yet" in ops
    assert "of-secrecy" not in done.stdout
    assert chat.startswith("chat  generic  $CHAT_URL  nobody delivers  waiting 3  dead 0")
    done = verb("webhooks", "list", "--json", "-c", catalog, VALKEY_URL=valkey_server.connection_url)
    assert [json.loads(line)["dead"] for line in done.stdout.splitlines()] == [1, 0]
    done = verb("webhooks", "list", "--dead", "-c", catalog, VALKEY_URL=valkey_server.connection_url)
    assert notification("g", 1).id in done.stdout
    assert "HTTP 500" in done.stdout


def test_replay_puts_back_what_no_later_news_has_overtaken(
    verb: Command, catalog: Path, valkey_server: ValkeyServer, valkey_client: valkey.Valkey
) -> None:
    outbox = Outbox(valkey_client, OUTBOX, ["ops", "chat"])
    outbox.setup()
    outbox.write([notification("g", 1), notification("g", 2), notification("h", 1)])
    given_up(valkey_server, 1)
    url = {"VALKEY_URL": valkey_server.connection_url}
    done = verb("webhooks", "replay", "-c", catalog, "--endpoint", "ops", **url)
    assert done.stdout.splitlines()[0] == "put back: 1"
    assert "left, as later news of the same alert was delivered: 1" in done.stdout
    done = verb("webhooks", "replay", "-c", catalog, "--overtaken", notification("g", 1).id, **url)
    assert done.stdout == "put back: 1\n"
    done = verb("webhooks", "replay", "-c", catalog, "nothing", **url)
    assert (done.returncode, done.stderr) == (1, "no such dead letter: nothing\n")
    assert valkey_client.xlen(f"{OUTBOX}:webhook:ops:dead") == 0
    done = verb("webhooks", "replay", "-c", catalog, "-e", "none", **url)
    assert done.returncode == 2
    assert "expected one of ops, chat" in done.stderr


def test_test_sends_one_signed_message_and_says_what_came(verb: Command, catalog: Path, receiver: Receiver) -> None:
    done = verb("webhooks", "test", "ops", "-c", catalog, OPS_SECRET=SECRET)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"ops http://127.0.0.1:{receiver.port}: delivered, HTTP 200 in ")
    assert "well [31m done" in done.stdout
    [request] = receiver.requests
    assert receiver.wrong == []
    body: Any = request.body
    assert body["data"]["why"] == "a test message of streamgauge; nothing is wrong"
    receiver.reply = lambda _: Reply(500)
    assert verb("webhooks", "test", "ops", "-c", catalog, OPS_SECRET=SECRET).returncode == 1


def test_test_without_the_secret_says_which_variable(verb: Command, catalog: Path, receiver: Receiver) -> None:
    done = verb("webhooks", "test", "ops", "-c", catalog)
    assert done.returncode == 78
    assert done.stderr.startswith("webhook ops: OPS_SECRET: expected whsec_")
    assert receiver.requests == []


def test_check_lists_webhooks(verb: Command, catalog: Path) -> None:
    done = verb("check", catalog)
    assert "\n  webhook ops: generic, from info on\n  webhook chat: generic, from info on\n" in done.stdout


def test_enable_ends_that_it_is_off(
    verb: Command, catalog: Path, valkey_server: ValkeyServer, valkey_client: valkey.Valkey
) -> None:
    valkey_client.hset(f"{OUTBOX}:webhook:ops:state", mapping={"disabled_ms": "1", "why": '"it answered 410 Gone"'})
    url = {"VALKEY_URL": valkey_server.connection_url}
    assert "off since 1970-01-01" in verb("webhooks", "list", "-c", catalog, **url).stdout
    assert verb("webhooks", "enable", "ops", "-c", catalog, **url).stdout == "ops is on again\n"
    assert verb("webhooks", "enable", "ops", "-c", catalog, **url).stdout == "ops was not switched off\n"


def test_deliver_without_its_secrets_ends_with_a_status_that_says_so(
    verb: Command, catalog: Path, valkey_server: ValkeyServer
) -> None:
    done = verb("deliver", "-c", catalog, VALKEY_URL=valkey_server.connection_url)
    assert done.returncode == 78
    assert [line.split(": expected")[0] for line in done.stderr.splitlines()] == [
        "webhook ops: OPS_SECRET",
        "webhook chat: CHAT_URL",
    ]
