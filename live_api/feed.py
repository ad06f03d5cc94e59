"""From the live stream into memory: one reader for the whole process, never one for each client."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import valkey.asyncio
from valkey.exceptions import ValkeyError

from live_api.latest import Latest
from sinks.live import FIELD, LIVE_STREAM, Update, decode_update
from sinks.records import Point
from stream.durations import TOTAL
from stream.plan import REJECTS
from stream.position import order

logger = logging.getLogger(__name__)

SILENT_AFTER_MS = 5_000
"""The processor speaks each second; after so long without a word it is taken for gone."""
_BLOCK_MS = 1_000
_LONGEST_BACKOFF_S = 2.0
_BEGINNING = "0-0"
_UNSETTLED_MS = 1 << 60


@dataclass(slots=True)
class System:
    """What is known about the parts behind the hub."""

    connected: bool = False
    processor_seen_ms: int = 0
    watermark_ms: int | None = None
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)

    def state(self, now_ms: int) -> str:
        """`live`, or which part is away: `valkey_down` or `processor_silent`."""
        if not self.connected:
            return "valkey_down"
        return "live" if now_ms - self.processor_seen_ms < SILENT_AFTER_MS else "processor_silent"


class Feed:
    """Keeps `latest` and `system` current, reconnecting for ever.

    `recall` brings back what the live stream no longer holds: it is called before the first read, and again when
    entries were trimmed away unread.

    Updates of other platforms are left out, and points that `shows` refuses, such as a former catalog's. `caught_up`
    becomes true once the live stream has been read to its end for the first time.
    """

    def __init__(
        self,
        url: str,
        latest: Latest,
        recall: Callable[[], Awaitable[None]],
        shows: Callable[[Point], bool],
        *,
        platform: str,
        clock: Callable[[], int],
    ) -> None:
        self._url = url
        self._latest = latest
        self._recall = recall
        self._shows = shows
        self._platform = platform
        self._clock = clock
        self._offset = _BEGINNING
        self.system = System()
        self.arrived = asyncio.Event()
        """Set when something has come in; the hub clears it."""
        self.caught_up = False

    async def run(self) -> None:
        """Read until cancelled."""
        # What the store knows is shown even while Valkey is away.
        await self._recall()
        backoff_s = 0.1
        while True:
            client = valkey.asyncio.Valkey.from_url(
                self._url, socket_timeout=_BLOCK_MS / 1_000 + 5, socket_connect_timeout=2
            )
            try:
                await self._check_offset(client)
                while True:
                    await self._read(client)
                    backoff_s = 0.1
            except (ValkeyError, OSError) as error:
                self.system.connected = False
                wait_s = random.uniform(0.05, backoff_s)
                backoff_s = min(_LONGEST_BACKOFF_S, backoff_s * 2)
                logger.warning("live stream: trying again in %.1f s: %s", wait_s, error)
                await asyncio.sleep(wait_s)
            finally:
                await client.aclose()

    async def _check_offset(self, client: valkey.asyncio.Valkey) -> None:
        """Notice a stream that was made anew, which answers an old offset with nothing for ever, and a gap."""
        newest: Any = await client.xrevrange(LIVE_STREAM, count=1)
        oldest: Any = await client.xrange(LIVE_STREAM, count=1)
        last, first = (order(found[0][0].decode()) if found else (0, 0) for found in (newest, oldest))
        if last < order(self._offset):
            self._offset = _BEGINNING
        if self._offset != _BEGINNING and first > order(self._offset):
            await self._recall()

    async def _read(self, client: valkey.asyncio.Valkey) -> None:
        reply: Any = await client.xread({LIVE_STREAM: self._offset}, count=200, block=_BLOCK_MS)
        self.system.connected = True
        entries = reply[0][1] if reply else []
        for entry_id, fields in entries:
            self._offset = entry_id.decode()
            try:
                self._take(decode_update(fields[FIELD]))
            except (ValueError, KeyError) as error:
                logger.error("live stream entry %s is not ours: %s", self._offset, error)
        if len(entries) < 200:
            self.caught_up = True

    def _take(self, update: Update) -> None:
        if update.platform != self._platform:
            return
        self.arrived.set()
        self._latest.apply(filter(self._shows, update.points))
        self.system.processor_seen_ms = max(self.system.processor_seen_ms, min(update.at_ms, self._clock()))
        for point in update.points:
            if point.watermark_ms < _UNSETTLED_MS:
                self.system.watermark_ms = max(self.system.watermark_ms or 0, point.watermark_ms)
        for name, status in update.status.items():
            known = self.system.streams.setdefault(name, {"max_event_ms": None})
            latest = [at for at in (known["max_event_ms"], status.get("max_event_ms")) if at is not None]
            known.update(
                lag=status.get("lag"),
                lag_ms=status.get("lag_ms", 0),
                gaps=status.get("gaps", 0),
                lost=status.get("lost", 0),
                lost_exact=status.get("lost_exact", True),
                caught_up=status.get("caught_up", False),
                seen_ms=status.get("at_ms", update.at_ms),
                max_event_ms=max(latest, default=None),
            )

    def rejects(self) -> dict[str, int]:
        """Refused events since the beginning, by reason."""
        return {reason[0]: point.count for reason, point in self._latest.values(REJECTS, TOTAL).items()}

    def describe(self) -> dict[str, Any]:
        """The `system` part of a frame."""
        rejects = self.rejects()
        return {
            "state": self.system.state(self._clock()),
            "processor_seen_ms": self.system.processor_seen_ms,
            "watermark_ms": self.system.watermark_ms,
            "streams": self.system.streams,
            "rejects": rejects,
            "rejected_total": sum(rejects.values()),
        }
