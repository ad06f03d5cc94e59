from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.durations import duration_ms
from stream.people.engagement import MOST_DAYS, Engagement, score_bounds
from tests.stream.people.calendars import days_of, times, zones
from tests.stream.people.plain import Event, Fact, facts_of

DAY_MS = 86_400_000
ACTIONS = [
    {"where": "what = 'post'", "weight": 5},
    {"where": "what = 'view'", "weight": 0.75},
    {"where": "loud", "weight": 20.0},
]
WORTH = {"post": 5.0, "view": 0.75, "ping": 0.0}


def worth(event: Event) -> float:
    return WORTH[event["what"]] + (20.0 if event["loud"] else 0.0)


def value_at(events: Sequence[Event], time_ms: int, half_life_ms: int) -> float:
    return sum(worth(event) * 0.5 ** ((time_ms - event["time"]) / half_life_ms) for event in events)


def expected(
    events: Sequence[Event], zone: str, until_ms: int, half_life_ms: int, levels: Mapping[str, float]
) -> Counter[Fact]:
    """What is so at the end of every day, from all actions before it at once."""
    said: Counter[Fact] = Counter()
    calendar = [start for _, start in days_of(zone)]
    newest = bisect_right(calendar, until_ms) - 1
    rising = sorted((bound, name) for name, bound in levels.items())
    # By hand, as far as these tests get.
    buckets = [(bound, str(bound)) for bound in (1, 2, 5, 10, 20, 50, 100, 200, 500)]
    buckets = [(0.2, "0.2"), (0.5, "0.5"), *buckets] if rising[0][0] < 1 else buckets
    for person in {event["person"] for event in events}:
        own = [event for event in events if event["person"] == person and worth(event)]
        if not own:
            continue
        first = bisect_right(calendar, min(event["time"] for event in own)) - 1
        for day in range(first, newest + 1):
            end_ms = calendar[day + 1]
            value = value_at([event for event in own if event["time"] < end_ms], end_ms, half_life_ms)
            value *= 1 + 1e-9
            if value < rising[0][0]:
                continue
            level = max((bound, name) for bound, name in rising if bound <= value)[1]
            bucket = max((bound, name) for bound, name in buckets if bound <= value)[1]
            said["engagement.level", calendar[day], (("level", level),)] += 1
            said["engagement.score", calendar[day], (("score", bucket),)] += 1
    return said


def actions(zone: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    event = st.fixed_dictionaries(
        {
            "person": st.sampled_from("ab"),
            "time": times(zone),
            "what": st.sampled_from(sorted(WORTH)),
            "loud": st.sampled_from([False, False, False, True]),
        }
    )
    return st.lists(event, min_size=1, max_size=25)


@given(
    data=st.data(),
    zone=zones,
    half_life=st.sampled_from(["6h", "1d", "7d", "30d", "1ms"]),
    levels=st.sampled_from([{"casual": 1, "regular": 5, "power": 20}, {"b": 2.5, "a": 0.25}, {"one": 7}]),
)
@settings(max_examples=120)
def test_equals_sums_at_the_ends_of_days(
    data: st.DataObject, zone: str, half_life: str, levels: dict[str, float]
) -> None:
    events = data.draw(actions(zone))
    cuts = data.draw(st.lists(times(zone), max_size=6))
    until_ms = max(event["time"] for event in events) + data.draw(st.sampled_from([0, 20 * DAY_MS, 300 * DAY_MS]))
    declared = Engagement.model_validate({"half_life": half_life, "action": ACTIONS, "levels": levels})
    said = facts_of(declared, events, zone=zone, cuts=cuts, spans_until_ms=until_ms)
    found = {fact: weight for fact, weight in said.items() if not fact[0].startswith("entry ")}
    assert found == expected(events, zone, until_ms, duration_ms(half_life), levels)


def post(day: float, person: str = "a") -> dict[str, Any]:
    return {"person": person, "time": int(day * DAY_MS), "what": "post"}


ONE = {"half_life": "1d", "action": [{"where": "what = 'post'", "weight": 8}]}


def levels_of(events: Sequence[Event], until_day: int, **options: Any) -> list[tuple[int, str]]:
    said = facts_of(Engagement.model_validate(ONE | options), events, spans_until_ms=until_day * DAY_MS)
    return sorted(
        (time // DAY_MS, fields[0][1]) for (kind, time, fields) in said.elements() if kind == "engagement.level"
    )


def test_a_score_that_just_reaches_a_bound_at_the_end_of_the_day_is_of_that_level() -> None:
    # 8 at the beginning of the day: 4, 2 and 1 at the ends of three days.
    assert levels_of([post(100)], 120, levels={"some": 1, "more": 4}) == [(100, "more"), (101, "some"), (102, "some")]


def test_what_was_said_of_days_to_come_is_taken_back_by_the_next_action() -> None:
    levels = {"some": 1, "more": 4}
    found = levels_of([post(100), post(101)], 120, levels=levels)
    # 4; 2 + 4 = 6 at the end of the second day: 6, 3, 1.5.
    assert found == [(100, "more"), (101, "more"), (102, "some"), (103, "some")]


def test_it_is_said_for_no_more_than_so_many_days() -> None:
    found = levels_of([post(100)], 3_000, half_life="9999d")
    assert [day for day, _ in found] == list(range(100, 100 + MOST_DAYS))


def test_each_person_has_one_line_with_level_and_score() -> None:
    events = [post(100), post(100.5, "b"), post(101)]
    said = facts_of(Engagement.model_validate(ONE), events, cuts=[int(100.7 * DAY_MS)])
    lines = sorted(
        (time // DAY_MS, dict(fields)["owner"], dict(fields)["reference"], dict(fields)["score"])
        for (kind, time, fields) in said
        if kind == "entry engagement"
    )
    assert lines == [(100, 0, 0, 8.0), (100, 1, 0, 8.0), (101, 0, 0, 12.0)]


def test_scores_fall_into_buckets_from_the_least_level_on() -> None:
    assert [name for _, name in score_bounds(1)][:7] == ["1", "2", "5", "10", "20", "50", "100"]
    assert score_bounds(0.03)[:3] == [(0.02, "0.02"), (0.05, "0.05"), (0.1, "0.1")]
    assert score_bounds(7)[0] == (5.0, "5")
    assert all(float(name) == bound for bound, name in score_bounds(1e-6))


def test_its_metrics() -> None:
    metrics = list(Engagement.model_validate(ONE).metrics())
    assert [(metric["name"], metric["on"], metric["by"], metric["windows"]) for metric in metrics] == [
        ("engagement_people", "engagement.level", ["level"], ["day"]),
        ("engagement_scores", "engagement.score", ["score"], ["day"]),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action": []}, "at least 1"),
        ({"action": [{"where": "a"}] * 31}, "at most 30"),
        ({"action": [{"where": "a", "weight": 0}]}, "greater than 0"),
        ({"action": [{"weight": 1}]}, "Field required"),
        ({"half_life": "long"}, "expected a duration such as 10s"),
        ({"levels": {}}, "at least 1"),
        ({"levels": {"inactive": 1}}, "levels: expected names other than inactive, found 'inactive'"),
        ({"levels": {"a": 1, "b": 1}}, "levels: expected another score for each"),
        ({"levels": {"a": 1, "b": 2e6}}, "levels: expected scores from 0.000001 to 1000000"),
        ({"levels": {"a": -1}}, "greater than 0"),
        ({"decay": "7d"}, "Extra inputs"),
    ],
)
def test_what_a_table_may_not_say(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Engagement.model_validate(ONE | options)
