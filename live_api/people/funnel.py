"""How many people came how far through steps, how many were lost on the way, and how long it took them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from live_api.people.past import Counted, Number, Past, count, share
from sinks.records import Point, iso
from stream.durations import TOTAL, duration_ms
from stream.people.periods import Unit

ALL = "all"
"""In the place of a step: from the first to the last."""
_QUANTILES = ("p50", "p90")


class Step(Protocol):
    @property
    def name(self) -> str: ...


class Declared(Protocol):
    """What a table needs to know of a `[[funnel]]`."""

    @property
    def name(self) -> str: ...
    @property
    def steps(self) -> Sequence[Step]: ...
    @property
    def order(self) -> str: ...
    @property
    def window(self) -> str: ...
    @property
    def breakdown(self) -> str | None: ...
    @property
    def period(self) -> Unit | Any:
        """`total`, or the calendar's period in each of which a person counts once."""


def read(past: Past, declared: Declared, *, at_ms: int | None) -> dict[str, Any]:
    """The funnel of the period that `at_ms` falls into, default the latest. Raises SinkError, TooMuch."""
    name, period = declared.name, str(declared.period)
    label = ["breakdown"] if declared.breakdown is not None else []
    start: int | None = 0
    if period != TOTAL:
        if at_ms is None:
            start = past.last_start([f"{name}_people"], period)
        else:
            periods = Counted(declared.period, past.zone)
            [start] = periods.starts(periods.of(at_ms), 1)
    if start is None:
        return table(declared, None, [], [], [])
    return table(
        declared,
        None if period == TOTAL else start,
        past.at(f"{name}_people", period, start, ["step", *label]),
        past.at(f"{name}_seconds", period, start, ["step"]),
        past.at(f"{name}_within", period, start, ["step", "within"]),
    )


def table(
    declared: Declared,
    start_ms: int | None,
    people: Sequence[Point],
    seconds: Sequence[Point],
    within: Sequence[Point],
) -> dict[str, Any]:
    """A row for each step. All points are of one window: `people` by `step`, also by `breakdown` where there is one,
    `seconds` by `step` and `within` by `step` and `within`."""
    numbers = [str(number) for number, _ in enumerate(declared.steps, 1)]
    reached = dict.fromkeys(numbers, 0)
    of_value: dict[str, dict[str, int]] = {}
    for point in people:
        dimensions = dict(point.dimensions)
        number = dimensions["step"]
        if number not in reached:  # past the most series that there may be
            continue
        reached[number] += count(point)
        if "breakdown" in dimensions:
            of_value.setdefault(dimensions["breakdown"], dict.fromkeys(numbers, 0))[number] += count(point)
    times = {dict(point.dimensions)["step"]: _quantiles(point) for point in seconds}
    bins: dict[str, list[tuple[str, int]]] = {}
    for point in within:
        dimensions = dict(point.dimensions)
        bins.setdefault(dimensions["step"], []).append((dimensions["within"], count(point)))
    first, last = reached[numbers[0]], reached[numbers[-1]]
    steps = []
    for place, (number, step) in enumerate(zip(numbers, declared.steps, strict=True)):
        before = reached[numbers[place - 1]] if place else None
        steps.append(
            {
                "step": place + 1,
                "name": step.name,
                "people": reached[number],
                "share": share(reached[number], first),
                "from_previous": share(reached[number], before),
                "drop_off": 0 if before is None else before - reached[number],
                "seconds": times.get(number),
                "histogram": _histogram(bins.get(number, [])),
            }
        )
    found: dict[str, Any] = {
        "order": declared.order,
        "window": declared.window,
        "period": declared.period,
        "start": None if start_ms is None else iso(start_ms),
        "steps": steps,
        "conversion": share(last, first),
        "overall_seconds": times.get(ALL),
        "overall_histogram": _histogram(bins.get(ALL, [])),
    }
    if declared.breakdown is not None:
        found["breakdown"] = [_value(value, numbers, of_value[value]) for value in _most_first(of_value, numbers[0])]
    return found


def _value(value: str, numbers: Sequence[str], reached: Mapping[str, int]) -> dict[str, Any]:
    first = reached[numbers[0]]
    steps = [
        {"step": place, "people": reached[number], "share": share(reached[number], first)}
        for place, number in enumerate(numbers, 1)
    ]
    return {"value": value, "steps": steps}


def _most_first(of_value: Mapping[str, Mapping[str, int]], first: str) -> list[str]:
    there = [value for value, reached in of_value.items() if any(reached.values())]
    return sorted(there, key=lambda value: (-of_value[value][first], value))


def _quantiles(point: Point) -> dict[str, Number | None] | None:
    value = point.value
    return {name: value.get(name) for name in _QUANTILES} if isinstance(value, Mapping) and value else None


def _histogram(bins: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    ordered = sorted(bins, key=lambda one: (_width_ms(one[0]), one[0]))
    return [{"within": within, "people": people} for within, people in ordered if people]


def _width_ms(text: str) -> float:
    try:
        return duration_ms(text)
    except ValueError:  # longer than the longest that is told apart
        return float("inf")
