"""Funnels, beside a slow reading of the same rules: every chain of every entrant, one event after the other."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.durations import duration_ms
from stream.metrics import Metric
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
                    (entry, at) for entry, at in chains[number - 1] if now - entry <= window_ms and now - at <= step_ms
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


def drawn_funnel(random: Random) -> Funnel:
    steps = random.choices(["a", "b", "c", "ab", "bc", "ac"], [3, 3, 3, 1, 1, 1], k=random.randint(2, 4))
    options: dict[str, Any] = {
        "order": random.choice(["ordered", "ordered", "strict", "any"]),
        "window": random.choice(["1h", "3h", "8h", "1d", "14d"]),
        "period": random.choice(["total", "total", "total", "day", "week", "month"]),
    }
    if options["order"] != "any":
        if random.random() < 0.4:
            options["step_window"] = random.choice(["1h", "2h", "6h"])
        options["exclude"] = [_drawn_exclude(random, len(steps)) for _ in range(random.choice([0, 0, 1, 2]))]
    if random.random() < 0.6:
        options["breakdown"] = "land"
        options["attribution"] = random.choice(["first", "last", "all", *range(1, len(steps) + 1)])
    if random.random() < 0.2:
        options["constant"] = "item"
    elif options.get("attribution") != "all" and random.random() < 0.4:
        options["unit"] = "session"
    return funnel(*steps, **options)


def _drawn_exclude(random: Random, steps: int) -> dict[str, Any]:
    after = random.randint(1, steps - 1)
    before = random.choice([None, *range(after + 1, steps + 1)])
    where = kind_is(random.choice(["x", "x", "b", "xa"]))
    return {"where": where, "after": after, **({"before": before} if before else {})}


def drawn_events(random: Random) -> list[Event]:
    """Of a few people, in order of time, half hours apart; `begins` says which is the first of a session."""
    now, seen, events = START_MS, set(), []
    for _ in range(random.randint(1, 100)):
        now += random.choices([0, 1, 2, 6, 24, 500], [12, 12, 4, 2, 1, 0.3])[0] * HOUR_MS // 2
        person = random.choice(["p", "q", "r", "s", None] if random.random() < 0.5 else ["p", "q"])
        event = {
            "person": person,
            "time": now,
            "kind": random.choices("abcxy", [4, 4, 4, 1, 1])[0],
            "land": random.choice(["DE", "FR", None]),
            "item": random.choice(["i", "i", "i", "j", None]),
            "begins": person not in seen or random.random() < 0.15,
        }
        seen.add(person)
        events.append(event)
    return events


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=True))
def test_however_the_events_are_split_it_is_what_one_event_after_the_other_gives(random: Random) -> None:
    declaration, events = drawn_funnel(random), drawn_events(random)
    zone = random.choice(["UTC", "Europe/Berlin"])
    begins = {place: event["begins"] for place, event in enumerate(events)}
    cuts = [event["time"] - random.randint(0, 1) for event in random.choices(events, k=random.choice([0, 1, 3, 30]))]
    said = facts_of(declaration, events, cuts=cuts, zone=zone, session_begins=begins)
    facts, lines = expected(declaration, events, zone, begins)
    entries = {fact: weight for fact, weight in said.items() if fact[0] == "entry funnel"}
    assert {fact: weight for fact, weight in said.items() if fact not in entries} == facts, declaration
    told = Counter[tuple[int, int]]()
    for (_, time_ms, fields), weight in entries.items():
        told[time_ms, dict(fields)["step"]] += weight
    assert told == lines, declaration
    # A line takes the place of one with the same reference. Sessions may begin at the same moment, others do not.
    references = {fields[:2] for _, _, fields in entries}
    assert declaration.entrants == "session" or len(references) == sum(entries.values()), declaration


# By hand, so that both readings cannot be wrong alike.


@pytest.mark.parametrize(
    ("order", "text", "steps"),
    [
        ("ordered", "a0 b1 c2", 3),
        ("ordered", "a0 x0.5 b1 x1.5 c2", 3),
        ("ordered", "b0 a1 c2", 1),
        ("ordered", "a0 b1 a9 c10", 3),  # exactly ten hours after the first a
        ("ordered", "a0 b1 c10.1", 2),
        ("ordered", "a0 b1 a5 b6 c12", 3),  # the later chain is still within the window
        ("ordered", "a0 b1 a5 c12", 2),  # the b is of the first chain
        ("strict", "a0 b1 c2", 3),
        ("strict", "a0 b1 x1 c2", 2),
        ("strict", "a0 x0 b1 a2 b3 c4", 3),
        ("any", "c0 a1 b2", 3),
        ("any", "c0 c1 b2", 2),
        ("any", "c0 a5 b10.1", 2),
        ("any", "c0 a5 b10", 3),
        ("any", "x0", 0),
    ],
)
def test_how_far_a_person_comes(order: str, text: str, steps: int) -> None:
    assert reached(funnel("a", "b", "c", order=order, window="10h"), text) == steps


def test_one_event_never_serves_two_steps() -> None:
    twice = funnel("a", "a")
    assert reached(twice, "a0") == 1
    assert reached(twice, "a0 a0") == 2
    assert reached(funnel("a", "ab", order="any"), "a0") == 1
    assert reached(funnel("a", "b", "a", order="strict"), "a0 b1 a2") == 3


def test_a_chain_that_overlaps_a_broken_one_is_found_in_strict_order() -> None:
    assert reached(funnel("a", "a", "b", order="strict"), "a0 a1 a2 b3") == 3


def test_each_step_may_have_a_limit_of_its_own() -> None:
    assert reached(funnel("a", "b", "c", step_window="2h"), "a0 b2 c4") == 3
    assert reached(funnel("a", "b", "c", step_window="2h"), "a0 b2 c4.1") == 2


@pytest.mark.parametrize(
    ("options", "text", "steps"),
    [
        ({}, "a0 x1 b2 c3", 0),
        ({}, "a0 b1 x2 c3", 0),
        ({}, "x0 a1 b2 c3 x4", 3),
        ({"after": 2}, "a0 x1 b2 c3", 3),
        ({"before": 2}, "a0 b1 x2 c3", 3),
        ({"before": 2}, "a0 x1 b2 c3", 0),
        ({}, "a0 x11 a12 b13", 2),  # the way is at an end when the window is
    ],
)
def test_what_is_excluded_removes_a_person_on_the_way(options: dict[str, int], text: str, steps: int) -> None:
    declaration = funnel("a", "b", "c", window="10h", exclude=[{"where": kind_is("x"), **options}])
    assert reached(declaration, text) == steps


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_what_was_said_of_a_removed_person_is_taken_back(cut: int) -> None:
    declaration = funnel("a", "b", "c", breakdown="land", exclude=[{"where": kind_is("x")}])
    events = events_of("a0 b1 x2 a3 b4 c5", land="DE")
    assert facts_of(declaration, events, cuts=[START_MS + cut * HOUR_MS]) == {}


@pytest.mark.parametrize(
    ("attribution", "counts"),
    [
        ("first", {("1", "DE"): 1, ("2", "DE"): 1, ("3", "DE"): 1}),
        ("last", {("1", "IT"): 1, ("2", "IT"): 1, ("3", "IT"): 1}),
        (2, {("1", "FR"): 1, ("2", "FR"): 1, ("3", "FR"): 1}),
        ("all", {("1", "DE"): 1, ("1", "FR"): 1, ("2", "FR"): 1}),
    ],
)
def test_a_person_has_the_label_of_the_event_that_it_is_attributed_to(
    attribution: str | int, counts: dict[tuple[str, str], int]
) -> None:
    declaration = funnel("a", "b", "c", breakdown="land", attribution=attribution)
    lands = ["DE", "FR", "FR", "IT"]
    events = [{**e, "land": land} for e, land in zip(events_of("a0 a0.5 b1 c2"), lands, strict=True)]
    for cuts in ([], [event["time"] for event in events]):
        assert people(facts_of(declaration, events, cuts=cuts)) == counts


def test_a_person_who_has_not_reached_the_step_of_the_label_has_none() -> None:
    declaration = funnel("a", "b", "c", breakdown="land", attribution=2)
    assert people(facts_of(declaration, events_of("a0", land="DE"))) == {("1", "__none__"): 1}


def test_a_property_that_is_held_constant_must_be_the_same_at_all_steps() -> None:
    declaration = funnel("a", "b", constant="item")
    events = [*events_of("a0 b2", item="i"), *events_of("a1", item="j"), *events_of("a1 b3")]
    assert people(facts_of(declaration, events)) == {"1": 2, "2": 1}


def test_a_person_counts_once_in_each_period_in_that_of_the_entry() -> None:
    declaration = funnel("a", "b", period="day", window="2d")
    midnight = 1_699_999_200_000 + 2 * HOUR_MS - 7_200_000  # 2023-11-14T22:00Z
    events = [
        {"person": "p", "time": midnight + hours * HOUR_MS, "kind": kind}
        for kind, hours in [("a", 0), ("a", 1), ("b", 3), ("a", 4), ("b", 5), ("b", 40)]
    ]
    said = facts_of(declaration, events)
    by_day = Counter[tuple[int, str]]()
    for (kind, time_ms, fields), weight in said.items():
        if kind == "funnel.f":
            by_day[time_ms, dict(fields)["step"]] += weight
    day = midnight - 22 * HOUR_MS
    assert by_day == {(day, "1"): 1, (day, "2"): 1, (day + 24 * HOUR_MS, "1"): 1, (day + 24 * HOUR_MS, "2"): 1}


def test_each_session_counts_by_itself() -> None:
    declaration = funnel("a", "b", unit="session")
    begins = {0: True, 1: False, 2: True, 3: True, 4: False}
    said = facts_of(declaration, events_of("a0 b1 a2 b3 a4"), session_begins=begins)
    assert people(said) == {"1": 3, "2": 1}


def test_times_to_convert_are_from_the_step_before_and_from_end_to_end() -> None:
    said = facts_of(funnel("a", "b", "c"), events_of("a0 b1 c3 a4 b4.1 c4.2"))
    assert {fields: weight for (kind, _, fields), weight in said.items() if kind == "funnel.f.seconds"} == {
        (("seconds", 3600.0), ("step", "2"), ("within", "1h")): 1,
        (("seconds", 7200.0), ("step", "3"), ("within", "3h")): 1,
        (("seconds", 10800.0), ("step", "all"), ("within", "3h")): 1,
    }


def test_thirty_steps() -> None:
    kinds = [chr(ord("A") + number) for number in range(30)]
    for order in ("ordered", "strict", "any"):
        events = [{"person": "p", "time": START_MS + n, "kind": kind} for n, kind in enumerate(kinds)]
        said = facts_of(funnel(*kinds, order=order), events, cuts=[START_MS + 7, START_MS + 20])
        assert people(said) == {str(number + 1): 1 for number in range(30)}


@pytest.mark.skipif(not EVENTSIM.exists(), reason="the real events are not at hand")
@pytest.mark.parametrize(("order", "counts"), [("ordered", [85, 83, 14, 8]), ("strict", [85, 82, 5, 4])])
def test_real_people_on_their_way_to_pay(order: str, counts: list[int]) -> None:
    pages = ["Home", "NextSong", "Upgrade", "Submit Upgrade"]
    steps = [{"name": page, "where": f"page = '{page}'"} for page in pages]
    declaration = Funnel.model_validate({"name": "f", "steps": steps, "order": order})
    with gzip.open(EVENTSIM) as file:
        lines = [orjson.loads(line) for line in file]
    events = [{"person": line["userId"] or None, "time": line["ts"], "page": line["page"]} for line in lines]
    times = sorted(event["time"] for event in events)
    for cuts in ([], times[:: len(times) // 7]):
        said = facts_of(declaration, events, cuts=cuts)
        assert people(said) == {str(number): count for number, count in enumerate(counts, 1)}


# What a catalog says.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": [step("a")]}, "expected 2 to 30 steps, found 1"),
        ({"steps": [step("a")] * 31}, "expected 2 to 30 steps, found 31"),
        ({"name": "No"}, "String should match pattern"),
        ({"window": "soon"}, "expected a duration such as 10s, 5m, 1h or 2d, found 'soon'"),
        ({"order": "any", "step_window": "1h"}, "step_window: expected none, as no step is before another"),
        ({"order": "any", "exclude": [{"where": "true"}]}, "exclude: expected none, as no step is before another"),
        ({"exclude": [{"where": "true", "after": 2}]}, "exclude[0].after: expected a step from 1 to 1, found 2"),
        ({"exclude": [{"where": "true", "before": 3}]}, "exclude[0].before: expected a step from 2 to 2, found 3"),
        ({"attribution": "first"}, "attribution: expected none, as there is no breakdown, found 'first'"),
        ({"breakdown": "land", "attribution": 3}, "attribution: expected a step from 1 to 2, found 3"),
        ({"breakdown": "land", "attribution": "best"}, 'expected "first", "last", "all" or the number of a step'),
        ({"unit": "session", "constant": "item"}, "unit: expected person, as a constant parts a session's events"),
        ({"unit": "session", "breakdown": "land", "attribution": "all"}, "unit: expected person, as attribution ="),
        ({"unit": "household"}, "Input should be 'person' or 'session'"),
    ],
)
def test_what_is_wrong_with_a_funnel_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Funnel.model_validate({"name": "f", "steps": [step("a"), step("b")], **options})
    assert message in str(caught.value)


def test_its_metrics_are_over_its_facts() -> None:
    declaration = funnel("a", "b", period="week", breakdown="land")
    kinds = {kind.name: kind for kind in declaration.kinds(ZoneInfo("UTC"))}
    metrics = {metric["name"]: metric for metric in declaration.metrics()}
    assert list(metrics) == [
        f"f_{name}" for name in ("people", "entered", "converted", "conversion", "seconds", "within")
    ]
    for metric in metrics.values():
        assert set(metric.get("by", ())) <= set(kinds[metric["on"]].fields)
        if metric["measure"] != "ratio":
            assert metric["windows"] == ["week"]
            Metric.model_validate({key: value for key, value in metric.items() if key != "on"})
    assert metrics["f_people"]["by"] == ["step", "breakdown"]
    assert metrics["f_converted"]["where"] == "step = '2'"
