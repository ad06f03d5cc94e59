"""The short form of the chaos test; `make chaos` runs the long one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tests.chaos.trial import Options, run


def test_a_cluster_that_is_killed_at_random_ends_at_the_batch(tmp_path: Path) -> None:
    # Chosen anew each time at a desk. On CI one that kills members, supervisor and Valkey, and the same for all runs.
    usual = 26 if os.environ.get("CI") else secrets.randbelow(1_000_000)
    options = Options(
        events=int(os.environ.get("CHAOS_EVENTS", 40_000)),
        kills=int(os.environ.get("CHAOS_KILLS", 5)),
        seed=int(os.environ.get("CHAOS_SEED", usual)),
    )
    report = run(options, tmp_path, print)
    print(report.text())
    assert report.problems == [], report.text()
