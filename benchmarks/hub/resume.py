"""Whether clients that lost their line have missed nothing once they are back."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.engine.place import ROOT, Place
from benchmarks.hub.served import START_MS, served
from sinks.records import Point, State

CLIENTS = 100
"""Each loses its line once a round."""
PER_S = 10.0
ROUND_S = 6.0
LONG_AWAY_S, LONG_SHARE = 62.0, 0.25
"""In the first round, some are away for longer than the hub remembers."""
_PARTS = 40
_A_WINDOW_S = 1.5
_CHANGES = 60
_QUIET_S = 1.0


@dataclass(frozen=True)
class Resumes:
    reconnects: int
    complete: int
    """After so many of them the client had exactly the state of a new one."""
    resumed: int
    """So many went on where they were; the others got a snapshot."""
    snapshots: int

    @property
    def share(self) -> float:
        return self.complete / self.reconnects


def measure(where: Place, reconnects: int, say: Callable[[str], None]) -> Resumes:
    """Rounds of CLIENTS reconnects each, under load. After each, publishing stops and every client is compared with a
    new snapshot of its topics. What a client got wrong it takes into the next round.
    """
    rounds = -(-reconnects // CLIENTS)
    told: list[dict[str, int]] = []
    with served(where) as api, _clients(api.port) as ask:
        load = _Load()
        for number in range(rounds):
            with api.publishing(load.make, PER_S):
                if not number:
                    ask("connect")
                long_share = 0.0 if number else LONG_SHARE
                ask("round", seconds=ROUND_S, long_away_s=LONG_AWAY_S, long_share=long_share)
            time.sleep(_QUIET_S)
            told.append(ask("compare"))
            say(f"round {number + 1}: {told[-1]}")
    return Resumes(
        rounds * CLIENTS,
        sum(one["complete"] for one in told),
        sum(one["resumed"] for one in told),
        sum(one["snapshots"] for one in told),
    )


class _Load:
    """Windows that open, grow, close and are corrected, as a processor's do, but faster: in a minute, dozens."""

    def __init__(self) -> None:
        self._chance = random.Random(3)
        self._begun_s = time.monotonic()
        self._number = -1
        self._series = [("load", (("part", f"part-{part:02}"),)) for part in range(_PARTS)] + [("total", ())]
        self._points: dict[tuple[str, str, int, Any], Point] = {}

    def make(self) -> list[Point]:
        """What changed in a tick."""
        number = int((time.monotonic() - self._begun_s) / _A_WINDOW_S)
        made = []
        if number != self._number:
            made += [self._put(point, State.FINAL) for point in self._of(self._number) if point.state is State.OPEN]
            self._number = number
        for _ in range(_CHANGES):
            metric, dimensions = self._chance.choice(self._series)
            window = self._chance.choice(("10s", "1m"))
            key = (metric, window, self._start(number), dimensions)
            known = self._points.get(key)
            made.append(self._put(known or Point(*key, 0, 0, State.OPEN, 0, START_MS), State.OPEN))
        settled = [point for point in self._of(number - self._chance.randint(1, 4))]
        made += [self._put(point, State.CORRECTED) for point in self._chance.sample(settled, min(3, len(settled)))]
        return made

    def _start(self, number: int) -> int:
        return START_MS + number * 10_000

    def _of(self, number: int) -> list[Point]:
        start_ms = self._start(number)
        return [point for point in self._points.values() if point.start_ms == start_ms]

    def _put(self, point: Point, state: State) -> Point:
        value = point.value + self._chance.randint(1, 9)  # type: ignore[operator]
        made = Point(
            point.metric,
            point.window,
            point.start_ms,
            point.dimensions,
            value,
            point.count + 1,
            state,
            point.revision + 1,
            START_MS,
        )
        self._points[point.metric, point.window, point.start_ms, point.dimensions] = made
        return made


@contextmanager
def _clients(port: int) -> Iterator[Callable[..., Any]]:
    """A process of clients, and how to ask it for something."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.hub.reconnects", str(port), str(CLIENTS)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    commands, answers = process.stdin, process.stdout

    def ask(what: str, **arguments: Any) -> Any:
        commands.write(json.dumps({"do": what, **arguments}) + "\n")
        commands.flush()
        answer = answers.readline()
        if not answer:
            raise RuntimeError("the clients are gone; what they said last is above")
        return json.loads(answer)

    try:
        yield ask
    finally:
        commands.close()
        process.terminate()
        process.wait(20)
