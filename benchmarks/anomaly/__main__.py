"""`make bench-anomaly`: every detector that learns, over the labelled series of NAB, and beside published ones.

Writes `benchmarks/results/anomaly.json`: an object for each detector, with the keys of `Figures`, one for each
threshold with what it costs, and `targets` with `met` or `missed` for each key of `TARGETS`. With `--only` it only
prints. Ends with 1 where the series are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.anomaly.nab import PUBLISHED, Absent, Figures, cost, measure, scorer
from benchmarks.anomaly.result import TARGETS
from benchmarks.targets import is_met
from models.registry import DETECTORS, detector_class

RESULTS = Path(__file__).parents[1] / "results" / "anomaly.json"
_DEAREST = {"above": {"relative": "usual"}, "below": {"relative": "usual"}, "crossing": {"above": 1e12}}
"""Options of thresholds with which they take most."""
_console = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    learning = [name for name in DETECTORS if detector_class(name).learns]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anomaly", description="With --only, only prints.")
    parser.add_argument("--only", action="append", choices=learning, metavar="DETECTOR", help="any number of times")
    options = parser.parse_args(arguments)
    try:
        score = scorer()
    except Absent as error:
        print(error, file=sys.stderr)
        return 1
    # Whoever reads the microseconds should know whether the machine had anything else to do.
    _console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before it began")
    found = {}
    for name in options.only or learning:
        _console.print(f"{name} over {len(score.load())} files")
        found[name] = measure(name, score)
    _print(found)
    if "novelty" in found:
        _print_targets(found["novelty"])
    if not options.only:
        limits = {name: cost(name, _DEAREST.get(name, {}), score) for name in DETECTORS if name not in learning}
        RESULTS.write_text(json.dumps(_json(found, limits), indent=2) + "\n")
        _console.print(f"written to benchmarks/results/{RESULTS.name}")
    return 0


def _print(found: dict[str, Figures]) -> None:
    heads = ("detector", "standard", "low FP", "low FN", "LOO", "default", "false", "µs")
    table = Table(box=None)  # 80 columns
    table.add_column(heads[0], no_wrap=True)
    for head in heads[1:]:
        table.add_column(head, justify="right")
    for name, one in found.items():
        scores = (one.standard, one.low_fp, one.low_fn, one.loo)
        table.add_row(
            name,
            *(f"{value:.1f}" for value in scores),
            f"{one.standard_at_threshold:.1f}",
            f"{one.false_episodes_per_10k:.1f}",
            f"{one.us_per_row:.1f}",
        )
    for name, published in PUBLISHED.items():
        table.add_row(f"{name} *", *(f"{value:.1f}" for value in published))
    _console.print(table)
    _console.print("default: standard at the detector's own threshold; false: episodes there, for 10,000 rows")
    _console.print("µs: for a row, scored and learned; *: as published for the same files")


def _print_targets(novelty: Figures) -> None:
    table = Table("novelty", "measured", "target", "")
    for key, (sign, target) in TARGETS.items():
        value = getattr(novelty, key)
        table.add_row(key, f"{value:.1f}", f"{sign} {target:g}", "met" if is_met((sign, target), value) else "missed")
    _console.print(table)


def _json(found: dict[str, Figures], limits: dict[str, dict[str, float]]) -> dict[str, dict[str, object]]:
    values: dict[str, dict[str, object]] = {
        name: {key: round(value, 2) for key, value in asdict(one).items()} for name, one in found.items()
    }
    values |= {name: {key: round(value, 2) for key, value in one.items()} for name, one in limits.items()}
    values["targets"] = {
        key: "met" if is_met(target, getattr(found["novelty"], key)) else "missed" for key, target in TARGETS.items()
    }
    return values


if __name__ == "__main__":
    sys.exit(main())
