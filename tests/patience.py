"""How long tests wait for what has to happen, and how they measure what was promised."""

from __future__ import annotations

import threading
import time

PATIENCE = 3.0
"""How many times longer anything may take than on a machine of one's own: where tests run, others run too, and what
waits for a disk stands still for seconds."""

_TICK_S = 0.02
_MOST_S = 0.1
"""A tick that took longer than this tells of the machine, which stood still, and not of what is measured."""


class Stopwatch:
    """Seconds since it was made, also without those in which the whole machine stood still.

    For what is promised within a time of this product's own: with waiting made longer such a promise would be tested no
    more, and by the clock of the wall the test would fail whenever a shared machine is busy with others.
    """

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._worked_s = _ticks.worked_s()

    @property
    def passed_s(self) -> float:
        return time.monotonic() - self._began_s

    @property
    def worked_s(self) -> float:
        return _ticks.worked_s() - self._worked_s


class _Ticks:
    """Counts the time in which this process was let run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worked_s = 0.0
        self._at_s = time.monotonic()
        self._thread: threading.Thread | None = None

    def worked_s(self) -> float:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stopwatch", daemon=True)
                self._at_s = time.monotonic()
                self._thread.start()
            self._tick()
            return self._worked_s

    def _run(self) -> None:
        while True:
            time.sleep(_TICK_S)
            with self._lock:
                self._tick()

    def _tick(self) -> None:
        now_s = time.monotonic()
        self._worked_s += min(now_s - self._at_s, _MOST_S)
        self._at_s = now_s


_ticks = _Ticks()
