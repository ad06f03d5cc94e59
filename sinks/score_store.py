"""How likely each person is to leave, and how good each model is, in SQL: what is asked for as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import orjson
from sqlalchemy import bindparam, case, delete, func, select, tuple_

from sinks import schema
from sinks.database import insert_into, open_database, transaction
from sinks.forgotten_rows import forget, is_noted
from sinks.prepared import prepare
from sinks.score_records import Factor, Level, ModelStatus, PersonScore

_scores = schema.churn_scores
_models = schema.models
FALLING = (Level.HIGH, Level.MEDIUM, Level.LOW)
"""The levels, who is most likely to leave first."""
_PERSONS_A_STATEMENT = 500
"""SQLite takes only so many parameters."""


class Place(NamedTuple):
    """Where a reader of `ScoreStore.at_risk` is: at one person, who has been read."""

    level: Level
    probability: float
    person: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """One person's score as it is kept."""

    score: PersonScore
    changed_ms: int
    """As of when the level is what it is."""

    @property
    def place(self) -> Place:
        return Place(self.score.level, self.score.probability, self.score.person)


@dataclass(frozen=True, slots=True)
class Count:
    """How many people of a segment are of a level."""

    level: Level
    segment: str
    people: int
    expected: float
    """How many of them leave if each does as likely as was said: the sum of their probabilities."""
    as_of_ms: int
    """The latest of their scores."""


class ScoreStore:
    """Scores as one row a person, by pseudonym; models as one row each, by name.

    `url` as for `sinks.store.Store`, and as there: creating one connects to nothing, several threads and processes
    may share a database.

    *Guarantee*: each write is one transaction, committed when it returns. A score never replaces one of a later moment,
    nor a model's state one of a later moment, so that a processor which replays after a crash takes nothing back; to
    write the same again changes nothing.
    *Failure*: as `Store`: `Retryable` or `Misconfigured`, and nothing was written.
    *Cost*: some 30 µs a person on SQLite, in batches of 1,000 or more, and 600 bytes of file.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0) -> None:
        self._engine = open_database(url, busy_timeout_s=busy_timeout_s)
        self._upsert_score = _upsert_score(insert_into(self._engine, _scores))
        self._upsert_model = _upsert_model(insert_into(self._engine, _models))
        self._drop = delete(_scores).where(
            _scores.c.person.in_(bindparam("persons", expanding=True)), _scores.c.as_of_ms < bindparam("before_ms")
        )

    def setup(self) -> None:
        """Create what is missing and check the schema version; `Misconfigured` for a newer database."""
        prepare(self._engine)

    def write(self, scores: Sequence[PersonScore]) -> None:
        """Upsert each person's score."""
        if not scores:
            return
        # PostgreSQL refuses to upsert a row twice in one statement. Sorted, so that two writers cannot wait for each
        # other.
        last: dict[str, PersonScore] = {}
        for score in scores:
            known = last.get(score.person)
            if known is None or score.as_of_ms >= known.as_of_ms:
                last[score.person] = score
        with transaction(self._engine, write=True) as connection:
            connection.execute(self._upsert_score, [_row(last[person]) for person in sorted(last)])

    def drop(self, persons: Iterable[str], before_ms: int) -> int:
        """Delete the scores of persons of whom none was made any more at `before_ms`; how many. Later ones stay."""
        told = sorted(set(persons))
        if not told:
            return 0
        with transaction(self._engine, write=True) as connection:
            return sum(
                connection.execute(
                    self._drop, {"persons": told[at : at + _PERSONS_A_STATEMENT], "before_ms": before_ms}
                ).rowcount
                for at in range(0, len(told), _PERSONS_A_STATEMENT)
            )

    def at_risk(
        self,
        level: Level | None = None,
        limit: int = 100,
        *,
        after: Place | None = None,
        segment: str | None = None,
        changed_since_ms: int | None = None,
    ) -> list[Ranked]:
        """Who is most likely to leave, the highest level first and in it the highest probability; those behind `after`.

        `level` keeps one level, `segment` one segment, `changed_since_ms` those whose level has become another, or who
        have got their first, at or after it.
        """
        found: list[Ranked] = []
        behind = FALLING if after is None else FALLING[FALLING.index(after.level) :]
        with transaction(self._engine) as connection:
            # Level by level, as the index has them.
            for one in behind:
                if (level is not None and one is not level) or len(found) >= limit:
                    continue
                query = select(_scores).where(_scores.c.level == one.value)
                if after is not None and after.level is one:
                    falling = tuple_(-_scores.c.probability, _scores.c.person)
                    query = query.where(_scores.c.probability <= after.probability)
                    query = query.where(falling > tuple_(-after.probability, after.person))
                if segment is not None:
                    query = query.where(_scores.c.segment == segment)
                if changed_since_ms is not None:
                    query = query.where(_scores.c.changed_ms >= changed_since_ms)
                query = query.order_by(_scores.c.probability.desc(), _scores.c.person).limit(limit - len(found))
                found += [_ranked(row) for row in connection.execute(query)]
        return found

    def of(self, person: str) -> Ranked | None:
        """The score of a person; None where there is none."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(_scores).where(_scores.c.person == person)).one_or_none()
        return None if row is None else _ranked(row)

    def counts(self) -> list[Count]:
        """How many people there are of each level and segment, the highest level first. *Cost*: a look at every row."""
        people, expected = func.count(), func.sum(_scores.c.probability)
        query = select(_scores.c.level, _scores.c.segment, people, expected, func.max(_scores.c.as_of_ms))
        query = query.group_by(_scores.c.level, _scores.c.segment)
        with transaction(self._engine) as connection:
            found = [
                Count(Level(level), segment, people, expected, as_of_ms)
                for level, segment, people, expected, as_of_ms in connection.execute(query)
            ]
        return sorted(found, key=lambda one: (FALLING.index(one.level), one.segment))

    def forget(self, person: str, entry: str | None = None) -> int:
        """Delete a person's score; how many rows that were. In the same transaction it is noted that this has been done
        as the stream's `entry` asks."""
        return forget(self._engine, _scores, person, None if entry is None else _noted(entry))

    def has_forgotten(self, entry: str) -> bool:
        """Whether what the stream's `entry` asks has been done."""
        return is_noted(self._engine, _noted(entry))

    def write_models(self, statuses: Sequence[ModelStatus]) -> None:
        """Upsert how each model stands."""
        if not statuses:
            return
        last: dict[str, ModelStatus] = {}
        for status in statuses:
            known = last.get(status.name)
            if known is None or status.at_ms >= known.at_ms:
                last[status.name] = status
        rows = [
            {"name": name, "at_ms": last[name].at_ms, "status_json": msgspec.json.encode(last[name]).decode()}
            for name in sorted(last)
        ]
        with transaction(self._engine, write=True) as connection:
            connection.execute(self._upsert_model, rows)

    def models(self) -> list[ModelStatus]:
        """How every model stands, by name."""
        query = select(_models.c.status_json).order_by(_models.c.name)
        with transaction(self._engine) as connection:
            return [_status(text) for text in connection.execute(query).scalars()]

    def model(self, name: str) -> ModelStatus | None:
        """How one model stands; None where there is none of that name."""
        query = select(_models.c.status_json).where(_models.c.name == name)
        with transaction(self._engine) as connection:
            text = connection.execute(query).scalar_one_or_none()
        return None if text is None else _status(text)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _upsert_score(insert: Any) -> Any:
    new, old = insert.excluded, _scores.c
    told = {column.name: new[column.name] for column in _scores.c if column.name != "person"}
    changed = case((new.level == old.level, old.changed_ms), else_=new.changed_ms)
    return insert.on_conflict_do_update(
        index_elements=[old.person], set_=told | {"changed_ms": changed}, where=new.as_of_ms >= old.as_of_ms
    )


def _upsert_model(insert: Any) -> Any:
    new, old = insert.excluded, _models.c
    return insert.on_conflict_do_update(
        index_elements=[old.name],
        set_={name: new[name] for name in ("at_ms", "status_json")},
        where=new.at_ms >= old.at_ms,
    )


def _noted(entry: str) -> str:
    return f"score forgotten {entry}"


_REST = ("horizon_ms", "proven", "confidence", "logit", "intercept", "rest", "actions", "version")


def _row(score: PersonScore) -> dict[str, Any]:
    rest: dict[str, Any] = {name: getattr(score, name) for name in _REST}
    rest["was"] = score.was
    # Names three times five in every row would be most of it.
    rest["factors"] = [(one.name, one.contribution, one.words) for one in score.factors]
    return {
        "person": score.person,
        "as_of_ms": score.as_of_ms,
        "changed_ms": score.as_of_ms,
        "level": score.level.value,
        "probability": score.probability,
        "segment": score.segment,
        "score_json": orjson.dumps(rest).decode(),
    }


def _ranked(row: Any) -> Ranked:
    rest = orjson.loads(row.score_json)
    was = rest.pop("was")
    score = PersonScore(
        person=row.person,
        as_of_ms=row.as_of_ms,
        probability=row.probability,
        level=Level(row.level),
        segment=row.segment,
        was=None if was is None else Level(was),
        factors=tuple(Factor(*one) for one in rest.pop("factors")),
        actions=tuple(rest.pop("actions")),
        **rest,
    )
    return Ranked(score, row.changed_ms)


def _status(text: str) -> ModelStatus:
    return msgspec.json.decode(text, type=ModelStatus)
