"""What somebody at the wall sees: the live stream as a hub takes it in."""

from __future__ import annotations

import threading
from typing import Any

import valkey
from valkey.exceptions import ValkeyError

from live_api.latest import Latest
from sinks.live import FIELD, LIVE_STREAM, decode_update
from tests.chaos.ledger import changed

_Seen = dict[tuple[str, int], tuple[Any, int, str]]
"""(value, count, state) by series and start of the window."""


class LiveWatch(threading.Thread):
    """Follows the live stream through all its server's deaths, and notes settled points that changed.

    A hub knows the last few windows of each series only: the rule is held to those.
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
        self._latest.apply(decode_update(raw).points)
        if not self._latest.commit():
            return
        held: _Seen = {
            (key, start): (value, count, state)
            for key, series in self._latest.snapshot(lambda _: True).items()
            for start, value, count, state, *_ in series["points"]
        }
        for key, start in self._seen.keys() & held.keys():
            old_value, old_count, old_state = self._seen[key, start]
            value, count, state = held[key, start]
            if old_state == "open" or state == "corrected":
                continue
            if state == "open" or changed(old_value, value, old_count, count):
                self.broken.append(
                    f"hub: {key} {start}: {old_state} {old_value} of {old_count} became {state} {value} of {count}"
                )
        self._seen = held
