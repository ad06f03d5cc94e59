from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.board_check import check_boards
from stream.boards import TAKES
from stream.catalog import Catalog, parse
from stream.problems import CatalogError, Problem

METRICS = """
[[metric]]
name = "orders"
measure = "count"
windows = ["1m", "1d"]
target = 50

[[metric]]
name = "sales"
measure = "sum"
value = "price"
by = ["country", "kind"]

[[metric]]
name = "latency"
measure = "quantile"
value = "ms"
quantiles = [0.5, 0.999]

[[metric]]
name = "pages"
measure = "top_k"
value = "page"

[[metric]]
name = "share"
measure = "ratio"
of = "orders"
to = "visits"

[[metric]]
name = "visits"
measure = "count"
windows = ["1h", "1d"]
"""
BOARD = '[[board]]\nname = "ops"\n'
TILE = 'board[0] "ops".tile[0]'


def board_of(*tiles: str, head: str = BOARD) -> str:
    return METRICS + head + "".join(f"[[board.tile]]\n{tile}\n" for tile in tiles)


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(CatalogError) as caught:
        parse(text, "some.toml")
    return caught.value.problems


def test_a_catalog_without_boards_has_none() -> None:
    assert parse(METRICS).board == []


# Each row is a tile that is as it should be.
SOUND = [
    'type = "number"\nmetric = "orders"',
    'type = "number"\nmetric = "orders"\nwindow = "1m"\ntitle = "Now"\nunit = "a minute"\nwidth = 12\nheight = 1',
    'type = "number"\nmetric = "orders"\nwarning = 400\ncritical = 600\ncompare = "target"',
    'type = "number"\nmetric = "orders"\nwarning = 40\ncritical = 20\ntarget = 1.5\ncompare = "none"',
    'type = "number"\nmetric = "sales"\ndimensions = { country = "DE", kind = "__none__" }',
    'type = "number"\nmetric = "latency"\nkey = "p99.9"',
    'type = "number"\nmetric = "latency"\nkey = "0.999"',
    'type = "number"\nmetric = "streamgauge_events"\nwindow = "total"',
    'type = "sparkline"\nmetric = "share"\nwindow = "1d"',
    'type = "line"\nmetric = "orders"',
    'type = "line"\nmetric = "sales"\ndimensions = { country = "DE" }\nlimit = 5',
    'type = "line"\nmetric = "latency"\nkey = "p50"',
    'type = "bar"\nmetric = "sales"',
    'type = "table"\nmetric = "streamgauge_rejects"\nwindow = "total"',
    'type = "top_k"\nmetric = "pages"\nlimit = 3',
    'type = "gauge"\nmetric = "orders"',
    'type = "gauge"\nmetric = "visits"\nmax = 10',
    'type = "gauge"\nmetric = "visits"\nmin = -10\nmax = 10\nwarning = -10\ncritical = 10\ntarget = 0',
    'type = "heatmap"\nmetric = "sales"\ndimensions = { kind = "x" }',
    'type = "status"',
    'type = "status"\ntitle = "All of it"\nwidth = 2',
    'type = "status"\nmetric = "orders"\nwarning = 1',
    'type = "alerts"\nlimit = 4',
]


@pytest.mark.parametrize("tile", SOUND)
def test_a_tile_that_can_be_shown_is_taken(tile: str) -> None:
    (board,) = parse(board_of(tile)).board
    assert len(board.tile) == 1


def test_every_type_is_tried() -> None:
    types = {tile.split('"')[1] for tile in (*SOUND, *SOUND_OF_PEOPLE, *SOUND_OF_MODELS)}
    assert types == set(TAKES)


ANALYSES = {"weekly": "retention", "checkout": "funnel", "pages": "paths", "lifecycle": "lifecycle"}
SOUND_OF_PEOPLE = [
    'type = "retention"\nanalysis = "weekly"\nlimit = 8',
    'type = "funnel"\nanalysis = "checkout"\ntitle = "To the till"\nwidth = 12',
    'type = "lifecycle"',
    'type = "lifecycle"\nperiod = "month"\nlimit = 12',
    'type = "paths"\nanalysis = "pages"\nlimit = 20',
]


def mistakes_of(tile: str, analyses: dict[str, str]) -> list[Problem]:
    problems: list[Problem] = []
    check_boards(tomllib.loads(BOARD + "[[board.tile]]\n" + tile), {}, problems, analyses)
    return problems


@pytest.mark.parametrize("tile", SOUND_OF_PEOPLE)
def test_a_tile_of_people_that_can_be_shown_is_taken(tile: str) -> None:
    assert mistakes_of(tile, ANALYSES) == []


# Each row: a tile, the analyses there are, and then for each problem its key, `expected` and `found`.
MISTAKES_OF_PEOPLE: dict[str, tuple[str, dict[str, str], list[tuple[str, str, str]]]] = {
    "no analysis": (
        'type = "funnel"',
        ANALYSES,
        [("analysis", "one of checkout, as a funnel tile is about", "nothing")],
    ),
    "unknown analysis": (
        'type = "retention"\nanalysis = "weakly"',
        ANALYSES,
        [("analysis", "one of weekly", "did you mean weekly?")],
    ),
    "analysis of another type": (
        'type = "paths"\nanalysis = "checkout"',
        ANALYSES,
        [("analysis", "one of pages", "'checkout', a funnel")],
    ),
    "no analysis of the type": (
        'type = "retention"\nanalysis = "weekly"',
        {},
        [("analysis", "the name of a [[retention]], of which there is none", "'weekly'")],
    ),
    "lifecycle of nobody": ('type = "lifecycle"', {"weekly": "retention"}, [("type", "[actives]", "none")]),
    "keys of another type": (
        'type = "lifecycle"\nanalysis = "weekly"\nmetric = "orders"',
        ANALYSES,
        [("analysis", "none, as lifecycle tiles take only", "'weekly'"), ("metric", "none", "'orders'")],
    ),
    "period of another type": (
        'type = "retention"\nanalysis = "weekly"\nperiod = "week"',
        ANALYSES,
        [("period", "none, as retention tiles take only analysis, height, limit", "'week'")],
    ),
}


@pytest.mark.parametrize(("tile", "analyses", "expected"), MISTAKES_OF_PEOPLE.values(), ids=list(MISTAKES_OF_PEOPLE))
def test_a_mistake_of_a_tile_of_people_is_told(
    tile: str, analyses: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    problems = mistakes_of(tile, analyses)
    assert [problem.key for problem in problems] == [f"{TILE}.{key}" for key, _, _ in expected]
    for problem, (_, wanted, found) in zip(problems, expected, strict=True):
        assert wanted in problem.expected
        assert found in problem.found


MODELS = '[churn]\n[[forecast]]\nmetric = "orders"\nwindow = "1m"\n[[forecast]]\nmetric = "visits"\n'
SOUND_OF_MODELS = [
    'type = "risk"\nwidth = 12',
    'type = "model"',
    'type = "model"\nmodel = "churn"\ntitle = "How good it is"',
    'type = "model"\nmodel = "forecast orders@1m"',
    'type = "model"\nmodel = "forecast visits@1h"',
]


def mistakes_of_models(tile: str, models: str) -> list[Problem]:
    problems: list[Problem] = []
    check_boards(tomllib.loads(f"{models}{BOARD}[[board.tile]]\n{tile}"), {}, problems)
    return problems


@pytest.mark.parametrize("tile", SOUND_OF_MODELS)
def test_a_tile_of_a_model_that_can_be_shown_is_taken(tile: str) -> None:
    assert mistakes_of_models(tile, MODELS) == []


@pytest.mark.parametrize(
    ("tile", "models", "key", "expected", "found"),
    [
        ('type = "risk"', "", "type", "[churn] in this catalog, as a risk tile is about its model", "none"),
        ('type = "model"', MODELS.replace("[churn]", ""), "type", "[churn] in this catalog", "none"),
        ('type = "model"\nmodel = "chrun"', MODELS, "model", "one of churn, forecast orders@1m", "did you mean churn?"),
        ('type = "model"\nmodel = "forecast orders@1h"', MODELS, "model", "one of churn", "did you mean forecast"),
        ('type = "model"\nmodel = "churn"', "", "model", "the name of a model, of which there is none", "'churn'"),
        ('type = "risk"\nmodel = "churn"', MODELS, "model", "none, as risk tiles take only height, title", "'churn'"),
        ('type = "model"\nmetric = "orders"', MODELS, "metric", "none, as model tiles take only", "'orders'"),
    ],
)
def test_a_mistake_of_a_tile_of_a_model_is_told(tile: str, models: str, key: str, expected: str, found: str) -> None:
    (problem,) = mistakes_of_models(tile, models)
    assert problem.key == f"{TILE}.{key}"
    assert expected in problem.expected
    assert found in problem.found


NUMBER = 'type = "number"\nmetric = "orders"\n'
# Each row: tiles, then for each problem the key within its tile, and what its `expected` and its `found` must say.
MISTAKES: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "unknown type": ('type = "nubmer"', [("type", "one of number, sparkline", "did you mean number?")]),
    "no type": ('metric = "orders"', [("type", "required", "nothing")]),
    "unknown key": (NUMBER + "widht = 3", [("widht", "width", "did you mean width?")]),
    "unknown metric": ('type = "number"\nmetric = "oders"', [("metric", "one of orders", "did you mean orders?")]),
    "no metric": ('type = "number"', [("metric", "a number is about one", "nothing")]),
    "metric of alerts": ('type = "alerts"\nmetric = "orders"', [("metric", "none, as alerts tiles take", "'orders'")]),
    "window it has not": (NUMBER + 'window = "1h"', [("window", "one of 1m, 1d, which orders has", "'1h'")]),
    "window that a derived metric has not": (
        'type = "number"\nmetric = "share"\nwindow = "1m"',
        [("window", "one of 1d", "'1m'")],
    ),
    "dimension of a metric without any": (
        NUMBER + 'dimensions = { country = "DE" }',
        [("dimensions", "none, as orders has no `by`", "'country'")],
    ),
    "unknown dimension": (
        'type = "line"\nmetric = "sales"\ndimensions = { land = "DE" }',
        [("dimensions", "some of country, kind", "'land'")],
    ),
    "dimension that is no text": (
        'type = "line"\nmetric = "sales"\ndimensions = { country = 49 }',
        [("dimensions.country", "string", "49")],
    ),
    "number of several series": (
        'type = "number"\nmetric = "sales"\ndimensions = { country = "DE" }',
        [("dimensions", "a line, bar, table or heatmap shows several", "none for kind")],
    ),
    "gauge of several series": (
        'type = "gauge"\nmetric = "sales"\nmax = 3',
        [("dimensions", "as a gauge shows one series", "none for country, kind")],
    ),
    "bars of one series": ('type = "bar"\nmetric = "orders"', [("metric", "several series", "without `by`")]),
    "heatmap of one series": (
        'type = "heatmap"\nmetric = "sales"\ndimensions = { country = "DE", kind = "x" }',
        [("metric", "several series", "all given")],
    ),
    "key of one value": (NUMBER + 'key = "p50"', [("key", "none, as orders has one value", "'p50'")]),
    "key it has not": (
        'type = "number"\nmetric = "latency"\nkey = "0.99"',
        [("key", "one of p50, p99.9, which latency has", "'0.99'")],
    ),
    "top_k of a number": ('type = "top_k"\nmetric = "orders"', [("metric", "of measure top_k", "a count")]),
    "number of a top_k": ('type = "number"\nmetric = "pages"', [("metric", "a top_k tile", "a top_k")]),
    "gauge without an end": ('type = "gauge"\nmetric = "visits"', [("max", "or a target", "neither")]),
    "gauge that ends where it begins": (
        'type = "gauge"\nmetric = "visits"\nmin = 3\nmax = 3',
        [("max", "more than where the gauge begins, 3", "3")],
    ),
    "gauge whose target is below it": (
        'type = "gauge"\nmetric = "visits"\ntarget = -3',
        [("max", "not above its beginning, 0", "target -3")],
    ),
    "threshold beyond the gauge": (
        'type = "gauge"\nmetric = "visits"\nmax = 10\nwarning = 8\ncritical = 11',
        [("critical", "on the gauge, from 0 to 10", "11")],
    ),
    "equal thresholds": (NUMBER + "warning = 5\ncritical = 5", [("critical", "another number", "5.0")]),
    "comparison without a target": (
        'type = "number"\nmetric = "visits"\ncompare = "target"',
        [("compare", "a target, here or of visits", "no target")],
    ),
    "comparison that is none": (NUMBER + 'compare = "monday"', [("compare", "'yesterday', 'target' or 'none'", "mon")]),
    "too wide": (NUMBER + "width = 13", [("width", "less than or equal to 12", "13")]),
    "period that is none": ('type = "lifecycle"\nperiod = "year"', [("period", "'day', 'week' or 'month'", "'year'")]),
    "no height": (NUMBER + "height = 0", [("height", "greater than or equal to 1", "0")]),
    "infinite target": (NUMBER + "target = inf", [("target", "finite", "inf")]),
    "key of another type": (
        NUMBER + "limit = 3\nmax = 4",
        [("limit", "none, as number tiles take only compare, critical,", "3"), ("max", "none", "4.0")],
    ),
    "thresholds of the streams": (
        'type = "status"\nwarning = 3\nwindow = "1m"',
        [("warning", "without a metric", "3.0"), ("window", "without a metric", "'1m'")],
    ),
    "forecast of what has none": (
        'type = "line"\nmetric = "visits"\nforecast = true',
        [("forecast", "[[forecast]] of visits in a window of a fixed width", "none")],
    ),
    "several at once": (
        'type = "gauge"\nmetric = "latency"\nwindow = "5m"\nkey = "p1"\nlimit = 2',
        [("limit", "none", "2"), ("window", "one of", "'5m'"), ("key", "p50", "'p1'"), ("max", "", "neither")],
    ),
}


@pytest.mark.parametrize(("tile", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_key_expected_and_found(tile: str, expected: list[tuple[str, str, str]]) -> None:
    problems = problems_of(board_of(tile))
    assert len(problems) == len(expected), problems
    for problem, (key, wanted, found) in zip(problems, expected, strict=True):
        assert problem.key == f"{TILE}.{key}"
        assert wanted in problem.expected
        assert found in problem.found
        assert "expected" not in problem.expected
        assert "Input should" not in str(problem)


@pytest.mark.parametrize(
    ("text", "key", "wanted", "found"),
    [
        (METRICS + BOARD, 'board[0] "ops".tile', "required", "nothing"),
        (METRICS + BOARD + "tile = []", 'board[0] "ops".tile', "at least 1", "[]"),
        (board_of(NUMBER, head='[[board]]\nname = "Ops"\n'), 'board[0] "Ops".name', "pattern", "'Ops'"),
        (board_of(NUMBER, head='[[board]]\nname = "../x"\n'), 'board[0] "../x".name', "pattern", "'../x'"),
        (board_of(NUMBER, head="[[board]]\n"), "board[0].name", "required", "nothing"),
        (board_of(NUMBER, head=BOARD + 'titel = "x"\n'), 'board[0] "ops".titel', "title", "did you mean title?"),
        (board_of(NUMBER, head=BOARD + 'title = ""\n'), 'board[0] "ops".title', "at least 1", "''"),
        ('board = "ops"\n' + METRICS, "board", "a list", "'ops'"),
    ],
)
def test_a_mistake_of_a_board_is_told(text: str, key: str, wanted: str, found: str) -> None:
    (problem,) = problems_of(text)
    assert problem.key.startswith(key)
    assert wanted in problem.expected
    assert found in problem.found


def test_names_of_boards_are_each_there_once() -> None:
    second = board_of(NUMBER)[len(METRICS) :]
    (problem,) = problems_of(board_of(NUMBER) + second)
    assert (problem.key, problem.expected, problem.found) == ('board[1] "ops".name', "each name once", "'ops' again")


def test_mistakes_of_metrics_and_boards_are_told_at_once() -> None:
    text = board_of(
        'type = "number"\nmetric = "orders"\nwindow = "9m"',
        'type = "number"\nmetric = "broken"\nwindow = "1h"',
        'type = "line"\nmetric = "nothing"',
        'type = "bar"\nmetric = "sales"\nlimit = 0',
        'type = "number"\nmetric = "share"\nwindow = "1m"',
    ).replace(BOARD, '[[metric]]\nname = "broken"\nmeasure = "cuont"\n' + BOARD)
    keys = [problem.key for problem in problems_of(text)]
    # Of a metric that is itself wrong, or worked out of such, nothing is said twice.
    assert sorted(keys) == [
        'board[0] "ops".tile[0].window',
        'board[0] "ops".tile[2].metric',
        'board[0] "ops".tile[3].limit',
        'metric[6] "broken".measure',
    ]


def test_a_mistake_of_a_board_does_not_hide_a_wrong_expression() -> None:
    text = board_of('type = "number"\nmetric = "oders"').replace('value = "price"', 'value = "price +"')
    assert sorted(problem.key for problem in problems_of(text)) == [f"{TILE}.metric", 'metric[1] "sales".value']


_values = st.one_of(
    st.sampled_from(["orders", "sales", "latency", "pages", "1m", "1d", "p50", "target", "number", "", "\x00"]),
    st.integers(-5, 20),
    st.floats(),
    st.dictionaries(st.sampled_from(["country", "kind", "x"]), st.text(max_size=3), max_size=2),
)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    return str(value)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(TAKES)), st.dictionaries(st.sampled_from(sorted(TAKES["gauge"])), _values)),
        min_size=1,
        max_size=3,
    )
)
def test_any_tile_is_taken_or_told_of(tiles: list[tuple[str, dict[str, object]]]) -> None:
    lines = [
        "\n".join(f"{key} = {_toml(value)}" for key, value in ({"type": kind} | keys).items()) for kind, keys in tiles
    ]
    try:
        assert isinstance(parse(board_of(*lines)), Catalog)
    except CatalogError as error:
        assert all(problem.key.startswith('board[0] "ops".tile[') for problem in error.problems)  # noqa: PT017
