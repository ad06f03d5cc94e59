"""`streamgauge up` for tests: one command, and everything below it gone afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import urllib3
import valkey

from tests.stack import eventually

_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


class Up:
    """A running `up`, and what it said."""

    def __init__(self, directory: Path, port: int, *arguments: str, environment: Mapping[str, str]) -> None:
        self.port = port
        self.output = directory / "up.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("STREAMGAUGE_", "VALKEY_", "DATABASE_"))}
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamgauge", "up", "--port", str(port), *arguments],
                cwd=directory,
                env=clean | dict(environment),
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


def child_of(up: Up, verb: str) -> int:
    """The process below it that runs one verb of the command, such as `serve`."""
    [found] = [pid for pid in up.family() if f"\0{verb}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


def alive(pids: set[int]) -> set[int]:
    return {
        pid
        for pid in pids
        if (stat := Path(f"/proc/{pid}/stat")).exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    }


@contextmanager
def running_up(
    directory: Path, port: int, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Up]:
    up = Up(directory, port, *arguments, environment=environment)
    family = {up.process.pid}
    try:
        yield up
        family |= up.family()
    finally:
        if up.process.poll() is None:
            family |= up.family()
            up.process.kill()
        up.process.wait()
        for pid in alive(family):
            os.kill(pid, signal.SIGKILL)
