"""What leaves the processor about alerts, and what people tell it about them.

Time is UTC epoch milliseconds inside and on the live stream, and ISO 8601 in REST, webhooks and files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import orjson

from sinks.records import Dimensions, iso

COMMANDS_STREAM = "streamgauge:commands"
"""What people say about alerts, one entry each, on the way from the API to the processor."""
COMMAND_FIELD = b"c"
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """From 0, the mildest."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class AlertStatus(StrEnum):
    """Where an episode is. `learning`, `ok` and `pending` are of a series without one, and are no alerts."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    """Somebody has taken it on: nothing more is said until it changes."""
    FLAPPING = "flapping"
    """It opens and closes again and again: nothing more is said until it has been quiet for a while."""
    NODATA = "nodata"
    """Nothing comes any more that could be judged."""
    RESOLVED = "resolved"


class Change(StrEnum):
    """Why people are told of an alert."""

    OPENED = "opened"
    ESCALATED = "escalated"
    REPEATED = "repeated"
    """It is still there, and nobody has acknowledged it."""
    FLAPPING = "flapping"
    RESOLVED = "resolved"


class Resolution(StrEnum):
    """How an episode ended."""

    RECOVERED = "recovered"
    STALE = "stale"
    """Nothing came any more that could have kept it open."""
    REMOVED = "removed"
    """The rule or its metric is no longer in the catalog."""
    BY_HAND = "by_hand"
    FALSE_ALARM = "false_alarm"


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode of one rule about one series, as it is now. A later one with the same id replaces it."""

    id: str
    """Stable: of the rule, the series and the window that opened it."""
    rule: str
    metric: str
    window: str
    dimensions: Dimensions
    severity: Severity
    """The worst it has been."""
    status: AlertStatus
    opened_ms: int
    """End of the window that opened it."""
    last_seen_ms: int
    """End of the last window that was out of the ordinary."""
    score: float
    """Of that window, in the rule's terms: higher is stranger."""
    peak: float
    """The highest score of the episode."""
    why: str
    """In words."""
    actual: float | None = None
    """The value of that window, in the metric's unit."""
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    """The band in which it would not have surprised."""
    acked_by: str | None = None
    acked_ms: int | None = None
    resolved_ms: int | None = None
    resolution: Resolution | None = None
    resolved_by: str | None = None
    note: str | None = None
    """What whoever acknowledged, silenced or resolved it had to say."""
    muted_by: str | None = None
    """The rule whose alert says the same already; nobody is told of this one meanwhile."""
    silenced_until_ms: int | None = None
    title: str = ""
    """What the rule is called for people; "" where it has only its name."""

    @property
    def called(self) -> str:
        """The rule, for people."""
        return self.title or self.rule

    @property
    def deviation(self) -> float | None:
        """How far the value is from what was expected, as a share of it; None where that says nothing."""
        if self.actual is None or not self.expected:
            return None
        return (self.actual - self.expected) / abs(self.expected)

    def to_live(self) -> dict[str, Any]:
        """The shape on the live stream and in the hub's frames: times in epoch milliseconds."""
        return {
            "id": self.id,
            "rule": self.rule,
            "title": self.title,
            "series": {"metric": self.metric, "window": self.window, "dimensions": dict(self.dimensions)},
            "severity": self.severity.value,
            "status": self.status.value,
            "opened": self.opened_ms,
            "last_seen": self.last_seen_ms,
            "acked_by": self.acked_by,
            "acked": self.acked_ms,
            "resolved": self.resolved_ms,
            "resolution": None if self.resolution is None else self.resolution.value,
            "resolved_by": self.resolved_by,
            "expected": self.expected,
            "lower": self.lower,
            "upper": self.upper,
            "actual": self.actual,
            "deviation": self.deviation,
            "score": self.score,
            "peak": self.peak,
            "why": self.why,
            "note": self.note,
            "muted_by": self.muted_by,
            "silenced_until": self.silenced_until_ms,
        }

    def to_json(self) -> dict[str, Any]:
        """The public shape of an alert: `to_live`, with times in ISO 8601."""
        live = self.to_live()
        return live | {name: None if live[name] is None else iso(live[name]) for name in _TIMES}

    def to_state(self) -> dict[str, Any]:
        """Plain values, for the snapshot and the store."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Alert:
        """The inverse of `to_state`, also after a trip through JSON or msgpack. Raises TypeError, ValueError."""
        return cls(
            **state
            | {
                "dimensions": tuple((name, value) for name, value in state["dimensions"]),
                "severity": Severity(state["severity"]),
                "status": AlertStatus(state["status"]),
                "resolution": None if state["resolution"] is None else Resolution(state["resolution"]),
            }
        )


_TIMES = ("opened", "last_seen", "acked", "resolved", "silenced_until")


@dataclass(frozen=True, slots=True)
class Scored:
    """What one rule made of one closed window of one series; an upsert by (rule, dimensions, start_ms)."""

    rule: str
    metric: str
    window: str
    start_ms: int
    dimensions: Dimensions
    value: float | None
    """None where there was nothing to judge."""
    score: float
    warm: bool
    """False while the detector is still learning: nobody is alerted then."""
    anomalous: bool
    """Whether the score is past what opens an alert."""
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    why: str = ""
    events: int = 0
    """How many events the window had."""

    @property
    def outside(self) -> bool:
        """Whether the value is outside the band in which it would not surprise."""
        if self.value is None or self.lower is None or self.upper is None:
            return False
        return not self.lower <= self.value <= self.upper


@dataclass(frozen=True, slots=True)
class Notification:
    """What people are told at one moment about the alerts of one group; sent to every webhook that wants it.

    An alert is always of the same group, so whoever keeps the order within groups keeps that of each alert.
    """

    id: str
    """Stable: the same after a replay, so that a receiver can tell that it has it."""
    group: str
    rule: str
    platform: str
    at_ms: int
    """End of the window, or time of the command, that brought it about."""
    alerts: tuple[tuple[Change, Alert], ...]

    def to_bytes(self) -> bytes:
        """JSON, as the outbox has it."""
        return orjson.dumps(
            {
                "id": self.id,
                "group": self.group,
                "rule": self.rule,
                "platform": self.platform,
                "at_ms": self.at_ms,
                "alerts": [(change.value, alert.to_state()) for change, alert in self.alerts],
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Notification:
        """The inverse of `to_bytes`. Raises ValueError for anything else."""
        try:
            body = orjson.loads(raw)
            alerts = tuple((Change(change), Alert.from_state(state)) for change, state in body["alerts"])
            made = cls(body["id"], body["group"], body["rule"], body["platform"], body["at_ms"], alerts)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"not a notification: {error!r}") from error
        if not all(isinstance(text, str) for text in (made.id, made.group, made.rule, made.platform)):
            raise ValueError("not a notification: its id, group, rule and platform are no texts")
        if not _ID.fullmatch(made.id):
            raise ValueError("not a notification: its id is not of letters, digits, - and _, which a header can have")
        if type(made.at_ms) is not int:
            raise ValueError("not a notification: its time is no epoch milliseconds")
        return made


_LATEST_MS = 253_402_300_799_999
"""The last moment that ISO 8601 has four digits of a year for."""


class Order(StrEnum):
    """What people may say about alerts."""

    ACK = "ack"
    RESOLVE = "resolve"
    FALSE_ALARM = "false_alarm"
    """Resolves it, and raises the threshold of that series."""
    SILENCE = "silence"
    """Nobody is told of such alerts until the silence ends, or is ended by `unsilence`."""
    UNSILENCE = "unsilence"


@dataclass(frozen=True, slots=True)
class Command:
    """One thing somebody said about alerts."""

    order: Order
    by: str
    at_ms: int
    platform: str
    alert: str | None = None
    """Id of the alert; None for silences of a whole rule."""
    reason: str = ""
    silence: str | None = None
    """Id of the silence."""
    rule: str | None = None
    """A silence's: None for every rule."""
    dimensions: Dimensions | None = None
    """A silence's: the series that have all of these; none for all."""
    until_ms: int | None = None
    """A silence's end."""

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Command:
        """The inverse of `to_bytes`. Raises ValueError for anything else."""
        try:
            body = orjson.loads(raw)
            pairs = body["dimensions"]
            dimensions = None if pairs is None else tuple((str(name), str(value)) for name, value in pairs)
            command = cls(**body | {"order": Order(body["order"]), "dimensions": dimensions})
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"not a command about alerts: {error!r}") from error
        times_ms = [command.at_ms, *([] if command.until_ms is None else [command.until_ms])]
        names = [name for name in (command.alert, command.silence, command.rule) if name is not None]
        if not all(type(at_ms) is int and 0 <= at_ms <= _LATEST_MS for at_ms in times_ms):
            raise ValueError("not a command about alerts: its times are no epoch milliseconds")
        if not all(type(text) is str for text in (command.by, command.platform, command.reason, *names)):
            raise ValueError("not a command about alerts: one of its texts is none")
        return command


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is told of alerts that it covers until it ends. They are seen all the same."""

    id: str
    by: str
    reason: str
    made_ms: int
    until_ms: int
    rule: str | None = None
    dimensions: Dimensions = ()

    def covers(self, rule: str, dimensions: Dimensions, at_ms: int) -> bool:
        return (
            self.made_ms <= at_ms < self.until_ms
            and self.rule in (None, rule)
            and set(self.dimensions) <= set(dimensions)
        )


def stable_id(*parts: object) -> str:
    """The same short text for the same parts, in every process and for good."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def worst(alerts: Sequence[Alert]) -> Severity:
    """The severity of several alerts, of which there must be one."""
    return max((alert.severity for alert in alerts), key=lambda severity: severity.rank)
