"""`[churn]`: what a model of churn is to know of people at the end of each day, and what to do about its scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from stream.durations import DAY_MS, duration_ms
from stream.expressions import FieldType
from stream.people.base import Analysis, FactKind, Needs, Setting, UnitKey
from stream.people.inputs import Fading, Held, Input, always, inputs_of
from stream.people.person_days import CHURN, PersonDayMaker
from stream.tables import Duration, Table, each_once

Kind = Literal["count", "share", "mean", "trend", "latest", "days_since"]
KINDS: Mapping[Kind, tuple[frozenset[str], frozenset[str]]] = {
    "count": (frozenset({"where"}), frozenset()),
    "share": (frozenset({"where", "of"}), frozenset()),
    "mean": (frozenset({"value"}), frozenset({"where", "log"})),
    "trend": (frozenset({"where"}), frozenset()),
    "latest": (frozenset({"value"}), frozenset({"where", "values", "log"})),
    "days_since": (frozenset({"where"}), frozenset({"first"})),
}
"""The keys that each kind of feature needs, and those that it takes besides."""
_OWN_KEYS = frozenset().union(*(needed | taken for needed, taken in KINDS.values()))
_MOST_INPUTS = 100
_DEFAULT_HORIZON, _DEFAULT_ACTIVE_MS = "30d", 30 * DAY_MS
_FIXED = ("first_ms", "last_ms", "events", "days")
"""Fields of a row that are no inputs: the model makes its own of them."""


def _whole_days(text: str) -> str:
    if duration_ms(text) % DAY_MS:
        raise ValueError(f"expected whole days such as 14d, found {text!r}")
    return text


def _at_most_a_day(text: str) -> str:
    if duration_ms(text) > DAY_MS:
        raise ValueError(f"expected at most 1d, found {text!r}")
    return text


Days = Annotated[Duration, AfterValidator(_whole_days)]
ActionText = Annotated[str, Field(min_length=1, max_length=200)]
ActionTexts = Annotated[list[ActionText], AfterValidator(each_once), Field(max_length=20)]


class Feature(Table):
    """`[[churn.feature]]`: something about people that may tell who is to leave."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    kind: Kind
    words: str | None = Field(None, min_length=1, max_length=100)
    """What people do who do it, for people: "posts something". Default: the name."""
    where: str | None = None
    """SQL condition on the events that are meant."""
    of: str | None = None
    """SQL condition on the events that those are a share of."""
    value: str | None = None
    """SQL expression over an event."""
    values: Annotated[list[str], AfterValidator(each_once)] = Field([], max_length=20)
    """The texts that are told apart."""
    log: bool = False
    """Whether values are never negative, and matter by how many times more one is than another."""
    first: bool = False
    """Whether the days are since the first such event, not since the last."""

    @model_validator(mode="after")
    def _check(self) -> Feature:
        needed, taken = KINDS[self.kind]
        for key in sorted(_OWN_KEYS):
            given = key in self.model_fields_set and getattr(self, key) is not None
            if given and key not in needed | taken:
                keys = ", ".join(f"`{one}`" for one in sorted(needed | taken))
                raise ValueError(f"{key}: expected {keys} alone for kind {self.kind}, found {getattr(self, key)!r}")
            if key in needed and not given:
                raise ValueError(f"{key}: expected what kind {self.kind} needs, found nothing")
        if self.log and self.values:
            raise ValueError("log: expected numbers, which may be so, found `values`, which are texts")
        return self


class Actions(Table):
    """`[churn.actions]`: what to do about somebody of a level, and about somebody who is so because of a feature."""

    high: ActionTexts = Field([])
    medium: ActionTexts = Field([])
    low: ActionTexts = Field([])
    factor: dict[str, ActionTexts] = Field({})


class Churn(Table):
    """`[churn]`: who is likely to leave. Leaving is: no qualifying event within `horizon`."""

    # What is kept of each feature has a name of its own. Who was looked at no more, or not yet, when `active` or
    # `min_events` changed is looked at with the next event.
    no_meaning = frozenset(
        {"horizon", "active", "min_events", "settle", "high", "medium", "segments", "feature", "actions"}
    )

    where: str | None = None
    """SQL condition: which events qualify. Default: any of a person."""
    horizon: Days = _DEFAULT_HORIZON
    active: Days | None = None
    """For so long after their last qualifying event people are looked at. Default: 30d, or the horizon if longer."""
    min_events: int = Field(1, ge=1, le=10_000)
    """Who has fewer qualifying events is not looked at yet."""
    settle: Annotated[Duration, AfterValidator(_at_most_a_day)] | None = None
    """So long after its end a day is scored. Default: allowed_lateness, but at most 1d."""
    high: float = Field(0.8, gt=0, lt=1)
    """From this probability on the level is high,"""
    medium: float = Field(0.5, gt=0, lt=1)
    """and from this one on medium."""
    segments: int = Field(4, ge=0, le=8)
    """How many groups of people are told apart; 0: none."""
    feature: list[Feature] = Field([], max_length=40)
    actions: Actions = Field(default_factory=lambda: Actions.model_validate({}))

    @model_validator(mode="after")
    def _check(self) -> Churn:
        if self.active_ms < self.horizon_ms:
            raise ValueError(f"active: expected at least the horizon, {self.horizon}, found {self.active!r}")
        if self.medium >= self.high:
            raise ValueError(f"medium: expected less than high, {self.high}, found {self.medium}")
        taken = dict.fromkeys([one.feature for one in always()], "that of one that is always there")
        for number, one in enumerate(self.feature):
            if one.name in taken:
                found = f"{one.name!r}, {taken[one.name]}"
                raise ValueError(f"feature[{number}].name: expected a name of its own, found {found}")
            taken[one.name] = f"as feature[{number}] has"
        if len(inputs := self.inputs()) > _MOST_INPUTS:
            raise ValueError(f"feature: expected at most {_MOST_INPUTS} inputs of the model, found {len(inputs)}")
        factors = dict.fromkeys(one.feature for one in inputs)
        for name in self.actions.factor:
            if name not in factors:
                raise ValueError(f"actions.factor: expected features ({', '.join(factors)}), found {name!r}")
        return self

    @property
    def horizon_ms(self) -> int:
        return duration_ms(self.horizon)

    @property
    def active_ms(self) -> int:
        return max(self.horizon_ms, _DEFAULT_ACTIVE_MS) if self.active is None else duration_ms(self.active)

    def settle_ms(self, lateness_ms: int) -> int:
        """How long after its end a day is scored, where events may be so late."""
        return min(lateness_ms, DAY_MS) if self.settle is None else duration_ms(self.settle)

    def inputs(self) -> list[Input]:
        """What the model is given of each person and day, in the order of the rows' fields."""
        return [*always(), *(one for feature in self.feature for one in inputs_of(feature))]

    def needs(self) -> Needs:
        kept: list[Fading | Held] = []
        for one in self.inputs():
            kept += [*one.fading, *one.held]
        conditions = [self.where, *(each.where for each in kept)]
        texts = [each.value for each in kept if isinstance(each, Held) and each.values]
        values = [each.value for each in kept if not (isinstance(each, Held) and each.values)]
        return Needs(conditions=_once(conditions), values=_once(values), texts=_once(texts))

    def unit(self) -> Sequence[UnitKey]:
        return ()

    def kinds(self, zone: ZoneInfo) -> Sequence[FactKind]:
        fields = dict.fromkeys((*_FIXED, *(one.name for one in self.inputs())), FieldType.NUMBER)
        return [FactKind(CHURN, fields, is_line=True)]

    def metrics(self) -> Iterable[Mapping[str, Any]]:
        return ()

    def make(self, setting: Setting) -> Analysis:
        return PersonDayMaker(self, setting)


def _once(texts: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text is not None))
