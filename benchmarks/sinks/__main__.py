"""`make bench-sinks`: lines for InfluxDB, upserts, the archive, and questions about the past.

Writes `benchmarks/results/sinks.json` with the keys of `Figures`, and `targets` with `met` or `missed` for each key of
`TARGETS`. Each measurement has a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.sinks.result import TARGETS, Figures
from benchmarks.targets import is_met

RESULTS = Path(__file__).parents[1] / "results" / "sinks.json"
_MEASUREMENTS = ("influx", "store", "archive", "history")
"""Modules beside this one; `measure()` of each gives some of the figures, by key."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sinks")
    parser.add_argument("--measure", choices=_MEASUREMENTS, help="only that, and print what it found")
    options = parser.parse_args(arguments)
    if options.measure is not None:
        print(json.dumps(importlib.import_module(f"benchmarks.sinks.{options.measure}").measure()))
        return 0
    console = Console()
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before it began")
    found: dict[str, float] = {}
    for name in _MEASUREMENTS:
        found |= _alone(name)
    figures = asdict(Figures(**found))
    verdicts = {key: "met" if is_met(target, figures[key]) else "missed" for key, target in TARGETS.items()}
    table = Table("figure", "measured", "target", "", title="Sinks")
    for key, value in figures.items():
        target = TARGETS.get(key)
        table.add_row(key, f"{value:,.3g}", "" if target is None else f"{target[0]} {target[1]:g}", verdicts.get(key))
    console.print(table)
    RESULTS.write_text(json.dumps(figures | {"targets": verdicts}, indent=2) + "\n")
    return 0


def _alone(name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sinks", "--measure", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
