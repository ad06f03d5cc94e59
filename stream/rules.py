"""`[[anomaly]]`: what somebody is to be told of. A rule watches every series of one metric in one of its windows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from models.base import Detector, ModelError
from models.registry import DETECTORS, detector_class, make_detector
from sinks.alert_records import Severity, stable_id
from sinks.records import Dimensions
from stream.boards import Finite, Title
from stream.choice import Mistake, mistakes_of_choice, unknown_dimensions
from stream.durations import SECOND_MS, duration_ms
from stream.problems import Problem, key_of, tables_of
from stream.tables import Duration, FieldName, MetricName, Table, each_once

if TYPE_CHECKING:
    from stream.metrics import Metric


def _duration_or_off(text: str) -> str:
    if text != "off":
        duration_ms(text)
    return text


def _limit(limit: float | str) -> float | str:
    if isinstance(limit, str):
        duration_ms(limit)
    return limit


def _detector(name: str) -> str:
    if name not in DETECTORS:
        near = difflib.get_close_matches(name, DETECTORS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"expected one of {', '.join(DETECTORS)}; found {name!r}{hint}")
    return name


Off = Annotated[str, AfterValidator(_duration_or_off)]
"""A duration, or `off`."""
Limit = Annotated[Finite | str, AfterValidator(_limit)]
"""A number, or a duration that stands for its seconds."""

_HYSTERESIS = 0.5
"""An episode of a detector that learns closes below this share of the score that opens it."""
_HYSTERESIS_OF_LIMITS = 0.1
"""One of a threshold, this share of the limit away from it."""
_FLAPPING_WINDOWS = 30
_FLAPPING_LEAST_MS = 3_600_000


class Rule(Table):
    """One rule."""

    metric: MetricName
    """What is watched: a metric of this catalog, or one of the two that are always there. Not a `top_k`."""
    window: str
    """One of its windows."""
    name: MetricName | None = None
    """What its alerts are called; each rule has its own. Default: metric, window and detector."""
    title: Title | None = None
    """Its name for people."""
    detector: Annotated[str, AfterValidator(_detector)] = "novelty"
    """What finds something strange: [detectors.md](detectors.md)."""
    options: dict[str, str | int | float | bool] = Field({})
    """The detector's. A duration is written as one: `{ season = "2d" }`."""
    dimensions: dict[FieldName, str] = Field({})
    """Only series that have these values: `{ country = "DE" }`."""
    key: str | None = None
    """Which of its values: `"p99"`. Default: required of a `quantile`."""
    severity: dict[Annotated[Severity, Field(strict=False)], Limit] = Field({})
    """From which score on an alert is `info`, `warning`, `error` or `critical`; of a threshold, from which value on.
    The mildest opens an alert. Default: the detector's own; required of thresholds."""
    close: Finite | None = None
    """A window with less is quiet. Default: half of what opens one; of a threshold a tenth of the limit before it."""
    k: int = Field(1, ge=1, le=100)
    """An alert opens when `k` of the last `n` windows were out of the ordinary, the last among them."""
    n: int = Field(1, ge=1, le=100)
    """See `k`, which is at most as many."""
    resolve_after: int = Field(3, ge=1, le=1_000)
    """It is over after so many quiet windows in a row."""
    keep_firing: Off = "off"
    """It is not over before so long after the last window that was not quiet."""
    cooldown: Off = "off"
    """For so long after an end none opens for that series."""
    escalate_after: Off = "off"
    """An alert that nobody has acknowledged for so long becomes a severity worse, once."""
    renotify: Off = "4h"
    """How often people are told again of one that nobody has acknowledged."""
    nodata: Off = "off"
    """A series that had events, and has had none for so long, raises an alert of its own kind; also where the detector
    would say nothing of it."""
    flapping: int = Field(4, ge=0, le=100)
    """With so many openings within 30 windows, or an hour if that is longer, a series is flapping; 0: never."""
    notify_within: Duration = "1h"
    """People are not told of what happened longer ago than that."""
    inhibited_by: Annotated[list[MetricName], AfterValidator(each_once)] = Field([], max_length=20)
    """Rules, such as that of a total, that say the same: nobody is told of this one's alerts while one of theirs is
    open."""
    group_by: Annotated[list[FieldName], AfterValidator(each_once)] = Field([], max_length=4)
    """Up to 4 dimensions: alerts that change together are told of in one notification where these are the same. Without
    any, all of the rule's are."""
    max_series: int = Field(1_000, ge=1, le=20_000)
    """How many series are watched; of the others the log says so."""

    @model_validator(mode="after")
    def _check(self) -> Rule:
        if self.k > self.n:
            raise ValueError(f"k: expected at most n = {self.n}, found {self.k}")
        try:
            self.make()
        except ModelError as error:
            raise ValueError(f"options: expected options of {self.detector}, found {error}") from None
        if self.kind.needs and not set(self.kind.needs) & set(self.options):
            raise ValueError(
                f"options: expected {' or '.join(self.kind.needs)}, which {self.detector} needs, found none"
            )
        self._check_limits()
        return self

    def _check_limits(self) -> None:
        if not self.severity and self.kind.OPEN is None:
            raise ValueError(f"severity: expected limits, as {self.detector} has none of its own, found nothing")
        limits = [limit for _, limit in self.limits]
        if limits != sorted(set(limits)):
            order = "fall" if self.kind.orientation < 0 else "rise"
            raise ValueError(f"severity: expected limits that {order} from info to critical, found {self.severity!r}")
        if self.close is not None and self.close * self.kind.orientation > limits[0]:
            raise ValueError(f"close: expected nothing stranger than what opens an alert, found {self.close!r}")

    @property
    def called(self) -> str:
        return self.name or f"{self.metric}_{self.window}_{self.detector}".replace("/", "_")

    @property
    def kind(self) -> type[Detector]:
        return detector_class(self.detector)

    def make(self) -> Detector:
        """A detector that has seen nothing. Raises ModelError for options it does not take."""
        return make_detector(self.detector, self.detector_options)

    @property
    def detector_options(self) -> dict[str, Any]:
        """The options as the detector takes them: durations in seconds."""
        return dict(_option(name, value) for name, value in self.options.items())

    @property
    def limits(self) -> list[tuple[Severity, float]]:
        """The scores from which on an alert has each severity, from the mildest."""
        given = self.severity or {Severity.WARNING: self.kind.OPEN or 0.0}
        oriented = [(severity, _number(limit) * self.kind.orientation) for severity, limit in given.items()]
        return sorted(oriented, key=lambda pair: pair[0].rank)

    @property
    def quiet_below(self) -> float:
        """The score below which a window is quiet."""
        if self.close is not None:
            return self.close * self.kind.orientation
        opens = self.limits[0][1]
        return opens - abs(opens) * (_HYSTERESIS if self.kind.learns else _HYSTERESIS_OF_LIMITS)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What the episodes of one rule go by. Scores are oriented: higher is stranger. Durations in ms, 0 for none."""

    rule: str
    identity: str
    """Changes when the rule is about something else."""
    limits: tuple[tuple[Severity, float], ...]
    """From the mildest; the first opens an alert."""
    quiet_below: float
    k: int = 1
    n: int = 1
    resolve_after: int = 3
    keep_firing_ms: int = 0
    cooldown_ms: int = 0
    escalate_after_ms: int = 0
    renotify_ms: int = 4 * 3_600_000
    nodata_ms: int = 0
    flapping: int = 4
    flapping_within_ms: int = _FLAPPING_LEAST_MS
    notify_within_ms: int = 3_600_000
    inhibited_by: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    dimensions: Dimensions = ()
    """Only series that have these."""
    judges_silence: bool = False
    """Whether the score says something also where a window has no value."""
    title: str = ""
    platform: str = ""
    """Whose alerts these are: another's rule of the same name has others, with ids of their own."""
    lasts_outside: bool = False
    """Whether an episode lasts while the value is outside of what was expected: a detector that learns speaks of what
    is new, and is silent while it goes on."""

    @property
    def opens(self) -> float:
        return self.limits[0][1]


def lifecycle(rule: Rule, identity: str, window_ms: int, step_ms: int) -> Lifecycle:
    """How the episodes of a rule over windows of that width go, one of which closes each `step_ms`."""
    return Lifecycle(
        rule=rule.called,
        identity=identity,
        limits=tuple(rule.limits),
        quiet_below=rule.quiet_below,
        k=rule.k,
        n=rule.n,
        resolve_after=rule.resolve_after,
        keep_firing_ms=off_or_ms(rule.keep_firing),
        cooldown_ms=off_or_ms(rule.cooldown),
        escalate_after_ms=off_or_ms(rule.escalate_after),
        renotify_ms=off_or_ms(rule.renotify),
        nodata_ms=off_or_ms(rule.nodata),
        flapping=rule.flapping,
        flapping_within_ms=max(_FLAPPING_LEAST_MS, _FLAPPING_WINDOWS * step_ms),
        notify_within_ms=max(duration_ms(rule.notify_within), 2 * window_ms),
        inhibited_by=tuple(rule.inhibited_by),
        group_by=tuple(rule.group_by),
        dimensions=tuple(rule.dimensions.items()),
        judges_silence=rule.kind.takes_silence,
        lasts_outside=rule.kind.learns,
        title=rule.title or "",
    )


def off_or_ms(text: str) -> int:
    """A duration in milliseconds, 0 for `off`."""
    return 0 if text == "off" else duration_ms(text)


def identity(rule: Rule, metric: str) -> str:
    """Changes when what the rule has learned is of something else. `metric` stands for what the metric means."""
    return stable_id(metric, rule.window, rule.key, rule.detector, sorted(rule.detector_options.items()))


def check_rules(raw: Mapping[str, Any], metrics: Mapping[str, Metric | None], problems: list[Problem]) -> None:
    """Add what is wrong with the rules of a catalog, as TOML has them, beyond what each says of itself.

    `metrics` has every metric by name, None where it is itself so wrong that nothing can be said about its rules.
    """
    rules: dict[int, Rule] = {}
    for number, table in enumerate(tables_of(raw, "anomaly")):
        try:
            rules[number] = Rule.model_validate(table)
        except ValidationError:
            continue
    names = [rule.called for rule in rules.values()]
    muted = {rule.called: rule.inhibited_by for rule in rules.values()}
    for number, rule in rules.items():
        where = key_of(("anomaly", number), raw)
        if names.count(rule.called) > 1:
            problems.append(Problem(f"{where}.name", "a name of its own for each rule", f"{rule.called!r} again"))
        for name in rule.inhibited_by:
            if name not in names or name == rule.called:
                problems.append(Problem(f"{where}.inhibited_by", f"other rules of {', '.join(names)}", repr(name)))
        if circle := _circle(rule.called, muted):
            expected = "rules that do not mute each other in turn"
            problems.append(Problem(f"{where}.inhibited_by", expected, ", ".join(circle)))
        problems.extend(Problem(f"{where}.{key}", expected, found) for key, expected, found in _mistakes(rule, metrics))


def _circle(rule: str, muted: Mapping[str, Sequence[str]]) -> list[str]:
    """The way from a rule over those that mute it back to itself; none where there is none."""
    paths, known = [[rule]], {rule}
    while paths:
        path = paths.pop()
        for name in muted.get(path[-1], ()):
            if name == rule and len(path) > 1:
                return [*path, rule]
            if name not in known:
                known.add(name)
                paths.append([*path, name])
    return []


def _mistakes(rule: Rule, metrics: Mapping[str, Metric | None]) -> Iterator[Mistake]:
    yield from mistakes_of_choice(rule.metric, rule.window, rule.key, rule.dimensions, metrics)
    metric = metrics.get(rule.metric)
    if metric is not None:
        yield from unknown_dimensions("group_by", rule.group_by, metric)


def _option(name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, str):
        try:
            return f"{name}_s", duration_ms(value) / SECOND_MS
        except ValueError:
            pass
    return name, value


def _number(limit: float | str) -> float:
    return duration_ms(limit) / SECOND_MS if isinstance(limit, str) else float(limit)
