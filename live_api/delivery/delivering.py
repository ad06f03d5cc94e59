"""All couriers of one process, and what they share: the log, and an outbox that is trimmed."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Sequence

from valkey import exceptions
from valkey.asyncio import Valkey

from live_api.delivery.egress import Egress, Resolve, resolve
from live_api.delivery.endpoints import Endpoint
from live_api.delivery.ledger import Ledger, drop_others, make_group, trim
from live_api.delivery.log import DeliveryLog
from live_api.delivery.meters import DeliveryMeters
from live_api.delivery.webhooks import Courier, Pace
from live_api.endings import end
from live_api.spans import Trace, untraced
from sinks.deliveries import Deliveries
from stream.walltime import clock_ms

logger = logging.getLogger(__name__)

_TRIM_EVERY_S = 10.0


async def deliver(
    endpoints: Sequence[Endpoint],
    *,
    client: Valkey,
    outbox: str,
    store: Deliveries,
    prepare: Callable[[], None],
    meters: DeliveryMeters,
    stopping: asyncio.Event,
    pace: Pace | None = None,
    resolver: Resolve = resolve,
    trace: Trace = untraced,
) -> None:
    """Deliver to all endpoints until `stopping` is set, and end within seconds then.

    Endpoints that are no longer in the catalog are forgotten, with what they were still to be told. `prepare` makes the
    tables of the log's store, which is not waited for. Raises valkey's errors for what only a person can put right.
    """
    pace = pace or Pace()
    await _settle(client, outbox, [endpoint.name for endpoint in endpoints], stopping)
    log = DeliveryLog(store, meters, clock_ms, prepare)
    ways = [
        Egress(
            allowed=endpoint.allowed,
            timeout_s=endpoint.timeout_s,
            connections=endpoint.concurrency,
            resolver=resolver,
            trace=trace,
        )
        for endpoint in endpoints
    ]
    couriers = [
        Courier(
            endpoint,
            Ledger(client, outbox, endpoint.name, secrets.token_hex(16)),
            egress,
            meters,
            log.add,
            clock=clock_ms,
            monotonic=time.monotonic,
            chance=random.random,
            pace=pace,
        )
        for endpoint, egress in zip(endpoints, ways, strict=True)
    ]
    logging_ = asyncio.create_task(log.run())
    trimming = asyncio.create_task(_keep_short(client, outbox))
    try:
        async with asyncio.TaskGroup() as tasks:
            for courier in couriers:
                tasks.create_task(courier.run(stopping))
    finally:
        await end([logging_, trimming])
        await log.flush()
        for egress in ways:
            await egress.aclose()


async def _settle(client: Valkey, outbox: str, endpoints: Sequence[str], stopping: asyncio.Event) -> None:
    """A place in the outbox for each endpoint, and none for others, as soon as Valkey is there."""
    while not stopping.is_set():
        try:
            for endpoint in endpoints:
                await make_group(client, outbox, endpoint)
            for endpoint, waiting in (await drop_others(client, outbox, endpoints)).items():
                logger.warning(
                    "webhook %s is no longer in the catalog: forgotten, with %d notifications it was to be told",
                    endpoint,
                    waiting,
                )
            return
        except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError):
            raise
        except exceptions.ValkeyError as error:
            if str(error).startswith("WRONGTYPE"):
                raise
            # Away, loading, full, a replica for a moment: it passes, and ending would take `up` down with it.
            logger.error("Valkey: %s; trying again", error)
            await asyncio.sleep(1.0)


async def _keep_short(client: Valkey, outbox: str) -> None:
    while True:
        try:
            await trim(client, outbox)
        except exceptions.ValkeyError as error:
            logger.warning("outbox %s was not trimmed: %s", outbox, error)
        await asyncio.sleep(_TRIM_EVERY_S)
