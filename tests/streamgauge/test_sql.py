"""`streamgauge sql`: what it answers, and what it cannot touch."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from sinks.records import Point, State
from streamgauge.cli import app
from tests.stack import ROOT

from .test_backfill import T0, Shop, shop

__all__ = ["shop"]


def ask(shop: Shop, query: str, *arguments: str, catalog: str = "after.toml", stdin: str | None = None) -> Result:
    given = ["sql", query, "-c", str(shop.directory / catalog), *arguments]
    return CliRunner().invoke(app, given, input=stdin, env={"STREAMGAUGE_STATE": str(shop.directory)})


def answer(shop: Shop, query: str, *arguments: str, **more: Any) -> list[dict[str, Any]]:
    found = ask(shop, query, "--format", "json", *arguments, **more)
    assert found.exit_code == 0, found.output
    rows: list[dict[str, Any]] = orjson.loads(found.stdout)
    return rows


def test_events_are_those_that_were_counted(shop: Shop) -> None:
    rows = answer(shop, "SELECT kind, count(*) AS n, sum(price) AS spent FROM events GROUP BY kind ORDER BY kind")
    kinds = Counter(event["kind"] for event in shop.events)
    spent = {kind: sum(event["price"] for event in shop.events if event["kind"] == kind) for kind in kinds}
    assert rows == [{"kind": kind, "n": kinds[kind], "spent": spent[kind]} for kind in sorted(kinds)]


def test_points_are_those_of_the_store(shop: Shop) -> None:
    rows = answer(
        shop,
        "SELECT start, dimensions, \"value\", count, state FROM points WHERE \"window\" = '1h' AND metric = 'orders'",
    )
    expected = [
        {"start": point.to_json()["start"], "dimensions": dict(point.dimensions), "value": float(point.count)}
        | {"count": point.count, "state": point.state.value}
        for point in shop.all_points("orders", "1h")
    ]
    assert sorted(rows, key=str) == sorted(expected, key=str)
    fewer = answer(shop, "SELECT DISTINCT metric FROM points", "--metric", "streamgauge_events")
    assert fewer == [{"metric": "streamgauge_events"}]
    late = answer(shop, "SELECT min(start) AS first FROM points", "--since", "2026-03-03T05:00Z")
    assert late == [{"first": "2026-03-03T05:00:00Z"}]


def test_values_with_several_numbers_are_json(shop: Shop) -> None:
    several = Point("q", "1h", T0, (("k", 'a "quoted" one'),), {"p50": 1.5}, 3, State.FINAL, 1, T0 + 9)
    shop.store.write([several])
    rows = answer(shop, "SELECT dimensions, \"value\", value_json->>'p50' AS p50 FROM points WHERE metric = 'q'")
    assert rows == [{"dimensions": {"k": 'a "quoted" one'}, "value": None, "p50": "1.5"}]


def test_what_describes_a_query_is_json_too_and_a_comment_before_one_changes_nothing(shop: Shop) -> None:
    (price,) = [row for row in answer(shop, "SUMMARIZE events") if row["column_name"] == "price"]
    assert (price["count"], float(price["null_percentage"])) == (len(shop.events), 0.0)
    first = "SELECT min(time) AS first, sum(1) AS n FROM events"
    assert answer(shop, f"/* the\nfirst */ {first}") == answer(shop, first)


def test_an_empty_platform_has_empty_tables(tmp_path: Path, shop: Shop) -> None:
    catalog = tmp_path / "new.toml"
    catalog.write_text((shop.directory / "after.toml").read_text().replace('"Shop"', '"New"'))
    for table in ("events", "points", "alerts", "scores", "person_lines", "churn_scores", "deliveries"):
        assert answer(shop, f"SELECT * FROM {table}", catalog="new.toml") == []
    assert answer(shop, "SELECT price, kind, time, day FROM events", catalog="new.toml") == []
    assert not (tmp_path / "new").exists(), "asking makes no store"


def test_a_field_of_the_catalog_that_was_never_archived_is_there_without_values(shop: Shop) -> None:
    catalog = shop.directory / "more.toml"
    text = (shop.directory / "after.toml").read_text()
    catalog.write_text(text.replace('"price"]', '"price", "colour"]'))
    rows = answer(shop, "SELECT count(*) AS n, count(colour) AS coloured FROM events", catalog="more.toml")
    assert rows == [{"n": len(shop.events), "coloured": 0}]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("COPY (SELECT 1) TO '{tmp}/x.csv'", "expected a query that reads"),
        ("COPY (SELECT 1 AS a) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)", "expected a query that reads"),
        ("ATTACH '{tmp}/x.db'", "expected a query that reads"),
        ("INSTALL httpfs", "expected a query that reads"),
        ("SET enable_external_access = true", "expected a query that reads"),
        ("CREATE TABLE x AS SELECT 1", "expected a query that reads"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{tmp}/x.csv'", "EXPLAIN"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("", "one statement"),
        ("SELECT * FROM read_text('/etc/passwd')", "Cannot access file"),
        ("SELECT * FROM '/etc/passwd'", "passwd"),
        ("SELECT * FROM glob('/etc/*')", "Cannot access file"),
        ("SELECT * FROM read_parquet('https://example.org/x.parquet')", ""),
        ("SELECT * FROM sqlite_scan('{tmp}/shop/points.db', 'points')", "sqlite_scan"),
        ("SELECT * FRM events", "syntax error"),
        ("SELECT window, count(*) FROM points GROUP BY ALL", 'written "window"'),
        ("SELECT nothing FROM events", "nothing"),
        ("SELECT count(DISTINCT a.i + b.i * 100000) FROM range(90000) a(i), range(90000) b(i)", "emory"),
    ],
)
def test_a_query_changes_nothing_and_reads_nothing_else(shop: Shop, query: str, words: str) -> None:
    files = {path: path.read_bytes() for path in shop.directory.rglob("*") if path.is_file()}
    first = sorted(shop.place.rglob("*.parquet"))[0]
    found = ask(shop, query.format(tmp=shop.directory, file=first), "--memory", "60MB")
    assert found.exit_code == 1, found.output
    assert words in found.stderr
    # SQLite's own two files beside a database come and go with who reads it.
    beside = (".db-wal", ".db-shm")
    after = {path: path.read_bytes() for path in shop.directory.rglob("*") if path.is_file()}
    assert {p: b for p, b in after.items() if p.suffix not in beside} == {
        p: b for p, b in files.items() if p.suffix not in beside
    }


def test_every_format(shop: Shop) -> None:
    query = (
        "SELECT kind, time, dimensions FROM (SELECT kind, time, map{'a': price} AS dimensions FROM events) ORDER BY 2"
    )
    lines = [orjson.loads(line) for line in ask(shop, query, "-f", "ndjson").stdout.splitlines()]
    assert lines == answer(shop, query)
    assert len(lines) == len(shop.events)
    rows = list(csv.DictReader(io.StringIO(ask(shop, query, "-f", "csv").stdout)))
    assert [row["time"] for row in rows] == [line["time"] for line in lines]
    shown = ask(shop, query, "--limit", "3").stdout
    assert "the first 3 rows" in shown
    out = shop.directory / "x.parquet"
    assert ask(shop, query, "-o", str(out)).exit_code == 0
    assert pl.read_parquet(out).height == len(lines)
    file = shop.directory / "x.json"
    assert ask(shop, query, "-o", str(file)).exit_code == 0
    assert orjson.loads(file.read_bytes()) == lines
    assert not list(shop.directory.glob(".*.part"))
    assert ask(shop, query, "-f", "parquet").exit_code == 2
    assert ask(shop, "-", "-f", "json", stdin="SELECT 1 AS one").stdout.split() == ["[", '{"one":1}', "]"]


def test_it_reads_beside_a_writer(shop: Shop) -> None:
    held = sqlite3.connect(shop.directory / "shop" / "points.db", isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    assert answer(shop, "SELECT count(*) > 0 AS some FROM points") == [{"some": True}]
    held.execute("ROLLBACK")
    held.close()


def test_the_queries_of_the_document(shop: Shop) -> None:
    text = (ROOT / "docs" / "backfill.md").read_text()
    daily, check, peak, funnel = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    days = answer(shop, daily)
    assert [row["events"] for row in days] == [
        sum(1 for e in shop.events if T0 + d * 86_400_000 <= e["time"] < T0 + (d + 1) * 86_400_000) for d in (0, 1)
    ]
    assert answer(shop, check) == []
    hours = Counter((event["time"] // 3_600_000, event["kind"]) for event in shop.events)
    (hour, _), _ = min(hours.items(), key=lambda one: (-one[1], one[0][0]))
    countries = Counter(event["country"] for event in shop.events if event["time"] // 3_600_000 == hour)
    assert {row["country"]: row["events"] for row in answer(shop, peak)} == countries
    first: dict[str, int] = {}
    for event in shop.events:
        if event["kind"] == "a":
            first.setdefault(event["user"], event["time"])
    converted = {
        event["user"]
        for event in shop.events
        if event["kind"] == "b" and 0 < event["time"] - first.get(event["user"], 1 << 60) <= 86_400_000
    }
    assert answer(shop, funnel) == [{"entered": len(first), "converted": len(converted)}]
