"""What people, machines and clocks do that they should not, and catalogs that ask for what cannot be."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.person_records import PersonLine
from sinks.records import Reason
from stream.batches import RawBatch
from stream.catalog import Catalog, CatalogError, parse
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from tests.stream.people.live import PSEUDONYMS, Event, Key, entries, live, said, whole
from tests.stream.people.test_people import ANALYSES, EVENT, MINUTE, T0, catalog_of

HOUR, DAY = 60 * MINUTE, 1440 * MINUTE

SESSIONS, ACTIVES = '[sessions]\nwindows = ["day"]\n', "[actives]\n"


def zoned(zone: str, text: str) -> Catalog:
    return parse(EVENT.replace("Europe/Berlin", zone) + text)


def did(*times_ms: int, user: str = "ada", **fields: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"{user} {place}", "user": user, "time": at, "event": "view", "page": "home", **fields}
        for place, at in enumerate(times_ms)
    ]


def total(values: dict[Key, Any], metric: str, **dimensions: str) -> float:
    return sum(
        value
        for (name, _, _, of), (value, _) in values.items()
        if name == metric and dimensions.items() <= dict(of).items()
    )


def by_start(values: dict[Key, Any], metric: str, **dimensions: str) -> dict[int, float]:
    return {
        start: value
        for (name, _, start, of), (value, _) in values.items()
        if name == metric and dimensions.items() <= dict(of).items()
    }


# --- persons ---


def test_a_person_id_of_10_kb() -> None:
    name = "ada" * 3_400
    assert len(name) > 10_000
    events = did(T0, T0 + MINUTE, user=name) + did(T0, user=name[:-1]) + did(T0 + MINUTE, user="ädä\u2028" * 2_000)
    found = whole(catalog_of(SESSIONS + ACTIVES), events)
    assert total(found, "sessions") == total(found, "new_day") == 3


@pytest.mark.parametrize("nobody", [None, ""])
def test_nobody_is_no_person(nobody: str | None) -> None:
    events = [{**event, "user": nobody} for event in did(T0, T0 + MINUTE)]
    text = '[[metric]]\nname = "n"\nmeasure = "count"\nwindows = ["day"]\n'
    found = whole(catalog_of(SESSIONS + text), events)
    assert {metric for metric, _, _, _ in found} == {"n"}


CAP = 10
BOTS = "[people]\nmost_events_a_day = 10\n"


@pytest.mark.parametrize("name", ANALYSES)
@settings(max_examples=10)
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 60))
def test_a_machine_counts_as_far_as_a_person_could_live_and_all_at_once(name: str, seed: int, count: int) -> None:
    rng = random.Random(seed)
    pages = ["home", "list", "item", "pay"]
    events = [
        {
            "id": str(place),
            "user": "bot" if place < count else "ada",
            "time": T0 + rng.randrange(30 * HOUR // MINUTE) * MINUTE,
            "event": "view",
            "page": rng.choice(pages),
            "device": rng.choice(["phone", None]),
            "price": place,
        }
        for place in range(count + 5)
    ]
    catalog = catalog_of(BOTS + ANALYSES[name])
    found = whole(catalog, events)
    assert said(live(catalog, events, rng, late_ms=110 * MINUTE)) == found
    days = Counter((event["user"], event["time"] // DAY) for event in events)
    surplus = sum(max(0, often - CAP) for often in days.values())
    hours = {key: value for key, value in found.items() if key[1] == "1h"}
    assert total(hours, "people_capped_events") == surplus


def told_by(pipeline: Pipeline) -> list[PersonLine]:
    """All lines of persons' records that there are."""
    return [line for shard in pipeline._shards for told in shard.lines() for line, gone in told.lines() if not gone]


def test_the_surplus_of_a_machine_is_counted_and_it_is_flagged() -> None:
    catalog = catalog_of(BOTS + '[sessions]\nwindows = ["day"]\n[[metric]]\nname = "n"\nmeasure = "count"\n')
    pipeline = Pipeline(compile_plan(catalog, builtin=False), PSEUDONYMS)
    events = did(*(T0 + place * 1000 for place in range(100)), user="bot") + did(T0)
    pipeline.add(RawBatch("events:{0}", entries(events), False, 1), 1 << 50)
    points = {(p.metric, p.window): p.value for p in pipeline.finish(1).live}
    assert points["people_capped_events", "day"] == 90
    # They count for what is not about people.
    assert points["n", "1d"] == 101
    assert points["session_duration", "day"] == pytest.approx((CAP - 1) / 2)
    lines = told_by(pipeline)
    [flagged] = [line for line in lines if line.kind == "flagged"]
    bot, ada = PSEUDONYMS.of("bot"), PSEUDONYMS.of("ada")
    assert (flagged.person, flagged.at_ms) == (bot, T0 + CAP * 1000)
    assert {line.person for line in lines if line.kind == "session"} == {bot, ada}


def test_the_surplus_is_counted_also_where_all_analyses_are_of_parts_of_people() -> None:
    text = '[[funnel]]\nname = "f"\nconstant = "page"\n'
    text += "steps = [{ name = 'a', where = \"page = 'home'\" }, { name = 'b', where = \"page = 'pay'\" }]\n"
    found = whole(catalog_of(BOTS + text), did(*range(T0, T0 + 100)))
    assert total({key: value for key, value in found.items() if key[1] == "day"}, "people_capped_events") == 90


def test_the_record_of_a_person_is_whole_after_a_restart() -> None:
    plan = compile_plan(catalog_of('[people]\ntimeline = "1d"\n[sessions]\n'), builtin=False)
    pipeline = Pipeline(plan, PSEUDONYMS)
    pipeline.add(RawBatch("events:{0}", entries(did(T0, T0 + MINUTE)), False, 1), 1 << 50)
    snapshot = pipeline.snapshot()
    again = Pipeline(plan, PSEUDONYMS, files=snapshot.files)
    again.restore(snapshot)
    again.finish(1)
    kinds = Counter(line.kind for line in told_by(again))
    assert kinds == {"event": 2, "session": 1}


# --- time ---


def as_it_comes(catalog: Catalog, events: Sequence[Event]) -> tuple[dict[Key, Any], Counter[Reason]]:
    """The points when each event comes by itself, in the order given, and why others were refused."""
    pipeline = Pipeline(compile_plan(catalog, builtin=False), PSEUDONYMS, shards=2)
    refused: Counter[Reason] = Counter()
    known: dict[Key, Any] = {}

    def keep(points: Any) -> None:
        known.update({(p.metric, p.window, p.start_ms, p.dimensions): (p.value, p.count) for p in points})

    for entry in entries(events):
        refused.update(letter.reason for letter in pipeline.add(RawBatch("events:{0}", [entry], False, 1), 1 << 50))
        keep(pipeline.tick(1).live)
    keep(pipeline.finish(1).live)
    return known, refused


def exact(values: dict[Key, Any]) -> dict[Key, Any]:
    return {key: (round(v, 9) if isinstance(v, float) else v, n) for key, (v, n) in said(values).items()}


@pytest.mark.parametrize("name", ANALYSES)
def test_a_clock_that_runs_backwards(name: str) -> None:
    pages = ["home", "list", "item", "pay", "home", "item", "pay"]
    events = [
        {**event, "page": pages[place % len(pages)], "device": "phone", "price": place}
        for place, event in enumerate(did(*(T0 - place * MINUTE for place in range(100))))
    ]
    catalog = catalog_of(ANALYSES[name])
    found, refused = as_it_comes(catalog, events)
    assert not refused
    assert exact(found) == whole(catalog, events)


def test_what_is_set_back_too_far_is_refused_and_changes_nothing() -> None:
    catalog = catalog_of(SESSIONS + ACTIVES)
    present, past = did(T0, T0 + MINUTE), did(T0 - DAY, T0 - 3 * HOUR, user="bo")
    found, refused = as_it_comes(catalog, [present[0], *past, present[1]])
    assert refused == {Reason.TOO_LATE: 2}
    assert exact(found) == whole(catalog, present)


def test_a_session_that_never_ends_is_cut() -> None:
    step = 10 * MINUTE
    events = did(*range(T0, T0 + 5 * DAY, step))
    catalog = catalog_of(SESSIONS)
    found = whole(catalog, events)
    # Exactly a day after its first event a session still goes on; 145 events each.
    assert total(found, "sessions") == total(found, "sessions_ended") == -(-len(events) // 145)
    assert max(by_start(found, "session_duration").values()) == DAY / 1000
    assert said(live(catalog, events, random.Random(1), late_ms=110 * MINUTE, restarts=0.01)) == found


@pytest.mark.parametrize("mode", ["on", "on_or_after", "bracket"])
def test_a_retention_of_400_days(mode: str) -> None:
    text = f'[[retention]]\nname = "r"\nperiods = 400\nmode = "{mode}"\n'
    catalog = zoned("UTC", text)
    events = did(T0, T0 + 400 * DAY, T0 + 401 * DAY) + did(T0 + 401 * DAY, user="bo")
    found = whole(catalog, events)
    offsets = {dict(of)["offset"]: value for (name, _, at, of), (value, _) in found.items() if at < T0 + DAY and of}
    last = {"on": ["0", "400"], "on_or_after": [str(n) for n in range(401)], "bracket": ["0", "8-400"]}[mode]
    assert offsets == dict.fromkeys(last, 1)
    assert said(live(catalog, events, random.Random(1), late_ms=110 * MINUTE)) == found
    with pytest.raises(CatalogError, match=r"retention\[0\].*periods: expected a number up to 400|less than or equal"):
        zoned("UTC", text.replace("400", "401"))


def check_days(zone: str, first: date, days: int, *, skipped: frozenset[date] = frozenset()) -> None:
    """Somebody is there each hour of some days of a zone, and everything that has to do with days is counted."""
    where = ZoneInfo(zone)
    start = datetime(first.year, first.month, first.day, tzinfo=where)
    end = start + timedelta(days=days)
    hours = range(round(start.timestamp()) * 1000, round(end.timestamp()) * 1000, HOUR)
    events = did(*hours)
    seen = sorted({datetime.fromtimestamp(at / 1000, where).date() for at in hours})
    assert len(seen) == days - len(skipped)
    assert not skipped & set(seen)
    starts = [round(datetime(day.year, day.month, day.day, tzinfo=where).timestamp()) * 1000 for day in seen]
    catalog = zoned(
        zone,
        """
[sessions]
gap = "2h"
split_at_midnight = true
count_at = "start"
windows = ["day"]
[actives]
periods = ["day"]
[[retention]]
name = "r"
periods = 60
[[funnel]]
name = "f"
period = "day"
steps = [{ name = "a", where = "page = 'home'" }, { name = "b", where = "page = 'home'" }]
""",
    )
    found = whole(catalog, events)
    once = dict.fromkeys(starts, 1)
    for metric in ("sessions", "sessions_ended", "dau", "active_day"):
        assert by_start(found, metric) == once, metric
    assert by_start(found, "f_people", step="2") == once
    assert by_start(found, "returning_day") == dict.fromkeys(starts[1:], 1)
    assert total(found, "dormant_day") == total(found, "resurrecting_day") == 0
    offsets = {dict(of)["offset"]: at for (name, _, at, of), _ in found.items() if name == "r_returned"}
    assert offsets == {str(number): starts[0] for number in range(len(seen))}
    assert said(live(catalog, events, random.Random(1), late_ms=110 * MINUTE, restarts=0.01)) == found


def test_a_zone_that_goes_over_the_date_line() -> None:
    check_days("Pacific/Apia", date(2011, 12, 26), 8, skipped=frozenset({date(2011, 12, 30)}))


def test_a_zone_whose_clocks_follow_the_moon() -> None:
    # Set back for Ramadan and on again after it: in 2026 on 15 February and 22 March.
    where = ZoneInfo("Africa/Casablanca")
    shifts = {datetime(2026, month, 1, tzinfo=where).utcoffset() for month in (2, 3, 4)}
    assert len(shifts) == 2
    check_days("Africa/Casablanca", date(2026, 2, 10), 45)


def test_a_zone_whose_clocks_are_set_at_midnight() -> None:
    check_days("America/Havana", date(2026, 3, 5), 6)
    check_days("America/Havana", date(2026, 10, 29), 6)


# --- catalogs ---


def steps(count: int) -> str:
    made = ", ".join(f'{{ name = "{number}", where = "page = \'{number}\'" }}' for number in range(1, count + 1))
    return f'[[funnel]]\nname = "f"\nsteps = [{made}]\n'


@pytest.mark.parametrize("order", ["ordered", "strict", "any"])
@pytest.mark.parametrize("count", [2, 30])
def test_funnels_of_two_steps_and_of_thirty(count: int, order: str) -> None:
    catalog = catalog_of(f'{steps(count)}order = "{order}"\n')
    events = [{**one, "page": str(place + 1)} for place, one in enumerate(did(*range(T0, T0 + count * MINUTE, MINUTE)))]
    found = whole(catalog, events)
    for step in range(1, count + 1):
        assert total(found, "f_people", step=str(step)) == 1
    assert total(found, "f_people") == count
    assert total(found, "f_conversion") == 1
    assert said(live(catalog, events, random.Random(1), late_ms=110 * MINUTE)) == found


@pytest.mark.parametrize("count", [0, 1, 31])
def test_a_funnel_of_too_few_or_too_many_steps_is_refused(count: int) -> None:
    with pytest.raises(CatalogError, match=f"expected 2 to 30 steps; found {count}"):
        catalog_of(steps(count))


@pytest.mark.parametrize("name", ANALYSES)
def test_an_analysis_needs_to_know_who(name: str) -> None:
    with pytest.raises(CatalogError, match=r"event\.person: expected the field that says who"):
        parse(ANALYSES[name])


def test_a_funnel_of_sessions_needs_sessions() -> None:
    text = f'{steps(2)}unit = "session"\n'
    with pytest.raises(CatalogError, match=r"funnel\.f\.unit: expected also \[sessions\]"):
        catalog_of(text)
    catalog_of(f"[sessions]\n{text}")


NAMED = {
    "retention": '[[retention]]\nname = "{}"\n',
    "funnel": steps(2).replace('"f"', '"{}"').replace("{ ", "{{ ").replace(" }", " }}"),
    "paths": '[[paths]]\nname = "{}"\nof = "page"\n',
}


@pytest.mark.parametrize("key", NAMED)
@pytest.mark.parametrize("name", ["sessions", "actives", "lifecycle", "engagement"])
def test_no_analysis_has_the_name_of_another_kind(key: str, name: str) -> None:
    with pytest.raises(CatalogError, match=rf"{key}\[0\].name: expected a name of its own; found '{name}'"):
        catalog_of(NAMED[key].format(name))


@pytest.mark.parametrize("key", NAMED)
@pytest.mark.parametrize("other", NAMED)
def test_every_analysis_has_a_name_of_its_own(key: str, other: str) -> None:
    with pytest.raises(CatalogError, match=r"name: expected a name of its own; found 'r', as"):
        catalog_of(NAMED[key].format("r") + NAMED[other].format("r"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[sessions]\nwindows = ["7h"]\n', r"sessions\.windows\[0\]: expected a window of whole seconds"),
        (f'[sessions]\nby = ["{"x" * 60}"]\n', r"sessions\.by: expected names that leave those of metrics at 64"),
        ('[sessions]\nby = ["a.b", "a_b"]\n', "expected fields whose names differ"),
        ('[sessions]\npage = "time"\n', "'time' is the event's time or person"),
        ('[sessions]\ngap = "2d"\n', "gap: expected at most `longest`"),
        ('[sessions]\npgae = "page"\n', "did you mean page"),
        ('[actives]\nby = ["a", "b", "c"]\n', "actives"),
        ('[retention]\nname = "r"\n', r"retention: expected tables, \[\[retention\]\]"),
        ('[[paths]]\nname = "w"\nof = "page("\n', "expected an SQL expression over event fields"),
        ("[engagement]\naction = []\n", r"engagement\.action"),
        (f'[sessions]\n{NAMED["paths"].format("w")}[[metric]]\nname = "w_transitions"\nmeasure = "count"\n', "brings"),
        ('[sessions]\n[[metric]]\nname = "m"\nmeasure = "max"\nvalue = "pages"\non = "session.end"\n', "taken back"),
        ('[sessions]\n[[metric]]\nname = "m"\nmeasure = "count"\non = "session"\n', "did you mean session.end"),
        (
            '[sessions]\n[[metric]]\nname = "m"\nmeasure = "count"\non = "session.end"\nby = ["pages"]\n',
            "expected some",
        ),
        ('[sessions]\n[[metric]]\nname = "m"\nmeasure = "count"\non = "session.end"\nwhere = "hits > 1"\n', "hits"),
        ('[[metric]]\nname = "m"\nmeasure = "count"\non = "session.end"\n', "declares no analysis of people"),
    ],
)
def test_a_catalog_that_asks_for_what_cannot_be_is_told_why(text: str, problem: str) -> None:
    with pytest.raises(CatalogError, match=problem):
        catalog_of(text)
