"""`make bench-hub`: everything on one machine, clients in processes of their own on loopback.

Writes `benchmarks/results/hub.json` with exactly the keys of `Result`, when all of it was measured at its full size;
with any option it only prints.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.engine.place import Place, place
from benchmarks.hub import age, latency, memory, resume, saturation, stalled
from benchmarks.hub.result import TARGETS, Result
from benchmarks.targets import is_met

RESULTS = Path(__file__).parents[1] / "results" / "hub.json"
KEYS = tuple(field.name for field in fields(Result))
Values = dict[str, float | None]
_console = Console()


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options().parse_args(arguments)
    whole = all(getattr(options, name) == default for name, default in vars(_options().parse_args([])).items())
    keys = set(options.only or KEYS)
    values: Values = {}
    # Whoever reads the figures should know whether the machine had anything else to do.
    _console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before it began")
    with place() as where:
        if found := keys.intersection(saturation.KEYS):
            _saturation(found, options, where, values)
        _others(keys, options, where, values)
    _summary(values)
    if whole:
        RESULTS.write_text(json.dumps(asdict(Result(**values)), indent=2) + "\n")  # type: ignore[arg-type]
        _console.print(f"written to benchmarks/results/{RESULTS.name}")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hub", description="With any option, only prints.")
    parser.add_argument("--only", action="append", choices=KEYS, metavar="KEY", help="a key to measure, any number")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--saturated-s", type=float, default=5, help="that each turn of a contender is measured for")
    parser.add_argument("--clients", type=int, default=2_000, help="while latency is measured")
    parser.add_argument("--latency-s", type=float, default=20, help="that latency is measured for")
    parser.add_argument("--stalled-rounds", type=int, default=5, help="turns with and without stalled clients")
    parser.add_argument("--stalled-s", type=float, default=12, help="of each turn with and without stalled clients")
    parser.add_argument("--reconnects", type=int, default=1_000)
    parser.add_argument("--age-s", type=float, default=60, help="that the age of painted numbers is measured for")
    return parser


def _saturation(keys: set[str], options: argparse.Namespace, where: Place, values: Values) -> None:
    found = saturation.measure(where, keys, options.rounds, options.saturated_s, _console.print)
    values.update((key, found.value(key)) for key in keys)
    table = Table("contender", "frames/s of a core, median", "least", "most", "bytes", "its core", "the clients' core")
    for name, turns in found.turns.items():
        rates = [turn.frames_per_s_core for turn in turns]
        table.add_row(
            name,
            *(f"{rate:,.0f}" for rate in (statistics.median(rates), min(rates), max(rates))),
            f"{turns[0].frame_bytes:.0f}",
            f"{statistics.median(turn.core_share for turn in turns):.2f}",
            f"{statistics.median(turn.clients_core_share for turn in turns):.2f}",
        )
    for name, reason in found.absent.items():
        table.add_row(name, reason)
    _console.print(table)


def _others(keys: set[str], options: argparse.Namespace, where: Place, values: Values) -> None:
    table = Table("figure", "measured")
    if keys.intersection(latency.KEYS):
        _console.print(f"latency of {options.clients:,} clients at {latency.PER_S:.0f} Hz")
        late = latency.measure(where, options.clients, options.latency_s)
        values |= {"p99_ms_2000x10hz": late.p99_ms, "core_share": late.core_share}
        table.add_row("latency: median, longest, ms", f"{late.p50_ms:.1f}, {late.max_ms:.1f}")
        table.add_row("frames/s, and share of those to come", f"{late.frames_per_s:,.0f}, {late.whole:.3f}")
        table.add_row("the clients' share of a core meanwhile", f"{late.clients_core_share:.2f}")
    if keys.intersection(stalled.KEYS):
        _console.print(f"{stalled.HEALTHY} healthy clients with and without {stalled.STALLED} stalled ones")
        stalls = stalled.measure(where, options.stalled_rounds, options.stalled_s, _console.print)
        values |= {"stalled_effect": stalls.effect, "stalled_evicted_s": max(stalls.evicted_s)}
        table.add_row("evicted after: median, s", f"{statistics.median(stalls.evicted_s):.2f}")
        table.add_row("evicted, and told so by a reset", f"{len(stalls.evicted_s)}, {stalls.reset}")
        table.add_row("bytes a frame of theirs", f"{stalls.frame_bytes:,.0f}")
    if "kb_per_client" in keys:
        _console.print(f"memory from {memory.FEW:,} to {memory.MANY:,} clients")
        values["kb_per_client"] = memory.kb_per_client(where)
    if "resume_complete" in keys:
        _console.print(f"{options.reconnects:,} reconnects under load")
        resumes = resume.measure(where, options.reconnects, _console.print)
        values["resume_complete"] = resumes.share
        table.add_row(
            "reconnects: complete, resumed, with a snapshot",
            f"{resumes.complete:,}, {resumes.resumed:,}, {resumes.snapshots:,}",
        )
    if "age_p99_ms" in keys:
        _console.print("age of a painted number")
        found = age.measure(options.age_s)
        values["age_p99_ms"] = found.p99_ms
        table.add_row("age: median, longest, ms", f"{found.p50_ms:.0f}, {found.max_ms:.0f}")
        table.add_row("probes, and those painted themselves", f"{found.probes:,}, {found.painted:,}")
    if table.row_count:
        _console.print(table)


def _summary(values: Values) -> None:
    table = Table("key", "measured", "target", "")
    for key in KEYS:
        if key in values:
            value, (sign, target) = values[key], TARGETS[key]
            shown = "not measured" if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
            verdict = "" if value is None else "met" if is_met(TARGETS[key], value) else "missed"
            table.add_row(key, shown, f"{sign} {target:,g}", verdict)
    _console.print(table)


if __name__ == "__main__":
    main()
