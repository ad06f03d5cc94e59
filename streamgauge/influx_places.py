"""Where points are in InfluxDB: which bucket has which windows, and how long it is to keep them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sinks.errors import Misconfigured
from sinks.influx_tiers import Tier, tier_of
from stream.catalog import Catalog
from stream.durations import DAY_MS, TOTAL, duration_ms
from stream.metrics import Metric
from stream.windows import window_of
from streamgauge.settings import Settings
from streamgauge.terminal import without_login

TOP_K = "top_k"
"""The measure whose metrics InfluxDB does not get: each text that was ever frequent would be a field of its own."""
_HOUR_MS = 3_600_000
_UTC = ZoneInfo("UTC")


def tier_of_window(window: str) -> Tier:
    """Where a window's points are kept, by its width."""
    # The zone decides when a day begins, not how long it is.
    return tier_of(window_of(window, _UTC).about_ms)


@dataclass(frozen=True, slots=True)
class InfluxPlace:
    """A server and what of it is ours."""

    url: str
    token: str = field(repr=False)
    org: str
    buckets: Mapping[Tier, str]

    @property
    def tiers(self) -> dict[str, list[Tier]]:
        """Every bucket once, with what is in it."""
        found: dict[str, list[Tier]] = {}
        for tier, bucket in self.buckets.items():
            found.setdefault(bucket, []).append(tier)
        return found


def place_of(settings: Settings, *, token: str | None = None, apart: bool = False) -> InfluxPlace:
    """What the settings say. Buckets that they do not name are the same as INFLUX_BUCKET, or with `apart` have names of
    their own that begin with it. Raises Misconfigured."""
    url, bucket = settings.influx_url, settings.influx_bucket
    if url is None:
        raise Misconfigured("INFLUX_URL is not set: it names the server, such as http://localhost:8086")
    # Nothing is sent of it, and messages name the address.
    url = without_login(url)
    if not url.startswith(("http://", "https://")):
        raise Misconfigured(f"INFLUX_URL is {url!r}, expected one like http://localhost:8086")
    hourly, daily = (f"{bucket}_hourly", f"{bucket}_daily") if apart else (bucket, bucket)
    return InfluxPlace(
        url.rstrip("/"),
        settings.influx_token.get_secret_value() if token is None else token,
        settings.influx_org,
        {
            Tier.RAW: bucket,
            Tier.HOURLY: settings.influx_bucket_hourly or hourly,
            Tier.DAILY: settings.influx_bucket_daily or daily,
        },
    )


def kept_ms(catalog: Catalog, tiers: Iterable[Tier]) -> int:
    """For how long a bucket keeps what is in it, as the catalog has it: as long as any of that deserves."""
    return max(duration_ms(getattr(catalog.keep.bucket, tier.called)) for tier in tiers)


def written_metrics(catalog: Catalog) -> list[Metric]:
    """The metrics whose points InfluxDB gets, and which have windows that it gets."""
    return [metric for metric in catalog.every_metric if metric.measure != TOP_K and written_windows(metric)]


def written_windows(metric: Metric) -> list[str]:
    """Its windows that end: only then are they final."""
    return [window for window in metric.windows if window != TOTAL]


def shown_duration(duration: int) -> str:
    """Milliseconds as a person says them: `90 d`, `36 h`; 0 is for good."""
    if not duration:
        return "for good"
    for unit, size_ms in (("d", DAY_MS), ("h", _HOUR_MS), ("min", 60_000)):
        if duration % size_ms == 0:
            return f"{duration // size_ms:,} {unit}"
    return f"{duration / 1_000:,.0f} s"
