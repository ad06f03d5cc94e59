"""Sessions, beside a loop over each person's events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.people.sessions import ACTIVE, CONCURRENT, END, LINE, START, Sessions
from tests.stream.people.plain import END_MS, Event, facts_of

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = int(datetime(2026, 3, 2, 22, tzinfo=UTC).timestamp() * 1000)


def table(**keys: Any) -> Sessions:
    return Sessions.model_validate(keys)


def loop(events: Sequence[Event], sessions: Sessions, zone: str = "UTC") -> list[dict[str, Any]]:
    """Each session as a dict, one event after the other."""
    found: list[dict[str, Any]] = []
    for person in dict.fromkeys(event["person"] for event in events):
        open_: dict[str, Any] | None = None
        given = campaign = None
        for event in sorted((e for e in events if e["person"] == person), key=lambda e: e["time"]):
            time = event["time"]
            begins = (
                open_ is None or time - open_["last"] > sessions.gap_ms or time - open_["start"] > sessions.longest_ms
            )
            if sessions.id is not None and event["sid"] is not None:
                begins |= given is not None and event["sid"] != given
                given = event["sid"]
            if sessions.split_at_midnight and open_ is not None:
                begins |= day(time, zone) != day(open_["last"], zone)
            if sessions.split_on_campaign and event["campaign"] is not None:
                begins |= event["campaign"] != campaign
                campaign = event["campaign"]
            if begins:
                if open_ is not None:
                    open_["end"] = min(over(open_, sessions), time)
                open_ = {"person": person, "start": time, "events": 0, "views": 0, "acts": 0, "beats": set()}
                open_ |= {"entry": None, "exit": None, "device": None, "campaign": None, "key": False}
                open_["first_device"] = event["device"]
                open_["first_campaign"] = event["campaign"]
                open_["first_page"] = event["page"]
                found.append(open_)
            assert open_ is not None
            open_["last"] = time
            open_["events"] += 1
            open_["views"] += event["page"] is not None
            open_["acts"] += event["page"] is None
            open_["beats"].add(time // 10_000)
            open_["key"] |= event["page"] == "c"
            open_["entry"] = open_["entry"] or event["page"]
            open_["exit"] = event["page"] or open_["exit"]
            open_["device"] = open_["device"] or event["device"]
            open_["campaign"] = open_["campaign"] or event["campaign"]
        if open_ is not None:
            open_["end"] = over(open_, sessions)
    return found


def over(session: Mapping[str, Any], sessions: Sessions) -> int:
    return int(min(session["last"] + sessions.gap_ms, session["start"] + sessions.longest_ms))


def day(time_ms: int, zone: str) -> Any:
    return datetime.fromtimestamp(time_ms / 1000, ZoneInfo(zone)).date()


def expected(events: Sequence[Event], sessions: Sessions, zone: str) -> Counter[Any]:
    """The facts, and the minutes of the gauges up to the last event's."""
    facts: Counter[Any] = Counter()
    newest = max(event["time"] for event in events) // MINUTE
    for one in loop(events, sessions, zone):
        labels = {"device": one["device"] or "__none__"}
        first = {"device": one["first_device"] or "__none__", "entry_page": one["first_page"] or "__none__"}
        duration = one["last"] - one["start"]
        known = {
            "duration_s": duration / 1000,
            "pages": float(one["views"]),
            "events": float(one["events"]),
            "engaged_s": 10.0 * (len(one["beats"]) - 1) + 5.0,
            "bounced": one["views"] == 1 and one["acts"] == 0,
            "engaged": duration > 10_000 or one["key"] or one["views"] >= 2,
            "entry_page": one["entry"] or "__none__",
            "exit_page": one["exit"] or "__none__",
            **labels,
        }
        if sessions.campaign is not None:
            known["campaign"] = one["campaign"] or "__none__"
            first["campaign"] = one["first_campaign"] or "__none__"
        facts[START, one["start"], tuple(sorted(first.items()))] += 1
        at = one["end"] if sessions.count_at == "end" else one["start"]
        facts[END, at, tuple(sorted(known.items()))] += 1
        for minute in range(one["start"] // MINUTE, min(one["end"] // MINUTE, newest) + 1):
            facts[CONCURRENT, minute * MINUTE, ()] += 1
    active = {
        (event["person"], event["time"] // MINUTE + later)
        for event in events
        for later in range(5)
        if event["time"] // MINUTE + later <= newest
    }
    facts.update((ACTIVE, minute * MINUTE, ()) for _, minute in active)
    return facts


PAGES = st.sampled_from(["a", "b", "c", None])
EVENTS = st.lists(
    st.builds(
        lambda person, at, page, device, campaign, sid: {
            "person": person,
            "time": T0 + at,
            "page": page,
            "device": device,
            "campaign": campaign,
            "sid": sid,
        },
        st.sampled_from(["x", "y", "z"]),
        st.one_of(st.integers(0, 40).map(lambda n: n * 5 * MINUTE), st.integers(0, 3 * HOUR)),
        PAGES,
        st.sampled_from(["phone", "tablet", None]),
        st.sampled_from(["spring", "summer", None]),
        st.sampled_from(["1", "2", None]),
    ),
    min_size=1,
    max_size=25,
)
KINDS = [
    {},
    {"gap": "10m", "longest": "40m"},
    {"id": "sid"},
    {"id": "sid", "gap": "30m"},
    {"split_at_midnight": True},
    {"campaign": "campaign", "split_on_campaign": True},
    {"count_at": "start"},
]


@pytest.mark.parametrize("keys", KINDS, ids=str)
@given(events=EVENTS, cuts=st.lists(st.integers(T0, T0 + 4 * HOUR), max_size=5))
def test_the_same_as_a_loop_over_each_persons_events(
    keys: dict[str, Any], events: list[Event], cuts: list[int]
) -> None:
    sessions = table(page="page", key="page = 'c'", by=["device"], **keys)
    found = facts_of(sessions, events, zone="Europe/Berlin", cuts=cuts)
    said = {fact: weight for fact, weight in found.items() if not fact[0].startswith("entry")}
    assert said == dict(expected(events, sessions, "Europe/Berlin"))


def visit(*minutes: float, person: str = "x", **more: Any) -> list[Event]:
    base = {"person": person, "page": "a", "device": None, "campaign": None, "sid": None}
    return [{**base, "time": T0 + int(minute * MINUTE), **more} for minute in minutes]


def test_a_gap_of_exactly_half_an_hour_keeps_a_session() -> None:
    found = facts_of(table(page="page"), visit(0, 30, 60.001))
    assert sum(weight for (kind, *_), weight in found.items() if kind == START) == 2


def test_a_session_ends_when_its_gap_has_passed_and_not_before() -> None:
    events = visit(0, 10)
    assert not any(kind == END for kind, *_ in facts_of(table(), events, until_ms=T0 + 40 * MINUTE - 1))
    (ended,) = [fact for fact in facts_of(table(), events, until_ms=T0 + 40 * MINUTE) if fact[0] == END]
    assert ended[1] == T0 + 40 * MINUTE


def test_a_session_that_never_ends_is_cut_after_a_day() -> None:
    events = visit(*range(0, 3 * 24 * 60, 20))
    found = facts_of(table(), events)
    starts = sorted(time for kind, time, _ in found if kind == START)
    assert starts == [T0, T0 + DAY + 20 * MINUTE, T0 + 2 * DAY + 40 * MINUTE]


def test_the_id_of_a_session_is_that_of_its_person_and_first_event() -> None:
    events = [*visit(0, 5), *visit(3, person="y")]
    once = {fact for fact in facts_of(table(), events) if fact[0] == f"entry {LINE}"}
    again = {fact for fact in facts_of(table(), events, cuts=[T0, T0 + MINUTE]) if fact[0] == f"entry {LINE}"}
    assert once == again
    assert len({dict(fields)["reference"] for _, _, fields in once}) == 2


def test_clocks_that_run_backwards_give_no_negative_length() -> None:
    found = facts_of(table(), visit(5, 3, 1, 4, 0), until_ms=END_MS)
    (ended,) = [dict(fields) for kind, _, fields in found if kind == END]
    assert ended["duration_s"] == 300


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"gap": "25h"}, "gap: expected at most `longest`"),
        ({"split_on_campaign": True}, "campaign: expected the field"),
        ({"gap": "soon"}, "expected a duration"),
        ({"by": ["a b", "a-b"]}, "by: expected fields whose names differ"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_a_table_says_what_is_wrong(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        table(**keys)
