from __future__ import annotations

import socket
import threading
from dataclasses import asdict, replace
from typing import Any

import pytest

from sinks.errors import Misconfigured
from streamgauge import cluster, rendezvous
from streamgauge.cluster import MACHINES, parse_addresses
from streamgauge.rendezvous import Message, Offer, differences, host, join
from streamgauge.state import PARTITIONS, Facts, new_facts
from tests.ports import free_port
from tests.streamgauge.conftest import Command

FACTS = new_facts(2, 2)
HALVES = [dict.fromkeys(range(0, PARTITIONS, 2), True), dict.fromkeys(range(1, PARTITIONS, 2), True)]


def offer(member: int, facts: Facts | None = None, held: dict[int, bool] | None = None, **compared: Any) -> Offer:
    return Offer(member, {"catalog": "a", **compared}, asdict(facts) if facts else None, held or {})


def judge(*offers: Offer, shards: int | None = None) -> Message:
    return cluster._judge(shards, len(offers), MACHINES, list(offers))


def test_where_nobody_has_a_state_each_makes_its_part() -> None:
    agreed = judge(offer(0), offer(1), offer(2))
    assert len(agreed["facts"]["shard_keys"]) == 3
    parts = [agreed["parts"][str(member)] for member in range(3)]
    assert sorted(part for own in parts for part in own) == list(range(PARTITIONS))
    assert max(map(len, parts)) - min(map(len, parts)) == 1


def test_members_with_their_parts_go_on_and_a_new_one_may_bring_nothing() -> None:
    agreed = judge(offer(0, FACTS, HALVES[0]), offer(1, FACTS, HALVES[1]), offer(2))
    assert agreed["facts"]["id"] == FACTS.id
    assert agreed["facts"]["processes"] == 3
    assert agreed["parts"] == {"2": []}


def test_a_first_start_that_was_cut_short_is_finished() -> None:
    agreed = judge(offer(0, FACTS, dict.fromkeys(range(0, PARTITIONS, 2), False)), offer(1))
    assert agreed["parts"] == {"1": list(range(1, PARTITIONS, 2))}


@pytest.mark.parametrize(
    ("offers", "message"),
    [
        ([offer(0, FACTS, HALVES[0]), offer(1)], r"recovery partitions \[1, 3\] are on no member"),
        ([offer(0, FACTS, HALVES[0]), offer(1, FACTS, HALVES[0])], "are on several members"),
        ([offer(0, FACTS, HALVES[0]), offer(1, replace(FACTS, id="x"), HALVES[1])], "not of one cluster"),
    ],
)
def test_parts_that_are_no_whole_are_refused(offers: list[Offer], message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        judge(*offers)


def test_another_number_of_shards_is_refused() -> None:
    with pytest.raises(Misconfigured, match="STREAMGAUGE_SHARDS is 8, but the state was made with 2"):
        judge(offer(0, FACTS, HALVES[0]), offer(1, FACTS, HALVES[1]), shards=8)


def test_what_differs_is_said_with_both_values() -> None:
    said = differences(offer(0, tick=100, trim=True), offer(1, tick=200, trim=True))
    assert said == "tick: 200, member 0 has 100"
    assert not differences(offer(0, tick=1), offer(2, tick=1))


def test_members_meet_whoever_comes_first_and_strangers_do_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_STAGGER_S", 0.0)
    addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(3))
    results: dict[int, Any] = {}
    made: list[tuple[int, Message]] = []

    def come(number: int, name: int, **compared: Any) -> threading.Thread:
        def meet() -> None:
            try:
                results[name] = join(addresses, offer(number, **compared), lambda message: made.append((name, message)))
            except Misconfigured as error:
                results[name] = str(error)

        thread = threading.Thread(target=meet)
        thread.start()
        return thread

    early = come(2, 2)
    late: list[threading.Thread] = []

    def others() -> None:
        for garbage in (b"", b"\x00\x01\x02", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b'{"member": "x"}\n'):
            with socket.create_connection(("127.0.0.1", int(addresses[0].rpartition(":")[2]))) as stranger:
                stranger.sendall(garbage)
        late.extend([come(1, 11, catalog="b"), come(7, 77)])
        for thread in late:
            thread.join()
        late.append(come(1, 1))

    helper = threading.Timer(0.5, others)
    helper.start()
    state = host(
        addresses[0], offer(0), 3, lambda offers: {"of": len(offers)}, lambda message: made.append((0, message))
    )
    for thread in (early, helper, *late):
        thread.join()
    assert state == results[1] == results[2] == {"of": 3}
    assert sorted(name for name, _ in made) == [0, 1, 2]
    assert results[11] == "member 1 cannot join the cluster: catalog: 'b', member 0 has 'a'"
    assert results[77] == "member 7 cannot join the cluster: it says it is member 7 of 3"


@pytest.mark.parametrize("text", ["", "a", "a:1", "a:1,a:1", "a:1,b", "a:1,b:x", "a:1,:2", "a:1,b:70000"])
def test_addresses_that_make_no_cluster_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_addresses(text)


def test_addresses() -> None:
    assert parse_addresses("a:1, 10.0.0.2:2,[::1]:3") == ("a:1", "10.0.0.2:2", "[::1]:3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cluster", "a:1,b:2"], "--cluster and --member go together"),
        (["--member", "1"], "--cluster and --member go together"),
        (["--cluster", "a:1,b:2", "--member", "2"], "--member: expected 0 to 1, as there are 2 members; found 2"),
        (["--cluster", "a:1,b:2", "--member", "0", "--processes", "2"], "choose one"),
        (["--cluster", "a:1", "--member", "0"], "--cluster: expected 2 to 16 addresses"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    verb: Command, catalog_path: Any, options: list[str], message: str
) -> None:
    done = verb("run", "--catalog", catalog_path, *options, VALKEY_URL="valkey://127.0.0.1:1")
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("missing", ["DATABASE_URL", "STREAMGAUGE_PERSON_KEY"])
def test_members_on_several_machines_make_nothing_of_their_own(verb: Command, catalog_path: Any, missing: str) -> None:
    settings = {
        "VALKEY_URL": "valkey://127.0.0.1:1",
        "DATABASE_URL": "sqlite:////nowhere/x.db",
        "STREAMGAUGE_PERSON_KEY": "x" * 16,
    }
    del settings[missing]
    done = verb("run", "--catalog", catalog_path, "--cluster", "a:1,b:2", "--member", "0", **settings)
    assert done.returncode == 78
    assert f"{missing} is not set" in done.stderr
