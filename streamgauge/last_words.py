"""What the processor said last on the live stream: for those who ask once, and keep no connection."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import valkey

from sinks.live import FIELD, LIVE_STREAM, decode_update
from sinks.records import ALL_READ_MS

_ENTRIES = 200


@dataclass(slots=True)
class Heard:
    said_ms: int = 0
    """When it said so, by its clock; 0 when it has said nothing."""
    server_ms: int = 0
    """The same by the server's."""
    watermark_ms: int | None = None
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How far each stream has been read."""


def last_words(client: valkey.Valkey, platform: str | None) -> Heard:
    """Of one platform, or of any. Raises valkey's errors. *Cost*: the last 200 entries are read."""
    heard = Heard()
    entries: Any = client.xrevrange(LIVE_STREAM, count=_ENTRIES)
    for entry_id, fields in reversed(entries):
        with suppress(ValueError, KeyError):
            update = decode_update(fields[FIELD])
            if platform is not None and update.platform != platform:
                continue
            heard.said_ms, heard.server_ms = update.at_ms, int(entry_id.partition(b"-")[0])
            heard.streams |= update.status
            for point in update.points:
                # As the feed does: before every stream was heard of there is none.
                if 0 < point.watermark_ms < ALL_READ_MS:
                    heard.watermark_ms = max(heard.watermark_ms or 0, point.watermark_ms)
    return heard
