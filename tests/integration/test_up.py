"""`streamgauge up` as its user has it: one command, an orderly end, nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import urllib3

from tests.patience import PATIENCE, Stopwatch
from tests.ports import free_port
from tests.stack import eventually
from tests.up import alive, running_up

_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


def test_it_counts_what_is_sent_and_remembers_it_after_a_restart(tmp_path: Path) -> None:
    port = free_port()
    for round_, expected in ((signal.SIGINT, 3), (signal.SIGTERM, 6)):
        with running_up(tmp_path, port) as up:
            up.ready()
            for number in range(3):
                up.client().xadd("events:{0}", {"event": "signup", "value": str(number)})
            url = f"http://127.0.0.1:{port}/v1/points?metric=events&window=1d"

            def counted(url: str = url, expected: int = expected) -> bool:
                points = _http.request("GET", url).json()["points"]
                return sum(point["value"] for point in points) == expected

            eventually(counted, what=f"{expected} events")
            family = up.family()
            assert len(family) == 4, "supervisor, Valkey, processor, API"
            watch = Stopwatch()
            up.process.send_signal(round_)
            assert up.process.wait(10 * PATIENCE) == 0, up.said
            assert watch.worked_s < 10
            eventually(lambda family=family: not alive(family), within_s=1, what="an empty house")
            assert '"level": "error"' not in up.said
            assert "Traceback" not in up.said


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with running_up(tmp_path, port) as up:
            assert up.process.wait(40) == 1
            assert f"port {port} on 127.0.0.1 is taken by another program; choose one with --port" in up.said
            assert "Traceback" not in up.said


def test_two_cannot_share_a_state_directory(tmp_path: Path) -> None:
    with running_up(tmp_path, free_port()) as first:
        first.ready()
        second_home = tmp_path / "second"
        second_home.mkdir()
        with running_up(second_home, free_port(), "--state", str(tmp_path / ".streamgauge")) as second:
            assert second.process.wait(40) == 1
            assert "another streamgauge runs on" in second.said


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with running_up(tmp_path, free_port(), "--demo", "--rate", "50") as up:
        up.ready()
        family = up.family()
        assert len(family) == 5, "supervisor, Valkey, processor, API, demo"
        up.process.kill()
        up.process.wait()
        eventually(lambda: not alive(family), within_s=12, what="an empty house")


def test_a_part_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with running_up(tmp_path, free_port()) as up:
        up.ready()
        before = up.family()
        processor = next(pid for pid in before if b"\0run\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(processor, signal.SIGKILL)
        eventually(lambda: len(up.family() - before) == 1, what="a new processor")
        up.client().xadd("events:{0}", {"event": "after"})
        up.ready()
        url = f"http://127.0.0.1:{up.port}/v1/points?metric=events_by_kind&window=1d&event=after"
        eventually(lambda: _http.request("GET", url).json()["points"], what="the count")
        assert "processor ended with status -9; starting it again" in up.said
