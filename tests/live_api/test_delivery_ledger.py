from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import valkey
from valkey.asyncio import Valkey

from live_api.delivery import ledger as delivery_ledger
from live_api.delivery.ledger import LeaseLost, Ledger, Taken, drop_others, trim
from live_api.delivery.queue import Waiting
from sinks.outbox import Outbox
from tests.alerts import notification
from tests.servers import ValkeyServer

OUTBOX = "streamgauge:outbox:shop"


Ask = Callable[[Callable[[Valkey], Awaitable[Any]]], Any]


@pytest.fixture
def ask(valkey_server: ValkeyServer, valkey_client: valkey.Valkey) -> Ask:
    def run(question: Callable[[Valkey], Awaitable[Any]]) -> Any:
        async def ask() -> Any:
            client = Valkey.from_url(valkey_server.connection_url)
            try:
                return await question(client)
            finally:
                await client.aclose()

        return asyncio.run(ask())

    return run


def waiting(taken: Taken) -> Waiting:
    assert taken.notification is not None
    return Waiting(taken.entry, taken.notification, 1, 2, attempts=3)


def outbox(client: valkey.Valkey, *endpoints: str, told: int = 3) -> None:
    made = Outbox(client, OUTBOX, endpoints)
    made.setup()
    made.write([notification("g", number) for number in range(told)])


def test_one_whose_lease_is_over_changes_nothing_and_the_next_finds_all(ask: Ask, valkey_client: valkey.Valkey) -> None:
    outbox(valkey_client, "ops")

    async def question(client: Valkey) -> None:
        late, next_one = Ledger(client, OUTBOX, "ops", "late"), Ledger(client, OUTBOX, "ops", "next")
        assert await late.acquire(150)
        assert not await next_one.acquire(150)
        taken = await late.fresh(10)
        await late.keep([waiting(taken[0])])
        await asyncio.sleep(0.25)
        assert await next_one.acquire(60_000)
        before = sorted(await client.keys()), await client.xpending(OUTBOX, "webhook:ops")
        for change in (
            late.finish(waiting(taken[0]), 5),
            late.finish(waiting(taken[0]), 5, dead="x"),
            late.keep([waiting(taken[1])]),
            late.skip([taken[2].entry]),
            late.set_state(disabled_ms=1),
            late.renew(60_000),
        ):
            with pytest.raises(LeaseLost, match="webhook ops: another process"):
                await change
        await late.release()
        assert (sorted(await client.keys()), await client.xpending(OUTBOX, "webhook:ops")) == before
        assert not await late.acquire(60_000)
        found = [one async for page in next_one.backlog() for one in page]
        assert found == taken
        tries = await next_one.tries([one.entry for one in found])
        assert tries == {taken[0].entry: {"attempts": 3, "next_ms": 2, "first_ms": 1, "sent": 0}}

    ask(question)


def test_what_the_slowest_endpoint_still_needs_is_not_trimmed(ask: Ask, valkey_client: valkey.Valkey) -> None:
    outbox(valkey_client, "fast", "slow")

    async def question(client: Valkey) -> None:
        fast, slow = Ledger(client, OUTBOX, "fast", "a"), Ledger(client, OUTBOX, "slow", "b")
        assert await fast.acquire(60_000)
        assert await slow.acquire(60_000)
        for taken in await fast.fresh(10):
            await fast.finish(waiting(taken), 5)
        assert await trim(client, OUTBOX) == 0
        first, second, third = await slow.fresh(10)
        await slow.finish(waiting(second), 5)
        # The second is done with, but the first is not, and what is read again must be there.
        assert await trim(client, OUTBOX) == 0
        await slow.finish(waiting(first), 5)
        assert await trim(client, OUTBOX) == 2
        await slow.skip([third.entry])
        assert await trim(client, OUTBOX) == 1
        assert await drop_others(client, OUTBOX, ["fast"]) == {"slow": 0}
        assert await drop_others(client, OUTBOX, ["fast"]) == {}

    ask(question)


def test_what_is_remembered_is_bounded(ask: Ask, valkey_client: valkey.Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_ledger, "REMEMBERED", 5)
    monkeypatch.setattr(delivery_ledger, "DEAD_LETTERS", 10)
    outbox(valkey_client, "ops", told=400)

    async def question(client: Valkey) -> None:
        ledger = Ledger(client, OUTBOX, "ops", "a")
        assert await ledger.acquire(60_000)
        ids = []
        while page := await ledger.fresh(1_000):
            for taken in page:
                assert taken.notification is not None
                ids.append(taken.notification.id)
                await ledger.finish(waiting(taken), len(ids), dead="x")
        assert len(ids) == 400
        assert await ledger.finished(ids) == set(ids[-5:])
        # Streams are cut a node of a hundred entries at a time.
        assert (await ledger.standing()).dead < 210
        assert await client.hlen(f"{OUTBOX}:webhook:ops:tries") == 0  # type: ignore[misc]

    ask(question)
