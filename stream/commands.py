"""What people said about alerts, out of the entries that the API wrote."""

from __future__ import annotations

import logging

from sinks.alert_records import COMMAND_FIELD, Command
from stream.batches import RawBatch

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
            raw = dict(zip(fields[::2], fields[1::2], strict=False)).get(COMMAND_FIELD)
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
