"""What is wrong with the boards of a catalog: what their metrics have not, or their tiles cannot show."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from stream.boards import ANALYSED, CHURN, EVERY, LIFECYCLE, MODELLED, TAKES, Tile
from stream.durations import TOTAL
from stream.forecast import FORECAST
from stream.problems import Problem, key_of, tables_of
from stream.windows import Fixed, window_of

if TYPE_CHECKING:
    from stream.metrics import Metric

_UTC = ZoneInfo("UTC")
_OF_ONE_SERIES = frozenset({"number", "sparkline", "gauge", "status"})
_OF_SEVERAL = frozenset({"bar", "table", "heatmap"})

_Mistake = tuple[str, str, str]
"""Key of the tile, what was expected, what was found."""


def check_boards(
    raw: Mapping[str, Any],
    metrics: Mapping[str, Metric | None],
    problems: list[Problem],
    analyses: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Add what is wrong with the boards of a catalog, as TOML has them, beyond what each table says of itself.

    `metrics` has every metric by name, None where it is itself so wrong that nothing can be said about its tiles.
    `analyses` has the type of every analysis of people by its name: `{"weekly": "retention"}`.
    """
    models = _models(raw)
    names: set[str] = set()
    for number, board in enumerate(tables_of(raw, "board")):
        name = board.get("name")
        if isinstance(name, str):
            if name in names:
                problems.append(Problem(key_of(("board", number, "name"), raw), "each name once", f"{name!r} again"))
            names.add(name)
        for place, table in enumerate(tables_of(board, "tile")):
            try:
                tile = Tile.model_validate(table)
            except ValidationError:
                continue
            where = key_of(("board", number, "tile", place), raw)
            mistakes = _mistakes(tile, metrics, analyses, models)
            problems.extend(Problem(f"{where}.{key}", expected, found) for key, expected, found in mistakes)


def _models(raw: Mapping[str, Any]) -> list[str]:
    """Names of the models that a catalog declares; of a forecast without a window, what its name begins with."""
    found = [CHURN] if isinstance(raw.get(CHURN), Mapping) else []
    tables = [table for table in tables_of(raw, "forecast") if isinstance(table.get("metric"), str)]
    return found + [f"forecast {table['metric']}@{table.get('window', '')}" for table in tables]


def _mistakes(
    tile: Tile, metrics: Mapping[str, Metric | None], analyses: Mapping[str, str], models: Sequence[str]
) -> Iterator[_Mistake]:
    for key in sorted(tile.model_fields_set - TAKES[tile.type]):
        yield key, f"none, as {tile.type} tiles take only {', '.join(sorted(TAKES[tile.type]))}", _found(tile, key)
    if tile.warning is not None and tile.warning == tile.critical:
        yield (
            "critical",
            "another number than `warning`: above it where high is bad, below it where low is",
            _found(tile, "critical"),
        )
    if tile.type in ANALYSED:
        yield from _about_people(tile, analyses)
        return
    if tile.type in MODELLED:
        yield from _about_models(tile, models)
        return
    if tile.metric is None:
        yield from _without_metric(tile)
        return
    if "metric" not in TAKES[tile.type]:
        return
    if tile.metric not in metrics:
        near = difflib.get_close_matches(tile.metric, metrics, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        yield "metric", f"one of {', '.join(metrics)}", f"{tile.metric!r}{hint}"
        return
    metric = metrics[tile.metric]
    if metric is not None and set(metric.windows) == {TOTAL}:
        yield "metric", "a metric with windows of time; a tile of its analysis shows this one", f"{metric.name!r}"
    elif metric is not None:
        yield from _about_values(tile, metric)
        yield from _about_series(tile, metric)
        yield from _about_numbers(tile, metric)
        if tile.forecast and not _is_forecast(metric, metrics):
            yield "forecast", f"[[forecast]] of {metric.name} in a window of a fixed width, such as 1m", "none"


def _is_forecast(metric: Metric, metrics: Mapping[str, Metric | None]) -> bool:
    """Whether there is something to draw behind the lines of a metric."""
    forecast = metrics.get(metric.name + FORECAST)
    if forecast is None:
        return metric.name + FORECAST in metrics
    return any(isinstance(window_of(text, _UTC).panes, Fixed) for text in forecast.windows)


def _about_people(tile: Tile, analyses: Mapping[str, str]) -> Iterator[_Mistake]:
    if tile.type == LIFECYCLE:
        if LIFECYCLE not in analyses:
            yield "type", "[actives] in this catalog, as a lifecycle is counted from it", "none"
        return
    fitting = [name for name, kind in analyses.items() if kind == tile.type]
    some = f"one of {', '.join(fitting)}" if fitting else f"the name of a [[{tile.type}]], of which there is none"
    if tile.analysis is None:
        yield "analysis", f"{some}, as a {tile.type} tile is about one", "nothing"
    elif tile.analysis not in analyses:
        near = difflib.get_close_matches(tile.analysis, fitting, 1)
        yield "analysis", some, f"{tile.analysis!r}{f' (did you mean {near[0]}?)' if near else ''}"
    elif tile.analysis not in fitting:
        yield "analysis", some, f"{tile.analysis!r}, a {analyses[tile.analysis]}"


def _about_models(tile: Tile, models: Sequence[str]) -> Iterator[_Mistake]:
    if tile.model is None:
        if CHURN not in models:
            yield "type", f"[churn] in this catalog, as a {tile.type} tile is about its model", "none"
        return
    if "model" in TAKES[tile.type] and not any(
        tile.model == one or (one.endswith("@") and tile.model.startswith(one)) for one in models
    ):
        some = f"one of {', '.join(models)}" if models else "the name of a model, of which there is none"
        near = difflib.get_close_matches(tile.model, models, 1)
        yield "model", some, f"{tile.model!r}{f' (did you mean {near[0]}?)' if near else ''}"


def _without_metric(tile: Tile) -> Iterator[_Mistake]:
    if tile.type not in ("status", "alerts"):
        yield "metric", f"a metric, as a {tile.type} is about one", "nothing"
        return
    for key in sorted((tile.model_fields_set & TAKES[tile.type]) - EVERY - {"limit", "metric"}):
        yield key, f"none, as a {tile.type} without a metric is about no number", _found(tile, key)


def _about_values(tile: Tile, metric: Metric) -> Iterator[_Mistake]:
    if tile.window is not None and tile.window not in metric.windows:
        yield "window", f"one of {', '.join(metric.windows)}, which {metric.name} has", repr(tile.window)
    if (tile.type == "top_k") != (metric.measure == "top_k"):
        wanted = "a metric of measure top_k" if tile.type == "top_k" else "a metric of numbers; a top_k tile shows it"
        yield "metric", wanted, f"{metric.name!r}, a {metric.measure}"
    if tile.key is not None and "key" in TAKES[tile.type] and metric.key_of(tile.key) is None:
        if metric.keys:
            yield "key", f"one of {', '.join(metric.keys)}, which {metric.name} has", repr(tile.key)
        else:
            yield "key", f"none, as {metric.name} has one value: it is a {metric.measure}", repr(tile.key)


def _about_series(tile: Tile, metric: Metric) -> Iterator[_Mistake]:
    for name in tile.dimensions:
        if name not in metric.by:
            expected = f"some of {', '.join(metric.by)}" if metric.by else f"none, as {metric.name} has no `by`"
            yield "dimensions", expected, repr(name)
    free = [name for name in metric.by if name not in tile.dimensions]
    if tile.type in _OF_ONE_SERIES and free:
        yield (
            "dimensions",
            f"a value for each dimension of {metric.name}, as a {tile.type} shows one series; "
            "a line, bar, table or heatmap shows several",
            f"none for {', '.join(free)}",
        )
    if tile.type in _OF_SEVERAL and not free:
        why = "whose dimensions are all given" if metric.by else "without `by`"
        wanted = "one with several series; a number, sparkline, line or gauge shows one"
        yield "metric", wanted, f"{metric.name!r} {why}"


def _about_numbers(tile: Tile, metric: Metric) -> Iterator[_Mistake]:
    target = metric.target if tile.target is None else tile.target
    if tile.compare == "target" and target is None and "compare" in TAKES[tile.type]:
        yield "compare", f"a target, here or of {metric.name}, to compare with", "'target' and no target"
    if tile.type == "gauge":
        yield from _about_ends(tile, metric, target)


def _about_ends(tile: Tile, metric: Metric, target: float | None) -> Iterator[_Mistake]:
    least = 0.0 if tile.min is None else tile.min
    if tile.max is None and target is None:
        yield "max", f"where the gauge ends, or a target, here or of {metric.name}", "neither"
    elif tile.max is None and target is not None and target <= least:
        yield "max", f"where the gauge ends, as the target is not above its beginning, {least:g}", f"target {target:g}"
    elif tile.max is not None and tile.max <= least:
        yield "max", f"more than where the gauge begins, {least:g}", f"{tile.max:g}"
    else:
        end = "" if tile.max is None else f" to {tile.max:g}"
        for key in ("warning", "critical", "target"):
            value = getattr(tile, key)
            if value is not None and (value < least or (tile.max is not None and value > tile.max)):
                yield key, f"a number on the gauge, from {least:g}{end}", f"{value:g}"


def _found(tile: Tile, key: str) -> str:
    return repr(getattr(tile, key))
