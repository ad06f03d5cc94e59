"""What every anomaly detector is: river's contract, and what an alert has to say besides a score.

A detector watches one series. It is shown each closed window once, in order of time: `score_one`, then `learn_one`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import msgspec
from river import base

DAY_S = 86_400.0
WARM_S = DAY_S
WARM_ROWS = 100
"""A detector that learns is silent for the first day, and for the first hundred windows where those are longer."""


class ModelError(ValueError):
    """Options that make no sense, or bytes that are no state of this version."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a value was expected to be, and the band outside of which it would be surprising. In the value's unit."""

    value: float
    lower: float
    upper: float


class Detector(base.AnomalyDetector):
    """An online anomaly detector of one series: river's `AnomalyDetector`, with reasons and a state of its own.

    A row is `x = {"value": float, "time": epoch seconds}`; other keys are not looked at. Scores are unbounded, and
    higher is stranger; never NaN, infinite or None. `score_one` changes no later score.

    *Guarantee*: a value that is not finite scores 0 and is not learned; a time that is not after the last one is taken
    for the last one. The same rows give the same scores, also when the detector is saved and restored in between.
    Memory and bytes are bounded by `max_bytes`, however long the series. *Failure*: ModelError for options and bytes.
    """

    name: ClassVar[str]
    """What the catalog calls it."""
    cost_us: ClassVar[float]
    """Microseconds of one core that `score_one` and `learn_one` take together for a row, on the average."""
    max_bytes: ClassVar[int]
    """What `to_bytes` never exceeds."""
    learns: ClassVar[bool] = True
    """Whether it finds out by itself what is strange; False for those that are told, such as a threshold."""
    VERSION: ClassVar[int] = 1
    """Of the state; bytes of another are refused."""

    @property
    @abstractmethod
    def warm(self) -> bool:
        """Whether it has seen enough to be believed. Scores before are honest, but nobody is to be woken by them."""

    @property
    @abstractmethod
    def expected(self) -> Expected | None:
        """What the row last scored was expected to be; None where the detector has no notion of it."""

    @property
    @abstractmethod
    def why(self) -> str:
        """What is strange about the row last scored, in words such as `highest in 8 days`; "" where nothing is."""

    @abstractmethod
    def score_one(self, x: Mapping[Any, Any]) -> float:
        """How strange a row is."""

    @abstractmethod
    def learn_one(self, x: Mapping[Any, Any]) -> None:
        """Take a row in."""

    @abstractmethod
    def to_state(self) -> dict[str, Any]:
        """Options and state as plain numbers, texts, bytes and lists of them."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of `to_state`."""

    def to_bytes(self) -> bytes:
        """The whole detector, versioned. Not a pickle: it survives other versions of every library."""
        return msgspec.msgpack.encode({"detector": self.name, "version": self.VERSION, "state": self.to_state()})

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The detector as it was. Raises ModelError for anything but bytes of this detector and version."""
        try:
            packed = msgspec.msgpack.decode(raw)
            found = packed["detector"], packed["version"]
        except (msgspec.DecodeError, TypeError, KeyError) as error:
            raise ModelError(f"not the state of a detector: {error}") from error
        if found != (cls.name, cls.VERSION):
            raise ModelError(f"expected {cls.name} of version {cls.VERSION}, found {found[0]} of version {found[1]}")
        try:
            return cls.from_state(packed["state"])
        except (TypeError, KeyError, ValueError) as error:
            raise ModelError(f"not a state of {cls.name}: {error!r}") from error


def read(x: Mapping[Any, Any]) -> tuple[float, float]:
    """Value and time of a row; NaN for a value that is none. Raises ModelError for a row without a usable time."""
    try:
        value, time_s = float(x["value"]), float(x["time"])
    except (KeyError, TypeError, ValueError):
        raise ModelError(f'expected a row such as {{"value": 1.5, "time": 1442016000}}, found {x!r}') from None
    if not math.isfinite(time_s):
        raise ModelError(f"time: expected epoch seconds, found {time_s}")
    return (value if math.isfinite(value) else math.nan), time_s


class Warmth:
    """Counts rows and the time they span, until a detector is warm."""

    __slots__ = ("first_s", "last_s", "rows", "warm_rows", "warm_s")

    def __init__(self, warm_s: float = WARM_S, warm_rows: int = WARM_ROWS) -> None:
        self.warm_s = warm_s
        self.warm_rows = warm_rows
        self.rows = 0
        self.first_s = 0.0
        self.last_s = 0.0

    def saw(self, time_s: float) -> float:
        """A row of that time is learned. Returns the time it is taken for, which never goes back."""
        if not self.rows:
            self.first_s = self.last_s = time_s
        self.rows += 1
        self.last_s = max(self.last_s, time_s)
        return self.last_s

    @property
    def warm(self) -> bool:
        return self.rows >= self.warm_rows and self.last_s - self.first_s >= self.warm_s

    def to_state(self) -> list[float]:
        return [self.warm_s, self.warm_rows, self.rows, self.first_s, self.last_s]

    @classmethod
    def from_state(cls, state: list[float]) -> Self:
        made = cls(state[0], int(state[1]))
        made.rows, made.first_s, made.last_s = int(state[2]), state[3], state[4]
        return made
