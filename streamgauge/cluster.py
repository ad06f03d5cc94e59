"""`streamgauge run` over several processes: one cluster of the engine, ended and started again as a whole."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sinks.errors import Misconfigured
from stream.catalog import Catalog
from stream.snapshots import StateError
from streamgauge import __version__
from streamgauge.children import ORPHANED, Child, stop_all
from streamgauge.preconditions import stop_event
from streamgauge.rendezvous import Message, Offer, host, join
from streamgauge.settings import EXIT_CONFIGURATION, EXIT_CUT_OFF, Settings, person_key
from streamgauge.state import (
    SNAPSHOTS,
    Facts,
    agreed,
    facts_of,
    held,
    held_partitions,
    read_facts,
    settle,
    write_facts,
)

logger = logging.getLogger(__name__)

MOST_PROCESSES = 16
LOCAL, MACHINES = "local", "machines"
"""Who started a member: `run --processes N`, all on one state directory; `run --cluster`, each on its own."""

_POLL_S = 0.05
_MEMBERS_STOP_S = 8.3
"""A little longer than a member gives itself, and less than `up` gives all of this."""
_CASCADE_S = 4.0
"""How long the others may take to notice that one is gone, and to say what they have to say."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _STEADY_S = 0.5, 10.0, 30.0
_ORDERLY = (0, -signal.SIGTERM)
"""The second is that of a member told twice, while it loads and has nothing to save yet."""
_PORTS = range(15_000, 32_000)
"""Below those that the kernel gives to outgoing connections, one of which could otherwise take it meanwhile."""


def run_processes(catalog_path: Path, catalog: Catalog, settings: Settings, state: Path, *, trim: bool, n: int) -> int:
    """Run `n` processes on this machine until SIGTERM or SIGINT. Returns the exit status."""
    stopping = stop_event()
    with held(state) as let_in:
        facts = settle(state, settings.shards, n, _make_recovery)
        say_shares(catalog, facts, n)
        let_in()

        def members() -> list[Child]:
            addresses = [f"127.0.0.1:{port}" for port in _free_ports(n)]
            return [_member(catalog_path, settings, trim, addresses, number, LOCAL) for number in range(n)]

        return _supervise(members, stopping)


def run_machine(
    catalog_path: Path, settings: Settings, state: Path, *, trim: bool, addresses: Sequence[str], number: int
) -> int:
    """Run this machine's member of a cluster over several until SIGTERM or SIGINT. Returns the exit status."""
    for name, value in (("DATABASE_URL", settings.database_url), ("STREAMGAUGE_PERSON_KEY", settings.person_key)):
        if value is None:
            raise Misconfigured(
                f"{name} is not set: all members of a cluster must have the same, so none makes its own"
            )
    if not all(address.rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]") for address in addresses):
        logger.warning("INSECURE: WHOEVER REACHES %s CAN RUN CODE IN IT; LET ONLY THE MEMBERS IN", addresses[number])
    stopping = stop_event()
    with held(state) as let_in:
        read_facts(state)
        let_in()
        return _supervise(lambda: [_member(catalog_path, settings, trim, addresses, number, MACHINES)], stopping)


def run_member(
    catalog: Catalog, settings: Settings, state: Path, *, trim: bool, addresses: Sequence[str], number: int, kind: str
) -> int:
    """Meet the other members, and run as one of them. Returns the exit status."""
    from streamgauge.processor import Run

    run = Run(catalog, settings, state, trim=trim, supervised=True, own_state=kind == MACHINES)
    with held(state, shared=True):
        own = read_facts(state)
        found = {} if own is None or kind == LOCAL else held_partitions(state, own)
        offer = Offer(number, _compared(catalog, settings, state, trim, addresses), asdict(own) if own else None, found)
        make = partial(_make_share, state, number) if kind == MACHINES else _nothing
        if number == 0:
            judge = partial(_judge, settings.shards, len(addresses), kind)
            try:
                agreed_on = host(addresses[0], offer, len(addresses), judge, make)
            except (OSError, ValueError) as error:
                logger.error("the members could not meet: %s", error)
                return 1
        else:
            agreed_on = join(tuple(addresses), offer, make)
        facts = facts_of(agreed_on["facts"])
        if number == 0 and kind == MACHINES:
            say_shares(catalog, facts, len(addresses))
        return run.run_as(facts, number, tuple(addresses))


def say_shares(catalog: Catalog, facts: Facts, processes: int) -> None:
    """Say at the start what some processes will not have to do."""
    streams = len(catalog.platform.streams)
    if streams < processes:
        idle = processes - streams
        logger.warning("%d streams over %d processes: %d of them read nothing and only count", streams, processes, idle)
    if facts.shards < processes:
        idle = processes - facts.shards
        logger.warning("%d shards over %d processes: %d of them count nothing", facts.shards, processes, idle)


def parse_addresses(text: str) -> tuple[str, ...]:
    """`host:port,host:port`. Raises ValueError."""
    addresses = tuple(part.strip() for part in text.split(","))
    for address in addresses:
        name, _, port = address.rpartition(":")
        if not name or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError(f"expected host:port,host:port; found {address!r}")
    if len(set(addresses)) != len(addresses) or not 2 <= len(addresses) <= MOST_PROCESSES:
        raise ValueError(f"expected 2 to {MOST_PROCESSES} addresses, each another; found {text!r}")
    return addresses


def _supervise(members: Callable[[], list[Child]], stopping: threading.Event) -> int:
    """Run members, all together, until asked to stop or one of them was; start all again when one fails."""
    pause_s = _FIRST_PAUSE_S
    while True:
        generation = members()
        started_s = time.monotonic()
        for member in generation:
            member.start(started_s)
        while not stopping.wait(_POLL_S) and all(member.running for member in generation):
            pass
        if stopping.is_set():
            return _stop(generation)
        if 0 not in map(_status, generation):
            _await_end(generation, _CASCADE_S)
        statuses = {member.name: _status(member) for member in generation}
        if EXIT_CONFIGURATION in statuses.values():
            stop_all(generation, 0.0)
            return EXIT_CONFIGURATION
        if 0 in statuses.values():
            # Members end by themselves only when one of them was asked to.
            logger.warning("a member was told to end, and with it the cluster")
            return _stop(generation)
        stop_all(generation, 0.0)
        pause_s = _FIRST_PAUSE_S if time.monotonic() - started_s >= _STEADY_S else pause_s
        said = ", ".join(f"{name} {_in_words(status)}" for name, status in statuses.items())
        logger.error("%s; starting all again in %.1f s", said, pause_s)
        if stopping.wait(pause_s):
            return 0
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)


def _stop(members: list[Child]) -> int:
    stop_all(members, _MEMBERS_STOP_S)
    late = {member.name: status for member in members if (status := _status(member)) not in _ORDERLY}
    if late:
        said = ", ".join(f"{name} {_in_words(status)}" for name, status in late.items())
        logger.error("%s: it goes on from the last snapshot, and nothing is lost", said)
    return EXIT_CUT_OFF if late else 0


def _in_words(status: int | None) -> str:
    return "did not notice" if status is None else f"ended with status {status}"


def _await_end(members: list[Child], within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s and any(member.running for member in members):
        time.sleep(_POLL_S)


def _status(member: Child) -> int | None:
    return None if member.process is None else member.process.poll()


def _member(catalog: Path, settings: Settings, trim: bool, addresses: Sequence[str], number: int, kind: str) -> Child:
    command = [sys.executable, "-m", "streamgauge", "run", "--catalog", str(catalog), "--state", str(settings.state)]
    command += ["--cluster", ",".join(addresses), "--member", str(number), "--supervised", kind]
    return Child(f"member {number}", [*command, *(["--trim"] if trim else [])], os.environ, orphaned=ORPHANED)


def _compared(
    catalog: Catalog, settings: Settings, state: Path, trim: bool, addresses: Sequence[str]
) -> dict[str, Any]:
    """What must be the same in all members."""
    key = hashlib.sha256(b"streamgauge cluster" + person_key(settings, state)).hexdigest()
    return {
        "streamgauge": __version__,
        "snapshots": list(SNAPSHOTS),
        # The plan is compiled from this and nothing else.
        "catalog": hashlib.sha256(catalog.model_dump_json().encode()).hexdigest()[:12],
        "members": len(addresses),
        "STREAMGAUGE_SHARDS": settings.shards,
        # Enough to notice a mistake, too little to find the key by.
        "STREAMGAUGE_PERSON_KEY": key[:4],
        "STREAMGAUGE_TICK_MS": settings.tick_ms,
        "STREAMGAUGE_SNAPSHOT_S": settings.snapshot_s,
        "INFLUX_URL": settings.influx_url is not None,
        "--trim": trim,
    }


def _judge(shards: int | None, members: int, kind: str, offers: list[Offer]) -> Message:
    """What all members are to run with, and who makes which recovery partitions, from what they have."""
    try:
        states = {offer.member: facts_of(offer.state) for offer in offers if offer.state is not None}
        if len({(facts.id, facts.shard_keys, facts.partitions) for facts in states.values()}) > 1:
            raise Misconfigured("the members' state directories are not of one cluster; each must have its own again")
        newest = max(states.values(), key=lambda facts: facts.processes, default=None)
        facts = agreed(Path("the state"), newest, shards=shards, processes=members)
    except (StateError, ValueError) as error:
        raise Misconfigured(str(error)) from None
    if kind == LOCAL:
        return {"facts": asdict(facts), "parts": {}}
    holders: dict[int, list[int]] = {part: [] for part in range(facts.partitions)}
    for offer in offers:
        for part in offer.held:
            holders[part].append(offer.member)
    double = [part for part, members_ in holders.items() if len(members_) > 1]
    missing = [part for part, members_ in holders.items() if not members_]
    empty = [offer.member for offer in offers if not offer.held]
    if double:
        raise Misconfigured(f"recovery partitions {double} are on several members; each may be on one only")
    if missing and (not empty or any(used for offer in offers for used in offer.held.values())):
        raise Misconfigured(
            f"recovery partitions {missing} are on no member: bring back the state directory that has them, or move "
            "`recovery` and `state.json` out of every member's directory to count anew from the streams"
        )
    parts = {str(member): missing[place :: len(empty)] for place, member in enumerate(empty)}
    return {"facts": asdict(facts), "parts": parts}


def _make_share(state: Path, number: int, message: Message) -> None:
    facts = facts_of(message["facts"])
    try:
        write_facts(state, facts)
        if not (state / "recovery").exists():
            _make_recovery(state / "recovery", facts.partitions, message["parts"].get(str(number), []))
    except OSError as error:
        raise Misconfigured(f"{state}: cannot be written: {error.strerror}") from None


def _make_recovery(recovery: Path, partitions: int, parts: Collection[int]) -> None:
    # The supervisor needs the engine for nothing else, and it is large.
    from stream.flow import make_recovery

    make_recovery(recovery, partitions, parts)


def _nothing(_: Message) -> None:
    """On one machine the supervisor has made everything."""


def _free_ports(n: int) -> list[int]:
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
            if len(found) == n:
                return found
    raise Misconfigured("no ports are free on 127.0.0.1 for the processes to reach each other")
