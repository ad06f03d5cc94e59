"""The delivery log on its way to the store: what delivers never waits for a database."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from live_api.delivery.meters import DeliveryMeters
from sinks.deliveries import Deliveries, Delivery
from sinks.errors import SinkError

logger = logging.getLogger(__name__)

_HELD = 10_000
_A_WRITE = 500
_PRUNE_EVERY_MS = 3_600_000


class DeliveryLog:
    """Holds attempts until the store has them.

    *Guarantee*: none; what is right is in Valkey, and the log is for people. Up to 10,000 attempts wait for a store
    that is away, then the oldest are dropped and counted. *Failure*: never raises. *Cost*: a transaction each half
    second in which anything was delivered.
    """

    def __init__(
        self, store: Deliveries, meters: DeliveryMeters, clock: Callable[[], int], prepare: Callable[[], None]
    ) -> None:
        """`prepare` makes the tables; called until it has once."""
        self._prepare: Callable[[], None] | None = prepare
        self._store = store
        self._meters = meters
        self._clock = clock
        self._held: deque[Delivery] = deque()
        self._pruned_at_ms = 0
        self._away = False

    def add(self, delivery: Delivery) -> None:
        if len(self._held) >= _HELD:
            self._held.popleft()
            self._meters.unlogged(1)
        self._held.append(delivery)

    async def run(self, every_s: float = 0.5) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.flush()

    async def flush(self) -> None:
        """Write what is held, if the store takes it."""
        while self._held:
            some = [self._held.popleft() for _ in range(min(_A_WRITE, len(self._held)))]
            try:
                if self._prepare is not None:
                    await asyncio.to_thread(self._prepare)
                    self._prepare = None
                await asyncio.to_thread(self._store.write, some)
            except SinkError as error:
                if not self._away:
                    logger.error("the delivery log cannot be written, deliveries go on: %s", error)
                self._away = True
                self._held.extendleft(reversed(some))
                return
            self._away = False
        now_ms = self._clock()
        if self._prepare is None and now_ms - self._pruned_at_ms >= _PRUNE_EVERY_MS:
            self._pruned_at_ms = now_ms
            try:
                await asyncio.to_thread(self._store.prune, now_ms)
            except SinkError as error:
                logger.warning("the delivery log was not pruned: %s", error)
