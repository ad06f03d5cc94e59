"""The product as it is deployed: `streamgauge run --processes 2` over a Valkey server, and ways to end its parts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import valkey
from valkey.exceptions import ValkeyError

from sinks.live import LIVE_STREAM
from sinks.store import Store
from streamgauge.embedded import server_command
from tests.chaos.events import CATALOG, STREAMS
from tests.ports import free_port
from tests.stack import eventually

PROCESSES = 2
END_WITHIN_S = 10.0
"""How long an orderly end may take."""
_START_WITHIN_S = 90.0


class Installation:
    """Both are started by the caller, and ended by `close` at the latest, each by its own pid."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.database = directory / "points.db"
        self.log = directory / "run.log"
        self._catalog = directory / "catalog.toml"
        self._catalog.write_text(CATALOG)
        (directory / "valkey").mkdir()
        self._server: subprocess.Popen[bytes] | None = None
        self.supervisor: subprocess.Popen[bytes] | None = None
        self._known: set[int] = set()
        """Pids of all members there ever were, as those without a supervisor are found by nothing else."""
        url = f"sqlite:///{self.database}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMGAUGE_", "INFLUX_"))}
        self._environment = clean | {
            "VALKEY_URL": f"valkey://127.0.0.1:{self.port}/0",
            "DATABASE_URL": url,
            "STREAMGAUGE_STATE": str(directory / "state"),
            "STREAMGAUGE_SNAPSHOT_S": "1",
            "STREAMGAUGE_PERSON_KEY": "the-key-of-the-chaos-test",
        }
        self.store = Store(url)
        self.store.setup()

    def client(self) -> valkey.Valkey:
        return valkey.Valkey(port=self.port, socket_timeout=30, decode_responses=False)

    def start_server(self) -> None:
        """Start Valkey on its port and data directory, and wait until it has loaded what is there."""
        # The last of an option counts. With `always` nothing is acknowledged, or given to a reader, that is not in the
        # file: what the server's own death takes away is what nobody knows of.
        command = [*server_command(self.port, self.directory / "valkey"), "--appendfsync", "always"]
        with (self.directory / "valkey.log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(self._answers, within_s=_START_WITHIN_S, what="Valkey")

    def end_server(self, number: signal.Signals) -> None:
        assert self._server is not None
        self._server.send_signal(number)
        self._server.wait(_START_WITHIN_S)

    def start(self) -> None:
        """Start the command."""
        command = [sys.executable, "-m", "streamgauge", "run", "--catalog", str(self._catalog)]
        with self.log.open("ab") as log:
            self.supervisor = subprocess.Popen(
                [*command, "--processes", str(PROCESSES)],
                env=self._environment,
                cwd=self.directory,
                stdout=log,
                stderr=log,
            )

    def members(self) -> list[int]:
        """Pids of the members that live."""
        assert self.supervisor is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=,stat=", "--ppid", str(self.supervisor.pid)], capture_output=True, text=True
        )
        rows = [line.split() for line in listed.stdout.splitlines()]
        found = [int(pid) for pid, stat in rows if not stat.startswith("Z")]
        self._known.update(found)
        return found

    def all_members(self) -> list[int]:
        """Pids of all members, as soon as there are so many."""

        def found() -> list[int]:
            self.check_runs()
            members = self.members()
            return members if len(members) == PROCESSES else []

        return eventually(found, within_s=_START_WITHIN_S, what="a cluster")

    def await_reading(self) -> None:
        """Wait until a generation of members reports how far it has read."""
        seen: list[int] = []
        since_ms = 0

        def reads() -> bool:
            nonlocal seen, since_ms
            self.check_runs()
            members = self.members()
            if members != seen:
                seen, since_ms = members, time.time_ns() // 1_000_000
            return len(members) == PROCESSES and self._reported_ms() > since_ms

        eventually(reads, within_s=_START_WITHIN_S, what="reading")

    def check_runs(self) -> None:
        """Raise when the supervisor ended though nobody told it to."""
        assert self.supervisor is not None
        status = self.supervisor.poll()
        if status is not None:
            raise RuntimeError(f"`run` ended with status {status}, and nobody told it to; see {self.log}")

    def lag(self) -> int | None:
        """Entries that are in no committed snapshot; None where the server cannot tell."""
        total = 0
        with self.client() as client:
            for stream in STREAMS:
                groups = client.xinfo_groups(stream)
                if not groups or groups[0]["lag"] is None:
                    return None
                total += int(groups[0]["lag"])
        return total

    def ended(self) -> tuple[int, float]:
        """Wait for an orderly end. Returns the exit status and how long it took; raises TimeoutExpired."""
        assert self.supervisor is not None
        began_s = time.monotonic()
        return self.supervisor.wait(END_WITHIN_S), time.monotonic() - began_s

    def restarts(self) -> int:
        """How often a supervisor has started its members again, as it says itself."""
        return self.log.read_text(errors="replace").count("starting all again")

    def close(self) -> None:
        if self.supervisor is not None:
            self.members()
        for process in (self.supervisor, self._server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        for pid in alive([*self._known]):
            # A number may have been given to somebody else since.
            if str(self.directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.store.close()

    def _answers(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            raise RuntimeError(f"Valkey ended with status {self._server.returncode}; see valkey.log")
        with self.client() as client:
            return bool(client.ping())

    def _reported_ms(self) -> int:
        try:
            with self.client() as client:
                return int(client.xinfo_stream(LIVE_STREAM)["last-generated-id"].partition(b"-")[0])
        except ValkeyError:
            return 0


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that have not ended."""
    found = []
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            if " Z " not in Path(f"/proc/{pid}/stat").read_text():
                found.append(pid)
    return found
