"""`make bench-engine`: everything on one machine, against one embedded Valkey server on loopback.

Writes `benchmarks/results/engine.json` with exactly the keys of `Result`, when all of it was measured at its full size;
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

from benchmarks.engine import latency, series, speed
from benchmarks.engine.place import Place, place
from benchmarks.engine.result import TARGETS, Result
from benchmarks.targets import is_met

RESULTS = Path(__file__).parents[1] / "results" / "engine.json"
KEYS = tuple(field.name for field in fields(Result))
_console = Console()


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options().parse_args(arguments)
    whole = all(getattr(options, name) == default for name, default in vars(_options().parse_args([])).items())
    keys = options.only or KEYS
    values: dict[str, float | None] = {}
    # Whoever reads the figures should know whether the machine had anything else to do.
    _console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before it began")
    with place() as where:
        _speeds([key for key in keys if key in speed.RATIOS], options, where, values)
        _others(keys, options, where, values)
    _summary(values)
    if whole:
        RESULTS.write_text(json.dumps(asdict(Result(**values)), indent=2) + "\n")  # type: ignore[arg-type]
        _console.print(f"written to benchmarks/results/{RESULTS.name}")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description="With any option, only prints.")
    parser.add_argument("--only", action="append", choices=KEYS, metavar="KEY", help="a key to measure, any number")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the backlog")
    parser.add_argument("--peer-events", type=int, default=300_000, help="most that the slow contenders read of it")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--rate", type=int, default=20_000, help="events a second while latency is measured")
    parser.add_argument("--seconds", type=int, default=20, help="that latency, and the pause, are measured for")
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=3)
    return parser


def _speeds(keys: Sequence[str], options: argparse.Namespace, where: Place, values: dict[str, float | None]) -> None:
    if not keys:
        return
    speeds = speed.measure(where, keys, options.events, options.peer_events, options.rounds, _console.print)
    values.update((key, speeds.ratio(key)) for key in keys)
    table = Table("contender", "events", "events/s, median", "least", "most")
    for name, events in speeds.events.items():
        rates = speeds.rates.get(name, [])
        if name in speeds.absent:
            table.add_row(name, f"{events:,}", speeds.absent[name])
        else:
            shown = [statistics.median(rates), min(rates), max(rates)]
            table.add_row(name, f"{events:,}", *(f"{rate:,.0f}" for rate in shown))
    _console.print(table)


def _others(keys: Sequence[str], options: argparse.Namespace, where: Place, values: dict[str, float | None]) -> None:
    table = Table("figure", "measured")
    if "latency_p99_ms" in keys:
        _console.print(f"latency at {options.rate:,} events/s")
        late = latency.measure(where, options.rate, options.seconds)
        values["latency_p99_ms"] = late.p99_ms
        table.add_row("events/s that were sent", f"{late.rate:,.0f}")
        table.add_row("latency: median, longest, ms", f"{late.p50_ms:,.0f}, {late.max_ms:,.0f}")
    sizes = f"{options.series:,} series"
    if "bytes_per_series" in keys:
        _console.print(f"memory from {series.FEW:,} to {sizes}")
        values["bytes_per_series"] = series.bytes_per_series(where, options.series, series.ONE_WINDOW)
        more = series.bytes_per_series(where, options.series, series.DEFAULT_WINDOWS)
        table.add_row("bytes a series with the four default windows", f"{more:,.0f}")
    if "epoch_pause_ms" in keys:
        _console.print(f"pauses at {sizes}")
        one = series.epoch_pause(where, options.series, series.ONE_WINDOW, options.seconds)
        four = series.epoch_pause(where, options.series, series.DEFAULT_WINDOWS, options.seconds)
        values["epoch_pause_ms"] = one.longest_ms
        table.add_row("snapshots, and the median pause for one, ms", f"{one.snapshots}, {one.median_ms:,.1f}")
        table.add_row(
            "longest for the bytes of the shard, of the merge, ms", f"{one.shard_ms:,.1f}, {one.merge_ms:,.1f}"
        )
        table.add_row("between other calls: median, p99, ms", f"{one.ordinary_ms:,.1f}, {one.ordinary_p99_ms:,.1f}")
        table.add_row("longest with the four default windows, ms", f"{four.longest_ms:,.1f}")
    if "recovery_s" in keys:
        _console.print(f"recovery at {sizes}")
        found = series.recovery(where, options.series, series.ONE_WINDOW, options.kills)
        values["recovery_s"] = statistics.median(found)
        table.add_row("each recovery, s", ", ".join(f"{seconds:.2f}" for seconds in found))
    if table.row_count:
        _console.print(table)


def _summary(values: dict[str, float | None]) -> None:
    table = Table("key", "measured", "target", "")
    for key in KEYS:
        if key in values:
            value, (sign, target) = values[key], TARGETS[key]
            shown = "not measured" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
            verdict = "" if value is None else "met" if is_met(TARGETS[key], value) else "missed"
            table.add_row(key, shown, f"{sign} {target:,g}", verdict)
    _console.print(table)


if __name__ == "__main__":
    main()
