"""What `make bench-ingest` finds, and what it is held to."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.targets import Target


@dataclass(frozen=True, slots=True)
class Figures:
    """The keys of `benchmarks/results/ingest.json`."""

    ingest_vs_xadd: float
    """Events a second through `POST /v1/events` in batches of 100, as a share of those that `XADD` takes one by one."""


TARGETS: dict[str, Target] = {"ingest_vs_xadd": ("≥", 0.25)}
