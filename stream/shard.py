"""One shard of the processor: takes its part of every batch, keeps the panes, says each tick what changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from sinks.person_records import PersonLine
from sinks.records import DeadLetter, Reason, iso
from stream.arrays import Ints
from stream.batches import Accepted, Forgotten, Partials, PersonDays, ShardBatch, State, Tombstone, earliest
from stream.clock import END_MS, NEVER_MS, Watermark
from stream.dedupe import Seen
from stream.durations import SECOND_MS
from stream.entries import entry_time_ms
from stream.evaluate import Evaluation
from stream.identity import IDENTITY
from stream.labels import labels_of
from stream.panes import Notice, Panes
from stream.people.journal import Files, Journal, MemoryFiles
from stream.people.people import People
from stream.people.person_days import CHURN
from stream.people.told import Told
from stream.plan import Plan
from stream.snapshots import pack_state, unpack_state

STATE_VERSION = 3
_REMEMBERED = 1_000_000
"""Identities of events that a shard remembers at the most: 16 MB or so, and 8 MB of each snapshot."""
_UNKNOWN = ("0-0", 0, b"")
_STEP_MS = 250
"""Analyses of people go on by so much of event time at the least: each step has its price, whatever happened in it."""
_FOLD_ROWS = 100_000
"""So many events are counted at once at the most; fewer wait for the tick, as each time costs the same again."""


class Shard:
    """Batch in, partials out; no clock, no socket, no engine.

    *Guarantee*: after the same events, in any order and split, within the allowed lateness, it reports the same
    partials. *Failure*: an event behind the allowed lateness comes back as a DeadLetter and is counted as refused.
    """

    def __init__(self, plan: Plan, number: int, files: Files | None = None) -> None:
        """`files`: where what is known of people is written down with each snapshot; None: in memory."""
        self._plan = plan
        self._number = number
        self._watermark = Watermark(plan.streams, plan.event.out_of_orderness_ms)
        self._panes = {cube.key: Panes(cube) for cube in plan.all_cubes}
        self._reported_ms = dict.fromkeys(self._panes, NEVER_MS)
        self._expired_s = dict.fromkeys(self._panes, NEVER_MS)
        self._seen = Seen(plan.event.dedupe_ms, _REMEMBERED) if plan.event.dedupe_ms else None
        self.duplicates = 0
        """Events that were there before, since this object was made."""
        self.late = 0
        """Events behind the watermark that were still counted, since this object was made."""
        self.suppressed = 0
        """Events of people who are forgotten, since this object was made."""
        self._accepted: Accepted | None = None
        self._forgotten: list[str] = []
        """Pseudonyms of people of whom nothing is taken any more."""
        self._added_ms: int | None = None
        """When the oldest entry was added that was counted since the last tick."""
        self._waiting: list[tuple[pl.DataFrame, Ints]] = []
        self._waiting_rows = 0
        self._people = None if plan.people is None else People(plan.people)
        self._journal = Journal(MemoryFiles() if files is None else files, number)
        self._people_ms = NEVER_MS
        """How far the analyses of people have come."""
        self._lines: list[Told] = []
        self._rows: list[Told] = []
        """Of people at the ends of days."""
        self._told_days: tuple[int, int] | None = None
        """The last days of which it was told that they have ended, and that they are over for good."""

    @property
    def watermark_ms(self) -> int:
        return self._watermark.now_ms

    def add(self, batch: ShardBatch) -> list[DeadLetter]:
        """Take in a batch, then move the watermark by its progress. Returns the events that came too late."""
        suppressed: list[tuple[Reason, int]] = []
        self._accepted = None
        if self._forgotten:
            batch, suppressed = self._without_forgotten(batch)
        frame, time_ms = batch.frame, batch.time_ms
        # The bound is the watermark before this batch: within a batch events are in no order.
        bound_ms = self._watermark.now_ms - self._plan.event.allowed_lateness_ms
        rejects = [*batch.rejects, *suppressed]
        late: list[DeadLetter] = []
        if len(time_ms) and int(time_ms.min()) < bound_ms:
            on_time = time_ms >= bound_ms
            for row in np.flatnonzero(~on_time).tolist():
                place = int(np.searchsorted(batch.late_rows, row))
                known = place < len(batch.late_rows) and batch.late_rows[place] == row
                entry, index, raw = batch.origins.at(place) if known else _UNKNOWN
                message = f"time {iso(int(time_ms[row]))} is behind the watermark by more than allowed_lateness"
                late.append(DeadLetter(batch.stream, entry, index, Reason.TOO_LATE, message, raw))
                rejects.append((Reason.TOO_LATE, min(entry_time_ms(entry), batch.read_at_ms)))
            frame, time_ms = frame.filter(pl.Series(on_time)), time_ms[on_time]
        if self._seen is not None and len(time_ms):
            first = self._seen.first(frame[IDENTITY].to_numpy(), batch.read_at_ms)
            if not first.all():
                self.duplicates += int((~first).sum())
                rejects.extend((Reason.DUPLICATE, min(time, batch.read_at_ms)) for time in time_ms[~first].tolist())
                frame, time_ms = frame.filter(pl.Series(first)), time_ms[first]
        if len(time_ms):
            self.late += int(np.count_nonzero(time_ms < self._watermark.now_ms))
            self._added_ms = earliest(self._added_ms, batch.added_ms)
            self._waiting.append((frame, time_ms))
            self._waiting_rows += len(time_ms)
            if self._plan.archived:
                self._accepted = Accepted(self._number, batch.stream, frame, time_ms)
            if self._waiting_rows >= _FOLD_ROWS:
                self._count_waiting()
        if self._people is not None and (batch.max_event_ms is not None or len(time_ms)):
            self._people.heard(int(time_ms.max()) if batch.max_event_ms is None else batch.max_event_ms)
        if rejects and self._plan.rejects is not None:
            self._count_rejects(rejects, bound_ms)
        self._watermark.observe(
            batch.stream, batch.max_event_ms, caught_up=batch.caught_up, read_at_ms=batch.read_at_ms
        )
        return late

    def accepted(self) -> Accepted | None:
        """What the last batch had that is counted, once, where events are archived; None without any."""
        accepted, self._accepted = self._accepted, None
        return accepted

    def forget(self, tombstone: Tombstone) -> Forgotten:
        """Let go of all that is known of a person, and take nothing of theirs from now on.

        What was counted before stays: it is of nobody.
        """
        person, field = tombstone.person, self._plan.event.person
        if person not in self._forgotten:
            self._forgotten.append(person)
        if field is not None:
            waiting: list[tuple[pl.DataFrame, Ints]] = []
            for frame, time_ms in self._waiting:
                others = frame[field].ne_missing(person)
                if others.any():
                    waiting.append((frame.filter(others), time_ms[others.to_numpy()]))
            self._waiting = waiting
            self._waiting_rows = sum(len(time_ms) for _, time_ms in waiting)
        self._lines = [told.without(person) for told in self._lines]
        self._rows = [told.without(person) for told in self._rows]
        if self._people is not None:
            self._people.forget(person)
            # Also when nothing was known: files of before may have them all the same.
            self._journal.write_whole()
        return Forgotten(person, tombstone.entry)

    def tick(self) -> list[Partials]:
        """What changed since the last tick, for each cube; nothing where neither panes nor watermark moved."""
        self._count_waiting()
        self._count_people()
        result: list[Partials] = []
        added_ms, self._added_ms = self._added_ms, None
        for key, panes in self._panes.items():
            now_ms = self._watermark.now_ms if panes.plan.on is None else self._people_ms
            if NEVER_MS < now_ms < END_MS:
                # What may still be said of its windows counts as if time were not so far.
                now_ms -= panes.plan.settles_ms
            blocks = panes.take_dirty()
            if blocks or self._reported_ms[key] != now_ms:
                self._reported_ms[key] = now_ms
                result.append(Partials(self._number, key, now_ms, blocks, added_ms if blocks else None))
                if NEVER_MS < now_ms < END_MS and now_ms // SECOND_MS != self._expired_s[key]:
                    # No window ends but with a second.
                    self._expired_s[key] = now_ms // SECOND_MS
                    panes.expire(now_ms - self._plan.event.allowed_lateness_ms)
        return result

    def finish(self) -> list[Partials]:
        """All input has been read: close every window. `through_days` goes first where there are rows of people."""
        self._watermark.finish()
        return self.tick()

    def to_bytes(self) -> bytes:
        self._count_waiting()
        state: State = {
            "watermark": self._watermark.to_state(),
            "seen": None if self._seen is None else self._seen.to_state(),
            "cubes": {key: panes.to_state() for key, panes in self._panes.items()},
            "forgotten": self._forgotten,
        }
        if self._people is None:
            self._journal.let_go()
        else:
            state["people"] = self._journal.save(self._people) | {"done_ms": self._people_ms}
            told = [*self._rows, *self._lines, *self._people.heard_of(keep=True)]
            state["lines"] = [
                (line.person, line.kind, line.reference, line.at_ms, dict(line.fields), gone)
                for one in told
                for line, gone in one.lines()
            ]
        return pack_state(STATE_VERSION, state)

    def restore(self, snapshot: bytes, notice: Notice) -> None:
        """Take over a snapshot of any catalog; what the present one does not name is dropped."""
        state = unpack_state(snapshot, STATE_VERSION)
        self._watermark.restore(state["watermark"])
        if self._seen is not None and state["seen"] is not None:
            self._seen.restore(state["seen"])
        for key, panes in self._panes.items():
            if key in state["cubes"]:
                panes.restore(state["cubes"][key], notice)
            else:
                notice(f"{panes.plan.names} start empty")
        self._forgotten = list(state.get("forgotten", ()))
        if self._plan.people is not None and "people" in state:
            self._people_ms = state["people"]["done_ms"]
            self._people = self._journal.restore(self._plan.people, state["people"])
            for *line, gone in state["lines"]:
                told = Told.of(PersonLine(*line), gone)
                (self._rows if told.kind == CHURN else self._lines).append(told)

    def _without_forgotten(self, batch: ShardBatch) -> tuple[ShardBatch, list[tuple[Reason, int]]]:
        """A batch without the events of people who are forgotten; and those, to be counted as refused."""
        field = self._plan.event.person
        if field is None or not len(batch.time_ms):
            return batch, []
        gone = batch.frame[field].is_in(self._forgotten).fill_null(False).to_numpy()
        if not gone.any():
            return batch, []
        kept = ~gone
        self.suppressed += int(np.count_nonzero(gone))
        rejects = [(Reason.SUPPRESSED, min(time, batch.read_at_ms)) for time in batch.time_ms[gone].tolist()]
        late = kept[batch.late_rows]
        others = replace(
            batch,
            frame=batch.frame.filter(pl.Series(kept)),
            time_ms=batch.time_ms[kept],
            late_rows=(np.cumsum(kept) - 1)[batch.late_rows[late]],
            origins=batch.origins.take(np.flatnonzero(late)),
        )
        return others, rejects

    def _count_waiting(self) -> None:
        """Count what has come in since the last time."""
        if not self._waiting:
            return
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        if len(waiting) == 1:
            frame, time_ms = waiting[0]
        else:
            frame = pl.concat([frame for frame, _ in waiting])
            time_ms = np.concatenate([time_ms for _, time_ms in waiting])
        evaluation = Evaluation(self._plan.expressions[None], frame, time_ms)
        for cube in self._plan.cubes:
            if cube.on is None:
                self._panes[cube.key].add(evaluation)
        if self._people is not None:
            self._people.take(frame, time_ms)

    def _count_people(self) -> None:
        """Count what the watermark has let be known of people."""
        if self._people is None:
            return
        self._lines.extend(self._people.heard_of())
        now_ms = self._watermark.now_ms
        if now_ms - self._people_ms < _STEP_MS and (now_ms < END_MS or now_ms == self._people_ms):
            return
        self._advance_people(now_ms)

    def _advance_people(self, now_ms: int) -> None:
        assert self._people is not None
        self._people_ms = now_ms
        said = self._people.advance(now_ms)
        for told in said.lines:
            (self._rows if told.kind == CHURN else self._lines).append(told)
        for facts in said.facts:
            expressions = self._plan.expressions.get(facts.kind)
            if expressions is not None:
                evaluation = Evaluation(expressions, facts.frame, facts.time_ms, facts.weight)
                for cube in self._plan.cubes:
                    if cube.on == facts.kind:
                        self._panes[cube.key].add(evaluation)

    def lines(self) -> list[Told]:
        """What has to be said in persons' own records since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def days(self) -> PersonDays | None:
        """What has to be said since the last call of people at the ends of days; None without anything.

        Also that another day has ended, or is over for good, when there is nobody of whom there is a row.
        """
        plan = self._plan.people
        if plan is None or plan.days is None or self._people_ms == NEVER_MS:
            return None
        passed = plan.days.passed(self._people_ms)
        if not self._rows and passed == self._told_days:
            return None
        self._told_days = passed
        rows, self._rows = self._rows, []
        return PersonDays(self._number, self._people_ms, rows)

    def _count_rejects(self, rejects: list[tuple[Reason, int]], bound_ms: int) -> None:
        assert self._plan.rejects is not None
        reasons = labels_of(pl.Series([reason.value for reason, _ in rejects]))
        # A window that has expired must not come back with only these in it.
        times = np.maximum(np.array([time for _, time in rejects], dtype=np.int64), max(bound_ms, 0))
        self._panes[self._plan.rejects.key].count(times, [reasons])

    def to_day(self, end_ms: int, newest_ms: int) -> PersonDays | None:
        """All input has been read, and its last event was at `newest_ms`: say what is known at the end of a day."""
        assert self._people is not None
        self._people.heard(newest_ms)
        if end_ms >= self._people_ms:
            self._advance_people(end_ms + 1)
        return self.days()

    def reach_ms(self) -> tuple[int, int]:
        """When the next thing happens of which people were not told, and when the last event was, of what was read."""
        self._count_waiting()
        return (END_MS, NEVER_MS) if self._people is None else (self._people.next_ms, self._people.newest_ms)


def through_days(shards: Sequence[Shard], plan: Plan) -> Iterator[PersonDays]:
    """All input has been read: what each shard has to say of people at the end of each day, one day after the other.

    Goes before `Shard.finish`, so that whoever learns from them has no more than two days of rows at once, not those of
    all. Days on which nothing happens are left out, and there are none for catalogs without such rows.
    """
    if plan.people is None or plan.people.days is None:
        return
    days = plan.people.days.days
    newest_ms = max(shard.reach_ms()[1] for shard in shards)
    last = days.passed(newest_ms)
    day = NEVER_MS
    while True:
        following = int(days.of(np.array([min(shard.reach_ms()[0] for shard in shards)]))[0])
        # What is due in the second that a day ends in may be due after it.
        day = max(day + 1, following)
        if day > last:
            return
        end_ms = int(days.end_ms(np.array([day]))[0])
        for shard in shards:
            told = shard.to_day(end_ms, newest_ms)
            if told is not None:
                yield told
