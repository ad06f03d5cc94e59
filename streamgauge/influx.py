"""What the processor writes to InfluxDB, as catalog and settings have it."""

from __future__ import annotations

from pathlib import Path

from sinks.influx import InfluxSink
from sinks.influx_tiers import Buckets
from sinks.spool_places import Places
from stream.catalog import Catalog
from stream.influx_writer import InfluxWriter
from stream.meters import Meters
from stream.plan import Plan
from stream.walltime import clock_ms
from streamgauge.influx_places import TOP_K
from streamgauge.places import SPOOLS
from streamgauge.settings import Settings
from streamgauge.terminal import without_login


def buckets_of(plan: Plan, settings: Settings) -> Buckets:
    """Which bucket the points of each window are for."""
    widths_ms = {window.name: window.about_ms for cube in plan.all_cubes for window in cube.windows}
    return Buckets(settings.influx_bucket, settings.influx_bucket_hourly, settings.influx_bucket_daily, widths_ms)


def sink_of(catalog: Catalog, plan: Plan, settings: Settings) -> InfluxSink:
    """InfluxDB itself. Raises Misconfigured for settings that can never work."""
    assert settings.influx_url is not None
    return InfluxSink(
        without_login(settings.influx_url),
        settings.influx_token.get_secret_value(),
        settings.influx_org,
        buckets_of(plan, settings),
        open_points=catalog.influx.open,
        # Each text that was ever among the most frequent would be a field of its own.
        skip=frozenset(metric.name for metric in catalog.metric if metric.measure == TOP_K),
    )


def writer_of(
    catalog: Catalog, plan: Plan, settings: Settings, state: Path, *, processes: int, member: int, meters: Meters
) -> InfluxWriter:
    """InfluxDB behind the spool of one of some processes. Raises Misconfigured."""
    places = Places(state / SPOOLS, processes, member)
    limit_bytes = settings.influx_spool_mb * 1_000_000
    return InfluxWriter(sink_of(catalog, plan, settings), places, limit_bytes, meters, clock_ms)
