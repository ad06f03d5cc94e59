from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from live_api import compare
from live_api.access.guard import Identified
from live_api.access.identity import LOCAL, Identity
from live_api.yesterday import RESOLUTION_MS, Then, at_same_time_yesterday, same_time_yesterday
from sinks.records import Point, State
from sinks.store import Store
from stream.catalog import parse
from stream.windows import window_of

Event = tuple[int, float]
"""Time in ms, and value."""

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOON = int(datetime(2026, 5, 20, 12, 0, 30, tzinfo=UTC).timestamp()) * 1000
MIDNIGHT = NOON // DAY * DAY
WINDOWS = ["10s", "1m", "1h", "1d"]
VALUES: dict[str, Callable[[list[float]], float | int | None]] = {
    "count": len,
    "sum": sum,
    "mean": lambda values: sum(values) / len(values) if values else None,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
}


def points_of(
    events: Iterable[Event], windows: Sequence[str], measure: str = "count", zone: str = "UTC"
) -> list[Point]:
    """The final points that a processor would have written for these events."""
    found: list[Point] = []
    events = list(events)
    for name in windows:
        window = window_of(name, ZoneInfo(zone))
        panes: dict[int, list[float]] = {}
        starts = window.panes.start_s(np.array([time_ms for time_ms, _ in events], dtype=np.int64))
        for start_s, (_, value) in zip(starts.tolist(), events, strict=True):
            panes.setdefault(start_s * 1000, []).append(value)
        found += [
            Point("n", name, start, (), VALUES[measure](values), len(values), State.FINAL, 2, start + DAY)
            for start, values in panes.items()
        ]
    return found


def asked(
    points: Iterable[Point], now_ms: int, window: str = "1d", *, windows: Sequence[str] = WINDOWS, **more: Any
) -> Then:
    points = sorted(points, key=lambda one: one.start_ms)

    def read(name: str, from_ms: int, to_ms: int) -> list[Point]:
        return [one for one in points if one.window == name and from_ms <= one.start_ms < to_ms]

    measure, zone = more.pop("measure", "count"), more.pop("zone", "UTC")
    return at_same_time_yesterday(read, measure, windows, window, ZoneInfo(zone), now_ms=now_ms, **more)


BEFORE: Event = (MIDNIGHT - 2 * DAY + HOUR, 1.0)
"""Somebody was counting the day before yesterday."""
YESTERDAY: list[Event] = [(MIDNIGHT - DAY + n * 7 * MINUTE + 500, float(n)) for n in range(200)]


def test_a_day_as_far_as_it_had_come() -> None:
    at_ms, value = asked(points_of([BEFORE, *YESTERDAY], WINDOWS), NOON)
    assert at_ms == NOON - DAY
    assert value == sum(time_ms < NOON - DAY for time_ms, _ in YESTERDAY) == 103


def test_without_the_shortest_it_goes_up_to_the_last_minute() -> None:
    events = [*YESTERDAY, (NOON - DAY - 20_000, 1), (NOON - DAY + 20_000, 1)]
    kept = [one for one in points_of([BEFORE, *events], WINDOWS) if one.window != "10s"]
    at_ms, value = asked(kept, NOON)
    assert at_ms == NOON - DAY - 30_000
    assert value == 103


@pytest.mark.parametrize("missing", ["1h", "1m"])
def test_another_window_stands_in_for_one_that_is_missing(missing: str) -> None:
    kept = [one for one in points_of([BEFORE, *YESTERDAY], WINDOWS) if one.window != missing]
    assert asked(kept, NOON) == (NOON - DAY, 103)


def test_no_number_is_better_than_a_wrong_one() -> None:
    points = points_of([BEFORE, *YESTERDAY], WINDOWS)
    assert asked([one for one in points if one.window == "1d"], NOON).value is None
    # To the hour is not the same time.
    assert asked([one for one in points if one.window in ("1h", "1d")], NOON).value is None
    # An hour was deleted, and all that could stand in for it.
    hole = NOON - DAY - 3 * HOUR
    assert (
        asked([one for one in points if one.window == "1d" or not hole <= one.start_ms < hole + HOUR], NOON).value
        is None
    )
    assert asked([], NOON).value is None


def test_a_day_that_was_not_counted_from_its_beginning_is_not_known() -> None:
    later = [event for event in YESTERDAY if event[0] > MIDNIGHT - DAY + 5 * HOUR]
    assert asked(points_of(later, WINDOWS), NOON).value is None
    assert asked(points_of([BEFORE, *later], WINDOWS), NOON).value == 60
    ancient = (MIDNIGHT - 30 * DAY, 1.0)
    assert asked(points_of([ancient, *later], WINDOWS), NOON).value is None


def test_nothing_had_happened_by_then() -> None:
    evening = [(MIDNIGHT - HOUR, 1.0)]
    assert asked(points_of([BEFORE, *evening], WINDOWS), NOON) == (NOON - DAY, 0)
    assert asked(points_of([BEFORE, *evening], WINDOWS, "max"), NOON, measure="max") == (NOON - DAY, None)
    assert asked(points_of([BEFORE, *YESTERDAY], WINDOWS), MIDNIGHT) == (MIDNIGHT - DAY, 0)


def test_a_day_whose_events_were_not_all_read_by_then_is_not_known() -> None:
    def so_far(watermark_ms: int) -> list[Point]:
        points = points_of([BEFORE, *YESTERDAY], WINDOWS)
        return [
            Point(*(one.metric, one.window, one.start_ms, (), one.value, one.count, State.OPEN, 1, watermark_ms))
            for one in points
        ]

    assert asked(so_far(NOON - DAY - 1), NOON).value is None
    assert asked(so_far(NOON - DAY), NOON).value == 103


def test_an_hour_is_put_together_of_minutes() -> None:
    now_ms = NOON + 20 * MINUTE
    events = [BEFORE, *((now_ms - DAY - n * MINUTE, float(n)) for n in range(60))]
    at_ms, value = asked(points_of(events, WINDOWS, "sum"), now_ms, "1h", measure="sum")
    assert (at_ms, value) == (now_ms - DAY, sum(range(1, 21)))


def test_a_count_without_anything_shorter_is_not_known() -> None:
    points = points_of([BEFORE, *YESTERDAY], ["1m"])
    assert asked(points, NOON, "1m", windows=["1m"]).value is None
    five = points_of([BEFORE, *YESTERDAY], ["5m"])
    assert asked(five, NOON, "5m", windows=["5m"]).value is None


def test_what_does_not_add_up_is_the_whole_short_window_that_was_open() -> None:
    start = NOON - 30_000 - DAY
    values = {"p50": 3.0, "p99": 9.0}
    final = Point("n", "1m", start, (), values, 5, State.FINAL, 1, NOON)
    quantile = {"measure": "quantile", "window": "1m"}
    assert asked([final], NOON, **quantile, key="p99") == (start + MINUTE, 9.0)
    assert asked([final], NOON, **quantile, key="p1").value is None
    assert asked([final], NOON, **quantile).value is None
    open_still = Point("n", "1m", start, (), values, 5, State.OPEN, 1, NOON)
    assert asked([open_still], NOON, **quantile, key="p99").value is None
    assert asked([final], NOON + MINUTE, **quantile, key="p99").value is None
    mean = Point("n", "1m", start, (), 4.5, 5, State.CORRECTED, 1, NOON)
    assert asked([mean], NOON, "1m", measure="mean") == (start + MINUTE, 4.5)
    hour = Point("n", "1h", (NOON - DAY) // HOUR * HOUR, (), 4.5, 5, State.FINAL, 1, NOON)
    assert asked([hour], NOON, "1h", measure="distinct").value is None


def test_a_window_that_slides_is_the_one_that_ended_with_the_step_of_then() -> None:
    start = NOON - DAY - 5 * MINUTE + 10_000
    slid = Point("n", "5m/10s", start, (), 7, 7, State.FINAL, 1, NOON)
    assert asked([slid], NOON + 3_000, "5m/10s") == (NOON - DAY + 10_000, 7)
    assert asked([slid], NOON + 13_000, "5m/10s").value is None
    days = Point("n", "24h/1h", (NOON - 2 * DAY) // HOUR * HOUR + HOUR, (), 7, 7, State.FINAL, 1, NOON)
    assert asked([days], NOON, "24h/1h").value is None


@pytest.mark.parametrize("window", ["week", "month", "7d/day", "7d/1d", "total"])
def test_of_more_than_a_day_nothing_is_known(window: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    windows = ["1m", window]
    points = points_of([BEFORE, *YESTERDAY], ["1m"]) + [
        Point("n", window, n * DAY - 2 * HOUR, (), 9, 9, State.FINAL, 1, NOON) for n in range(20_500, 20_620)
    ]
    assert asked(points, NOON, window, windows=windows, zone=str(zone)).value is None


# REST


CATALOG = """
[platform]
timezone = "Europe/Berlin"

[[metric]]
name = "orders"
measure = "count"

[[metric]]
name = "sales"
measure = "sum"
value = "price"
by = ["country", "kind"]
windows = ["1m", "day"]

[[metric]]
name = "latency"
measure = "quantile"
value = "ms"

[[metric]]
name = "pages"
measure = "top_k"
value = "page"
"""


class Clock:
    now_ms = NOON

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path}/points.db")
    made.setup()
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def local(_: HTTPConnection) -> Identity:
    return LOCAL


@pytest.fixture
def get(store: Store, clock: Clock) -> Iterator[Callable[..., Any]]:
    app = FastAPI()
    app.add_middleware(Identified, identify=local)
    app.include_router(compare.router(parse(CATALOG), store, clock=clock))
    with TestClient(app) as client:

        def ask(**query: str) -> Any:
            answer = client.get("/v1/compare", params={"metric": "orders", "window": "1d", **query})
            return {**answer.json(), "http": answer.status_code}

        yield ask


def of(name: str, points: Iterable[Point], **dimensions: str) -> list[Point]:
    return [structs.replace(one, metric=name, dimensions=tuple(dimensions.items())) for one in points]


def test_the_route_answers_from_the_store(get: Callable[..., Any], store: Store) -> None:
    store.write(of("orders", points_of([BEFORE, *YESTERDAY], ["1m", "1h", "1d"])))
    assert get() == {"http": 200, "metric": "orders", "window": "1d", "at": "2026-05-19T12:00:30Z", "value": 103}


def test_all_screens_that_ask_within_ten_seconds_get_one_answer(
    get: Callable[..., Any], store: Store, clock: Clock
) -> None:
    store.write(of("orders", points_of([BEFORE, *YESTERDAY], WINDOWS)))
    assert get()["value"] == 103
    store.write(of("orders", [Point("n", "1d", MIDNIGHT - DAY, (), 999, 999, State.CORRECTED, 3, NOON)]))
    clock.now_ms += 9_999
    assert get()["value"] == 103
    clock.now_ms += 1
    assert get()["value"] is None
    assert get(window="1h")["value"] is not None


def test_a_series_is_compared_with_itself(get: Callable[..., Any], store: Store) -> None:
    for country, value in (("DE", 5.0), ("US", 7.5)):
        events = [(NOON - 3 * DAY, value), (NOON - DAY - 3 * MINUTE, value), (NOON - DAY - 2 * HOUR, value)]
        points = points_of(events, ["1m", "day"], "sum", "Europe/Berlin")
        store.write(of("sales", points, country=country, kind="a"))
        # Of a former catalog.
        store.write(of("sales", points, country=country, kind="a", size="XL"))
    for country, value in (("DE", 10), ("US", 15), ("FR", None)):
        assert get(metric="sales", window="day", country=country, kind="a")["value"] == value


@pytest.mark.parametrize(
    ("query", "status", "part"),
    [
        ({"metric": "order"}, 404, "metric: expected one of orders, sales"),
        ({"window": "5m"}, 400, "window: expected one of 10s, 1m, 1h, 1d; found '5m'"),
        ({"country": "DE"}, 400, "country: orders has no such dimension"),
        ({"metric": "sales", "window": "day"}, 400, "country: expected a value, as one series is compared"),
        ({"metric": "sales", "window": "day", "country": "DE"}, 400, "kind: expected a value"),
        ({"key": "p99"}, 400, "key: expected none, as orders has one value"),
        ({"metric": "latency"}, 400, "key: expected one of p50, p90, p99; found None"),
        ({"metric": "latency", "key": "p1"}, 400, "found 'p1'"),
        ({"metric": "pages"}, 400, "key: expected one of the texts of pages"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    get: Callable[..., Any], query: dict[str, str], status: int, part: str
) -> None:
    answer = get(**query)
    assert answer["http"] == status
    assert part in answer["detail"]


def test_what_is_not_known_is_null(get: Callable[..., Any]) -> None:
    for query in ({"metric": "orders"}, {"metric": "latency", "key": "p50"}, {"metric": "pages", "key": "/"}):
        answer = get(**query)
        assert (answer["http"], answer["value"]) == (200, None)


def test_a_store_out_of_reach_is_said_with_503(tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database, and longer than a header" * 100)
    app = FastAPI()
    app.add_middleware(Identified, identify=local)
    app.include_router(compare.router(parse(CATALOG), Store(f"sqlite:///{tmp_path}/broken.db")))
    assert TestClient(app).get("/v1/compare?metric=orders&window=1d").status_code == 503


# Days on which clocks are set


def moment(text: str, zone: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


@pytest.mark.parametrize(
    ("now", "expected_utc", "zone"),
    [
        ("2026-03-29T12:00", "2026-03-28T11:00", "Europe/Berlin"),  # 23 hours ago
        ("2026-03-30T12:00", "2026-03-29T10:00", "Europe/Berlin"),
        ("2026-03-30T01:59", "2026-03-29T00:59", "Europe/Berlin"),
        ("2026-03-30T02:00", "2026-03-29T01:00", "Europe/Berlin"),  # skipped: when clocks were set
        ("2026-03-30T02:59", "2026-03-29T01:00", "Europe/Berlin"),
        ("2026-03-30T03:00", "2026-03-29T01:00", "Europe/Berlin"),
        ("2026-10-26T02:30", "2026-10-25T00:30", "Europe/Berlin"),  # came twice: the first
        ("2026-10-26T03:00", "2026-10-25T02:00", "Europe/Berlin"),
        ("2026-10-25T02:30", "2026-10-24T00:30", "Europe/Berlin"),
        ("2026-05-20T00:10", "2026-05-18T18:40", "Asia/Kolkata"),
        ("2026-10-05T02:15", "2026-10-03T15:30", "Australia/Lord_Howe"),  # half an hour was skipped
    ],
)
def test_the_same_local_time_of_the_day_before(now: str, expected_utc: str, zone: str) -> None:
    expected = moment(expected_utc, "UTC")
    window = window_of("day", ZoneInfo(zone))
    assert same_time_yesterday(moment(now, zone), window, ZoneInfo(zone)) == expected
    assert same_time_yesterday(moment(now, zone) + 250, window, ZoneInfo(zone)) in (expected, expected + 250)
    assert same_time_yesterday(NOON, window_of("1d", ZoneInfo(zone)), ZoneInfo(zone)) == NOON - DAY


def test_a_day_that_never_was_has_no_number() -> None:
    zone = ZoneInfo("Pacific/Apia")  # without the 30th of December 2011
    now_ms = moment("2011-12-31T10:00", "Pacific/Apia")
    assert same_time_yesterday(now_ms, window_of("day", zone), zone) is None
    points = points_of([(now_ms - HOUR, 1), (now_ms - DAY, 1)], ["1m", "day"], zone=str(zone))
    assert asked(points, now_ms, "day", windows=["1m", "day"], zone=str(zone)).value is None


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Cairo"]),
    now_s=st.integers(1_750_000_000, 1_800_000_000),
    forward_s=st.integers(0, 7200),
)
def test_time_goes_forward_yesterday_as_it_does_today(zone: str, now_s: int, forward_s: int) -> None:
    """But where it is set back: of what comes twice today, yesterday came once."""
    info = ZoneInfo(zone)
    window = window_of("day", info)
    first, second = (same_time_yesterday(at_s * 1000, window, info) for at_s in (now_s, now_s + forward_s))
    wall = [datetime.fromtimestamp(at_s, info).replace(tzinfo=None, fold=0) for at_s in (now_s, now_s + forward_s)]
    assert first is not None
    assert second is not None
    assert (first <= second) == (wall[0] <= wall[1]) or first == second


# An oracle: the events themselves

_ZONES = {
    "UTC": "2026-05-20",
    "Asia/Kolkata": "2026-05-20",
    "Australia/Lord_Howe": "2026-04-06",
    "Europe/Berlin": "2026-03-30",
    "America/New_York": "2026-11-02",
    "Africa/Cairo": "2026-04-25",
}
"""Each with a day after a day on which clocks were set, if it has such."""


@given(data=st.data())
@settings(max_examples=150)
def test_put_together_it_is_what_the_events_say_or_nothing(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(_ZONES)))
    zone = ZoneInfo(name)
    measure = data.draw(st.sampled_from(sorted(VALUES)))
    midnight_s = moment(_ZONES[name], name) // 1000 + data.draw(st.sampled_from([-DAY, 0, DAY])) // 1000
    now_s = midnight_s + data.draw(st.integers(0, 26 * 3600))
    window = data.draw(st.sampled_from(["1d", "day", "1h", "hour"]))
    others = data.draw(st.lists(st.sampled_from(["10s", "1m", "5m", "15m", "1h", "hour", "6h"]), unique=True))
    windows = [window, *(one for one in others if one != window)]
    # Many near the moment that matters, some anywhere in the days around it.
    seconds = st.integers(now_s - 86_400 - 5_400, now_s - 86_400 + 5_400) | st.integers(now_s - 3 * 86_400, now_s)
    times = data.draw(st.lists(seconds, max_size=40))
    whole = [(midnight_s - 3 * 86_400, 1), (now_s - 26 * 3600, 1)]
    events = [
        *((at_s * 1000, float(1 + n % 7)) for n, at_s in enumerate(times)),
        *((at_s * 1000, float(value)) for at_s, value in whole),
    ]
    points = points_of(events, windows, measure, name)
    deleted = data.draw(st.sets(st.sampled_from(windows)) | st.just(set()), label="deleted")
    holes = data.draw(st.sets(st.integers(0, max(0, len(points) - 1)), max_size=2), label="holes")
    kept = [one for n, one in enumerate(points) if one.window not in deleted and n not in holes]

    found = asked(kept, now_s * 1000, window, windows=windows, measure=measure, zone=name)

    expected_ms = same_time_yesterday(now_s * 1000, window_of(window, zone), zone)
    assert expected_ms is not None
    start_ms, end_ms = _bounds(window, zone, expected_ms)
    own = [event for event in events if start_ms <= event[0] < end_ms]
    if found.value is not None:
        assert 0 <= expected_ms - found.at_ms <= RESOLUTION_MS
        oracle = VALUES[measure]([value for time_ms, value in own if time_ms < found.at_ms])
        assert found.value == pytest.approx(oracle, rel=1e-12)
    elif not deleted and not holes and {"1m", "10s"} & set(windows):
        # With all there that was written, it is unknown only where nothing was seen.
        seen = any(start_ms - 8 * DAY <= time_ms < start_ms for time_ms, _ in events)
        by_then = any(time_ms < expected_ms // MINUTE * MINUTE for time_ms, _ in own)
        assert not own or not seen or (measure in ("mean", "min", "max") and not by_then)


def _bounds(window: str, zone: ZoneInfo, moment_ms: int) -> tuple[int, int]:
    """Start and end of a window, by the calendar and not by what is tested."""
    local = datetime.fromtimestamp(moment_ms / 1000, zone)
    if window == "day":
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        following = (midnight.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
        return int(midnight.timestamp()) * 1000, int(following.timestamp()) * 1000
    width = DAY if window == "1d" else HOUR
    shift_ms = 0
    if window == "hour":
        offset = local.utcoffset()
        # An hour in which clocks are set is another matter, and that of the tests of windows.
        for near in (-HOUR, HOUR):
            assume(datetime.fromtimestamp((moment_ms + near) / 1000, zone).utcoffset() == offset)
        assert offset is not None
        shift_ms = int(offset.total_seconds()) * 1000
    start_ms = (moment_ms + shift_ms) // width * width - shift_ms
    return start_ms, start_ms + width
