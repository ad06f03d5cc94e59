"""Funnels, beside a slow reading of the same rules: every chain of every entrant, one event after the other."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.durations import duration_ms
from stream.people.conversions import WITHIN
from stream.people.funnel import Funnel
from tests.stack import SHARED
from tests.stream.people.plain import Event, Said, facts_of

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
EVENTSIM = SHARED / "data" / "eventsim" / "events.ndjson.gz"


def funnel(*kinds: str, **options: Any) -> Funnel:
    """A funnel named f whose steps take events of these kinds; "ab" takes those of a and of b."""
    return Funnel.model_validate({"name": "f", "steps": [step(kind) for kind in kinds], **options})


def step(kinds: str) -> dict[str, str]:
    return {"name": kinds, "where": kind_is(kinds)}


def kind_is(kinds: str) -> str:
    return " or ".join(f"kind = '{kind}'" for kind in kinds)


def events_of(text: str, **fields: Any) -> list[Event]:
    """`"a0 b3"`: kinds, and hours since the start."""
    return [
        {"person": "p", "time": START_MS + int(float(word[1:]) * HOUR_MS), "kind": word[0], **fields}
        for word in text.split()
    ]


def people(said: Said, kind: str = "funnel.f") -> dict[Any, int]:
    """How many by step, or by step and breakdown; with a period, of all periods together."""
    found: Counter[Any] = Counter()
    for (of, _, fields), weight in said.items():
        if of == kind:
            by = dict(fields)
            key = by["step"] if len(by) == 1 else tuple(by[name] for name in ("step", "breakdown") if name in by)
            found[key] += weight
    return dict(found)


def reached(declaration: Funnel, text: str) -> int:
    """How many steps one person with these events reaches."""
    found = people(facts_of(declaration, events_of(text)))
    assert all(weight == 1 for weight in found.values())
    return len(found)


# The slow reading.


def expected(
    declaration: Funnel, events: Sequence[Event], zone: str = "UTC", session_begins: Mapping[int, bool] | None = None
) -> tuple[Said, Counter[tuple[int, int]]]:
    """The facts, and the lines about persons as (time, step)."""
    said, lines = Said(), Counter[tuple[int, int]]()
    units: dict[Any, list[tuple[Event, bool]]] = {}
    for place in sorted(range(len(events)), key=lambda place: events[place]["time"]):
        event = events[place]
        key: list[Any] = [event["person"]]
        if declaration.constant is not None:
            key.append(event.get("item"))
        if None in key:
            continue
        if declaration.attribution == "all" and declaration.breakdown is not None:
            key.append(event.get("land"))
        units.setdefault(tuple(key), []).append((event, session_begins is not None and session_begins[place]))
    for unit in units.values():
        for entrant in _entrants(declaration, unit, zone):
            _tell(declaration, entrant, zone, said, lines)
    return said, lines


def _matches(condition: str, event: Event) -> bool:
    return f"'{event['kind']}'" in condition


def _period(declaration: Funnel, time_ms: int, zone: str) -> int:
    if declaration.period == "total":
        return 0
    day = datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(ZoneInfo(zone)).date()
    if declaration.period == "week":
        day -= timedelta(days=day.weekday())
    if declaration.period == "month":
        day = day.replace(day=1)
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int(midnight.timestamp()) * 1000


def _entrants(declaration: Funnel, unit: Sequence[tuple[Event, bool]], zone: str) -> list[list[Event]]:
    found: list[list[Event]] = []
    present: int | None = None
    for event, begins_session in unit:
        opens = declaration.steps if declaration.order == "any" else declaration.steps[:1]
        is_opening = any(_matches(one.where, event) for one in opens)
        if begins_session and declaration.entrants == "session":
            found.append([])
            present = None
        if is_opening:
            period = _period(declaration, event["time"], zone)
            if present is not None and period != present:
                found.append([])
            present = period
        if not found:
            found.append([])
        found[-1].append(event)
    return found


def _tell(declaration: Funnel, events: Sequence[Event], zone: str, said: Said, lines: Counter[tuple[int, int]]) -> None:
    walk = {"ordered": _chains, "strict": _chains, "any": _different}[declaration.order](declaration, events)
    if not walk:
        return
    window = _period(declaration, walk[0][0]["time"], zone)
    fields: dict[str, Any] = {}
    if declaration.breakdown is not None:
        which = {"first": 1, "all": 1, "last": len(walk)}.get(str(declaration.attribution), declaration.attribution)
        fields = {"breakdown": (walk[int(which) - 1][0].get("land") if int(which) <= len(walk) else None) or "__none__"}
    for number, (event, since_ms, whole_ms) in enumerate(walk, 1):
        said["funnel.f", window, tuple(sorted({"step": str(number), **fields}.items()))] += 1
        lines[event["time"], number] += 1
        took = [(str(number), since_ms)] if number > 1 else []
        took += [("all", whole_ms)] if number == len(declaration.steps) else []
        for of, ms in took:
            within = next((text for text in WITHIN[:-1] if ms <= duration_ms(text)), "more")
            said["funnel.f.seconds", window, (("seconds", ms / 1000), ("step", of), ("within", within))] += 1


Walk = list[tuple[Event, int, int]]
"""For each step that was reached: the event at which it first was, ms since the step before, and since the entry."""


def _chains(declaration: Funnel, events: Sequence[Event]) -> Walk:
    count = len(declaration.steps)
    chains: list[set[tuple[int, int]]] = [set() for _ in range(count + 1)]
    """By number of steps: (entry, time of the latest step)."""
    walk: Walk = []
    window_ms = duration_ms(declaration.window)
    step_ms = duration_ms(declaration.step_window or declaration.window)
    for event in events:
        now = event["time"]
        for exclude in declaration.exclude:
            if _matches(exclude.where, event) and _is_on_the_way(
                declaration, chains, exclude.after, exclude.before or count, now
            ):
                return []
        new: list[set[tuple[int, int]]] = [set() for _ in range(count + 1)]
        for number, one in enumerate(declaration.steps, 1):
            if not _matches(one.where, event):
                continue
            if number == 1:
                new[1].add((now, now))
                used = {(now, now)}
            else:
                used = {
                    (entry, at)
                    for entry, at in chains[number - 1]
                    if now - entry <= window_ms and now - at <= step_ms
                }
                new[number] |= {(entry, now) for entry, _ in used}
            if used and len(walk) < number:
                assert len(walk) == number - 1
                walk.append((event, now - max(at for _, at in used), now - max(entry for entry, _ in used)))
        chains = new if declaration.order == "strict" else [a | b for a, b in zip(chains, new, strict=True)]
    return walk


def _is_on_the_way(
    declaration: Funnel, chains: Sequence[set[tuple[int, int]]], after: int, before: int, now: int
) -> bool:
    window_ms = duration_ms(declaration.window)
    if declaration.order == "strict":
        return any(now - entry <= window_ms for number in range(after, before) for entry, _ in chains[number])
    begun = max((entry for entry, _ in chains[after]), default=None)
    passed = max((entry for entry, _ in chains[before]), default=None)
    return begun is not None and now - begun <= window_ms and begun != passed


def _different(declaration: Funnel, events: Sequence[Event]) -> Walk:
    latest: dict[int, int] = {}
    walk: Walk = []
    for event in events:
        served = [number for number, one in enumerate(declaration.steps) if _matches(one.where, event)]
        if not served:
            continue
        latest[served[-1]] = now = event["time"]
        alive = {number: at for number, at in latest.items() if now - at <= duration_ms(declaration.window)}
        if len(alive) > len(walk):
            others = [at for number, at in alive.items() if number != served[-1]]
            walk.append((event, now - max(others, default=now), now - min(alive.values())))
    return walk


KINDS = st.sampled_from(["a", "b", "c", "ab", "bc", "ac"])
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "person": st.sampled_from(["p", "p", "q", None]),
            "gap": st.sampled_from([0, 0, 1, 1, 2, 6, 24, 500]),
            "kind": st.sampled_from("aaabbbcccxy"),
            "land": st.sampled_from(["DE", "FR", None]),
            "item": st.sampled_from(["i", "i", "j", None]),
            "begins": st.sampled_from([False, False, False, True]),
        }
    ),
    min_size=1,
    max_size=30,
)


@st.composite
def declarations(draw: st.DrawFn) -> Funnel:
    steps = draw(st.lists(KINDS, min_size=2, max_size=4))
    options: dict[str, Any] = {
        "order": draw(st.sampled_from(["ordered", "ordered", "strict", "any"])),
        "window": draw(st.sampled_from(["1h", "3h", "1d", "14d"])),
        "period": draw(st.sampled_from(["total", "total", "day", "week", "month"])),
    }
    if options["order"] != "any":
        if draw(st.booleans()):
            options["step_window"] = draw(st.sampled_from(["1h", "2h", "6h"]))
        exclude = []
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            after = draw(st.integers(1, len(steps) - 1))
            before = draw(st.sampled_from([None, *range(after + 1, len(steps) + 1)]))
            of = draw(st.sampled_from(["x", "x", "b", "xa"]))
            exclude.append({"where": kind_is(of), "after": after, **({"before": before} if before else {})})
        options["exclude"] = exclude
    if draw(st.booleans()):
        options["breakdown"] = "land"
        options["attribution"] = draw(st.sampled_from(["first", "last", "all", *range(1, len(steps) + 1)]))
    if draw(st.sampled_from([False, False, True])):
        options["constant"] = "item"
    if options.get("attribution") != "all" and "constant" not in options and draw(st.booleans()):
        options["unit"] = "session"
    return funnel(*steps, **options)


@settings(max_examples=600, deadline=None)
@given(declarations(), EVENTS, st.lists(st.integers(-1, 30), max_size=6), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_however_the_events_are_split_it_is_what_one_event_after_the_other_gives(
    declaration: Funnel, drawn: list[dict[str, Any]], places: list[int], zone: str
) -> None:
    events: list[Event] = []
    now = START_MS
    begins: dict[int, bool] = {}
    seen: set[str | None] = set()
    for event in drawn:
        now += event["gap"] * HOUR_MS // 2
        begins[len(events)] = event["begins"] or event["person"] not in seen
        seen.add(event["person"])
        events.append({**event, "time": now})
    cuts = [events[place]["time"] if 0 <= place < len(events) else START_MS - 1 for place in places]
    said = facts_of(declaration, events, cuts=cuts, zone=zone, session_begins=begins)
    facts, lines = expected(declaration, events, zone, begins)
    entries = {fact: weight for fact, weight in said.items() if fact[0] == "entry funnel"}
    assert {fact: weight for fact, weight in said.items() if fact not in entries} == facts
    told = Counter[tuple[int, int]]()
    for (_, time_ms, fields), weight in entries.items():
        told[time_ms, dict(fields)["step"]] += weight
    assert told == lines
    # Each line has a reference of its own, except that chains of one person may begin at the same moment.
    assert declaration.entrants == "session" or all(weight == 1 for weight in entries.values())
