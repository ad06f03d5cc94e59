"""`[[funnel]]`: how many people come how far through steps, how long it takes them, and where they stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from stream.durations import duration_ms
from stream.expressions import FieldType
from stream.people.base import FactKind, Needs, Setting, UnitKey
from stream.people.chains import Exclusion, Rules
from stream.people.conversions import ALL, Conversions
from stream.tables import Table

MOST_STEPS = 30


def _duration(text: str) -> str:
    duration_ms(text)
    return text


def _some_steps(steps: list[Any]) -> list[Any]:
    if not 2 <= len(steps) <= MOST_STEPS:
        raise ValueError(f"expected 2 to {MOST_STEPS} steps, found {len(steps)}")
    return steps


def _attribution(value: str | int) -> str | int:
    if isinstance(value, str) and value not in ("first", "last", ALL):
        raise ValueError(f'expected "first", "last", "all" or the number of a step, found {value!r}')
    return value


Duration = Annotated[str, AfterValidator(_duration)]


class Step(Table):
    """One of a funnel's `steps`."""

    name: str = Field(min_length=1, max_length=100)
    where: str
    """SQL condition on the events that take it."""


class Exclude(Table):
    """One of a funnel's `exclude`: an event that removes whoever has it on the way between two steps.

    Somebody is on the way until the funnel's window is over, also where `step_window` leaves no time for the next step.
    """

    where: str
    """SQL condition on the events that remove."""
    after: int = 1
    """Number of the step from which on it does."""
    before: int | None = None
    """Number of the step that ends it. Default: the last."""


class Funnel(Table):
    """One funnel. With `unit = "session"` the catalog must have `[sessions]` as well, which is for it to check."""

    # Metrics have the name with something behind it, `_conversion` at the longest.
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,52}$")]
    title: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    steps: Annotated[list[Step], AfterValidator(_some_steps)]
    order: Literal["ordered", "strict", "any"] = "ordered"
    """Whether the steps come one after the other, so without any other event between, or in whatever order."""
    window: Duration = "14d"
    """The last step comes so long after the first at the latest; exactly so long still counts."""
    step_window: Duration | None = None
    """Each step comes so long after the one before at the latest."""
    exclude: list[Exclude] = Field([], max_length=20)
    """Looked at before the steps where an event is both."""
    constant: str | None = None
    """SQL text that must be the same at all steps. A person counts once for each; events without it do not count."""
    breakdown: str | None = None
    """SQL text by which people are counted apart."""
    attribution: Annotated[str | int, AfterValidator(_attribution)] = "first"
    """Which event's `breakdown` a person has: that of the entry, that which reached the furthest step, that which
    reached step n (before, none); or `all`: a person counts apart for each, with the events that have it."""
    entrants: Literal["person", "session"] = Field("person", alias="unit")
    """What counts once: a person, or each of a person's sessions."""
    period: Literal["total", "day", "week", "month"] = "total"
    """A person counts once in each."""

    @model_validator(mode="after")
    def _check(self) -> Funnel:
        steps = len(self.steps)
        if self.order == "any":
            for key, value in (("step_window", self.step_window), ("exclude", self.exclude)):
                if value:
                    raise ValueError(f"{key}: expected none, as no step is before another in any order, found some")
        for number, excluded in enumerate(self.exclude):
            where = f"exclude[{number}]"
            if not 1 <= excluded.after < steps:
                raise ValueError(f"{where}.after: expected a step from 1 to {steps - 1}, found {excluded.after}")
            if excluded.before is not None and not excluded.after < excluded.before <= steps:
                raise ValueError(
                    f"{where}.before: expected a step from {excluded.after + 1} to {steps}, found {excluded.before}"
                )
        if self.breakdown is None and "attribution" in self.model_fields_set:
            raise ValueError(f"attribution: expected none, as there is no breakdown, found {self.attribution!r}")
        if isinstance(self.attribution, int) and not 1 <= self.attribution <= steps:
            raise ValueError(f"attribution: expected a step from 1 to {steps}, found {self.attribution}")
        if self.entrants == "session" and (self.constant is not None or self.attribution == ALL):
            what = "a constant" if self.constant is not None else 'attribution = "all"'
            raise ValueError(f"unit: expected person, as {what} parts a session's events, found 'session'")
        return self

    @property
    def window_ms(self) -> int:
        return duration_ms(self.window)

    @property
    def kind(self) -> str:
        """The facts' kind; that of times to convert is the same with `.seconds`."""
        return f"funnel.{self.name}"

    @property
    def rules(self) -> Rules:
        steps = len(self.steps)
        return Rules(
            steps,
            self.window_ms,
            self.window_ms if self.step_window is None else duration_ms(self.step_window),
            tuple(Exclusion(excluded.after, excluded.before or steps) for excluded in self.exclude),
        )

    def needs(self) -> Needs:
        conditions = dict.fromkeys([*(step.where for step in self.steps), *(exclude.where for exclude in self.exclude)])
        label = () if self.breakdown is None or self.attribution == ALL else (self.breakdown,)
        return Needs(conditions=tuple(conditions), texts=label)

    def unit(self) -> Sequence[UnitKey]:
        constant = () if self.constant is None else (UnitKey(self.constant),)
        label = () if self.breakdown is None or self.attribution != ALL else (UnitKey(self.breakdown, named=True),)
        return (*constant, *label)

    def kinds(self, zone: ZoneInfo) -> Sequence[FactKind]:
        label = {} if self.breakdown is None else {"breakdown": FieldType.STRING}
        seconds = {"step": FieldType.STRING, "seconds": FieldType.NUMBER, "within": FieldType.STRING}
        return (
            FactKind(self.kind, {"step": FieldType.STRING, **label}, self.window_ms),
            FactKind(f"{self.kind}.seconds", seconds, self.window_ms),
            FactKind("funnel", {"funnel": FieldType.STRING, "step": FieldType.NUMBER}, is_line=True),
        )

    def metrics(self) -> Iterable[Mapping[str, Any]]:
        who, title, name = "people" if self.entrants == "person" else "sessions", self.title or self.name, self.name
        if self.constant is not None:
            who = f"{who} by {self.constant}"
        people = {"on": self.kind, "measure": "count", "windows": [self.period]}
        seconds = {"on": f"{self.kind}.seconds", "windows": [self.period]}
        label = [] if self.breakdown is None else ["breakdown"]
        first, last = self.steps[0].name, self.steps[-1].name
        names = ", ".join(f"{number} {step.name}" for number, step in enumerate(self.steps, 1))
        yield {
            **people,
            "name": f"{name}_people",
            "title": f"{title}: {who} by step",
            "by": ["step", *label],
            "description": f"How many reach each step: {names}.",
        }
        yield {**people, "name": f"{name}_entered", "title": f"{title}: entered", "where": "step = '1'"}
        yield {
            **people,
            "name": f"{name}_converted",
            "title": f"{title}: converted",
            "where": f"step = '{len(self.steps)}'",
        }
        yield {
            "on": self.kind,
            "name": f"{name}_conversion",
            "title": f"{title}: conversion",
            "measure": "ratio",
            "of": f"{name}_converted",
            "to": f"{name}_entered",
            "description": f"Share of those at {first} who come to {last}.",
        }
        yield {
            **seconds,
            "name": f"{name}_seconds",
            "title": f"{title}: time to convert",
            "measure": "quantile",
            "value": "seconds",
            "by": ["step"],
            "unit": "s",
            "description": "From the step before; step all: from the first step to the last.",
        }
        yield {
            **seconds,
            "name": f"{name}_within",
            "title": f"{title}: times to convert",
            "measure": "count",
            "by": ["step", "within"],
            "description": "By the least that holds the time from the step before; step all: from first to last.",
        }

    def make(self, setting: Setting) -> Conversions:
        return Conversions(self, setting)
