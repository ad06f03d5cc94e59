"""`streamgauge up` as its user has it: one command, an orderly end, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3
import valkey

from tests.engines import free_port
from tests.stack import eventually

_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(5))


class Up:
    """A running `up`, and what it said."""

    def __init__(self, directory: Path, port: int, *arguments: str) -> None:
        self.port = port
        self.output = directory / "up.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("STREAMGAUGE_", "VALKEY_", "DATABASE_"))}
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamgauge", "up", "--port", str(port), *arguments],
                cwd=directory,
                env=clean,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    def ready(self) -> None:
        def is_ready() -> bool:
            return _http.request("GET", f"http://127.0.0.1:{self.port}/readyz").status == 200

        try:
            eventually(is_ready, within_s=60, what="readiness")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said}") from None

    def client(self) -> valkey.Valkey:
        found = re.search(r"valkey://\S+", self.said)
        assert found is not None, self.said
        return valkey.Valkey.from_url(found[0])

    def family(self) -> set[int]:
        """The process and everything below it."""
        found, new = set[int](), {self.process.pid}
        while new:
            found |= new
            listed = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", ",".join(map(str, new))], capture_output=True, text=True, check=False
            )
            new = {int(pid) for pid in listed.stdout.split()} - found
        return found


def _alive(pids: set[int]) -> set[int]:
    return {
        pid
        for pid in pids
        if (stat := Path(f"/proc/{pid}/stat")).exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    }


@contextmanager
def _up(directory: Path, port: int, *arguments: str) -> Iterator[Up]:
    up = Up(directory, port, *arguments)
    family = {up.process.pid}
    try:
        yield up
        family |= up.family()
    finally:
        if up.process.poll() is None:
            family |= up.family()
            up.process.kill()
        up.process.wait()
        for pid in _alive(family):
            os.kill(pid, signal.SIGKILL)


def test_it_counts_what_is_sent_and_remembers_it_after_a_restart(tmp_path: Path) -> None:
    port = free_port()
    for round_, expected in ((signal.SIGINT, 3), (signal.SIGTERM, 6)):
        with _up(tmp_path, port) as up:
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
            started = time.monotonic()
            up.process.send_signal(round_)
            assert up.process.wait(10) == 0, up.said
            assert time.monotonic() - started < 10
            eventually(lambda family=family: not _alive(family), within_s=1, what="an empty house")
            assert "ERROR" not in up.said
            assert "Traceback" not in up.said


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with _up(tmp_path, port) as up:
            assert up.process.wait(20) == 1
            assert f"port {port} on 127.0.0.1 is taken by another program; choose one with --port" in up.said
            assert "Traceback" not in up.said


def test_two_cannot_share_a_state_directory(tmp_path: Path) -> None:
    with _up(tmp_path, free_port()) as first:
        first.ready()
        second_home = tmp_path / "second"
        second_home.mkdir()
        with _up(second_home, free_port(), "--state", str(tmp_path / ".streamgauge")) as second:
            assert second.process.wait(20) == 1
            assert "another streamgauge runs on" in second.said


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with _up(tmp_path, free_port(), "--demo", "--rate", "50") as up:
        up.ready()
        family = up.family()
        assert len(family) == 5, "supervisor, Valkey, processor, API, demo"
        up.process.kill()
        up.process.wait()
        eventually(lambda: not _alive(family), within_s=12, what="an empty house")


def test_a_part_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with _up(tmp_path, free_port()) as up:
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
