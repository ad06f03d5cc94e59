"""`make chaos`: the long form. `python -m tests.chaos --help` lists what can be set."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.trial import Options, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    for name, usual, what in (
        ("events", 1_000_000, "different honest events"),
        ("kills", 28, "how often something is ended"),
        ("seed", secrets.randbelow(1_000_000), "what all choices follow from"),
    ):
        chosen = os.environ.get(f"CHAOS_{name.upper()}")
        parser.add_argument(f"--{name}", type=int, default=int(chosen) if chosen else usual, help=what)
    parser.add_argument("--keep", action="store_true", help="keep the directory with logs, store and state")
    asked = parser.parse_args()
    began_s = time.monotonic()
    # Told to end, it must still end what it has started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))

    def say(text: str) -> None:
        print(f"{time.monotonic() - began_s:7.1f} s  {text}", flush=True)

    directory = Path(tempfile.mkdtemp(prefix="streamgauge-chaos-"))
    say(f"in {directory}")
    keep = True
    try:
        report = run(Options(asked.events, asked.kills, asked.seed), directory, say)
        keep = bool(report.problems)
        (directory / "problems.txt").write_text("\n".join(report.problems))
    finally:
        if not (keep or asked.keep):
            shutil.rmtree(directory)
    print(report.text())
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
