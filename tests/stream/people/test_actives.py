from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stream.people.actives import Actives
from stream.tables import MetricName
from tests.stream.people.calendars import days_of, period_of, start_ms, times, zones
from tests.stream.people.plain import Event, Fact, Said, facts_of

DAY_MS = 86_400_000
PERIODS = ("day", "week", "month")


def expected(events: Sequence[Event], zone: str, by: Sequence[str] = ()) -> Counter[Fact]:
    """What is so at the end of every day, week and month, from all events at once."""
    said: Counter[Fact] = Counter()
    suffix = "_by_" + "_".join(by) if by else ""
    calendar = days_of(zone)
    place = {day: number for number, (day, _) in enumerate(calendar)}
    active: dict[tuple[str, ...], set[int]] = {}
    newest = 0
    for event in events:
        day = max(day for day, start in calendar if start <= event["time"])
        newest = max(newest, place[day])
        if event["what"] == "view":
            unit = (event["person"], *(event[name] or "__none__" for name in by))
            active.setdefault(unit, set()).add(place[day])

    def say(kind: str, time_ms: int, unit: tuple[str, ...], **own: str) -> None:
        fields = own | dict(zip(by, unit[1:], strict=True))
        said[kind + suffix, time_ms, tuple(sorted(fields.items()))] += 1

    for unit, days in active.items():
        for number in range(min(days), newest + 1):
            for span in (1, 7, 30):
                if any(number - span < day <= number for day in days):
                    say("actives.rolling", calendar[number][1], unit, span=str(span))
            if count := sum(number - 30 < day <= number for day in days):
                say("actives.days", calendar[number][1], unit, days=str(count))
        for period in PERIODS:
            seen = {period_of(calendar[day][0], period) for day in days}
            all_periods = sorted({period_of(day, period) for day, _ in calendar[: newest + 1]})
            for last, now in zip([None, *all_periods], all_periods, strict=False):
                statuses = []
                if now in seen:
                    statuses = ["new" if now == min(seen) else "returning" if last in seen else "resurrecting"]
                if last in seen:
                    statuses += ["previous"] if now in seen else ["previous", "dormant"]
                for status in statuses:
                    say(f"actives.{period}", start_ms(now, zone), unit, status=status)
    return said


def views(zone: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    event = st.fixed_dictionaries(
        {
            "person": st.sampled_from("abc"),
            "time": times(zone),
            "country": st.sampled_from(["de", "ws", None]),
            "device": st.sampled_from(["phone", "desk"]),
            "what": st.sampled_from(["view", "view", "view", "ping"]),
        }
    )
    return st.lists(event, min_size=1, max_size=40)


@given(data=st.data(), zone=zones, by=st.sampled_from([[], ["country"], ["country", "device"]]))
@settings(max_examples=120)
def test_equals_what_sets_of_days_say(data: st.DataObject, zone: str, by: list[str]) -> None:
    events = data.draw(views(zone))
    cuts = data.draw(st.lists(times(zone), max_size=6))
    declared = Actives(where="what = 'view'", by=by)
    assert facts_of(declared, events, zone=zone, cuts=cuts) == expected(events, zone, by)


def visits(*days: int) -> list[Event]:
    return [{"person": "a", "time": day * DAY_MS + 5} for day in days]


def of_kind(said: Said, kind: str, **fields: str) -> list[int]:
    """The days, from the epoch, at which a fact counts."""
    return sorted(time // DAY_MS for (name, time, own) in said if name == kind and own == tuple(fields.items()))


def test_a_person_counts_for_as_many_days_as_the_span_has() -> None:
    said = facts_of(Actives(), visits(100), spans_until_ms=200 * DAY_MS)
    assert of_kind(said, "actives.rolling", span="1") == [100]
    assert of_kind(said, "actives.rolling", span="7") == list(range(100, 107))
    assert of_kind(said, "actives.rolling", span="30") == list(range(100, 130))
    assert of_kind(said, "actives.days", days="1") == list(range(100, 130))


def test_who_comes_back_was_dormant_before() -> None:
    said = facts_of(Actives(periods=["day"]), visits(100, 101, 104), spans_until_ms=110 * DAY_MS)
    assert of_kind(said, "actives.day", status="new") == [100]
    assert of_kind(said, "actives.day", status="returning") == [101]
    assert of_kind(said, "actives.day", status="resurrecting") == [104]
    assert of_kind(said, "actives.day", status="dormant") == [102, 105]
    assert of_kind(said, "actives.day", status="previous") == [101, 102, 105]


@pytest.mark.parametrize(("last", "status"), [("2023-07-01", "returning"), ("2023-06-30", "resurrecting")])
def test_two_long_months_lie_next_to_each_other(last: str, status: str) -> None:
    days = [int(np.datetime64(day).astype(np.int64)) for day in (last, "2023-08-31")]
    said = facts_of(Actives(periods=["month"]), visits(*days))
    assert of_kind(said, "actives.month", status=status) == [int(np.datetime64("2023-08-01").astype(np.int64))]


def test_a_split_stands_beside_the_whole() -> None:
    whole, split = Actives(by=["country", "geo.City"]).parts()
    assert [whole.by, split.by] == [[], ["country", "geo.City"]]
    assert [key.text for key in split.unit()] == ['"country"', '"geo.City"']
    assert all(key.named for key in split.unit())
    names = [metric["name"] for metric in whole.metrics()]
    assert [f"{name}_by_country_geo_city" for name in names] == [metric["name"] for metric in split.metrics()]
    kinds = {kind.name for part in (whole, split) for kind in part.kinds(ZoneInfo("UTC"))}
    assert {metric["on"] for part in (whole, split) for metric in part.metrics()} == kinds
    assert Actives().parts() == [Actives()]


def test_every_metric_has_a_name_that_a_catalog_takes() -> None:
    adapter = TypeAdapter[str](MetricName)
    metrics = [metric for part in Actives(by=["Land"]).parts() for metric in part.metrics()]
    assert len({adapter.validate_python(metric["name"]) for metric in metrics}) == len(metrics) == 2 * (5 + 3 * 8)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"by": ["span"]}, "by: expected fields other than span, days, status, found 'span'"),
        ({"by": ["a", "a"]}, "expected each once"),
        ({"by": ["a", "b", "c"]}, "at most 2"),
        (
            {"by": ["a" * 60]},
            "by: expected names that leave those of metrics at 64 letters, found 'res",
        ),
        ({"periods": ["year"]}, "'day', 'week' or 'month'"),
        ({"every": 1}, "Extra inputs"),
    ],
)
def test_what_a_table_may_not_say(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Actives.model_validate(table)
