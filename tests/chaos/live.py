"""What somebody at the wall sees: the live stream as a hub takes it in."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import valkey
from valkey.exceptions import ValkeyError

from live_api.latest import Latest, Series
from sinks.live import FIELD, LIVE_STREAM, decode_update
from sinks.records import Point, series_key
from tests.chaos.ledger import changed

_Seen = dict[str, dict[int, tuple[Any, int, str]]]
"""(value, count, state) by series and start of the window."""


class LiveWatch(threading.Thread):
    """Follows the live stream through all its server's deaths, and notes settled points that changed.

    A hub knows the last few windows of each series only: the rule is held to those that it knows at the moment.
    """

    def __init__(self, port: int) -> None:
        super().__init__(name="live watch", daemon=True)
        self._port = port
        self._stopped = threading.Event()
        self._latest = Latest()
        self._seen: _Seen = {}
        self.updates = 0
        self.broken: list[str] = []

    def stop(self) -> None:
        self._stopped.set()
        if self.is_alive():
            self.join(30)

    def run(self) -> None:
        last: Any = b"0-0"
        while not self._stopped.is_set():
            try:
                with valkey.Valkey(port=self._port, socket_timeout=10) as client:
                    while not self._stopped.is_set():
                        for _, entries in client.xread({LIVE_STREAM: last}, count=20, block=500) or ():
                            for last, fields in entries:  # noqa: B007 - it is where the next read goes on
                                self._take(fields[FIELD])
            except ValkeyError:
                self._stopped.wait(0.2)

    def _take(self, raw: bytes) -> None:
        self.updates += 1
        rounds: list[list[Point]] = []
        times: Counter[str] = Counter()
        for point in decode_update(raw).points:
            key = _key(point)
            if times[key] == len(rounds):
                rounds.append([])
            rounds[times[key]].append(point)
            times[key] += 1
        # One point of a series at a time: with several, a window may be dropped and come back in between.
        for points in rounds:
            self._take_round(points)

    def _take_round(self, points: list[Point]) -> None:
        keys = set(map(_key, points))
        self._latest.apply(points, self.updates)
        self._latest.commit()
        for series in self._latest.all():
            key = _name(series)
            if key not in keys:
                continue
            held = {start: (point.value, point.count, point.state) for start, (_, point) in series.points.items()}
            before = self._seen.get(key, {})
            for start in before.keys() & held.keys():
                old_value, old_count, old_state = before[start]
                value, count, state = held[start]
                if old_state == "open" or state == "corrected":
                    continue
                if state == "open" or changed(old_value, value, old_count, count):
                    old, new = f"{old_state} {old_value} of {old_count}", f"{state} {value} of {count}"
                    self.broken.append(f"hub: {key} {start}: {old} became {new}")
            self._seen[key] = held


def _key(point: Point) -> str:
    return series_key(point.metric, point.window, point.dimensions)


def _name(series: Series) -> str:
    return series_key(series.metric, series.window, tuple(series.dimensions.items()))
