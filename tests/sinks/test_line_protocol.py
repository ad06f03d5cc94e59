from __future__ import annotations

import math
import secrets

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.influx import InfluxSink
from sinks.line_protocol import LITERAL, PICTURES, LineEncoder, last_of_each
from sinks.records import MISSING, OTHER, Dimensions, Point, State, Value
from tests.engines import Influx1, VictoriaMetrics


def point(
    metric: str = "edits",
    *,
    dimensions: Dimensions = (),
    value: Value = 1.5,
    count: int = 3,
    state: State = State.FINAL,
    start_ms: int = 1_442_016_000_000,
) -> Point:
    return Point(metric, "10s", start_ms, dimensions, value, count, state, 2, start_ms + 10_000)


def line(**kwargs: object) -> str:
    return LineEncoder().lines([point(**kwargs)])[0].decode()  # type: ignore[arg-type]


def test_a_line_has_sorted_tags_and_typed_fields() -> None:
    text = line(dimensions=(("zone", "a"), ("channel", "#en")))
    assert text == "edits,channel=#en,window=10s,zone=a value=1.5,count=3i,revision=2i,final=true 1442016000000"


@pytest.mark.parametrize(("state", "final"), [("open", "false"), ("final", "true"), ("corrected", "true")])
def test_only_open_points_are_not_final(state: str, final: str) -> None:
    assert f"final={final} " in line(state=State(state))


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 10**400, {}, {"p50": math.nan}])
def test_a_value_that_is_no_number_leaves_its_field_out(value: Value) -> None:
    assert line(value=value) == "edits,window=10s count=3i,revision=2i,final=true 1442016000000"


@pytest.mark.parametrize(
    ("value", "field"),
    [(7, "value=7"), (-0.25, "value=-0.25"), (1e300, "value=1e+300"), (2**70, f"value={2**70}")],
)
def test_a_number_is_written_as_a_float(value: Value, field: str) -> None:
    assert line(value=value).startswith(f"edits,window=10s {field},count=")


def test_a_mapping_has_a_field_for_each_key_that_clashes_with_none_of_ours() -> None:
    text = line(value={"p50": 1.0, "p99": math.inf, "count": 2, "count_": 3, "counts": 4})
    assert " p50=1.0,count_=2,count__=3,counts=4,count=3i," in text
    assert " value=1.0,lower=0.5,upper=2.0,count=3i," in line(value={"value": 1.0, "lower": 0.5, "upper": 2.0})


def test_a_dimension_that_clashes_gets_an_underscore() -> None:
    text = line(dimensions=(("window", "w"), ("time", "t"), ("window_", "v"), ("value", "x")))
    assert text.startswith("edits,time_=t,value_=x,window=10s,window_=w,window__=v value=")


def test_our_own_dimension_values_are_literal() -> None:
    assert f",a={OTHER},b={MISSING}," in line(dimensions=(("a", OTHER), ("b", MISSING)))


def test_specials_are_escaped_and_what_has_no_escape_is_pictured() -> None:
    dimensions = (("a b", "x, y=z"), ("dir", "C:\\new\\"), ("text", "two\nlines"), ("mixed", "\\,"))
    text = line(metric="page views,all", dimensions=dimensions)
    assert text.startswith(
        "page\\ views\\,all,a\\ b=x\\,\\ y\\=z,dir=C:\\new＼,mixed=＼\\,,text=two␊lines,window=10s "  # noqa: RUF001
    )


def test_a_metric_that_begins_with_a_hash_is_no_comment() -> None:
    assert line(metric="#errors").startswith("＃errors,")  # noqa: RUF001


def test_the_memory_is_bounded() -> None:
    encoder = LineEncoder(max_series=3)
    points = [point(dimensions=(("n", str(i)),)) for i in range(10)]
    assert encoder.lines(points) == [LineEncoder().lines([one])[0] for one in points]
    assert len(encoder._prefixes) <= 3


# An independent reader: by the grammar of the InfluxDB documentation, one character at a time.


def parse(text: str) -> tuple[str, dict[str, str], dict[str, str], int]:
    measurement, rest = _until(text, ", ", specials=", ")
    tags = {}
    while rest[0] == ",":
        key, rest = _until(rest[1:], "=", specials=",= ")
        tags[key], rest = _until(rest[1:], ", ", specials=",= ")
    fields = {}
    while rest[0] in ", ":
        key, rest = _until(rest[1:], "=", specials=",= ")
        fields[key], rest = _until(rest[1:], ", ", specials=",= ")
        if rest[0] == " ":
            break
    return measurement, tags, fields, int(rest[1:])


def _until(text: str, stops: str, *, specials: str) -> tuple[str, str]:
    out = []
    i = 0
    while text[i] not in stops:
        # As InfluxDB reads it: a backslash escapes a special and is itself otherwise.
        if text[i] == "\\" and text[i + 1] in specials:
            i += 1
        out.append(text[i])
        i += 1
    return "".join(out), text[i:]


def unpictured(text: str) -> str:
    """What was written, from what an engine gives back."""
    original = {picture: was for was, picture in PICTURES.items()}
    out = []
    characters = iter(text)
    for character in characters:
        out.append(next(characters) if character == LITERAL else original.get(character, character))
    return "".join(out)


nasty = st.text(alphabet=st.sampled_from([*",= \\\"#\n\r\t\0'/é漢ab", *PICTURES.values(), LITERAL]), max_size=8)
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
texts = nasty | anything
names = texts.filter(bool)
dimensions_ = st.lists(st.tuples(names, texts), max_size=4, unique_by=lambda pair: pair[0]).map(tuple)
values = st.floats() | st.integers(-(2**63), 2**63) | st.none() | st.dictionaries(texts, st.floats(), max_size=3)
points_ = st.builds(
    point,
    names,
    dimensions=dimensions_,
    value=values,
    count=st.integers(0, 2**63 - 1),
    state=st.sampled_from(State),
    start_ms=st.integers(-(2**40), 2**42),
)


def unclashed(name: str) -> str:
    reserved = ("window", "value", "count", "revision", "final", "time", "_time", "_field", "_measurement")
    bare = name.rstrip("_")
    return name + "_" if bare in reserved or name in reserved else name


def expected_fields(of: Point) -> dict[str, float]:
    numbers = of.value if isinstance(of.value, dict) else {"value": of.value}
    renamed = {key if key == "value" else unclashed(key): number for key, number in numbers.items()}
    return {key: number for key, number in renamed.items() if number is not None and math.isfinite(number)}


@given(points_)
@settings(max_examples=400)
def test_what_is_written_can_be_read_back(of: Point) -> None:
    (raw,) = LineEncoder().lines([of])
    assert raw.count(b"\n") == 0
    measurement, tags, fields, time_ms = parse(raw.decode())
    assert unpictured(measurement) == of.metric
    found = {unpictured(key): unpictured(value) for key, value in tags.items()}
    assert found == {unclashed(name): value for name, value in of.dimensions} | {"window": "10s"}
    assert fields.pop("count") == f"{of.count}i"
    assert fields.pop("revision") == "2i"
    assert fields.pop("final") == ("false" if of.state is State.OPEN else "true")
    assert {unpictured(key): float(value) for key, value in fields.items()} == {
        # Every number is a float there, so that no field ever changes its type.
        key: float(value)
        for key, value in expected_fields(of).items()
    }
    assert time_ms == of.start_ms


@given(points_, points_)
def test_different_series_never_become_one(one: Point, other: Point) -> None:
    def series(of: Point) -> tuple[object, ...]:
        return of.metric, frozenset(of.dimensions)

    def written(of: Point) -> bytes:
        plain = point(of.metric, dimensions=of.dimensions)
        return LineEncoder().lines([plain])[0]

    assert (series(one) == series(other)) == (written(one) == written(other))


@given(st.lists(points_, max_size=6), st.lists(st.integers(0, 5), max_size=12))
def test_of_lines_about_the_same_series_and_time_the_last_stays(batch: list[Point], which: list[int]) -> None:
    """Of rewrites of some points with other values, mixed."""
    written = [(which_ % len(batch), revision) for revision, which_ in enumerate(which)] if batch else []
    rewrites = [(number, msgspec.structs.replace(batch[number], revision=revision)) for number, revision in written]
    keys = [(of.metric, frozenset(of.dimensions), of.start_ms) for of in batch]
    last = {keys[number]: of for number, of in rewrites}
    lines = LineEncoder().lines(of for _, of in rewrites)
    assert sorted(last_of_each(lines)) == sorted(LineEncoder().lines(last.values()))


def test_alerts_about_different_series_stay_apart_whatever_is_said_of_them() -> None:
    lines = [b'alerts,a=x\\ y why="a b 1" 5', b'alerts,a=x why="y a b 1" 5', b'alerts,a=x\\ y why="c d" 5']
    assert last_of_each(lines) == [lines[2], lines[1]]


# A few hundred points with text as above, written at once and read back from the engines themselves.

# A metric's name is as the catalog allows: InfluxDB 1.x gives a measurement with a backslash in its name back wrongly
# when it is found by a pattern.
_metrics = st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True)
_batches = st.lists(
    st.builds(
        point,
        _metrics,
        dimensions=dimensions_,
        value=st.floats(-1e6, 1e6) | st.dictionaries(texts, st.floats(-1e6, 1e6), max_size=3),
    ),
    min_size=1,
    max_size=40,
)
_with_engines = settings(max_examples=12, deadline=None)


def _findable(batch: list[Point]) -> list[Point]:
    """Each point with a start and a tag of its own, so that none overwrites another and all can be found.

    A key of a mapping that is also a dimension of any of them is left out: an InfluxQL query over all measurements
    cannot name a field and a tag apart.
    """
    tags = {"which", *(name for one in batch for name, _ in one.dimensions)}
    run = secrets.token_hex(4)
    found = []
    for i, one in enumerate(batch):
        dimensions = (*one.dimensions, ("which", f"{run}-{i}"))
        value = one.value
        if isinstance(value, dict):
            value = {key: number for key, number in value.items() if key not in tags}
        found.append(point(one.metric, dimensions=dimensions, value=value, start_ms=one.start_ms + i))
    return found


def _tags(of: Point) -> dict[str, str]:
    return {unclashed(name): value for name, value in of.dimensions} | {"window": of.window}


@given(batch=_batches)
@_with_engines
def test_influxdb_reads_what_was_meant(influx1: Influx1, batch: list[Point]) -> None:
    database = influx1.new_database()
    sink = InfluxSink(influx1.url, "", "an-org", database)
    batch = _findable(batch)
    sink.write(batch)
    sink.close()
    found = {row["which"]: row for row in influx1.rows(database, "SELECT * FROM /.*/ GROUP BY *")}
    assert len(found) == len(batch)
    for one in batch:
        row = found[dict(one.dimensions)["which"]]
        # A column of another series of the same measurement is there too, with nothing in it.
        read = {
            unpictured(name): unpictured(value) if isinstance(value, str) else value
            for name, value in row.items()
            if value is not None and value != ""
        }
        assert read == pytest.approx(
            _tags(one)
            | expected_fields(one)
            | {"measurement": one.metric, "time": one.start_ms, "count": 3, "revision": 2, "final": True}
        )


@given(batch=_batches)
@_with_engines
def test_victoria_metrics_reads_what_was_meant(victoria_metrics: VictoriaMetrics, batch: list[Point]) -> None:
    sink = InfluxSink(victoria_metrics.url, "", "an-org", "a-bucket")
    batch = _findable(batch)
    sink.write(batch)
    sink.close()
    for one in batch:
        fields = {**expected_fields(one), "count": 3.0, "revision": 2.0, "final": 1.0}
        read = {}
        for series in victoria_metrics.series(which=dict(one.dimensions)["which"]):
            labels = {unpictured(name): unpictured(value) for name, value in series["metric"].items()}
            name = labels.pop("__name__")
            assert labels == _tags(one)
            assert series["timestamps"] == [one.start_ms]
            read[name] = series["values"][0]
        assert read == pytest.approx({f"{one.metric}_{key}": number for key, number in fields.items()})
