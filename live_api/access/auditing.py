"""What the API writes into the audit log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from live_api.access.identity import Identity
from live_api.admission import Bucket
from live_api.stored import asked, or_503
from sinks.audit_store import Action, AuditStore, Entry
from sinks.errors import SinkError

logger = logging.getLogger(__name__)

_REFUSALS_A_MINUTE = 60
_LISTS_EVERY_MS = 3_600_000
_MOST_LISTS = 10_000


class Audit:
    """The log, as routes write it: from threads, any number at a time.

    *Guarantee*: what `must` was given is committed before anybody is answered. *Failure*: `must` answers 503; `may`
    only logs, as what it is about has happened already, or did not.
    """

    def __init__(self, store: AuditStore, *, clock: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self._lock = threading.Lock()
        self._refusals = Bucket(_REFUSALS_A_MINUTE / 60, _REFUSALS_A_MINUTE, monotonic())
        self._left_out = 0
        self._lists: dict[tuple[str, str], int] = {}

    @property
    def store(self) -> AuditStore:
        return self._store

    def must(self, identity: Identity, action: Action, subject: str, detail: str = "") -> None:
        """Write down what is about to be done. Answers 503 where that cannot be, and then it must not be done."""
        entry = Entry(self._clock(), identity.name, action, subject, detail)
        with or_503("the audit log cannot be written, so this is not answered"):
            asked(self._store, lambda: self._store.write(entry))

    def must_hourly(self, identity: Identity, action: Action, subject: str, detail: str = "") -> None:
        """The same of what screens ask for over and over: once an hour for each who asks."""
        now_ms, what = self._clock(), (identity.name, subject)
        with self._lock:
            if now_ms - self._lists.get(what, -_LISTS_EVERY_MS) < _LISTS_EVERY_MS:
                return
        self.must(identity, action, subject, detail)
        with self._lock:
            if len(self._lists) >= _MOST_LISTS:
                self._lists.clear()
            self._lists[what] = now_ms

    def may(self, who: str, action: Action, subject: str, detail: str = "") -> None:
        """Write down what was done."""
        entry = Entry(self._clock(), who, action, subject, detail)
        try:
            asked(self._store, lambda: self._store.write(entry))
        except SinkError as error:
            logger.error("the audit log lacks that %s %s %s: %s", who, action, subject, error)

    def refused(self, who: str, subject: str, detail: str) -> None:
        """Write down that somebody was sent away: one a second for long, as anybody can make us."""
        with self._lock:
            if not self._refusals.take(self._monotonic()):
                self._left_out += 1
                return
            left_out, self._left_out = self._left_out, 0
        self.may(who, Action.REFUSED, subject, f"{detail}; {left_out} more before" if left_out else detail)
