"""Couriers over a real Valkey and real receivers, in a thread of this process."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import orjson
import pytest
import valkey
from prometheus_client import generate_latest
from valkey.asyncio import Valkey

from live_api.delivery.delivering import deliver
from live_api.delivery.endpoints import Endpoint
from live_api.delivery.ledger import DeadNotification, Ledger, Standing, trim
from live_api.delivery.meters import DeliveryMeters
from live_api.delivery.retries import Schedule
from live_api.delivery.signing import SigningKey
from live_api.delivery.webhooks import Pace
from sinks.alert_records import Change, Severity
from sinks.deliveries import Deliveries, Delivery, Outcome
from sinks.errors import Misconfigured
from sinks.outbox import Outbox
from sinks.store import Store
from tests.alerts import notification
from tests.receiver import SECRET, Receiver, Reply, Request, receiving
from tests.servers import ValkeyServer
from tests.stack import eventually

OUTBOX = "streamgauge:outbox:shop"


def pace(*delays_s: float, **options: Any) -> Pace:
    given: dict[str, Any] = {"lease_beyond_s": 1.0, "first_probe_ms": 50, "longest_probe_ms": 200, "stop_within_s": 1.0}
    return Pace(Schedule(delays_s or (0, 0.1, 0.1, 0.1, 0.1, 0.1, 60.0)), **given | options)


def endpoint(receiver: Receiver, name: str = "ops", **options: Any) -> Endpoint:
    given: dict[str, Any] = {
        "keys": (SigningKey.parse(SECRET),),
        "timeout_s": 1.0,
        "allowed": (ipaddress.ip_network("127.0.0.0/8"),),
    }
    return Endpoint(name, options.pop("form", "generic"), receiver.url, **given | options)


class Running:
    """A process that delivers, as a thread."""

    def __init__(self, url: str, store: str, endpoints: tuple[Endpoint, ...], own: Pace) -> None:
        self.meters = DeliveryMeters()
        self._url, self._store, self._endpoints, self._pace = url, store, endpoints, own
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(30)

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        client, log = Valkey.from_url(self._url, socket_timeout=5), Deliveries(self._store)
        store = Store(self._store)
        try:
            await deliver(
                self._endpoints,
                client=client,
                outbox=OUTBOX,
                store=log,
                prepare=store.setup,
                meters=self.meters,
                stopping=self._stopping,
                pace=self._pace,
            )
        finally:
            await client.aclose()
            log.close()
            store.close()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(30)
        assert not self._thread.is_alive()

    def metric(self, name: str) -> float:
        lines = generate_latest(self.meters.registry).decode().splitlines()
        found = [line for line in lines if line.startswith(f"streamgauge_deliver_{name}")]
        return float(found[0].rpartition(" ")[2]) if found else -1.0


class Desk:
    """The outbox, and everybody who delivers from it."""

    def __init__(self, server: ValkeyServer, client: valkey.Valkey, directory: Path) -> None:
        self.client = client
        self.url = server.connection_url
        self.store = f"sqlite:///{directory}/points.db"
        made = Store(self.store)
        made.setup()
        made.close()
        self.running: list[Running] = []

    def start(self, *endpoints: Endpoint, own: Pace | None = None) -> Running:
        self.outbox = Outbox(self.client, OUTBOX, [one.name for one in endpoints])
        self.outbox.setup()
        self.running.append(Running(self.url, self.store, endpoints, own or pace()))
        return self.running[-1]

    def log(self, endpoint: str = "ops") -> list[Delivery]:
        """Oldest first."""
        log = Deliveries(self.store)
        try:
            return list(reversed(log.read(endpoint)))
        finally:
            log.close()

    def ask(self, question: Callable[[Ledger], Any], endpoint: str = "ops") -> Any:
        async def run() -> Any:
            client = Valkey.from_url(self.url)
            try:
                return await question(Ledger(client, OUTBOX, endpoint, "test"))
            finally:
                await client.aclose()

        return asyncio.run(run())

    def standing(self, endpoint: str = "ops") -> Standing:
        found: Standing = self.ask(lambda ledger: ledger.standing(), endpoint)
        return found

    def dead(self) -> list[DeadNotification]:
        async def all_of(ledger: Ledger) -> list[DeadNotification]:
            return [letter async for letter in ledger.dead()]

        found: list[DeadNotification] = self.ask(all_of)
        return found


@pytest.fixture
def desk(valkey_server: ValkeyServer, valkey_client: valkey.Valkey, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(valkey_server, valkey_client, tmp_path)
    yield made
    for running in made.running:
        running.stop()


def taken(receiver: Receiver, count: int) -> None:
    eventually(lambda: len(receiver.ids()) >= count, within_s=20)


def test_what_is_delivered_is_logged_counted_and_trimmed(desk: Desk) -> None:
    told = [notification(f"g{number}") for number in range(5)]
    with receiving() as receiver:
        running = desk.start(endpoint(receiver))
        desk.outbox.write(told)
        desk.outbox.write(told)
        taken(receiver, 5)
        eventually(lambda: len(desk.log()) == 5)
        eventually(lambda: desk.standing().waiting == 0)
    assert receiver.wrong == []
    assert len(receiver.requests) == 5
    assert {one.outcome for one in desk.log()} == {Outcome.DELIVERED}
    assert running.metric('deliveries_total{endpoint="ops",outcome="delivered"}') == 5
    assert desk.standing().last["outcome"] == "delivered"  # type: ignore[index]

    async def trimmed() -> int:
        client = Valkey.from_url(desk.url)
        try:
            return await trim(client, OUTBOX)
        finally:
            await client.aclose()

    asyncio.run(trimmed())
    assert desk.client.xlen(OUTBOX) == 0


def test_what_an_endpoint_does_not_want_is_passed_over(desk: Desk) -> None:
    with receiving() as receiver:
        desk.start(endpoint(receiver, severity=Severity.ERROR, rules=frozenset({"a"}), resolved=False))
        wanted = notification("1", rule="a")
        desk.outbox.write(
            [
                notification("2", rule="a", severity=Severity.WARNING),
                notification("3", rule="b"),
                wanted,
                notification("1", 1, Change.RESOLVED, rule="a"),
            ]
        )
        eventually(lambda: receiver.ids() == [wanted.id])
        eventually(lambda: desk.standing().waiting == 0)
    assert len(receiver.requests) == 1


def test_a_failure_is_tried_again_and_later_news_of_the_group_waits(desk: Desk) -> None:
    seen: list[str] = []

    def twice(request: Request) -> Reply:
        seen.append(request.body["type"])
        return Reply(500, body=b"not now") if len(seen) <= 2 else Reply()

    opened, over = notification(), notification("g", 1, Change.RESOLVED)
    with receiving(Receiver(twice)) as receiver:
        desk.start(endpoint(receiver))
        desk.outbox.write([opened, over])
        taken(receiver, 2)
        eventually(lambda: len(desk.log()) == 4)
    assert seen == ["alert.opened"] * 3 + ["alert.resolved"]
    assert receiver.ids() == [opened.id, over.id]
    assert receiver.wrong == []
    about = [(one.attempt, one.outcome, one.status, one.error) for one in desk.log()]
    assert about[0] == (1, Outcome.FAILED, 500, "HTTP 500: not now")
    assert [one[:3] for one in about[1:]] == [(2, "failed", 500), (3, "delivered", 200), (1, "delivered", 200)]


def test_retry_after_is_heeded_by_all_that_it_is_sent(desk: Desk) -> None:
    at_s: list[float] = []

    def throttled(request: Request) -> Reply:
        at_s.append(time.monotonic())
        return Reply(429, (("Retry-After", "1"),)) if len(at_s) == 1 else Reply()

    with receiving(Receiver(throttled)) as receiver:
        desk.start(endpoint(receiver, concurrency=1))
        desk.outbox.write([notification("a"), notification("b")])
        taken(receiver, 2)
    assert at_s[1] - at_s[0] >= 0.99
    assert len(at_s) == 3


def test_410_switches_it_off_until_somebody_switches_it_on(desk: Desk) -> None:
    gone = Receiver(lambda _: Reply(410))
    with receiving(gone):
        running = desk.start(endpoint(gone))
        desk.outbox.write([notification("a")])
        eventually(lambda: desk.standing().disabled_ms is not None)
        desk.outbox.write([notification("b")])
        eventually(lambda: desk.standing().waiting == 2)
        eventually(lambda: running.metric('disabled{endpoint="ops"}') == 1)
        running.stop()
        # A restart does not forget it.
        running = desk.start(endpoint(gone))
        eventually(lambda: running.metric('waiting{endpoint="ops"}') == 2)
        time.sleep(0.5)
        assert len(gone.requests) == 1
        gone.reply = lambda _: Reply()
        assert desk.ask(lambda ledger: ledger.enable()) is True
        taken(gone, 2)
    assert gone.wrong == []
    assert desk.standing().disabled_ms is None


def test_what_fails_to_the_last_is_kept_and_can_be_sent_again(desk: Desk) -> None:
    refusing = Receiver(lambda request: Reply(404) if request.body["type"] == "alert.opened" else Reply())
    opened, over, other = notification("a"), notification("a", 1, Change.RESOLVED), notification("b")
    with receiving(refusing):
        desk.start(endpoint(refusing), own=pace(0, 0.05, 0.05, failures=99))
        desk.outbox.write([opened, over, other])
        # That an alert is over is told though its beginning was given up.
        eventually(lambda: refusing.ids() == [over.id])
        eventually(lambda: len(desk.dead()) == 2)
        eventually(lambda: len(desk.log()) == 7)
        assert [(one.outcome, one.attempt) for one in desk.log() if one.notification == other.id] == [
            (Outcome.FAILED, 1),
            (Outcome.FAILED, 2),
            (Outcome.DEAD, 3),
        ]
        # Written once more by a processor that crashed, it stays given up.
        desk.outbox.write([other])
        eventually(lambda: desk.standing().waiting == 0)
        assert len(desk.dead()) == 2
        refusing.reply = lambda _: Reply()
        for letter in desk.dead():
            desk.ask(lambda ledger, letter=letter: ledger.put_back(letter, forced=False))
        taken(refusing, 2)
        # News that was overtaken by its end is not sent, and is dead again.
        eventually(lambda: [one.notification.id for one in desk.dead()] == [opened.id])
        assert refusing.ids() == [over.id, other.id]
        [letter] = desk.dead()
        assert "overtaken" in letter.why
        desk.ask(lambda ledger: ledger.put_back(letter, forced=True))
        taken(refusing, 3)
    assert desk.dead() == []
    assert refusing.wrong == []


def test_what_is_put_back_is_for_its_endpoint_alone(desk: Desk) -> None:
    refusing, other = Receiver(lambda _: Reply(500)), Receiver()
    with receiving(refusing), receiving(other):
        desk.start(endpoint(refusing), endpoint(other, "other"), own=pace(0))
        desk.outbox.write([notification()])
        eventually(lambda: len(desk.dead()) == 1)
        taken(other, 1)
        refusing.reply = lambda _: Reply()
        [letter] = desk.dead()
        desk.ask(lambda ledger: ledger.put_back(letter, forced=False))
        taken(refusing, 1)
        eventually(lambda: desk.standing("other").waiting == 0)
    assert len(other.requests) == 1


def test_a_dead_endpoint_is_only_probed_and_has_all_it_missed_when_it_is_back(desk: Desk) -> None:
    dead = Receiver(lambda _: Reply(503))
    told = [notification(f"g{number}") for number in range(30)]
    with receiving(dead):
        running = desk.start(endpoint(dead, concurrency=8), own=pace(0, *[0.05] * 200, 60, failures=3))
        desk.outbox.write(told)
        eventually(lambda: running.metric('circuit_open{endpoint="ops"}') == 1)
        before, began_s = len(dead.requests), time.monotonic()
        time.sleep(1.5)
        probes = len(dead.requests) - before
        # One each 200 ms at last, and a few sooner.
        assert probes <= 5 + (time.monotonic() - began_s) / 0.2
        assert desk.standing().circuit_open_ms is not None
        dead.reply = lambda _: Reply()
        taken(dead, 30)
        eventually(lambda: running.metric('circuit_open{endpoint="ops"}') == 0)
    assert dead.wrong == []


def test_an_endpoint_that_hangs_holds_up_no_other(desk: Desk) -> None:
    hanging, well = Receiver(lambda _: Reply(after_s=30)), Receiver()
    with receiving(hanging), receiving(well):
        desk.start(endpoint(hanging, "hanging"), endpoint(well, "well"))
        desk.outbox.write([notification(f"g{number}") for number in range(20)])
        taken(well, 20)
        eventually(lambda: desk.log("hanging"))
        hanging.ended.set()
    assert desk.log("hanging")[0].error == "no answer within 1 s"


def test_the_end_waits_for_what_is_under_way_and_for_nothing_else(desk: Desk) -> None:
    slow = Receiver(lambda _: Reply(after_s=0.5))
    told = [notification("g", number) for number in range(3)]
    with receiving(slow):
        running = desk.start(endpoint(slow))
        desk.outbox.write(told)
        eventually(lambda: slow.requests)
        running.stop()
        assert slow.ids() == [told[0].id]
        desk.start(endpoint(slow))
        taken(slow, 3)
    assert slow.ids() == [one.id for one in told]
    assert len(slow.requests) == 3


def test_a_new_webhook_hears_of_what_comes_and_one_that_is_gone_is_forgotten(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as old, receiving() as new:
        running = desk.start(endpoint(old, "old"))
        desk.outbox.write([notification("a")])
        taken(old, 1)
        running.stop()
        desk.outbox.write([notification("b")])
        desk.start(endpoint(new, "new"))
        eventually(lambda: "webhook old is no longer in the catalog" in caplog.text)
        desk.outbox.write([notification("c")])
        taken(new, 1)
    assert new.ids() == [notification("c").id]
    assert "with 1 notifications" in caplog.text
    names = [group["name"] for group in desk.client.xinfo_groups(OUTBOX)]  # type: ignore[union-attr]
    assert names == [b"webhook:new"]
    assert not [key for key in desk.client.scan_iter() if b":webhook:old:" in key]


def test_pagerduty_goes_on_with_the_alert_at_which_it_failed(desk: Desk) -> None:
    answers = iter([202, 500, 202])
    receiver = Receiver(lambda _: Reply(next(answers)), secret=None)
    both = notification()
    both = type(both)(both.id, both.group, both.rule, both.platform, both.at_ms, both.alerts * 2)
    with receiving(receiver):
        desk.start(endpoint(receiver, form="pagerduty", keys=(), routing_key="r" * 32))
        desk.outbox.write([both])
        eventually(lambda: len(desk.log()) == 2)
    assert [request.id for request in receiver.requests] == [both.id, f"{both.id}-1", f"{both.id}-1"]
    assert desk.client.xpending(OUTBOX, "webhook:ops")["pending"] == 0  # type: ignore[index]


def test_a_catalog_that_was_changed_while_one_was_half_told_stops_nothing(desk: Desk) -> None:
    answers = [202]
    receiver = Receiver(lambda _: Reply(answers.pop() if answers else 500), secret=None)
    both = notification()
    both = replace(both, alerts=both.alerts * 2)
    with receiving(receiver):
        running = desk.start(endpoint(receiver, form="pagerduty", keys=(), routing_key="r" * 32), own=pace(0, 0.5, 0.5))
        desk.outbox.write([both])
        eventually(lambda: desk.log())
        running.stop()
        sent = len(receiver.requests)
        receiver.reply = lambda _: Reply()
        # One request has all of it now, and one was taken before.
        desk.start(endpoint(receiver, keys=()), own=pace(0, 0.5, 0.5))
        eventually(lambda: desk.standing().waiting == 0)
    assert [request.id for request in receiver.requests[sent:]] == [both.id]
    assert desk.dead() == []


def test_what_was_written_in_one_millisecond_is_put_back_all_of_it(desk: Desk) -> None:
    refusing = Receiver(lambda _: Reply(500))
    opened, over = notification("a"), notification("a", 1, Change.RESOLVED)
    with receiving(refusing):
        desk.start(endpoint(refusing), own=pace(0, failures=99))
        at_ms = int(time.time() * 1_000) + 1_000
        for number, one in enumerate((opened, over)):
            desk.client.xadd(OUTBOX, {"n": one.to_bytes()}, id=f"{at_ms}-{number}")
        eventually(lambda: len(desk.dead()) == 2)
        refusing.reply = lambda _: Reply()
        for letter in desk.dead():
            desk.ask(lambda ledger, letter=letter: ledger.put_back(letter, forced=False))
        taken(refusing, 2)
        eventually(lambda: desk.ask(lambda ledger: ledger.overtaken(opened.group, f"{at_ms}-0")))
        assert desk.ask(lambda ledger: ledger.overtaken(opened.group, f"{at_ms}-1")) is False
    assert refusing.ids() == [opened.id, over.id]


def test_what_an_answer_says_is_told_on_one_line_that_no_terminal_obeys(desk: Desk) -> None:
    forging = Receiver(lambda _: Reply(500, body=b"a\x00\x1b[2Jb\r\nCRITICAL all is well \xff"))
    with receiving(forging):
        desk.start(endpoint(forging))
        desk.outbox.write([notification()])
        eventually(lambda: desk.log())
    assert desk.log()[0].error == "HTTP 500: a [2Jb CRITICAL all is well \N{REPLACEMENT CHARACTER}"


def test_an_absurd_retry_after_ends_nothing(desk: Desk) -> None:
    absurd = (("Retry-After", "Tue, 14 Nov 99999999999999999999 22:14:20 GMT"),)
    answers = iter([Reply(503, absurd)])
    with receiving(Receiver(lambda _: next(answers, Reply()))) as receiver:
        desk.start(endpoint(receiver))
        desk.outbox.write([notification()])
        taken(receiver, 1)


@pytest.mark.parametrize("days", [-365, 365])
def test_a_clock_that_is_set_holds_nothing_up_and_gives_nothing_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    set_ms = 0
    monkeypatch.setattr("live_api.delivery.delivering.clock_ms", lambda: int(time.time() * 1_000) + set_ms)
    with receiving(Receiver(lambda _: Reply(503), secret=None)) as receiver:
        desk.start(endpoint(receiver), own=pace(0, *[0.1] * 500, failures=2))
        desk.outbox.write([notification(f"g{number}") for number in range(8)])
        eventually(lambda: desk.standing().circuit_open_ms is not None)
        set_ms = days * 86_400_000
        time.sleep(1.5)
        receiver.reply = lambda _: Reply()
        taken(receiver, 8)
    assert desk.dead() == []


def test_what_an_answer_quotes_of_url_and_headers_is_not_shown() -> None:
    url = "https://h.example/flows/0123abcd/run?version=1&sig=hunter2-hunter2%2Fab"
    made = Endpoint("x", "teams", url, headers={"authorization": "Bearer tokentoken"})
    quotes = ["hunter2-hunter2%2Fab", "hunter2-hunter2/ab", "tokentoken", "Bearer tokentoken", "/flows/0123abcd", url]
    for quote in quotes:
        shown = reduce(lambda text, secret: text.replace(secret, "…"), made.secrets, f"what is {quote} here?")
        assert not [part for part in ("hunter2", "token", "0123abcd") if part in shown]
        assert shown.startswith("what is ")


def test_an_endpoint_shows_nothing_secret() -> None:
    made = Endpoint("x", "generic", "https://h.example:8/p/hunter2", headers={"a": "hunter2"}, routing_key="hunter2")
    assert "hunter2" not in repr(made) + str(made.wanted)
    assert made.shown == "https://h.example:8"


def test_a_notification_that_cannot_be_told_holds_up_no_other(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as receiver:
        desk.start(endpoint(receiver))
        desk.outbox.write([notification("a", opened_ms=1 << 62), notification("b")])
        desk.client.xadd(OUTBOX, {"n": b"no notification"})
        desk.client.xadd(OUTBOX, {"x": b"1"})
        for wrong in ({"id": 5}, {"id": []}, {"id": "a.b"}, {"id": "a\nb"}, {"group": None}, {"at_ms": "x"}):
            raw = orjson.loads(notification("a").to_bytes()) | wrong
            desk.client.xadd(OUTBOX, {"n": orjson.dumps(raw)})
        eventually(lambda: receiver.ids() == [notification("b").id])
        eventually(lambda: desk.standing().waiting == 0)
    assert caplog.text.count("is no notification and is passed over") == 8
    [letter] = desk.dead()
    assert "cannot be put into format generic" in letter.why


def test_what_nobody_foresaw_of_one_endpoint_holds_up_no_other(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as receiver, receiving() as well:
        wrong: Any = {"x-own": 5}
        running = desk.start(endpoint(receiver, "wrong", headers=wrong), endpoint(well, "well"))
        desk.outbox.write([notification("a")])
        eventually(lambda: "webhook wrong: unforeseen; trying again in 2 s" in caplog.text)
        desk.outbox.write([notification("b")])
        taken(well, 2)
        running.stop()
    assert desk.standing("wrong").waiting == 2
    assert receiver.requests == []


def test_a_store_that_is_away_stops_no_delivery(desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk.store = f"sqlite:///{tmp_path}/none/points.db"
    with receiving() as receiver:
        desk.start(endpoint(receiver))
        desk.outbox.write([notification()])
        taken(receiver, 1)
        eventually(lambda: "the delivery log cannot be written, deliveries go on" in caplog.text)
        (tmp_path / "none").mkdir()

        def logged() -> bool:
            with contextlib.suppress(Misconfigured):
                return len(desk.log()) == 1
            return False

        eventually(logged)


def test_valkey_that_is_away_for_a_while_loses_and_repeats_nothing(tmp_path: Path) -> None:
    told = [notification("g", number) for number in range(4)]
    kept: dict[str, Any] = {"data_dir": tmp_path / "valkey", "persist": True, "appendonly": "yes"}
    server = ValkeyServer(**kept)
    server.start()
    client = server.client()
    desk = Desk(server, client, tmp_path)
    again = ValkeyServer(port=server.port, **kept)
    try:
        with receiving() as receiver:
            desk.start(endpoint(receiver))
            desk.outbox.write(told[:2])
            taken(receiver, 2)
            eventually(lambda: desk.standing().waiting == 0)
            server.stop()
            time.sleep(1.0)
            again.start()
            desk.outbox.write(told[2:])
            taken(receiver, 4)
            eventually(lambda: desk.standing().waiting == 0)
    finally:
        for running in desk.running:
            running.stop()
        client.close()
        for one in (server, again):
            if one.is_running():
                one.stop()
    assert receiver.ids() == [one.id for one in told]
    assert len(receiver.requests) == 4


def test_a_valkey_that_is_full_is_waited_for_and_what_it_has_is_delivered(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([Reply(500), Reply(500)])
    with receiving(Receiver(lambda _: next(answers, Reply()))) as receiver:
        desk.client.config_set("maxmemory", "1")
        try:
            desk.running.append(Running(desk.url, desk.store, (endpoint(receiver),), pace()))
            eventually(lambda: "maxmemory" in caplog.text and "trying again" in caplog.text)
            desk.client.config_set("maxmemory", "0")
            eventually(lambda: desk.standing().running)
            Outbox(desk.client, OUTBOX, ["ops"]).write([notification("a")])
            desk.client.config_set("maxmemory", "1")
            taken(receiver, 1)
            eventually(lambda: desk.standing().waiting == 0)
            # Another process, too, takes it up while it is full.
            desk.running[-1].stop()
            desk.running.append(Running(desk.url, desk.store, (endpoint(receiver),), pace()))
            eventually(lambda: desk.standing().running)
        finally:
            desk.client.config_set("maxmemory", "0")
    assert len(desk.log()) == 3


@pytest.mark.parametrize("lost", ["group", "all"])
def test_a_place_in_the_outbox_that_is_lost_is_found_again(desk: Desk, lost: str) -> None:
    told = [notification("g", number) for number in range(5)]
    with receiving() as receiver:
        desk.start(endpoint(receiver))
        desk.outbox.write(told[:2])
        taken(receiver, 2)
        eventually(lambda: desk.standing().waiting == 0)
        receiver.reply = lambda _: Reply(500)
        if lost == "group":
            desk.outbox.write(told[2:4])
            eventually(lambda: len(desk.log()) >= 3)
            desk.client.xgroup_destroy(OUTBOX, "webhook:ops")
        else:
            desk.client.flushall()
            desk.outbox.write(told[2:4])
        desk.outbox.write(told[4:])
        receiver.reply = lambda _: Reply()
        taken(receiver, 5)
        eventually(lambda: desk.standing().waiting == 0)
    assert receiver.ids() == [one.id for one in told]
    assert receiver.wrong == []
