"""How far behind the processor is: whoever sends more then is told to wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import valkey.asyncio
from valkey.exceptions import TimeoutError as LateAnswer
from valkey.exceptions import ValkeyError

LOOK_EVERY_S = 1.0


class Backlog:
    """Counts the entries that wait in all streams, once a second at most.

    Where the group that shows how far the processor is does not exist, nobody has read: all entries wait. Where the
    server cannot say how many are behind it, none are counted.
    """

    def __init__(self, client: valkey.asyncio.Valkey, streams: Sequence[str], group: str, most: int) -> None:
        self._client = client
        self._streams = tuple(streams)
        self._group = group.encode()
        self._most = most
        self._looked_s = -LOOK_EVERY_S
        self.entries = 0
        """As last counted."""

    async def is_too_long(self, now_s: float) -> bool:
        """Whether too many wait. A server that is not there counts as none: writing will say so.

        Raises valkey's TimeoutError for one that is there and says nothing: writing would wait as long once more."""
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            pipeline = self._client.pipeline(transaction=False)
            for stream in self._streams:
                pipeline.xlen(stream)
                pipeline.xinfo_groups(stream)
            try:
                answers = await pipeline.execute(raise_on_error=False)
            except LateAnswer:
                self.entries = 0
                raise
            except (ValkeyError, OSError):
                self.entries = 0
                return False
            self.entries = sum(map(self._waiting, answers[::2], answers[1::2]))
        return self.entries > self._most

    def _waiting(self, length: Any, groups: Any) -> int:
        if not isinstance(length, int) or not isinstance(groups, list):
            return 0  # there is no such stream yet
        for group in groups:
            if group["name"] == self._group:
                return group["lag"] or 0
        return length
