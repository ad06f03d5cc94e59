"""Who is let in: from which pages, how many, and how fast. No socket and no clock."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?P<name>[^\s:@/?#\[\]]+|\[[0-9a-f:.]+\])(:[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one API process."""

    clients: int = 10_000
    """In all."""
    clients_per_address: int = 1_000
    """From one address; those behind one proxy or router share theirs."""
    accepts_per_s: float = 500.0
    """New connections a second, for long; twice as many at once."""


class Bucket:
    """So many a second for long, and so many at once."""

    __slots__ = ("_at_s", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at_s = burst, now_s

    def take(self, now_s: float, amount: float = 1) -> bool:
        """Whether there are so many more; if so, they are taken."""
        if not self.has(now_s, amount):
            return False
        self._left -= amount
        return True

    def wait_s(self, amount: float) -> float:
        """How long until there are so many, as far as there ever are."""
        return max(0.0, (min(amount, self._burst) - self._left) / self._per_s)

    def has(self, now_s: float, amount: float = 1) -> bool:
        """Whether there are so many more."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return self._left >= amount


class Slowed:
    """So many failures a minute from each address; then its next attempts are not looked at for a while."""

    _MOST_ADDRESSES = 10_000

    def __init__(self, a_minute: float = 20) -> None:
        self._a_minute = a_minute
        self._buckets: dict[str, Bucket] = {}

    def may_try(self, address: str, now_s: float) -> bool:
        bucket = self._buckets.get(address)
        return bucket is None or bucket.has(now_s)

    def failed(self, address: str, now_s: float) -> None:
        bucket = self._buckets.pop(address, None) or Bucket(self._a_minute / 60, self._a_minute, now_s)
        bucket.take(now_s)
        if len(self._buckets) >= self._MOST_ADDRESSES:
            # The one that has not failed for longest.
            del self._buckets[next(iter(self._buckets))]
        self._buckets[address] = bucket


class Admission:
    """Counts who is in. `arrive` comes first for each connection, then `enter`, and for those let in `leave`."""

    def __init__(self, limits: Limits, now_s: float) -> None:
        self.limits = limits
        self._bucket = Bucket(limits.accepts_per_s, 2 * limits.accepts_per_s, now_s)
        self._inside: Counter[str] = Counter()
        self._count = 0

    def arrive(self, now_s: float) -> bool:
        """Whether a connection may be looked at now, or has to come back later."""
        return self._bucket.take(now_s)

    def enter(self, address: str) -> str | None:
        """Let somebody in; or why not."""
        if self._count >= self.limits.clients:
            return f"{self.limits.clients} clients are connected, which is all there may be"
        if self._inside[address] >= self.limits.clients_per_address:
            return (
                f"{self.limits.clients_per_address} clients are connected from this address, which is all there may be"
            )
        self._count += 1
        self._inside[address] += 1
        return None

    def leave(self, address: str) -> None:
        self._count -= 1
        self._inside[address] -= 1
        if not self._inside[address]:
            del self._inside[address]


@dataclass(frozen=True, slots=True)
class Origins:
    """Which pages may open a line. Programs that are no browsers send no Origin, and are let in."""

    allowed: Sequence[str] = ()
    """Origins besides our own, such as `https://wall.example`; `*` for all."""
    loopback: bool = False
    """Whether we listen on loopback only. Then a page under any other name is not ours, although it names its own host:
    whoever owns a name can have it lead here."""

    def allow(self, origin: str | None, host: str | None) -> bool:
        if origin is None or "*" in self.allowed or origin in self.allowed:
            return True
        try:
            page = urlsplit(origin)
            named = page.hostname
        except ValueError:
            return False
        if not page.netloc or page.netloc != host:
            return False
        return not self.loopback or named in _LOOPBACK

    def name_us(self, host: str) -> bool:
        """Whether a request with this `Host` is meant for us: on loopback, not under a name that anybody may own."""
        if not self.loopback or "*" in self.allowed:
            return True
        parts = _HOST.fullmatch(host.lower())
        if parts is None:
            return False
        return parts["name"].strip("[]") in {*_LOOPBACK, *(urlsplit(origin).hostname for origin in self.allowed)}
