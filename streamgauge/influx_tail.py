"""`streamgauge tail --influx`: points as they are in InfluxDB, those that come and those that change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

import orjson

from sinks.influx_tiers import Tier
from sinks.line_protocol import dimension_name
from sinks.records import Point, State, Value
from stream.catalog import Catalog
from stream.durations import DAY_MS, duration_ms
from stream.windows import window_of
from streamgauge.influx_places import InfluxPlace, tier_of_window, written_metrics, written_windows
from streamgauge.influx_rows import Reader, Row
from streamgauge.tail import line

_OURS = frozenset({"count", "revision", "final", "error"})
"""Fields that say something about a value."""
_WIDEST_MS = {Tier.RAW: 3_600_000, Tier.HOURLY: DAY_MS, Tier.DAILY: 32 * DAY_MS}
"""Of the windows that mostly are of a tier; those that slide over more than a month are found with a catalog only."""
_LATENESS_MS = 3_600_000
"""What a catalog allows that says nothing."""

Key = tuple[str, str, tuple[tuple[str, str], ...], int]


@dataclass(frozen=True, slots=True)
class Reach:
    """A bucket, and how far before the latest row something may still change in it."""

    bucket: str
    back_ms: int


def reaches(place: InfluxPlace, metric: str | None, catalog: Catalog | None) -> list[Reach]:
    """Where to look for a metric: with a catalog only where its windows are, and no further back than they change."""
    if catalog is None:
        return [
            Reach(bucket, _LATENESS_MS + max(_WIDEST_MS[tier] for tier in tiers))
            for bucket, tiers in place.tiers.items()
        ]
    zone = catalog.platform.zone
    metrics = [one for one in written_metrics(catalog) if metric in (None, one.name)]
    lateness_ms = duration_ms(catalog.event.allowed_lateness)
    widest: dict[str, int] = {}
    for one in metrics:
        for window in written_windows(one):
            bucket = place.buckets[tier_of_window(window)]
            # Months are about 30 days wide, and none is 31 days and an hour of a changed clock too long.
            width_ms = window_of(window, zone).about_ms + (2 * DAY_MS if window == "month" else 3_600_000)
            widest[bucket] = max(widest.get(bucket, 0), width_ms)
    return [Reach(bucket, lateness_ms + width_ms) for bucket, width_ms in widest.items()]


class Follower:
    """What was seen of some buckets, and what of it is new or another when they are read again.

    *Cost*: each look reads, and remembers, the rows from `back_ms` before the latest on.
    """

    def __init__(self, reader: Reader, reaches: list[Reach], metric: str | None) -> None:
        self._reader = reader
        self._metric = metric
        self._reaches = reaches
        self._seen: dict[Key, Mapping[str, float | str | bool]] = {}
        self._latest: dict[str, int | None] = {}

    def start(self, now_ms: int) -> None:
        """Take what is there as known. Raises SinkError."""
        for reach in self._reaches:
            self._latest[reach.bucket] = self._reader.latest_ms(reach.bucket, self._metric)
        self.look(now_ms)

    def look(self, now_ms: int) -> list[Point]:
        """What came or changed since the last look, by time. Raises SinkError."""
        found: list[Point] = []
        seen: dict[Key, Mapping[str, float | str | bool]] = {}
        for reach in self._reaches:
            latest = self._latest.get(reach.bucket)
            # Forecasts are of times to come, which must not hide what happens until then.
            since_ms = 0 if latest is None else max(0, min(latest, now_ms) - reach.back_ms)
            for row in self._reader.rows(reach.bucket, self._metric, since_ms):
                key = (reach.bucket, row.measurement, row.tags, row.time_ms)
                seen[key] = row.fields
                before = self._seen.get(key)
                if before != row.fields:
                    found.append(_point(row, before))
                latest = row.time_ms if latest is None else max(latest, row.time_ms)
            self._latest[reach.bucket] = latest
        self._seen = seen
        found.sort(key=lambda point: (point.start_ms, point.metric, point.window, point.dimensions))
        return found


def follow(
    follower: Follower,
    out: IO[str],
    *,
    as_json: bool,
    wait: Callable[[], bool],
    clock: Callable[[], int],
) -> None:
    """Print what comes until `wait` says so. Raises SinkError."""
    follower.start(clock())
    while not wait():
        for point in follower.look(clock()):
            out.write(orjson.dumps(point.to_json()).decode() if as_json else line(point))
            out.write("\n")
        out.flush()


def _point(row: Row, before: Mapping[str, float | str | bool] | None) -> Point:
    window = next((value for name, value in row.tags if name == "window"), "")
    numbers = {
        dimension_name(name): float(value)
        for name, value in row.fields.items()
        if name not in _OURS and not isinstance(value, str)
    }
    value: Value = numbers.get("value") if numbers.keys() <= {"value"} else numbers
    state = State.FINAL if row.fields.get("final") else State.OPEN
    if state is State.FINAL and before is not None and before.get("final"):
        state = State.CORRECTED
    error = row.fields.get("error")
    return Point(
        row.measurement,
        window,
        row.time_ms,
        tuple((dimension_name(name), value) for name, value in row.tags if name != "window"),
        value,
        int(row.fields.get("count", 0)),
        state,
        int(row.fields.get("revision", 0)),
        0,
        float(error) if error is not None else None,
    )
