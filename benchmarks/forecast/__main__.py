"""`make bench-forecast`: forecasts of real series one, six and twelve windows ahead, beside seasonal naive ones.

Writes `benchmarks/results/forecast.json`: for each series and horizon `relative` (mean absolute error in that of the
value one day before), `mase`, `coverage` of 90 % intervals and `worst_coverage` of any 500 steps in a row; their
geometric means; what a step costs and how large the state is; and `targets` with `met` or `missed`. With `--only` it
only prints. Ends with 1 where the series are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.forecast.series import HORIZONS, OTHERS, SERIES, Absent, Figures, geometric_mean, measure, read
from benchmarks.targets import Target, is_met

RESULTS = Path(__file__).parents[1] / "results" / "forecast.json"
TARGETS: dict[str, Target] = {
    "relative_1": ("≤", 0.62),
    "relative_6": ("≤", 0.90),
    "relative_12": ("≤", 0.90),
    "least_coverage": ("≥", 0.88),
    "most_coverage": ("≤", 0.92),
    "worst_coverage": ("≥", 0.86),
    "us_per_step": ("≤", 40.0),
    "state_bytes": ("≤", 10_000),
}
"""Of the series of `SERIES`: the geometric means of `relative`, and the extremes of the rest over all horizons."""
_console = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description="With --only, only prints.")
    parser.add_argument("--only", action="append", choices=(*SERIES, *OTHERS), metavar="SERIES", help="any number")
    options = parser.parse_args(arguments)
    # Whoever reads the microseconds should know whether the machine had anything else to do.
    _console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before it began")
    try:
        found = {name: measure(read(name)) for name in options.only or (*SERIES, *OTHERS)}
    except Absent as error:
        print(error, file=sys.stderr)
        return 1
    _print(found)
    if not options.only:
        result = summary({name: found[name] for name in SERIES})
        _print_targets(result)
        RESULTS.write_text(json.dumps(_json(found, result), indent=2) + "\n")
        _console.print(f"written to benchmarks/results/{RESULTS.name}")
    return 0


def summary(found: Mapping[str, Figures]) -> dict[str, float]:
    """By the names of `TARGETS`."""
    judged = [one for figures in found.values() for one in figures.judgements]
    coverages = [one.quality.coverage for one in judged]
    means = {
        f"relative_{horizon}": geometric_mean(one.quality.relative for one in judged if one.horizon == horizon)
        for horizon in HORIZONS
    }
    return means | {
        "least_coverage": min(coverages),
        "most_coverage": max(coverages),
        "worst_coverage": min(one.quality.worst_coverage for one in judged),
        "us_per_step": min(figures.us_per_step for figures in found.values()),
        "state_bytes": max(figures.state_bytes for figures in found.values()),
    }


def _print(found: Mapping[str, Figures]) -> None:
    table = Table(box=None)  # 80 columns
    table.add_column("series", no_wrap=True, max_width=30)
    for head in ("ahead", "relative", "MASE", "covered", "worst", "µs", "bytes"):
        table.add_column(head, justify="right")
    for name, figures in found.items():
        for at, one in enumerate(figures.judgements):
            quality = one.quality
            table.add_row(
                name.split("/")[1] if at == 0 else "",
                f"{one.horizon}",
                f"{quality.relative:.3f}",
                f"{quality.mase:.3f}",
                f"{quality.coverage:.3f}",
                f"{quality.worst_coverage:.3f}",
                f"{figures.us_per_step:.1f}" if at == 0 else "",
                f"{figures.state_bytes}" if at == 0 else "",
            )
    _console.print(table)
    _console.print("relative: error in that of the value a day before; worst: coverage of any 500 steps in a row")


def _print_targets(result: Mapping[str, float]) -> None:
    table = Table("forecast", "measured", "target", "")
    for key, (sign, target) in TARGETS.items():
        value = result[key]
        met = "met" if is_met((sign, target), value) else "missed"
        table.add_row(key, f"{value:.3f}" if value < 10 else f"{value:.1f}", f"{sign} {target:g}", met)
    _console.print(table)


def _json(found: Mapping[str, Figures], result: Mapping[str, float]) -> dict[str, object]:
    series: dict[str, object] = {
        name: {
            **{
                str(one.horizon): {
                    "steps": one.quality.steps,
                    "relative": round(one.quality.relative, 4),
                    "mase": round(one.quality.mase, 4),
                    "coverage": round(one.quality.coverage, 4),
                    "worst_coverage": round(one.quality.worst_coverage, 4),
                }
                for one in figures.judgements
            },
            "us_per_step": round(figures.us_per_step, 1),
            "state_bytes": figures.state_bytes,
        }
        for name, figures in found.items()
    }
    return {
        "series": series,
        **{key: round(value, 4) for key, value in result.items()},
        "targets": {key: "met" if is_met(target, result[key]) else "missed" for key, target in TARGETS.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
