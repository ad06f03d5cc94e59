"""What docs/influxdb.md says about InfluxDB is asked of InfluxDB."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from typer.main import get_group

from sinks.alert_lines import alert_lines
from sinks.line_protocol import LineEncoder
from sinks.records import Point, State
from stream.walltime import clock_ms
from streamgauge.cli import app
from streamgauge.cli_influx import app as influx
from tests.alerts import alert
from tests.engines import Influx1
from tests.flux import ask
from tests.influx2_api import parse_line
from tests.stack import ROOT
from tests.streamgauge.influx_engines import influx1

__all__ = ["influx1"]

TEXT = (ROOT / "docs" / "influxdb.md").read_text()
FLUX = re.findall(r"```flux\n(.*?)```", TEXT, re.DOTALL)
INFLUXQL = re.findall(r"```influxql\n(.*?)```", TEXT, re.DOTALL)
NOW = clock_ms()
BUCKETS = ("streamgauge", "streamgauge_hourly", "streamgauge_daily")


def lines() -> Iterator[str]:
    """As the demo's catalog gives them, of the last hours."""

    def point(metric: str, window: str, ago_ms: int, value: object, **labels: str) -> Point:
        return Point(metric, window, NOW - ago_ms, tuple(labels.items()), value, 3, State.FINAL, 2, 0)  # type: ignore[arg-type]

    minute, hour = 60_000, 3_600_000
    points = [
        *(point("claims_by_community", "1m", n * minute, float(n), community=c) for n in (1, 5, 30) for c in "ab"),
        *(point("claims_by_community", "1h", 2 * hour, float(ord(c)), community=c) for c in "abcdefgh"),
        point("api_latency_spread", "1m", minute, {"p50": 10.0, "p90": 20.0, "p99": 30.0}),
        point("food_saved", "1d", 30 * hour, 12.5),
        point("api_requests_forecast", "1m", -minute, {"value": 1.0, "lower": 0.5, "upper": 2.0}, horizon="1"),
    ]
    yield from (line.decode() for line in LineEncoder().lines(points))
    yield from (line.decode() for line in alert_lines([(NOW - minute, alert())]))


def test_each_question_is_there_in_both_languages() -> None:
    assert len(FLUX) == len(INFLUXQL) > 5


@pytest.mark.parametrize("query", INFLUXQL)
def test_influxdb_answers_each_influxql_query(query: str, influx1: Influx1) -> None:
    database = influx1.new_database()
    influx1.write(database, "\n".join(lines()))
    assert influx1.rows(database, query.strip()), query


@pytest.mark.parametrize("query", FLUX)
def test_each_flux_query_is_one_and_finds_something(query: str) -> None:
    rows = [parse_line(line) for line in lines()]
    assert any(table.rows for table in ask(query, dict.fromkeys(BUCKETS, rows), NOW)), query


def test_every_verb_and_option_is_documented() -> None:
    verbs = get_group(influx).commands
    assert verbs.keys() == {"bootstrap", "check"}
    commands = [*verbs.values(), get_group(app).commands["grafana"]]
    for command in commands:
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert option in TEXT or len(option) == 2 or option == "--catalog", option
    for verb in verbs:
        assert f"`influx {verb}`" in TEXT
    tail = get_group(app).commands["tail"]
    for option in ("--influx", "--every", "--catalog", "--json"):
        assert any(option in parameter.opts for parameter in tail.params)
        assert option in TEXT
