from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_api.people.past import Counted
from live_api.people.retention import table
from sinks.records import Point
from stream.people.retention import RetentionTable

from .people import DAY_MS, HOUR_MS, UTC_ZONE, ms, point, retention

MONDAY, NEXT, THIRD, FOURTH = "2026-05-04", "2026-05-11", "2026-05-18", "2026-05-25"
PEOPLE = [point("weekly_people", "week", MONDAY, 10), point("weekly_people", "week", NEXT, 4)]
RETURNED = [
    point("weekly_returned", "week", MONDAY, 10, offset="0"),
    point("weekly_returned", "week", MONDAY, 5, offset="1"),
    point("weekly_returned", "week", NEXT, 4, offset="0"),
    point("weekly_returned", "week", NEXT, 1, offset="1"),
]


def made(
    people: list[Point],
    returned: list[Point],
    revenue: list[Point] | None = None,
    *,
    as_of: str | int | None,
    zone: ZoneInfo = UTC_ZONE,
    with_sums: bool = False,
    **declared: Any,
) -> dict[str, Any]:
    one = retention(**declared)
    as_of_ms = ms(as_of) if isinstance(as_of, str) else as_of
    periods = Counted(one.period, zone)
    return table(
        one, people, returned, revenue or [], periods=periods, zone=zone, as_of_ms=as_of_ms, with_sums=with_sums
    )


def cells(found: dict[str, Any], row: int) -> list[Any]:
    """Each cell as (people, partial)."""
    return [cell and (cell["people"], cell["partial"]) for cell in found["cohorts"][row]["cells"]]


def test_a_matrix_as_it_is_shown() -> None:
    found = made(PEOPLE, RETURNED, as_of="2026-05-19T12:00")
    assert found == {
        "period": "week",
        "mode": "on",
        "rolling": False,
        "offsets": ["0", "1", "2"],
        "cohorts": [
            {
                "cohort": MONDAY,
                "segment": None,
                "people": 10,
                "cells": [
                    {"offset": "0", "people": 10, "share": 1.0, "partial": False},
                    {"offset": "1", "people": 5, "share": 0.5, "partial": False},
                    {"offset": "2", "people": 0, "share": 0.0, "partial": True},
                ],
                "revenue": None,
                "ltv": None,
            },
            {
                "cohort": NEXT,
                "segment": None,
                "people": 4,
                "cells": [
                    {"offset": "0", "people": 4, "share": 1.0, "partial": False},
                    {"offset": "1", "people": 1, "share": 0.25, "partial": True},
                    None,
                ],
                "revenue": None,
                "ltv": None,
            },
        ],
        "overall": [
            {"offset": "0", "people": 14, "of": 14, "share": 1.0},
            {"offset": "1", "people": 5, "of": 10, "share": 0.5},
            {"offset": "2", "people": 0, "of": 0, "share": None},
        ],
    }


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        ("2026-05-10", [(4, True), None, None]),
        (ms(NEXT) - 1, [(4, True), None, None]),
        (NEXT, [(4, False), None, None]),
        (ms(NEXT) + 1, [(4, False), (0, True), None]),
        (ms(FOURTH) - 1, [(4, False), (0, False), (0, True)]),
        (FOURTH, [(4, False), (0, False), (0, False)]),
        (None, [(4, True), None, None]),
    ],
)
def test_a_cell_is_partial_until_its_period_is_over(as_of: str | int | None, expected: list[Any]) -> None:
    people = [point("weekly_people", "week", MONDAY, 4)]
    returned = [point("weekly_returned", "week", MONDAY, 4, offset="0")]
    assert cells(made(people, returned, as_of=as_of), 0) == expected


def test_whoever_began_last_has_as_long_as_the_others_where_time_is_their_own() -> None:
    people = [point("weekly_people", "week", MONDAY, 4)]
    for as_of, expected in (
        (ms(THIRD) - 1, [(0, True), (0, True), None]),
        (THIRD, [(0, False), (0, True), None]),
        (ms(FOURTH) - 1, [(0, False), (0, True), (0, True)]),
        (FOURTH, [(0, False), (0, False), (0, True)]),
    ):
        assert cells(made(people, [], as_of=as_of, rolling=True), 0) == expected


def test_months_of_a_persons_own_are_thirty_days() -> None:
    people = [point("weekly_people", "month", "2026-01-01", 4)]
    over = {"period": "month", "rolling": True, "length_ms": 30 * DAY_MS}
    for as_of, expected in ((ms("2026-03-03") - 1, True), (ms("2026-03-03"), False)):
        assert cells(made(people, [], as_of=as_of, **over), 0)[0] == (0, expected)


def test_a_bracket_is_over_with_its_last_period() -> None:
    people = [point("weekly_people", "day", MONDAY, 4)]
    over = {"period": "day", "mode": "bracket", "labels": ["0", "1-3", "4-7"]}
    for as_of, expected in (
        ("2026-05-05", [(0, False), None, None]),
        (ms("2026-05-08") - 1, [(0, False), (0, True), None]),
        ("2026-05-08", [(0, False), (0, False), None]),
        (ms("2026-05-08") + 1, [(0, False), (0, False), (0, True)]),
        ("2026-05-12", [(0, False), (0, False), (0, False)]),
    ):
        assert cells(made(people, [], as_of=as_of, **over), 0) == expected


def test_periods_are_as_long_as_the_zones_clocks_make_them() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    # 2026-03-29 had 23 hours there.
    start = ms("2026-03-28T23:00")
    people = [point("weekly_people", "day", start, 1)]
    found = made(people, [], as_of=start + 23 * HOUR_MS, zone=berlin, period="day")
    assert found["cohorts"][0]["cohort"] == "2026-03-29"
    assert cells(found, 0) == [(0, False), None, None]


def test_while_people_may_still_move_between_segments_cells_are_partial() -> None:
    people = [point("weekly_people", "week", MONDAY, 4, segment="did")]
    over = {"segmented": True, "did": "event = 'x'", "within_ms": 7 * DAY_MS}
    assert cells(made(people, [], as_of=ms(THIRD) - 1, **over), 0) == [(0, True), (0, True), None]
    assert cells(made(people, [], as_of=THIRD, **over), 0)[:2] == [(0, False), (0, False)]


def test_a_segmented_cohort_has_a_row_of_all_and_one_of_each() -> None:
    people = [
        point("weekly_people", "week", MONDAY, 1, segment="DE"),
        point("weekly_people", "week", MONDAY, 3, segment="US"),
        point("weekly_people", "week", MONDAY, 0, segment="FR"),
    ]
    returned = [
        point("weekly_returned", "week", MONDAY, 1, offset="1", segment="DE"),
        point("weekly_returned", "week", MONDAY, 1, offset="1", segment="US"),
    ]
    found = made(people, returned, as_of="2026-07-01", segmented=True, with_sums=True)
    rows = [(row["segment"], row["people"], row["cells"][1]["share"]) for row in found["cohorts"]]
    assert rows == [(None, 4, 0.5), ("US", 3, 1 / 3), ("DE", 1, 1.0)]
    # Nobody counts twice.
    assert found["overall"][1] == {"offset": "1", "people": 2, "of": 4, "share": 0.5}
    alone = made(people[:1], returned[:1], as_of="2026-07-01", segmented=True)
    assert [(row["segment"], row["people"]) for row in alone["cohorts"]] == [("DE", 1)]
    assert alone["overall"][1]["of"] == 1


def test_revenue_is_that_of_all_offsets_to_date() -> None:
    revenue = [
        point("weekly_revenue", "week", MONDAY, 2.5, offset="0"),
        point("weekly_revenue", "week", MONDAY, 7.5, offset="2"),
        point("weekly_revenue", "week", NEXT, None, offset="0"),
    ]
    one = retention(revenue="price")
    periods = Counted("week", UTC_ZONE)
    found = table(one, PEOPLE, RETURNED, revenue, periods=periods, zone=UTC_ZONE, as_of_ms=ms(FOURTH))
    assert [(row["revenue"], row["ltv"]) for row in found["cohorts"]] == [(10.0, 1.0), (0, 0.0)]


def test_nothing_known_is_an_empty_matrix() -> None:
    found = made([], [], as_of=None)
    assert found["cohorts"] == []
    assert found["overall"] == [{"offset": label, "people": 0, "of": 0, "share": None} for label in ("0", "1", "2")]


@given(
    st.dictionaries(st.integers(0, 6), st.integers(1, 9), min_size=1),
    st.dictionaries(st.tuples(st.integers(0, 6), st.integers(0, 3)), st.integers(0, 9)),
    st.integers(0, 12 * 24),
)
@settings(max_examples=60, deadline=None)
def test_the_whole_is_that_of_the_cohorts_that_have_had_their_time(
    sizes: dict[int, int], back: dict[tuple[int, int], int], hours: int
) -> None:
    first = ms(MONDAY)
    as_of = first + hours * HOUR_MS
    people = [point("weekly_people", "day", first + day * DAY_MS, size) for day, size in sizes.items()]
    returned = [
        point("weekly_returned", "day", first + day * DAY_MS, came, offset=str(offset))
        for (day, offset), came in back.items()
    ]
    found = made(people, returned, as_of=as_of, period="day", labels=["0", "1", "2", "3"])
    for offset in range(4):
        days = [day for day in sizes if first + (day + offset + 1) * DAY_MS <= as_of]
        came, of = sum(back.get((day, offset), 0) for day in days), sum(sizes[day] for day in days)
        share = came / of if of else None
        assert found["overall"][offset] == {"offset": str(offset), "people": came, "of": of, "share": share}


@pytest.mark.parametrize(
    ("options", "offsets"),
    [
        ({"periods": 2}, ["0", "1", "2"]),
        ({"periods": 9, "mode": "bracket"}, ["0", "1-3", "4-7", "8-9"]),
        ({"periods": 1, "rolling": True, "revenue": "price", "did": "event = 'x'", "did_within": "1d"}, ["0", "1"]),
    ],
)
def test_what_the_catalog_declares_is_enough(options: dict[str, Any], offsets: list[str]) -> None:
    declared = RetentionTable(name="weekly", period="week", **options)
    names = {metric["name"] for metric in declared.metrics()}
    assert {"weekly_people", "weekly_returned"} <= names
    labels = {"segment": "did"} if declared.segmented else {}
    people = [point("weekly_people", "week", MONDAY, 4, **labels)]
    periods = Counted("week", UTC_ZONE)
    found = table(declared, people, [], [], periods=periods, zone=UTC_ZONE, as_of_ms=ms("2027-01-01"))
    assert found["offsets"] == offsets
    assert [one["of"] for one in found["overall"]] == [4] * len(offsets)
