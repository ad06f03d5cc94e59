"""The archive of a running processor: each event once, whatever is killed when, and whatever is away."""

from __future__ import annotations

import io
import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from moto.server import ThreadedMotoServer

from sinks import archive_io
from sinks.archive_files import files_of
from sinks.archive_place import open_place
from streamgauge.settings import EXIT_CUT_OFF
from tests.ports import free_port
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
                # Cut off where the machine is slow, which must do no more harm than a kill.
                assert stop(running, within_s=15) in (0, EXIT_CUT_OFF), made.logs()
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


def test_a_person_is_forgotten_in_the_archive_and_files_are_joined_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text(CATALOG)
    with stack(tmp_path, tmp_path / "catalog.toml", environment=FAST) as made:
        running = start(made, 1)
        for begin in range(0, 400, 100):
            add(made, range(begin, begin + 100))
            eventually(lambda begin=begin: len(amounts(place_of(made))) == begin + 100, within_s=60, what=made.logs())
        files = len(files_of(open_place(str(place_of(made)))))
        dry = made.command("archive", "compact", "--catalog", str(made.catalog), "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert "nothing was changed" in dry.stdout
        assert len(files_of(open_place(str(place_of(made))))) == files
        done = made.command("archive", "compact", "--catalog", str(made.catalog))
        assert done.returncode == 0, done.stderr
        # Of each of three days and two streams, one for each of three shards.
        assert len(files_of(open_place(str(place_of(made))))) == 18 < files, done.stdout
        assert amounts(place_of(made)) == list(range(400))

        add(made, range(400, 500))
        eventually(lambda: waiting(made) or len(amounts(place_of(made))) == 500, what=made.logs())
        looked = made.command("forget", "--verify", "user 7", "--catalog", str(made.catalog))
        (line,) = [line for line in looked.stdout.splitlines() if line.startswith("archive ")]
        # Thirteen, once the last hundred are there.
        assert "found 10 (events)" in line or "found 13 (events)" in line, looked.stdout
        done = made.command("forget", "user 7", "--catalog", str(made.catalog), "--no-vacuum", timeout_s=100)
        assert done.returncode == 0, done.stderr + made.logs()
        add(made, [*range(500, 600), 7])
        left = [number for number in range(600) if number % 40 != 7]
        eventually(lambda: len(amounts(place_of(made))) == len(left), within_s=60, what=made.logs())
        assert amounts(place_of(made)) == left

        def nothing_left() -> bool:
            looked = made.command("forget", "--verify", "user 7", "--catalog", str(made.catalog))
            ours = [line for line in looked.stdout.splitlines() if line.startswith(("archive ", "state, archive"))]
            assert len(ours) == 2
            return all("nothing" in line for line in ours)

        eventually(nothing_left, within_s=40, what=made.logs())
        running.kill()
        running.wait()
        running = start(made, 1)
        add(made, range(600, 610))
        left += [number for number in range(600, 610) if number % 40 != 7]
        eventually(lambda: len(amounts(place_of(made))) == len(left), within_s=60, what=made.logs())
        assert amounts(place_of(made)) == left
        assert stop(running) == 0


def waiting(made: Stack) -> int:
    return len(list((made.directory / "state" / "kept" / "archive-pending").glob("*.arrow")))


def test_a_bucket_that_is_away_is_waited_for_and_one_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "catalog.toml").write_text(CATALOG)
    port = free_port()
    reached = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in reached.items():
        monkeypatch.setenv(name, value)
    environment = FAST | reached | {"ARCHIVE_URL": "s3://kept-events/shop"}
    with stack(tmp_path, tmp_path / "catalog.toml", environment=environment) as made:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port)
        server.start()
        try:
            refused = start(made, 1)
            assert refused.wait(60) == 78, made.logs()
            assert "ARCHIVE_URL" in made.logs()
            place = open_place("s3://kept-events/shop")
            place.files.mkdir("kept-events")

            def found() -> list[int]:
                frames = [pl.read_parquet(io.BytesIO(archive_io.read(place, one.name))) for one in files_of(place)]
                return sorted(int(amount) for frame in frames for amount in frame["amount"].to_list())

            running = start(made, 1)
            add(made, range(100))
            eventually(lambda: len(found()) == 100, within_s=60, what=made.logs())
            server.stop()
            add(made, range(100, 200))
            eventually(lambda: "trying again" in made.logs(), within_s=60, what="the bucket is missed")
            add(made, range(200, 300))
            running.kill()
            running.wait()
            # It starts while the bucket is away, too.
            running = start(made, 1)
            add(made, range(300, 400))
            eventually(lambda: waiting(made) > 0, within_s=60, what=made.logs())
            time.sleep(2)
            assert running.poll() is None, made.logs()
            server = ThreadedMotoServer(ip_address="127.0.0.1", port=port)
            server.start()
            eventually(lambda: len(found()) == 400, within_s=120, what=made.logs())
            assert found() == list(range(400))
            assert stop(running, within_s=20) == 0, made.logs()
        finally:
            server.stop()
            open_place("s3://kept-events/shop").files.clear_instance_cache()
