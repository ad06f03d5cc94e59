"""`streamgauge grafana`: dashboards and data sources as files, made of a catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live_api.boards import Board, boards_of
from sinks.influx_tiers import Tier
from stream.boards import COLUMNS
from stream.catalog import Catalog
from streamgauge.grafana_panels import Context, Json, metric_panel, tile_panel, titled
from streamgauge.grafana_queries import Language, alerts_annotation, values_of
from streamgauge.grafana_sources import MADE, dashboards_yaml, source_of, sources_yaml, uid_of
from streamgauge.influx_places import written_metrics, written_windows

OVERVIEW = "overview"
_SCHEMA_VERSION = 41
"""Of Grafana 12; later ones read it too."""
_GRID = 24
"""Cells in a row of Grafana."""
_PANELS_IN_ROW = 2
_PANEL_HEIGHT = 8


class FilesTaken(Exception):
    """Files are in the way that were not made here."""


@dataclass(frozen=True, slots=True)
class Made:
    files: Mapping[str, str]
    """What each is to be, by its path below the directory."""
    left_out: tuple[str, ...]
    """Tiles that have no panel, each with the reason."""


def make(catalog: Catalog, language: Language, *, one_bucket: bool, dashboards_path: str) -> Made:
    """All files. The same for the same catalog and options, to the byte."""
    files = {
        "provisioning/datasources/streamgauge.yaml": sources_yaml(catalog, language, one_bucket=one_bucket),
        "provisioning/dashboards/streamgauge.yaml": dashboards_yaml(catalog, dashboards_path),
        f"dashboards/{OVERVIEW}.json": _text(_overview(catalog, language)),
    }
    left_out = []
    for board in boards_of(catalog).values():
        dashboard, left = _board(catalog, board, language)
        left_out += [f"board {board.name}: {one}" for one in left]
        if not dashboard["panels"]:
            left_out.append(f"board {board.name} has nothing that is in InfluxDB, and no dashboard")
            continue
        # A board may be called as the overview is.
        files[f"dashboards/board-{board.name}.json"] = _text(dashboard)
    return Made(files, tuple(left_out))


def write(made: Made, directory: Path, *, force: bool = False) -> list[str]:
    """Write what is not there yet as it is to be, and say which. Raises FilesTaken, before it writes, and OSError."""
    changed, taken = [], []
    for name, text in made.files.items():
        path = directory / name
        found = path.read_bytes() if path.exists() else None
        if found == text.encode():
            continue
        if found is not None and MADE.encode() not in found and not force:
            taken.append(str(path))
        changed.append(name)
    if taken:
        raise FilesTaken(f"{', '.join(taken)}: not made by this command; choose another --out, or --force")
    for name in changed:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made.files[name], encoding="utf-8")
    return changed


def stale(made: Made, directory: Path) -> list[str]:
    """Dashboards that an earlier run made, and this catalog no longer has."""
    found = []
    for path in sorted((directory / "dashboards").glob("*.json")):
        name = f"dashboards/{path.name}"
        if name not in made.files and MADE.encode() in path.read_bytes():
            found.append(name)
    return found


def _board(catalog: Catalog, board: Board, language: Language) -> tuple[Json, list[str]]:
    context = Context(catalog, language)
    panels: list[Json] = []
    left: list[str] = []
    x = y = tallest = 0
    for tile in board.tiles:
        panel = tile_panel(context, tile)
        if isinstance(panel, str):
            left.append(f"{tile.type} {tile.title!r} is left out: {panel}")
            continue
        width, height = tile.width * _GRID // COLUMNS, 2 * tile.height + 1
        if x + width > _GRID:
            x, y, tallest = 0, y + tallest, 0
        panels.append(_placed(panel, len(panels) + 1, x, y, width, height))
        x, tallest = x + width, max(tallest, height)
    about = [f"Board `{board.name}` of {catalog.platform.name}.", *(f"{one}." for one in left)]
    return _dashboard(context, f"board {board.name}", board.title, " ".join(about), panels), left


def _overview(catalog: Catalog, language: Language) -> Json:
    """A row for each metric, a panel for each of its windows. All but the first are closed, and so ask nothing."""
    context = Context(catalog, language)
    panels: list[Json] = []
    number = y = 0
    width = _GRID // _PANELS_IN_ROW
    for metric in written_metrics(catalog):
        number += 1
        closed = bool(panels)
        row: Json = {"type": "row", "title": titled(metric), "collapsed": closed, "panels": []}
        row = _placed(row, number, 0, y, _GRID, 1)
        inside = []
        for place, window in enumerate(written_windows(metric)):
            number += 1
            down, across = divmod(place, _PANELS_IN_ROW)
            panel = metric_panel(context, metric, window)
            top = y + 1 + down * _PANEL_HEIGHT
            inside.append(_placed(panel, number, across * width, top, width, _PANEL_HEIGHT))
        panels.append(row)
        y += 1
        if closed:
            row["panels"] = inside
        else:
            panels += inside
            y += -(-len(inside) // _PANELS_IN_ROW) * _PANEL_HEIGHT
    about = f"Every metric of {catalog.platform.name} that is in InfluxDB, in every window."
    return _dashboard(context, OVERVIEW, "All metrics", about, panels)


def _placed(panel: Json, number: int, x: int, y: int, width: int, height: int) -> Json:
    return {"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}} | panel


def _dashboard(context: Context, name: str, title: str, about: str, panels: list[Json]) -> Json:
    catalog = context.catalog
    tag = catalog.platform.name
    return {
        "id": None,
        "uid": uid_of(catalog, f"dashboard {name}"),
        "title": f"{tag}: {title}",
        "description": f"{about} {MADE}.",
        "tags": ["streamgauge", tag],
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": catalog.platform.timezone.lower()
        if catalog.platform.timezone == "UTC"
        else catalog.platform.timezone,
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "refresh": "10s",
        "links": [
            {
                "type": "dashboards",
                "title": tag,
                "tags": [tag],
                "asDropdown": True,
                "includeVars": False,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "annotations": {"list": [_annotation(context)]},
        "templating": {"list": [_variable(context, dimension) for dimension in context.variables]},
        "panels": panels,
    }


def _annotation(context: Context) -> Json:
    source = source_of(context.catalog, Tier.RAW)
    query = alerts_annotation(context.language)
    found: Json = {"name": "Alerts", "datasource": source, "enable": True, "hide": False, "iconColor": "orange"}
    target: Json = {"refId": "Anno", "datasource": source, "query": query}
    if context.language is Language.INFLUXQL:
        # Grafana has moved these from the annotation to its query, and reads either.
        columns = {"textColumn": "why", "titleColumn": "rule", "tagsColumn": "severity,status"}
        found |= {"query": query, **columns}
        target |= {"rawQuery": True, "resultFormat": "table", "fromAnnotations": True, **columns}
    return found | {"target": target}


def _variable(context: Context, dimension: str) -> Json:
    query = values_of(context.language, dimension)
    return {
        "type": "query",
        "name": context.variables[dimension],
        "label": dimension,
        "datasource": source_of(context.catalog, context.tiers[dimension]),
        "query": query,
        "definition": query,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "hide": 0,
        "skipUrlSync": False,
    }


def _text(dashboard: Mapping[str, Any]) -> str:
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
