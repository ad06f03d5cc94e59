"""Where people's days meet the model: who is likely to leave, and what became of those of whom it was said.

The end of a day is finished once every shard has passed it by `settle`. Then, in the one order of its rows: what became
of the people of a horizon ago is learned, and the people of that day are scored with the model as it is now.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.base import ModelError
from models.churn import ChurnModel, Prepared
from models.churn import PersonDays as ModelDay
from models.churn import Scores as Said
from models.segments import WORDS as SEGMENT_WORDS
from models.segments import Segments
from sinks.records import Point
from sinks.score_records import ModelStatus
from stream.arrays import Ints, Mask
from stream.batches import Emission, PersonDays, Scores
from stream.churn_files import ChurnFiles
from stream.churn_plan import ChurnPlan
from stream.churn_rows import Block, DayRows, Persons, ScoredRows, blocks_of, last_words, to_learn
from stream.churn_said import NOBODY, DayScores, ScoreBatch, explain, levels_of, points, status
from stream.clock import END_MS, NEVER_MS
from stream.durations import DAY_MS
from stream.people.journal import Files
from stream.snapshots import StateError, pack_state, unpack_state

logger = logging.getLogger(__name__)

STATE_VERSION = 1
_AT_ONCE = 50_000
"""People whose scores are explained at once: what that takes in memory is bounded, however many there are."""
_MOST_PARTS = 32
"""Files of days that are not finished, before they are written down anew as one."""
FEATURES, STORED = "features", "stored"
"""Columns of rows that have a score: `Prepared.features` and `Scores.stored` of the model."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of the people (n) of the end of a day."""

    as_of_ms: int
    """The end of that day."""
    rows: ScoredRows
    """As they were scored."""
    churned: Mask


@dataclass(frozen=True, slots=True)
class ChurnDay:
    """All that follows from the end of a day."""

    end_ms: int
    emission: Emission
    scores: list[Scores]
    """In parts, the last of which has those who had a score the day before and have none now."""
    status: ModelStatus
    answers: Answers | None
    """What became known; None where nobody had a score a horizon ago."""


@dataclass(slots=True)
class _Pending:
    """Rows of days that are not finished."""

    blocks: dict[int, list[Block]] = field(default_factory=dict)
    """By the end of the day, in the order in which they were told."""
    unwritten: dict[int, list[Block]] = field(default_factory=dict)
    """Those that are in no file."""
    parts: list[tuple[str, int]] = field(default_factory=list)
    """The files of all others, each with the latest end of a day in it."""

    def add(self, end_ms: int, block: Block) -> None:
        self.blocks.setdefault(end_ms, []).append(block)
        self.unwritten.setdefault(end_ms, []).append(block)

    def take(self, end_ms: int) -> list[Block]:
        self.unwritten.pop(end_ms, None)
        return self.blocks.pop(end_ms, [])

    def write_whole(self) -> None:
        """Have all of it written down anew."""
        self.parts = []
        self.unwritten = {end_ms: list(some) for end_ms, some in self.blocks.items()}

    def write(self, files: ChurnFiles) -> None:
        """Write down what is in no file."""
        first_ms = min(self.blocks, default=END_MS)
        self.parts = [(name, last_ms) for name, last_ms in self.parts if last_ms >= first_ms]
        if len(self.parts) >= _MOST_PARTS:
            self.write_whole()
        if self.unwritten:
            self.parts.append((files.write_blocks(self.unwritten), max(self.unwritten)))
            self.unwritten = {}


class ChurnStage:
    """The rows of all shards in; scores, points and the state of the model out, once for each end of a day.

    *Guarantee*: the same rows give the same scores, in whatever order and parts the shards tell them, and whatever
    happened in between: what a crash takes back is learned and said again alike. What comes for a day that is finished
    is counted as `unheard`, as an answer that was given cannot be unlearned: with `settle` at `allowed_lateness` or
    more there is none. *Failure*: StateError for a snapshot or a file that cannot be read. *Cost*: some 10 µs a person
    and day, and the model's own; 200 bytes on disk for each, for as long as the horizon.
    """

    def __init__(self, plan: ChurnPlan, shards: int, files: Files) -> None:
        self._plan = plan
        self._files = ChurnFiles(files)
        self._done_ms = [NEVER_MS] * shards
        self._heard_ms = NEVER_MS
        """How far any shard had come before the end of all input."""
        self._model = self._new_model()
        self._segments = self._new_segments()
        self._packed: tuple[bytes, bytes] | None = None
        """The states of both, as long as they have not changed: days are long, and snapshots frequent."""
        self._pending = _Pending()
        self._scored: dict[int, str] = {}
        """Files of the days that wait for what becomes of their people, by their ends."""
        self._last_ms: int | None = None
        """The end of the last day that was finished."""
        self._began_ms = NEVER_MS
        """What was scored up to then is not learned: it was for another model."""
        self._to_forget: list[str] = []
        """People whose rows are still in the files."""
        self.unheard = 0
        """Rows that came for days that were finished, since the state was made."""

    def _new_model(self) -> ChurnModel:
        plan = self._plan
        logs = [one.name for one in plan.inputs if one.log]
        return ChurnModel(plan.names, horizon_ms=plan.horizon_ms, active_ms=plan.active_ms, logs=logs)

    def _new_segments(self) -> Segments | None:
        own = {one.name: (one.less, one.more) for one in self._plan.inputs}
        return Segments({**SEGMENT_WORDS, **own}, self._plan.segments) if self._plan.segments else None

    @property
    def watermark_ms(self) -> int:
        """All ends of days before it are finished."""
        known_ms = min(self._done_ms)
        return known_ms - self._plan.settle_ms if NEVER_MS < known_ms < END_MS else known_ms

    def add(self, told: PersonDays) -> None:
        """Take in what a shard tells. The last word of each person and day stands."""
        for one in told.told:
            for end_ms, block in blocks_of(one, self._plan.names):
                if self._last_ms is not None and end_ms <= self._last_ms:
                    self.unheard += len(block.gone)
                else:
                    self._pending.add(end_ms, block)
        self._done_ms[told.shard] = max(self._done_ms[told.shard], told.done_ms)
        if told.done_ms < END_MS:
            self._heard_ms = max(self._heard_ms, told.done_ms)

    def forget(self, person: str) -> None:
        """Let go of all rows of a person, by pseudonym. What was learned of them stays: it is of nobody."""
        pending = self._pending.blocks
        self._pending.blocks = {end_ms: [one.without(person) for one in some] for end_ms, some in pending.items()}
        self._pending.write_whole()
        self._to_forget.append(person)

    def advance(self) -> Iterator[ChurnDay]:
        """Finish the days that every shard has passed by `settle`, one after the other."""
        while (end_ms := self._next_ms()) is not None:
            yield self._finish(end_ms)

    def progress(self) -> Emission:
        """How far it has come, without a point: for whoever waits for every source of points."""
        return self._emission([], self.watermark_ms - 1)

    @property
    def has_old_files(self) -> bool:
        """Whether there are files, or will be with the next snapshot, that only those of before need: they go with the
        next few."""
        return bool(self._to_forget) or self._files.has_old

    def _next_ms(self) -> int | None:
        """The end of the next day to be finished; None where there is none yet."""
        first_ms = min(self._pending.blocks, default=None)
        # A day without any row is one too, as long as anybody's answer is awaited.
        next_ms = self._last_ms + DAY_MS if self._last_ms is not None and self._scored else first_ms
        if next_ms is None or next_ms >= self.watermark_ms:
            return None
        # After the end of all input nothing is known of days that nobody told of.
        ends = [self._heard_ms, *(at + 1 for at in self._pending.blocks)]
        if self.watermark_ms >= END_MS and next_ms >= max(ends):
            return None
        return next_ms

    def _finish(self, end_ms: int) -> ChurnDay:
        self._let_go()
        rows = last_words(self._pending.take(end_ms), len(self._plan.inputs))
        answers = self._learn(end_ms, rows)
        prepared = self._model.prepare(
            ModelDay(end_ms, rows.first_ms, rows.last_ms, rows.events, rows.days, rows.inputs)
        )
        said = self._model.score(prepared)
        level = levels_of(self._plan, said.probability)
        was, left = self._since(end_ms - DAY_MS, rows.persons)
        self._keep(end_ms, rows, prepared, said, level)
        self._packed = None
        segment, segments = self._segment(prepared.features)
        made = points(end_ms, said.probability, level, was, segment, segments, self._model.quality)
        day = DayScores(
            self._plan, end_ms, rows.persons, said, level, was, segment, segments, self._model.feature_names
        )
        return ChurnDay(
            end_ms,
            self._emission(made, end_ms),
            list(self._parts(day, prepared.features, left)),
            status(self._model, end_ms, len(self._states()[0])),
            answers,
        )

    def _emission(self, made: list[Point], watermark_ms: int) -> Emission:
        """Points of a day; all ends of days up to `watermark_ms`, itself included, are finished."""
        if not NEVER_MS < watermark_ms < END_MS:
            return Emission(made, made, watermark_ms=watermark_ms)
        next_ms = self._plan.days.end_ms(self._plan.days.of(np.array([watermark_ms + 1]))).item()
        return Emission(made, made, watermark_ms=watermark_ms, until_ms=next_ms - 1)

    def _learn(self, end_ms: int, rows: DayRows) -> Answers | None:
        """Learn what became of those of a horizon ago, as it is known from the rows (n) of the end of a day."""
        before_ms = end_ms - self._plan.horizon_ms
        name = self._scored.get(before_ms)
        if name is None or before_ms <= self._began_ms:
            return None
        scored = self._files.read_rows(name)
        came = rows.persons.take(rows.last_ms > before_ms)
        churned = ~scored.persons.within(came)
        order = to_learn(scored, churned)
        features, stored = (scored.columns[column][order] for column in (FEATURES, STORED))
        self._model.learn(Prepared(before_ms, features), stored, churned[order], end_ms)
        return Answers(before_ms, scored, churned)

    def _since(self, before_ms: int, persons: Persons) -> tuple[Ints, list[str]]:
        """The places of the levels that people (n) had at the end of the day before, -1 for none; and those who had one
        and are not among them."""
        was = np.full(len(persons), NOBODY, dtype=np.int64)
        name = self._scored.get(before_ms)
        if name is None:
            return was, []
        known = self._files.read_rows(name)
        place = persons.places_in(known.persons)
        was[place >= 0] = known.level[place[place >= 0]]
        return was, known.persons.take(~known.persons.within(persons)).texts()

    def _keep(self, end_ms: int, rows: DayRows, prepared: Prepared, said: Said, level: Ints) -> None:
        """Write down rows (n) that have a score, and let go of those that nobody waits for any more."""
        self._last_ms = end_ms
        self._scored = {at: name for at, name in self._scored.items() if at > end_ms - self._plan.horizon_ms}
        if len(rows):
            columns = {FEATURES: prepared.features, STORED: said.stored}
            self._scored[end_ms] = self._files.write_rows(ScoredRows(rows.persons, rows.alike(), level, columns))
        self._files.keep(self._named())

    def _parts(self, day: DayScores, features: Any, left: list[str]) -> Iterator[Scores]:
        """Scores of people (n), a part of them at a time, explained by their features (n, g)."""
        for first in range(0, max(len(features), 1), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            batch = ScoreBatch(day.part(some), explain(self._model, features[some]))
            yield Scores(day.as_of_ms, batch, left if some.stop >= len(features) else [])

    def _let_go(self) -> None:
        """Write the files anew that have people who are to be forgotten, without them."""
        forgotten, self._to_forget = self._to_forget, []
        if not forgotten:
            return
        for end_ms, name in self._scored.items():
            scored = self._files.read_rows(name)
            others = scored
            for person in forgotten:
                others = others.without(person)
            if others is not scored:
                self._scored[end_ms] = self._files.write_rows(others)

    def _named(self) -> list[str]:
        """The files that are needed."""
        return [*self._scored.values(), *(name for name, _ in self._pending.parts)]

    def _segment(self, features: Any) -> tuple[Ints, tuple[str, ...]]:
        """The group that each person (n) is in, by their features (n, g), and what the groups are called."""
        if self._segments is None:
            return np.zeros(len(features), dtype=np.int64), ()
        places = [self._model.feature_names.index(name) for name in self._segments.features]
        self._segments.learn(features[:, places])
        return self._segments.assign(features[:, places]).astype(np.int64), self._segments.names

    def _states(self) -> tuple[bytes, bytes]:
        if self._packed is None:
            segments = b"" if self._segments is None else self._segments.to_bytes()
            self._packed = self._model.to_bytes(), segments
        return self._packed

    def to_bytes(self) -> bytes:
        self._let_go()
        self._pending.write(self._files)
        self._files.named(self._named())
        model, segments = self._states()
        state = {
            "meaning": self._plan.meaning,
            "done_ms": self._done_ms,
            "heard_ms": self._heard_ms,
            "model": model,
            "segments": segments,
            "scored": list(self._scored.items()),
            "parts": self._pending.parts,
            "last_ms": self._last_ms,
            "began_ms": self._began_ms,
            "unheard": self.unheard,
        }
        return pack_state(STATE_VERSION, state)

    def restore(self, snapshot: bytes) -> None:
        """Take over a snapshot. Where the catalog has other features, or leaving is something else, the model begins
        anew, and the log says so."""
        state = unpack_state(snapshot, STATE_VERSION)
        if len(state["done_ms"]) != len(self._done_ms):
            raise StateError(
                f"expected a snapshot of {len(self._done_ms)} shards, found one of {len(state['done_ms'])}"
            )
        self._done_ms = state["done_ms"]
        self._last_ms, self._began_ms, self.unheard = state["last_ms"], state["began_ms"], state["unheard"]
        self._scored = dict(state["scored"])
        if state["meaning"] != self._plan.meaning:
            self._pass_over(max((last_ms for _, last_ms in state["parts"]), default=NEVER_MS))
            self._begin_anew("the catalog's [churn] means something else now")
        else:
            self._pending.parts = [(name, last_ms) for name, last_ms in state["parts"]]
            for name, _ in self._pending.parts:
                for end_ms, block in self._files.read_blocks(name):
                    if self._last_ms is None or end_ms > self._last_ms:
                        self._pending.blocks.setdefault(end_ms, []).append(block)
            try:
                self._model = ChurnModel.from_bytes(state["model"])
            except ModelError as error:
                self._begin_anew(str(error))
            self._take_over_segments(state["segments"])
        for name in self._scored.values():
            self._files.read_rows(name)
        self._files.named(self._named())

    def _take_over_segments(self, packed: bytes) -> None:
        fresh = self._segments
        if fresh is None or not packed:
            return
        try:
            known = Segments.from_bytes(packed)
        except ModelError as error:
            logger.warning("groups of people are found anew: %s", error)
            return
        if (known.words, known.count) == (fresh.words, fresh.count):
            self._segments = known
        else:
            logger.warning("groups of people are found anew: the catalog wants others, or has other words for them")

    def _pass_over(self, end_ms: int) -> None:
        """Finish no day up to this end of one: its rows were made for another model. Days may end at another time
        from there on."""
        if self._last_ms is None:
            return
        known = self._scored.get(self._last_ms)
        days = self._plan.days
        self._last_ms = days.end_ms(np.array([days.passed(max(end_ms, self._last_ms))])).item()
        # Nothing is learned of those, but whoever has a score is still to lose it.
        self._scored = {} if known is None else {self._last_ms: known}

    def _begin_anew(self, why: str) -> None:
        """Learn nothing of what was seen until now: it was seen otherwise."""
        logger.warning("the model of churn learns anew: %s", why)
        self._began_ms = NEVER_MS if self._last_ms is None else self._last_ms
        self._packed = None
