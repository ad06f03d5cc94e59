"""Panels of Grafana: what each type of tile becomes, as the JSON of a dashboard has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from live_api.boards import Tile
from sinks.influx_tiers import Tier
from sinks.line_protocol import tag_name
from stream.catalog import Catalog
from stream.durations import DAY_MS, MINUTE_MS
from stream.forecast import HORIZON
from stream.metrics import Metric
from stream.windows import window_of
from streamgauge.grafana_queries import Language, Wanted, alerts_table, latest, over_time
from streamgauge.grafana_sources import source_of
from streamgauge.influx_places import TOP_K, tier_of_window

Json = dict[str, Any]

_UTC = ZoneInfo("UTC")
_HOUR_MS = 3_600_000
_SHOWN_WINDOWS = 60
"""How many windows a panel goes back that says nothing else."""
_LATEST_WINDOWS = 3
"""How many a table of the latest values goes back: the last that is closed began two ago."""
_LONGEST_MS = 365 * DAY_MS
_UNITS = {"ms": "ms", "s": "s", "µs": "µs", "B": "bytes", "%": "percent", "kg": "masskg", "g": "massg"}
_CALM, _GOOD, _WARNING, _CRITICAL, _TARGET = "text", "green", "orange", "red", "blue"


@dataclass
class Context:
    """What the panels of one dashboard have in common, and the variables that they turn out to need."""

    catalog: Catalog
    language: Language
    variables: dict[str, str] = field(default_factory=dict)
    """Dimension → the variable that chooses among its values."""
    tiers: dict[str, Tier] = field(default_factory=dict)
    """Dimension → where its values are looked up."""

    def metric(self, name: str) -> Metric:
        return next(metric for metric in self.catalog.every_metric if metric.name == name)

    def wanted(self, metric: Metric, window: str, key: str | None, given: Mapping[str, str]) -> Wanted:
        free = {name: self._variable(name, window) for name in metric.by if name not in given}
        return Wanted(metric.name, window, key, dict(given), free)

    def _variable(self, dimension: str, window: str) -> str:
        order = list(Tier)
        tier = min(self.tiers.get(dimension, Tier.DAILY), tier_of_window(window), key=order.index)
        self.tiers[dimension] = tier
        if dimension not in self.variables:
            name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in dimension)
            while name in self.variables.values() or name.startswith("__"):
                name = f"d{name}"
            self.variables[dimension] = name
        return self.variables[dimension]


@dataclass(frozen=True, slots=True)
class _Query:
    text: str
    called: str
    """How its series are called."""
    table: bool = False


def tile_panel(context: Context, tile: Tile) -> Json | str:
    """The panel of a tile, without its id and place; or why there is none."""
    if tile.type == "alerts":
        return _alerts(context, tile)
    if tile.metric is None or tile.window is None or tile.fine is None:
        return "what it shows is on the wall and in REST, and not in InfluxDB"
    if tile.metric["measure"] == TOP_K:
        return "a top_k is not in InfluxDB"
    metric = context.metric(tile.metric["name"])
    if tile.type == "line":
        return _line(context, tile, metric)
    if tile.type == "heatmap":
        return _heatmap(context, tile, metric)
    if tile.type in ("bar", "table"):
        return _largest(context, tile, metric)
    return _number(context, tile, metric)


def metric_panel(context: Context, metric: Metric, window: str) -> Json:
    """All series of a metric in one window, and all of its values."""
    wanted = [context.wanted(metric, window, key, {}) for key in metric.keys or (None,)]
    title = f"{titled(metric)}, {window}"
    queries = [_Query(over_time(context.language, one), _series_name(one, title)) for one in wanted]
    defaults = {"custom": _lines(metric.target is not None), "color": {"mode": "palette-classic"}}
    steps = [(None, _CALM)] if metric.target is None else [(None, _CALM), (metric.target, _TARGET)]
    return _panel(
        context,
        "timeseries",
        title,
        window,
        queries,
        defaults | _unit(metric.unit) | _thresholds(steps),
        {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi"}},
        back_ms=_back_ms(window, _SHOWN_WINDOWS),
        description=metric.description,
    )


def titled(metric: Metric) -> str:
    return metric.title or metric.name.replace("_", " ").capitalize()


def _number(context: Context, tile: Tile, metric: Metric) -> Json:
    assert tile.window is not None
    wanted = context.wanted(metric, tile.window, tile.key, tile.dimensions)
    queries = [_Query(over_time(context.language, wanted), tile.title)]
    steps = _steps(tile)
    defaults = _unit(tile.unit) | _thresholds(steps) | {"color": {"mode": "thresholds"}}
    reduce: Json = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    if tile.type == "gauge":
        defaults |= {"min": tile.min, "max": tile.max}
        options = reduce | {"showThresholdLabels": False, "showThresholdMarkers": True}
    else:
        options = reduce | {
            "graphMode": "area" if tile.type == "sparkline" else "none",
            "colorMode": "background" if tile.type == "status" else "value",
            "textMode": "value",
            "justifyMode": "auto",
            # Against the window before, as Grafana knows no other: the wall says how it was yesterday.
            "showPercentChange": False,
        }
    back_ms = _back_ms(tile.window, _SHOWN_WINDOWS)
    kind = "gauge" if tile.type == "gauge" else "stat"
    return _panel(context, kind, tile.title, tile.window, queries, defaults, options, back_ms, metric.description)


def _line(context: Context, tile: Tile, metric: Metric) -> Json:
    assert tile.fine is not None
    wanted = context.wanted(metric, tile.fine, tile.key, tile.dimensions)
    queries = [_Query(over_time(context.language, wanted), _series_name(wanted, tile.title))]
    if tile.forecast is not None:
        ahead = min(
            one for f in context.catalog.forecast if f.called == f"{metric.name}@{tile.fine}" for one in f.ahead
        )
        forecast = context.metric(tile.forecast)
        given = {**tile.dimensions, HORIZON: str(ahead)}
        for key in forecast.keys:
            said = context.wanted(forecast, tile.fine, key, given)
            name = "forecast" if key == "value" else f"forecast, {key} end"
            queries.append(_Query(over_time(context.language, said), _series_name(said, name, always=True)))
    steps = _steps(tile)
    if tile.target is not None:
        steps = sorted([*steps, (tile.target, _TARGET)], key=lambda step: float("-inf") if step[0] is None else step[0])
    defaults = {"custom": _lines(len(steps) > 1), "color": {"mode": "palette-classic"}}
    return _panel(
        context,
        "timeseries",
        tile.title,
        tile.fine,
        queries,
        defaults | _unit(tile.unit) | _thresholds(steps),
        {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi"}},
        _back_ms(tile.fine, _SHOWN_WINDOWS),
        metric.description,
    )


def _heatmap(context: Context, tile: Tile, metric: Metric) -> Json:
    """A row for each series, a cell for each window: Grafana's own heatmap is of histograms."""
    assert tile.fine is not None
    wanted = context.wanted(metric, tile.fine, tile.key, tile.dimensions)
    queries = [_Query(over_time(context.language, wanted), _series_name(wanted, tile.title))]
    defaults = {"color": {"mode": "continuous-BlPu"}, "custom": {"fillOpacity": 80, "lineWidth": 0}}
    options = {"showValue": "never", "rowHeight": 0.9, "legend": {"showLegend": False}, "tooltip": {"mode": "single"}}
    return _panel(
        context,
        "status-history",
        tile.title,
        tile.fine,
        queries,
        defaults | _unit(tile.unit) | _thresholds([(None, _CALM)]),
        options,
        _back_ms(tile.fine, _SHOWN_WINDOWS),
        metric.description,
    )


def _largest(context: Context, tile: Tile, metric: Metric) -> Json:
    assert tile.window is not None
    wanted = context.wanted(metric, tile.window, tile.key, tile.dimensions)
    queries = [_Query(latest(context.language, wanted, tile.limit), "", table=True)]
    value = "_value" if context.language is Language.FLUX else "value"
    shown = {name: tag for name, tag in zip(wanted.free, wanted.free_tags, strict=True)}
    changed: list[Json] = []
    if context.language is Language.INFLUXQL:
        changed = [
            {"id": "sortBy", "options": {"sort": [{"field": value, "desc": True}]}},
            {"id": "limit", "options": {"limitField": tile.limit}},
        ]
    renamed = {tag: name for name, tag in shown.items() if tag != name} | {value: tile.title}
    order = {name: place for place, name in enumerate([*shown.values(), value])}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": renamed}
    changed.append({"id": "organize", "options": organize})
    defaults = _unit(tile.unit) | _thresholds(_steps(tile)) | {"color": {"mode": "thresholds"}}
    if tile.type == "bar":
        kind = "bargauge"
        options: Json = {
            "displayMode": "basic",
            "orientation": "horizontal",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": True},
        }
    else:
        kind = "table"
        options = {"showHeader": True, "cellHeight": "sm"}
    back_ms = _back_ms(tile.window, _LATEST_WINDOWS)
    panel = _panel(context, kind, tile.title, tile.window, queries, defaults, options, back_ms, metric.description)
    return panel | {"transformations": changed}


def _alerts(context: Context, tile: Tile) -> Json:
    queries = [_Query(alerts_table(context.language, tile.limit), "", table=True)]
    names = {"_time": "Time", "_value": "why"} if context.language is Language.FLUX else {}
    organize = {"excludeByName": {}, "indexByName": {}, "renameByName": names}
    panel = _panel(context, "table", tile.title, "1m", queries, {}, {"showHeader": True}, DAY_MS)
    return panel | {"transformations": [{"id": "organize", "options": organize}]}


def _panel(
    context: Context,
    kind: str,
    title: str,
    window: str,
    queries: Sequence[_Query],
    defaults: Json,
    options: Json,
    back_ms: int,
    description: str | None = None,
) -> Json:
    source = source_of(context.catalog, tier_of_window(window))
    targets, overrides = [], []
    for place, query in enumerate(queries):
        ref = chr(ord("A") + place) if place < 26 else f"Q{place}"
        target: Json = {"refId": ref, "datasource": source, "query": query.text}
        if context.language is Language.INFLUXQL:
            target |= {"rawQuery": True, "resultFormat": "table" if query.table else "time_series"}
        targets.append(target)
        if query.called:
            named = {"id": "displayName", "value": query.called}
            overrides.append({"matcher": {"id": "byFrameRefID", "options": ref}, "properties": [named]})
    panel: Json = {"type": kind, "title": title}
    if description:
        panel["description"] = description
    panel |= {
        "datasource": source,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": options,
    }
    if back_ms:
        panel["timeFrom"] = _span(back_ms)
    return panel


def _series_name(wanted: Wanted, alone: str, *, always: bool = False) -> str:
    """What Grafana calls a series: the values of its free dimensions."""
    labels = [_label(tag_name(name)) for name in wanted.free]
    told = [alone] if always or not labels else []
    if wanted.key is not None and not always:
        told = [wanted.key]
    return ", ".join([*told, *labels])


def _label(tag: str) -> str:
    return f"${{__field.labels.{tag}}}" if tag.isidentifier() else f'${{__field.labels["{tag}"]}}'


def _back_ms(window: str, windows: int) -> int:
    """How far back a panel looks; 0: as far as the dashboard does."""
    back_ms = min(windows * window_of(window, _UTC).about_ms, _LONGEST_MS)
    if windows == _SHOWN_WINDOWS:
        return back_ms if back_ms > _HOUR_MS else 0
    return max(back_ms, 2 * MINUTE_MS)


def _span(duration_ms: int) -> str:
    for unit, size_ms in (("d", DAY_MS), ("h", _HOUR_MS), ("m", MINUTE_MS)):
        if duration_ms % size_ms == 0:
            return f"{duration_ms // size_ms}{unit}"
    return f"{-(-duration_ms // 1000)}s"


def _unit(unit: str | None) -> Json:
    return {} if unit is None else {"unit": _UNITS.get(unit, f"suffix: {unit}")}


def _lines(limits: bool) -> Json:
    """Windows are not joined where one is missing: nothing happened then."""
    style = {"mode": "dashed" if limits else "off"}
    return {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 5, "showPoints": "auto", "thresholdsStyle": style}


def _steps(tile: Tile) -> list[tuple[float | None, str]]:
    """Colours of values, from the lowest on."""
    warning, critical = tile.warning, tile.critical
    if warning is None and critical is None:
        return [(None, _GOOD if tile.type == "status" else _CALM)]
    if warning is not None and critical is not None and critical < warning:
        return [(None, _CRITICAL), (critical, _WARNING), (warning, _GOOD)]
    above = [(limit, colour) for limit, colour in ((warning, _WARNING), (critical, _CRITICAL)) if limit is not None]
    return [(None, _GOOD), *above]


def _thresholds(steps: Sequence[tuple[float | None, str]]) -> Json:
    return {"thresholds": {"mode": "absolute", "steps": [{"color": c, "value": v} for v, c in steps]}}
