"""What is wrong with InfluxDB's settings ends the processor with a word of what to set, and costs no point."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from streamgauge.settings import EXIT_CONFIGURATION
from tests.engines import FakeInflux2, Scripted, fake_influx2
from tests.stack import Stack, eventually, stack, stop

CATALOG = """
[platform]
name = "Settings"
streams = ["events:{0}", "events:{1}"]

[event]
time = "time"

[[metric]]
name = "orders"
measure = "count"
by = ["kind"]
windows = ["10s", "1h"]
"""
START_MS = 1_761_400_800_000


def orders(made: Stack, first: int, number: int) -> None:
    """Orders of ten seconds each; all but the last window are over."""
    for stream in range(2):
        events = [{"kind": f"kind-{stream}", "time": START_MS + (first + i) * 10_000} for i in range(number)]
        made.add(f"events:{{{stream}}}", events)


def settled(fake: FakeInflux2) -> set[tuple[str, int]]:
    """(kind, number) of every window of ten seconds that was written."""
    found = [line.decode() for line in fake.written if line.startswith(b"orders,") and b"window=10s" in line]
    assert all(" value=1.0," in line or " value=1," in line for line in found)
    return {
        (line.partition("kind=")[2].partition(",")[0], (int(line.rpartition(" ")[2]) - START_MS) // 10_000)
        for line in found
    }


def windows(number: int) -> set[tuple[str, int]]:
    return {(f"kind-{stream}", i) for stream in range(2) for i in range(number)}


def environment(fake: FakeInflux2) -> dict[str, str]:
    return {"INFLUX_URL": fake.url, "INFLUX_TOKEN": fake.token, "INFLUX_ORG": fake.org, "INFLUX_BUCKET": fake.bucket}


def ended(process: subprocess.Popen[bytes]) -> int:
    return process.wait(60)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bucket_that_is_deleted_stops_it_and_it_goes_on_when_it_is_back(tmp_path: Path, processes: int) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG)
    with fake_influx2() as fake, stack(tmp_path, path, environment=environment(fake)) as made:
        run = ("run", "--catalog", str(path), *(("--processes", str(processes)) if processes > 1 else ()))
        process = made.start("run", *run)
        orders(made, 0, 50)
        eventually(lambda: settled(fake) >= windows(40), within_s=120, what="the first points")
        fake.always = Scripted(404, f'bucket "{fake.bucket}" not found')
        orders(made, 50, 50)
        assert ended(process) == EXIT_CONFIGURATION, made.logs()
        assert "Create the bucket 'a-bucket' or set INFLUX_BUCKET." in made.logs()
        orders(made, 100, 50)
        fake.always = None
        # With another number of processes, what waits comes before what they say.
        process = made.start("run", *run[:3], *(("--processes", "2") if processes == 1 else ()))
        eventually(lambda: settled(fake) >= windows(140), within_s=120, what="all points")
        assert stop(process) == 0


def test_a_state_directory_that_cannot_be_written_is_named_at_start(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG)
    with fake_influx2() as fake, stack(tmp_path, path, environment=environment(fake)) as made:
        spools = tmp_path / "state" / "settings" / "influx"
        spools.parent.mkdir(parents=True)
        spools.write_text("a file where a directory should be")
        assert ended(made.run_processor()) == EXIT_CONFIGURATION, made.logs()
        assert f"{spools} cannot be written" in made.logs()
        assert "STREAMGAUGE_STATE" in made.logs()


def test_what_waits_is_said_when_there_is_no_influxdb_any_more(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG)
    with fake_influx2() as fake, stack(tmp_path, path, environment=environment(fake)) as made:
        fake.always = Scripted(503)
        process = made.run_processor()
        orders(made, 0, 50)
        eventually(lambda: "nothing is lost" in made.logs(), within_s=120, what="the outage in the log")
        assert stop(process) == 0
        for name in environment(fake):
            del made.environment[name]
        process = made.run_processor()
        eventually(lambda: "wait for InfluxDB, and INFLUX_URL is not set" in made.logs(), within_s=60)
        assert stop(process) == 0
