"""Boards as the wall gets them: the catalog's own with every default filled in, or one that is made for it.

Pure functions over a catalog; `live_api.board_routes` serves what they give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from live_api.derived_board import derived_tiles
from live_api.described import Described, describe, title_of
from live_api.showing import fine_window, forecast_window, main_window
from sinks.records import series_key
from stream import boards as declared
from stream.boards import CHURN, LIFECYCLE, MODELLED, TAKES
from stream.catalog import Catalog
from stream.forecast import FORECAST, Forecast
from stream.metrics import Metric
from stream.people.declared import names_of

DERIVED = "default"
"""Name of the board that is made for a catalog without any."""
_SIZES = {
    "number": (3, 2),
    "sparkline": (3, 2),
    "line": (6, 3),
    "bar": (4, 3),
    "table": (4, 3),
    "top_k": (4, 3),
    "gauge": (3, 2),
    "heatmap": (6, 3),
    "status": (3, 2),
    "alerts": (6, 3),
    "retention": (6, 4),
    "funnel": (6, 4),
    "lifecycle": (6, 3),
    "paths": (6, 4),
    "risk": (6, 4),
    "model": (6, 4),
}
"""Width and height of each type, in cells."""
_LIMITS = {"line": 8, "retention": 12, "lifecycle": 30}
_LIMIT = 10
_TITLES = {
    "status": "Status",
    "alerts": "Alerts",
    "lifecycle": "Lifecycle",
    "risk": "Who may leave",
    "model": "Churn model",
}
_HEADROOM = 1.25
"""How far a gauge without an end of its own goes beyond what is marked on it."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile with every default filled in. What a type does not know is None; `compare` is then `none`."""

    id: str
    """`t0`, `t1`, …: its place on the board."""
    type: str
    title: str
    unit: str | None
    metric: Described | None
    window: str | None
    """Whose value is shown."""
    fine: str | None
    """What history, sparkline and lines are drawn from."""
    dimensions: Mapping[str, str]
    """Only series that have these."""
    width: int
    height: int
    compare: str
    target: float | None
    warning: float | None
    critical: float | None
    limit: int
    min: float | None
    max: float | None
    key: str | None
    """Which of the values that a quantile's points have."""
    analysis: str | None
    """What the page asks for at `/v1/people/{analysis}`, now and then: it comes on no topic. Of a model, its name at
    `/v1/models/{name}`."""
    period: str | None
    """With which `period` it asks."""
    forecast: str | None
    """The metric whose points say where the lines go on, each with a dimension `horizon` besides; in window `fine`."""

    def to_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Board:
    """One page of the wall."""

    name: str
    title: str
    derived: bool
    """Made from the metrics, as the catalog declares no board."""
    tiles: tuple[Tile, ...]
    left_out: int = 0
    """Tiles that are not for whoever asks."""


def boards_of(catalog: Catalog) -> dict[str, Board]:
    """The boards of a catalog by name, never none; the first is the default one."""
    metrics = {metric.name: metric for metric in catalog.every_metric}

    def board(name: str, title: str, tiles: Sequence[declared.Tile], *, derived: bool = False) -> Board:
        made = (_tile(place, tile, metrics, catalog.forecast) for place, tile in enumerate(tiles))
        return Board(name, title, derived, tuple(made))

    if not catalog.board:
        return {DERIVED: board(DERIVED, "Overview", derived_tiles(catalog.metric, names_of(catalog)), derived=True)}
    return {one.name: board(one.name, one.title or title_of(one.name), one.tile) for one in catalog.board}


def topics(board: Board) -> tuple[str, ...]:
    """The topics a board is made of, each once: window and fine of each tile's metric, what is forecast of it,
    `alerts` and `system`."""
    found: dict[str, None] = {}
    for tile in board.tiles:
        if tile.metric is None:
            continue
        for window in (tile.window, tile.fine):
            if window is not None:
                found[_topic(tile.metric["name"], window, tile)] = None
        if tile.forecast is not None and tile.fine is not None:
            found[_topic(tile.forecast, tile.fine, tile)] = None
    return (*found, "alerts", "system")


def _topic(metric: str, window: str, tile: Tile) -> str:
    return f"metric:{series_key(metric, window, tuple(tile.dimensions.items()))}"


def _tile(place: int, tile: declared.Tile, metrics: Mapping[str, Metric], forecasts: Sequence[Forecast]) -> Tile:
    metric = None if tile.metric is None else metrics[tile.metric]
    takes = TAKES[tile.type]
    width, height = _SIZES[tile.type]
    key = None if metric is None or "key" not in takes else _key(tile, metric)
    target = tile.target
    if target is None and metric is not None and "target" in takes:
        target = metric.target
    ahead = None
    if metric is not None and "forecast" in takes:
        ahead = forecast_window(metric, key, tile.forecast, forecasts)
    least, most = _ends(tile, target) if tile.type == "gauge" else (None, None)
    return Tile(
        id=f"t{place}",
        type=tile.type,
        title=tile.title or _title(tile, metric, key),
        unit=tile.unit if metric is None or tile.unit is not None else metric.unit,
        metric=None if metric is None else describe(metric),
        window=None if metric is None else tile.window or main_window(metric),
        fine=None if metric is None else ahead or fine_window(metric),
        dimensions=tile.dimensions,
        width=tile.width or width,
        height=tile.height or height,
        compare=_compare(tile, target),
        target=target,
        warning=tile.warning,
        critical=tile.critical,
        limit=tile.limit or _LIMITS.get(tile.type, _LIMIT),
        min=least,
        max=most,
        key=key,
        analysis=_asked_for(tile),
        period=(tile.period or "day") if "period" in takes else None,
        forecast=None if metric is None or ahead is None else metric.name + FORECAST,
    )


def _asked_for(tile: declared.Tile) -> str | None:
    if tile.type in MODELLED:
        return tile.model or CHURN
    return LIFECYCLE if tile.type == LIFECYCLE else tile.analysis


def _key(tile: declared.Tile, metric: Metric) -> str | None:
    return metric.main_key if tile.key is None else metric.key_of(tile.key)


def _title(tile: declared.Tile, metric: Metric | None, key: str | None) -> str:
    if metric is None:
        about = tile.analysis or tile.model
        return _TITLES[tile.type] if about is None else title_of(about)
    title = describe(metric)["title"]
    told = [*tile.dimensions.values(), *([] if key is None else [key])]
    return ", ".join([title, *told])


def _compare(tile: declared.Tile, target: float | None) -> str:
    if "compare" not in TAKES[tile.type]:
        return "none"
    return tile.compare or ("yesterday" if target is None else "target")


def _ends(tile: declared.Tile, target: float | None) -> tuple[float, float]:
    least = 0.0 if tile.min is None else tile.min
    if tile.max is not None:
        return least, tile.max
    marked = max(one for one in (target, tile.warning, tile.critical) if one is not None)
    return least, least + _HEADROOM * (marked - least)
