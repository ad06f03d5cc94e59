"""The listeners of a real music service: all at once, through the live pipe, and beside a count in plain Python."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from sinks.records import Point
from stream.catalog import Catalog, load, parse
from stream.people.declared import generated
from streamgauge.compute import compute
from tests.stack import ROOT, SHARED, Stack, eventually, stack

SAMPLE = SHARED / "data" / "eventsim" / "events.ndjson.gz"
CATALOG = ROOT / "catalogs" / "music.toml"
MINUTE, DAY = 60_000, 86_400_000
Event = dict[str, Any]
Key = tuple[str, str, int, tuple[tuple[str, str], ...]]

pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason="the sample is not at hand")


def day_of(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()


def ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def start_of(unit: str, day: date) -> date:
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[unit]


def next_of(unit: str, start: date) -> date:
    return start_of(unit, start + timedelta(days={"day": 1, "week": 7, "month": 31}[unit]))


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """All of them, in order of time and, at equal times, of the file."""
    with gzip.open(SAMPLE) as file:
        found = [orjson.loads(line) for line in file]
    assert len(found) == 8_042
    return sorted(found, key=lambda event: event["ts"])


@pytest.fixture(scope="module")
def people(events: list[Event]) -> dict[str, list[Event]]:
    """Each listener's own."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["userId"]:
            found[event["userId"]].append(event)
    return found


@pytest.fixture(scope="module")
def newest(people: dict[str, list[Event]]) -> date:
    return day_of(max(event["ts"] for own in people.values() for event in own))


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return computed(load(CATALOG))


def computed(catalog: Catalog, path: Path = SAMPLE) -> list[Point]:
    found, refused, left_out, unseen = compute(catalog, [path], b"k" * 32, quiet=True)
    assert (refused, left_out, unseen) == ([], {}, set())
    return found


def series(points: list[Point], metric: str, window: str, *by: str) -> dict[Any, Any]:
    """The values of a metric by start and dimensions: `{start: value}`, or `{(start, dimension…): value}`."""
    found = {}
    for point in points:
        if (point.metric, point.window) == (metric, window):
            dimensions = dict(point.dimensions)
            assert sorted(dimensions) == sorted(by)
            key = (point.start_ms, *(dimensions[name] for name in by))
            found[key if by else point.start_ms] = point.value
    return found


def total(points: list[Point], metric: str, window: str = "day") -> float:
    return sum(series(points, metric, window).values())


# --- the known answers ---


def check_known(points: list[Point]) -> None:
    assert total(points, "sessions") == total(points, "sessions_ended") == 907
    for name, steps in (("upgrade", [85, 83, 14, 8]), ("upgrade_strict", [85, 82, 5, 4])):
        found = series(points, f"{name}_people", "total", "step")
        assert found == {(0, str(place)): people for place, people in enumerate(steps, 1)}
    dau = series(points, "dau", "day")
    assert [dau[start] for start in sorted(dau)][:5] == [1, 22, 10, 25, 29]
    assert min(dau) == ms(date(2018, 11, 1))


def test_the_known_answers(points: list[Point]) -> None:
    check_known(points)
    assert {point.state for point in points} == {"final"}


def test_as_many_sessions_with_given_ids_as_without() -> None:
    text = CATALOG.read_text()
    gap = 'gap = "30m"\npage'
    assert gap in text
    assert total(computed(parse(text.replace(gap, 'id = "sessionId"\npage'))), "sessions") == 907
    # They are not the same ones: a given id may go on after half an hour of silence, and change sooner.
    assert total(computed(parse(text.replace(gap, f'id = "sessionId"\n{gap}'))), "sessions") == 922


# --- the same, counted another way ---


@pytest.fixture(scope="module")
def visits(people: dict[str, list[Event]]) -> list[list[Event]]:
    found = []
    for own in people.values():
        cuts = [place for place in range(1, len(own)) if own[place]["ts"] - own[place - 1]["ts"] > 30 * MINUTE]
        found += [own[first:after] for first, after in pairwise([0, *cuts, len(own)])]
    return found


def test_sessions(points: list[Point], visits: list[list[Event]]) -> None:
    starts = Counter(ms(day_of(visit[0]["ts"])) for visit in visits)
    assert series(points, "sessions", "day") == starts
    levels = Counter((ms(day_of(visit[0]["ts"])), visit[0]["level"]) for visit in visits)
    ended: dict[int, list[list[Event]]] = defaultdict(list)
    for visit in visits:
        ended[ms(day_of(visit[-1]["ts"] + 30 * MINUTE))].append(visit)
    of_level = Counter(
        (start, next(event["level"] for event in visit)) for start, own in ended.items() for visit in own
    )
    assert sum(levels.values()) == sum(of_level.values())
    assert series(points, "sessions_by_level", "day", "level") == of_level
    assert series(points, "sessions_ended", "day") == {start: len(own) for start, own in ended.items()}

    def views(visit: list[Event]) -> int:
        return sum(event["page"] != "NextSong" for event in visit)

    def length_s(visit: list[Event]) -> float:
        return (visit[-1]["ts"] - visit[0]["ts"]) / 1000

    def engaged(visit: list[Event]) -> bool:
        keys = {"Upgrade", "Submit Upgrade", "Add to Playlist", "Add Friend"}
        return length_s(visit) > 10 or views(visit) >= 2 or any(event["page"] in keys for event in visit)

    def bounced(visit: list[Event]) -> bool:
        return views(visit) == 1 and len(visit) == 1

    def mean(values: list[float]) -> Any:
        return pytest.approx(sum(values) / len(values))

    days = ended.items()
    assert series(points, "session_duration", "day") == {d: mean([length_s(v) for v in own]) for d, own in days}
    assert series(points, "session_pages", "day") == {d: mean([views(v) for v in own]) for d, own in days}
    assert series(points, "bounce_rate", "day") == {d: mean([bounced(v) for v in own]) for d, own in days}
    assert series(points, "engaged_rate", "day") == {d: mean([engaged(v) for v in own]) for d, own in days}
    beats = {d: mean([10 * (len({e["ts"] // 10_000 for e in v}) - 1) + 5 for v in own]) for d, own in days}
    assert series(points, "engaged_time", "day") == beats
    entries = Counter((start, visit[0]["page"]) for start, own in days for visit in own)
    exits = Counter((start, visit[-1]["page"]) for start, own in days for visit in own)
    assert series(points, "entry_pages", "day", "entry_page") == entries
    assert series(points, "exit_pages", "day", "exit_page") == exits
    long = Counter((d, v[0]["level"]) for d, own in days for v in own if length_s(v) >= 3600)
    assert series(points, "long_visits", "day", "level") == long


def test_active_now(points: list[Point], people: dict[str, list[Event]]) -> None:
    minutes = Counter[int]()
    last = max(event["ts"] for own in people.values() for event in own) // MINUTE
    for own in people.values():
        seen = {event["ts"] // MINUTE for event in own}
        minutes.update({minute + later for minute in seen for later in range(5) if minute + later <= last})
    assert series(points, "active_now", "1m") == {minute * MINUTE: count for minute, count in minutes.items()}


def activity(people: Mapping[str, list[Event]], level: str | None = None) -> dict[str, set[date]]:
    """On which days each listener was there, or was so with that level."""
    found = {
        who: {day_of(event["ts"]) for event in own if level is None or event["level"] == level}
        for who, own in people.items()
    }
    return {who: days for who, days in found.items() if days}


def without_nothing(counts: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: count for key, count in counts.items() if count}


@pytest.mark.parametrize("level", [None, "free", "paid"])
def test_actives(points: list[Point], people: dict[str, list[Event]], newest: date, level: str | None) -> None:
    end, by = ("", []) if level is None else ("_by_level", ["level"])

    def of_level(metric: str, window: str = "day", *more: str) -> dict[Any, Any]:
        found = series(points, f"{metric}{end}", window, *more, *by)
        if level is not None:
            found = {key[:-1] if more else key[0]: value for key, value in found.items() if key[-1] == level}
        return found

    active = activity(people, level)
    first = min(min(days) for days in active.values())
    days = [first + timedelta(days=number) for number in range((newest - first).days + 1)]
    for metric, span in (("dau", 1), ("wau", 7), ("mau", 30)):
        counts = {
            ms(day): sum(any(day - timedelta(days=span) < seen <= day for seen in own) for own in active.values())
            for day in days
        }
        assert of_level(metric) == without_nothing(counts)
    dau, mau = of_level("dau"), of_level("mau")
    assert of_level("stickiness") == {start: pytest.approx(dau.get(start, 0) / mau[start]) for start in mau}
    histogram = Counter(
        (ms(day), str(sum(day - timedelta(days=30) < seen <= day for seen in own)))
        for day in days
        for own in active.values()
    )
    counted = {key: count for key, count in histogram.items() if key[1] != "0"}
    assert of_level("stickiness_days", "day", "days") == counted
    for unit in ("day", "week", "month"):
        expected = lifecycle(unit, active, newest)
        for status, counts in expected.items():
            assert of_level(f"{status}_{unit}", unit) == without_nothing(counts), (status, unit)
        churn = {
            start: pytest.approx(expected["dormant"][start] / before) if expected["dormant"][start] else 0
            for start, before in expected["previous"].items()
        }
        assert of_level(f"churn_rate_{unit}", unit) == churn


def lifecycle(unit: str, active: Mapping[str, set[date]], newest: date) -> dict[str, Counter[int]]:
    found: dict[str, Counter[int]] = {
        status: Counter() for status in ("new", "returning", "resurrecting", "dormant", "previous", "active")
    }
    for days in active.values():
        periods = {start_of(unit, day) for day in days}
        start = min(periods)
        found["new"][ms(start)] += 1
        while start <= newest:
            here = start in periods
            before = any(next_of(unit, other) == start for other in periods)
            found["active"][ms(start)] += here
            found["previous"][ms(start)] += before
            found["dormant"][ms(start)] += before and not here
            found["returning"][ms(start)] += before and here
            found["resurrecting"][ms(start)] += here and not before and start != min(periods)
            start = next_of(unit, start)
    return {status: Counter(without_nothing(counts)) for status, counts in found.items()}


def test_retention_by_day(points: list[Point], people: dict[str, list[Event]]) -> None:
    cohorts, cells = Counter[Any](), Counter[Any]()
    for days in activity(people).values():
        cohorts[ms(min(days))] += 1
        cells.update((ms(min(days)), str((day - min(days)).days)) for day in days if (day - min(days)).days <= 14)
    assert series(points, "daily_people", "day") == cohorts
    assert series(points, "daily_returned", "day", "offset") == cells


def test_retention_by_week(points: list[Point], people: dict[str, list[Event]]) -> None:
    cohorts, cells = Counter[Any](), Counter[Any]()
    for own in people.values():
        start = start_of("week", day_of(own[0]["ts"]))
        who = own[0]["level"]
        cohorts[ms(start), who] += 1
        songs = [event["ts"] for event in own if event["page"] == "NextSong"]
        offsets = [(start_of("week", day_of(at)) - start).days // 7 for at in songs]
        reached = max(offset for offset in [0, *offsets] if offset <= 4)
        cells.update((ms(start), str(offset), who) for offset in range(reached + 1))
    assert series(points, "weekly_people", "week", "segment") == cohorts
    assert series(points, "weekly_returned", "week", "offset", "segment") == cells


def test_paths(points: list[Point], visits: list[list[Event]]) -> None:
    ways = Counter[Any]()
    for visit in visits:
        ways[ms(day_of(visit[0]["ts"])), "__start__", visit[0]["page"]] += 1
        for former, event in pairwise(visit):
            if former["page"] != event["page"]:
                ways[ms(day_of(event["ts"])), former["page"], event["page"]] += 1
        ways[ms(day_of(visit[-1]["ts"] + 30 * MINUTE)), visit[-1]["page"], "__end__"] += 1
    assert series(points, "ways_transitions", "day", "from", "to") == ways
    whole = Counter[Any]()
    for (_, came_from, went_to), count in ways.items():
        whole[0, came_from, went_to] += count
    assert series(points, "ways_transitions", "total", "from", "to") == whole


def test_engagement(points: list[Point], people: dict[str, list[Event]], newest: date) -> None:
    worth = {"NextSong": 1, "Thumbs Up": 2, "Add to Playlist": 5, "Add Friend": 5}
    expected = Counter[Any]()
    for own in people.values():
        acts = [(event["ts"], worth[event["page"]]) for event in own if event["page"] in worth]
        if not acts:
            continue
        day = day_of(acts[0][0])
        while day <= newest:
            end = ms(day + timedelta(days=1))
            score = sum(value * 0.5 ** ((end - at) / (7 * DAY)) for at, value in acts if at < end)
            level = "devoted" if score >= 100 else "regular" if score >= 20 else "casual" if score >= 1 else None
            if level is not None:
                expected[ms(day), level] += 1
            day += timedelta(days=1)
    assert series(points, "engagement_people", "day", "level") == expected


# --- the same, as it comes ---


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> Path:
    """The sample, and somebody unknown hours later: then all that had to be waited for is known."""
    later_ms = (events[-1]["ts"] // MINUTE) * MINUTE + 2 * 60 * MINUTE + MINUTE // 2
    path = tmp_path_factory.mktemp("music") / "events.ndjson.gz"
    with gzip.open(path, "wb") as file:
        for event in [*events, {"ts": later_ms, "userId": "", "page": "Home", "sessionId": 1, "level": "free"}]:
            file.write(orjson.dumps(event) + b"\n")
    return path


def test_the_live_pipe_says_the_same(ended: Path, tmp_path: Path) -> None:
    catalog = load(CATALOG)
    points = computed(catalog, ended)
    check_known(points)
    about_people = {metric["name"] for metric in generated(catalog)} | {"long_visits"}
    expected = {key: value for key, value in known(points) if key[0] in about_people}
    windows = {(metric.name, window) for metric in catalog.metric for window in metric.windows}
    with stack(tmp_path, CATALOG) as made:
        try:
            made.run_processor()
            made.run_api()
            made.ready()
            replayed = made.command("replay", str(ended), "--catalog", str(CATALOG), "--max")
            assert replayed.returncode == 0, replayed.stderr
            eventually(lambda: made.total("sessions_ended", "day") == 907, what="the end of all sessions", within_s=60)
            found = {}
            for metric, window in sorted(windows):
                if metric in about_people:
                    found |= dict(stored(made, metric, window))
            differ = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
            assert not differ, [(key, found.get(key), expected.get(key)) for key in differ[:5]]
            check_tables(made)
        except AssertionError:
            print(made.logs())
            raise


def known(points: list[Point]) -> Iterator[tuple[Key, Any]]:
    """The value and count of every point."""
    for point in points:
        yield (point.metric, point.window, point.start_ms, point.dimensions), rounded(point.to_json())


def rounded(point: Mapping[str, Any]) -> Any:
    value = point["value"]
    return (round(value, 9) if isinstance(value, float) else value, point["count"])


def stored(made: Stack, metric: str, window: str) -> Iterator[tuple[Key, Any]]:
    """The same of a live metric; what was said and taken back is the same as what was never said."""
    spans = [{}]
    if window == "1m":
        spans = [{"from": f"2018-{n:%m-%d}", "to": f"2018-{n + timedelta(days=3):%m-%d}"} for n in _every_third_day()]
    for span in spans:
        answer = made.get("/v1/points", metric=metric, window=window, **span)
        assert answer["http"] == 200, answer
        assert not answer["truncated"], (metric, window)
        for point in answer["points"]:
            if point["count"]:
                start_ms = round(datetime.fromisoformat(point["start"]).timestamp() * 1000)
                yield (metric, window, start_ms, tuple(point["dimensions"].items())), rounded(point)


def _every_third_day() -> list[date]:
    return [date(2018, 10, 30) + timedelta(days=3 * number) for number in range(12)]


def check_tables(made: Stack) -> None:
    """What REST makes of them."""
    upgrade = made.get("/v1/people/upgrade")
    assert [step["people"] for step in upgrade["steps"]] == [85, 83, 14, 8]
    assert upgrade["conversion"] == pytest.approx(8 / 85)
    daily = made.get("/v1/people/daily", cohorts=40)
    assert sum(cohort["people"] for cohort in daily["cohorts"]) == daily["overall"][0]["people"]
    assert made.get("/v1/people/actives", limit=40)["days"][0]["dau"] == 1
    assert sum(period["sessions"] for period in made.get("/v1/people/sessions", window="day")["periods"]) == 907
    for name in ("weekly", "upgrade_strict", "ways", "engagement", "lifecycle"):
        assert made.get(f"/v1/people/{name}")["http"] == 200, name
    person = made.get("/v1/persons/39")
    assert person["sessions"]
    assert person["score"] > 0
