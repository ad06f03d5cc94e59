"""What is said of the people of a day: scores in columns, made into records where they are written; and points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from models.churn import WORDS, ChurnModel, Prepared
from models.churn import Scores as Said
from models.quality import Quality
from sinks.records import Point, State, Value
from sinks.score_records import Factor, Level, ModelStatus, PersonScore
from stream.arrays import Floats, Ints
from stream.churn_plan import LEVELS, ChurnPlan
from stream.churn_rows import Persons
from stream.durations import DAY_MS
from stream.given import CHURN, MEAN, MOVES, PEOPLE, QUALITY, RELIABILITY, WINDOW

TOP = 5
"""Factors that are told."""
NOBODY = -1
"""The place of a level that somebody did not have."""
NO_SEGMENT = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """Why rows (n) have their scores: `intercept`, factors and `rest` add up to the logit of each."""

    intercept: float
    factors: Ints
    """Places of the features that add most, the largest first (n, 5)."""
    contributions: Floats
    """What they add (n, 5)."""
    above: Ints
    """1 where somebody has more of the feature than others have, -1 where less (n, 5)."""
    rest: Floats
    """What all others add (n)."""


def explain(model: ChurnModel, features: Any) -> Explained:
    """Of rows of features (n, g), all at once."""
    added, intercept = model.contributions(Prepared(0, features))
    top = min(TOP, added.shape[1])
    largest = np.argpartition(-np.abs(added), top - 1, axis=1)[:, :top]
    size = -np.abs(np.take_along_axis(added, largest, axis=1))
    # Of the same size the first feature comes first, whatever the partition made of them.
    order = np.lexsort((largest, size), axis=1)
    factors = np.take_along_axis(largest, order, axis=1)
    contributions = np.take_along_axis(added, factors, axis=1)
    # What a row adds that has more of everything tells which way each feature speaks.
    more, _ = model.contributions(Prepared(0, np.full((1, added.shape[1]), 1e30, dtype=np.float32)))
    above = np.sign(contributions) * np.sign(more[0])[factors]
    rest = added.sum(axis=1) - contributions.sum(axis=1)
    return Explained(intercept, factors, contributions, above.astype(np.int64), rest)


@dataclass(frozen=True, slots=True)
class DayScores:
    """Scores of people (n) at the end of a day, without reasons."""

    plan: ChurnPlan
    as_of_ms: int
    persons: Persons
    said: Said
    level: Ints
    was: Ints
    """Places of the levels as they are and were the day before (n); -1 for none."""
    segment: Ints
    """Place of the group of each (n),"""
    segments: Sequence[str]
    """among these; none where none are told apart."""
    names: tuple[str, ...]
    """Of the model's features."""

    def part(self, rows: slice) -> DayScores:
        said = replace(
            self.said,
            probability=self.said.probability[rows],
            logit=self.said.logit[rows],
            confidence=self.said.confidence[rows],
            stored=self.said.stored[rows],
        )
        return replace(
            self,
            persons=self.persons.take(rows),
            said=said,
            level=self.level[rows],
            was=self.was[rows],
            segment=self.segment[rows],
        )


@dataclass(frozen=True, slots=True)
class ScoreBatch(Sequence[PersonScore]):
    """Scores of people (n) with their reasons. Records are made of those that are asked for: a million of them at once
    would be more than there is memory for."""

    of: DayScores
    explained: Explained

    def __len__(self) -> int:
        return len(self.of.persons)

    @overload
    def __getitem__(self, at: int) -> PersonScore: ...
    @overload
    def __getitem__(self, at: slice) -> list[PersonScore]: ...
    def __getitem__(self, at: int | slice) -> PersonScore | list[PersonScore]:
        if isinstance(at, slice):
            return list(self._made(at))
        place = range(len(self))[at]
        return next(self._made(slice(place, place + 1)))

    def __iter__(self) -> Iterator[PersonScore]:
        return self._made(slice(None))

    def _made(self, rows: slice) -> Iterator[PersonScore]:
        day, why = self.of, self.explained
        said, speak = day.said, _Speaker(day.plan, day.names)
        columns = zip(
            day.persons.take(rows).texts(),
            said.probability[rows].tolist(),
            said.logit[rows].tolist(),
            said.confidence[rows].tolist(),
            day.level[rows].tolist(),
            day.was[rows].tolist(),
            (day.segments[place] if day.segments else NO_SEGMENT for place in day.segment[rows].tolist()),
            why.factors[rows].tolist(),
            why.contributions[rows].tolist(),
            why.above[rows].tolist(),
            why.rest[rows].tolist(),
            strict=True,
        )
        for person, chance, logit, confidence, level, was, segment, places, adds, above, rest in columns:
            yield PersonScore(
                person=person,
                as_of_ms=day.as_of_ms,
                horizon_ms=day.plan.horizon_ms,
                probability=chance,
                level=LEVELS[level],
                proven=said.proven,
                confidence=confidence,
                logit=logit,
                intercept=why.intercept,
                factors=speak.factors(places, adds, above),
                rest=rest,
                segment=segment,
                actions=speak.actions(level, places, adds),
                version=said.version,
                was=None if was == NOBODY else LEVELS[was],
            )


class _Speaker:
    """Finds words and recommendations for what a model says of people."""

    def __init__(self, plan: ChurnPlan, names: Sequence[str]) -> None:
        own = {one.name: one for one in plan.inputs}
        self._names = names
        self._more = [own[name].more if name in own else WORDS[name] for name in names]
        self._less = [own[name].less if name in own else WORDS[name] for name in names]
        self._of_level = [plan.actions.get(level, ()) for level in LEVELS]
        self._of_feature = [plan.feature_actions.get(own[name].feature if name in own else name, ()) for name in names]

    def factors(self, places: list[int], adds: list[float], above: list[int]) -> tuple[Factor, ...]:
        return tuple(
            [
                Factor(self._names[place], add, (self._more if more > 0 else self._less)[place])
                for place, add, more in zip(places, adds, above, strict=True)
                if add
            ]
        )

    def actions(self, level: int, places: list[int], adds: list[float]) -> tuple[str, ...]:
        """What is recommended for the level; and, unless that is low, for what speaks for leaving."""
        found = self._of_level[level]
        if not level:
            return found
        more = [text for place, add in zip(places, adds, strict=True) if add > 0 for text in self._of_feature[place]]
        return tuple(dict.fromkeys((*found, *more))) if more else found


def points(
    end_ms: int,
    probability: Floats,
    level: Ints,
    was: Ints,
    segment: Ints,
    segments: Sequence[str],
    quality: Quality,
) -> list[Point]:
    """The points of a day, of people (n); also those that are 0, so that nobody has to guess. `segment` (n) are places
    among `segments`, empty where none are told apart."""
    made: list[Point] = []

    def say(metric: str, dimensions: Mapping[str, str], value: Value, count: int) -> None:
        start_ms = end_ms - DAY_MS
        pairs = tuple(dimensions.items())
        made.append(Point(metric, WINDOW, start_ms, pairs, value, count, State.FINAL, 1, end_ms))

    groups = segments or (NO_SEGMENT,)
    people = np.bincount(level * len(groups) + segment, minlength=len(LEVELS) * len(groups)).tolist()
    for place, count in enumerate(people):
        of_level, group = divmod(place, len(groups))
        named = {"level": LEVELS[of_level].value} | ({"segment": groups[group]} if segments else {})
        say(PEOPLE, named, count, count)
    known = was != NOBODY
    moves = np.bincount(was[known] * len(LEVELS) + level[known], minlength=len(LEVELS) ** 2).tolist()
    for place, count in enumerate(moves):
        before, after = divmod(place, len(LEVELS))
        if before != after:
            say(MOVES, {"from": LEVELS[before].value, "to": LEVELS[after].value}, count, count)
    if len(probability):
        say(MEAN, {}, float(probability.mean()), len(probability))
    labels = round(quality.labels)
    if labels:
        say(QUALITY, {}, _finite(figures(quality)), labels)
        edges = len(quality.reliability)
        for at, of_bin in enumerate(quality.reliability):
            if of_bin.rows >= 0.5:
                name = f"{at / edges:g}-{(at + 1) / edges:g}"
                say(RELIABILITY, {"bin": name}, {"left": of_bin.came_true, "said": of_bin.said}, round(of_bin.rows))
    return made


def figures(quality: Quality) -> dict[str, float]:
    """How good the scores are, by name; NaN where that is not known."""
    return {
        "auc": quality.model.auc,
        "auc_recency": quality.recency.auc,
        "log_loss": quality.model.log_loss,
        "log_loss_recency": quality.recency.log_loss,
        "log_loss_base": quality.constant.log_loss,
        "ece": quality.ece,
        "base_rate": quality.base_rate,
    }


def status(model: ChurnModel, end_ms: int, state_bytes: int) -> ModelStatus:
    """How the model stands at the end of a day."""
    quality = model.quality
    told: dict[str, Any] = dict(_finite(figures(quality)))
    told["labels"] = quality.labels
    told["reliability"] = [
        {"rows": one.rows, "said": one.said, "left": one.came_true} for one in quality.reliability if one.rows > 0
    ]
    return ModelStatus(
        name=CHURN,
        kind=CHURN,
        at_ms=end_ms,
        version=model.version,
        samples=model.trained,
        proven=model.proven,
        state_bytes=state_bytes,
        quality=told,
        drifts=model.drifts,
        drifted_ms=model.drifted_ms,
        swapped_ms=model.swapped_ms,
    )


def levels_of(plan: ChurnPlan, probability: Floats) -> Ints:
    """Places of the levels of probabilities (n)."""
    limits = {Level.LOW: 0.0, Level.MEDIUM: plan.medium, Level.HIGH: plan.high}
    return np.searchsorted([limits[level] for level in LEVELS[1:]], probability, side="right")


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
