"""What the benchmark says: its keys, what each of them is, and what it should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """The keys of `benchmarks/results/engine.json`.

    The first six are ratios of rates in events a second, each the median over the rounds. In each round all contenders
    take their turn on the same backlog and server; a ratio is of two rates of the same round. Ours is the full catalog
    of `benchmarks.engine_catalog` in the real `streamgauge run`.
    """

    vs_drain: float
    """Ours, one process, over a bare loop of XREAD COUNT 1000 and `orjson.loads` of each event."""
    vs_naive: float
    """Ours over a Bytewax flow of single events that counts one thing with `fold_window`."""
    vs_consumer: float
    """Ours over a hand-written consumer (XREADGROUP, `json.loads`, a dict, XACK) that counts one thing."""
    vs_pathway: float | None
    """Ours over Pathway with one grouped count. None where Pathway cannot be had; the table says why."""
    batched: float
    """Ours with entries that are arrays of 100 events, over ours with one event an entry."""
    two_processes: float
    """Ours with two processes over ours with one, both reading the same two streams."""
    latency_p99_ms: float
    """From before the XADD to the entry of the live stream whose count has the event in it, at 20,000 events/s."""
    bytes_per_series: float
    """Resident memory of the processor at 100,000 series less that at 1,000, for each series between."""
    epoch_pause_ms: float
    """The longest time between two calls of the source with a snapshot between them, at 100,000 series."""
    recovery_s: float
    """From `kill -9` at 100,000 series and snapshots each second until a live count has everything again."""


TARGETS = {
    "vs_drain": ("≥", 0.5),
    "vs_naive": ("≥", 3.0),
    "vs_consumer": ("≥", 1.5),
    "vs_pathway": ("≥", 2.0),
    "batched": ("≥", 1.5),
    "two_processes": ("≥", 1.5),
    "latency_p99_ms": ("≤", 150.0),
    "bytes_per_series": ("≤", 2_000.0),
    "epoch_pause_ms": ("≤", 50.0),
    "recovery_s": ("≤", 5.0),
}
