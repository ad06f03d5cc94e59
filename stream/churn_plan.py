"""What the stage of churn is to do, worked out once from a catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sinks.score_records import Level
from stream.catalog import Catalog
from stream.durations import duration_ms
from stream.people.declared import meaning_of
from stream.people.periods import FixedDays

LEVELS = tuple(Level)
"""Of risk, the mildest first. Rows know them by their place."""


@dataclass(frozen=True, slots=True)
class ChurnInput:
    """One number that is known of people, and how to speak of it."""

    name: str
    feature: str
    """What the catalog calls it, and actions are given for."""
    more: str
    """Words for somebody of whom it is more than of others,"""
    less: str
    """and for somebody of whom it is less."""
    log: bool


@dataclass(frozen=True, slots=True)
class ChurnPlan:
    """`[churn]`, compiled. Durations in milliseconds."""

    inputs: tuple[ChurnInput, ...]
    """In the order of the rows' columns."""
    days: FixedDays
    horizon_ms: int
    active_ms: int
    settle_ms: int
    """How long after its end a day is finished."""
    high: float
    medium: float
    segments: int
    """Groups of people to be told apart; 0 for none."""
    actions: Mapping[Level, tuple[str, ...]]
    feature_actions: Mapping[str, tuple[str, ...]]
    meaning: str
    """Another where rows or leaving mean something else: then what was learned is nothing to it."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.inputs)


def churn_plan(catalog: Catalog) -> ChurnPlan | None:
    """`[churn]` of a validated catalog; None for one without."""
    declared = catalog.churn
    if declared is None:
        return None
    inputs = tuple(ChurnInput(one.name, one.feature, one.more, one.less, one.log) for one in declared.inputs())
    actions = declared.actions
    # What was learned goes by the inputs, also where what is kept of people stays good for others.
    known = repr(
        (declared.horizon_ms, declared.active_ms, declared.min_events, [(one.name, one.log) for one in inputs])
    )
    return ChurnPlan(
        inputs=inputs,
        days=FixedDays(catalog.platform.zone),
        horizon_ms=declared.horizon_ms,
        active_ms=declared.active_ms,
        settle_ms=declared.settle_ms(duration_ms(catalog.event.allowed_lateness)),
        high=declared.high,
        medium=declared.medium,
        segments=declared.segments,
        actions={level: tuple(getattr(actions, level.value)) for level in LEVELS},
        feature_actions={name: tuple(texts) for name, texts in actions.factor.items()},
        meaning=f"{meaning_of(declared, catalog.platform.zone)} {hashlib.sha256(known.encode()).hexdigest()[:8]}",
    )
