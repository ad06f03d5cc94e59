"""Rates of all contenders over one backlog, in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.engine.backlog import BATCHED, HALVES, SINGLE, aside, at_once, fill
from benchmarks.engine.place import ROOT, LiveCounts, Place, Processor
from benchmarks.engine_catalog import catalog

OURS, OURS_BATCHED = "ours", "ours, arrays of 100"
OURS_ONE, OURS_TWO = "ours, 1 process, 2 streams", "ours, 2 processes, 2 streams"
DRAIN, DRAIN_RAW = "drain", "drain, replies left as lists"
NAIVE, CONSUMER, PATHWAY = "Bytewax, one event an item", "hand-written consumer", "Pathway"

RATIOS = {
    "vs_drain": (OURS, DRAIN),
    "vs_naive": (OURS, NAIVE),
    "vs_consumer": (OURS, CONSUMER),
    "vs_pathway": (OURS, PATHWAY),
    "batched": (OURS_BATCHED, OURS),
    "two_processes": (OURS_TWO, OURS_ONE),
}
"""Each key, and the contenders whose rates it compares."""
_PEERS = {
    DRAIN: ("benchmarks.engine.peer_drain", "dicts"),
    DRAIN_RAW: ("benchmarks.engine.peer_drain", "lists"),
    NAIVE: ("benchmarks.engine.peer_naive",),
    CONSUMER: ("benchmarks.engine.peer_consumer",),
}
_SLOW = (NAIVE, CONSUMER, PATHWAY)
STREAMS = {OURS_BATCHED: (BATCHED,), OURS_ONE: HALVES, OURS_TWO: HALVES}
_COUNTED_WITHIN_S = 600.0
_PATHWAY = Path(__file__).with_name("peer_pathway.py")
_names = count()


@dataclass
class Speeds:
    rates: dict[str, list[float]] = field(default_factory=dict)
    """Events a second of each contender, one for each round."""
    events: dict[str, int] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Contenders that could not take part, and why."""

    def ratio(self, key: str) -> float | None:
        """The median over the rounds; None where one of the two is absent."""
        one, other = RATIOS[key]
        if self.absent.keys() & {one, other}:
            return None
        return statistics.median(a / b for a, b in zip(self.rates[one], self.rates[other], strict=True))


def measure(
    where: Place, keys: Collection[str], events: int, peer_events: int, rounds: int, say: Callable[[str], None]
) -> Speeds:
    """All contenders that `keys` need, one after the other, so many times; the slow ones read fewer events."""
    speeds = Speeds()
    wanted = list(dict.fromkeys(name for key in keys for name in reversed(RATIOS[key])))
    if DRAIN in wanted:
        wanted.insert(wanted.index(DRAIN) + 1, DRAIN_RAW)
    turns: dict[str, Callable[[], float]] = {}
    for name in wanted:
        size = speeds.events[name] = min(events, peer_events) if name in _SLOW else events
        if name in _PEERS or name == PATHWAY:
            try:
                program = (
                    [_pathway_python(), str(_PATHWAY)] if name == PATHWAY else [sys.executable, "-m", *_PEERS[name]]
                )
            except (OSError, subprocess.SubprocessError) as error:
                speeds.absent[name] = f"not to be had: {_reason(error)}"
                continue
            turns[name] = partial(_peer, [*program, where.url, SINGLE, str(size)])
        else:
            processes = 2 if name == OURS_TWO else 1
            turns[name] = partial(_ours, where, STREAMS.get(name, (SINGLE,)), size, processes)
    say(f"{events:,} events as backlog")
    fill(where.client(), events, {stream for name in wanted for stream in STREAMS.get(name, (SINGLE,))})
    for number in range(rounds):
        # There and back, so that a machine that gets slower or faster does it to all alike.
        for name in list(turns)[:: -1 if number % 2 else 1]:
            try:
                rate = turns[name]()
            except subprocess.SubprocessError as error:
                if name != PATHWAY:
                    raise RuntimeError(f"{name}: {_reason(error)}") from None
                speeds.absent[name] = f"failed: {_reason(error)}"
                del turns[name]
                continue
            speeds.rates.setdefault(name, []).append(rate)
            say(f"round {number + 1}: {name} {rate:,.0f} events/s")
    where.client().delete(SINGLE, BATCHED, *HALVES)
    return speeds


def _peer(command: list[str]) -> float:
    # With a key or a server of its own to report to, Pathway would speak to somebody else.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PATHWAY_")}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=_COUNTED_WITHIN_S,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    return float(told["events"] / told["seconds"])


def _ours(where: Place, streams: tuple[str, ...], events: int, processes: int) -> float:
    """From an empty state directory until everything is counted, in events a second.

    The processor runs already when the backlog appears before it, all at once; the clock starts there, and ends with
    the live update that has all of it.
    """
    client = where.client()
    where.clear(streams)
    aside(client, streams)
    with Processor(where, f"ours-{next(_names)}", catalog(streams), processes=processes) as processor:
        counts = LiveCounts(client, streams)
        counts.wait_ready(processor)
        begun_ms = at_once(client, streams)
        counts.wait(events, processor, within_s=_COUNTED_WITHIN_S)
    ended_ms, counted = next(seen for seen in counts.seen if seen[1] >= events)
    assert counted == events, f"expected {events} events, counted {counted}"
    return events / (ended_ms - begun_ms) * 1_000


def _pathway_python() -> str:
    """The interpreter of an environment that has what the head of the contender's script asks for, made if need be."""
    uv = str(Path(sys.executable).with_name("uv"))
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    for command in (["sync", "--quiet", "--script"], ["python", "find", "--script"]):
        done = subprocess.run(
            [uv, *command, str(_PATHWAY)], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
    return done.stdout.strip()


def _reason(error: Exception) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
    return (said or str(error)).strip()[-600:]
