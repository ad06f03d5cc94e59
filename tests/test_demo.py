"""The demo: the simulator and its promises, its catalog and its events, the producer and a real Valkey."""

from __future__ import annotations

import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
import valkey
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.batches import RawBatch
from stream.catalog import load
from stream.derived import DERIVED
from stream.enrich import Pseudonyms
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from streamgauge.demo.food_sharing import Event, FoodSharing
from streamgauge.demo.incidents import LIVE, WEEKLY, Incident, Kind, occurrences
from streamgauge.demo.population import PLATFORMS, Population
from streamgauge.demo.producer import PIPELINE_ENTRIES, BackOff, Pace, produce, stream_of
from streamgauge.demo.rhythm import Rhythm
from tests.servers import ValkeyServer
from tests.stack import eventually

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MONDAY = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
RATE = 1 / 3
NOON = MONDAY + 12 * HOUR
CATALOG = Path(__file__).parent.parent / "catalogs" / "food_sharing.toml"
STREAMS = ["events:{0}", "events:{1}"]


def ms(event: Event) -> int:
    return round(datetime.fromisoformat(str(event["time"])).timestamp() * 1000)


def missing(frame: pl.DataFrame, *fields: str) -> int:
    return sum(frame[field].null_count() for field in fields)


@pytest.fixture(scope="module")
def week() -> list[Event]:
    """A quiet week, at a third of an event a second."""
    return FoodSharing(1, RATE, incidents=()).events_between(MONDAY, MONDAY + 7 * DAY)


@pytest.fixture(scope="module")
def frame(week: list[Event]) -> pl.DataFrame:
    return pl.DataFrame(week, infer_schema_length=None).with_columns(
        pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms")
    )


# --- the same events, whoever asks and however ---


def test_the_same_arguments_give_the_same_events() -> None:
    once = FoodSharing(7, 8).events_between(NOON, NOON + 3 * MINUTE)
    again = FoodSharing(7, 8).events_between(NOON, NOON + 3 * MINUTE)
    other = FoodSharing(8, 8).events_between(NOON, NOON + 3 * MINUTE)
    assert once == again
    assert len(once) > 1000
    assert not {event["id"] for event in once} & {event["id"] for event in other}


@settings(max_examples=12, deadline=None)
@given(
    rate=st.sampled_from([0.2, 3.0, 40.0]),
    start_ms=st.integers(MONDAY, MONDAY + DAY),
    lengths_ms=st.lists(st.integers(0, 4 * MINUTE) | st.integers(0, 50), max_size=6),
)
def test_a_span_may_be_cut_anywhere(rate: float, start_ms: int, lengths_ms: list[int]) -> None:
    end_ms = start_ms + sum(lengths_ms)
    whole = FoodSharing(3, rate).events_between(start_ms, end_ms)
    simulator = FoodSharing(3, rate)
    parts, at_ms = [], start_ms
    for length_ms in lengths_ms:
        parts += simulator.events_between(at_ms, at_ms + length_ms)
        at_ms += length_ms
    assert parts == whole
    assert all(start_ms <= ms(event) < end_ms for event in whole)


@pytest.mark.parametrize("rate", [0.2, 3, 8])
def test_a_simulator_that_starts_late_knows_who_is_still_on_a_visit(rate: float) -> None:
    early = FoodSharing(1, rate).events_between(NOON - HOUR, NOON + 20 * MINUTE)
    late = FoodSharing(1, rate).events_between(NOON, NOON + 20 * MINUTE)
    assert [event for event in early if ms(event) >= NOON] == late


def test_going_back_in_time_gives_the_same_events() -> None:
    simulator = FoodSharing(1, 5)
    first = simulator.events_between(NOON, NOON + MINUTE)
    simulator.events_between(NOON + 2 * HOUR, NOON + 2 * HOUR + MINUTE)
    assert simulator.events_between(NOON, NOON + MINUTE) == first


def test_time_may_be_skipped() -> None:
    simulator = FoodSharing(1, 5)
    for start_ms in (NOON, NOON + 7 * MINUTE, NOON + 9 * MINUTE, NOON + 3 * HOUR):
        span = start_ms, start_ms + MINUTE
        assert simulator.events_between(*span) == FoodSharing(1, 5).events_between(*span)


def test_events_are_in_order_and_their_ids_unique(week: list[Event]) -> None:
    times = [event["time"] for event in week]
    assert times == sorted(times)
    assert len({event["id"] for event in week}) == len(week)


def test_arguments_that_make_no_sense_are_refused() -> None:
    for rate in (0, -1, 1e9, float("nan")):
        with pytest.raises(ValueError, match="events_per_s"):
            FoodSharing(1, rate)
    with pytest.raises(ValueError, match="seed"):
        FoodSharing(-1, 1)
    with pytest.raises(ValueError, match="people"):
        FoodSharing(1, 1, people=0)
    with pytest.raises(ValueError, match="span"):
        FoodSharing(1, 1).events_between(10, 9)
    with pytest.raises(ValueError, match="Atlantis"):
        FoodSharing(1, 1, incidents=[replace(LIVE[2], community="Atlantis")])


def test_a_village_of_one_is_never_empty() -> None:
    assert FoodSharing(1, 2, people=1).events_between(MONDAY, MONDAY + HOUR)


# --- the rhythm ---


def test_the_rate_is_the_mean_of_a_week(week: list[Event]) -> None:
    assert len(week) / (7 * 86_400) == pytest.approx(RATE, rel=0.02)


def test_days_have_nights_and_weeks_have_weekends(frame: pl.DataFrame) -> None:
    hours = dict(frame.group_by(pl.col("time").dt.hour()).len().iter_rows())
    days = dict(frame.group_by(pl.col("time").dt.weekday()).len().iter_rows())
    assert hours[19] > 8 * hours[3]
    assert hours[12] > hours[10]
    assert days[6] > 1.1 * days[2]
    noon = frame.filter(pl.col("time").dt.hour() == 9)
    share = noon.group_by(pl.col("time").dt.weekday() >= 6).len().sort("time")["len"]
    assert share[0] / 5 < share[1] / 2  # at nine, the weekend has begun and the workday is at work


def test_a_quiet_week_is_quiet(frame: pl.DataFrame) -> None:
    """No hour is further from its rhythm than visits of several events each make it by chance."""
    rhythm = Rhythm("UTC")
    for start, count in frame.group_by(pl.col("time").dt.truncate("1h")).len().iter_rows():
        start_ms = int(start.replace(tzinfo=UTC).timestamp() * 1000)
        level = sum(rhythm.level(start_ms + minute * MINUTE) for minute in range(60)) / 60
        expected = RATE * 3600 * (0.95 * level + 0.05)
        assert abs(count - expected) < 5 * (14 * expected) ** 0.5 + 20


def test_the_mean_level_of_a_week_is_one() -> None:
    rhythm = Rhythm("UTC")
    levels = [rhythm.level(MONDAY + minute * MINUTE) for minute in range(0, 7 * 1440, 5)]
    assert sum(levels) / len(levels) == pytest.approx(1, abs=1e-3)


def test_the_rhythm_is_that_of_the_time_zone() -> None:
    tokyo = Rhythm("Asia/Tokyo")
    assert tokyo.level(NOON - 9 * HOUR) == Rhythm("UTC").level(NOON)
    berlin = Rhythm("Europe/Berlin")
    start_ms, end_ms = berlin.day_span(date(2026, 3, 29))  # clocks go forward
    assert end_ms - start_ms == 23 * HOUR


# --- the people ---


def test_a_few_people_make_much_of_the_traffic(frame: pl.DataFrame) -> None:
    people = frame.drop_nulls("user_id").group_by("user_id").len().sort("len", descending=True)["len"]
    assert 2000 < len(people) < 6000
    assert 0.3 < people.head(len(people) // 10).sum() / people.sum() < 0.75
    assert people[0] < 0.05 * people.sum()


def test_people_come_back_fade_and_leave() -> None:
    """Of those who join, more come the day after than a week later, and then than a month later."""
    population = Population(1, 4000, Rhythm("UTC"))
    first = date(2026, 3, 2)
    returned: Counter[int] = Counter()
    joined = 0
    for offset in range(7):
        day = population.day(first + timedelta(days=offset))
        joiners = set(day.members[day.joins_ms >= 0].tolist())
        assert 200 < day.present.sum() < 2500
        joined += len(joiners)
        for later in (1, 7, 30, 90):
            then = population.day(first + timedelta(days=offset + later))
            returned[later] += len(joiners & set(then.members[then.present].tolist()))
    assert joined > 500
    shares = [returned[later] / joined for later in (1, 7, 30, 90)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.25
    assert 0.02 < shares[2] < 0.2


def test_people_sign_up_once_and_do_nothing_before_but_look(frame: pl.DataFrame) -> None:
    signups = frame.filter(pl.col("event") == "signup")
    assert signups.height > 500
    assert signups["user_id"].n_unique() == signups.height
    before = (
        frame.join(signups.select("user_id", joined="time"), on="user_id")
        .filter(pl.col("time") < pl.col("joined"))
        .filter(~pl.col("event").is_in(["page_view", "api_call"]))
    )
    assert before.is_empty()


def test_a_person_comes_in_a_few_sittings(frame: pl.DataFrame) -> None:
    days = frame.drop_nulls("user_id").group_by("user_id", pl.col("time").dt.date())
    sessions = days.agg(pl.col("session_id").n_unique())["session_id"]
    assert 1 <= sessions.mean() < 6  # type: ignore[operator]


def test_posts_lead_to_claims_to_pickups_to_ratings(frame: pl.DataFrame) -> None:
    steps = {
        event: frame.filter(pl.col("event") == event) for event in
        ("post_created", "food_claimed", "pickup_completed", "rating_given")
    }  # fmt: skip
    posts, claims, pickups, ratings = steps.values()
    assert 0.8 < claims.height / posts.height < 1.4
    assert 0.75 < pickups.height / claims.height < 0.92
    assert 0.45 < ratings.height / pickups.height < 0.7
    # Those of the first minutes began before the week.
    settled = frame["time"].min() + timedelta(minutes=25)  # type: ignore[operator]
    for earlier, later, keys in (
        (posts, claims, ["post_id", "community", "category"]),
        (claims, pickups, ["post_id", "user_id", "community", "category", "portions", "weight_kg"]),
        (pickups, ratings, ["post_id", "user_id", "community", "category"]),
    ):
        pairs = later.filter(pl.col("time") > settled).join(earlier, on=keys, how="left", suffix="_before")
        taken = pairs["time"] - pairs["time_before"]
        assert taken.null_count() == 0
        assert taken.is_between(timedelta(seconds=1), timedelta(minutes=15)).all()


def test_events_have_the_fields_of_their_kind(frame: pl.DataFrame) -> None:
    def of(*kinds: str) -> pl.DataFrame:
        return frame.filter(pl.col("event").is_in(kinds))

    food = of("post_created", "food_claimed", "pickup_completed")
    assert missing(food, "user_id", "community", "platform", "category", "portions", "weight_kg") == 0
    assert food["portions"].is_between(1, 25).all()
    assert food["weight_kg"].is_between(0.01, 60).all()
    calls = of("api_call")
    assert missing(calls, "endpoint", "status", "duration_ms") == 0
    assert calls["duration_ms"].log().skew() == pytest.approx(0, abs=0.2)
    assert 0.001 < (calls["status"] >= 500).mean() < 0.02  # type: ignore[operator]
    assert calls["user_id"].null_count() > 0
    assert calls["endpoint"].n_unique() == 6
    assert of("rating_given")["rating"].is_between(1, 5).all()
    assert of("page_view")["user_id"].null_count() > 0
    assert of("page_view")["page"].null_count() == 0
    assert set(frame["event"]) == {
        "page_view", "post_created", "food_claimed", "pickup_completed", "message_sent", "rating_given",
        "api_call", "signup", "support_ticket",
    }  # fmt: skip
    sizes = frame.drop_nulls("community").group_by("community").len()["len"]
    assert len(sizes) == 8
    assert sizes.max() > 4 * sizes.min()  # type: ignore[operator]


# --- the incidents ---


def _latency(events: list[Event]) -> float:
    calls = [float(event["duration_ms"]) for event in events if event["event"] == "api_call"]
    return sum(calls) / len(calls)


def _failed(events: list[Event]) -> float:
    calls = [event for event in events if event["event"] == "api_call"]
    return sum(int(event["status"]) >= 500 for event in calls) / len(calls)


def _kinds(kind: str, community: str | None = None) -> Callable[[list[Event]], float]:
    return lambda events: sum(event["event"] == kind and community in (None, event["community"]) for event in events)


EFFECTS = [
    (Incident("slow", Kind.SLOW_API, 7200, 600, severity=6), _latency, 6.0),
    (Incident("failing", Kind.ERRORS, 7200, 600, severity=0.3), _failed, 40.0),
    (Incident("lost", Kind.CLAIMS_OUTAGE, 7200, 600, 1, "Harbour"), _kinds("food_claimed", "Harbour"), 0.0),
    (Incident("bots", Kind.BOTS, 7200, 600, severity=5), _kinds("page_view"), 5.0),
    (Incident("viral", Kind.VIRAL_POST, 7200, 600, 3, "Old Town"), _kinds("message_sent"), 3.0),
]  # fmt: skip


@pytest.mark.parametrize(("incident", "measured", "factor"), EFFECTS, ids=lambda it: getattr(it, "name", ""))
def test_an_incident_does_what_it_says_while_it_lasts(
    incident: Incident, measured: Callable[[list[Event]], float], factor: float
) -> None:
    stirred, quiet = FoodSharing(1, 4, incidents=[incident]), FoodSharing(1, 4, incidents=())
    (it,) = stirred.incidents_between(NOON, NOON + 7200_000)
    times_ms = (it.start_ms - 10 * MINUTE, it.start_ms, it.end_ms, it.end_ms + HOUR // 2)
    before, during, after = (
        (stirred.events_between(*span), quiet.events_between(*span)) for span in pairwise(times_ms)
    )
    assert before[0] == before[1]
    usual = measured(during[1])
    assert usual > 0
    tolerance = 0.6 if incident.kind is Kind.ERRORS else 0.15  # failures are rare, without it
    assert measured(during[0]) == pytest.approx(factor * usual, rel=tolerance)
    # Complaints come later, and what lost claims would have led to does not come: nothing else has changed.
    stirred_after, quiet_after = ({event["id"]: event for event in events} for events in after)
    allowed = {"support_ticket"} if incident.kind is not Kind.CLAIMS_OUTAGE else {
        "support_ticket", "pickup_completed", "rating_given", "message_sent", "api_call"
    }  # fmt: skip
    for known, others in ((stirred_after, quiet_after), (quiet_after, stirred_after)):
        assert {event["event"] for key, event in known.items() if others.get(key) != event} <= allowed


def test_an_outage_answers_claims_with_a_failure_and_loses_what_follows() -> None:
    outage = EFFECTS[2][0]
    simulator, quiet = FoodSharing(1, 4, incidents=[outage]), FoodSharing(1, 4, incidents=())
    (it,) = simulator.incidents_between(NOON, NOON + 7200_000)
    span = (it.start_ms, it.end_ms + HOUR // 2)
    kept, all_of = simulator.events_between(*span), quiet.events_between(*span)
    claimed = {event["post_id"] for event in kept if event["event"] == "food_claimed"}
    lost = [event for event in all_of if event["event"] == "food_claimed" and ms(event) < it.end_ms]
    lost = [event for event in lost if event["community"] == "Harbour"]
    assert lost
    for post in {event["post_id"] for event in lost} - claimed:
        fetched = [event for event in kept if event.get("post_id") == post]
        fetched = [event for event in fetched if event["event"] == "pickup_completed"]
        assert all(ms(event) < it.start_ms + 10 * MINUTE for event in fetched)  # claimed before the outage
    failures, usual = (sum(event.get("status") == 503 for event in events) for events in (kept, all_of))
    assert failures - usual == pytest.approx(len(lost), abs=3)


@given(
    start_ms=st.integers(MONDAY, MONDAY + 30 * DAY),
    length_ms=st.integers(1, 3 * HOUR),
    cut=st.floats(0, 1),
)
def test_incidents_are_listed_whenever_they_touch_the_span(start_ms: int, length_ms: int, cut: float) -> None:
    end_ms, middle_ms = start_ms + length_ms, start_ms + int(length_ms * cut)
    whole = occurrences(LIVE, start_ms, end_ms)
    parts = {*occurrences(LIVE, start_ms, middle_ms), *occurrences(LIVE, middle_ms, end_ms)}
    assert set(whole) == {it for it in parts if it.start_ms < end_ms and it.end_ms > start_ms}
    for it in whole:
        assert it.end_ms - it.start_ms == it.incident.length_s * 1000
        assert it.start_ms // (it.incident.every_s * 1000) == (it.end_ms - 1) // (it.incident.every_s * 1000)


def test_incidents_recur_once_in_each_period_at_changing_times() -> None:
    day = occurrences(LIVE, MONDAY, MONDAY + DAY)
    assert Counter(it.incident.name for it in day) == {
        "slow_api": 36, "error_burst": 36, "claims_outage": 36, "bot_spike": 48, "viral_post": 48,
    }  # fmt: skip
    assert len({it.start_ms % HOUR for it in day}) > 150
    assert len(occurrences(WEEKLY, MONDAY, MONDAY + 28 * DAY)) in range(18, 23)
    assert FoodSharing(1, 1, incidents=()).incidents_between(MONDAY, MONDAY + DAY) == []


@pytest.mark.parametrize(
    ("kind", "length_s", "severity"),
    [(Kind.ERRORS, 60, 1.5), (Kind.BOTS, 60, 0.5), (Kind.SLOW_API, 0, 2), (Kind.SLOW_API, 3601, 2)],
)
def test_an_incident_that_makes_no_sense_is_refused(kind: Kind, length_s: int, severity: float) -> None:
    with pytest.raises(ValueError, match="odd"):
        Incident("odd", kind, 3600, length_s, severity)


# --- the catalog ---


def test_every_metric_of_the_catalog_finds_its_events(frame: pl.DataFrame) -> None:
    catalog = load(CATALOG)
    assert catalog.platform.streams == STREAMS
    assert missing(frame, *catalog.event.required) == 0
    for metric in catalog.metric:
        if metric.measure in DERIVED or metric.on is not None:
            continue
        found = frame.filter(pl.sql_expr(metric.where)) if metric.where else frame
        assert found.height >= 5, metric.name
        if metric.measure == "distinct":  # of whoever is known
            found = found.drop_nulls(metric.value)
        if metric.value:
            assert found.select(pl.sql_expr(metric.value)).to_series().null_count() == 0, metric.name
        for dimension in metric.by:
            assert found[dimension].null_count() == 0, metric.name
            assert 1 < found[dimension].n_unique() <= metric.max_series


def test_people_come_in_visits_take_steps_and_come_back(week: list[Event]) -> None:
    plan = compile_plan(load(CATALOG), builtin=False)
    pipeline = Pipeline(plan, Pseudonyms(b"k" * 32), whole_input=True)
    for first in range(0, len(week), 5_000):
        entries = [(b"1-%d" % at, [b"data", orjson.dumps(one)]) for at, one in enumerate(week[first : first + 5_000])]
        assert not pipeline.add(RawBatch(STREAMS[0], entries, False, 1), MONDAY + 8 * DAY)
    totals: Counter[Any] = Counter()
    days: defaultdict[str, list[float]] = defaultdict(list)
    for point in pipeline.finish(1).live:
        if point.window == "day" and isinstance(point.value, int | float):
            totals[point.metric, *dict(point.dimensions).values()] += point.value
            days[point.metric].append(point.value)
    assert totals["sessions",] == totals["sessions_ended",] > 5_000
    assert 0.02 < totals["bounces",] / totals["sessions",] < 0.5
    assert 1.5 < sum(days["session_pages"]) / 7 < 8
    assert len(days["dau"]) == 7
    # Of those who came on the first days, some are there on the next and on later ones.
    assert totals["coming_back_returned", "0"] == totals["coming_back_people",]
    assert 0.05 < totals["coming_back_returned", "1"] / totals["coming_back_people",] < 0.6
    assert totals["coming_back_returned", "5"] > 50
    assert totals["returning_day",] > totals["resurrecting_day",] > 50
    steps = [sum(totals["claiming_people", step, platform] for platform in PLATFORMS) for step in "1234"]
    assert steps == sorted(steps, reverse=True)
    assert 0.02 < steps[3] / steps[0] < 0.5
    assert totals["ways_transitions", "home", "post"] > 1_000
    assert min(totals["engagement_people", level] for level in ("looking", "sharing")) > 100
    assert totals["people_capped_events",] == 0


# --- the producer ---


class FakeTime:
    """A clock that moves only when somebody sleeps, and ends the run after a while."""

    def __init__(self, runs_s: float, start_ms: int = NOON) -> None:
        self.now_s = start_ms / 1000
        self.end_s = self.now_s + runs_s
        self.naps_s: list[float] = []
        self.on_sleep: Callable[[int], None] = lambda _: None

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.naps_s.append(seconds)
        self.now_s += seconds
        self.on_sleep(len(self.naps_s))

    def stop(self) -> bool:
        return self.now_s >= self.end_s

    def __iter__(self) -> Iterator[str]:  # so that `**time` passes all three
        return iter(self.keys())

    def keys(self) -> tuple[str, str, str]:
        return "clock", "sleep", "stop"

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as running:
        yield running


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[valkey.Valkey]:
    with server.client(socket_timeout=5) as connected:
        connected.flushall()
        yield connected


def read(client: valkey.Valkey, stream: str) -> list[Event]:
    return [orjson.loads(fields[b"data"]) for _, fields in client.xrange(stream)]


def by_id(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: str(event["id"]))


def test_history_and_then_every_event_as_it_happens(client: valkey.Valkey) -> None:
    now = FakeTime(runs_s=20)
    tally = produce(client, STREAMS, FoodSharing(1, 20), **now, history_s=120)
    sent = [read(client, stream) for stream in STREAMS]
    expected = FoodSharing(1, 20).events_between(NOON - 120_000, NOON + 20_000)
    last_ms = max(ms(event) for events in sent for event in events)
    assert last_ms > NOON + 19_000
    assert by_id(sent[0] + sent[1]) == by_id([event for event in expected if ms(event) <= last_ms])
    assert tally.sent == len(sent[0] + sent[1])
    assert (tally.given_up, tally.skipped_ms, tally.retries) == (0, 0, 0)
    assert len(now.naps_s) < 450  # a tick at a time, not as fast as it goes
    for events in sent:
        assert [event["time"] for event in events] == sorted(str(event["time"]) for event in events)


def test_a_person_stays_on_one_stream_and_streams_share_the_people(client: valkey.Valkey) -> None:
    produce(client, STREAMS, FoodSharing(1, 20), **FakeTime(runs_s=1), history_s=60)
    streams_of = defaultdict(set)
    sizes = []
    for stream in STREAMS:
        events = read(client, stream)
        sizes.append(len(events))
        for event in events:
            assert stream_of(event, STREAMS) == stream
            if "user_id" in event:
                streams_of[event["user_id"]].add(stream)
    assert all(len(streams) == 1 for streams in streams_of.values())
    assert 0.3 < sizes[0] / sum(sizes) < 0.7
    # Of no process and no release: CRC-32.
    assert stream_of({"user_id": "u1", "id": "x"}, STREAMS) == STREAMS[zlib.crc32(b"u1") % 2]


def test_a_long_pause_is_not_made_up_for(client: valkey.Valkey) -> None:
    now = FakeTime(runs_s=3700)

    def pause(nap: int) -> None:
        if nap == 20:
            now.now_s += 3600
        elif nap > 40:
            now.end_s = 0

    now.on_sleep = pause
    tally = produce(client, STREAMS, FoodSharing(1, 10), **now, catch_up_s=10)
    times = sorted(ms(event) for stream in STREAMS for event in read(client, stream))
    gap_ms = max(later - earlier for earlier, later in pairwise(times))
    assert tally.skipped_ms == pytest.approx(3590_000, abs=100)
    assert gap_ms == pytest.approx(3590_000, abs=2000)
    assert tally.sent == len(times) < 10 * 2.5 * 13


def test_events_wait_for_a_server_that_was_away(tmp_path: Path) -> None:
    server = ValkeyServer(data_dir=tmp_path)
    server.start()
    again = ValkeyServer(port=server.port)
    now = FakeTime(runs_s=8)
    arrived: list[Event] = []
    client = server.client(socket_timeout=5)

    def fail(nap: int) -> None:
        if nap == 20:
            arrived.extend(event for stream in STREAMS for event in read(client, stream))
            server.terminate()
        elif nap == 30:
            again.start()

    now.on_sleep = fail
    try:
        tally = produce(client, STREAMS, FoodSharing(1, 20), **now, history_s=5, catch_up_s=30)
        arrived += [event for stream in STREAMS for event in read(client, stream)]
    finally:
        client.close()
        again.terminate()
        server.terminate()
    assert tally.retries >= 3
    assert len(set(now.naps_s)) > 5  # jittered
    last_ms = max(ms(event) for event in arrived)
    assert last_ms > NOON + 6000
    expected = FoodSharing(1, 20).events_between(NOON - 5000, last_ms + 1)
    assert by_id(arrived) == by_id(expected)
    assert tally.given_up == tally.skipped_ms == 0


def test_what_is_too_old_when_the_server_is_back_is_given_up(client: valkey.Valkey) -> None:
    now = FakeTime(runs_s=120)
    client.config_set("maxmemory", 1)
    now.on_sleep = lambda _: client.config_set("maxmemory", 0) if now.now_s > NOON / 1000 + 60 else None
    try:
        tally = produce(client, STREAMS, FoodSharing(1, 10), **now, catch_up_s=10)
    finally:
        client.config_set("maxmemory", 0)
    assert tally.given_up > 100
    times = [ms(event) for stream in STREAMS for event in read(client, stream)]
    assert min(times) >= NOON + 49_000
    assert len(times) == tally.sent


def test_a_server_that_is_out_of_memory_gets_the_events_later(client: valkey.Valkey) -> None:
    now = FakeTime(runs_s=6)

    def fill(nap: int) -> None:
        if nap in (10, 18):
            client.config_set("maxmemory", 1 if nap == 10 else 0)

    now.on_sleep = fill
    try:
        tally = produce(client, STREAMS, FoodSharing(1, 20), **now, catch_up_s=60)
    finally:
        client.config_set("maxmemory", 0)
    sent = [event for stream in STREAMS for event in read(client, stream)]
    assert tally.retries >= 2
    assert by_id(sent) == by_id(FoodSharing(1, 20).events_between(NOON, max(map(ms, sent)) + 1))


def test_what_time_does_not_mend_is_raised(client: valkey.Valkey) -> None:
    client.set(STREAMS[1], "not a stream")
    with pytest.raises(valkey.ResponseError, match="WRONGTYPE"):
        produce(client, STREAMS, FoodSharing(1, 20), **FakeTime(runs_s=2), history_s=10)
    with pytest.raises(ValueError, match="streams"):
        produce(client, [], FoodSharing(1, 20), **FakeTime(runs_s=2))


def test_streams_are_trimmed(client: valkey.Valkey) -> None:
    produce(client, STREAMS[:1], FoodSharing(1, 20), **FakeTime(runs_s=1), history_s=120, max_entries=1000)
    assert 1000 <= client.xlen(STREAMS[0]) < 1000 + 2 * PIPELINE_ENTRIES


def test_it_keeps_up_with_the_wall_clock_and_stops_promptly(client: valkey.Valkey) -> None:
    stopped = threading.Event()
    begun_s = time.time()
    run = threading.Thread(
        target=produce,
        args=(client, STREAMS, FoodSharing(1, 100)),
        kwargs={"sleep": stopped.wait, "stop": stopped.is_set, "history_s": 10},
    )
    run.start()

    def times() -> list[float]:
        return [ms(event) / 1000 for stream in STREAMS for event in read(client, stream)]

    try:
        # Through its history, and then with the clock: at the quietest hour of a night there may be none for a second.
        eventually(lambda: max(times(), default=0) > begun_s + 0.5, within_s=15)
    finally:
        asked_s = time.time()
        stopped.set()
    run.join(5)
    assert time.time() - asked_s < 0.5
    assert begun_s - 11 < min(times())
    assert max(times()) <= time.time()


def test_it_stops_promptly_while_the_server_is_away(tmp_path: Path) -> None:
    server = ValkeyServer(data_dir=tmp_path)
    server.start()
    client = server.client()
    server.terminate()
    now = FakeTime(runs_s=30)
    produce(client, STREAMS, FoodSharing(1, 20), **now, history_s=10)
    client.close()
    assert max(now.naps_s) <= 0.2
    assert now.now_s - now.end_s <= 0.2


def test_the_pace_makes_up_for_the_past_in_bounded_steps() -> None:
    pace = Pace.beginning(100_000, history_ms=5000, step_ms=2000, catch_up_ms=1000)
    assert [pace.take(100_000) for _ in range(3)] == [(95_000, 97_000), (97_000, 99_000), (99_000, 100_000)]
    assert pace.take(100_000) is None
    assert pace.take(100_020) is None  # less than a tick
    assert pace.take(100_050) == (100_000, 100_050)
    assert pace.take(110_000) == (109_000, 110_000)
    assert pace.skipped_ms == 8950
    assert pace.take(109_500) is None  # the clock was set back a little: wait
    assert pace.take(50_000) is None  # by a lot: go on from there
    assert pace.take(50_050) == (50_000, 50_050)


def test_the_back_off_grows_is_jittered_and_starts_again() -> None:
    highest = BackOff(jitter=lambda: 1.0)
    assert [round(highest.failed(), 3) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    highest.succeeded()
    assert highest.failed() == pytest.approx(0.1)
    lowest = BackOff(jitter=lambda: 0.0)
    assert {lowest.failed() for _ in range(2000)} == {0.05}
