"""`[sessions]`: visits, derived from silence or given by the producer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from stream.arrays import Ints, Mask
from stream.digests import Hashes
from stream.durations import MINUTE_MS, SECOND_MS, duration_ms
from stream.expressions import FieldType
from stream.people.base import FAR_MS, LONG_AGO_MS, Array, Column, FactKind, Facts, Needs, Run, Setting, State, UnitKey
from stream.people.periods import CalendarPeriods, FixedPeriods
from stream.people.segments import before, carried, is_first, is_last, last_of
from stream.tables import Duration, FieldName, Table, WindowText, each_once

START, END = "session.start", "session.end"
ACTIVE, CONCURRENT = "session.active_now", "session.concurrent"
LINE = "session"
_MINUTES = FixedPeriods("1m", MINUTE_MS)
_ACTIVE_MINUTES = 5
_LONGEST_NAME = 64
_ENGAGED_MS = 10 * SECOND_MS
_MIX = np.uint64(0xD6E8FEB86659FD93)


class Sessions(Table):
    """`[sessions]`: what is a session, and what is known of one."""

    gap: Duration | None = None
    """A longer silence ends a session. Default: 30m; where ids are given, as long as a session may be."""
    longest: Duration = "24h"
    """A session is no longer than that."""
    id: FieldName | None = None
    """Field with the producer's own id: another id begins another session."""
    page: str | None = None
    """SQL expression: which page an event is about."""
    view: str | None = None
    """SQL condition: which events are page views. Default: those with a page; without `page`, all."""
    interactive: str | None = None
    """SQL condition: which events show that somebody does something. Default: all but views and heartbeats."""
    key: str | None = None
    """SQL condition: which events make a session an engaged one."""
    heartbeat: str | None = None
    """SQL condition: which events show that somebody is still there. Default: all."""
    heartbeat_every: Duration = "10s"
    least_visit: Duration = "5s"
    by: Annotated[list[FieldName], AfterValidator(each_once)] = Field([], max_length=6)
    """Fields of which a session has the first value that any of its events has."""
    campaign: FieldName | None = None
    split_on_campaign: bool = False
    """Whether a new campaign begins a new session."""
    split_at_midnight: bool = False
    """Whether a day of the platform's calendar does."""
    count_at: Literal["end", "start"] = "end"
    """Whether what is known at its end counts when a session ends, or when it began."""
    windows: Annotated[list[WindowText], AfterValidator(each_once)] = Field(["1h", "day"], min_length=1, max_length=8)
    max_series: int = Field(10_000, ge=1, le=1_000_000)
    """Different pages, and values of `by`, past this many are counted together as `__other__`."""

    @model_validator(mode="after")
    def _check(self) -> Sessions:
        if self.split_on_campaign and self.campaign is None:
            raise ValueError("campaign: expected the field that has it, as split_on_campaign needs it, found nothing")
        if self.gap_ms > self.longest_ms:
            raise ValueError(f"gap: expected at most `longest`, {self.longest}, found {self.gap!r}")
        names = [metric_of(name) for name in self.by]
        if len(set(names)) < len(names):
            raise ValueError(f"by: expected fields whose names differ in letters and digits, found {self.by!r}")
        for name in self.labels:
            if len(metric := f"sessions_by_{metric_of(name)}") > _LONGEST_NAME:
                raise ValueError(f"by: expected names that leave those of metrics at {_LONGEST_NAME}, found {metric!r}")
        return self

    @property
    def longest_ms(self) -> int:
        return duration_ms(self.longest)

    @property
    def gap_ms(self) -> int:
        if self.gap is None:
            return min(30 * MINUTE_MS, self.longest_ms) if self.id is None else self.longest_ms
        return duration_ms(self.gap)

    @property
    def view_text(self) -> str:
        if self.view is not None:
            return self.view
        return "TRUE" if self.page is None else f"({self.page}) IS NOT NULL"

    @property
    def heartbeat_text(self) -> str:
        return "TRUE" if self.heartbeat is None else self.heartbeat

    @property
    def interactive_text(self) -> str:
        if self.interactive is not None:
            return self.interactive
        others = [self.view_text] if self.heartbeat is None else [self.view_text, self.heartbeat]
        return " AND ".join(f"NOT COALESCE({text}, FALSE)" for text in others)

    @property
    def labels(self) -> Mapping[str, str]:
        """Name and expression of each text that is kept of a session."""
        fields = self.by if self.campaign is None or self.campaign in self.by else [*self.by, self.campaign]
        return {name: quoted(name) for name in fields}

    def needs(self) -> Needs:
        conditions = [self.view_text, self.interactive_text, self.heartbeat_text]
        return Needs(
            conditions=conditions if self.key is None else [*conditions, self.key],
            texts=[*self.labels.values(), *([] if self.page is None else [self.page])],
            hashes=[] if self.id is None else [quoted(self.id)],
        )

    def unit(self) -> Sequence[UnitKey]:
        return ()

    def kinds(self, zone: ZoneInfo) -> Sequence[FactKind]:
        labels = dict.fromkeys(self.labels, FieldType.STRING)
        number, boolean = FieldType.NUMBER, FieldType.BOOLEAN
        known = {
            "duration_s": number,
            "pages": number,
            "events": number,
            "engaged_s": number,
            "bounced": boolean,
            "engaged": boolean,
            **dict.fromkeys(("entry_page", "exit_page"), FieldType.STRING),
            **labels,
        }
        settles_ms = self.longest_ms + self.gap_ms if self.count_at == "start" else 0
        return (
            FactKind(START, {"entry_page": FieldType.STRING, **labels}),
            FactKind(END, known, settles_ms),
            FactKind(LINE, {"started_ms": number, "ended_ms": number, **known}, is_line=True),
            FactKind(ACTIVE, {}, periods=_MINUTES),
            FactKind(CONCURRENT, {}, periods=_MINUTES),
        )

    def metrics(self) -> Iterable[Mapping[str, Any]]:
        ended: dict[str, Any] = {"on": END, "windows": self.windows}
        most = self.max_series

        def counted(name: str, title: str, **more: Any) -> Mapping[str, Any]:
            return {"name": name, "title": title, "measure": "count", **ended, **more}

        def mean(name: str, title: str, value: str, **more: Any) -> Mapping[str, Any]:
            return {"name": name, "title": title, "measure": "mean", "value": value, **ended, **more}

        yield counted("sessions", "Sessions", on=START)
        yield counted("sessions_ended", "Sessions that ended")
        yield mean("session_duration", "Length of a session", "duration_s", unit="s")
        spread = {"measure": "quantile", "value": "duration_s", "quantiles": [0.5, 0.9], "unit": "s"}
        yield {"name": "session_duration_quantiles", "title": "Length of sessions", **spread, **ended}
        yield mean("session_pages", "Pages of a session", "pages")
        yield counted("bounces", "Bounces", where="bounced")
        yield {
            "name": "bounce_rate",
            "title": "Bounce rate",
            "measure": "ratio",
            "of": "bounces",
            "to": "sessions_ended",
        }
        yield counted("engaged_sessions", "Engaged sessions", where="engaged")
        engaged = {"measure": "ratio", "of": "engaged_sessions", "to": "sessions_ended"}
        yield {"name": "engaged_rate", "title": "Engaged share", **engaged}
        yield mean("engaged_time", "Engaged time of a session", "engaged_s", unit="s")
        if self.page is not None:
            yield counted("entry_pages", "Pages that sessions begin with", by=["entry_page"], max_series=most)
            yield counted("exit_pages", "Pages that sessions end with", by=["exit_page"], max_series=most)
        for name in self.labels:
            yield counted(f"sessions_by_{metric_of(name)}", f"Sessions by {name}", by=[name], max_series=most)
        now: dict[str, Any] = {"measure": "count", "windows": ["1m"]}
        yield {"name": "active_now", "title": "People active within 5 minutes", "on": ACTIVE, **now}
        yield {"name": "concurrent_sessions", "title": "Sessions under way", "on": CONCURRENT, **now}

    def make(self, setting: Setting) -> SessionMaker:
        return SessionMaker(self, setting)


class SessionMaker:
    """Puts a person's events together to sessions.

    A session ends with an event that begins another, or when its gap has passed in silence: not before can anybody know
    that it has ended, so that is the time of its end.
    """

    def __init__(self, table: Sessions, setting: Setting) -> None:
        self._table = table
        self._gap_ms, self._longest_ms = table.gap_ms, table.longest_ms
        self._beat_ms, self._least_s = duration_ms(table.heartbeat_every), duration_ms(table.least_visit) / SECOND_MS
        self._days = CalendarPeriods("day", setting.zone)
        self._labels = table.labels
        integer = np.int64
        self.columns = (
            Column("open", np.bool_, False),
            Column("start_ms", integer, LONG_AGO_MS),
            Column("last_ms", integer, LONG_AGO_MS),
            Column("id", np.uint64, 0),
            Column("given", np.uint64, 0),
            Column("campaign", np.int32, 0),
            Column("views", np.int32, 0),
            Column("events", np.int32, 0),
            Column("beats", np.int32, 0),
            Column("beat", integer, LONG_AGO_MS),
            Column("interactive", np.bool_, False),
            Column("key", np.bool_, False),
            Column("entry", np.int32, 0),
            Column("exit", np.int32, 0),
            Column("labels", np.int32, 0, max(2, len(self._labels))),
        )

    def due_ms(self, state: State) -> Ints:
        return np.where(state["open"], self._ends_ms(state["start_ms"], state["last_ms"]), FAR_MS)

    def run(self, state: State, run: Run, facts: Facts) -> None:
        begins = self._begins(state, run)
        run.session_begins = begins
        self._tell_active(state, run, facts)
        parts = _Parts(run, begins, state)
        self._measure(parts, state, run)
        ends_ms = self._ends_ms(parts.columns["start_ms"], parts.columns["last_ms"])
        # Another may have begun sooner: with another id, day or campaign.
        ended = ends_ms <= run.until_ms
        followed = np.flatnonzero(~parts.is_last)
        ends_ms[followed] = np.minimum(ends_ms[followed], parts.columns["start_ms"][followed + 1])
        ended[followed] = True
        self._tell_concurrent(parts, state, ends_ms, facts)
        new = np.flatnonzero(~parts.goes_on)
        labels = {
            name: np.where(run.session_begins[parts.row[new]], run.texts[text][parts.row[new]], 0)
            for name, text in self._labels.items()
        }
        page = self._table.page
        entry = np.zeros(len(new), dtype=np.int64) if page is None else run.texts[page][parts.row[new]]
        facts.add(START, parts.columns["start_ms"][new], entry_page=entry, **labels)
        self._tell_ended(parts, np.flatnonzero(ended), ends_ms, facts)
        # What is kept is the last session of each unit that had events, and of the others whether it has ended.
        last = np.flatnonzero(parts.is_last)
        for name, values in parts.columns.items():
            state[name] = state[name].copy()
            state[name][parts.owner[last]] = values[last]
        state["open"] = state["open"].copy()
        state["open"][parts.owner[last]] = ~ended[last]
        # These are the latest of the person, in whatever session.
        if self._table.id is not None:
            given = run.hashes[quoted(self._table.id)]
            state["given"] = last_of(given, given != 0, run.owner, state["given"])
        if self._table.campaign is not None:
            campaign = run.texts[quoted(self._table.campaign)]
            state["campaign"] = last_of(campaign, campaign != 0, run.owner, state["campaign"])

    def _ends_ms(self, start_ms: Ints, last_ms: Ints) -> Ints:
        """When a session is over unless something happens."""
        return np.minimum(last_ms + self._gap_ms, start_ms + self._longest_ms)

    def _begins(self, state: State, run: Run) -> Mask:
        """Which events (n) begin a session."""
        owner, time_ms = run.owner, run.time_ms
        last_ms = before(time_ms, owner, np.where(state["open"], state["last_ms"], LONG_AGO_MS))
        begins: Mask = time_ms - last_ms > self._gap_ms
        if self._table.id is not None:
            given = run.hashes[quoted(self._table.id)]
            known = carried(given, given != 0, owner, state["given"])
            former = before(known, owner, state["given"])
            begins |= (known != former) & (former != 0)
        if self._table.split_at_midnight:
            day = self._days.of(time_ms)
            # Of somebody who was never seen any day will do: the first event begins a session.
            at = np.where(state["open"], state["last_ms"], 0)
            begins |= day != before(day, owner, self._days.of(at))
        if self._table.split_on_campaign:
            assert self._table.campaign is not None
            campaign = run.texts[quoted(self._table.campaign)]
            start = state["campaign"].astype(np.int64)
            former = before(carried(campaign, campaign != 0, owner, start), owner, start)
            begins |= (campaign != 0) & (campaign != former)
        while True:
            start_ms = carried(time_ms, begins, owner, state["start_ms"])
            too_long = ~begins & (time_ms - start_ms > self._longest_ms)
            if not too_long.any():
                return begins
            # The first of each session that is too late for it; what follows is then looked at again.
            rows = np.flatnonzero(too_long)
            session = np.cumsum((begins | is_first(owner)).astype(np.int64))[rows]
            begins[rows[is_first(session)]] = True

    def _measure(self, parts: _Parts, state: State, run: Run) -> None:
        """What is known of each session (s) with this run's events."""
        table, needs = self._table, run.conditions
        beats = needs[table.heartbeat_text]
        bucket = run.time_ms // self._beat_ms
        beat = parts.latest(bucket, beats, "beat")
        parts.columns["start_ms"] = parts.first_time()
        parts.columns["last_ms"] = parts.last_time()
        new = ~parts.goes_on
        parts.columns["id"] = parts.start("id")
        parts.columns["id"][new] = _mixed(run.unit_hash[parts.owner[new]], run.identity[parts.row[new]])
        parts.columns["views"] = parts.total(needs[table.view_text], "views")
        parts.columns["events"] = parts.total(np.ones(len(run.owner), dtype=np.bool_), "events")
        parts.columns["beats"] = parts.total(parts.changes(bucket, beats, "beat"), "beats")
        parts.columns["beat"] = beat
        parts.columns["interactive"] = parts.total(needs[table.interactive_text], "interactive") > 0
        keys = np.zeros(len(run.owner), dtype=np.bool_) if table.key is None else needs[table.key]
        parts.columns["key"] = parts.total(keys, "key") > 0
        parts.columns["entry"], parts.columns["exit"] = parts.start("entry"), parts.start("exit")
        if table.page is not None:
            page = run.texts[table.page]
            parts.columns["entry"] = parts.earliest(page, page != 0, parts.start("entry"))
            parts.columns["exit"] = parts.latest(page, page != 0, "exit")
        labels = parts.columns["labels"] = parts.start("labels")
        for place, text in enumerate(self._labels.values()):
            labels[:, place] = parts.earliest(run.texts[text], run.texts[text] != 0, labels[:, place])

    def _tell_active(self, state: State, run: Run, facts: Facts) -> None:
        minute = _MINUTES.of(run.time_ms)
        former = before(minute, run.owner, _MINUTES.of(state["last_ms"]))
        new = minute != former
        minute, former = minute[new], former[new]
        facts.span(ACTIVE, np.maximum(minute, former + _ACTIVE_MINUTES), minute + _ACTIVE_MINUTES)

    def _tell_concurrent(self, parts: _Parts, state: State, ends_ms: Ints, facts: Facts) -> None:
        after = _MINUTES.of(ends_ms) + 1
        told_ms = self._ends_ms(parts.start("start_ms"), parts.start("last_ms"))
        told = np.where(parts.goes_on, _MINUTES.of(told_ms) + 1, _MINUTES.of(parts.columns["start_ms"]))
        facts.span(CONCURRENT, told, after)
        facts.span(CONCURRENT, after, told, -np.ones(len(after), dtype=np.int64))

    def _tell_ended(self, parts: _Parts, ended: Ints, ends_ms: Ints, facts: Facts) -> None:
        """Tell of the sessions (k) that have ended; those of units without events are among the parts, too."""
        columns = {name: values[ended] for name, values in parts.columns.items()}
        start_ms, last_ms = columns["start_ms"], columns["last_ms"]
        views = columns["views"]
        beats = np.maximum(columns["beats"] - 1, 0)
        fields: dict[str, Array] = {
            "duration_s": (last_ms - start_ms) / SECOND_MS,
            "pages": views.astype(np.float64),
            "events": columns["events"].astype(np.float64),
            "engaged_s": np.where(columns["beats"] > 0, beats * (self._beat_ms / SECOND_MS) + self._least_s, 0.0),
            "bounced": (views == 1) & ~columns["interactive"],
            "engaged": (last_ms - start_ms > _ENGAGED_MS) | columns["key"] | (views >= 2),
            "entry_page": columns["entry"].astype(np.int64),
            "exit_page": columns["exit"].astype(np.int64),
            **{name: columns["labels"][:, place].astype(np.int64) for place, name in enumerate(self._labels)},
        }
        time_ms = ends_ms[ended] if self._table.count_at == "end" else start_ms
        facts.add(END, time_ms, **fields)
        times = {"started_ms": start_ms, "ended_ms": last_ms}
        facts.tell(LINE, parts.owner[ended], columns["id"], start_ms, **times, **fields)


class _Parts:
    """The sessions (s) of a run: of each unit the one that goes on or ends without an event, and those that begin."""

    def __init__(self, run: Run, begins: Mask, state: State) -> None:
        self._state = state
        # An open session is the first part of its unit, also where no event of the run belongs to it.
        open_units = np.flatnonzero(state["open"])
        rows = np.flatnonzero(begins)
        owner = np.concatenate([open_units, run.owner[rows]])
        row = np.concatenate([np.full(len(open_units), -1, dtype=np.int64), rows])
        order = np.lexsort((row, owner))
        self.owner = owner[order]
        """Unit of each session."""
        self.goes_on: Mask = row[order] < 0
        """Whether it began before this run."""
        self.row = row[order]
        """Its first event, where it began in this run."""
        self.is_last: Mask = is_last(self.owner)
        """Whether it is the last of its unit."""
        self.columns: dict[str, Array] = {}
        number = np.full(len(run.owner), -1, dtype=np.int64)
        number[self.row[~self.goes_on]] = np.flatnonzero(~self.goes_on)
        of_unit = np.full(run.units, -1, dtype=np.int64)
        of_unit[self.owner[self.goes_on]] = np.flatnonzero(self.goes_on)
        self.of = carried(number, number >= 0, run.owner, of_unit)
        """Which session each event (n) belongs to."""
        self._time_ms = run.time_ms
        last = np.full(len(self.owner), -1, dtype=np.int64)
        last[self.of] = np.arange(len(self.of))
        self._last = last

    def start(self, name: str) -> Array:
        """What was known of each session before, as of one that is new where it is (s)."""
        values: Array = self._state[name][self.owner].copy()
        values[~self.goes_on] = _NEW[name]
        return values

    def first_time(self) -> Ints:
        start: Ints = self._state["start_ms"][self.owner].copy()
        new = ~self.goes_on
        start[new] = self._time_ms[self.row[new]]
        return start

    def last_time(self) -> Ints:
        found: Ints = self._state["last_ms"][self.owner].copy()
        some = self._last >= 0
        found[some] = self._time_ms[self._last[some]]
        return found

    def total(self, values: Mask, name: str) -> Array:
        """How many events of each session (s) are picked, those of before included."""
        count = np.bincount(self.of[values], minlength=len(self.owner))
        return self.start(name).astype(np.int64) + count

    def latest(self, values: Array, where: Mask, name: str) -> Array:
        found = self.start(name)
        rows = np.flatnonzero(where)
        found[self.of[rows]] = values[rows]
        return found

    def earliest(self, values: Array, where: Mask, start: Array) -> Array:
        """The first that is picked, of sessions that have none (0) yet."""
        found = start.copy()
        rows = np.flatnonzero(where)[::-1]
        first = np.zeros(len(found), dtype=found.dtype)
        first[self.of[rows]] = values[rows]
        return np.where(found == 0, first, found)

    def changes(self, values: Ints, where: Mask, name: str) -> Mask:
        """Which of the picked events differ from the picked one before in their session."""
        rows = np.flatnonzero(where)
        former = before(values[rows], self.of[rows], self.start(name))
        found = np.zeros(len(values), dtype=np.bool_)
        found[rows] = values[rows] != former
        return found


_NEW: Mapping[str, Any] = {
    "start_ms": LONG_AGO_MS,
    "last_ms": LONG_AGO_MS,
    "id": 0,
    "views": 0,
    "events": 0,
    "beats": 0,
    "beat": LONG_AGO_MS,
    "interactive": False,
    "key": False,
    "entry": 0,
    "exit": 0,
    "labels": 0,
}


def quoted(name: str) -> str:
    """A field's name as SQL has it, also where it is a word of SQL."""
    return f'"{name}"'


def metric_of(field: str) -> str:
    """A field's name as part of a metric's."""
    return re.sub(r"[^a-z0-9]+", "_", field.lower()).strip("_")


def _mixed(one: Hashes, other: Hashes) -> Hashes:
    """64 bits of two such numbers; the order matters."""
    found = (one ^ (other * _MIX)) * _MIX
    return found ^ (found >> np.uint64(32))
