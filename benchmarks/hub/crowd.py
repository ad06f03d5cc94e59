"""Clients in a process of their own, as the benchmark holds them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.engine.place import ROOT
from benchmarks.hub.costs import cpu_s, raise_file_limit

_READY_WITHIN_S = 60.0


@dataclass(frozen=True)
class Counts:
    """What a group of clients has had up to a moment."""

    at_s: float
    """CLOCK_MONOTONIC seconds, as all times here."""
    ready: int
    frames: int
    bytes: int
    stalled_at: dict[int, float]
    """By port of the client: when it stopped reading."""
    lost: list[tuple[int, float]]
    """Connections that the server ended: the port of the client, and when it heard of it."""


class Crowd:
    """A process of `benchmarks.hub.clients`. Several groups of connections may be in it."""

    def __init__(self) -> None:
        raise_file_limit()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hub.clients"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    @property
    def cpu_s(self) -> float:
        """Processor time it has taken."""
        return cpu_s(self._process.pid)

    def connect(
        self,
        name: str,
        count: int,
        port: int,
        says: Sequence[str],
        *,
        path: str = "/v1/ws",
        ready_after: int,
        timed: bool = False,
        stalls: bool = False,
        receive_bytes: int = 0,
    ) -> None:
        """Connect a group, until each client has had `ready_after` frames. See `benchmarks.hub.clients.Group`."""
        self._ask(
            "connect",
            name=name,
            count=count,
            port=port,
            says=list(says),
            path=path,
            ready_after=ready_after,
            timed=timed,
            stalls=stalls,
            receive_bytes=receive_bytes,
        )
        deadline = time.monotonic() + _READY_WITHIN_S
        while (seen := self.counts(name)).ready < count:
            if seen.lost or time.monotonic() > deadline:
                raise RuntimeError(f"{name}: {seen.ready} of {count} clients are ready, {len(seen.lost)} were lost")
            time.sleep(0.05)

    def counts(self, name: str) -> Counts:
        told = self._ask("counts", name=name)
        stalled_at = {int(number): at_s for number, at_s in told.pop("stalled_at").items()}
        lost = [(number, at_s) for number, at_s in told.pop("lost")]
        return Counts(**told, stalled_at=stalled_at, lost=lost)

    def latencies_us(self, name: str) -> list[int]:
        """From publishing to having read it, of each frame since this was asked last."""
        found: list[int] = self._ask("latencies", name=name)
        return found

    def close(self, name: str) -> None:
        """Close the connections of a group."""
        self._ask("close", name=name)

    def nap(self, seconds: float) -> None:
        """Have it sleep so long before it looks again what has come, so that no frame wakes it."""
        self._ask("nap", seconds=seconds)

    def _ask(self, what: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the clients are gone; what they said last is above")
        return json.loads(answer)
