from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sinks.influx_tiers import Tier
from sinks.line_protocol import LineEncoder
from sinks.records import Point, State
from stream.catalog import parse
from streamgauge.influx_places import InfluxPlace
from streamgauge.influx_rows import FluxReader, InfluxQlReader, Reader
from streamgauge.influx_server import Http, client_of
from streamgauge.influx_tail import Follower, follow, reaches
from tests.engines import Influx1
from tests.influx2_api import Influx2
from tests.streamgauge.conftest import CATALOG, Command, as_command
from tests.streamgauge.influx_engines import influx1, server

__all__ = ["influx1", "server"]

HOUR_MS = 3_600_000
NOON = 1_788_264_000_000
"""2026-09-01T12:00:00Z"""

Write = Callable[..., None]


def point(
    minute: int = 0, value: Any = 1.0, state: State = State.FINAL, metric: str = "orders", **labels: str
) -> Point:
    return Point(metric, "1m", NOON + minute * 60_000, tuple(labels.items()), value, 3, state, 2, 0)


@pytest.fixture(params=["flux", "influxql"])
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[Reader, Write, str]]:
    """What reads, what writes, and the bucket: the fake of InfluxDB 2, or the real InfluxDB 1.6."""
    if request.param == "flux":
        fake: Influx2 = request.getfixturevalue("server")
        fake.orgs["o"] = {"id": "o", "name": "streamgauge"}
        fake.buckets["b"] = {"id": "b", "name": "a bucket", "orgID": "o", "retentionRules": []}
        place = InfluxPlace(fake.url, fake.operator, "streamgauge", dict.fromkeys(Tier, "a bucket"))
        with client_of(place) as client:
            yield FluxReader(place, client), lambda *p: fake.store("a bucket", _lines(*p)), "a bucket"
        return
    real: Influx1 = request.getfixturevalue("influx1")
    database = real.new_database()
    place = InfluxPlace(real.direct_url, "", "", dict.fromkeys(Tier, database))
    yield InfluxQlReader(Http(place)), lambda *p: real.write(database, _lines(*p)), database


def _lines(*points: Point) -> str:
    return b"\n".join(LineEncoder().lines(points)).decode()


@contextmanager
def _followed(
    engine: tuple[Reader, Write, str], metric: str | None = "orders", as_json: bool = False
) -> Iterator[Callable[..., list[str]]]:
    """What is printed of what is written between two looks."""
    reader, write, bucket = engine
    place = InfluxPlace("", "", "", dict.fromkeys(Tier, bucket))
    follower = Follower(reader, reaches(place, metric, None), metric)
    follower.start(NOON)

    def then(*points: Point) -> list[str]:
        if points:
            write(*points)
        out = io.StringIO()
        looks = iter([False, True])
        # It has begun already.
        follower.start = lambda _: None  # type: ignore[method-assign]
        follow(follower, out, as_json=as_json, wait=lambda: next(looks), clock=lambda: NOON)
        return out.getvalue().splitlines()

    yield then


def test_what_comes_is_printed_once_and_what_was_there_is_not(engine: tuple[Reader, Write, str]) -> None:
    engine[1](point(-5, 9.0, kind="a"))
    with _followed(engine) as then:
        assert then(point(0, 1234.0, kind="a"), point(1, 2.5, kind="b c,d=e")) == [
            "2026-09-01T12:00:00Z  orders@1m{kind=a}  1234.0  final",
            "2026-09-01T12:01:00Z  orders@1m{kind=b c,d=e}  2.5  final",
        ]
        assert then() == []
        assert then(point(0, 1234.0, kind="a")) == []


def test_a_correction_of_what_was_there_is_printed(engine: tuple[Reader, Write, str]) -> None:
    engine[1](point(-50, 9.0, kind="a"), point(0, 1.0, kind="a"))
    with _followed(engine) as then:
        assert then(point(-50, 10.0, kind="a")) == ["2026-09-01T11:10:00Z  orders@1m{kind=a}  10.0  corrected"]
        assert then() == []


def test_an_open_point_is_printed_again_when_it_is_final(engine: tuple[Reader, Write, str]) -> None:
    with _followed(engine) as then:
        assert then(point(0, 1.0, State.OPEN)) == ["2026-09-01T12:00:00Z  orders@1m  1.0  open"]
        assert then(point(0, 3.0)) == ["2026-09-01T12:00:00Z  orders@1m  3.0  final"]


def test_one_metric_or_all_but_what_is_none(engine: tuple[Reader, Write, str]) -> None:
    others = (point(0, 2.0, metric="visits"), point(0, 3.0, metric="alerts"), point(0, 4.0, metric="streamgauge_check"))
    with _followed(engine) as then:
        assert then(point(0, 1.0), *others) == ["2026-09-01T12:00:00Z  orders@1m  1.0  final"]
    with _followed(engine, None) as then:
        found = then(point(1, 1.0), *(point(1, 2.0, metric=one.metric) for one in others))
        assert [line.split()[1] for line in found] == ["orders@1m", "visits@1m"]


def test_whole_points_with_several_values_and_dimensions_by_their_own_names(
    engine: tuple[Reader, Write, str],
) -> None:
    said = point(0, {"p50": 1.5, "count": 3.0}, window_="x", window="y")
    with _followed(engine, as_json=True) as then:
        [line] = then(said)
    expected = said.to_json()
    assert json.loads(line) == expected


def test_points_of_the_future_hide_nothing(engine: tuple[Reader, Write, str]) -> None:
    engine[1](point(100_000, 9.0, metric="orders"))
    with _followed(engine) as then:
        assert then(point(0, 1.0)) == ["2026-09-01T12:00:00Z  orders@1m  1.0  final"]


def test_a_catalog_says_where_to_look_and_how_far_back() -> None:
    place = InfluxPlace("", "", "", {Tier.RAW: "r", Tier.HOURLY: "h", Tier.DAILY: "d"})
    catalog = parse(CATALOG.replace("[event]", '[event]\nallowed_lateness = "2h"'))
    found = {reach.bucket: reach.back_ms for reach in reaches(place, "orders", catalog)}
    assert found.keys() == {"r", "d"}
    assert 2 * HOUR_MS < found["r"] < 4 * HOUR_MS
    assert found["d"] >= 26 * HOUR_MS
    assert [reach.bucket for reach in reaches(place, "revenue", catalog)] == ["d"]
    assert {reach.bucket for reach in reaches(place, "revenue", None)} == {"r", "h", "d"}


def test_the_command_follows_until_it_is_told_to_end(
    tmp_path: Path, environment: dict[str, str], catalog_path: Path, influx1: Influx1
) -> None:
    database = influx1.new_database()
    settings = {"INFLUX_URL": influx1.direct_url, "INFLUX_BUCKET": database}
    arguments = as_command(["tail", "orders", "--influx", "-c", catalog_path, "--every", "0.1"])
    process = subprocess.Popen(arguments, env=environment | settings, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), True)
    # It may begin before or after the first of these: points of other times, until one is printed.
    line = ""
    deadline = time.monotonic() + 30
    minute = 0
    os.set_blocking(process.stdout.fileno(), False)
    while not line and time.monotonic() < deadline:
        influx1.write(database, _lines(point(minute, 7.0, kind="a")))
        minute += 1
        time.sleep(0.2)
        line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    process.stdout.close()
    assert "orders@1m{kind=a}  7.0  final" in line


def test_what_influxdb_does_not_have_is_refused(verb: Command, tmp_path: Path) -> None:
    catalog = tmp_path / "c.toml"
    catalog.write_text(f'{CATALOG}\n[[metric]]\nname = "kinds"\nmeasure = "top_k"\nvalue = "kind"\n')
    settings = {"INFLUX_URL": "http://127.0.0.1:1"}
    done = verb("tail", "kinds", "--influx", "-c", catalog, **settings)
    assert done.returncode == 2
    assert "kinds is not in InfluxDB: a top_k" in done.stderr
    done = verb("tail", "order", "--influx", "-c", catalog, **settings)
    assert done.returncode == 2
    assert "expected one of orders, revenue" in done.stderr
    done = verb("tail", "--influx", "-c", catalog, **settings)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


def test_victoria_metrics_has_no_rows_to_follow(verb: Command, tmp_path: Path) -> None:
    from tests import engines

    with engines.victoria_metrics(tmp_path) as engine:
        done = verb("tail", "orders", "--influx", INFLUX_URL=engine.url)
    assert done.returncode == 78
    assert "has neither Flux nor InfluxQL" in done.stderr
