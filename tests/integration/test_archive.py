"""The archive of a running processor: each event once, whatever is killed when, and whatever is away."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from sinks.archive_files import files_of
from sinks.archive_place import open_place
from tests.stack import Stack, eventually, stack, stop

CATALOG = """
[platform]
name = "Kept"
streams = ["events:{0}", "events:{1}"]

[event]
person = "user"
time = "at"
id = "uuid"
allowed_lateness = "60d"

[archive]
fields = ["page"]

[[metric]]
name = "spent"
measure = "sum"
value = "amount"
windows = ["1d"]
"""
T0 = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
DAY_MS = 86_400_000
STREAMS = ("events:{0}", "events:{1}")
FAST = {"STREAMGAUGE_SNAPSHOT_S": "0.1", "STREAMGAUGE_SHARDS": "3"}
SEED = 20261121


def event(number: int) -> dict[str, Any]:
    at = T0 + number * 7_919_000 % (3 * DAY_MS)
    return {"uuid": f"e{number}", "user": f"user {number % 40}", "at": at, "amount": number, "page": f"/{number % 5}"}


def place_of(made: Stack) -> Path:
    return made.directory / "state" / "kept" / "archive"


def amounts(place: Path) -> list[int]:
    """Of the events that are archived, as a reader of files finds them."""
    found = open_place(str(place))
    paths = [found.path(file.name) for file in files_of(found)]
    return sorted(int(one) for path in paths for one in pl.read_parquet(path)["amount"].to_list())


def add(made: Stack, numbers: Sequence[int]) -> None:
    for stream in range(2):
        made.add(STREAMS[stream], [event(number) for number in numbers if number % 2 == stream])


def start(made: Stack, processes: int) -> subprocess.Popen[bytes]:
    return made.start("run", "run", "--catalog", str(made.catalog), "--processes", str(processes))


@pytest.mark.parametrize("processes", [1, 2])
def test_each_event_is_archived_once_whatever_is_killed(tmp_path: Path, processes: int) -> None:
    (tmp_path / "catalog.toml").write_text(CATALOG)
    chance = random.Random(SEED + processes)
    with stack(tmp_path, tmp_path / "catalog.toml", environment=FAST) as made:
        running = start(made, processes)
        sent = 0
        for turn in range(6):
            for _ in range(chance.randrange(4, 9)):
                more = chance.randrange(1, 300)
                # A producer that sends some twice.
                add(made, [*range(max(0, sent - 5), sent + more)])
                sent += more
                time.sleep(chance.uniform(0, 0.6))
            if turn % 3 == 2:
                assert stop(running, within_s=15) == 0, made.logs()
            else:
                running.kill()
                running.wait()
            running = start(made, processes)
        eventually(lambda: len(amounts(place_of(made))) >= sent, within_s=90, what=made.logs())
        assert stop(running, within_s=15) == 0, made.logs()

        place = place_of(made)
        assert amounts(place) == list(range(sent))
        # As anybody reads it.
        lazily = pl.scan_parquet(f"{place}/day=*/stream=*/*.parquet", hive_partitioning=True)
        found = lazily.sort("amount").collect()
        assert found["amount"].to_list() == list(range(sent))
        assert found["page"].to_list() == [event(number)["page"] for number in range(sent)]
        assert found["time"].dt.epoch("ms").to_list() == [event(number)["at"] for number in range(sent)]
        assert set(found["stream"]) == set(STREAMS)
        assert found["user"].n_unique() == 40
        assert found["user"].str.contains("^[0-9a-f]{32}$").all()
        query = f"""
            SELECT stream, count(*), sum(amount), count(DISTINCT identity), min(CAST(day AS VARCHAR))
            FROM read_parquet('{place}/**/*.parquet', hive_partitioning = true) GROUP BY stream ORDER BY stream
        """
        halves = [range(number, sent, 2) for number in range(2)]
        expected = [
            (stream, len(own), sum(own), len(own), "2026-01-01") for stream, own in zip(STREAMS, halves, strict=True)
        ]
        assert duckdb.sql(query).fetchall() == expected
        assert not list((tmp_path / "state" / "kept" / "archive-pending").glob("*.new"))
