"""Whether this process lives, and whether what it shows can be believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from live_api.access.guard import PUBLIC, identity_of
from live_api.access.permissions import Permission
from live_api.conditions import Condition, State, answer, of_stream
from live_api.context import Context
from live_api.feed import OF_ALL_ROWS, SILENT_AFTER_MS, Feed
from stream.walltime import clock_ms


def router(context: Context) -> APIRouter:
    """`/healthz` is about the process alone; `/readyz` about the live numbers: server, processor, and every stream."""
    api = APIRouter()

    @api.get("/healthz", dependencies=[PUBLIC], summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get(
        "/readyz",
        dependencies=[PUBLIC],
        summary="Whether live numbers are current",
        responses={503: {"description": "not ready"}},
    )
    async def readyz(request: Request, response: Response) -> dict[str, Any]:
        found = conditions(context.feed, context.catalog.platform.streams, clock_ms())
        response.status_code, said = answer(found)
        identity = identity_of(request)
        if not identity.may(Permission.VIEW_HEALTH):
            # Names of streams and how much is in them are for those who look after the installation.
            return {"status": said["status"], "reasons": said["reasons"]}
        hidden = OF_ALL_ROWS if identity.rows.limited else ()
        system = context.feed.describe()
        return said | {"system": {name: value for name, value in system.items() if name not in hidden}}

    return api


def conditions(feed: Feed, streams: Sequence[str], now_ms: int) -> Iterator[Condition]:
    """What the live numbers depend on, as far as the feed knows: it asks nobody, and so waits for nobody. From any
    thread."""
    system = feed.system
    state, known = system.state(now_ms), dict(system.streams)
    if not feed.caught_up:
        yield Condition("feed", State.NOT_READY, "the live stream has not been read to its end yet")
    if state == "valkey_down":
        yield Condition("valkey", State.NOT_READY, "Valkey is out of reach")
    if state == "processor_silent" and feed.caught_up:
        yield Condition("processor", State.NOT_READY, "the processor has not been heard of for 5 s")
    if feed.unread is not None:
        yield Condition("store", State.NOT_READY, f"the store has not been read yet: {feed.unread}")
    if not feed.caught_up or state != "live":
        return
    if system.watermark_ms is not None:
        behind_s = max(0, now_ms - system.watermark_ms) // 1_000
        yield Condition("watermark", State.READY, f"the watermark is {behind_s} s behind the clock")
    for stream in streams:
        about = known.get(stream, {})
        if now_ms - about.get("seen_ms", 0) >= SILENT_AFTER_MS:
            yield Condition("stream", State.NOT_READY, f"the stream {stream} has not been read for 5 s")
        else:
            yield of_stream(stream, about.get("lag_ms", 0) / 1_000, about.get("lag"))
