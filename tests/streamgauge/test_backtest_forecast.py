"""Forecasts of a file of the past."""

from __future__ import annotations

import csv
import math
import random
from collections import deque
from pathlib import Path

import pytest
from typer.main import get_group

from models.forecast import Forecaster
from models.forecast_quality import ForecastQuality
from sinks.records import iso
from streamgauge.backtest_forecast import ForecastBacktestError, Judgement, Trial, forecast, on_grid, report
from streamgauge.cli_backtest import app
from streamgauge.series_file import SeriesRow, read_series
from tests.stack import ROOT, SHARED

from .conftest import Command
from .test_backtest import START_MS, STEP_MS, time_of, write, written
from .test_cli import fails

DAY = 288
DAY_S = 86_400.0
NAB = SHARED / "data" / "nab" / "data"


def values(rows: int = 6 * DAY) -> list[float]:
    noise = random.Random(6)
    return [100 + 10 * math.sin(2 * math.pi * i / DAY) + noise.gauss(0, 2) for i in range(rows)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "visits.csv", [(time_of(i), repr(value)) for i, value in enumerate(values())])


def rows_of(given: list[float], step_ms: int = STEP_MS) -> list[SeriesRow]:
    return [SeriesRow(iso(START_MS + i * step_ms), repr(v), START_MS + i * step_ms, v) for i, v in enumerate(given)]


def test_each_row_has_what_was_said_of_it_before(verb: Command, file: Path) -> None:
    done = verb("backtest", "forecast", file, "--horizons", "1,6", "--out", "out.csv")
    assert (done.returncode, done.stderr) == (0, "")
    found = written(file.with_name("out.csv"))
    assert list(found[0]) == ["timestamp", "value", "horizon", "forecast", "lower", "upper"]
    assert [(row["timestamp"], row["value"], row["horizon"]) for row in found] == [
        (time_of(i), repr(value), horizon) for i, value in enumerate(values()) for horizon in ("1", "6")
    ]
    forecaster = Forecaster([1, 6], season_s=86_400, step_s=300)
    said: list[dict[int, tuple[float, float, float]]] = []
    for i, value in enumerate(values()):
        for row in found[2 * i : 2 * i + 2]:
            horizon = int(row["horizon"])
            expected = said[i - horizon].get(horizon) if i >= horizon else None
            if expected is None:
                assert (row["forecast"], row["lower"], row["upper"]) == ("", "", "")
            else:
                assert (float(row["forecast"]), float(row["lower"]), float(row["upper"])) == expected
        forecaster.learn_one(value)
        said.append({each.horizon: (each.value, each.lower, each.upper) for each in forecaster.forecasts()})
    assert found[-1]["forecast"]


def test_the_table_says_what_the_written_rows_say(verb: Command, file: Path) -> None:
    done = verb("backtest", "forecast", file, "--out", "out.csv")
    lines = done.stdout.splitlines()
    assert lines[0] == f"rows        1,728, {time_of(0)} to {time_of(1_727)}"
    assert lines[1] == "window      5m"
    assert lines[2].startswith("season      1d; warm at 2015-09-13T0")
    warm = lines[2].split("warm at ")[1]
    (head,) = [i for i, line in enumerate(lines) if line.split()[:3] == ["forecast", "seasonal", "naive"]]
    found = [row for row in written(file.with_name("out.csv")) if row["timestamp"] >= warm]
    series = values()
    for line, horizon in zip(lines[head + 1 :], (1, 6, 12), strict=True):
        mine = [row for row in found if row["horizon"] == str(horizon)]
        places = [len(series) - len(mine) + i for i in range(len(mine))]
        own = [abs(float(row["forecast"]) - float(row["value"])) for row in mine]
        seasonal = [abs(series[i] - series[i - DAY]) for i in places]
        naive = [abs(series[i] - series[i - horizon]) for i in places]
        covered = [float(row["lower"]) <= float(row["value"]) <= float(row["upper"]) for row in mine]
        worst = min(sum(covered[i : i + 500]) / 500 for i in range(len(covered) - 499))
        expected = [
            f"{horizon}",
            *(f"{sum(errors) / len(errors):.4g}" for errors in (own, seasonal, naive)),
            f"{sum(own) / sum(seasonal):.3f}",
        ]
        assert line.split()[:5] == expected
        assert line.split()[6:] == [f"{sum(covered) / len(covered):.1%}", f"{worst:.1%}"]


def test_what_is_counted_here_is_what_the_forecaster_counts() -> None:
    given = values()
    for at in (700, 701, 1_000):
        given[at] = math.nan
    kept = [row for at, row in enumerate(rows_of(given)) if not 800 <= at < 830]
    series = on_grid(kept)
    assert (series.holes, series.repeated, series.step_ms) == (30, 0, STEP_MS)
    forecaster, trial = Forecaster([1, 6, 12], season_s=86_400, step_s=300), Trial()
    deque(forecast(series, forecaster, trial), maxlen=0)
    for one in trial.judgements:
        own = forecaster.quality(one.horizon)
        assert own.steps == one.quality.steps
        for name in ("mae", "mase", "relative", "coverage", "worst_coverage"):
            assert getattr(own, name) == pytest.approx(getattr(one.quality, name), rel=1e-5), name
        assert one.seasonal_mae == pytest.approx(one.quality.mae / one.quality.relative)
        assert one.is_better


@pytest.mark.parametrize(
    ("season_s", "relative", "told"),
    [
        (DAY_S, 1.2, "6 ahead: not better than seasonal naive"),
        (DAY_S, 1.0, "6 ahead: not better than seasonal naive"),
        (None, 1.01, "6 ahead: not better than naive"),
        (DAY_S, math.nan, "6 ahead: cannot be told from seasonal naive"),
        (DAY_S, 0.99, None),
    ],
)
def test_where_it_is_not_better_it_says_so(season_s: float | None, relative: float, told: str | None) -> None:
    quality = ForecastQuality(900, 5.0 * relative, relative, relative, relative, 0.9, math.nan)
    trial = Trial([Judgement(6, quality, 5.0, 7.0)], START_MS)
    lines = list(report(on_grid(rows_of([1.0, 2.0])), Forecaster([6], season_s=season_s, step_s=300), trial, 1.0))
    assert [line for line in lines if line.startswith("6 ahead")] == ([] if told is None else [told])
    (row,) = [line for line in lines if line.split()[:1] == ["6"] and "ahead" not in line]
    assert row.split()[-2:] == ["90.0%", "-"]


def test_too_short_a_file_says_so(verb: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [(time_of(i), "1") for i in range(5)])
    done = verb("backtest", "forecast", path)
    assert done.returncode == 0
    assert "never warm" in done.stdout
    assert "too short to tell" in done.stdout
    empty = write(tmp_path / "b.csv", [])
    assert verb("backtest", "forecast", empty).stdout == "no rows\n"


def test_rows_on_a_grid() -> None:
    def at(*minutes: float) -> list[SeriesRow]:
        return [SeriesRow("", "1", START_MS + int(minute * 60_000), 1.0) for minute in minutes]

    series = on_grid(at(0, 5, 10.2, 14.9, 25, 25.1, 24, 30))
    assert series.places == [0, 1, 2, 3, 5, 6]
    assert (series.step_ms, series.holes, series.repeated) == (306_000, 1, 2)  # the median
    assert on_grid(at(0, 5, 10), 60_000).places == [0, 5, 10]
    with pytest.raises(ForecastBacktestError, match="expected rows of different times, or --window"):
        on_grid(at(3, 3))
    with pytest.raises(ForecastBacktestError, match=r"found .* windows without one; try --window"):
        on_grid(at(0, 0.001, 0.002, 525_600))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--horizons", "1,x"], "--horizons: expected whole numbers such as 1,6,12, found '1,x'"),
        (["--horizons", "0"], "--horizons: expected a whole number from 1 to 2016, found 0"),
        (["--horizons", "1,2,3,4,5"], "--horizons: expected one to 4 different ones"),
        (["--season", "often"], "--season: expected a duration such as 10s, 5m, 1h or 2d, found 'often'"),
        (["--season", "1d,7d,30d"], "--season_s: expected 2 seasons at the most, found 3"),
        (["--window", "5"], "--window: expected a duration"),
        (["--coverage", "90"], "--coverage: expected a number from 0.5 to 0.99, found 90.0"),
    ],
)
def test_what_makes_no_sense_is_refused(verb: Command, file: Path, arguments: list[str], message: str) -> None:
    fails(verb("backtest", "forecast", file, *arguments), message, status=2)


def test_a_broken_file_is_refused_and_none_is_written_over(verb: Command, file: Path, tmp_path: Path) -> None:
    broken = write(tmp_path / "a.csv", [("1442016000", "1"), ("noon", "2")])
    fails(verb("backtest", "forecast", broken), f"{broken}:3: timestamp: expected ISO 8601")
    fails(verb("backtest", "forecast", tmp_path / "none.csv"), "No such file or directory")
    before = file.read_bytes()
    fails(verb("backtest", "forecast", file, "--out", file), "--out: expected another file than the one", status=2)
    assert file.read_bytes() == before


def test_every_option_is_documented() -> None:
    section = (ROOT / "docs" / "forecast.md").read_text().split("## Try it on the past")[1].split("\n## ")[0]
    command = get_group(app).commands["forecast"]
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
    assert len(options) > 8
    for option in options:
        assert f"`{option}`" in section, option


def test_every_member_is_documented() -> None:
    from models.forecast_members import USUAL

    text = (ROOT / "docs" / "forecast.md").read_text()
    for name in USUAL:
        assert f"`{name}`" in text


@pytest.mark.skipif(not NAB.exists(), reason="the real data is not here")
def test_a_real_series(verb: Command, tmp_path: Path) -> None:
    path = NAB / "realAWSCloudwatch" / "elb_request_count_8c0756.csv"
    done = verb("backtest", "forecast", path, "-o", "out.csv")
    assert (done.returncode, done.stderr) == (0, "")
    with (tmp_path / "out.csv").open() as made:
        found = list(csv.DictReader(made))
    assert [row["timestamp"] for row in found[::3]] == [row.timestamp for row in read_series(path)]
    assert "not better" not in done.stdout
