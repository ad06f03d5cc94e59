"""The producer: sends everything in order, and sends again what it got no answer for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

import valkey
from valkey.exceptions import ValkeyError

from tests.chaos.events import Sending

_PAUSE_S = 0.1
_LARGEST = 600


class Producer(threading.Thread):
    """Sends up to the place that it is allowed to, at a pace, then waits to be allowed more.

    *Guarantee*: at least once. A pipeline that ended in an error is sent again as a whole, as nobody knows how much of
    it had been taken: events have ids, so what comes twice is told to be the same.
    """

    def __init__(self, port: int, sendings: Sequence[Sending], *, per_s: float, seed: int) -> None:
        super().__init__(name="producer", daemon=True)
        self._port = port
        self._sendings = sendings
        self._per_s = per_s
        self._choose = random.Random(f"producer {seed}")
        self._allowed = 0
        self._changed = threading.Condition()
        self._stopped = False
        self.sent = 0
        """Entries that were acknowledged."""
        self.resent = 0
        """Entries that were sent again for want of an answer."""
        self.interrupted = 0
        """Pipelines that ended in an error."""

    @property
    def done(self) -> bool:
        return self.sent == len(self._sendings)

    def allow(self, place: int) -> None:
        """Let it go on up to `place`."""
        with self._changed:
            self._allowed = min(place, len(self._sendings))
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def run(self) -> None:
        while self._may_go_on():
            some = self._sendings[self.sent : min(self._allowed, self.sent + self._choose.randrange(50, _LARGEST))]
            until_s = time.monotonic() + len(some) / self._per_s
            self._send(some)
            self.sent += len(some)
            time.sleep(max(0.0, until_s - time.monotonic()))

    def _may_go_on(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self.done or self.sent < self._allowed)
        return not (self._stopped or self.done)

    def _send(self, some: Sequence[Sending]) -> None:
        while not self._stopped:
            try:
                with valkey.Valkey(port=self._port, socket_timeout=10) as client:
                    add(client, some)
                return
            except ValkeyError:
                self.interrupted += 1
                self.resent += len(some)
                time.sleep(_PAUSE_S)


def add(client: valkey.Valkey, sendings: Sequence[Sending]) -> None:
    """Add entries in one go. Raises ValkeyError when any of them was not acknowledged."""
    pipe = client.pipeline(transaction=False)
    for sending in sendings:
        pipe.xadd(sending.stream, sending.fields)
    pipe.execute()
