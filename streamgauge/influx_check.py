"""`streamgauge influx check`: whether what a catalog gives can be written, read back, and kept as long as it says."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision

from sinks.alert_lines import MEASUREMENT as ALERTS
from sinks.errors import SinkError
from sinks.influx_tiers import Tier
from sinks.line_protocol import field_name, tag_text
from stream.catalog import Catalog
from streamgauge.influx_bootstrap import bucket_keeps_s
from streamgauge.influx_places import (
    InfluxPlace,
    kept_ms,
    shown_duration,
    tier_of_window,
    written_metrics,
    written_windows,
)
from streamgauge.influx_quoting import influxql_name
from streamgauge.influx_rows import PROBE, reader_of
from streamgauge.influx_server import Http, Kind, Server, answers, look

_VISIBLE_WITHIN_S = 8.0
"""VictoriaMetrics shows what was written after a second or two."""
_GO_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBERS = {"count": "integer", "revision": "integer", "final": "boolean", "error": "float"}
_OF_ALERTS = dict.fromkeys(("score", "peak", "actual", "expected", "opened"), "float") | {
    "id": "string",
    "why": "string",
}


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Not as the catalog has it, and nothing is lost by it."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    about: str
    text: str


Tell = Callable[[Finding], None]


def check(place: InfluxPlace, catalog: Catalog, http: Http, client: InfluxDBClient, tell: Tell, now_ms: int) -> None:
    """Look, write, read, and tell of each thing found. Raises SinkError where going on has no use."""
    server = look(http)
    tell(Finding(Level.OK, place.url, str(server)))
    for bucket in place.tiers:
        _probe(server, place, catalog, http, client, bucket, now_ms, tell)
        _retention(server, place, catalog, http, client, bucket, tell)
        _types(server, place, catalog, http, bucket, tell)


def _probe(
    server: Server,
    place: InfluxPlace,
    catalog: Catalog,
    http: Http,
    client: InfluxDBClient,
    bucket: str,
    now_ms: int,
    tell: Tell,
) -> None:
    # No more digits than every server keeps.
    value = round(random.random(), 6)
    line = f"{PROBE},platform={tag_text(catalog.platform.name)} value={value!r} {now_ms}"
    started = time.monotonic()
    with answers(place, "INFLUX_TOKEN", f"writing to {bucket}"):
        client.write_api(write_options=SYNCHRONOUS).write(
            bucket,
            place.org,
            line.encode(),
            write_precision=WritePrecision.MS,  # type: ignore[arg-type]
        )
    wrote = f"wrote a point of {PROBE} in {_took(started)}"
    started = time.monotonic()
    try:
        found = _read(server, place, http, client, bucket, now_ms, value)
    except SinkError as error:
        known = server.kind in (Kind.INFLUX1, Kind.INFLUX2, Kind.VICTORIA)
        tell(Finding(Level.WRONG if known else Level.NOTE, bucket, f"{wrote}; could not read it: {error}"))
        return
    if found:
        tell(Finding(Level.OK, bucket, f"{wrote}, read it back in {_took(started)}"))
    else:
        tell(Finding(Level.WRONG, bucket, f"{wrote}; it is not there after {_VISIBLE_WITHIN_S:.0f} s"))


def _read(
    server: Server, place: InfluxPlace, http: Http, client: InfluxDBClient, bucket: str, now_ms: int, value: float
) -> bool:
    deadline = time.monotonic() + _VISIBLE_WITHIN_S
    while True:
        if server.kind is Kind.VICTORIA:
            # It remembers for a while that a question had no answer: each is another one.
            match = f'{{__name__="{PROBE}_value",asked!="{time.monotonic()}"}}'
            # Seconds as a float may be a millisecond off.
            start, end = f"{now_ms / 1000 - 1:.3f}", f"{now_ms / 1000 + 1:.3f}"
            answer = http.get("/api/v1/export", **{"match[]": match, "start": start, "end": end})
            values = [one for line in answer.data.splitlines() for one in json.loads(line)["values"]]
        else:
            reader = reader_of(server, place, http, client)
            values = [row.fields.get("value") for row in reader.rows(bucket, PROBE, now_ms) if row.time_ms == now_ms]
        if value in values:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def _retention(
    server: Server, place: InfluxPlace, catalog: Catalog, http: Http, client: InfluxDBClient, bucket: str, tell: Tell
) -> None:
    if server.kind is Kind.INFLUX2:
        with answers(place, "INFLUX_TOKEN", f"reading of {bucket}"):
            api: Any = client.buckets_api()
            known = api.find_buckets(name=bucket, org=place.org).buckets
        if not known:
            tell(Finding(Level.NOTE, bucket, "INFLUX_TOKEN does not show how long it keeps points"))
            return
        has_ms = bucket_keeps_s(known[0]) * 1000
    elif server.kind is Kind.INFLUX1:
        has_ms = _policy_ms(http, bucket)
    else:
        tell(Finding(Level.NOTE, bucket, f"{server.kind} does not say how long it keeps points"))
        return
    wanted_ms = kept_ms(catalog, place.tiers[bucket])
    has, wanted = shown_duration(has_ms), shown_duration(wanted_ms)
    if has_ms == wanted_ms:
        tell(Finding(Level.OK, bucket, f"keeps points {has}, as the catalog says"))
    elif has_ms and has_ms < wanted_ms:
        text = f"keeps points {has}, the catalog says {wanted}: `influx bootstrap` corrects it"
        tell(Finding(Level.WRONG, bucket, text))
    else:
        tell(Finding(Level.NOTE, bucket, f"keeps points {has}, the catalog says {wanted}"))


def _policy_ms(http: Http, database: str) -> int:
    """How long the retention policy keeps points that is written to where none is named."""
    [series] = http.influxql(database, f"SHOW RETENTION POLICIES ON {influxql_name(database)}")
    policies = [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]
    [text] = [policy["duration"] for policy in policies if policy["default"]]
    parts = re.findall(r"(\d+)(ms|h|m|s)", text)
    return round(sum(int(number) * _GO_UNITS_S[unit] for number, unit in parts) * 1000)


def _types(server: Server, place: InfluxPlace, catalog: Catalog, http: Http, bucket: str, tell: Tell) -> None:
    """A field never changes its type: where it has another, what is written to it is refused."""
    if server.kind in (Kind.VICTORIA, Kind.OTHER):
        return
    wanted = fields_of(catalog, place.tiers[bucket])
    try:
        names = ", ".join(influxql_name(name) for name in wanted)
        found = http.influxql(bucket, f"SHOW FIELD KEYS FROM {names}")
    except SinkError as error:
        tell(Finding(Level.NOTE, bucket, f"could not look at the types of its fields: {error}"))
        return
    conflicts = 0
    for series in found:
        for name, kind in series["values"]:
            expected = wanted[series["name"]].get(name, kind)
            if kind != expected:
                conflicts += 1
                text = (
                    f"{series['name']}.{name} is {kind}, this catalog writes {expected}, which is refused: rename the "
                    "metric, or delete the measurement"
                )
                tell(Finding(Level.WRONG, bucket, text))
    if not conflicts:
        there = f"{len(found)} of {len(wanted)} measurements are there"
        tell(Finding(Level.OK, bucket, f"{there}, with fields of the types that this catalog writes"))


def fields_of(catalog: Catalog, tiers: list[Tier]) -> Mapping[str, Mapping[str, str]]:
    """Every measurement that a catalog writes there, with its fields and their types as InfluxQL calls them."""
    found: dict[str, dict[str, str]] = {}
    for metric in written_metrics(catalog):
        if any(tier_of_window(window) in tiers for window in written_windows(metric)):
            values = [field_name(key) for key in metric.keys] or ["value"]
            found[metric.name] = dict.fromkeys(values, "float") | _NUMBERS
    if Tier.RAW in tiers:
        found[ALERTS] = _OF_ALERTS
    return found


def _took(started: float) -> str:
    return f"{(time.monotonic() - started) * 1000:.0f} ms"
