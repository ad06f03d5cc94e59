"""What every anomaly detector is: river's contract, and what an alert has to say besides a score.

A detector watches one series. It is shown each closed window once, in order of time: `score_one`, then `learn_one`.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

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


@dataclass(frozen=True, slots=True)
class Option:
    """What a detector can be told, from its constructor's signature."""

    name: str
    kinds: tuple[type, ...]
    """Of what it takes; empty for what the detector alone can tell."""
    default: Any
    choices: tuple[Any, ...] = ()
    """The only values it takes, where there are some."""

    def check(self, given: Any) -> None:
        """Raises ModelError for a value of another kind. A whole number will do for a number, a truth for neither."""
        if self.choices:
            if given not in self.choices:
                raise ModelError(f"{self.name}: expected one of {', '.join(map(str, self.choices))}, found {given!r}")
            return
        if not self.kinds or type(given) in self.kinds or (float in self.kinds and type(given) is int):
            return
        expected = " or ".join(dict.fromkeys(_KINDS.get(kind, kind.__name__) for kind in self.kinds))
        raise ModelError(f"{self.name}: expected {expected}, found {given!r}")


_KINDS = {float: "a number", int: "a whole number", str: "a text", bool: "true or false", type(None): "nothing"}


class Detector(base.AnomalyDetector):
    """An online anomaly detector of one series: river's `AnomalyDetector`, with reasons and a state of its own.

    A row is `x = {"value": float, "time": epoch seconds}`; other keys are not looked at. Scores are unbounded, and
    higher is stranger; never NaN, infinite or None. `score_one` changes no later score.

    *Guarantee*: a value that is not finite scores as if nothing were strange (0; 1 for as usual; `CALM` where the score
    is the value itself) and is not learned; a time before the last one is taken for the last one. The same rows give
    the same scores, also when the detector is saved and restored in between. Memory and bytes are bounded by
    `max_bytes`, however long the series. *Failure*: ModelError for options and bytes.
    """

    name: ClassVar[str]
    """What the catalog calls it."""
    cost_us: ClassVar[float]
    """Microseconds of one core that `score_one` and `learn_one` take together for a row, on the average."""
    max_bytes: ClassVar[int]
    """What `to_bytes` never exceeds."""
    VERSION: ClassVar[int] = 1
    """Of the state; bytes of another are refused."""
    OPEN: ClassVar[float | None] = None
    """The score at which an alert opens where a rule does not say; None where it has to."""
    learns: ClassVar[bool] = True
    """Whether it finds out itself what is usual. Otherwise it is a rule: the score is the value in the rule's own
    terms."""
    orientation: ClassVar[int] = 1
    """-1 where lower values are stranger, and so a rule's limits are the negative of the scores they stand for."""
    takes_silence: ClassVar[bool] = False
    """Whether a window without events is shown to it as NaN also where the metric is 0 then."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Options of which a rule has to give one or more; without, it scores nothing."""
    _why: str = ""

    @property
    @abstractmethod
    def warm(self) -> bool:
        """Whether it has seen enough to be believed. Scores before are honest, but nobody is to be woken by them."""

    @property
    def expected(self) -> Expected | None:
        """What the row last scored was expected to be; None where the detector has no notion of it."""
        return None

    @property
    def why(self) -> str:
        """What is strange about the row last scored, in words such as `highest in 8 days`; "" where nothing is."""
        return self._why

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

    @classmethod
    @cache
    def options(cls) -> Mapping[str, Option]:
        """What it can be told, by name. Asked for each series that is new, and always the same."""
        hints = get_type_hints(cls.__init__)
        found = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {each.name: _option(each.name, hints.get(each.name, Any), each.default) for each in found}

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
        except (TypeError, LookupError, AttributeError, ValueError, ArithmeticError) as error:
            raise ModelError(f"not a state of {cls.name}: {error!r}") from error


CALM = -1e300
"""The score of a row without a value where scores are values: beyond no limit, and yet a number."""


def _option(name: str, hint: Any, default: Any) -> Option:
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    if choices:
        return Option(name, (), default, (*choices, *([None] if type(None) in parts else [])))
    known = all(isinstance(part, type) and part in _KINDS for part in parts)
    return Option(name, tuple(parts) if known else (), default)


def whole(name: str, given: int, least: int, most: int) -> int:
    """An option that is a whole number within bounds. Raises ModelError."""
    if type(given) is not int or not least <= given <= most:
        raise ModelError(f"{name}: expected a whole number from {least} to {most}, found {given!r}")
    return given


def read(x: Mapping[Any, Any]) -> tuple[float, float]:
    """Value and time of a row; NaN for a value that is none. Raises ModelError for a row without a usable time."""
    try:
        value, time_s = float(x["value"]), float(x["time"])
    except (KeyError, TypeError, ValueError, OverflowError):
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
