from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.alert_lines import alert_line
from sinks.alert_records import Alert, AlertStatus, Severity
from sinks.influx import InfluxSink
from sinks.records import Dimensions
from tests.engines import FakeInflux2, Influx1, VictoriaMetrics

AT_MS = 1_442_016_060_000


def alert(**over: Any) -> Alert:
    fields: dict[str, Any] = {
        "id": "a1",
        "rule": "edits_low",
        "metric": "edits",
        "window": "1m",
        "dimensions": (("channel", "#en"),),
        "severity": Severity.CRITICAL,
        "status": AlertStatus.FIRING,
        "opened_ms": 1_442_016_000_000,
        "last_seen_ms": AT_MS,
        "score": 4.5,
        "peak": 5,
        "why": "lowest in 8 days",
        "actual": 3.0,
        "expected": 40.25,
    }
    return Alert(**fields | over)


def line(**over: Any) -> str:
    return alert_line(AT_MS, alert(**over)).decode()


def test_a_line_as_it_is_written() -> None:
    assert line() == (
        "alerts,channel=#en,metric=edits,rule=edits_low,severity=critical,status=firing,window=1m "
        'id="a1",score=4.5,peak=5,actual=3.0,expected=40.25,opened=1442016000000.0,why="lowest in 8 days" '
        "1442016060000"
    )


def test_numbers_that_are_none_leave_their_field_out() -> None:
    found = line(score=math.inf, peak=math.nan, actual=None, expected=-math.inf)
    assert found.split(" ", 1)[1] == 'id="a1",opened=1442016000000.0,why="lowest in 8 days" 1442016060000'


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        *((name, f"{name}_") for name in ("rule", "status", "severity", "metric", "window", "id", "why", "time")),
        ("rule_", "rule__"),
        ("ruler", "ruler"),
        ("value", "value"),
    ],
)
def test_a_dimension_that_would_clash_gets_an_underscore(name: str, tag: str) -> None:
    tags = dict(pair.split("=") for pair in line(dimensions=((name, "x"),)).split(" ", 1)[0].split(",")[1:])
    assert tags[tag] == "x"
    assert (tags["rule"], tags["status"], len(tags)) == ("edits_low", "firing", 6)


def test_two_dimensions_never_become_one_tag() -> None:
    tags = line(dimensions=(("rule", "a"), ("rule_", "b"))).split(" ", 1)[0]
    assert ",rule_=a,rule__=b," in tags


def test_a_reason_without_end_is_cut() -> None:
    assert len(line(why="x" * 100_000)) < 3_000


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts, st.lists(st.tuples(texts, texts), max_size=3, unique_by=lambda pair: pair[0]).map(tuple))
def test_a_line_stays_one_line(why: str, dimensions: Dimensions) -> None:
    assert len(alert_line(AT_MS, alert(why=why, dimensions=dimensions)).splitlines()) == 1


def test_alerts_are_written_in_batches_and_nothing_asks_nothing(fake: FakeInflux2) -> None:
    sink = InfluxSink(fake.url, fake.token, fake.org, fake.bucket)
    sink.write_alerts([])
    assert fake.requests == 0
    sink.write_alerts([(AT_MS + i, alert()) for i in range(5_001)])
    sink.close()
    assert fake.written == [alert_line(AT_MS + i, alert()) for i in range(5_001)]
    assert fake.requests == 2


# Real engines.

NASTY = [
    "",
    "a b",
    "a,b",
    "a=b",
    'say "so"',
    "back\\slash",
    "end\\",
    '\\"',
    "new\nline",
    "tab\t",
    "é \N{OWL}",
    "#x",
    "'",
]


def test_influxdb_reads_what_was_written(influx1: Influx1) -> None:
    database = influx1.new_database()
    sink = InfluxSink(influx1.url, "", "", database)
    told = [
        (AT_MS + i, alert(why=text, rule=f"r{text}", dimensions=(("status", text),))) for i, text in enumerate(NASTY)
    ]
    sink.write_alerts(told)
    sink.write_alerts(told)
    sink.close()
    rows = influx1.rows(database, 'SELECT * FROM "alerts"')
    assert [row["time"] for row in rows] == [at_ms for at_ms, _ in told]
    assert [row["why"] for row in rows][1:5] == NASTY[1:5]
    assert len({row["why"] for row in rows}) == len({row["rule"] for row in rows}) == len(NASTY)
    assert len({row["status_"] for row in rows}) == len(NASTY)
    assert {(row["status"], row["id"], row["score"], row["opened"]) for row in rows} == {
        ("firing", "a1", 4.5, 1_442_016_000_000)
    }
    kinds = influx1.rows(database, "SHOW FIELD KEYS FROM alerts")
    assert {row["fieldKey"]: row["fieldType"] for row in kinds} == {
        **dict.fromkeys(("actual", "expected", "opened", "peak", "score"), "float"),
        **dict.fromkeys(("id", "why"), "string"),
    }


def test_victoria_metrics_takes_them_without_their_texts(victoria_metrics: VictoriaMetrics) -> None:
    sink = InfluxSink(victoria_metrics.url, "", "", "any")
    sink.write_alerts([(AT_MS + i, alert(rule="vm", why=text)) for i, text in enumerate(NASTY)])
    sink.close()
    (series,) = victoria_metrics.series(__name__="alerts_score", rule="vm")
    assert series["values"] == [4.5] * len(NASTY)
