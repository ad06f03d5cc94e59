"""What a client of the protocol holds: docs/protocol.md, and nothing of the hub's own code."""

from __future__ import annotations

from typing import Any

WINDOWS = 8
"""The latest windows of each series that a snapshot has, and so what two clients are compared by."""

State = dict[str, dict[int, tuple[Any, ...]]]


class View:
    """The series of one client, and how far it has heard."""

    def __init__(self) -> None:
        self._series: State = {}
        self._epoch = ""
        self._seq: int | None = None

    @property
    def resume(self) -> str | None:
        """What to say in the next hello to go on from here."""
        return None if self._seq is None else f"{self._epoch}:{self._seq}"

    def take(self, message: dict[str, Any]) -> None:
        """Take one message in."""
        self._epoch = message.get("epoch", self._epoch)
        if message["op"] == "snapshot":
            self._series.clear()
        for key, series in message.get("series", {}).items():
            kept = self._series.setdefault(key, {})
            for start, *rest in series["points"]:
                kept[start] = tuple(rest)
        self._seq = message.get("seq", self._seq)

    def state(self) -> State:
        """The latest windows of each series."""
        return {key: {start: kept[start] for start in sorted(kept)[-WINDOWS:]} for key, kept in self._series.items()}
