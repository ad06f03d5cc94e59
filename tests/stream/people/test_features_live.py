"""Rows of people at the ends of days as shards say them: late, twice, over restarts and crashes the same as at once."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.batches import PersonDays, RawBatch, Tombstone
from stream.catalog import Catalog, parse
from stream.clock import END_MS
from stream.decode import Decoder
from stream.enrich import Enricher
from stream.people import space
from stream.people.journal import MemoryFiles
from stream.plan import compile_plan
from stream.shard import Shard, through_days
from tests.batches import pseudonyms
from tests.stream.people.person_days import CHURN, DAY_MS, Event, Row, assert_identical, assert_same, rows_of

T0 = 1_772_488_800_000
_NOW_MS = 1 << 50
EVENT = """
[platform]
timezone = "Australia/Sydney"
streams = ["events:{0}"]
[event]
person = "person"
id = "id"
max_skew = "1d"
out_of_orderness = "5s"
allowed_lateness = "6h"
[fields]
premium = "boolean"
"""
SESSIONS = "[sessions]\n"
PERSONS = {pseudonyms().of(name): name for name in ("a", "b", "c", "d", "e")}


def sent(events: Sequence[Event]) -> list[tuple[bytes, list[bytes]]]:
    """Events as stream entries, each with its place as id."""
    return [
        (b"%d-0" % (place + 1), [b"data", orjson.dumps({**event, "id": str(place)})])
        for place, event in enumerate(events)
    ]


class Driver:
    """Shards, and what they say put together as the stage that listens to them would."""

    def __init__(self, catalog: Catalog, shards: int, files: MemoryFiles | None = None) -> None:
        self.plan = compile_plan(catalog, builtin=False)
        self.files = MemoryFiles() if files is None else files
        self.shards = [Shard(self.plan, number, self.files) for number in range(shards)]
        self._decoder = Decoder(self.plan)
        self._enricher = Enricher(self.plan, pseudonyms(), shards)
        self.rows: dict[tuple[str, int], Row] = {}
        self.done = [-END_MS] * shards
        self.told: list[PersonDays] = []

    def add(self, entries: Sequence[Any], *, whole_input: bool = False) -> None:
        decoded = self._decoder.decode(RawBatch(self.plan.streams[0], list(entries), False, 1), _NOW_MS)
        assert not decoded.rejects
        for shard, part in zip(self.shards, self._enricher.split(decoded), strict=True):
            assert not shard.add(replace(part, max_event_ms=None) if whole_input else part)

    def tick(self) -> None:
        for shard in self.shards:
            shard.tick()
            self.take(shard.days())

    def finish(self, *, by_day: bool = True) -> None:
        if by_day:
            for told in through_days(self.shards, self.plan):
                self.take(told)
        for shard in self.shards:
            shard.finish()
            self.take(shard.days())

    def take(self, told: PersonDays | None) -> None:
        if told is None:
            return
        assert told.done_ms >= self.done[told.shard]
        self.done[told.shard] = told.done_ms
        self.told.append(told)
        for one in told.told:
            assert one.kind == "churn"
            for line, gone in one.lines():
                assert line.at_ms < told.done_ms, "of an end of a day that has come"
                key = (PERSONS[line.person], line.at_ms)
                if gone:
                    self.rows.pop(key, None)
                else:
                    self.rows[key] = dict(line.fields)  # type: ignore[arg-type]

    def saved(self) -> Any:
        return self.files, [shard.to_bytes() for shard in self.shards], dict(self.rows), list(self.done)

    @classmethod
    def restored(cls, catalog: Catalog, saved: Any) -> Driver:
        files, shards, rows, done = saved
        driver = cls(catalog, len(shards), files)
        for shard, snapshot in zip(driver.shards, shards, strict=True):
            shard.restore(snapshot, pytest.fail)
        driver.rows, driver.done = dict(rows), list(done)
        return driver


def catalog_of(text: str = "", lateness: str = "6h") -> Catalog:
    return parse(EVENT.replace("6h", lateness) + text + CHURN)


def live(catalog: Catalog, events: Sequence[Event], rng: random.Random, shards: int) -> dict[tuple[str, int], Row]:
    """As they come: out of order, in small batches, some twice, with restarts, and crashes that go back."""
    driver = Driver(catalog, shards)
    numbered = [entry for entry in sent(events) for _ in range(2 if rng.random() < 0.1 else 1)]
    late_ms = 5 * 3_600_000
    numbered.sort(key=lambda entry: events[int(entry[0].split(b"-")[0]) - 1]["time"] + rng.random() * late_ms)
    saved, place, position, crashes = driver.saved(), 0, 0, 3
    while position < len(numbered):
        size = rng.randint(1, 6)
        driver.add(numbered[position : position + size])
        position += size
        if rng.random() < 0.6:
            driver.tick()
        if rng.random() < 0.15:
            saved, place = driver.saved(), position
            driver = Driver.restored(catalog, saved)
        elif crashes and rng.random() < 0.1:
            crashes -= 1
            driver, position = Driver.restored(catalog, copy.copy(saved)), place
    driver.finish(by_day=rng.random() < 0.5)
    return driver.rows


def times() -> st.SearchStrategy[int]:
    end = T0 - T0 % DAY_MS - 10 * 3_600_000
    near = st.tuples(st.integers(1, 9).map(lambda day: end + day * DAY_MS), st.sampled_from([-1, 0, 1, 5, 60_000]))
    return st.one_of(near.map(sum), st.integers(T0, T0 + 9 * DAY_MS), st.integers(T0, T0 + DAY_MS))


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "person": st.sampled_from("abcde"),
            "time": times(),
            "what": st.sampled_from(["post", "view", "done", "failed"]),
            "reputation": st.one_of(st.none(), st.integers(-100, 1000).map(float)),
            "platform": st.sampled_from([None, "ios", "it's android", "web"]),
            "premium": st.sampled_from([None, True, False]),
        }
    ),
    min_size=1,
    max_size=50,
)


@pytest.mark.parametrize("sessions", [True, False])
@settings(max_examples=60)
@given(events=EVENTS, seed=st.integers(0, 1 << 30), shards=st.integers(1, 3), most=st.sampled_from([2, 65_536]))
def test_live_is_what_all_events_come_to(
    sessions: bool, events: list[dict[str, Any]], seed: int, shards: int, most: int
) -> None:
    catalog = catalog_of(SESSIONS if sessions else "")
    # Ties are in the order of entry here, and in that of the list there.
    expected = rows_of(events, "Australia/Sydney", max(one["time"] for one in events), sessions=sessions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space, "_MOST_AT_ONCE", most)
        found = live(catalog, events, random.Random(seed), shards)
    assert_same(found, expected)
    whole = Driver(catalog_of(SESSIONS if sessions else "", lateness="400d"), 1)
    whole.add(sent(events))
    whole.finish()
    assert_identical(found, whole.rows)


@settings(max_examples=40)
@given(events=EVENTS, shards=st.integers(1, 3))
def test_whole_input_by_day_and_at_once_is_the_same(events: list[dict[str, Any]], shards: int) -> None:
    found = []
    for by_day in (True, False):
        driver = Driver(catalog_of(lateness="400d"), shards)
        entries = sent(events)
        for place in range(0, len(entries), 3):
            driver.add(entries[place : place + 3], whole_input=by_day)
            if by_day:
                driver.tick()
        assert not (by_day and driver.told), "until it is known how far all of it goes"
        driver.finish(by_day=by_day)
        found.append(driver.rows)
        if by_day:
            assert all(len({one.time_ms.min() for one in told.told}) <= 1 for told in driver.told), "a day at a time"
    expected = rows_of(events, "Australia/Sydney", max(one["time"] for one in events), sessions=False)
    assert_same(found[0], expected)
    assert_identical(found[0], found[1])


def view(person: str, at_days: float, what: str = "view", **fields: Any) -> dict[str, Any]:
    nothing = {"reputation": None, "platform": None, "premium": None}
    return {"person": person, "time": END + round(at_days * DAY_MS), "what": what, **nothing, **fields}


END = T0 - T0 % DAY_MS - 10 * 3_600_000
"""The end of a day in Sydney."""


def test_a_late_event_takes_the_place_of_a_row() -> None:
    driver = Driver(catalog_of(), 1)
    events = [view("a", 0.5), view("a", 0.6), view("b", 0.7), view("b", 1.1), view("a", 0.9, "post"), view("c", 1.2)]
    entries = sent(events)
    driver.add(entries[:4])
    driver.tick()
    assert {key: row["events"] for key, row in driver.rows.items()} == {("a", END + DAY_MS): 2}
    driver.add(entries[4:])
    driver.tick()
    changed = [(line.at_ms, gone, line.fields["events"]) for one in driver.told[-1].told for line, gone in one.lines()]
    assert changed == [(END + DAY_MS, True, 2), (END + DAY_MS, False, 3)]
    driver.finish()
    assert_same(driver.rows, rows_of(events, "Australia/Sydney", END + DAY_MS, sessions=False))


def test_days_on_which_nothing_happens_cost_nothing() -> None:
    driver = Driver(catalog_of(SESSIONS, lateness="9999d"), 2)
    years = [view("a", -9_000), view("a", -8_999.9), view("b", 0.25), view("b", 0.5), view("c", 1.5)]
    # A session that is over within the second after the end of a day.
    years.append(view("d", 0) | {"time": END + DAY_MS - 30 * 60_000 + 500})
    driver.add(sent(years), whole_input=True)
    driver.finish()
    ends = sorted(end for person, end in driver.rows if person == "a")
    assert ends == [END + day * DAY_MS for day in range(-8_999, -8_995)]
    assert ("b", END + DAY_MS) in driver.rows
    assert len(driver.told) < 30


@pytest.mark.parametrize("by_day", [True, False])
def test_at_the_end_of_all_input_there_is_no_row_of_a_day_that_had_not_ended(by_day: bool) -> None:
    driver = Driver(catalog_of(), 1)
    driver.add(sent([view("a", 0.25), view("a", 0.5), view("a", 1.5)]))
    driver.finish(by_day=by_day)
    assert list(driver.rows) == [("a", END + DAY_MS)]
    assert driver.done == [END_MS]


def test_it_is_said_how_far_days_have_come_also_when_there_is_nobody() -> None:
    driver = Driver(catalog_of(), 2)
    late = 5_000
    seen = [view("a", 0.5, "done"), view("a", 0.9, "done")]
    # The watermark stays 5 s behind, and 6 h after its end a day is over for good.
    over = DAY_MS // 4
    for moment in (0, 300, DAY_MS // 9, over, over + 300, DAY_MS // 3, DAY_MS + 300):
        seen.append(view("a", 1, "done") | {"time": END + DAY_MS + late + moment})
    for entry in sent(seen):
        driver.add([entry])
        driver.tick()
    for number in (0, 1):
        told = [(one.done_ms - END - DAY_MS, one.told) for one in driver.told if one.shard == number]
        assert told == [(at, []) for at in (-DAY_MS // 2 - late, 300, over + 300, DAY_MS + 300)]


def test_rows_that_were_not_handed_on_are_in_the_snapshot() -> None:
    catalog = catalog_of()
    driver = Driver(catalog, 1)
    events = [view("a", 0.5), view("a", 0.6), view("b", 0.7, "post", reputation=3.5), view("b", 0.71), view("c", 1.1)]
    driver.add(sent(events))
    driver.shards[0].tick()
    again = Driver.restored(catalog, driver.saved())
    again.take(again.shards[0].days())
    assert_same(again.rows, rows_of(events, "Australia/Sydney", END + DAY_MS, sessions=False))
    assert len(again.rows) == 2
    assert not again.shards[0].lines(), "no record has them"


def test_who_is_forgotten_has_no_rows() -> None:
    driver = Driver(catalog_of(), 1)
    events = [view("a", 0.5), view("a", 0.6), view("b", 0.7), view("b", 0.71), view("c", 1.1)]
    driver.add(sent(events))
    shard = driver.shards[0]
    shard.tick()
    shard.forget(Tombstone(0, pseudonyms().of("a"), "1-0"))
    driver.add(sent([*events, view("c", 4.5)])[-1:])
    driver.finish()
    assert {person for person, _ in driver.rows} == {"b"}
    assert driver.rows["b", END + 4 * DAY_MS]["events"] == 2


def test_features_come_and_go_and_all_else_stays() -> None:
    driver = Driver(catalog_of(), 1)
    driver.add(sent([view("a", 0.5, "post", reputation=2.0), view("a", 0.6)]))
    driver.tick()
    files, snapshots, rows, done = driver.saved()
    head, *features = CHURN.split("[[churn.feature]]")
    others = [one for one in features if "posting" not in one and '"reputation"' not in one.split("value")[0]]
    new = '\nname = "shown"\nkind = "count"\nwhere = "what = \'view\'"\n'
    text = EVENT + "[[churn.feature]]".join([head.replace("min_events = 2", "min_events = 1"), new, *others])
    again = Driver.restored(parse(text), (files, snapshots, rows, done))
    again.add(sent([view("a", 0), view("a", 0), view("a", 0.7), view("b", 1.2)])[2:])
    again.finish()
    row, before = (
        again.rows["a", END + DAY_MS],
        rows_of(
            [view("a", 0.5, "post"), view("a", 0.6), view("a", 0.7)], "Australia/Sydney", END + DAY_MS, sessions=False
        )["a", END + DAY_MS],
    )
    for name in ("events", "events.7d", "posts.28d", "posted", "visits", "gap", "minutes"):
        assert row[name] == pytest.approx(before[name]), name
    assert row["shown.28d"] == pytest.approx(0.5 ** (0.3 / 28)), (
        "of one event, as before there was nobody to count them"
    )
    assert "reputation.last" not in row


def test_without_churn_nothing_is_said() -> None:
    catalog = parse(EVENT.replace('premium = "boolean"', 'premium = "boolean"\nwhat = "string"') + SESSIONS)
    driver = Driver(catalog, 1)
    driver.add(sent([view("a", 0.5), view("a", 3)]))
    driver.tick()
    driver.finish()
    assert driver.told == []
