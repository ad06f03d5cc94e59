"""Times of clients whose clocks are wrong: when they said a request left tells by how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from live_api.intake.kept import Event, Field
from stream.convert import Bad, times_of


def sent_ms(value: Any) -> int | None:
    """When a client says it sent a request; None where that is no time."""
    times, bad = _times([value])
    return None if bad or not _is_time(value) else int(times[0])


def correct(events: Sequence[Event], time: Field, said_ms: int, received_ms: int) -> None:
    """Event time = received - (sent - original). Times that are none stay as they are, for the decoder to refuse."""
    values = [time.get(event) for event in events]
    times, bad = _times(values)
    for row, event in enumerate(events):
        if row not in bad and _is_time(values[row]):
            time.set(event, int(times[row]) + received_ms - said_ms)


def _times(values: list[Any]) -> tuple[Any, Bad]:
    bad: Bad = {}
    return times_of("time", [value if _is_time(value) else None for value in values], bad), bad


def _is_time(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
