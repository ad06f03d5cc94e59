"""One series under one rule: when an alert opens, what becomes of it, and when somebody is to be told.

No clock and no I/O. Time passes by the windows that are judged, so a replay arrives at the same episodes.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any

from sinks.alert_records import Alert, AlertStatus, Change, Resolution, Scored, Severity, stable_id
from sinks.records import Dimensions
from stream.rules import Lifecycle

_STALE_WINDOWS = 3
"""An episode whose series has no value for so many times `resolve_after` windows ends as stale."""
_RAISE = 0.25
_RAISE_BEYOND = 1.1
"""A false alarm raises the limits by a quarter, and at least so far that it would not have been one."""


class Phase(StrEnum):
    """Where a series is. From `firing` on there is an alert."""

    LEARNING = "learning"
    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    FLAPPING = "flapping"
    NODATA = "nodata"


_MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.LEARNING: frozenset({Phase.OK, Phase.NODATA}),
    Phase.OK: frozenset({Phase.LEARNING, Phase.PENDING, Phase.FIRING, Phase.FLAPPING, Phase.NODATA}),
    Phase.PENDING: frozenset({Phase.OK, Phase.FIRING, Phase.FLAPPING, Phase.NODATA}),
    Phase.FIRING: frozenset({Phase.ACKNOWLEDGED, Phase.NODATA, Phase.OK}),
    Phase.ACKNOWLEDGED: frozenset({Phase.NODATA, Phase.OK}),
    Phase.FLAPPING: frozenset({Phase.ACKNOWLEDGED, Phase.NODATA, Phase.OK}),
    Phase.NODATA: frozenset({Phase.FIRING, Phase.ACKNOWLEDGED, Phase.OK}),
}
_STATUS = {
    Phase.FIRING: AlertStatus.FIRING,
    Phase.ACKNOWLEDGED: AlertStatus.ACKNOWLEDGED,
    Phase.FLAPPING: AlertStatus.FLAPPING,
    Phase.NODATA: AlertStatus.NODATA,
}


class IllegalMove(RuntimeError):
    """A bug: a phase that cannot follow on the one before."""


class Episodes:
    """The state machine of one series. `see` each closed window once, in order; then ask for `news`."""

    __slots__ = (
        "_aged",
        "_data_ms",
        "_lacking",
        "_life",
        "_metric",
        "_openings",
        "_quiet",
        "_recent",
        "_resolved_ms",
        "_seen_ms",
        "_silent",
        "_strange",
        "_told",
        "_told_ms",
        "_window",
        "alert",
        "dimensions",
        "group",
        "phase",
        "raised",
    )

    def __init__(self, life: Lifecycle, metric: str, window: str, dimensions: Dimensions) -> None:
        self._life = life
        self._metric = metric
        self._window = window
        self.dimensions = dimensions
        self.phase = Phase.LEARNING
        self.alert: Alert | None = None
        """The open episode, or the one that was resolved just now, until it is `settled`."""
        self.group: str | None = None
        """In which group people are told of the episode, once anybody has said so; it keeps it until its end."""
        self.raised = 0.0
        """By how much false alarms have raised the limits."""
        self._recent: list[bool] = []
        """Which of the last `n` windows were out of the ordinary."""
        self._quiet = 0
        """Quiet windows in a row."""
        self._silent = 0
        """Windows without a value in a row."""
        self._data_ms: int | None = None
        """End of the last window that had an event."""
        self._seen_ms: int | None = None
        """End of the last window."""
        self._lacking = False
        """Whether nothing had come for so long, at the last window, that there was nothing to judge."""
        self._strange = False
        """Whether the episode is of a window that was out of the ordinary, and not of missing ones alone."""
        self._resolved_ms: int | None = None
        self._openings: list[int] = []
        self._aged = False
        """Whether it has become worse by its age."""
        self._told: Severity | None = None
        """The severity that people were told last; None as long as they know nothing of the episode."""
        self._told_ms = 0

    @property
    def life(self) -> Lifecycle:
        return self._life

    @property
    def is_open(self) -> bool:
        return self.alert is not None and self.alert.resolved_ms is None

    def see(self, row: Scored, end_ms: int) -> None:
        """Take in the window that ended at `end_ms`. An episode that was resolved before has to be `settled`."""
        self._seen_ms = end_ms
        if row.events:
            self._data_ms = end_ms
        lacked, self._lacking = self._lacking, self._lacks_data(end_ms)
        if self._lacking:
            self._lack_data(row, end_ms)
            return
        if self.phase is Phase.NODATA and not self._life.nodata_ms:
            # Nobody asks for it any more.
            self._resolve(end_ms, Resolution.REMOVED)
            return
        if not row.warm:
            self._unlearned(row, end_ms, lacked=lacked)
            return
        if self.phase is Phase.LEARNING:
            self._move(Phase.OK)
        if row.value is None and not self._life.judges_silence:
            self._without_value(end_ms)
            return
        self._silent = 0
        begun = self.phase is not Phase.OK
        lasts = begun and self._life.lasts_outside and row.outside
        over = row.score >= self._life.opens + self.raised or lasts
        self._recent = [*self._recent, over][-self._life.n :]
        quiet = not over and row.score < self._life.quiet_below + self.raised
        self._quiet = self._quiet + 1 if quiet else 0
        if self.phase in (Phase.OK, Phase.PENDING):
            self._consider(row, end_ms)
        else:
            self._go_on(row, end_ms, quiet=quiet)

    def pass_time(self, at_ms: int) -> None:
        """Time has come to `at_ms`: an alert that nobody looks after becomes worse."""
        alert, after_ms = self.alert, self._life.escalate_after_ms
        if not after_ms or self._aged or alert is None or self.phase not in (Phase.FIRING, Phase.NODATA):
            return
        if at_ms - alert.opened_ms >= after_ms:
            self._aged = True
            ranks = list(Severity)
            self.alert = replace(alert, severity=ranks[min(alert.severity.rank + 1, len(ranks) - 1)])

    def gone(self, at_ms: int, resolution: Resolution) -> None:
        """Nothing more comes of this series, or nobody asks for it any more."""
        if self.is_open:
            self._resolve(at_ms, resolution)

    def acknowledge(self, by: str, note: str, at_ms: int) -> bool:
        """Somebody has taken it on. Returns whether there was anything to take on."""
        if self.alert is None or not self.is_open:
            return False
        self.alert = replace(self.alert, acked_by=by, acked_ms=at_ms, note=note or self.alert.note)
        if self.phase in (Phase.FIRING, Phase.FLAPPING, Phase.NODATA):
            self._move(Phase.ACKNOWLEDGED)
        return True

    def resolve(self, by: str, note: str, at_ms: int, resolution: Resolution = Resolution.BY_HAND) -> bool:
        """Somebody says that it is over. Returns whether it was not already."""
        if self.alert is None or not self.is_open:
            return False
        self.alert = replace(self.alert, resolved_by=by, note=note or self.alert.note)
        if self._lacking:
            # It is known that nothing comes. Another is of another silence, once something has come.
            self._data_ms = None
        # What comes after is counted by the windows: people's clocks may be years ahead of them, or behind.
        self._resolve(at_ms, resolution, ended_ms=self._seen_ms)
        return True

    def false_alarm(self, by: str, note: str, at_ms: int) -> bool:
        """Somebody says that it never was one: the limits of this series rise. Returns whether it was open."""
        if self.alert is None or not self.is_open:
            return False
        if self._strange:
            # Of a silence no limit was exceeded, so there is none to raise.
            opens = self._life.opens
            beyond = _RAISE_BEYOND * (self.alert.peak - opens - self.raised)
            self.raised += max(_RAISE * abs(opens), beyond, 0.0)
        return self.resolve(by, note, at_ms, Resolution.FALSE_ALARM)

    def silence(self, note: str) -> None:
        """Somebody wants nobody to be told of it, and has something to say."""
        if self.alert is not None and self.is_open:
            self.alert = replace(self.alert, note=note or self.alert.note)

    def mark(self, *, muted_by: str | None, silenced_until_ms: int | None) -> None:
        """Why nobody is told, for whoever looks."""
        alert = self.alert
        if alert is None or not self.is_open:
            return
        if (alert.muted_by, alert.silenced_until_ms) != (muted_by, silenced_until_ms):
            self.alert = replace(alert, muted_by=muted_by, silenced_until_ms=silenced_until_ms)

    def news(self, at_ms: int, *, muted: bool) -> Change | None:
        """What people are to be told now. They are taken to have been told; a muted change is told once it is not."""
        alert = self.alert
        if alert is None:
            return None
        if alert.resolved_ms is not None:
            # Whoever heard that it began hears that it ended, whatever has been silenced since.
            return Change.RESOLVED if self._told is not None else None
        change = None if muted else self._change(alert, at_ms)
        if change is not None:
            self._told, self._told_ms = alert.severity, at_ms
        return change

    def settled(self) -> None:
        """The resolved episode has been told and kept: the series may have another."""
        if self.alert is not None and not self.is_open:
            self.alert, self._told, self.group = None, None, None

    def _change(self, alert: Alert, at_ms: int) -> Change | None:
        if self._told is None:
            # What was muted until now and is dying away is no news any more.
            if self._quiet:
                return None
            return Change.FLAPPING if alert.status is AlertStatus.FLAPPING else Change.OPENED
        if alert.severity.rank > self._told.rank:
            return Change.ESCALATED
        every_ms = self._life.renotify_ms
        waits = alert.acked_by is None and alert.status in (AlertStatus.FIRING, AlertStatus.NODATA)
        return Change.REPEATED if every_ms and waits and at_ms - self._told_ms >= every_ms else None

    def _consider(self, row: Scored, end_ms: int) -> None:
        """No alert yet: does one open?"""
        if sum(self._recent) < self._life.k or not self._recent[-1]:
            if self.phase is Phase.PENDING and not any(self._recent):
                self._move(Phase.OK)
            elif self.phase is Phase.OK and self._recent[-1]:
                self._move(Phase.PENDING)
            return
        if self._cools_down(end_ms):
            if self.phase is Phase.OK:
                self._move(Phase.PENDING)
            return
        within_ms = self._life.flapping_within_ms
        self._openings = [at for at in self._openings if end_ms - at < within_ms] + [end_ms]
        flapping = bool(self._life.flapping) and len(self._openings) >= self._life.flapping
        self._open(row, end_ms, Phase.FLAPPING if flapping else Phase.FIRING)

    def _cools_down(self, end_ms: int) -> bool:
        return self._resolved_ms is not None and end_ms - self._resolved_ms < self._life.cooldown_ms

    def _flaps(self, alert: Alert) -> bool:
        """Whether it was flapping when it opened: that somebody has taken it on makes it no calmer."""
        often = bool(self._life.flapping) and len(self._openings) >= self._life.flapping
        return often and self._openings[-1] == alert.opened_ms

    def _go_on(self, row: Scored, end_ms: int, *, quiet: bool) -> None:
        alert = self.alert
        assert alert is not None
        if self.phase is Phase.NODATA:
            if quiet or not row.events:
                # What was missed is back. A sum without events stays what it was: nothing.
                if row.events:
                    self._resolve(end_ms, Resolution.RECOVERED)
                return
            self._move(Phase.ACKNOWLEDGED if alert.acked_by else Phase.FIRING)
        if not quiet:
            self.alert = alert = self._worse(alert, row, end_ms)
        kept_ms = self._life.flapping_within_ms if self._flaps(alert) else self._life.keep_firing_ms
        if self._quiet >= self._life.resolve_after and end_ms - alert.last_seen_ms >= kept_ms:
            self._resolve(end_ms, Resolution.RECOVERED)

    def _worse(self, alert: Alert, row: Scored, end_ms: int) -> Alert:
        peak = max(alert.peak, row.score) if self._strange else row.score
        self._strange = True
        severity = max(alert.severity, self._severity(row.score), key=lambda one: one.rank)
        return replace(
            alert,
            severity=severity,
            last_seen_ms=end_ms,
            score=row.score,
            peak=peak,
            why=row.why or alert.why,
            actual=row.value,
            expected=row.expected,
            lower=row.lower,
            upper=row.upper,
            status=_STATUS[self.phase],
        )

    def _unlearned(self, row: Scored, end_ms: int, *, lacked: bool) -> None:
        """The detector cannot be believed yet, or no longer."""
        if row.events and (self.phase is Phase.NODATA or (lacked and self.is_open)):
            self._resolve(end_ms, Resolution.RECOVERED)
        elif self.is_open:
            self._without_value(end_ms)
        elif self.phase is not Phase.LEARNING:
            if self.phase is Phase.PENDING:
                self._move(Phase.OK)
            self._move(Phase.LEARNING)

    def _without_value(self, end_ms: int) -> None:
        self._silent += 1
        # A series that has fallen silent is soon one without data, where a rule asks for that.
        waits = self._life.nodata_ms and self._data_ms is not None and self._data_ms < end_ms
        if self.is_open and self._silent >= _STALE_WINDOWS * self._life.resolve_after and not waits:
            self._resolve(end_ms, Resolution.STALE)

    def _lacks_data(self, end_ms: int) -> bool:
        """Whether nothing has come for so long that there is nothing to judge."""
        return (
            bool(self._life.nodata_ms) and self._data_ms is not None and end_ms - self._data_ms >= self._life.nodata_ms
        )

    def _lack_data(self, row: Scored, end_ms: int) -> None:
        silent_s = (end_ms - (self._data_ms or end_ms)) // 1_000
        if self.alert is None:
            if self._cools_down(end_ms):
                return
            self._open(replace(row, why=f"no events for {_length(silent_s)}", score=0.0), end_ms, Phase.NODATA)
        elif self.phase in (Phase.FIRING, Phase.FLAPPING):
            self._move(Phase.NODATA)
        if self.alert is not None and self.phase is Phase.NODATA:
            self.alert = replace(self.alert, last_seen_ms=end_ms, why=f"no events for {_length(silent_s)}")

    def _open(self, row: Scored, end_ms: int, phase: Phase) -> None:
        self._move(phase)
        self._quiet = self._silent = 0
        self._aged = False
        self._told = None
        self._strange = phase is not Phase.NODATA
        self.alert = Alert(
            id=stable_id(self._life.platform, self._life.rule, self._metric, self._window, self.dimensions, end_ms),
            rule=self._life.rule,
            metric=self._metric,
            window=self._window,
            dimensions=self.dimensions,
            severity=self._severity(row.score),
            status=_STATUS[phase],
            opened_ms=end_ms,
            last_seen_ms=end_ms,
            score=row.score,
            peak=row.score,
            why=row.why,
            actual=row.value,
            expected=row.expected,
            lower=row.lower,
            upper=row.upper,
            title=self._life.title,
        )

    def _resolve(self, at_ms: int, resolution: Resolution, ended_ms: int | None = None) -> None:
        assert self.alert is not None
        self._move(Phase.OK)
        self._recent, self._quiet, self._silent = [], 0, 0
        self._resolved_ms = at_ms if ended_ms is None else ended_ms
        self.alert = replace(
            self.alert,
            status=AlertStatus.RESOLVED,
            resolved_ms=at_ms,
            resolution=resolution,
            muted_by=None,
            silenced_until_ms=None,
        )

    def _severity(self, score: float) -> Severity:
        """The worst whose limit the score has reached; at least the mildest there is."""
        reached = [severity for severity, limit in self._life.limits if score >= limit + self.raised]
        return reached[-1] if reached else self._life.limits[0][0]

    def _move(self, to: Phase) -> None:
        if to is self.phase:
            return
        if to not in _MOVES[self.phase]:
            expected = ", ".join(sorted(_MOVES[self.phase]))
            raise IllegalMove(f"{self._life.rule} {self.dimensions}: after {self.phase} expected {expected}, got {to}")
        self.phase = to
        if self.alert is not None and to in _STATUS:
            self.alert = replace(self.alert, status=_STATUS[to])

    def to_state(self) -> list[Any]:
        return [
            self._metric,
            self._window,
            self.dimensions,
            self.phase.value,
            None if self.alert is None else self.alert.to_state(),
            self.raised,
            self._recent,
            self._quiet,
            self._silent,
            self._data_ms,
            self._resolved_ms,
            self._openings,
            self._aged,
            None if self._told is None else self._told.value,
            self._told_ms,
            self._seen_ms,
            self._lacking,
            self._strange,
            self.group,
        ]

    @classmethod
    def from_state(cls, life: Lifecycle, state: list[Any]) -> Episodes:
        """The inverse of `to_state`. Raises TypeError, ValueError."""
        metric, window, pairs, phase, alert, raised, recent, quiet, silent, data_ms, resolved_ms, *rest = state
        made = cls(life, metric, window, tuple((name, value) for name, value in pairs))
        made.phase = Phase(phase)
        made.alert = None if alert is None else Alert.from_state(alert)
        made.raised = raised
        made._recent = recent[-life.n :]
        made._quiet, made._silent, made._data_ms, made._resolved_ms = quiet, silent, data_ms, resolved_ms
        made._openings, made._aged, told, made._told_ms, *rest = rest
        made._seen_ms, made._lacking, made._strange, made.group = rest
        made._told = None if told is None else Severity(told)
        return made


def _length(seconds: int) -> str:
    """`90` → `1 min`, as people say it."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
