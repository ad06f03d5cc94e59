"""Retention against plain Python over all events of a person at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.durations import DAY_MS, duration_ms
from stream.metrics import Metric
from stream.people.base import Setting
from stream.people.offsets import Numbering
from stream.people.periods import CalendarPeriods
from stream.people.retention import RetentionTable
from stream.people.vocabulary import Vocabulary
from tests.stream.people.plain import Event, facts_of

LENGTH_MS = {"day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS}
ZONES = {
    # Around a moment at which something happens to the clocks.
    "UTC": "2024-03-01T00:00:00+00:00",
    "Europe/Berlin": "2024-03-31T01:00:00+00:00",
    "Pacific/Apia": "2011-12-30T10:00:00+00:00",
    "Africa/Casablanca": "2018-10-28T02:00:00+00:00",
    "America/Sao_Paulo": "2018-11-04T03:00:00+00:00",
}
Key = tuple[str, int, str | None, str | None]
"""(people, returned or revenue; start of the cohort; offset; segment)."""


def ms_of(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def table(**keys: Any) -> RetentionTable:
    return RetentionTable.model_validate({"name": "weekly", **keys})


def said_of(declared: RetentionTable, events: Sequence[Event], **options: Any) -> dict[Key, float]:
    """What the metrics would show: counts, and sums of the revenue."""
    found: defaultdict[Key, float] = defaultdict(float)
    names = {declared.kind("people"): "people", declared.kind(): "returned", declared.kind("revenue"): "revenue"}
    for (kind, time_ms, fields), weight in facts_of(declared, events, **options).items():
        values = dict(fields)
        key = names[kind], time_ms, values.get("offset"), values.get("segment")
        found[key] += weight * values.get("value", 1)
    return {key: value for key, value in found.items() if value}


def first_day(declared: RetentionTable, time_ms: int, zone: ZoneInfo) -> date:
    day = datetime.fromtimestamp(time_ms / 1000, zone).date()
    if declared.period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if declared.period == "month" else day


def apart(declared: RetentionTable, start: int, time: int, zone: ZoneInfo) -> int:
    if declared.rolling:
        return (time - start) // LENGTH_MS[declared.period]
    one, other = first_day(declared, start, zone), first_day(declared, time, zone)
    if declared.period == "month":
        return (other.year - one.year) * 12 + other.month - one.month
    if declared.period == "week":
        return (other - one).days // 7
    # Samoa had no 30 December 2011.
    left_out = zone.key == "Pacific/Apia" and one < date(2011, 12, 30) < other
    return (other - one).days - left_out


def expected(declared: RetentionTable, events: Sequence[Event], zone_name: str) -> dict[Key, float]:
    """The same by sets for each person. Conditions here are `event = '…'` or `plan = '…'`."""
    zone = ZoneInfo(zone_name)
    found: Counter[Key] = Counter()

    def meets(condition: str | None, event: Event) -> bool:
        if condition is None:
            return True
        name, text = condition.split(" = ")
        return bool(event.get(name) == text.strip("'"))

    def label(offset: int) -> str:
        if declared.mode != "bracket":
            return str(offset)
        begins = declared.brackets or [0, 1, 4, 8]
        for first, after in zip(begins, [*begins[1:], declared.periods + 1], strict=True):
            if first <= offset < after:
                return str(first) if first + 1 == after else f"{first}-{after - 1}"
        raise AssertionError(offset)

    people: defaultdict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event["time"]):
        if event["person"] is not None:
            people[event["person"]].append(event)
    for mine in people.values():
        place = next((place for place, event in enumerate(mine) if meets(declared.start, event)), None)
        if place is None:
            continue
        start, mine = mine[place], mine[place:]
        day = first_day(declared, start["time"], zone)
        cohort = int(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC).timestamp() * 1000)
        segment = None
        if declared.by is not None:
            segment = start.get(declared.by) or "__none__"
        elif declared.cohort_where is not None:
            segment = "yes" if meets(declared.cohort_where, start) else "no"
        elif declared.did is not None:
            within = LENGTH_MS[declared.period] if declared.did_within is None else duration_ms(declared.did_within)
            soon = [event for event in mine if event["time"] - start["time"] <= within]
            segment = "did" if any(meets(declared.did, event) for event in soon) else "did not"
        found["people", cohort, None, segment] += 1
        offsets = {0} | {apart(declared, start["time"], e["time"], zone) for e in mine if meets(declared.returns, e)}
        offsets = {offset for offset in offsets if offset <= declared.periods}
        if declared.mode == "on_or_after":
            offsets = set(range(max(offsets) + 1))
        for text in {label(offset) for offset in offsets}:
            found["returned", cohort, text, segment] += 1
        for event in mine if declared.revenue else ():
            offset = apart(declared, start["time"], event["time"], zone)
            if event.get("price") is not None and offset <= declared.periods:
                found["revenue", cohort, label(offset), segment] += event["price"]
    return {key: value for key, value in found.items() if value}


@st.composite
def cases(draw: st.DrawFn) -> tuple[RetentionTable, str, list[Event], list[int]]:
    """A declaration, a zone, events around a change of its clocks, and cuts."""
    keys: dict[str, Any] = {
        "period": draw(st.sampled_from(["day", "week", "month"])),
        "mode": draw(st.sampled_from(["on", "on_or_after", "bracket"])),
        "rolling": draw(st.booleans()),
        "periods": draw(st.sampled_from([1, 3, 12, 60])),
    }
    if keys["mode"] == "bracket":
        keys["brackets"] = draw(st.sampled_from([[0], [0, 1], [0, 1, 2, 3], [0, 2, 5], [0, 1, 4, 8, 12], None]))
        if keys["brackets"] is None or keys["brackets"][-1] > keys["periods"]:
            keys["periods"] = 12
    kinds = st.sampled_from(["event = 'signup'", "event = 'visit'", None])
    keys |= {"start": draw(kinds), "return": draw(kinds), "revenue": draw(st.sampled_from([None, "price"]))}
    how = draw(st.sampled_from(["by", "cohort_where", "did", "none"]))
    if how == "by":
        keys["by"] = "country"
    elif how == "cohort_where":
        keys["cohort_where"] = "plan = 'pro'"
    elif how == "did":
        keys["did"] = draw(st.sampled_from(["event = 'post'", "event = 'signup'"]))
        keys["did_within"] = draw(st.sampled_from([None, "1h", "3d", "90d"]))
    zone = draw(st.sampled_from(list(ZONES)))
    length = LENGTH_MS[keys["period"]]
    times = st.integers(-5 * length, 14 * length) | st.integers(-60, 60).map(lambda n: n * length) | st.integers(-2, 2)
    times = times.map(lambda away: ms_of(ZONES[zone]) + away)
    event = st.fixed_dictionaries(
        {
            "person": st.sampled_from(["ann", "bob", "cy", None]),
            "time": times,
            "event": st.sampled_from(["signup", "visit", "post"]),
            "country": st.sampled_from(["DE", "MA", None]),
            "plan": st.sampled_from(["pro", "free", None]),
            "price": st.sampled_from([None, 1.0, 2.5, -1.0, 40.25]),
        }
    )
    events = draw(st.lists(event, min_size=1, max_size=30))
    cuts = draw(st.lists(st.sampled_from([e["time"] for e in events]) | times, max_size=6))
    return table(**keys), zone, events, cuts


@given(cases())
def test_it_is_what_sets_of_each_person_say_however_events_are_cut(
    case: tuple[RetentionTable, str, list[Event], list[int]],
) -> None:
    declared, zone, events, cuts = case
    want = expected(declared, events, zone)
    assert said_of(declared, events, zone=zone) == want
    assert said_of(declared, events, zone=zone, cuts=cuts) == want
    assert said_of(declared, events, zone=zone, cuts=[event["time"] for event in events]) == want


def on_days(*days: int, person: str = "ann", **fields: Any) -> list[Event]:
    """A person's visits at noon of days after 2024-03-01."""
    noon = ms_of("2024-03-01T12:00:00+00:00")
    return [{"person": person, "time": noon + day * DAY_MS, "event": "visit", **fields} for day in days]


def returned(found: dict[Key, float]) -> dict[str | None, float]:
    return {offset: count for (what, _, offset, _), count in found.items() if what == "returned"}


def test_a_return_counts_for_its_own_offset_all_up_to_it_or_its_bracket() -> None:
    events = on_days(0, 2, 2, 5, 99)
    assert returned(said_of(table(), events)) == {"0": 1, "2": 1, "5": 1}
    assert returned(said_of(table(mode="on_or_after"), events)) == {str(offset): 1 for offset in range(6)}
    assert returned(said_of(table(mode="bracket"), events)) == {"0": 1, "1-3": 1, "4-7": 1}
    assert table(mode="bracket").cells.labels == ["0", "1-3", "4-7", "8-12"]
    assert table(mode="bracket", periods=4).cells.labels == ["0", "1-3", "4"]


def test_the_start_of_the_cohort_is_the_time_of_all_its_facts() -> None:
    events = [{"person": "ann", "time": ms_of("2024-05-15T12:00:00+00:00") + day * DAY_MS} for day in (0, 40)]
    berlin = said_of(table(period="month"), events, zone="Europe/Berlin")
    assert {time for _, time, _, _ in berlin} == {ms_of("2024-05-01T00:00:00+02:00")}
    assert returned(berlin) == {"0": 1, "1": 1}


def test_rolling_offsets_are_whole_days_since_the_start() -> None:
    start = ms_of("2024-03-01T23:00:00+00:00")
    events = [{"person": "ann", "time": start + after} for after in (0, 2 * 3_600_000, DAY_MS - 1, 2 * DAY_MS)]
    assert returned(said_of(table(), events)) == {"0": 1, "1": 1, "2": 1}
    assert returned(said_of(table(rolling=True), events)) == {"0": 1, "2": 1}


def test_a_day_of_25_hours_is_one_day() -> None:
    start = ms_of("2024-10-27T00:00:00+02:00")
    events = [{"person": "ann", "time": start + hours * 3_600_000} for hours in (0, 24, 25)]
    assert returned(said_of(table(), events, zone="Europe/Berlin")) == {"0": 1, "1": 1}
    assert returned(said_of(table(), events[:2], zone="Europe/Berlin")) == {"0": 1}


def test_a_day_that_a_zone_leaves_out_is_none() -> None:
    events = [{"person": "ann", "time": ms_of(text)} for text in ("2011-12-29T12:00-10:00", "2011-12-31T00:00+14:00")]
    found = said_of(table(), events, zone="Pacific/Apia")
    assert returned(found) == {"0": 1, "1": 1}


def test_who_does_it_takes_everything_along() -> None:
    declared = table(did="event = 'post'", did_within="3d", revenue="price")
    events = [*on_days(0, 1, price=2.0), *on_days(2, price=0.5)]
    cohort = ms_of("2024-03-01T00:00:00+00:00")
    before = said_of(declared, events)
    assert before["people", cohort, None, "did not"] == 1
    assert before["revenue", cohort, "1", "did not"] == 2.0
    events.append({**events[-1], "event": "post", "time": events[0]["time"] + 3 * DAY_MS, "price": None})
    after = said_of(declared, events, cuts=[event["time"] for event in events])
    assert after == {(what, time, offset, "did"): n for (what, time, offset, _), n in before.items()} | {
        ("returned", cohort, "3", "did"): 1
    }
    events[-1] = {**events[-1], "time": events[-1]["time"] + 1}
    assert {segment for *_, segment in said_of(declared, events)} == {"did not"}


def test_one_bracket_that_holds_everything_will_do() -> None:
    declared = table(mode="bracket", brackets=[0], did="event = 'post'", did_within="9d", revenue="price")
    events = [*on_days(0, 1, 2, price=2.0), *on_days(3, price=1.0)]
    events[-1]["event"] = "post"
    cohort = ms_of("2024-03-01T00:00:00+00:00")
    assert said_of(declared, events, cuts=[event["time"] for event in events]) == {
        ("people", cohort, None, "did"): 1,
        ("returned", cohort, "0-12", "did"): 1,
        ("revenue", cohort, "0-12", "did"): 7.0,
    }


def test_a_retention_of_400_days_works() -> None:
    events = on_days(0, 63, 64, 399, 400, 401)
    for cuts in ([], [event["time"] for event in events]):
        found = said_of(table(periods=400, did="event = 'post'"), events, cuts=cuts)
        assert returned(found) == {"0": 1, "63": 1, "64": 1, "399": 1, "400": 1}
        assert len(returned(said_of(table(periods=400, mode="on_or_after"), events, cuts=cuts))) == 401


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"by": "country", "did": "a = 1"}, "did: expected at most one of by, did and cohort_where"),
        ({"did_within": "1d"}, "did_within: expected also `did`"),
        ({"did": "a = 1", "did_within": "soon"}, "expected a duration"),
        ({"did": "a = 1", "revenue": "b", "periods": 61}, "periods: expected at most 60"),
        ({"brackets": [0, 1]}, "brackets: expected none, as mode on has none"),
        ({"mode": "bracket", "brackets": [1, 2]}, "brackets: expected offsets that begin with 0 and rise"),
        ({"mode": "bracket", "brackets": [0, 2, 2]}, "brackets: expected offsets that begin with 0 and rise"),
        ({"mode": "bracket", "brackets": [0, 13]}, "brackets: expected offsets up to periods = 12"),
        ({"periods": 401}, "less than or equal to 400"),
        ({"returns": "a = 1"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_table_is_refused_with_the_key(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        table(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"revenue": "price"},
        {"by": "country", "period": "month", "periods": 400, "revenue": "price"},
        {"did": "event = 'post'", "mode": "bracket", "title": "Weekly"},
    ],
)
def test_its_metrics_are_sound_and_over_its_facts(keys: dict[str, Any]) -> None:
    declared = table(**keys)
    kinds = {kind.name: kind for kind in declared.kinds(ZoneInfo("UTC"))}
    for raw in declared.metrics():
        kind = kinds[raw["on"]]
        metric = Metric.model_validate({key: value for key, value in raw.items() if key != "on"})
        assert set(metric.by) <= set(kind.fields)
        assert metric.windows == [declared.period]
        assert metric.value is None or metric.value in kind.fields


def test_series_are_bounded() -> None:
    bounds = {raw["name"]: raw["max_series"] for raw in table(by="country", periods=400).metrics()}
    assert bounds == {"weekly_people": 1_000, "weekly_returned": 200_000}
    bounds = {raw["name"]: raw["max_series"] for raw in table(cohort_where="a = 1").metrics()}
    assert bounds == {"weekly_people": 2, "weekly_returned": 26}


def test_cohorts_settle_when_the_last_offset_of_the_last_who_began_has_passed() -> None:
    def settles(**keys: Any) -> int:
        return next(iter(table(**keys).kinds(ZoneInfo("UTC")))).settles_ms

    assert settles() == 13 * 25 * 3_600_000
    assert settles(rolling=True) == 14 * 25 * 3_600_000
    assert settles(did="a = 1", did_within="90d") == 90 * DAY_MS


@pytest.mark.parametrize(
    ("keys", "most"),
    [({}, 12), ({"mode": "on_or_after"}, 6), ({"by": "country", "rolling": True}, 24), ({"did": "a = 1"}, 21)],
)
def test_little_is_kept_of_a_person(keys: dict[str, Any], most: int) -> None:
    analysis = table(**keys).make(Setting(ZoneInfo("UTC"), Vocabulary()))
    assert sum(np.dtype(column.dtype).itemsize * column.width for column in analysis.columns) <= most


@given(
    st.lists(st.integers(ms_of("1999-01-01T00:00Z"), ms_of("2030-01-01T00:00Z")), max_size=20),
    st.sampled_from([*ZONES, "America/Havana", "Asia/Kathmandu"]),
    st.sampled_from(["day", "week", "month"]),
)
def test_periods_have_the_numbers_and_starts_of_the_calendar(times: list[int], zone: str, unit: Any) -> None:
    periods = CalendarPeriods(unit, ZoneInfo(zone))
    numbering = Numbering(periods)
    for time in times:
        number = numbering.of(np.array([time]))
        assert number.tolist() == periods.of(np.array([time])).tolist()
        assert numbering.start_ms(number - 3).tolist() == periods.start_ms(number - 3).tolist()
    assert (
        numbering.of(np.array(times, dtype=np.int64)).tolist() == periods.of(np.array(times, dtype=np.int64)).tolist()
    )


def test_numbers_never_fall_where_clocks_are_set_back_over_midnight() -> None:
    # Newfoundland, 2010-11-07 00:01 → 2010-11-06 23:01.
    midnight = ms_of("2010-11-07T00:00-02:30")
    numbers = Numbering(CalendarPeriods("day", ZoneInfo("America/St_Johns"))).of(
        midnight + np.arange(-120, 180) * 60_000
    )
    assert (np.diff(numbers) >= 0).all()
    assert numbers[-1] - numbers[0] == 1
