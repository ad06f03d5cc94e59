from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.catalog import Catalog, load, parse
from stream.decode import Decoder
from stream.expressions import FieldType
from stream.plan import compile_plan
from stream.problems import CatalogError, Problem

CATALOGS = sorted((Path(__file__).resolve().parents[2] / "catalogs").glob("*.toml"))
COUNT = '[[metric]]\nname = "n"\nmeasure = "count"\n'
SUM = '[[metric]]\nname = "n"\nmeasure = "sum"\n'


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(CatalogError) as caught:
        parse(text, "some.toml")
    error = caught.value
    assert error.source == "some.toml"
    assert str(error).splitlines() == [f"some.toml: {problem}" for problem in error.problems]
    return error.problems


def types_of(text: str) -> dict[str, str]:
    return {name: kind.value for name, kind in parse(text).field_types.items()}


def test_there_are_catalogs() -> None:
    assert {path.name for path in CATALOGS} >= {"events.toml", "wikipedia.toml"}


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.name)
def test_every_catalog_that_we_ship_runs(path: Path) -> None:
    catalog = load(path)
    plan = compile_plan(catalog)
    Decoder(plan)
    planned = {metric.name for cube in plan.cubes for metric in (*cube.metrics, *cube.derived)}
    assert planned - {"streamgauge_events"} == {metric.name for metric in catalog.metric}


def test_the_least_catalog_has_defaults() -> None:
    catalog = parse(COUNT)
    assert catalog.platform.streams == ["events:{0}"]
    assert (catalog.event.time, catalog.event.allowed_lateness, catalog.event.out_of_orderness) == ("time", "1h", "5s")
    assert catalog.metric[0].windows == ["10s", "1m", "1h", "1d"]
    assert types_of(COUNT) == {}


# Each row: the catalog, then for each problem its key, and what its `expected` and its `found` must say.
MISTAKES: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "not TOML": ("[platform\n", [("file", "valid TOML", "line 1")]),
    "no metric": ("", [("metric", "a metric, or an analysis of people", "nothing")]),
    "no metric at all": ("metric = []", [("metric", "a metric, or an analysis of people", "nothing")]),
    "no name": ('[[metric]]\nmeasure = "count"', [("metric[0].name", "required", "nothing")]),
    "unknown table": (f'[platfrom]\nname = "x"\n{COUNT}', [("platfrom", "platform", "did you mean platform?")]),
    "unknown key of [platform]": (
        f'[platform]\ntime_zone = "UTC"\n{COUNT}',
        [("platform.time_zone", "timezone", "did you mean timezone?")],
    ),
    "unknown key of [event]": (
        f'[event]\nalowed_lateness = "1h"\n{COUNT}',
        [("event.alowed_lateness", "allowed_lateness", "did you mean allowed_lateness?")],
    ),
    "unknown key of a metric": (
        COUNT + 'window = ["1m"]',
        [('metric[0] "n".window', "windows", "did you mean windows?")],
    ),
    "durations where people who come back are declared": (
        f'[retention]\nstreams = "1d"\n{COUNT}',
        [("retention", "in [keep]", "[retention]")],
    ),
    "one duration for all windows": (
        f'[keep]\nstore = "90d"\n{COUNT}',
        [("keep.store", 'a duration for each window, such as { "1m" = "90d"', "'90d'")],
    ),
    "text in the place of a table": (f'fields = "number"\n{COUNT}', [("fields", "a table", "'number'")]),
    "unknown key like no other": (COUNT + "qqq = 1", [('metric[0] "n".qqq', "one of name", "unknown key 'qqq'")]),
    "unknown measure": (
        COUNT.replace("count", "cuont"),
        [('metric[0] "n".measure', "one of count", "did you mean count?")],
    ),
    "no value": (SUM, [('metric[0] "n".value', "sum needs one", "nothing")]),
    "a value too many": (COUNT + 'value = "a"', [('metric[0] "n".value', "takes none", "'a'")]),
    "bad name": (COUNT.replace('"n"', '"N-1"'), [('metric[0] "N-1".name', "pattern", "'N-1'")]),
    "reserved name": (
        COUNT.replace('"n"', '"streamgauge_n"'),
        [('metric[0] "streamgauge_n"', "does not start with streamgauge_", "'streamgauge_n'")],
    ),
    "name twice": (COUNT + COUNT, [('metric[1] "n".name', "each name once", "'n'")]),
    "window that is none": (COUNT + 'windows = ["1m", "1x"]', [('metric[0] "n".windows[1]', "duration", "'1x'")]),
    "window that does not divide": (COUNT + 'windows = ["7s"]', [('metric[0] "n".windows[0]', "divides", "'7s'")]),
    "window of our own": (COUNT + 'windows = ["total"]', [('metric[0] "n".windows', "1s to 1d", "'total'")]),
    "window twice": (COUNT + 'windows = ["1m", "1m"]', [('metric[0] "n".windows', "each once", "['1m', '1m']")]),
    "no window": (COUNT + "windows = []", [('metric[0] "n".windows', "at least 1", "[]")]),
    "dimension twice": (COUNT + 'by = ["a", "a"]', [('metric[0] "n".by', "each once", "['a', 'a']")]),
    "too many dimensions": (COUNT + 'by = ["a", "b", "c", "d", "e"]', [('metric[0] "n".by', "at most 4", "'e'")]),
    "dimensions as a text": (COUNT + 'by = "a"', [('metric[0] "n".by', "list", "'a'")]),
    "time as a dimension": (COUNT + 'by = ["time"]', [('metric[0] "n".by', "time", "'time'")]),
    "no series": (COUNT + "max_series = 0", [('metric[0] "n".max_series', "1", "0")]),
    "people by name": (
        '[event]\nperson = "user"\n[[metric]]\nname = "n"\nmeasure = "top_k"\nvalue = "\\"user\\""',
        [('metric[0] "n".value', "other than the person", "'user'")],
    ),
    "number as a text": (COUNT + 'max_series = "9"', [('metric[0] "n".max_series', "integer", "'9'")]),
    "target that is none": (COUNT + 'target = "high"', [('metric[0] "n".target', "number", "'high'")]),
    "duration that is none": (f'[event]\nmax_skew = "5"\n{COUNT}', [("event.max_skew", "duration", "'5'")]),
    "time zone that is none": (
        f'[platform]\ntimezone = "Europe/Berln"\n{COUNT}',
        [("platform.timezone", "Europe/Berlin", "'Europe/Berln'")],
    ),
    "no streams": (f"[platform]\nstreams = []\n{COUNT}", [("platform.streams", "at least 1", "[]")]),
    "stream twice": (f'[platform]\nstreams = ["a", "a"]\n{COUNT}', [("platform.streams", "once", "'a'")]),
    "first day that is none": (f'[event]\nearliest = "soon"\n{COUNT}', [("event.earliest", "a day", "'soon'")]),
    "default name without a name": (f'[event]\ndefault_name = "x"\n{COUNT}', [("event.default_name", "name", "'x'")]),
    "type that is none": (f'[fields]\na = "text"\n{COUNT}', [("fields.a", "string", "'text'")]),
    "condition that does not parse": (COUNT + 'where = "a ="', [('metric[0] "n".where', "condition", "'a ='")]),
    "condition that is a number": (COUNT + 'where = "a + 1"', [('metric[0] "n".where', "condition", "boolean")]),
    "value that is a text": (SUM + "value = \"'x'\"", [('metric[0] "n".value', "number", "String")]),
    "condition on the time": (COUNT + 'where = "time > 5"', [('metric[0] "n".where', "condition", "'time'")]),
    "aggregate in a value": (SUM + 'value = "sum(a)"', [('metric[0] "n".value', "number", "aggregates")]),
    "field of two types": (
        COUNT + "where = \"status = 'ok'\"\n" + COUNT.replace('"n"', '"m"') + 'where = "status >= 500"',
        [('metric[1] "m".where', "condition", 'status is a string because of metric[0] "n".where')],
    ),
    "field that is declared otherwise": (
        f'[fields]\nadded = "string"\n{SUM}value = "added"',
        [('metric[0] "n".value', "number", "added is a string")],
    ),
    "person that is no text": (
        f'[event]\nperson = "u"\n[fields]\nu = "number"\n{COUNT}',
        [("event.person", "string", "'u', declared number")],
    ),
    "person that is the time": (f'[event]\nperson = "time"\n{COUNT}', [("event.person", "other than", "'time'")]),
    "type of the time": (f'[fields]\ntime = "number"\n{COUNT}', [("fields.time", "no type", "number")]),
    "object and value at once": (COUNT + 'by = ["a", "a.b"]', [('metric[0] "n".by', "'a'", "'a.b'")]),
    "object and time at once": (COUNT + 'by = ["time.zone"]', [('metric[0] "n".by', "'time'", "'time.zone'")]),
    "time inside of a value": (
        f'[event]\ntime = "meta.at"\n{COUNT}by = ["meta"]',
        [("", "'meta'", "meta")],
    ),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_key_expected_and_found(text: str, expected: list[tuple[str, str, str]]) -> None:
    problems = problems_of(text)
    assert len(problems) == len(expected), problems
    for problem, (key, wanted, found) in zip(problems, expected, strict=True):
        assert problem.key == key or not key
        assert wanted in problem.expected
        assert found in problem.found
        assert "expected" not in problem.expected
        assert "Input should" not in str(problem)


def test_all_mistakes_are_told_at_once() -> None:
    keys = [
        problem.key
        for problem in problems_of(
            '[platform]\ntimezone = "Mars"\n[event]\ntim = "t"\nmax_skew = "x"\n[fields]\na = "text"\n'
            + COUNT
            + "max_series = 0\nqqq = 1\n"
            + SUM.replace('"n"', '"m"')
            + COUNT.replace("count", "median")
        )
    ]
    assert sorted(keys) == [
        "event.max_skew",
        "event.tim",
        "fields.a",
        'metric[0] "n".max_series',
        'metric[0] "n".qqq',
        'metric[1] "m".value',
        'metric[2] "n".measure',
        'metric[2] "n".name',
        "platform.timezone",
    ]


def test_all_wrong_expressions_are_told_at_once() -> None:
    text = COUNT + 'where = "a +"\n' + SUM.replace('"n"', '"m"') + 'value = "sum(b)"\nby = ["time"]\n'
    keys = [problem.key for problem in problems_of(text)]
    assert sorted(keys) == ['metric[0] "n".where', 'metric[1] "m".by', 'metric[1] "m".value']


def test_a_wrong_key_does_not_hide_a_wrong_expression() -> None:
    keys = [problem.key for problem in problems_of(f'[event]\ntim = "t"\n{COUNT}where = "a +"\n')]
    assert sorted(keys) == ["event.tim", 'metric[0] "n".where']


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"["], ids=["missing", "bytes", "not TOML"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: file: expected ")


@given(text=st.text(max_size=60) | st.sampled_from([COUNT, SUM]).flatmap(lambda t: st.text(max_size=20).map(t.__add__)))
@settings(deadline=None, max_examples=100)
def test_any_text_is_a_catalog_or_a_catalog_error(text: str) -> None:
    try:
        assert isinstance(parse(text), Catalog)
    except CatalogError as error:
        assert error.problems  # noqa: PT017


@pytest.mark.parametrize(
    ("metric", "types"),
    [
        (SUM + 'value = "added"', {"added": "number"}),
        (SUM + 'value = "abs(delta) + 1"', {"delta": "number"}),
        (SUM + 'value = "length(page)"', {"page": "string"}),
        (SUM + "value = \"CASE WHEN kind = 'x' THEN price ELSE 0 END\"", {"kind": "string", "price": "number"}),
        (COUNT + 'where = "isRobot"', {"isRobot": "boolean"}),
        (COUNT + 'where = "NOT isRobot"', {"isRobot": "boolean"}),
        (COUNT + "where = \"isRobot = FALSE AND namespace = 'Main'\"", {"isRobot": "boolean", "namespace": "string"}),
        (COUNT + 'where = "status >= 500"', {"status": "number"}),
        (COUNT + 'where = "status IN (500, 503)"', {"status": "number"}),
        (COUNT + "where = \"page LIKE 'A%'\"", {"page": "string"}),
        (COUNT + 'where = "page IS NOT NULL"', {"page": "string"}),
        (COUNT + 'by = ["channel", "geo.country"]', {"channel": "string", "geo.country": "string"}),
        (COUNT + "where = '\"geo.lat\" > 60'", {"geo.lat": "number"}),
        (COUNT + 'by = ["status"]\nwhere = "status >= 500"', {"status": "number"}),
    ],
)
def test_types_follow_from_use(metric: str, types: dict[str, str]) -> None:
    assert types_of(metric) == types


def test_declared_types_come_first() -> None:
    declared = '[fields]\nstatus = "number"\nspare = "boolean"\n'
    text = f'[event]\nrequired = ["id", "time"]\n{declared}{COUNT}where = "status IS NOT NULL"'
    assert types_of(text) == {"status": "number", "spare": "boolean", "id": "string"}


def test_the_envelope_is_text() -> None:
    assert parse(f'[event]\nperson = "u"\nid = "i"\nname = "e"\n{COUNT}').field_types == dict.fromkeys(
        ("u", "i", "e"), FieldType.STRING
    )


@pytest.mark.parametrize("earliest", ["1969-12-31", "1900-01-01"])
def test_days_before_1970_are_not_to_be_had(earliest: str) -> None:
    """Windows are numbered from 1970 on."""
    (problem,) = problems_of(f'[event]\nearliest = "{earliest}"\n{COUNT}')
    assert problem.key == "event.earliest"
    assert earliest in problem.found
