"""What the analyses of people are held to."""

from __future__ import annotations

from dataclasses import dataclass

TARGETS = {
    "vs_loop": ("≥", 1.0),
    "bytes_per_person": ("≤", 600.0),
    "snapshot_share": ("≤", 0.05),
    "cost_growth": ("≤", 1.5),
}
"""By the names of `Figures`."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run's."""

    events_per_s: float
    """With 100,000 people, one process: from the decoded batch to what the shard reports."""
    vs_loop: float
    """That rate by the loop's over the same batches."""
    bytes_per_person: float
    """Memory that a million people take, three events of each over 30 days."""
    snapshot_share: float
    """Share of the time that snapshots take: a million people, 5,000 events a second, one each 10 s."""
    cost_growth: float
    """Cost of an event with a million people by that with 10,000, all of whom are known."""
