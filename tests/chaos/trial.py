"""One run of the test: what is done to the installation and when, and what must be true at the end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import valkey

from sinks.records import Point, State
from stream.catalog import parse
from tests.chaos.account import Found, letters, read_back
from tests.chaos.events import (
    CATALOG,
    CLOSING_MS,
    PRUNED,
    SPAN_MS,
    START_MS,
    Sending,
    Traffic,
    closing_events,
    traffic,
)
from tests.chaos.installation import END_WITHIN_S, Installation, alive
from tests.chaos.ledger import Ledger
from tests.chaos.live import LiveWatch
from tests.chaos.producer import Producer, add
from tests.oracle import Key, batch_points, differences_to
from tests.stack import eventually

Say = Callable[[str], None]

_SEND_S = 1.5
"""How long the producer takes from the place of one kill to that of the next."""
_AT_ONCE = 0.25
"""Share of the kills that do not wait until what the one before did is repaired."""
_GONE_S = (2.0, 7.0)
_CAUGHT_UP_S = 600.0
_SETTLE_S = 60.0
_SHOWN = 20
_KEPT_MS = 2 * 3_600_000
"""For how long of event time the store promises to keep its shortest windows."""


@dataclass(frozen=True, slots=True)
class Options:
    events: int
    kills: int
    seed: int


@dataclass(slots=True)
class Report:
    """What was done and what was found."""

    options: Options
    kills: Counter[str] = field(default_factory=Counter)
    figures: dict[str, int | float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """Everything that is not as promised; empty is how it should be."""

    def text(self) -> str:
        shown = self.problems[:_SHOWN]
        return "\n".join(
            [
                f"seed {self.options.seed}: {self.options.events:,} events, {sum(self.kills.values())} kills",
                *(f"  {kind}: {times}" for kind, times in sorted(self.kills.items())),
                *(f"{name}: {value:,}" for name, value in self.figures.items()),
                *(f"WRONG {problem}" for problem in shown),
                *([f"… and {len(self.problems) - len(shown)} more"] if len(self.problems) > len(shown) else []),
                "as promised" if not self.problems else f"{len(self.problems)} things are not as promised",
            ]
        )


def run(options: Options, directory: Path, say: Say) -> Report:
    """Do all of it in `directory`. Raises when the product cannot be brought back at all."""
    began_s = time.monotonic()
    report = Report(options)
    sent = traffic(options.events, options.kills, options.seed)
    say(f"seed {options.seed}: {len(sent.sendings):,} entries of {options.events:,} events to be sent")
    installation = Installation(directory)
    trial = _Trial(options, installation, sent, report, say)
    try:
        trial.run()
    finally:
        trial.stop()
        installation.close()
    report.figures["seconds"] = round(time.monotonic() - began_s, 1)
    return report


class _Trial:
    def __init__(self, options: Options, installation: Installation, sent: Traffic, report: Report, say: Say) -> None:
        self._installation = installation
        self._traffic = sent
        self._report = report
        self._say = say
        self._choose = random.Random(f"kills {options.seed}")
        self._kinds = _in_turn(options.kills, self._choose)
        self._chunk = len(sent.sendings) // (options.kills + 1)
        self._producer = Producer(installation.port, sent.sendings, per_s=self._chunk / _SEND_S, seed=options.seed)
        self._live = LiveWatch(installation.port)
        self._ledger = Ledger(installation.database)
        self._slowest_end_s = 0.0
        self._member_kills = 0

    def run(self) -> None:
        installation = self._installation
        installation.start_server()
        self._ledger.begin()
        installation.start()
        self._live.start()
        self._producer.start()
        for number, kind in enumerate(self._kinds, 1):
            self._producer.allow(number * self._chunk)
            time.sleep(self._choose.uniform(0, _SEND_S))
            self._say(f"{number}/{len(self._kinds)} {kind}, {self._producer.sent:,} entries sent, lag {self._lag()}")
            _KILLS[kind](self)
            self._report.kills[kind] += 1
            if self._choose.random() >= _AT_ONCE:
                installation.await_reading()
                self._come_within(self._chunk)
        self._finish()

    def stop(self) -> None:
        self._producer.stop()
        self._live.stop()

    # What is done to it. Each leaves everything running, or about to.

    def kill_member(self) -> None:
        os.kill(self._choose.choice(self._installation.all_members()), signal.SIGKILL)
        self._member_kills += 1

    def tell_member(self) -> None:
        # One that has not met the others yet just goes, and the cluster comes back; later it ends all of them.
        self._installation.await_reading()
        members = self._installation.all_members()
        os.kill(self._choose.choice(members), signal.SIGTERM)
        self._ended_in_order(members)

    def kill_supervisor(self) -> None:
        members = self._installation.all_members()
        supervisor = self._installation.supervisor
        assert supervisor is not None
        supervisor.kill()
        supervisor.wait()
        eventually(lambda: not alive(members), within_s=END_WITHIN_S, what="the end of members without a supervisor")
        self._installation.start()

    def tell_supervisor(self) -> None:
        members = self._installation.all_members()
        assert self._installation.supervisor is not None
        self._installation.supervisor.terminate()
        self._ended_in_order(members)

    def kill_valkey(self) -> None:
        self._installation.end_server(signal.SIGKILL)
        self._installation.start_server()

    def tell_valkey(self) -> None:
        self._installation.end_server(signal.SIGTERM)
        self._installation.start_server()

    def valkey_gone(self) -> None:
        self._installation.end_server(self._choose.choice((signal.SIGKILL, signal.SIGTERM)))
        time.sleep(self._choose.uniform(*_GONE_S))
        self._installation.start_server()

    def _ended_in_order(self, members: list[int]) -> None:
        """Check how it ended, and start it again."""
        try:
            status, seconds = self._installation.ended()
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"`run` was told to end, and has not in {END_WITHIN_S:.0f} s") from None
        self._slowest_end_s = max(self._slowest_end_s, seconds)
        if status != 0:
            self._report.problems.append(f"`run` was told to end, and did with status {status} after {seconds:.1f} s")
        if alive(members):
            self._report.problems.append(f"{len(alive(members))} members outlived an orderly end")
        self._installation.start()

    # How it ends.

    def _finish(self) -> None:
        installation = self._installation
        self._producer.allow(len(self._traffic.sendings))
        self._producer.join(_CAUGHT_UP_S)
        assert self._producer.done, "the producer has not come to its end"
        closing: list[Sending] = []
        for step in ([], *self._traffic.closing):
            with installation.client() as client:
                add(client, step)
            closing += step
            installation.await_reading()
            self._come_within(0)
            # A second for what databases are offered once a second, and one for it to be written.
            time.sleep(2.0)
        self._say("caught up; comparing")
        expected = self._expected()
        self._compare(expected)
        assert installation.supervisor is not None
        installation.supervisor.terminate()
        status, seconds = installation.ended()
        self._slowest_end_s = max(self._slowest_end_s, seconds)
        if status != 0:
            self._report.problems.append(f"the last end was with status {status}")
        self._live.stop()
        self._account()

    def _expected(self) -> dict[Key, Any]:
        events = self._traffic.honest + [event for step in closing_events() for event in step]
        return batch_points(parse(CATALOG), events)

    def _compare(self, expected: dict[Key, Any]) -> None:
        """Every point that is in the store, or was before it was pruned, with the batch."""
        deadline_s = time.monotonic() + _SETTLE_S
        while (wrong := self._differences(expected)) and time.monotonic() < deadline_s:
            time.sleep(1.0)
        self._report.problems += wrong

    def _differences(self, expected: dict[Key, Any]) -> list[str]:
        catalog = parse(CATALOG)
        pruned = self._ledger.pruned()
        stored = [
            point
            for metric in catalog.metric
            for window in metric.windows
            for point in self._installation.store.points(metric.name, window, limit=10_000_000)
        ]
        self._report.figures["points compared"] = len(expected)
        self._report.figures["of them pruned before the end"] = len(pruned)
        return [
            *differences_to(catalog, expected, [*pruned, *stored]),
            *(f"open behind the watermark: {point}" for point in stored if _left_open(point)),
            *(f"deleted: {point}" for point in pruned if not _may_be_pruned(point)),
        ]

    def _account(self) -> None:
        """What was refused, by what the streams themselves say was in them; and what the watches saw."""
        report, figures, counts = self._report, self._report.figures, self._ledger.counts()
        with self._installation.client() as client:
            found = read_back(client, self._traffic)
            refused = letters(client)
        report.problems += self._rejects(found)
        if refused != found.garbage:
            text = f"{len(refused)} dead letters, {len(found.garbage)} refused: {refused ^ found.garbage}"
            report.problems.append(f"dead letters: {text[:500]}")
        report.problems += self._ledger.broken() + self._live.broken
        restarts = self._installation.restarts()
        if restarts > self._member_kills:
            report.problems.append(f"members were started again {restarts} times; {self._member_kills} were killed")
        figures |= {
            "duplicates meant": self._traffic.duplicates,
            "out of order": self._traffic.out_of_order,
            "entries sent again for want of an answer": self._producer.resent,
            "pipelines cut off": self._producer.interrupted,
            "duplicates refused": found.duplicates,
            "garbage refused": sum(found.reasons.values()),
            "settled points corrected": counts["corrections"],
            "settled points passed again in a replay": counts["replayed"],
            "live updates followed": self._live.updates,
            "restarts of the cluster by its supervisor": restarts,
            "slowest orderly end, s": round(self._slowest_end_s, 1),
        }

    def _rejects(self, found: Found) -> list[str]:
        """What the built-in metrics say, against what was in the streams."""
        store = self._installation.store
        rejects = {dict(p.dimensions)["reason"]: p.value for p in store.points("streamgauge_rejects", "total")}
        expected = found.reasons | {"duplicate": found.duplicates}
        wrong = [] if rejects == expected else [f"streamgauge_rejects: {rejects}, expected {expected}"]
        total = [point.value for point in store.points("streamgauge_events", "total")]
        if total != [found.distinct]:
            wrong.append(f"streamgauge_events: {total}, expected {found.distinct}")
        known = len(self._traffic.honest) + sum(map(len, closing_events()))
        if found.distinct != known:
            wrong.append(f"{known} events were acknowledged, {found.distinct} are in the streams")
        return wrong

    def _lag(self) -> str:
        try:
            return f"{self._installation.lag():,}"
        except (valkey.exceptions.ValkeyError, TypeError):
            return "unknown"

    def _come_within(self, entries: int) -> None:
        """Wait until no more than so many entries are left to be saved."""

        def near() -> bool:
            self._installation.check_runs()
            lag = self._installation.lag()
            return lag is not None and lag <= entries

        eventually(near, within_s=_CAUGHT_UP_S, what=f"a lag of {entries:,}")


_KILLS: dict[str, Callable[[_Trial], None]] = {
    "member -9": _Trial.kill_member,
    "supervisor TERM": _Trial.tell_supervisor,
    "valkey -9": _Trial.kill_valkey,
    "member TERM": _Trial.tell_member,
    "supervisor -9": _Trial.kill_supervisor,
    "valkey TERM": _Trial.tell_valkey,
    "valkey gone": _Trial.valkey_gone,
}


def _in_turn(kills: int, choose: random.Random) -> list[str]:
    """Every kind as often as the others, in a random order each time."""
    kinds: list[str] = []
    while len(kinds) < kills:
        kinds += choose.sample(list(_KILLS), len(_KILLS))
    return kinds[:kills]


def _left_open(point: Point) -> bool:
    """Whether a point should have become final: its window ended before the last event by more than any disorder."""
    return point.state is State.OPEN and point.window != PRUNED and point.start_ms < START_MS + SPAN_MS


def _may_be_pruned(point: Point) -> bool:
    return point.window == PRUNED and point.start_ms < START_MS + CLOSING_MS[-1] - _KEPT_MS
