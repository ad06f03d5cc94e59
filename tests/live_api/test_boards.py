from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_api.boards import DERIVED, Board, Tile, boards_of, topics
from live_api.derived_board import row_sizes
from live_api.protocol import Topic
from live_api.showing import fine_window, main_window
from sinks.records import series_key
from stream.boards import ANALYSED, COLUMNS, MODELLED, TAKES
from stream.catalog import Catalog, load, parse

CATALOGS = sorted((Path(__file__).resolve().parents[2] / "catalogs").glob("*.toml"))
METRICS = """
[platform]
name = "Shop"
timezone = "Europe/Berlin"

[[metric]]
name = "orders"
measure = "count"
title = "Orders placed"

[[metric]]
name = "sales"
measure = "sum"
value = "price"
by = ["country", "kind"]
unit = "EUR"

[[metric]]
name = "rating"
measure = "mean"
value = "stars"
target = 4

[[metric]]
name = "latency"
measure = "quantile"
value = "ms"

[[metric]]
name = "pages"
measure = "top_k"
value = "page"
"""
OPS = '[[board]]\nname = "ops"\n'
NUMBER = {"window": "1d", "fine": "1m", "compare": "yesterday", "width": 3, "height": 2, "limit": 10, "dimensions": {}}
EVERY_KEY = {
    *("id", "type", "title", "unit", "metric", "window", "fine", "dimensions", "width", "height", "compare", "target"),
    *("warning", "critical", "limit", "min", "max", "key", "analysis", "period", "forecast"),
}


def boards(*tiles: str, head: str = OPS, metrics: str = METRICS) -> dict[str, Board]:
    return boards_of(parse(metrics + head + "".join(f"[[board.tile]]\n{tile}\n" for tile in tiles)))


def tile_of(text: str) -> dict[str, Any]:
    """The one tile of a board in JSON; its metric by name alone."""
    tile = boards(text)["ops"].tiles[0].to_json()
    assert set(tile) == EVERY_KEY
    return tile | {"metric": tile["metric"] and tile["metric"]["name"]}


def metric(measure: str, windows: list[str]) -> Any:
    value = "" if measure == "count" else 'value = "x"\n'
    return parse(f'[[metric]]\nname = "n"\nmeasure = "{measure}"\n{value}windows = {windows}').metric[0]


# What is shown where nobody says


@pytest.mark.parametrize(
    ("measure", "windows", "main", "fine"),
    [
        ("count", ["10s", "1m", "1h", "1d"], "1d", "1m"),
        ("count", ["1d", "1m"], "1d", "1m"),
        ("sum", ["10s", "5m"], "5m", "5m"),
        ("distinct", ["1s", "1h"], "1h", "1s"),
        ("count", ["1s", "15s"], "15s", "15s"),
        ("mean", ["10s", "1m", "1h", "1d"], "1m", "1m"),
        ("max", ["1s", "10s"], "10s", "10s"),
        ("quantile", ["1h", "1d"], "1h", "1h"),
        ("count", ["day", "1h", "5m/10s"], "1h", "1h"),
        ("count", ["week", "day", "hour", "7d/day"], "day", "hour"),
        ("count", ["week", "month"], "week", "week"),
        ("count", ["5m/10s", "7d/day"], "5m/10s", "5m/10s"),
        ("mean", ["30s", "2m"], "2m", "30s"),
    ],
)
def test_the_window_shown_and_the_one_of_its_history(measure: str, windows: list[str], main: str, fine: str) -> None:
    declared = metric(measure, windows)
    assert (main_window(declared), fine_window(declared)) == (main, fine)


def test_a_tile_has_every_key_and_every_default() -> None:
    (tile,) = boards('type = "number"\nmetric = "orders"')["ops"].tiles
    assert tile.to_json() == {
        "id": "t0",
        "type": "number",
        "title": "Orders placed",
        "unit": None,
        "metric": {
            "name": "orders",
            "title": "Orders placed",
            "measure": "count",
            "by": [],
            "windows": ["10s", "1m", "1h", "1d"],
            "unit": None,
            "description": None,
            "target": None,
        },
        "window": "1d",
        "fine": "1m",
        "dimensions": {},
        "width": 3,
        "height": 2,
        "compare": "yesterday",
        "target": None,
        "warning": None,
        "critical": None,
        "limit": 10,
        "min": None,
        "max": None,
        "key": None,
        "analysis": None,
        "period": None,
        "forecast": None,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('type = "number"\nmetric = "rating"', {"title": "Rating", "compare": "target", "target": 4, "window": "1m"}),
        ('type = "number"\nmetric = "rating"\ncompare = "none"', {"compare": "none", "target": 4}),
        ('type = "number"\nmetric = "rating"\ntarget = 5', {"compare": "target", "target": 5}),
        ('type = "number"\nmetric = "orders"\ntarget = 0', {"compare": "target", "target": 0}),
        ('type = "number"\nmetric = "orders"\ntitle = "X"\nunit = "u"\nwidth = 5\nheight = 4\nwindow = "1h"',
         {"title": "X", "unit": "u", "width": 5, "height": 4, "window": "1h"}),
        ('type = "sparkline"\nmetric = "sales"\ndimensions = { country = "DE", kind = "a" }',
         {"title": "Sales, DE, a", "unit": "EUR", "dimensions": {"country": "DE", "kind": "a"}}),
        ('type = "line"\nmetric = "sales"', {"compare": "none", "limit": 8, "width": 6, "target": None}),
        ('type = "line"\nmetric = "rating"\nwarning = 3\ncritical = 2', {"target": 4, "warning": 3, "critical": 2}),
        ('type = "number"\nmetric = "latency"', {"key": "p99", "title": "Latency, p99", "window": "1m"}),
        ('type = "number"\nmetric = "latency"\nkey = "0.5"\ntitle = "Half"', {"key": "p50", "title": "Half"}),
        ('type = "bar"\nmetric = "sales"\nlimit = 3', {"limit": 3, "compare": "none", "key": None}),
        ('type = "top_k"\nmetric = "pages"', {"window": "1d", "limit": 10, "key": None, "target": None}),
        ('type = "gauge"\nmetric = "rating"', {"min": 0, "max": 5, "compare": "target"}),
        ('type = "gauge"\nmetric = "rating"\nmin = 1\nmax = 5', {"min": 1, "max": 5}),
        ('type = "gauge"\nmetric = "orders"\nmax = 50', {"min": 0, "max": 50, "compare": "yesterday"}),
        ('type = "gauge"\nmetric = "orders"\nmin = -10\ntarget = -5\ncritical = -2', {"min": -10, "max": 0}),
        ('type = "heatmap"\nmetric = "sales"', {"limit": 10, "compare": "none"}),
        ('type = "status"', {"title": "Status", "metric": None, "window": None, "fine": None, "unit": None}),
        ('type = "status"\nmetric = "rating"\nwarning = 3', {"title": "Rating", "window": "1m", "target": None}),
        ('type = "alerts"', {"title": "Alerts", "metric": None, "window": None, "limit": 10, "compare": "none"}),
    ],
)  # fmt: skip
def test_defaults(text: str, expected: dict[str, Any]) -> None:
    found = tile_of(text)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('type = "retention"\nanalysis = "weekly_return"',
         {"title": "Weekly return", "analysis": "weekly_return", "period": None, "width": 6, "height": 4, "limit": 12}),
        ('type = "funnel"\nanalysis = "checkout"\ntitle = "To the till"',
         {"title": "To the till", "analysis": "checkout", "period": None, "width": 6, "height": 4}),
        ('type = "lifecycle"',
         {"title": "Lifecycle", "analysis": "lifecycle", "period": "day", "width": 6, "height": 3, "limit": 30}),
        ('type = "lifecycle"\nperiod = "week"\nlimit = 8', {"analysis": "lifecycle", "period": "week", "limit": 8}),
        ('type = "paths"\nanalysis = "pages"', {"analysis": "pages", "width": 6, "height": 4, "limit": 10}),
        ('type = "risk"', {"title": "Who may leave", "analysis": "churn", "width": 6, "height": 4}),
        ('type = "model"', {"title": "Churn model", "analysis": "churn", "width": 6, "height": 4}),
        ('type = "model"\nmodel = "forecast n@1m"', {"title": "Forecast n@1m", "analysis": "forecast n@1m"}),
    ],
)  # fmt: skip
def test_tiles_of_people_tell_what_to_ask_for_and_are_on_no_topic(text: str, expected: dict[str, Any]) -> None:
    # What a catalog has to declare for them is checked elsewhere.
    raw = tomllib.loads(METRICS + OPS + f"[[board.tile]]\n{text}\n")
    board = boards_of(Catalog.model_validate(raw))["ops"]
    found = board.tiles[0].to_json()
    assert set(found) == EVERY_KEY
    assert (found["metric"], found["window"], found["compare"]) == (None, None, "none")
    assert {key: found[key] for key in expected} == expected
    assert topics(board) == ("alerts", "system")


def test_boards_keep_their_order_and_tiles_their_places() -> None:
    second = '[[board]]\nname = "night_shift"\n[[board.tile]]\ntype = "alerts"\n'
    found = boards('type = "status"', 'type = "alerts"', head='[[board]]\nname = "ops"\ntitle = "O"\n')
    assert [tile.id for tile in found["ops"].tiles] == ["t0", "t1"]
    found = boards_of(parse(METRICS + OPS + '[[board.tile]]\ntype = "status"\n' + second))
    assert [(board.name, board.title, board.derived) for board in found.values()] == [
        ("ops", "Ops", False),
        ("night_shift", "Night shift", False),
    ]


# The board that is made where none is declared


def rows_of(tiles: Iterable[Tile]) -> list[list[Tile]]:
    """Tiles as they fall into rows of twelve cells."""
    rows: list[list[Tile]] = [[]]
    for tile in tiles:
        if sum(one.width for one in rows[-1]) + tile.width > COLUMNS:
            rows.append([])
        rows[-1].append(tile)
    return rows


def test_a_catalog_without_boards_gets_one() -> None:
    (board,) = boards_of(parse(METRICS)).values()
    assert (board.name, board.derived) == (DERIVED, True)
    assert [(tile.type, tile.metric and tile.metric["name"]) for tile in board.tiles] == [
        ("sparkline", "orders"),
        ("sparkline", "rating"),
        ("status", None),
        ("line", "sales"),
        ("line", "latency"),
        ("top_k", "pages"),
    ]


def test_without_a_number_the_events_stand_for_it() -> None:
    text = '[[metric]]\nname = "n"\nmeasure = "count"\nby = ["a"]\n'
    (board,) = boards_of(parse(text)).values()
    assert [(tile.type, tile.title, tile.width) for tile in board.tiles] == [
        ("sparkline", "Events", 6),
        ("status", "Status", 6),
        ("line", "N", 12),
    ]


@given(st.integers(0, 30), st.integers(0, 12))
def test_no_row_of_a_made_board_has_a_gap(numbers: int, charts: int) -> None:
    kinds = [("", name) for name in range(numbers)] + [('by = ["a"]\n', numbers + name) for name in range(charts)]
    text = "".join(f'[[metric]]\nname = "n{name}"\nmeasure = "count"\n{by}' for by, name in kinds)
    if not text:
        return
    (board,) = boards_of(parse(text)).values()
    rows = rows_of(board.tiles)
    assert {sum(tile.width for tile in row) for row in rows} == {COLUMNS}
    assert all(len({tile.height for tile in row}) == 1 for row in rows)
    assert {tile.metric["name"] for tile in board.tiles if tile.metric} >= {f"n{name}" for _, name in kinds}


@given(st.integers(0, 60), st.sampled_from([(6, 4, 3, 2, 1), (4, 3, 2, 1), (3, 2, 1), (2, 1)]))
def test_rows_hold_all_in_as_few_as_there_can_be(count: int, sizes: tuple[int, ...]) -> None:
    found = row_sizes(count, sizes)
    assert sum(found) == count
    assert set(found) <= set(sizes)
    assert found == sorted(found, reverse=True)
    assert len(found) <= -(-count // max(sizes)) + 1


# Topics


def test_the_topics_of_a_board() -> None:
    board = boards(
        'type = "number"\nmetric = "orders"',
        'type = "sparkline"\nmetric = "orders"\nwindow = "1h"',
        'type = "number"\nmetric = "rating"',
        'type = "line"\nmetric = "sales"\ndimensions = { kind = "a,b={c}" }',
        'type = "status"',
    )["ops"]
    assert topics(board) == (
        "metric:orders@1d",
        "metric:orders@1m",
        "metric:orders@1h",
        "metric:rating@1m",
        "metric:sales@1d{kind=a\\,b\\=\\{c\\}}",
        "metric:sales@1m{kind=a\\,b\\=\\{c\\}}",
        "alerts",
        "system",
    )


FORECASTS = """
[[forecast]]
metric = "orders"
window = "1m"

[[forecast]]
metric = "rating"
window = "1h"

[[forecast]]
metric = "latency"
window = "1m"
key = "p50"

"""


@pytest.mark.parametrize(
    ("tile", "fine", "forecast"),
    [
        ('metric = "orders"', "1m", "orders_forecast"),
        ('metric = "orders"\nforecast = false', "1m", None),
        ('metric = "orders"\nwindow = "1h"\nforecast = true', "1m", "orders_forecast"),
        # A forecast of longer windows than those that are drawn is so when it is asked for.
        ('metric = "rating"', "1m", None),
        ('metric = "rating"\nforecast = true', "1h", "rating_forecast"),
        # Another number than the one that is drawn.
        ('metric = "latency"', "1m", None),
        ('metric = "latency"\nkey = "p50"', "1m", "latency_forecast"),
        ('metric = "sales"', "1m", None),
    ],
)
def test_lines_go_on_into_what_is_forecast(tile: str, fine: str, forecast: str | None) -> None:
    board = boards(f'type = "line"\n{tile}', metrics=METRICS + FORECASTS)["ops"]
    assert (board.tiles[0].fine, board.tiles[0].forecast) == (fine, forecast)
    assert (f"metric:{forecast}@{fine}" in topics(board)) is (forecast is not None)


def test_only_lines_have_a_forecast() -> None:
    board = boards('type = "sparkline"\nmetric = "orders"', metrics=METRICS + FORECASTS)["ops"]
    assert board.tiles[0].forecast is None


def test_a_forecast_is_on_the_topic_of_the_same_series() -> None:
    text = '[[forecast]]\nmetric = "sales"\nwindow = "1m"\n'
    tile = 'type = "line"\nmetric = "sales"\ndimensions = { kind = "a" }'
    assert "metric:sales_forecast@1m{kind=a}" in topics(boards(tile, metrics=METRICS + text)["ops"])


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.name)
def test_the_hub_understands_every_topic_of_a_catalog_that_we_ship(path: Path) -> None:
    for board in boards_of(load(path)).values():
        wanted = [
            (tile.metric["name"], window, dict(tile.dimensions))
            for tile in board.tiles
            if tile.metric
            for window in (tile.window, tile.fine)
        ]
        parsed = [Topic.parse(topic) for topic in topics(board) if topic.startswith("metric:")]
        for name, window, dimensions in wanted:
            key = series_key(name, str(window), tuple(dimensions.items()))
            assert any(topic and topic.matches(name, str(window), dimensions) for topic in parsed), key


def test_there_is_a_size_for_every_type() -> None:
    # Tiles of people and models need what they are about, and have tests of their own.
    for kind in sorted(TAKES.keys() - ANALYSED - MODELLED):
        metric_line = "" if kind in ("status", "alerts") else 'metric = "rating"\nmax = 9\n'
        if kind in ("bar", "table", "heatmap"):
            metric_line = 'metric = "sales"\n'
        if kind == "top_k":
            metric_line = 'metric = "pages"\n'
        if kind != "gauge":
            metric_line = metric_line.replace("max = 9\n", "")
        assert boards(f'type = "{kind}"\n{metric_line}')["ops"].tiles[0].type == kind
