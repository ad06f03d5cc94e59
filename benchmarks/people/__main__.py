"""`make bench-people`: sessions, actives, a retention and a funnel of four steps, beside a plain loop.

Writes `benchmarks/results/people.json` with the keys of `Figures`, and `targets` with `met` or `missed` for each key of
`TARGETS`. Each measurement has a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import pickle
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.people.loop import scan
from benchmarks.people.result import TARGETS, Figures
from benchmarks.people.visits import BEGIN_MS, CATALOG, batches, pseudonyms
from benchmarks.targets import is_met
from stream.batches import ShardBatch
from stream.catalog import parse
from stream.people.journal import Directory, Files
from stream.plan import compile_plan
from stream.shard import Shard

RESULTS = Path(__file__).parents[1] / "results" / "people.json"
_BATCH = 10_000
_TICK_EVERY = 5
"""Batches between ticks: what half a second brings at 100,000 events a second."""
_ROUNDS = 5
_EPOCH_S = 10
_PER_S = 5_000
_EPOCHS = 70
_DAY_S = 86_400
_console = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.people")
    parser.add_argument("--measure", choices=_MEASURES, help="only that, and print what it found")
    options = parser.parse_args(arguments)
    if options.measure is not None:
        print(json.dumps(_MEASURES[options.measure]()))
        return 0
    _console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before it began")
    speed, growth, memory, snapshots = (_alone(name) for name in _MEASURES)
    figures = Figures(
        events_per_s=speed["ours"],
        vs_loop=speed["ours"] / speed["loop"],
        bytes_per_person=memory["bytes"],
        snapshot_share=snapshots["share"],
        cost_growth=growth["ratio"],
    )
    _print(figures, speed, growth, snapshots)
    met = {key: "met" if is_met(target, getattr(figures, key)) else "missed" for key, target in TARGETS.items()}
    RESULTS.write_text(json.dumps({**_rounded(asdict(figures)), "targets": met}, indent=2) + "\n")
    _console.print(f"written to benchmarks/results/{RESULTS.name}")
    return 0


def _alone(name: str) -> dict[str, float]:
    _console.print(name)
    command = [sys.executable, "-m", "benchmarks.people", "--measure", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _shard(files: Files | None = None) -> Shard:
    return Shard(compile_plan(parse(CATALOG), builtin=False), 0, files)


def _count(shard: Shard, parts: Iterable[ShardBatch], tick_every: int = _TICK_EVERY) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    for number, batch in enumerate(parts, 1):
        shard.add(batch)
        if number % tick_every == 0:
            _tick(shard)
    _tick(shard)
    return time.perf_counter() - started


def _tick(shard: Shard) -> None:
    """As the dataflow does: partials to be merged, and lines to be written, are handed on."""
    shard.tick()
    shard.lines()


def _speed() -> dict[str, float]:
    """Events a second, ours and the loop's, turn about: the median of some rounds each."""
    parts = list(batches(pseudonyms(100_000), 2_000_000, _PER_S, _BATCH))
    ours, loop = [], []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        scan(parts)
        loop.append(time.perf_counter() - started)
        ours.append(_count(_shard(), parts))
        gc.collect()
    return {"ours": 2_000_000 / statistics.median(ours), "loop": 2_000_000 / statistics.median(loop)}


def _known(people: int, files: Files | None = None) -> tuple[Shard, int]:
    """A shard that knows so many people, most of them from weeks ago; and when the last event was."""
    shard, events = _shard(files), 3 * people
    per_s = events / (30 * _DAY_S)
    for number, batch in enumerate(batches(pseudonyms(people), events, per_s, 100_000), 1):
        shard.add(batch)
        if number % 2 == 0:
            _tick(shard)
    _tick(shard)
    return shard, BEGIN_MS + 30 * _DAY_S * 1_000


def _growth() -> dict[str, float]:
    """Microseconds an event, with few people and with many who do as much each, turn about.

    A million bring 5,000 events a second, ten thousand 50: with as many events of few, these would be at it all the
    time, nobody would come or go, and there would be less to say.
    """
    found: dict[int, list[float]] = {10_000: [], 1_000_000: []}
    known = {people: _known(people) for people in found}
    names = {people: pseudonyms(people) for people in found}
    events = 500_000
    for people, (shard, begin_ms) in known.items():
        # Ten minutes in which nearly everybody comes: from then on few events are somebody's first of the day.
        known_now = batches(names[people], 3 * people, people / 200, 5_000, begin_ms=begin_ms, seed=99)
        _count(shard, known_now, tick_every=1)
    for turn in range(_ROUNDS):
        for people, (shard, begin_ms) in known.items():
            begin_ms += (3 * people + turn * events) * 200_000 // people
            parts = list(batches(names[people], events, people / 200, 5_000, begin_ms=begin_ms, seed=turn))
            found[people].append(_count(shard, parts, tick_every=1) / events * 1e6)
    few, many = (statistics.median(times) for times in found.values())
    return {"few_us": few, "many_us": many, "ratio": many / few}


def _memory() -> dict[str, float]:
    people = 1_000_000
    # What making the events takes, and what one large tick does, stays with the process for good.
    shard = _shard()
    for batch in batches(pseudonyms(people), 3 * people, 3 * people / (30 * _DAY_S), 100_000):
        last = batch
    shard.add(last)
    shard.tick()
    del shard
    gc.collect()
    before = _resident()
    kept = _known(people)
    gc.collect()
    return {"bytes": (_resident() - before) / people, "people": float(len(kept))}


def _snapshots() -> dict[str, float]:
    """Seconds of each snapshot, the engine's writing of what we give it included, by those between two."""
    with tempfile.TemporaryDirectory() as place:
        files = Directory(Path(place) / "people")
        shard, begin_ms = _known(1_000_000, files)
        names = pseudonyms(1_000_000)
        database = sqlite3.connect(Path(place) / "engine.sqlite3")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE snaps (epoch INTEGER, state BLOB)")
        events = _PER_S * _EPOCH_S
        took = []
        for epoch in range(_EPOCHS + 1):
            at_ms = begin_ms + epoch * _EPOCH_S * 1_000
            _count(shard, list(batches(names, events, _PER_S, 500, begin_ms=at_ms, seed=epoch)))
            started = time.perf_counter()
            state = pickle.dumps(shard.to_bytes())
            database.execute("INSERT INTO snaps VALUES (?, ?)", (epoch, state))
            database.execute("DELETE FROM snaps WHERE epoch < ?", (epoch,))
            database.commit()
            took.append(time.perf_counter() - started)
        # The first writes everybody down, once for the life of a state directory.
        return {"share": sum(took[1:]) / (_EPOCHS * _EPOCH_S), "longest_s": max(took[1:]), "first_s": took[0]}


def _resident() -> int:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _print(figures: Figures, speed: dict[str, float], growth: dict[str, float], snapshots: dict[str, float]) -> None:
    table = Table("people", "measured", "target", "")
    table.add_row("events_per_s", f"{figures.events_per_s:,.0f}", "", f"the loop: {speed['loop']:,.0f}")
    for key, (sign, target) in TARGETS.items():
        value = getattr(figures, key)
        table.add_row(key, f"{value:.3g}", f"{sign} {target:g}", "met" if is_met((sign, target), value) else "missed")
    _console.print(table)
    _console.print(
        f"an event takes {growth['few_us']:.2f} µs with 10,000 people, {growth['many_us']:.2f} µs with a million; the "
        f"longest snapshot {snapshots['longest_s']:.2f} s, the first {snapshots['first_s']:.1f} s"
    )


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4 if value < 10 else 0) for key, value in figures.items()}


_MEASURES = {"speed": _speed, "growth": _growth, "memory": _memory, "snapshots": _snapshots}


if __name__ == "__main__":
    sys.exit(main())
