from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from hypothesis import example, given, settings
from hypothesis import strategies as st

from live_api import history
from live_api.asked import time_ms
from live_api.history import MAX_POINTS
from sinks.records import State
from sinks.store import Store
from tests.ports import free_port
from tests.servers import ValkeyServer
from tests.stack import eventually

from .conftest import Api, Processor, point

Start = Callable[..., Api]

DAY_MS = 1_442_016_000_000  # 2015-09-12
MINUTE = 60_000


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/points.db"
    store = Store(url)
    store.setup()
    store.write(
        [point(n, DAY_MS + n * MINUTE, state=State.FINAL, revision=2, count=n) for n in range(10)]
        + [
            point(1, DAY_MS, metric="orders", country="US"),
            point(2, DAY_MS, metric="orders", country="DE"),
            point(3, DAY_MS, metric="orders", window="1d", country="US"),
            point(4, DAY_MS, metric="orders", country="a&b=c+d é\n"),
            point(5, DAY_MS, metric="orders", country=""),
            point(6, DAY_MS, metric="sizes", window="1h", a="x", b="y"),
            point(7, DAY_MS, metric="sizes", window="1h", a="x", b="z"),
            point(8, 0, metric="streamgauge_rejects", window="total", reason="bot"),
        ]
    )
    store.close()
    return url


@pytest.fixture(scope="module")
def api(valkey_server: ValkeyServer, store_url: str) -> Iterator[Api]:
    made = Api(valkey_server.connection_url, store_url)
    yield made
    made.stop()


def minutes(api: Api, **query: Any) -> list[int]:
    answer = api.get("/v1/points", metric="revenue", window="1m", **query)
    assert answer["http"] == 200, answer
    return [point["value"] for point in answer["points"]]


def refused(api: Api, **query: Any) -> tuple[int, str]:
    answer = api.get("/v1/points", **{"metric": "orders", "window": "1m", **query})
    return answer["http"], answer["detail"]


def test_a_point_as_it_is_shown(api: Api) -> None:
    answer = api.get(
        "/v1/points", metric="revenue", window="1m", **{"from": DAY_MS + MINUTE, "to": DAY_MS + 2 * MINUTE}
    )
    assert answer == {
        "http": 200,
        "metric": "revenue",
        "window": "1m",
        "points": [
            {
                "metric": "revenue",
                "window": "1m",
                "start": "2015-09-12T00:01:00Z",
                "dimensions": {},
                "value": 1,
                "count": 1,
                "state": "final",
                "revision": 2,
            }
        ],
        "truncated": False,
    }


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, range(10)),
        (DAY_MS + 2 * MINUTE, None, range(2, 10)),
        (None, DAY_MS + 2 * MINUTE, range(2)),
        (DAY_MS + 2 * MINUTE, DAY_MS + 4 * MINUTE, range(2, 4)),
        (DAY_MS + 4 * MINUTE, DAY_MS + 4 * MINUTE, []),
        (-1, 0, []),
        (0, "9999999999999999", range(10)),
        ("2015-09-12T00:02:00Z", "2015-09-12T00:04:00Z", range(2, 4)),
        ("2015-09-12T00:02:00", "2015-09-12 00:04:00", range(2, 4)),
        ("2015-09-12T02:02:00+02:00", "2015-09-12T00:04:00.000Z", range(2, 4)),
        ("2015-09-11T18:32:00-05:30", "2015-09-12T00:04", range(2, 4)),
        ("2015-09-12", "2015-09-13", range(10)),
        ("0001-01-01", "9999-12-31T23:59:59Z", range(10)),
    ],
)
def test_from_is_taken_and_to_is_not(api: Api, since: object, until: object, expected: Any) -> None:
    query = {name: value for name, value in (("from", since), ("to", until)) if value is not None}
    assert minutes(api, **query) == list(expected)


def test_a_plus_that_was_not_escaped_is_understood(api: Api) -> None:
    answer = api.request("/v1/points?metric=revenue&window=1m&from=2015-09-12T02:08:00+02:00")
    assert [point["value"] for point in answer.json()["points"]] == [8, 9]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2015-13-01",
        "2015-09-12T25:00:00",
        "-",
        "--5",
        "-5-",
        "1e3",
        "1.5",
        "99999999999999999999",
        "²",
    ],
)
@pytest.mark.parametrize("name", ["from", "to"])
def test_a_time_that_is_none_is_refused_by_name(api: Api, name: str, text: str) -> None:
    status, message = refused(api, **{name: text})
    assert status == 400
    assert message.startswith(f"{name}: expected ISO 8601 or epoch milliseconds, or now")
    assert message.endswith(f"found {text!r}")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text("-0123456789:TZ+ .", max_size=26))
@example("--1")
@settings(max_examples=300)
def test_any_text_is_a_time_or_a_bad_request(text: str) -> None:
    try:
        found = time_ms("from", text)
    except HTTPException as error:
        assert error.status_code == 400  # noqa: PT017
    else:
        assert isinstance(found, int)


@given(
    st.datetimes(
        datetime(1900, 1, 1),  # noqa: DTZ001
        timezones=st.builds(lambda m: timezone(timedelta(minutes=m)), st.integers(-14 * 60, 14 * 60)),
    )
)
def test_every_instant_is_read_to_its_millisecond(when: datetime) -> None:
    expected = (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    # A float has no room for the microseconds of the year 9999, so the last millisecond may be off by one.
    assert abs(time_ms("from", when.isoformat()) - expected) <= 1  # type: ignore[operator]
    assert time_ms("from", str(expected)) == expected


def test_dimensions_choose_series(api: Api) -> None:
    def values(metric: str, window: str, **dimensions: str) -> list[int]:
        answer = api.get("/v1/points", metric=metric, window=window, **dimensions)
        return [point["value"] for point in answer["points"]]

    assert values("orders", "1m", country="US") == [1]
    assert values("orders", "1d", country="US") == [3]
    assert values("orders", "1m", country="a&b=c+d é\n") == [4]
    assert values("orders", "1m", country="") == [5]
    assert values("orders", "1m", country="us") == []
    assert sorted(values("orders", "1m")) == [1, 2, 4, 5]
    assert values("sizes", "1h", a="x") == [6, 7]
    assert values("sizes", "1h", b="z", a="x") == [7]
    assert values("streamgauge_rejects", "total", reason="bot") == [8]


@pytest.mark.parametrize(
    ("query", "status", "parts"),
    [
        ({"metric": "order"}, 404, ("metric: expected one of orders, revenue, sizes, streamgauge_", "found 'order'")),
        ({"metric": ""}, 404, ("found ''",)),
        ({"window": "5m"}, 400, ("window: expected one of 1m, 1d", "found '5m'")),
        ({"metric": "revenue", "window": "1d"}, 400, ("expected one of 1m", "found '1d'")),
        ({"city": "Berlin"}, 400, ("city: orders has no such dimension", "its dimensions: country")),
        ({"metric": "revenue", "country": "US"}, 400, ("country: revenue has no such dimension", "none")),
        ({"From": "0"}, 400, ("From: orders has no such dimension",)),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(
    api: Api, query: dict[str, str], status: int, parts: tuple[str, ...]
) -> None:
    found, message = refused(api, **query)
    assert found == status
    for part in parts:
        assert part in message


@pytest.mark.parametrize("query", [{}, {"window": "1m"}])
def test_a_metric_must_be_said(api: Api, query: dict[str, str]) -> None:
    answer = api.get("/v1/points", **query)
    assert answer["http"] == 422
    assert {item["loc"][1] for item in answer["detail"]} == {"metric"}


def test_too_many_points_are_cut_and_said_so(api: Api, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_POINTS", 9)
    answer = api.get("/v1/points", metric="revenue", window="1m")
    assert [point["value"] for point in answer["points"]] == list(range(9))
    assert answer["truncated"] is True
    monkeypatch.setattr(history, "MAX_POINTS", 10)
    assert api.get("/v1/points", metric="revenue", window="1m")["truncated"] is False
    assert MAX_POINTS == 10_000


def test_points_of_the_store_are_there_without_valkey(start: Start, tmp_path: Path) -> None:
    api = start(valkey_url=f"valkey://127.0.0.1:{free_port()}", store_url=f"sqlite:///{tmp_path}/new.db")

    def answered() -> bool:
        answer = api.get("/v1/points", metric="orders", window="1m")
        return (answer["http"], answer.get("points")) == (200, [])

    eventually(answered, within_s=3, what="an answer")


def test_a_store_out_of_reach_is_said_with_503_and_the_rest_goes_on(
    start: Start, processor: Processor, tmp_path: Path
) -> None:
    processor.say(point(1))
    (tmp_path / "points.db").write_bytes(b"this is no database, and longer than a header" * 100)
    api = start().caught_up()
    answer = api.get("/v1/points", metric="orders", window="1m")
    assert answer["http"] == 503
    assert "not a sound SQLite database" in answer["detail"]
    with api.live("metric:*") as client:
        client.until(lambda c: c.total("revenue@1m") == 1)


def test_every_metric_is_described_with_what_was_refused(start: Start, processor: Processor) -> None:
    rejects = {"metric": "streamgauge_rejects", "window": "total", "start_ms": 0}
    processor.say(point(3, count=3, reason="bot", **rejects), point(4, count=4, reason="too_late", **rejects))
    answer = start().caught_up().get("/v1/metrics")
    assert answer["http"] == 200
    assert answer["platform"] == {"name": "Shop", "timezone": "Europe/Berlin"}
    assert answer["version"] == "1.2.3"
    assert answer["rejects"] == {"bot": 3, "too_late": 4}
    assert answer["rejected_total"] == 7
    by_name = {metric["name"]: metric for metric in answer["metrics"]}
    assert list(by_name) == ["orders", "revenue", "sizes", "streamgauge_events", "streamgauge_rejects"]
    assert by_name["revenue"] == {
        "name": "revenue",
        "title": "Income",
        "measure": "sum",
        "by": [],
        "windows": ["1m"],
        "unit": "EUR",
        "description": None,
        "target": 500,
    }
    assert by_name["orders"]["title"] == "Orders"
    assert by_name["streamgauge_rejects"]["by"] == ["reason"]


def test_every_window_that_is_described_can_be_asked_for(api: Api) -> None:
    for metric in api.get("/v1/metrics")["metrics"]:
        for window in metric["windows"]:
            assert api.get("/v1/points", metric=metric["name"], window=window)["http"] == 200


def test_metrics_may_be_asked_for_while_series_come_in(start: Start, processor: Processor) -> None:
    api = start().caught_up()
    processor.say_all([point(metric="orders", country=f"c{n}") for n in range(25_000)])
    stopping = threading.Event()

    def feed() -> None:
        number = 0
        while not stopping.is_set():
            number += 50
            processor.say_all([point(metric="orders", country=f"new{n}") for n in range(number - 50, number)])
            time.sleep(0.001)

    writer = threading.Thread(target=feed)
    writer.start()
    try:
        statuses = {api.request("/v1/metrics").status for _ in range(40)}
    finally:
        stopping.set()
        writer.join()
    assert statuses == {200}
