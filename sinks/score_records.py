"""What the models say that is no point: how likely each person is to leave, and how good each model is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from sinks.records import iso


class Level(StrEnum):
    """How likely somebody is to leave, in three words."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Factor(msgspec.Struct, frozen=True):
    """What one feature adds to the logit of a probability."""

    name: str
    contribution: float
    """In logits: above 0 it speaks for leaving."""
    words: str
    """The same for people, such as `comes less often than before`."""


class PersonScore(msgspec.Struct, frozen=True):
    """How likely a person is to leave, as an upsert: a later one of the same person replaces an earlier one."""

    person: str
    """Pseudonym, 32 hex digits."""
    as_of_ms: int
    """What was known up to this moment, itself included."""
    horizon_ms: int
    """Leaving is: nothing that counts in so long after `as_of_ms`."""
    probability: float
    """0 to 1."""
    level: Level
    proven: bool
    """Whether the model has shown to be better than knowing when somebody came last."""
    confidence: float
    """0 to 1: how narrowly is known what became of people of whom the same was said."""
    logit: float
    """Of the probability: `intercept`, the contributions of `factors` and `rest` add up to it."""
    intercept: float
    factors: tuple[Factor, ...]
    """Those that add most, the largest first."""
    rest: float
    """What all other features add."""
    segment: str
    """The group of people whom this one is most like."""
    actions: tuple[str, ...]
    """What the catalog recommends."""
    version: int
    """Of the model: counts the changes of the champion."""
    was: Level | None = None
    """The level of the day before; None where there was none."""

    def to_json(self) -> dict[str, Any]:
        """The public shape of a score."""
        return {
            "person": self.person,
            "as_of": iso(self.as_of_ms),
            "horizon_s": self.horizon_ms / 1_000,
            "probability": self.probability,
            "level": self.level.value,
            "was": None if self.was is None else self.was.value,
            "proven": self.proven,
            "confidence": self.confidence,
            "logit": self.logit,
            "intercept": self.intercept,
            "factors": [msgspec.structs.asdict(factor) for factor in self.factors],
            "rest": self.rest,
            "segment": self.segment,
            "actions": list(self.actions),
            "version": self.version,
        }


class ModelStatus(msgspec.Struct, frozen=True):
    """How a model stands, as an upsert by its name."""

    name: str
    """`churn`, or `forecast edits@1m`."""
    kind: str
    """`churn`, `forecast`."""
    at_ms: int
    """In event time."""
    version: int
    samples: int
    """How many answers it has learned from."""
    proven: bool
    """Whether it has shown to be better than the baseline."""
    state_bytes: int
    quality: Mapping[str, Any]
    """Figures by name, each beside those of the baselines; what they are is the kind's own."""
    drifts: int = 0
    """How often what it learned was found to hold no more."""
    drifted_ms: int | None = None
    swapped_ms: int | None = None
    """When a challenger took the champion's place."""

    def to_json(self) -> dict[str, Any]:
        """The public shape."""
        return {
            "name": self.name,
            "kind": self.kind,
            "at": iso(self.at_ms),
            "version": self.version,
            "samples": self.samples,
            "proven": self.proven,
            "state_bytes": self.state_bytes,
            "quality": dict(self.quality),
            "drift": {"count": self.drifts, "at": None if self.drifted_ms is None else iso(self.drifted_ms)},
            "swapped": None if self.swapped_ms is None else iso(self.swapped_ms),
        }
