"""Whether a part of the product does its work: single conditions, each in words, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

BEHIND_S = 10.0
"""A stream whose last entry read was added longer ago is being caught up with."""


class State(IntEnum):
    """In the order of how bad it is."""

    READY = 0
    DEGRADED = 1
    """It works, and something needs a look: nobody is helped by its being ended or left out."""
    NOT_READY = 2
    """What it shows or does is not to be relied on."""

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Condition:
    about: str
    state: State
    said: str


def of_stream(stream: str, behind_s: float, waiting: float | None) -> Condition:
    """How far a stream that is read is read: `behind_s` is how long ago its last entry read was added, `waiting` how
    many entries are left, None where that cannot be told."""
    if behind_s <= BEHIND_S:
        return Condition("stream", State.READY, f"the stream {stream} is read to its end")
    number = "an unknown number of" if waiting is None else f"{waiting:,.0f}"
    said = f"the stream {stream} is {behind_s:.0f} s behind, with {number} entries to catch up with"
    return Condition("stream", State.DEGRADED, said)


def answer(conditions: Iterable[Condition]) -> tuple[int, dict[str, Any]]:
    """The HTTP status, 200 or 503, and what to say: the worst state, and the reasons for it, the worst first."""
    found = list(conditions)
    worst = max((one.state for one in found), default=State.READY)
    reasons = [one.said for one in sorted(found, key=lambda one: -one.state) if one.state is not State.READY]
    said = [{"about": one.about, "state": one.state.word, "said": one.said} for one in found]
    return 503 if worst is State.NOT_READY else 200, {"status": worst.word, "reasons": reasons, "conditions": said}
