from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sinks.influx_tiers import Tier
from sinks.line_protocol import LineEncoder, dimension_name, field_name, tag_name
from sinks.records import Point, State
from streamgauge.grafana_queries import Language, Wanted, latest, over_time
from streamgauge.influx_places import shown_duration, tier_of_window
from tests.engines import Influx1
from tests.flux import FluxError, ask, parse
from tests.influx2_api import parse_line
from tests.streamgauge.influx_engines import influx1

__all__ = ["influx1"]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", "\\", "a\\", '"', "'", "\\'", '\\"', "${x}", "a b,c=d", "\n", "␢", "$timeFilter", "window", "value_"]
)
NAME = TEXT.filter(lambda name: name and not name.startswith("_"))


@given(name=NAME, value=TEXT, key=NAME)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("question", ["over time", "latest"])
def test_whatever_a_series_is_called_a_question_about_it_finds_it(
    question: str, influx1: Influx1, name: str, value: str, key: str
) -> None:
    # InfluxQL does not tell a tag from a field of the same name.
    assume(tag_name(name) != field_name(key))
    labels = ((name, value),)
    point = Point("m", "1m", 60_000, labels, {key: 4.5}, 1, State.FINAL, 1, 0)
    [line] = LineEncoder().lines([point])
    database = influx1.new_database()
    influx1.write(database, line.decode())
    wanted = Wanted("m", "1m", key, {name: value})
    filled = {
        language: over_time(language, wanted) if question == "over time" else latest(language, wanted, 10)
        for language in Language
    }
    influxql = filled[Language.INFLUXQL].replace(" AND $timeFilter", "")
    [row] = influx1.rows(database, influxql)
    assert 4.5 in row.values()
    flux = filled[Language.FLUX].replace("v.defaultBucket", '"b"')
    flux = flux.replace("v.timeRangeStart", "1970-01-01T00:00:00Z").replace("v.timeRangeStop", "2096-01-01T00:00:00Z")
    [table] = ask(flux, {"b": [parse_line(line.decode())]})
    assert [row["_value"] for row in table.rows] == [4.5]


@given(NAME)
def test_a_dimension_is_known_again_by_its_tag(name: str) -> None:
    if tag_name(name).rstrip("_") == name.rstrip("_"):
        assert dimension_name(tag_name(name)) == name


def test_names_that_clash() -> None:
    assert (tag_name("window"), tag_name("window_"), tag_name("windows")) == ("window_", "window__", "windows")
    assert (field_name("value"), field_name("count"), field_name('"')) == ("value", "count_", "＂")  # noqa: RUF001
    assert [dimension_name(tag) for tag in ("window_", "window__", "a_", "_")] == ["window", "window_", "a_", "_"]


@pytest.mark.parametrize(
    ("window", "tier"),
    [
        ("1s", Tier.RAW),
        ("30m", Tier.RAW),
        ("30m/5m", Tier.RAW),
        ("1h", Tier.HOURLY),
        ("hour", Tier.HOURLY),
        ("2h/10m", Tier.HOURLY),
        ("12h", Tier.HOURLY),
        ("1d", Tier.DAILY),
        ("day", Tier.DAILY),
        ("7d/day", Tier.DAILY),
        ("month", Tier.DAILY),
    ],
)
def test_windows_are_kept_by_their_width(window: str, tier: Tier) -> None:
    assert tier_of_window(window) is tier


def test_durations_are_said_as_a_person_does() -> None:
    assert [shown_duration(ms) for ms in (0, 90 * 86_400_000, 36 * 3_600_000, 90_000, 120_000)] == [
        "for good", "90 d", "36 h", "90 s", "2 min"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [
        'from(bucket: "b")',
        'from(bucket: "b") |> range(start: -1h) |> last()',
        'from(bucket: "b") |> range(start: -1h) |> filter(fn: (r) => r["_measurement"] = "m")',
        'from(bucket: "b") |> range(start: -1h) |> filter(fn: (r) => r["_measurement"] == "${m}")',
        'from(bucket: "b") |> range(start: -1h) |> filter(fn: (r) => r["_measurement"] == "m") |> limit(n: 1, m: 2)',
        'from(bucket: "b") |> range(start: -1h) |> filter(fn: (r) => r["_measurement"]=="m") |> keep(columns: ["no"])',
        'from(bucket: "b") |> range(start: -1h) |> filter(fn: (r) => r["_measurement"] == "m") |> mean()',
        'from(bucket: "no") |> range(start: -1h) |> filter(fn: (r) => r["_measurement"] == "m")',
        'schema.tagValues(bucket: "b", tag: "t")',
        'from(bucket: "b") |> range(start: -1h) |> filter(fn: (r) => r["_measurement"] == "m") last()',
    ],
)
def test_what_is_no_flux_or_asks_for_what_is_not_there_is_refused(query: str) -> None:
    """Otherwise the tests of the questions could not fail."""
    rows = [parse_line("m,t=a value=1 5")]
    with pytest.raises(FluxError):
        ask(query, {"b": rows}, now_ms=10)
    assert parse('from(bucket: "b") |> range(start: -1h)')
