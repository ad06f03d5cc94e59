"""Where what models say goes: persons' scores, and how each model stands. No engine here; see `stream.writers`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sinks.live_scores import LiveScores
from sinks.score_records import ModelStatus, PersonScore
from sinks.score_store import ScoreStore
from stream.batches import Forgotten, Scores
from stream.meters import Meters
from stream.writers import Patience

logger = logging.getLogger(__name__)

_PERSONS_A_WRITE = 10_000
"""A day may be a million people; nobody else can write into an SQLite file meanwhile."""


@dataclass(frozen=True, slots=True)
class ScoreSinks:
    """Everything that is told of persons' scores."""

    store: ScoreStore
    live: LiveScores


def person_score_writer(
    sinks: ScoreSinks, lasting: Patience, passing: Patience, meters: Meters
) -> Callable[[list[Scores | Forgotten]], None]:
    """Scores of each day, in the store and in Valkey, and the end of somebody's.

    What it is given must come from the one who scores, in the order in which that has let go of people: a score that
    came behind the word to forget its person would stay. `lasting` is the patience with databases, which ends the run
    when it is spent; `passing` that with Valkey.
    """

    def show(some: Sequence[PersonScore]) -> None:
        refused = sinks.live.write(some)
        if refused:
            meters.failed("live_scores")
            logger.error("Valkey is full: the hash of scores has nothing new of %d people", refused)

    def keep(day: Scores) -> None:
        for at in range(0, len(day.scores), _PERSONS_A_WRITE):
            some = day.scores[at : at + _PERSONS_A_WRITE]
            lasting(partial(sinks.store.write, some))
            passing(partial(show, some))
            meters.sent("person_scores", len(some))
        if day.left:
            lasting(lambda: sinks.store.drop(day.left, day.as_of_ms))
            passing(lambda: sinks.live.drop(day.left))

    def forget(item: Forgotten) -> None:
        passing(lambda: sinks.live.drop([item.person]))
        # Last, as with it there is a note that all of it is done.
        lasting(lambda: sinks.store.forget(item.person, item.entry))

    def write(items: list[Scores | Forgotten]) -> None:
        for item in items:
            if isinstance(item, Scores):
                keep(item)
            else:
                forget(item)

    return write


def model_writer(store: ScoreStore, patience: Patience) -> Callable[[list[ModelStatus]], None]:
    """How each model stands, the last word of each."""

    def write(items: list[ModelStatus]) -> None:
        if items:
            patience(lambda: store.write_models(items))

    return write
