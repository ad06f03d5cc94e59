"""Points of whole catalogs in InfluxDB, for the tests of what asks for them: worked out of events where they can be."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sinks.alert_lines import alert_lines
from sinks.influx_tiers import Tier
from sinks.line_protocol import LineEncoder
from sinks.records import Point, State, iso
from stream.catalog import Catalog, parse
from streamgauge.compute import compute
from streamgauge.demo.food_sharing import FoodSharing
from streamgauge.influx_places import tier_of_window, written_metrics, written_windows
from tests.alerts import alert
from tests.engines import Influx1
from tests.flux import Written
from tests.influx2_api import parse_line
from tests.stack import ROOT

START_MS = 1_788_264_000_000
"""2026-09-01T12:00:00Z, a Tuesday"""

EVERY = """
[platform]
name = "Every \\"measure\\", $HOME & more"
timezone = "Europe/Berlin"

[event]
person = "user"

[fields]
price = "number"

[[metric]]
name = "all_count"
measure = "count"
by = ["country", "pay method", "window", "geo.city"]
windows = ["10s", "1m", "5m/1m", "1h", "hour", "day", "7d/day", "week", "month"]

[[metric]]
name = "all_sum"
measure = "sum"
value = "price"
title = "Ünit"
unit = "B"
target = 12.5
windows = ["1m", "1d"]

[[metric]]
name = "plain_count"
measure = "count"
windows = ["1m", "1d"]

[[metric]]
name = "all_mean"
measure = "mean"
value = "price"
by = ["country"]
windows = ["1m"]

[[metric]]
name = "all_min"
measure = "min"
value = "price"
windows = ["1m"]

[[metric]]
name = "all_max"
measure = "max"
value = "price"
windows = ["1m"]

[[metric]]
name = "all_rate"
measure = "rate"
windows = ["1m"]

[[metric]]
name = "all_distinct"
measure = "distinct"
value = '"user"'
windows = ["1m"]

[[metric]]
name = "all_quantile"
measure = "quantile"
value = "price"
quantiles = [0.5, 0.99, 0.999]
by = ["country"]
windows = ["1m", "1h"]

[[metric]]
name = "all_top_k"
measure = "top_k"
value = "country"
windows = ["1m"]

[[metric]]
name = "all_first"
measure = "first"
value = "price"
windows = ["1m"]

[[metric]]
name = "all_last"
measure = "last"
value = "price"
windows = ["1m"]

[[metric]]
name = "all_ratio"
measure = "ratio"
of = "all_sum"
to = "plain_count"

[[metric]]
name = "all_expr"
measure = "expr"
value = "all_sum + 1"

[[forecast]]
metric = "all_sum"
window = "1m"
season = "off"
horizons = [1, 3]

[[board]]
name = "overview"

[[board.tile]]
type = "number"
metric = "all_quantile"
dimensions = { country = "it's \\"C\\", D=\\\\d" }

[[board.tile]]
type = "sparkline"
metric = "all_sum"

[[board.tile]]
type = "line"
metric = "all_sum"
window = "1m"
warning = 100
critical = 200

[[board.tile]]
type = "line"
metric = "all_count"
dimensions = { window = "w" }

[[board.tile]]
type = "bar"
metric = "all_count"
dimensions = { country = "a/b (x)" }
limit = 3

[[board.tile]]
type = "table"
metric = "all_quantile"
key = "p50"

[[board.tile]]
type = "gauge"
metric = "all_mean"
dimensions = { country = "a/b (x)" }
max = 100
warning = 50
critical = 20

[[board.tile]]
type = "heatmap"
metric = "all_mean"

[[board.tile]]
type = "status"
metric = "all_rate"
warning = 2

[[board.tile]]
type = "status"

[[board.tile]]
type = "alerts"

[[board.tile]]
type = "top_k"
metric = "all_top_k"

[[board]]
name = "nothing"

[[board.tile]]
type = "top_k"
metric = "all_top_k"
"""
"""Every measure, every type of tile that is about numbers, and names and texts that need care."""

COUNTRIES = ["DE", "a/b (x)", 'it\'s "C", D=\\d', ""]


@dataclass(frozen=True)
class Filled:
    """What of a catalog is in InfluxDB."""

    catalog: Catalog
    points: list[Point]
    databases: dict[Tier, str] = field(default_factory=dict)
    rows: dict[Tier, list[Written]] = field(default_factory=dict)


def catalogs() -> dict[str, str]:
    ready = {name: (ROOT / "catalogs" / f"{name}.toml").read_text() for name in ("food_sharing", "wikipedia", "events")}
    return ready | {"every": EVERY}


def fill(name: str, text: str, directory: Path, engine: Influx1) -> Filled:
    """Work the catalog out over events, and write what comes of it into three databases."""
    catalog = parse(text)
    file = directory / "events.ndjson"
    file.write_text("\n".join(json.dumps(event) for event in _EVENTS[name]()))
    points, refused, _, _ = compute(catalog, [file], b"0123456789abcdef", quiet=True)
    assert not refused, refused[0]
    points = [point for point in points if point.window != "total"]
    there = {(point.metric, point.window) for point in points}
    models = {metric.name for metric in catalog.given} | {"streamgauge_events", "streamgauge_rejects"}
    for metric in written_metrics(catalog):
        for window in written_windows(metric):
            if (metric.name, window) not in there:
                # Models need weeks until they say something; all else comes of events.
                assert metric.name in models or metric.on is not None, f"{metric.name}@{window}"
                points += _said(metric.name, window, metric.by, metric.keys)
    filled = Filled(catalog, points)
    encoder = LineEncoder()
    written = {metric.name for metric in written_metrics(catalog)}
    for tier in Tier:
        own = [point for point in points if point.metric in written and tier_of_window(point.window) is tier]
        lines = [line.decode() for line in encoder.lines(own)]
        if tier is Tier.RAW:
            lines += [line.decode() for line in alert_lines([(START_MS, alert())])]
        filled.databases[tier] = engine.new_database()
        for i in range(0, len(lines), 5_000):
            engine.write(filled.databases[tier], "\n".join(lines[i : i + 5_000]))
        filled.rows[tier] = [parse_line(line) for line in lines]
    return filled


def _said(metric: str, window: str, by: list[str], keys: tuple[str, ...]) -> Iterator[Point]:
    for number in range(2):
        value = {key: float(number) for key in keys} or float(number)
        # The nearest horizon is what boards show.
        labels = tuple((name, "1" if name == "horizon" else f"a {name}") for name in by)
        yield Point(metric, window, START_MS + number * 60_000, labels, value, 1, State.FINAL, 1, 0)


def _of_every() -> list[dict[str, Any]]:
    numbers = random.Random(4)
    return [
        {
            "time": iso(START_MS + second * 1000),
            "user": f"u{numbers.randrange(30)}",
            "price": round(numbers.uniform(1, 90), 2),
            "country": numbers.choice(COUNTRIES),
            "pay method": numbers.choice(["card", "on account"]),
            "window": numbers.choice(["w", "v"]),
            "geo": {"city": numbers.choice(["Köln", "St. Ives"])},
        }
        for second in range(0, 7_200, 3)
    ]


def _of_wikipedia() -> list[dict[str, Any]]:
    numbers = random.Random(5)
    return [
        {
            "time": iso(START_MS + second * 1000),
            "user": f"u{second}",
            "channel": numbers.choice(["#en.wikipedia", "#de.wikipedia"]),
            "namespace": numbers.choice(["Main", "User talk"]),
            "isRobot": numbers.random() < 0.3,
            **{name: numbers.randrange(900) for name in ("added", "deleted", "delta")},
        }
        for second in range(0, 7_200, 10)
    ]


def _of_events() -> list[dict[str, Any]]:
    return [
        {"time": iso(START_MS + n * 5_000), "event": f"kind {n % 3}", "user_id": f"{n}", "id": f"{n}", "value": n / 2}
        for n in range(1_000)
    ]


def _of_food_sharing() -> list[dict[str, Any]]:
    return FoodSharing(7, 1.0, people=200).events_between(START_MS, START_MS + 2 * 3_600_000)


_EVENTS = {
    "every": _of_every,
    "wikipedia": _of_wikipedia,
    "events": _of_events,
    "food_sharing": _of_food_sharing,
}
