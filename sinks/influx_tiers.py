"""Which bucket of InfluxDB the points of a window are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


class Tier(IntEnum):
    """Which of three buckets a window's points are for, by its width."""

    RAW = 0
    """Less than an hour; and alerts."""
    HOURLY = 1
    """An hour to less than a day."""
    DAILY = 2
    """A day and more."""

    @property
    def called(self) -> str:
        """Its name in the catalog's `keep.bucket`."""
        return self.name.lower()


def tier_of(width_ms: int) -> Tier:
    """The tier of windows of a width."""
    return Tier.RAW if width_ms < _HOUR_MS else Tier.HOURLY if width_ms < _DAY_MS else Tier.DAILY


@dataclass(frozen=True, slots=True)
class Buckets:
    """The bucket of each tier, and the tier of each window."""

    raw: str
    hourly: str | None = None
    """None: the same as `raw`, as with `daily`."""
    daily: str | None = None
    widths_ms: Mapping[str, int] = field(default_factory=dict)
    """Width of each window by its name, of calendar windows about. A window that is not in it is in `raw`."""

    def tier(self, window: str) -> Tier:
        return tier_of(self.widths_ms.get(window, 0))

    def of(self, tier: Tier) -> str:
        return {Tier.RAW: self.raw, Tier.HOURLY: self.hourly, Tier.DAILY: self.daily}[tier] or self.raw

    def setting(self, tier: Tier) -> str:
        """The variable that says which bucket that is."""
        if tier is Tier.HOURLY and self.hourly:
            return "INFLUX_BUCKET_HOURLY"
        return "INFLUX_BUCKET_DAILY" if tier is Tier.DAILY and self.daily else "INFLUX_BUCKET"
