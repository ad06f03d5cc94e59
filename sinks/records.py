"""The nouns that leave the processor.

Time is UTC epoch milliseconds inside the processor and ISO 8601 at the edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

Dimensions = tuple[tuple[str, str], ...]
"""Ordered (name, value) pairs, in the order of the metric's `by`."""

Value = int | float | Mapping[str, float] | None
"""One number, or one per key for measures that give several (quantiles, top k)."""

OTHER = "__other__"
"""Dimension value of the series that takes what comes past a metric's `max_series`."""

ROUNDING = 1e-9
"""By how much of itself a sum of floats may differ when it is added up in another order."""

ALL_READ_MS = 1 << 60
"""Watermarks from here on mean "all input was read", not a time."""

MISSING = "__none__"
"""Dimension value of an event that does not carry the field."""


class State(StrEnum):
    """How settled a point is: *open* may still grow, *final* is behind the watermark, *corrected* came late."""

    OPEN = "open"
    FINAL = "final"
    CORRECTED = "corrected"


class Reason(StrEnum):
    """Why an event was not counted. The list is closed: nothing is dropped for a reason that is not here."""

    MALFORMED = "malformed"
    MISSING_FIELD = "missing_field"
    BAD_TYPE = "bad_type"
    TOO_LARGE = "too_large"
    FUTURE = "future"
    TOO_LATE = "too_late"
    DUPLICATE = "duplicate"
    BOT = "bot"
    UNKNOWN_EVENT = "unknown_event"
    SUPPRESSED = "suppressed"
    SAMPLED_OUT = "sampled_out"


class Shape(StrEnum):
    """How an entry carried what was refused, and so what the `raw` of its dead letter is."""

    DATA = "data"
    """JSON of one event: the field `data`, or an element of a `batch`."""
    BATCH = "batch"
    """The field `batch`, refused as a whole."""
    FIELDS = "fields"
    """All fields of the entry as `name=value&…`, percent-encoded."""


class Point(msgspec.Struct, frozen=True):
    """The value of one metric in one window for one series, as an upsert.

    A later point with the same (metric, window, start_ms, dimensions) replaces an earlier one: values are
    accumulated totals, never increments. No dataclass, as thousands are made each second, at a tenth of its price.
    """

    metric: str
    window: str
    """Width as the catalog spells it, such as "10s"."""
    start_ms: int
    """Start of the window, epoch milliseconds UTC."""
    dimensions: Dimensions
    value: Value
    count: int
    """How many events contributed."""
    state: State
    revision: int
    """Counts the emissions of this point, from 1."""
    watermark_ms: int
    """The merged watermark at emission; events before it were all seen, within the allowed lateness."""
    error: float | None = None
    """How far off `value` may be, as a share of it; None where it is exact."""

    def to_json(self) -> dict[str, Any]:
        """The public shape of a point, with `start` in ISO 8601."""
        return {
            "metric": self.metric,
            "window": self.window,
            "start": iso(self.start_ms),
            "dimensions": dict(self.dimensions),
            "value": self.value,
            "count": self.count,
            "state": self.state.value,
            "revision": self.revision,
        } | ({} if self.error is None else {"error": self.error})


def taken_over(known: Point, point: Point) -> Point | None:
    """What whoever holds `known` holds after a `point` of the same key; None: `known`, as before.

    After a crash the processor passes again through what it had already settled, and may then call final what it had
    corrected before, with another value. A settled point never becomes open, another value is a correction, and what
    was corrected remains so.
    """
    if known.state is State.OPEN or point.state is State.CORRECTED:
        return point
    if point.state is State.OPEN:
        return None
    corrects = known.state is State.CORRECTED or _says_another(known, point)
    return msgspec.structs.replace(point, state=State.CORRECTED) if corrects else point


def _says_another(known: Point, point: Point) -> bool:
    old, new = known.value, point.value
    if known.count != point.count:
        return True
    if isinstance(old, int | float) and isinstance(new, int | float):
        return abs(new - old) > ROUNDING * abs(old)
    return old != new


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was refused: why, where it came from, and its bytes as they came; once it is kept, without
    anybody's own id where it can be read."""

    stream: str
    entry_id: str
    index: int
    """Position inside an entry that carries a batch of events; 0 otherwise."""
    reason: Reason
    message: str
    raw: bytes
    shape: Shape | None = None
    """None where `raw` tells: an event that could be read is JSON from `{` on, and percent-encoded fields never are.
    Letters of versions that did not know shapes have none either."""


def iso(time_ms: int) -> str:
    """`1442016000000` → `2015-09-12T00:00:00Z`; fractions of a second only where there are any."""
    when = datetime.fromtimestamp(time_ms / 1000, UTC)
    spec = "milliseconds" if time_ms % 1000 else "seconds"
    return when.isoformat(timespec=spec).replace("+00:00", "Z")


def series_key(metric: str, window: str, dimensions: Dimensions) -> str:
    """One text per series: `edits@1m{channel=#en.wikipedia}`, with `\\`, `,`, `=`, `{` and `}` escaped."""
    if not dimensions:
        return f"{metric}@{window}"
    inside = ",".join(f"{_escape(name)}={_escape(value)}" for name, value in dimensions)
    return f"{metric}@{window}{{{inside}}}"


_ESCAPES = str.maketrans({c: f"\\{c}" for c in "\\,={}"})


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)
