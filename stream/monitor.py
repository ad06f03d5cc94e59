"""A consumer group that nobody consumes with: it shows to every tool how far a stream is counted."""

from __future__ import annotations

import logging

import valkey
from valkey.exceptions import ResponseError

from stream.position import Position

logger = logging.getLogger(__name__)


class MonitoringGroup:
    """Keeps `group` of `stream` at the last committed position, so that `XINFO GROUPS` shows the true lag.

    *Guarantee*: none; nothing is read through it. *Failure*: a refusal is logged once, and tried again each time.
    *Cost*: one command a snapshot.
    """

    def __init__(self, stream: str, group: str) -> None:
        self._stream = stream
        self._group = group
        self._refused = False

    def move(self, client: valkey.Valkey, position: Position) -> None:
        """Raises what the connection raises, never what the server answers."""
        place = (position.id, "ENTRIESREAD", -1 if position.read is None else position.read)
        try:
            try:
                client.execute_command("XGROUP SETID", self._stream, self._group, *place)
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                client.execute_command("XGROUP CREATE", self._stream, self._group, *place)
        except ResponseError as error:
            # There is no group without a stream, and there will be one soon enough.
            if "requires the key to exist" not in str(error) and not self._refused:
                self._refused = True
                logger.warning("%s: group %s does not show the lag: %s", self._stream, self._group, error)
