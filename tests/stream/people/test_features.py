from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.catalog import CatalogError, parse
from stream.people.declared import meaning_of
from stream.people.features import KINDS, Churn
from tests.stream.people.person_days import (
    CHURN,
    DAY_MS,
    MINUTE_MS,
    OFFSETS,
    Event,
    Row,
    assert_identical,
    assert_same,
    day_ends,
    rows_of,
)
from tests.stream.people.plain import facts_of

DECLARED = Churn.model_validate(tomllib.loads(CHURN)["churn"])
T0 = 1_772_488_800_000
UTC = ZoneInfo("UTC")
NOTHING = {"reputation": None, "platform": None, "premium": None}


def event(at_days: float, what: str = "view", person: str = "a", **fields: Any) -> dict[str, Any]:
    return {"person": person, "time": round(at_days * DAY_MS), "what": what, **NOTHING, **fields}


def said(
    declared: Churn,
    events: Sequence[Event],
    until_ms: int,
    *,
    zone: str = "UTC",
    cuts: Iterable[int] = (),
    begins: Mapping[int, bool] | None = None,
) -> dict[tuple[str, int], Row]:
    """The rows that an analysis says."""
    # Somebody of whom there is no row, so that a column of numbers has one.
    other = {
        "person": "c",
        "time": events[0]["time"],
        "what": "done",
        "reputation": 1.0,
        "platform": "x",
        "premium": True,
    }
    begins = None if begins is None else {**begins, len(events): True}
    events = [*events, other]
    order = sorted(range(len(events)), key=lambda place: events[place]["time"])
    persons = list(dict.fromkeys(events[place]["person"] for place in order))
    facts = facts_of(declared, events, zone=zone, cuts=cuts, until_ms=until_ms, session_begins=begins)
    found = {}
    for kind, time_ms, fields in facts.elements():
        assert kind == "entry churn"
        row = dict(fields)
        key = (persons[row.pop("owner")], time_ms)
        assert key not in found, "nothing is said twice"
        assert row.pop("reference") == (time_ms + OFFSETS[zone].total_seconds() * 1000) // DAY_MS - 1
        found[key] = row
    return found


def times(zone: str) -> st.SearchStrategy[int]:
    """Often at the ends of days, and just before and after."""
    ends = day_ends(zone, T0, T0 + 12 * DAY_MS)
    near = st.tuples(st.sampled_from(ends), st.sampled_from([0, 0, -1, 1, 29 * MINUTE_MS, -30 * MINUTE_MS]))
    return st.one_of(near.map(sum), st.integers(T0, T0 + 12 * DAY_MS))


def histories(zone: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    event = st.fixed_dictionaries(
        {
            "person": st.sampled_from("ab"),
            "time": times(zone),
            "what": st.sampled_from(["post", "view", "done", "failed"]),
            "reputation": st.one_of(st.none(), st.floats(-100, 1000)),
            "platform": st.sampled_from([None, "ios", "it's android", "web"]),
            "premium": st.sampled_from([None, True, False]),
        }
    )
    return st.lists(event, min_size=1, max_size=25)


@given(data=st.data(), zone=st.sampled_from(sorted(OFFSETS)), sessions=st.booleans())
@settings(max_examples=150)
def test_equals_what_all_events_of_a_person_come_to_however_they_are_split(
    data: st.DataObject, zone: str, sessions: bool
) -> None:
    events = data.draw(histories(zone))
    cuts = data.draw(st.lists(times(zone), max_size=8))
    until_ms = max(one["time"] for one in events) + data.draw(st.sampled_from([0, DAY_MS, 9 * DAY_MS]))
    begins = _begins(events) if sessions else None
    found = said(DECLARED, events, until_ms, zone=zone, cuts=[cut for cut in cuts if cut < until_ms], begins=begins)
    assert_same(found, rows_of(events, zone, until_ms, sessions=sessions))
    assert_identical(found, said(DECLARED, events, until_ms, zone=zone, begins=begins))


def _begins(events: Sequence[Event]) -> dict[int, bool]:
    """Which events begin a session, by their places."""
    found: dict[int, bool] = {}
    open_: dict[str, tuple[int, int]] = {}
    for place in sorted(range(len(events)), key=lambda place: events[place]["time"]):
        person, time_ms = events[place]["person"], events[place]["time"]
        start_ms, last_ms = open_.get(person, (0, 0))
        found[place] = time_ms - last_ms > 30 * MINUTE_MS or time_ms - start_ms > DAY_MS
        open_[person] = (time_ms if found[place] else start_ms, time_ms)
    return found


def test_an_event_at_the_end_of_a_day_is_of_that_day() -> None:
    events = [event(100.5), event(101), event(101 + 1 / DAY_MS, person="b"), event(101.5, person="b")]
    found = said(DECLARED, events, 102 * DAY_MS)
    assert sorted((person, end // DAY_MS, row["events"]) for (person, end), row in found.items()) == [
        ("a", 101, 2),
        ("a", 102, 2),
        ("b", 102, 2),
    ]
    # And what is left of it there is all of it.
    assert found["a", 101 * DAY_MS]["events.1d"] == pytest.approx(1 + 0.5**0.5)


def test_people_are_looked_at_while_their_last_event_is_recent() -> None:
    exactly, later = [event(99), event(100)], [event(99), event(100 + 1 / DAY_MS)]
    ends = [[end // DAY_MS for _, end in sorted(said(DECLARED, one, 120 * DAY_MS))] for one in (exactly, later)]
    # 4 days: (t - 4 d, t].
    assert ends == [[100, 101, 102, 103], [101, 102, 103, 104]]


def test_whoever_comes_back_has_rows_again_and_what_was_before_has_faded() -> None:
    found = said(DECLARED, [event(100), event(100.5), event(300)], 301 * DAY_MS)
    row = found["a", 300 * DAY_MS]
    assert row["events"] == 3
    assert row["events.1d"] == pytest.approx(1, abs=1e-12)
    assert row["visits"] == 3


def test_what_is_endless_is_no_value() -> None:
    declared = Churn.model_validate({"feature": [{"name": "x", "kind": "mean", "value": "1 / reputation"}]})
    found = said(declared, [event(100, reputation=4.0), event(100.5, reputation=0.0)], 101 * DAY_MS)
    assert found["a", 101 * DAY_MS]["x.last"] == 0.25
    assert found["a", 101 * DAY_MS]["x.7d"] == pytest.approx(0.25)


def test_inputs_have_words_for_both_directions() -> None:
    table = {
        "name": "posts",
        "kind": "trend",
        "where": "what = 'post'",
        "words": "posts something",
    }
    words = {one.name: one for one in Churn.model_validate({"feature": [table]}).inputs()}
    assert (words["posts"].more, words["posts"].less) == (
        "posts something more than before",
        "posts something less than before",
    )
    assert words["visits.7d"].less == "fewer visits than others in the last week"
    inputs = DECLARED.inputs()
    assert len({one.name for one in inputs}) == len(inputs)
    assert len({text for one in inputs for text in (one.more, one.less)}) == 2 * len(inputs)
    assert {one.name for one in inputs if one.log} >= {"events.1d", "minutes", "posts.7d", "paid.7d", "posted"}
    assert {one.name for one in inputs if not one.log} >= {"gap", "done", "posting", "paid.trend", "reputation.last"}


def test_rows_have_the_inputs_in_their_order() -> None:
    (kind,) = DECLARED.kinds(UTC)
    assert list(kind.fields) == ["first_ms", "last_ms", "events", "days", *(one.name for one in DECLARED.inputs())]
    assert kind.is_line


def test_what_is_kept_means_the_same_until_other_events_qualify_or_days_end_otherwise() -> None:
    changed = DECLARED.model_dump() | {"high": 0.9, "segments": 2, "feature": [], "active": "9d", "settle": "5m"}
    changed |= {"actions": {"high": ["x"], "medium": [], "low": [], "factor": {}}, "horizon": "3d", "min_events": 5}
    assert meaning_of(Churn.model_validate(changed), UTC) == meaning_of(DECLARED, UTC)
    assert meaning_of(Churn.model_validate(changed | {"where": None}), UTC) != meaning_of(DECLARED, UTC)
    assert meaning_of(DECLARED, ZoneInfo("Europe/Berlin")) != meaning_of(DECLARED, UTC)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_names_what_it_needs_and_refuses_what_it_does_not_take(kind: str) -> None:
    needed, taken = KINDS[kind]  # type: ignore[index]
    samples = {"where": "x", "of": "y", "value": "z", "values": ["a"], "log": True, "first": True}
    whole = {"name": "it", "kind": kind} | {key: samples[key] for key in needed}
    Churn.model_validate({"feature": [whole]})
    for key in needed:
        with pytest.raises(ValidationError, match=f"{key}: expected what kind {kind} needs, found nothing"):
            Churn.model_validate({"feature": [{name: value for name, value in whole.items() if name != key}]})
    for key in samples.keys() - needed - taken:
        with pytest.raises(ValidationError, match=f"{key}: expected .* alone for kind {kind}, found"):
            Churn.model_validate({"feature": [whole | {key: samples[key]}]})


COUNT = {"name": "it", "kind": "count", "where": "x"}
TEXTS = {"kind": "latest", "value": "x", "values": [f"t{number}" for number in range(20)]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": "36h"}, "expected whole days such as 14d, found '36h'"),
        ({"horizon": "soon"}, "expected a duration such as 10s"),
        ({"active": "90m"}, "expected whole days such as 14d, found '90m'"),
        ({"horizon": "14d", "active": "7d"}, "active: expected at least the horizon, 14d, found '7d'"),
        ({"settle": "2d"}, "expected at most 1d, found '2d'"),
        ({"high": 1.0}, "less than 1"),
        ({"medium": 0.0}, "greater than 0"),
        ({"high": 0.4}, "medium: expected less than high, 0.4, found 0.5"),
        ({"min_events": 0}, "greater than or equal to 1"),
        ({"segments": -1}, "greater than or equal to 0"),
        (
            {"feature": [COUNT, COUNT]},
            r"feature\[1\].name: expected a name of its own, found 'it', as feature\[0\] has",
        ),
        ({"feature": [COUNT | {"name": "visits"}]}, "'visits', that of one that is always there"),
        ({"feature": [COUNT | {"name": "Its name"}]}, "String should match pattern"),
        ({"feature": [COUNT | {"kind": "sum"}]}, "Input should be 'count', 'share'"),
        ({"feature": [COUNT | {"half_life": "7d"}]}, "Extra inputs"),
        ({"feature": [COUNT | {"name": f"n{number}"} for number in range(41)]}, "at most 40"),
        ({"feature": [TEXTS | {"name": f"n{number}"} for number in range(5)]}, "expected at most 100 inputs"),
        ({"feature": [TEXTS | {"name": "n", "log": True}]}, "log: expected numbers, which may be so"),
        ({"feature": [TEXTS | {"name": "n", "values": ["a", "a"]}]}, "expected each once"),
        ({"actions": {"higher": ["x"]}}, "Extra inputs"),
        ({"actions": {"high": ["x", "x"]}}, "expected each once"),
        ({"actions": {"factor": {"posts": ["x"]}}}, r"actions.factor: expected features \(events, .*\), found 'posts'"),
    ],
)
def test_what_a_table_may_not_say(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Churn.model_validate(options)


def test_defaults() -> None:
    made = Churn.model_validate({"horizon": "45d"})
    assert (made.horizon_ms, made.active_ms) == (45 * DAY_MS, 45 * DAY_MS)
    assert Churn.model_validate({"horizon": "14d"}).active_ms == 30 * DAY_MS
    assert (made.settle_ms(60_000), made.settle_ms(3 * DAY_MS)) == (60_000, DAY_MS)
    assert Churn.model_validate({"settle": "5m"}).settle_ms(DAY_MS) == 5 * MINUTE_MS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[[churn.feature]]\nname = "x"\nkind = "count"\nwhere = "amount >"', ["churn"]),
        ('[[churn.feature]]\nname = "x"\nkind = "mean"\nvalue = "upper(a)"', ["churn"]),
        ("[churn]\nsegment = 3", ["segments"]),
        ('[[churn.feature]]\nname = "x"\nkind = "count"\nwher = "x"', ["feature[0]", "where"]),
        ('[churn]\nhorizon = "14"', ["churn.horizon"]),
    ],
)
def test_a_catalog_says_what_is_wrong_with_it(text: str, found: list[str]) -> None:
    with pytest.raises(CatalogError) as raised:
        parse(f'[event]\nperson = "user"\n{text}')
    for part in found:
        assert part in str(raised.value)


def test_a_catalog_has_to_say_who() -> None:
    with pytest.raises(CatalogError, match="as churn is about people"):
        parse("[churn]")


def test_a_metric_counts_no_rows() -> None:
    with pytest.raises(CatalogError, match="metric"):
        parse('[event]\nperson = "user"\n[churn]\n[[metric]]\nname = "n"\nmeasure = "count"\non = "churn"')
