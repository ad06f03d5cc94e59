"""A rule over a file of the past."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_group

from sinks.records import iso
from streamgauge.backtest import BacktestError, Summary, backtest, judge, make_rule, opening, read_labels
from streamgauge.cli_backtest import app
from streamgauge.files import FileError
from streamgauge.series_file import read_series
from tests.stack import ROOT, SHARED

from .conftest import Command
from .test_cli import fails

START_MS = 1_442_016_000_000
STEP_MS = 300_000
NAB = SHARED / "data" / "nab"

RULES = """
[platform]
name = "Shop"
streams = ["events:{0}"]

[[metric]]
name = "latency"
measure = "max"
value = "ms"
windows = ["5m"]

[[anomaly]]
name = "slow"
metric = "latency"
window = "5m"
detector = "above"
severity = { warning = 150, error = 170, critical = 300 }
k = 2
n = 3
resolve_after = 2
"""


def series(rows: int = 1_200) -> list[float]:
    """Noise around 100 with a spike at row 800, and 50 more from row 1,000 on for ten rows."""
    noise = random.Random(6)
    values = [100 + noise.gauss(0, 2) for _ in range(rows)]
    values[800] = 180.0
    for row in range(1_000, 1_010):
        values[row] = 150.0
    return values


def time_of(row: int) -> str:
    return iso(START_MS + row * STEP_MS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "latency.csv"
    write(path, [(time_of(i), repr(value)) for i, value in enumerate(series())])
    return path


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return path


def write(path: Path, rows: list[tuple[str, str]], header: str = "timestamp,value") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


def written(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def alerts(path: Path) -> list[int]:
    return [i for i, row in enumerate(written(path)) if row["alert"] == "1"]


def test_each_row_is_scored_and_what_came_of_it_is_told(command: Command, file: Path) -> None:
    labels = file.with_name("labels.json")
    labels.write_text(
        json.dumps([[time_of(795), time_of(805)], [time_of(995), time_of(1_005)], [time_of(5), time_of(9)]])
    )
    done = command(
        "backtest", "anomaly", file, "--detector", "gaussian", "--option", "memory=400", "--open", 8,
        "--labels", labels, "--out", "scores.csv", timeout_s=180,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    rows = written(file.with_name("scores.csv"))
    assert list(rows[0]) == ["timestamp", "value", "anomaly_score", "alert"]
    assert [(row["timestamp"], row["value"]) for row in rows] == [
        (time_of(i), repr(value)) for i, value in enumerate(series())
    ]
    scores = [float(row["anomaly_score"]) for row in rows]
    assert all(map(math.isfinite, scores))
    told = alerts(file.with_name("scores.csv"))
    # Three quiet rows end an episode.
    assert told[:3] == [800, 801, 802]
    assert told[-1] < 1_013
    lines = done.stdout.splitlines()
    assert lines[0] == f"rows        1,200, {time_of(0)} to {time_of(1_199)}"
    assert lines[1] == f"detector    gaussian, opens at 8, warm at {time_of(289)}"
    assert any(line.startswith("precision   1.00, ") for line in lines)
    assert "recall      0.67, 2 of 3 windows found" in lines
    assert "delay       25 min 0 s" in lines
    assert any(line.startswith("speed ") and line.endswith(" rows a second") for line in lines)


def test_a_rule_of_a_catalog(verb: Command, file: Path, rules: Path) -> None:
    done = verb("backtest", "anomaly", file, "--catalog", rules, "--rule", "slow", "--out", "scores.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert "detector    above, opens at 150, warm at 2015-09-12T00:00:00Z" in done.stdout
    # Two of three: the spike alone is none, and two quiet rows end it.
    assert alerts(file.with_name("scores.csv")) == [*range(1_001, 1_011)]
    assert "episodes    1, 8.3 in 10,000 rows" in done.stdout
    assert "precision" not in done.stdout


def test_a_rule_is_changed_before_it_is_switched_on(verb: Command, file: Path, rules: Path) -> None:
    tried = ("backtest", "anomaly", file, "-c", rules, "-r", "slow", "-o", "scores.csv")
    assert verb(*tried, "-k", 1).returncode == 0
    assert alerts(file.with_name("scores.csv")) == [800, 801, *range(1_000, 1_011)]
    assert verb(*tried, "--k", 1, "--open", 160).returncode == 0
    assert alerts(file.with_name("scores.csv")) == [800, 801]
    done = verb(*tried, "-k", 1, "-d", "change", "--option", "direction=up", "--open", "0.6")
    assert "detector    change, opens at 0.6" in done.stdout
    assert alerts(file.with_name("scores.csv")) == [800, 801]


def test_another_opening_keeps_the_limits_that_are_worse() -> None:
    severity = {"warning": 150, "error": 170, "critical": 300}
    rule = make_rule(None, {"detector": "above", "severity": severity})
    assert opening(rule, 100) == {"warning": 100, "error": 170, "critical": 300}
    assert opening(rule, 200) == {"warning": 200, "critical": 300}
    assert opening(rule, 400) == {"warning": 400}
    below = make_rule(None, {"detector": "below", "severity": {"warning": 0.3, "critical": 0.1}})
    assert opening(below, 0.2) == {"warning": 0.2, "critical": 0.1}
    assert opening(below, 0.1) == {"warning": 0.1}


def test_rows_without_a_value_are_written_and_open_nothing(verb: Command, tmp_path: Path) -> None:
    values = ["5", "", "nan", "NULL", "inf", "5", "-1"]
    file = write(tmp_path / "few.csv", [(time_of(i), value) for i, value in enumerate(values)])
    done = verb("backtest", "anomaly", file, "-d", "below", "--open", "3", "-o", "scores.csv")
    assert (done.returncode, done.stderr) == (0, "")
    rows = written(tmp_path / "scores.csv")
    assert [row["value"] for row in rows] == values
    assert [row["alert"] for row in rows] == ["0"] * 6 + ["1"]
    assert all(math.isfinite(float(row["anomaly_score"])) for row in rows)
    assert "            4 without a value" in done.stdout.splitlines()


def test_silence_is_found_by_nodata(verb: Command, tmp_path: Path) -> None:
    values = ["5", "5", "", "", "", "", "5", "5"]
    file = write(tmp_path / "few.csv", [(time_of(i), value) for i, value in enumerate(values)])
    done = verb("backtest", "anomaly", file, "-d", "nodata", "--open", "15m", "--resolve-after", 1, "-o", "scores.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert [float(row["anomaly_score"]) for row in written(tmp_path / "scores.csv")] == [
        0, 0, 300, 600, 900, 1200, 0, 0
    ]  # fmt: skip
    assert alerts(tmp_path / "scores.csv") == [4, 5]


@pytest.mark.parametrize(
    ("header", "first"),
    [
        ("timestamp,value", "2015-09-12T00:00:00Z,7"),
        ("timestamp,value", "2015-09-12 00:00:00,7"),
        ("timestamp,value", "2015-09-12T02:00:00+02:00,7"),
        ("timestamp,value", "1442016000,7"),
        ("timestamp,value", "1442016000000,7"),
        ("value,timestamp", "7,1442016000"),
        ("host, Value ,Timestamp", "a,7,1442016000.0"),
    ],
)
@pytest.mark.parametrize("gzipped", [False, True])
def test_times_and_columns_as_people_write_them(tmp_path: Path, header: str, first: str, gzipped: bool) -> None:
    raw = f"\ufeff{header}\r\n{first}\r\n\r\n".encode()
    path = tmp_path / ("a.csv.gz" if gzipped else "a.csv")
    path.write_bytes(gzip.compress(raw) if gzipped else raw)
    (row,) = read_series(path)
    assert (row.time_ms, row.value, row.shown) == (START_MS, 7.0, "7")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timestamp,value\n1442016000,1\nnoon,2\n", ":3: timestamp: expected ISO 8601 or epoch s, ms"),
        ("timestamp,value\n1442016000,1\n1442016001,two\n", ":3: value: expected a number or nothing, found 'two'"),
        ("timestamp,value\n1442016000\n", ":2: expected 2 columns, found 1"),
        ("timestamp,value\n,1\n", ":2: timestamp: expected"),
        ("time,value\n1442016000,1\n", ":1: expected a header with one column 'timestamp', found time, value"),
        ("timestamp,value,value\n", ":1: expected a header with one column 'value'"),
        ("", ":1: expected a header with one column 'timestamp', found an empty file"),
        (None, "No such file or directory"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(verb: Command, tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "a.csv"
    if text is not None:
        path.write_text(text)
    fails(verb("backtest", "anomaly", path, "-d", "above", "--open", 3), f"{path}{': ' * (text is None)}{message}")


def test_a_file_that_is_no_text_or_not_whole(tmp_path: Path) -> None:
    broken = tmp_path / "a.csv.gz"
    broken.write_bytes(gzip.compress(b"timestamp,value\n" + b"1442016000,1\n" * 9_999)[:-20])
    with pytest.raises(FileError, match="not a whole gzip file"):
        list(read_series(broken))
    latin = tmp_path / "a.csv"
    latin.write_bytes(b"timestamp,value\n1442016000,\xe9\n")
    with pytest.raises(FileError, match="expected text in UTF-8"):
        list(read_series(latin))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-d", "gausian"], "detector: expected one of"),
        (["-d", "above"], "severity: expected limits, as above has none of its own"),
        (["-d", "gaussian", "--open", "5", "--option", "memory"], "--option: expected NAME=VALUE, found 'memory'"),
        (["-d", "gaussian", "--open", "5", "--option", "memroy=3"], "gaussian: options: expected one of memory"),
        (["-d", "gaussian", "--open", "much"], "much"),
        (["-d", "gaussian", "--open", "5", "-k", "3", "-n", "2"], "k: expected at most n = 2, found 3"),
        (["-d", "above", "--open", "5", "--close", "6"], "close: expected nothing stranger than what opens"),
        (["--rule", "slow"], "--catalog and --rule go together"),
        (["-c", "rules.toml", "--rule", "slwo"], "expected one of rules.toml: slow; found 'slwo'"),
        (["-d", "above", "--open", "5", "-l", "none.json"], "none.json: No such file or directory"),
    ],
)
def test_what_makes_no_sense_is_refused(
    verb: Command, file: Path, rules: Path, arguments: list[str], message: str
) -> None:
    fails(verb("backtest", "anomaly", file, *arguments), message, status=2)


def test_the_file_that_is_read_is_not_written_over(verb: Command, file: Path) -> None:
    before = file.read_bytes()
    fails(verb("backtest", "anomaly", file, "--out", file), "--out: expected another file than the one", status=2)
    assert file.read_bytes() == before


def test_labels_of_one_file_and_of_many(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    window = ["2015-09-12 00:00:00.000000", "2015-09-12T00:05:00Z"]
    span = [(START_MS, START_MS + STEP_MS)]
    for found in (
        [window],
        {"real/a.csv": [window], "real/b-a.csv": []},
        {"a.csv": [window]},
        [[1442016000, 1442016300]],
    ):
        path.write_text(json.dumps(found))
        assert read_labels(path, "a.csv") == span
        assert read_labels(path, "a.csv.gz") == span
    for odd, message in (
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"b.csv": []}', "expected one entry whose name ends with 'a.csv', found none"),
        ('{"x/a.csv": [], "y/a.csv": []}', "found several: x/a.csv, y/a.csv"),
        ("7", "expected a list"),
        ('[["noon", "midnight"]]', "expected .from, to., two times"),
        ("[[1442016300, 1442016000]]", "expected .from, to., two times"),
        ('[["2015-09-12"]]', "expected .from, to., two times"),
        ("[[null, null]]", "expected .from, to., two times"),
        ("[[[1], {}]]", "expected .from, to., two times"),
    ):
        path.write_text(odd)
        with pytest.raises(BacktestError, match=message):
            read_labels(path, "a.csv")


def test_precision_recall_and_delay() -> None:
    summary = Summary(rows=100, episodes=[(10, 20), (50, 55), (90, 95)], alert_ms=[10, 15, 20, 50, 55, 90, 95])
    verdict = judge(summary, [(12, 14), (16, 30), (52, 60), (70, 80)])
    # The first window lies between two rows of an episode: that is right, but nothing was said in it.
    assert (verdict.right, verdict.episodes, verdict.found, verdict.windows) == (2, 3, 2, 4)
    assert (verdict.precision, verdict.recall) == (2 / 3, 0.5)
    assert verdict.delay_ms == 3.5
    nothing = judge(Summary(), [])
    assert all(map(math.isnan, (nothing.precision, nothing.recall, nothing.delay_ms)))


def test_times_that_go_back_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [(time_of(i), "1") for i in (0, 2, 1, 3)])
    summary = Summary()
    list(backtest(make_rule(None, {"detector": "above", "severity": {"info": 3}}), read_series(path), summary))
    assert (summary.rows, summary.back, summary.to_ms) == (4, 1, START_MS + 3 * STEP_MS)


def test_every_option_is_documented() -> None:
    section = (ROOT / "docs" / "detectors.md").read_text().split("## `backtest`")[1]
    command = get_group(app).commands["anomaly"]
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
    assert len(options) > 10
    for option in options:
        assert f"`{option}`" in section, option


@pytest.mark.skipif(not NAB.exists(), reason="the real data is not here")
def test_a_real_series(verb: Command, tmp_path: Path) -> None:
    path = NAB / "data" / "realKnownCause" / "nyc_taxi.csv"
    labels = NAB / "labels" / "combined_windows.json"
    arguments: list[Any] = ["--labels", labels, "-o", "scores.csv", "-d", "half_space_trees", "--open", 15]
    done = verb("backtest", "anomaly", path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "of 5 windows found" in done.stdout
    rows = written(tmp_path / "scores.csv")
    assert [(row["timestamp"], row["value"]) for row in rows] == [
        (row["timestamp"], row["value"]) for row in written(path)
    ]
