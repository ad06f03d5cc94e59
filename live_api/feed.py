"""From the live stream into memory: one reader for the whole process, never one for each client."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import valkey.asyncio
from valkey.exceptions import ValkeyError

from live_api.alerts import Alerts
from live_api.latest import Latest, seq_of
from live_api.meters import HubMeters
from live_api.waiting import set_within
from sinks.errors import SinkError
from sinks.live import FIELD, LIVE_STREAM, Update, decode_update
from sinks.records import ALL_READ_MS, Point
from stream.durations import TOTAL
from stream.plan import REJECTS
from stream.position import order

logger = logging.getLogger(__name__)

SILENT_AFTER_MS = 5_000
"""The processor speaks each second; after so long without a word it is taken for gone."""
_BLOCK_MS = 1_000
_LONGEST_BACKOFF_S = 2.0
_BEGINNING = "0-0"
_STORE_WITHIN_S = 1.0
"""How long the live stream waits for the store at first."""
_RECALL_BACKOFF_S, _LONGEST_RECALL_BACKOFF_S = 0.5, 30.0
_EPOCH_KEY = f"{LIVE_STREAM}:epoch"
_NAME_EPOCH = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] then return found end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
"""
_LOOK_EVERY_S = 60.0
"""How often to look whether the stream is still the one that is being read."""
_GAP_AFTER_S = 5.0
"""After so long between two reads, entries may have been trimmed away unread."""


@dataclass(slots=True)
class System:
    """What is known about the parts behind the hub."""

    connected: bool = True
    """False from the moment that Valkey could not be reached; before anybody tried, it is not known to be away."""
    processor_seen_ms: int = 0
    """The latest time that the processor has said, by its clock; never later than ours."""
    heard_at_s: float | None = None
    """When it was last heard, by a clock that nobody sets; None before that."""
    monotonic: Callable[[], float] = time.monotonic
    watermark_ms: int | None = None
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    watch: dict[str, dict[str, int]] | None = None
    """How many series of each rule are in which state; None before anybody has said so."""

    def state(self, now_ms: int) -> str:
        """`live`, or which part is away: `valkey_down` or `processor_silent`."""
        if not self.connected:
            return "valkey_down"
        silent_ms = now_ms - self.processor_seen_ms
        if self.heard_at_s is not None:
            silent_ms = int((self.monotonic() - self.heard_at_s) * 1_000)
        return "live" if silent_ms < SILENT_AFTER_MS else "processor_silent"


class Feed:
    """Keeps `latest` and `system` current, reconnecting for ever.

    `recall` brings back what the live stream no longer holds: it is called at first, and again when entries were
    trimmed away unread. It may take its time, or raise SinkError, and is then called again until it has worked;
    meanwhile the stream is read. What has come live since it was called for is newer than what it brings, and stays.

    Updates of other platforms are left out, and points that `shows` refuses, such as a former catalog's. `caught_up`
    becomes true once the live stream has been read to its end for the first time.

    `epoch` names the run of the live stream that seqs count in. It is kept beside the stream, so all processes that
    read it have the same, and a new one when the stream was made anew.
    """

    def __init__(
        self,
        url: str,
        latest: Latest,
        recall: Callable[[], Awaitable[Iterable[Point]]],
        shows: Callable[[Point], bool],
        *,
        platform: str,
        clock: Callable[[], int],
        alerts: Alerts | None = None,
        recall_alerts: Callable[[], Awaitable[Mapping[str, dict[str, Any]]]] | None = None,
        monotonic: Callable[[], float] | None = None,
        meters: HubMeters | None = None,
    ) -> None:
        """`recall` and `recall_alerts` ask the store what was; both raise SinkError.

        `clock` says what time it is; `monotonic` how much of it has passed, in seconds, and goes with `clock` unless
        it is given."""
        self._url = url
        self._latest = latest
        self._recall = recall
        self._recall_alerts = recall_alerts
        self._shows = shows
        self._platform = platform
        self._clock = clock
        self._offset = _BEGINNING
        self._read_at_s = 0.0
        self._looked_at_s = 0.0
        self._at_end = True
        """Whether what comes in is what is being said, and not what was said while nobody read."""
        self.system = System(monotonic=monotonic or (lambda: clock() / 1_000))
        self.arrived = asyncio.Event()
        """Set when something has come in; the hub clears it."""
        self.caught_up = False
        self.been_read = False
        """Whether the stream has been read to its end, or could not be, and the store was given a moment too."""
        self.first_read = asyncio.Event()
        """Set by the ticker once the hub shows what has been read: who resumes earlier would look like a stranger."""
        self.unread: str | None = "it has not answered yet"
        """Why what the store has is not known; None once it is."""
        self.alerts = alerts or Alerts()
        self.epoch = secrets.token_hex(4)
        self._started_ms = clock()
        self._oldest_ms: int | None = None
        self._reload_ms: int | None = None
        self._meters = meters or HubMeters()
        self._recall_since = 0
        """What came after this seq is newer than what the store has."""
        self._wanted = asyncio.Event()
        """Set while something is to be recalled."""
        self._wanted.set()
        self._tried = asyncio.Event()
        """Set once the store has answered for the first time, if only that it cannot."""
        self._recalled: tuple[list[Point], Mapping[str, dict[str, Any]], int] | None = None
        """What the store had, and the seq that was heard before; waits for a seq of its own."""

    @property
    def settled(self) -> bool:
        """Whether what is known is of the present, as far as anybody can know: not while the stream is being caught up
        with for the first time."""
        return self.caught_up or not self.system.connected

    def take_oldest_ms(self) -> int | None:
        """When the oldest update was sent that came in since this was last asked; None without any."""
        oldest_ms, self._oldest_ms = self._oldest_ms, None
        return oldest_ms

    def take_reload_ms(self) -> int | None:
        """Within how long every page is to load itself anew, if somebody said so since this was last asked."""
        reload_ms, self._reload_ms = self._reload_ms, None
        return reload_ms

    async def remember(self) -> None:
        """Ask the store when something is wanted of it, until it answers: it may be away when Valkey is not.

        One of the two that go on until they are ended, each by itself and by `endings.end`: cancelled once, they may
        not hear of it, and a group would not say it to them again."""
        backoff_s = _RECALL_BACKOFF_S
        while True:
            await self._wanted.wait()
            if await self._ask_store():
                backoff_s = _RECALL_BACKOFF_S
                continue
            await asyncio.sleep(backoff_s)
            backoff_s = min(_LONGEST_RECALL_BACKOFF_S, backoff_s * 2)

    async def _ask_store(self) -> bool:
        """Whether the store answered."""
        self._wanted.clear()
        since = self._recall_since
        try:
            points = list(await self._recall())
            alerts = await self._recall_alerts() if self._recall_alerts is not None else {}
            self._recalled = points, alerts, since
        except SinkError as error:
            self.unread = str(error)
            self._wanted.set()
            self._meters.failed("store")
            logger.warning("what only the store has is not shown; trying again: %s", error)
            return False
        finally:
            self._tried.set()
        if not self.caught_up or not self.system.connected:
            self._take_recalled()
        return True

    def _take_recalled(self, seq: int | None = None) -> None:
        """Take in what was recalled as a change of `seq`, or of one more than the latest.

        Not of the latest seq: whoever has been told that is to be told this too. Nor of one more while entries come in
        and are told, as that may be the seq of the next one.
        """
        if self._recalled is not None:
            (points, alerts, since), self._recalled = self._recalled, None
            self.alerts.recall(alerts, since, self._latest.recall(points, since, seq))
            self.unread = None
            self.arrived.set()

    async def _give_store_time(self) -> None:
        """Wait for the store's first answer, but not for long: the stream has more to say."""
        await set_within(self._tried, _STORE_WITHIN_S)

    async def follow(self) -> None:
        """Read the live stream. As `remember`, it goes on until it is ended."""
        backoff_s = 0.1
        while True:
            client = valkey.asyncio.Valkey.from_url(
                self._url, socket_timeout=_BLOCK_MS / 1_000 + 5, socket_connect_timeout=2
            )
            try:
                await self._check_offset(client)
                self.system.connected = True
                if not self.caught_up:
                    await self._give_store_time()
                self._read_at_s = asyncio.get_running_loop().time()
                while True:
                    await self._read(client)
                    backoff_s = 0.1
            except (ValkeyError, OSError) as error:
                self.system.connected = self._at_end = False
                self._take_recalled()
                if not self.been_read:
                    await self._give_store_time()
                    self.been_read = True
                    self.arrived.set()
                wait_s = random.uniform(0.05, backoff_s)
                backoff_s = min(_LONGEST_BACKOFF_S, backoff_s * 2)
                self._meters.failed("live")
                logger.warning("live stream: trying again in %.1f s: %s", wait_s, error)
                await asyncio.sleep(wait_s)
            finally:
                await client.aclose()

    async def _check_offset(self, client: valkey.asyncio.Valkey) -> None:
        """Notice a stream that was made anew, which answers an old offset with nothing for ever, and a gap."""
        newest: Any = await client.xrevrange(LIVE_STREAM, count=1)
        oldest: Any = await client.xrange(LIVE_STREAM, count=1)
        last, first = (found[0][0].decode() if found else _BEGINNING for found in (newest, oldest))
        if order(last) < order(self._offset):
            logger.warning("the live stream was made anew: it ends at %s and was read to %s", last, self._offset)
            # First of all, as it may fail: until the epoch is known, the stream is to be found anew again.
            await self._find_epoch(client, instead_of=self.epoch)
            self._offset = _BEGINNING
            self._latest.restart()
            self.alerts.restart()
        else:
            await self._find_epoch(client)
        if order(first) > order(self._offset):
            # What was there before the first entry nobody has seen, or it has been trimmed away since.
            self._latest.missed(seq_of(first) - 1)
            if self._offset != _BEGINNING:
                self._recall_since = seq_of(self._offset)
                self._wanted.set()
        self._looked_at_s = asyncio.get_running_loop().time()

    async def _find_epoch(self, client: valkey.asyncio.Valkey, instead_of: str | None = None) -> None:
        found: Any = await client.get(_EPOCH_KEY)
        if found is None or found.decode() == instead_of:
            # One step, so that all who do this together end with the same.
            naming: Any = client.eval(_NAME_EPOCH, 1, _EPOCH_KEY, instead_of or "", secrets.token_hex(4))
            found = await naming
        self.epoch = found.decode()

    async def _read(self, client: valkey.asyncio.Valkey) -> None:
        if asyncio.get_running_loop().time() - self._read_at_s > _GAP_AFTER_S:
            # This process stood still, and the stream did not.
            self._at_end = False
            await self._check_offset(client)
        elif asyncio.get_running_loop().time() - self._looked_at_s > _LOOK_EVERY_S:
            # A server that was emptied goes on without a word, and without an epoch.
            await self._check_offset(client)
        reply: Any = await client.xread({LIVE_STREAM: self._offset}, count=200, block=_BLOCK_MS)
        entries = reply[0][1] if reply else []
        # With the next entry there is a seq that nobody has been told. None has come for a while: then one more is.
        self._take_recalled(seq_of(entries[0][0].decode()) if entries else None)
        for entry_id, fields in entries:
            self._offset = entry_id.decode()
            seq = seq_of(self._offset)
            # Whoever's it is: what has been read is known, and nothing of it was missed.
            self._latest.apply((), seq)
            try:
                self._take(decode_update(fields[FIELD]), seq)
            except (ValueError, KeyError) as error:
                self._meters.failed("entry")
                self._meters.discarded("foreign")
                logger.error("live stream entry %s is not ours: %s", self._offset, error)
            except Exception:
                self._meters.failed("entry")
                self._meters.discarded("failed")
                # The entry is there after a restart too: whatever is wrong with it, the others must not be lost.
                logger.exception("live stream entry %s cannot be taken in, and is left out", self._offset)
        if len(entries) < 200:
            self.caught_up = self._at_end = True
            if not self.been_read:
                self.been_read = True
                self.arrived.set()
        self._read_at_s = asyncio.get_running_loop().time()

    def _take(self, update: Update, seq: int) -> None:
        if update.platform != self._platform:
            return
        self.arrived.set()
        self._meters.received(len(update.points))
        self._latest.apply(filter(self._shows, update.points), seq)
        if update.alerts is not None:
            self.alerts.apply(update.alerts, seq)
        if update.watch is not None:
            self.system.watch = update.watch
        if self.caught_up:
            self._oldest_ms = min(update.at_ms, self._oldest_ms or update.at_ms)
        if update.reload_ms is not None and update.at_ms >= self._started_ms:
            self._reload_ms = update.reload_ms
        self._hear(update.at_ms)
        for point in update.points:
            # Before every stream was heard of there is none, which the processor says by a time before all others.
            if 0 < point.watermark_ms < ALL_READ_MS:
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

    def _hear(self, at_ms: int) -> None:
        """The processor has spoken at `at_ms`, by its clock."""
        system, now_ms = self.system, self._clock()
        system.processor_seen_ms = min(now_ms, max(system.processor_seen_ms, at_ms))
        # Clocks are asked only about what may be old: after one of them was set, they would tell for as long a lie.
        age_s = 0.0 if self.caught_up and self._at_end else max(0, now_ms - at_ms) / 1_000
        heard_at_s = system.monotonic() - age_s
        system.heard_at_s = heard_at_s if system.heard_at_s is None else max(system.heard_at_s, heard_at_s)

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
            "watch": self.system.watch,
            "rejects": rejects,
            "rejected_total": sum(rejects.values()),
        }


OF_ALL_ROWS = ("watch", "rejects", "rejected_total")
"""What of the `system` part counts over every row, and is kept from those who see some only."""
