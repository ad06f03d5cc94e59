"""What `make bench-sinks` finds, and what it is held to."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.targets import Target


@dataclass(frozen=True, slots=True)
class Figures:
    """The keys of `benchmarks/results/sinks.json`."""

    lines_vs_point: float
    """How many times as many lines a second our encoder makes as influxdb-client's `Point`."""
    influx_share: float
    """Share of its time that the processor spends on InfluxDB at 5,000 points a second."""
    store_points_per_s: float
    """Upserts into SQLite."""
    archive_events_per_s: float
    """Events from the shard to Parquet files in their place."""
    history_month_ms: float
    """A month of one series of a metric in 1 m windows, of a store with 100 series, over HTTP: median."""
    history_month_all_ms: float
    """The same for all 100 series at once."""
    history_day_ms: float
    """A day of one series."""
    history_same_ms: float
    """A month again, asked with its ETag."""


TARGETS: dict[str, Target] = {
    "lines_vs_point": ("≥", 10),
    "influx_share": ("≤", 0.15),
    "store_points_per_s": ("≥", 20_000),
    "archive_events_per_s": ("≥", 300_000),
    "history_month_ms": ("≤", 100),
    "history_month_all_ms": ("≤", 100),
}
