from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from sinks.records import DeadLetter, Point, Reason, State
from stream.catalog import parse
from streamgauge.compute import compute, report_refused, report_silence, write_ndjson, write_parquet
from streamgauge.files import FileError

from .conftest import CATALOG, Command

KEY = b"sixteen bytes and more"
SHOP = parse(CATALOG)


def events(count: int = 3_000, seed: int = 1) -> list[dict[str, Any]]:
    """Orders of a few days, whole numbers only, so that sums are exact in any order."""
    chance = random.Random(seed)
    return [
        {
            "time": f"2015-09-{chance.randint(12, 15)}T{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:00Z",
            "kind": chance.choice(["book", "pen", "tea", "a,b", 'q"q']),
            "price": chance.randint(1, 50),
            "quantity": chance.randint(1, 5),
            "user": f"u{chance.randint(1, 99)}",
        }
        for _ in range(count)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if ".csv" in path.name:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        content = text.getvalue().encode()
    else:
        content = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def work_out(*paths: Path) -> list[Point]:
    points, refused, _, _ = compute(SHOP, list(paths), KEY, quiet=True)
    assert refused == []
    return points


def oracle(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str, str], int]:
    """The same numbers another way: a count and a sum in plain Python."""
    expected: Counter[tuple[str, str, str, str]] = Counter()
    for row in rows:
        day = row["time"][:10] + "T00:00:00Z"
        expected["orders", "1d", day, row["kind"]] += 1
        expected["orders", "1m", row["time"], row["kind"]] += 1
        expected["revenue", "1d", day, ""] += row["price"] * row["quantity"]
    return dict(expected)


def test_points_equal_a_count_done_another_way(tmp_path: Path) -> None:
    rows = events()
    points = work_out(write(tmp_path / "a.ndjson", rows))
    found = {(p.metric, p.window, p.to_json()["start"], dict(p.dimensions).get("kind", "")): p.value for p in points}
    assert found == oracle(rows)
    assert len(found) == len(points)
    assert {p.state for p in points} == {State.FINAL}
    assert points == sorted(points, key=lambda p: (p.metric, p.window, p.start_ms, p.dimensions))


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.csv", "a.csv.gz"])
def test_every_kind_of_file_gives_the_same_points(tmp_path: Path, name: str) -> None:
    rows = events(500)
    assert work_out(write(tmp_path / name, rows)) == work_out(write(tmp_path / "b.json", rows))


def test_any_order_of_events_and_files_gives_the_same_points(tmp_path: Path) -> None:
    rows = events(12_000)
    whole = work_out(write(tmp_path / "whole.json", rows))
    backwards = sorted(rows, key=lambda row: row["time"], reverse=True)
    assert work_out(write(tmp_path / "backwards.json", backwards)) == whole
    parts = [
        write(tmp_path / "p0.json", rows[8_000:]),
        write(tmp_path / "p1.csv.gz", rows[:3_000]),
        write(tmp_path / "p2.json", rows[3_000:8_000]),
    ]
    assert work_out(*parts) == whole
    assert work_out(*reversed(parts)) == whole


def test_refused_events_are_given_back_with_their_reason(tmp_path: Path) -> None:
    good = events(3)
    path = tmp_path / "a.json"
    path.write_bytes(
        b"\n".join(
            [
                orjson.dumps(good[0]),
                b"broken",
                orjson.dumps({**good[1], "price": "dear"}),
                orjson.dumps({"price": 1}),
                orjson.dumps(good[2]),
                b"[]",
                orjson.dumps({**good[2], "time": "2999-01-01T00:00:00Z"}),
            ]
        )
    )
    points, refused, _, _ = compute(SHOP, [path], KEY, quiet=True)
    assert sum(p.value for p in points if (p.metric, p.window) == ("orders", "1d")) == 2  # type: ignore[misc]
    assert Counter(letter.reason for letter in refused) == {
        Reason.MALFORMED: 2,
        Reason.BAD_TYPE: 1,
        Reason.MISSING_FIELD: 1,
        Reason.FUTURE: 1,
    }


def test_the_report_of_refused_events_has_numbers_and_an_example_of_each() -> None:
    letters = [
        DeadLetter("s", "1-7", 0, Reason.MALFORMED, "expected a JSON object", b"x"),
        DeadLetter("s", "1-8", 0, Reason.BAD_TYPE, "price: expected a finite number, found 'dear'", b"x"),
        DeadLetter("s", "1-9", 0, Reason.BAD_TYPE, "another", b"x"),
    ]
    out = io.StringIO()
    report_refused(letters, out)
    assert out.getvalue().splitlines() == [
        "refused 2 as bad_type: line 8: price: expected a finite number, found 'dear'",
        "refused 1 as malformed: line 7: expected a JSON object",
    ]


def test_ndjson_is_the_public_shape(tmp_path: Path) -> None:
    points = work_out(write(tmp_path / "a.json", events(200)))
    out = io.BytesIO()
    write_ndjson(points, out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines == [point.to_json() for point in points]
    assert set(lines[0]) == {"metric", "window", "start", "dimensions", "value", "count", "state", "revision"}


def test_parquet_holds_every_point(tmp_path: Path) -> None:
    points = work_out(write(tmp_path / "a.json", events(200)))
    write_parquet(points, tmp_path / "out.parquet")
    frame = pl.read_parquet(tmp_path / "out.parquet")
    assert frame.schema["start"] == pl.Datetime("ms", "UTC")
    found = [
        {
            **row,
            "start": int(row["start"].timestamp() * 1_000),
            "dimensions": tuple((pair["name"], pair["value"]) for pair in row["dimensions"]),
        }
        for row in frame.to_dicts()
    ]
    assert found == [
        {
            "metric": p.metric,
            "window": p.window,
            "start": p.start_ms,
            "dimensions": p.dimensions,
            "value": p.value,
            "values": None,
            "error": None,
            "count": p.count,
            "state": "final",
            "revision": p.revision,
        }
        for p in points
    ]


def test_no_points_are_a_file_with_columns(tmp_path: Path) -> None:
    write_parquet([], tmp_path / "out.parquet")
    frame = pl.read_parquet(tmp_path / "out.parquet")
    assert frame.height == 0
    assert frame.columns[:4] == ["metric", "window", "start", "dimensions"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"gone\.json"):
        compute(SHOP, [tmp_path / "gone.json"], KEY, quiet=True)


# The verb


def test_the_command_prints_points_and_reports_what_was_refused(
    command: Command, tmp_path: Path, catalog_path: Path
) -> None:
    rows = events(300)
    path = write(tmp_path / "a.json", rows)
    path.write_bytes(path.read_bytes() + b"broken\n")
    done = command("compute", path, "--catalog", catalog_path)
    assert done.returncode == 0, done.stderr
    points = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(p["metric"], p["window"], p["start"], p["dimensions"].get("kind", "")): p["value"] for p in points}
    assert found == oracle(rows)
    assert "refused 1 as malformed: line 301:" in done.stderr
    # --out writes the same, as NDJSON or as Parquet by its name; --quiet says nothing.
    done = command("compute", path, "-c", catalog_path, "--out", "out.ndjson", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()] == points
    assert command("compute", path, "-c", catalog_path, "-o", "out.parquet", "-q").returncode == 0
    assert pl.read_parquet(tmp_path / "out.parquet").height == len(points)


def test_silence_is_explained(tmp_path: Path) -> None:
    """A misspelt field gives no error, as any event may lack a field; but nobody should have to guess."""
    misspelt = parse('[[metric]]\nname = "n"\nmeasure = "sum"\nvalue = "ponits"\nwhere = "kind = \'x\'"\n')
    path = tmp_path / "a.ndjson"
    path.write_text('{"kind": "x", "points": 1}\n')
    points, refused, _, unseen = compute(misspelt, [path], KEY, quiet=True)
    assert (points, refused, unseen) == ([], [], {"ponits"})
    out = io.StringIO()
    report_silence(points, unseen, out)
    assert out.getvalue() == "no event has a value for: ponits\nno points: no event counted for any metric\n"
