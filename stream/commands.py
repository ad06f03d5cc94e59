"""What people said about alerts, and who is to be forgotten, out of the entries that the API and the command wrote."""

from __future__ import annotations

import logging

from sinks.alert_records import COMMAND_FIELD, Command
from sinks.erasure import ERASURE_FIELD, Erasure
from stream.batches import RawBatch, Tombstone
from stream.enrich import shard_of

logger = logging.getLogger(__name__)


class Commands:
    """Reads entries of the stream of commands. What is none is logged and left out: nobody waits for its answer."""

    def __init__(self) -> None:
        self._begun = False

    def of(self, batch: RawBatch) -> list[list[Command]]:
        """None or one list; the first is given even when it is empty, so that alerts are looked after from the start
        of a run, whether anything is said or not."""
        found: list[Command] = []
        for entry_id, fields in batch.entries:
            named = dict(zip(fields[::2], fields[1::2], strict=False))
            if ERASURE_FIELD in named:
                continue
            raw = named.get(COMMAND_FIELD)
            try:
                if raw is None:
                    raise ValueError(f"no field {COMMAND_FIELD.decode()}")
                found.append(Command.from_bytes(raw))
            except ValueError as error:
                logger.error("%s %s is left out: %s", batch.stream, entry_id.decode(), error)
        if found or not self._begun:
            self._begun = True
            return [found]
        return []


class Erasures:
    """Reads who is to be forgotten out of the same entries. What is none is logged, without what it says."""

    def __init__(self, platform: str, shards: int) -> None:
        self._platform = platform
        self._shards = shards

    def of(self, batch: RawBatch) -> list[Tombstone]:
        """Those of this platform, each for the shard that has the person."""
        found: list[Tombstone] = []
        for entry_id, fields in batch.entries:
            raw = dict(zip(fields[::2], fields[1::2], strict=False)).get(ERASURE_FIELD)
            if raw is None:
                continue
            try:
                erasure = Erasure.from_bytes(raw)
            except ValueError as error:
                logger.error("%s %s is left out: %s", batch.stream, entry_id.decode(), error)
                continue
            if erasure.platform == self._platform:
                shard = shard_of(erasure.person, self._shards)
                found.append(Tombstone(shard, erasure.person, entry_id.decode()))
        return found
