"""All episodes of all rules: in order of time, with silences, inhibition, and what people are told.

No clock and no I/O: scored windows and commands in, alerts and notifications out. Windows of different metrics are
taken in order of their ends, once every metric has come so far, so the outcome does not depend on which came first.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sinks.alert_records import (
    Alert,
    Change,
    Command,
    Notification,
    Order,
    Resolution,
    Scored,
    Severity,
    Silence,
    stable_id,
)
from sinks.records import Dimensions
from stream.choice import matches
from stream.clock import END_MS, NEVER_MS
from stream.episodes import Episodes, IllegalMove
from stream.rules import Lifecycle
from stream.snapshots import pack_state, unpack_state

logger = logging.getLogger(__name__)

STATE_VERSION = 2
ANNOUNCE_EVERY_MS = 10_000
"""How often whoever listens is told of every open alert, and so that somebody watches even when there is none."""
_TOLD_AT_ONCE = 100
"""Alerts in one notification; more become several."""
_WAIT_MS = 10 * 60_000
"""For how long what people say of an alert that is not known waits for it. After a crash the processor reads it again
before it has judged again the window that opened the alert."""
_MOST_WAITING = 1_000

_Key = tuple[str, Dimensions]
"""Of a series under a rule: the rule's name and its dimensions."""
_Told = tuple[str, Change, Alert]
"""What people are to be told, and in which group."""


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What the rules over one source of windows, a cube, have made of those that closed."""

    source: str
    watermark_ms: int
    """No more comes of windows that ended before."""
    until_ms: int
    """No other window ends up to then either, so nothing has to wait for one."""
    rows: list[tuple[int, Scored]] = field(default_factory=list)
    """Each with the end of its window, or when that was known."""
    gone: list[tuple[int, str, Dimensions]] = field(default_factory=list)
    """Series that have been without events for so long that they are watched no more: when, rule, dimensions."""


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    alerts: list[Alert] = field(default_factory=list)
    """Those that changed, each as it is now."""
    moved: list[tuple[int, Alert]] = field(default_factory=list)
    """Those whose status or severity changed, and when in event time."""
    notifications: list[Notification] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    """Those that were made or ended early."""
    open: list[Alert] | None = None
    """Every open alert, where it is time to say so again."""
    watch: dict[str, dict[str, int]] | None = None
    """For each rule how many series are in which phase, where that changed."""

    def __bool__(self) -> bool:
        return bool(self.alerts or self.notifications or self.silences) or self.open is not None


class Alerts:
    """The alerts of one platform.

    *Guarantee*: one open alert for each rule and series, with an id that a replay gives again. A notification is in the
    outcome of the very step that made it, and the state that knows of it is saved with it. *Cost*: 3 µs a window.
    """

    def __init__(self, rules: Mapping[str, Lifecycle], sources: Iterable[str], platform: str) -> None:
        self._rules = rules
        self._order = {name: place for place, name in enumerate(rules)}
        self._platform = platform
        self._watermarks = dict.fromkeys(sources, NEVER_MS)
        self._untils = dict(self._watermarks)
        """Up to when no other window of each source ends: hours and days may go by from one to the next."""
        self._frontier_ms = NEVER_MS
        """All windows that ended by then have been judged."""
        self._series: dict[_Key, Episodes] = {}
        self._open: dict[_Key, Episodes] = {}
        self._held: list[tuple[int, Scored]] = []
        """Windows that wait until every source has come as far."""
        self._gone: list[tuple[int, str, Dimensions]] = []
        self._commands: list[Command] = []
        self._waiting: list[tuple[int, Command]] = []
        """Of alerts that are not known, each with when it was taken in."""
        self._silences: dict[str, Silence] = {}
        self._removed: list[Episodes] = []
        """Open when the snapshot was taken, under rules that are no more."""
        self._announced_ms: int | None = None
        self._watch: dict[str, dict[str, int]] = {}

    @property
    def next_ms(self) -> int:
        """When there is something to do though nothing comes in."""
        return 0 if self._announced_ms is None or self._removed else self._announced_ms + ANNOUNCE_EVERY_MS

    def add(self, batch: ScoredBatch) -> None:
        if batch.source in self._watermarks:
            self._watermarks[batch.source] = max(self._watermarks[batch.source], batch.watermark_ms)
            self._untils[batch.source] = max(self._untils[batch.source], batch.until_ms)
            self._held.extend(batch.rows)
            self._gone.extend(batch.gone)

    def command(self, command: Command) -> None:
        if command.platform == self._platform:
            self._commands.append(command)

    def advance(self, now_ms: int) -> Outcome:
        """Judge every window that all sources have passed, and do what people asked for."""
        outcome = Outcome()
        before = {key: episodes.alert for key, episodes in self._open.items()}
        self._drop_removed(outcome, now_ms)
        if self._obey(outcome, now_ms):
            # An episode that somebody has ended is told before the next window can open another.
            self._tell_now(now_ms, before, outcome)
        frontier_ms = min([*self._untils.values(), max(self._watermarks.values(), default=NEVER_MS)])
        ready = sorted((it for it in self._held if it[0] <= frontier_ms), key=self._in_order)
        self._held = [it for it in self._held if it[0] > frontier_ms]
        gone = sorted(it for it in self._gone if it[0] <= frontier_ms)
        self._gone = [it for it in self._gone if it[0] > frontier_ms]
        place = gone_place = 0
        while place < len(ready) or gone_place < len(gone):
            ends_ms = [it[0] for it in ready[place : place + 1]] + [it[0] for it in gone[gone_place : gone_place + 1]]
            end_ms = min(ends_ms)
            while place < len(ready) and ready[place][0] == end_ms:
                self._see(ready[place][1], end_ms)
                place += 1
            while gone_place < len(gone) and gone[gone_place][0] == end_ms:
                self._lose(gone[gone_place])
                gone_place += 1
            self._tell(end_ms, now_ms, before, outcome)
        self._frontier_ms = max(self._frontier_ms, frontier_ms)
        self._obey_late(now_ms)
        self._tell_now(now_ms, before, outcome)
        self._announce(outcome, now_ms)
        return outcome

    def _in_order(self, held: tuple[int, Scored]) -> tuple[int, tuple[int, str, Dimensions]]:
        end_ms, row = held
        return end_ms, self._place(row.rule, row.dimensions)

    def _place(self, rule: str, dimensions: Dimensions) -> tuple[int, str, Dimensions]:
        """Where a series under a rule stands among others: as in the catalog, after those of rules that are no more."""
        return self._order.get(rule, -1), rule, dimensions

    def _see(self, row: Scored, end_ms: int) -> None:
        life = self._rules.get(row.rule)
        if life is None:
            return
        key = row.rule, row.dimensions
        episodes = self._series.get(key)
        if episodes is None:
            episodes = self._series[key] = Episodes(life, row.metric, row.window, row.dimensions)
        try:
            episodes.see(row, end_ms)
        except IllegalMove:
            # A bug, and one series' only: raised here it would end the run, and end it again after each restart.
            logger.exception("rule %s cannot judge %s at %d", row.rule, dict(row.dimensions), end_ms)
        if episodes.alert is not None:
            self._open[key] = episodes

    def _lose(self, gone: tuple[int, str, Dimensions]) -> None:
        """A series that is watched no more."""
        at_ms, rule, dimensions = gone
        episodes = self._series.pop((rule, dimensions), None)
        if episodes is not None:
            episodes.gone(at_ms, Resolution.STALE)

    def _drop_removed(self, outcome: Outcome, now_ms: int) -> None:
        removed, self._removed = self._removed, []
        changes: list[_Told] = []
        at_ms = self._frontier_ms if self._frontier_ms > NEVER_MS else now_ms
        for episodes in removed:
            episodes.gone(at_ms, Resolution.REMOVED)
            change, alert = episodes.news(at_ms, muted=False), episodes.alert
            assert alert is not None
            outcome.alerts.append(alert)
            outcome.moved.append((at_ms, alert))
            if change is not None:
                changes.append((episodes.group or self._group(alert), change, alert))
        self._notify(changes, at_ms, outcome)

    def _obey(self, outcome: Outcome, now_ms: int) -> bool:
        """Do what people asked for. Returns whether they asked for anything."""
        commands, self._commands = self._commands, []
        open_by_id = self._open_by_id() if commands else {}
        for command in commands:
            if command.order is Order.SILENCE:
                self._silence(command, open_by_id.get(command.alert or ""), outcome)
            elif command.order is Order.UNSILENCE:
                ended = self._silences.pop(command.silence or "", None)
                if ended is not None:
                    outcome.silences.append(_ended(ended, command.at_ms))
            elif not _do(command, open_by_id.get(command.alert or "")):
                self._waiting.append((now_ms, command))
        self._silences = {name: one for name, one in self._silences.items() if one.until_ms > now_ms}
        return bool(commands)

    def _obey_late(self, now_ms: int) -> None:
        """Do what was asked for of alerts that are known only now, and give up what has waited in vain."""
        if not self._waiting:
            return
        open_by_id = self._open_by_id()
        waiting = []
        for taken_ms, command in self._waiting:
            if _do(command, open_by_id.get(command.alert or "")):
                continue
            if 0 <= now_ms - taken_ms < _WAIT_MS:
                waiting.append((taken_ms, command))
            else:
                logger.info("%s of alert %s by %s: it is not open", command.order, command.alert, command.by)
        self._waiting = waiting[-_MOST_WAITING:]

    def _open_by_id(self) -> dict[str, Episodes]:
        return {one.alert.id: one for one in self._open.values() if one.alert is not None}

    def _silence(self, command: Command, episodes: Episodes | None, outcome: Outcome) -> None:
        nothing_known = command.alert is not None and command.rule is None and episodes is None
        if command.until_ms is None or nothing_known:
            logger.info("silence of alert %s by %s: it is not open", command.alert, command.by)
            return
        rule, dimensions = command.rule, command.dimensions or ()
        if episodes is not None:
            rule, dimensions = episodes.life.rule, episodes.dimensions
            episodes.silence(command.reason)
        name = command.silence or stable_id(command.by, command.at_ms, rule, dimensions)
        made = Silence(name, command.by, command.reason, command.at_ms, command.until_ms, rule, dimensions)
        self._silences[name] = made
        outcome.silences.append(made)

    def _tell_now(self, now_ms: int, before: dict[_Key, Alert | None], outcome: Outcome) -> None:
        if self._frontier_ms not in (NEVER_MS, END_MS):
            self._tell(self._frontier_ms, now_ms, before, outcome)

    def _tell(self, at_ms: int, now_ms: int, before: dict[_Key, Alert | None], outcome: Outcome) -> None:
        """Whatever is to be said of the open alerts at this moment of event time."""
        changes: list[_Told] = []
        said: dict[str, list[Dimensions]] = {}
        for (rule, dimensions), episodes in self._open.items():
            if episodes.is_open:
                said.setdefault(rule, []).append(dimensions)
        for key, episodes in list(self._open.items()):
            episodes.pass_time(at_ms)
            muted_by = _muted_by(episodes, said)
            until_ms = max((one.until_ms for one in self._silences.values() if one.covers(*key, now_ms)), default=None)
            episodes.mark(muted_by=muted_by, silenced_until_ms=until_ms)
            late = now_ms - at_ms > episodes.life.notify_within_ms
            change = episodes.news(at_ms, muted=muted_by is not None or until_ms is not None or late)
            alert = episodes.alert
            assert alert is not None
            known = before.get(key)
            if known != alert:
                outcome.alerts.append(alert)
                if known is None or (known.id, known.status, known.severity) != (
                    alert.id,
                    alert.status,
                    alert.severity,
                ):
                    outcome.moved.append((at_ms, alert))
                before[key] = alert
            if change is not None:
                episodes.group = episodes.group or self._group(alert)
                changes.append((episodes.group, change, alert))
            if not episodes.is_open:
                del self._open[key]
                episodes.settled()
        self._notify(changes, at_ms, outcome)

    def _notify(self, changes: list[_Told], at_ms: int, outcome: Outcome) -> None:
        # Not as they were opened: a state that was restored does not know that, and the id of a group's notification,
        # and which came first, would be others after a crash.
        groups: dict[tuple[str, str], list[tuple[Change, Alert]]] = {}
        for group, change, alert in sorted(changes, key=lambda told: self._place(told[2].rule, told[2].dimensions)):
            groups.setdefault((group, alert.rule), []).append((change, alert))
        for (group, rule), members in groups.items():
            for place in range(0, len(members), _TOLD_AT_ONCE):
                told = tuple(members[place : place + _TOLD_AT_ONCE])
                name = stable_id(self._platform, group, [_once(change, alert, at_ms) for change, alert in told])
                outcome.notifications.append(Notification(name, group, rule, self._platform, at_ms, told))

    def _group(self, alert: Alert) -> str:
        life = self._rules.get(alert.rule)
        names = life.group_by if life is not None else ()
        values = ",".join(f"{name}={value}" for name, value in alert.dimensions if name in names)
        return f"{alert.rule}{{{values}}}" if values else alert.rule

    def _announce(self, outcome: Outcome, now_ms: int) -> None:
        if outcome or self._announced_ms is None or now_ms - self._announced_ms >= ANNOUNCE_EVERY_MS:
            phases: dict[str, Counter[str]] = {name: Counter() for name in self._rules}
            for (rule, _), episodes in self._series.items():
                phases[rule][episodes.phase.value] += 1
            outcome.watch = {name: dict(counts) for name, counts in phases.items()}
        if self._announced_ms is None or not 0 <= now_ms - self._announced_ms < ANNOUNCE_EVERY_MS:
            self._announced_ms = now_ms
            outcome.open = [one.alert for one in self._open.values() if one.alert is not None]

    def to_bytes(self) -> bytes:
        state = {
            "watermarks": self._watermarks,
            "frontier_ms": self._frontier_ms,
            "held": [(end_ms, asdict(row)) for end_ms, row in self._held],
            "gone": self._gone,
            "commands": [one.to_bytes() for one in (*(command for _, command in self._waiting), *self._commands)],
            "silences": [asdict(silence) for silence in self._silences.values()],
            "series": [
                (episodes.life.rule, episodes.life.identity, episodes.to_state())
                for episodes in [*self._series.values(), *self._removed]
            ],
        }
        return pack_state(STATE_VERSION, state)

    def restore(self, snapshot: bytes) -> None:
        """Take over a snapshot. Alerts of rules that are no more, or are about something else now, will be resolved."""
        state = unpack_state(snapshot, STATE_VERSION)
        self._watermarks.update({name: at for name, at in state["watermarks"].items() if name in self._watermarks})
        # Rules of another catalog may look at shorter windows: each source says anew up to when nothing waits for it.
        self._untils.update(self._watermarks)
        self._frontier_ms = state["frontier_ms"]
        self._held = [(end_ms, _scored(row)) for end_ms, row in state["held"]]
        self._gone = [(at_ms, rule, _pairs(dimensions)) for at_ms, rule, dimensions in state["gone"]]
        self._commands = [Command.from_bytes(raw) for raw in state["commands"]]
        silences = (Silence(**one | {"dimensions": _pairs(one["dimensions"])}) for one in state["silences"])
        self._silences = {silence.id: silence for silence in silences}
        changed = set()
        for rule, identity, packed in state["series"]:
            life = self._rules.get(rule)
            known = life is not None and life.identity == identity
            if not known:
                changed.add(rule)
            episodes = Episodes.from_state(life or _former(rule), packed)
            if known and life is not None and matches(dict(life.dimensions), episodes.dimensions):
                self._series[rule, episodes.dimensions] = episodes
                if episodes.is_open:
                    self._open[rule, episodes.dimensions] = episodes
            elif episodes.is_open:
                self._removed.append(episodes)
        # What waits to be judged is still of what the rule was about.
        self._held = [it for it in self._held if it[1].rule not in changed]
        self._gone = [it for it in self._gone if it[1] not in changed]


def _muted_by(episodes: Episodes, said: Mapping[str, list[Dimensions]]) -> str | None:
    """The rule that says the same already, of those with an open alert about the series in `said`."""
    own = dict(episodes.dimensions)
    for rule in episodes.life.inhibited_by if episodes.is_open else ():
        for dimensions in said.get(rule, ()):
            # A total has fewer dimensions than its parts; those that both have must agree.
            if all(own.get(name, value) == value for name, value in dimensions):
                return rule
    return None


def _do(command: Command, episodes: Episodes | None) -> bool:
    """What somebody asked for of an alert. Returns whether it was open."""
    if episodes is None:
        return False
    do = {
        Order.ACK: episodes.acknowledge,
        Order.RESOLVE: episodes.resolve,
        Order.FALSE_ALARM: episodes.false_alarm,
    }[command.order]
    return do(command.by, command.reason, command.at_ms)


def _once(change: Change, alert: Alert, at_ms: int) -> tuple[str, str, str | int]:
    """What no other notification says of an alert. Not when it was said, where that can be said once only: a command
    that is read again after a crash may find that more windows have been judged, or fewer."""
    if change is Change.REPEATED:
        return change.value, alert.id, at_ms
    return change.value, alert.id, alert.severity.value if change is Change.ESCALATED else ""


def _former(rule: str) -> Lifecycle:
    """Of a rule that is no more: all that is still needed of it is its name."""
    return Lifecycle(rule, "", ((Severity.INFO, 0.0),), 0.0)


def _ended(silence: Silence, at_ms: int) -> Silence:
    return replace(silence, until_ms=min(silence.until_ms, at_ms))


def _scored(state: dict[str, Any]) -> Scored:
    return Scored(**state | {"dimensions": _pairs(state["dimensions"])})


def _pairs(found: Any) -> Dimensions:
    return tuple((name, value) for name, value in found)
