"""`GET /v1/points` beyond the points of a window: windows chosen and put together, ranges beside others, formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from live_api import history
from live_api.app import create_app
from live_api.asked import time_ms
from live_api.points import plain
from sinks.records import Point, State
from sinks.store import Store
from stream.catalog import parse
from stream.walltime import clock_ms
from tests.postgres import empty_database
from tests.servers import ValkeyServer

from .conftest import Api, point

CATALOG = """
[platform]
name = "Shop"
timezone = "Europe/Berlin"

[[metric]]
name = "orders"
measure = "count"
by = ["country"]
windows = ["1m", "1h"]

[[metric]]
name = "income"
measure = "sum"
value = "price"
windows = ["1m"]

[[metric]]
name = "price"
measure = "mean"
value = "price"
windows = ["1m"]

[[metric]]
name = "delay"
measure = "quantile"
value = "ms"
quantiles = [0.5, 0.99]
windows = ["1m"]

[[metric]]
name = "visits"
measure = "count"
windows = ["hour", "day"]

[[metric]]
name = "kinds"
measure = "count"
by = ["format"]
windows = ["1m"]
"""

DAY = 1_767_225_600_000  # 2026-01-01
MINUTE, HOUR, DAY_MS = 60_000, 3_600_000, 86_400_000
# In Berlin clocks are set forward on 2026-03-29 at 2:00, which is 1:00 UTC.
SPRING = 1_774_738_800_000  # 2026-03-29T00:00 in Berlin


def _of(metric: str, window: str, start_ms: int, value: Any, count: int = 1, **options: Any) -> Point:
    made = {"state": State.FINAL, "revision": 2, "watermark_ms": start_ms + 2 * HOUR, **options}
    return point(value, start_ms, metric=metric, window=window, count=count, **made)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with empty_database(request.param, request, tmp_path_factory.mktemp("store")) as url:
        yield url


@pytest.fixture(scope="module")
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    store.setup()
    # Three hours, of which each fifth minute had no order in Germany; more orders in the US, and one in France.
    store.write([_of("orders", "1m", DAY + n * MINUTE, n, n, country="DE") for n in range(180) if n % 5])
    store.write([_of("orders", "1m", DAY + n * MINUTE, 100, 100, country="US") for n in range(180)])
    store.write([_of("orders", "1m", DAY, 1, country="FR"), _of("orders", "1m", DAY, 3, country="=1+1,\n")])
    store.write([_of("orders", "1h", DAY + n * HOUR, 60 * (n + 1), country="DE") for n in range(48)])
    # Two days of minutes: more than fit.
    store.write([_of("income", "1m", DAY + n * MINUTE, n / 4, 2) for n in range(2_880)])
    store.write([_of("price", "1m", DAY + n * MINUTE, float(n), 1 + n % 3) for n in range(1_500)])
    store.write([_of("delay", "1m", DAY + n * MINUTE, {"p50": 1.5, "p99": float(n)}) for n in range(3) if n != 1])
    first = SPRING - 2 * DAY_MS
    store.write([_of("visits", "hour", first + n * HOUR, n) for n in range(24 * 4)])
    store.write([_of("kinds", "1m", DAY, n, format=text) for n, text in enumerate(("mp3", "ogg"))])
    # What tells how far the store is.
    store.write([_of("streamgauge_events", "1m", DAY + 3 * DAY_MS, 1, watermark_ms=DAY + 3 * DAY_MS + MINUTE)])
    yield store
    store.close()


@pytest.fixture(scope="module")
def api(valkey_server: ValkeyServer, url: str, store: Store) -> Iterator[Api]:
    made = Api(valkey_server.connection_url, url, catalog=CATALOG)
    yield made
    made.stop()


def ask(api: Api, metric: str, since: object = DAY, until: object = DAY + DAY_MS, **query: Any) -> Any:
    """What is answered to a question about a range; `until=None` leaves it open."""
    ends = {name: one for name, one in (("from", since), ("to", until)) if one is not None}
    found = api.get("/v1/points", metric=metric, **ends, **query)
    assert found["http"] == 200, found
    return found


def refused(api: Api, metric: str, **query: Any) -> tuple[int, str]:
    found = api.get("/v1/points", metric=metric, **query)
    return found["http"], found["detail"]


def values(found: Any) -> list[Any]:
    return [one["value"] for one in found["points"]]


# Windows


def test_the_finest_window_is_chosen_that_fits(api: Api) -> None:
    hours = ask(api, "orders", DAY, DAY + 2 * DAY_MS, country="DE")
    assert (hours["window"], hours["step"], hours["chosen"]) == ("1h", "1h", True)
    assert values(hours) == [60 * (n + 1) for n in range(48)]
    assert (hours["from"], hours["to"]) == ("2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z")
    minutes = ask(api, "orders", DAY, DAY + 1_000 * MINUTE, country="US")
    assert (minutes["window"], len(minutes["points"])) == ("1m", 180)
    assert ask(api, "orders", DAY, DAY + 1_001 * MINUTE, window="auto")["window"] == "1h"
    open_ended = ask(api, "orders", None, None, country="DE")
    assert (open_ended["window"], len(open_ended["points"])) == ("1h", 48)


def test_where_no_window_fits_they_are_put_together(api: Api) -> None:
    found = ask(api, "income", DAY, DAY + 2 * DAY_MS)
    assert (found["window"], found["step"], found["chosen"]) == ("1m", "3m", True)
    assert "more than 1,000" in found["why"]
    assert values(found) == [sum(n / 4 for n in range(3 * i, 3 * i + 3)) for i in range(960)]
    assert {(one["count"], one["state"], one["revision"]) for one in found["points"]} == {(6, "final", 6)}


def test_what_does_not_follow_from_its_parts_is_not_put_together(api: Api) -> None:
    status, message = refused(api, "delay", **{"from": DAY, "to": DAY + DAY_MS})
    assert status == 422
    assert "at most 1,000 windows, so 16 hours in 1m" in message
    assert "windows of a quantile cannot be put together" in message
    status, message = refused(api, "delay", step="5m", **{"from": DAY, "to": DAY + HOUR})
    assert (status, "expected one of 1m; found '5m'" in message) == (422, True)


def test_steps_put_windows_together_exactly(api: Api) -> None:
    hours = ask(api, "orders", DAY, DAY + 3 * HOUR, step="30m", country="DE")
    assert (hours["window"], hours["step"], hours["chosen"]) == ("1m", "30m", False)
    assert values(hours) == [sum(n for n in range(30 * i, 30 * i + 30) if n % 5) for i in range(6)]
    assert all(type(value) is int for value in values(hours))
    mean = ask(api, "price", DAY, DAY + HOUR, step="10m")
    expected = [
        sum(n * (1 + n % 3) for n in range(10 * i, 10 * i + 10)) / sum(1 + n % 3 for n in range(10 * i, 10 * i + 10))
        for i in range(6)
    ]
    assert values(mean) == pytest.approx(expected, rel=1e-12)
    # A window that there is, is read and not made.
    assert (one := ask(api, "orders", step="1h"))["window"] == one["step"] == "1h"
    # Days of Berlin are no days of UTC, and made of hours.
    days = ask(api, "orders", DAY - HOUR, DAY + 2 * DAY_MS, step="day", country="DE")
    assert (days["window"], days["step"]) == ("1h", "day")
    assert [one["start"] for one in days["points"]] == [
        "2025-12-31T23:00:00Z",
        "2026-01-01T23:00:00Z",
        "2026-01-02T23:00:00Z",
    ]
    assert values(days) == [sum(60 * (n + 1) for n in part) for part in (range(23), range(23, 47), range(47, 48))]


def test_a_window_is_open_until_the_watermark_has_passed_its_end(api: Api, store: Store) -> None:
    start = DAY + 3 * DAY_MS
    store.write([_of("income", "1m", start, 5, watermark_ms=start + MINUTE)])
    [found] = ask(api, "income", start, start + HOUR, step="10m")["points"]
    assert (found["state"], found["value"]) == ("open", 5)
    store.write([_of("streamgauge_events", "1m", start, 2, watermark_ms=start + 10 * MINUTE)])
    [found] = ask(api, "income", start, start + HOUR, step="10m")["points"]
    assert found["state"] == "final"


@pytest.mark.parametrize(
    ("query", "status", "parts"),
    [
        ({"step": "7m"}, 422, ("step: expected whole seconds that divide a day evenly", "found '7m'")),
        ({"step": "90s", "to": DAY + HOUR}, 422, ("step: expected one that whole windows of 1m, 1h make up",)),
        ({"step": "fortnight"}, 422, ("hour, day, week, month",)),
        ({"step": "30m", "window": "1h"}, 422, ("whole windows of 1h make up",)),
        ({"step": "1m"}, 422, ("at most 1,000 windows of a series, so 16 hours in steps of 1m",)),
        ({"window": "2m"}, 400, ("window: expected one of 1m, 1h, auto; found '2m'",)),
        ({"compare": "tomorrow"}, 400, ("compare: expected one of previous, yesterday, last_week; found 'tomorrow'",)),
        ({"fill": "linear"}, 400, ("fill: expected one of none, null, zero, previous; found 'linear'",)),
        ({"format": "xml"}, 400, ("format: expected one of json, csv, arrow; found 'xml'",)),
        ({"shape": "cube"}, 400, ("shape: expected one of rows, columns; found 'cube'",)),
        ({"shape": "columns", "format": "csv"}, 400, ("shape: expected rows",)),
        ({"limit": "0"}, 400, ("limit: expected a number of series from 1 to 1,000; found '0'",)),
        ({"limit": "²"}, 400, ("limit: expected",)),
        ({"color": "red"}, 400, ("color: orders has no such dimension; its dimensions: country; the parameters:",)),
        ({"to": "-2d", "from": "-1d"}, 400, ("from: expected a time before to; found '-1d' after '-2d'",)),
        ({"to": "9999-01-01", "from": "1900-01-01"}, 422, ("at most 1,000 windows, so 16 hours in 1m, 41 days in 1h",)),
    ],
)
def test_what_cannot_be_answered_says_what_can(
    api: Api, query: dict[str, Any], status: int, parts: tuple[str, ...]
) -> None:
    found, message = refused(api, "orders", **{"from": DAY, "to": DAY + 2 * DAY_MS, **query})
    assert found == status
    for part in parts:
        assert part in message


def test_zero_is_no_mean(api: Api) -> None:
    status, message = refused(api, "price", fill="zero", **{"from": DAY, "to": DAY + HOUR})
    assert (status, message) == (
        400,
        "fill: expected none, null or previous, as a window without events has no mean; found 'zero'",
    )


# Ranges


def test_times_may_be_told_from_now(api: Api, store: Store) -> None:
    now = clock_ms() // MINUTE * MINUTE
    store.write([_of("kinds", "1m", now - n * HOUR, n, format="new") for n in range(1, 6)])
    assert values(ask(api, "kinds", "-150m", "now", window="1m", format="json", **{"dimension.format": "new"})) == [
        2,
        1,
    ]
    assert values(ask(api, "kinds", "now-5h", "-4h", window="1m", **{"dimension.format": "new"})) in ([4], [5], [])


def test_a_dimension_named_as_a_parameter_has_a_prefix(api: Api) -> None:
    assert values(ask(api, "kinds", window="1m", **{"dimension.format": "ogg"})) == [1]
    assert refused(api, "kinds", window="1m", format="ogg")[0] == 400


def test_several_values_of_a_dimension_are_any_of_them(api: Api) -> None:
    found = api.request(f"/v1/points?metric=orders&window=1m&from={DAY}&to={DAY + 1}&country=US&country=FR").json()
    assert [(one["dimensions"]["country"], one["value"]) for one in found["points"]] == [("FR", 1), ("US", 100)]


def test_the_largest_series_are_shown_and_the_others_said(api: Api) -> None:
    found = ask(api, "orders", DAY, DAY + 3 * HOUR, window="1m", limit=2, shape="columns")
    assert [one["dimensions"]["country"] for one in found["series"]] == ["DE", "US"]
    assert (found["series_shown"], found["series_total"], found["series_truncated"]) == (2, 4, True)
    assert ask(api, "orders", DAY, DAY + HOUR, limit=4)["series_truncated"] is False


def test_the_range_before_stands_beside(api: Api) -> None:
    found = ask(api, "orders", DAY + HOUR, DAY + 2 * HOUR, compare="previous", window="1m", country="DE")
    beside = {one["start"]: (one["then"], one["value"]) for one in found["compared"]}
    assert len(beside) == 48
    assert beside["2026-01-01T01:59:00Z"] == ("2026-01-01T00:59:00Z", 59)
    assert beside["2026-01-01T01:01:00Z"] == ("2026-01-01T00:01:00Z", 1)


def test_yesterday_is_the_same_local_time_whatever_clocks_did(api: Api) -> None:
    # The 29th has 23 hours; on the 28th, 2:00 is two hours after midnight, and one on the 29th that was skipped.
    found = ask(api, "visits", SPRING, SPRING + 24 * HOUR, compare="yesterday", shape="columns", window="hour")
    local = [0, 1, *range(3, 24), 0]
    assert found["starts"] == [SPRING + n * HOUR for n in range(24)]
    assert found["compared_starts"] == [SPRING + (hour - 24 + 24 * (n == 23)) * HOUR for n, hour in enumerate(local)]
    [series] = found["series"]
    assert series["compared"] == [24 + hour + 24 * (n == 23) for n, hour in enumerate(local)]
    # And on the day after, nothing stands beside the hour that there was not.
    after = ask(
        api, "visits", SPRING + 23 * HOUR, SPRING + 47 * HOUR, compare="yesterday", shape="columns", step="hour"
    )
    assert after["compared_starts"][:4] == [SPRING, SPRING + HOUR, None, SPRING + 2 * HOUR]


def test_weeks_are_not_compared_with_yesterday(api: Api) -> None:
    status, message = refused(api, "visits", compare="yesterday", step="week", **{"from": SPRING, "to": SPRING + 1})
    assert (status, message) == (422, "compare: expected windows of at most 1 d for yesterday; found week")


# What stands where nothing is


def test_nothing_is_put_between_points_unless_somebody_asks(api: Api) -> None:
    # From before the first point to after the last.
    asked: dict[str, Any] = {"since": DAY - HOUR, "until": DAY + 4 * HOUR, "window": "1m", "country": "DE"}
    assert len(ask(api, "orders", **asked)["points"]) == 144
    zeros = ask(api, "orders", **asked, fill="zero")["points"]
    assert len(zeros) == 240, "from the first window that there is"
    assert zeros[0]["start"] == "2026-01-01T00:00:00Z"
    assert [one["value"] for one in zeros[:7]] == [0, 1, 2, 3, 4, 0, 6]
    assert (zeros[5]["count"], zeros[5]["filled"], zeros[6].get("filled")) == (0, True, None)
    previous = ask(api, "orders", **asked, fill="previous")["points"]
    assert [one["value"] for one in previous[:7]] == [None, 1, 2, 3, 4, 4, 6]
    nulls = ask(api, "orders", **asked, fill="null")["points"]
    assert [one["value"] for one in nulls[:7]] == [None, 1, 2, 3, 4, None, 6]


def test_nothing_is_said_of_what_is_not_known_yet(api: Api) -> None:
    watermark = DAY + 3 * DAY_MS + 10 * MINUTE
    found = ask(api, "orders", watermark - 5 * MINUTE, watermark + 5 * MINUTE, fill="zero", window="1m", country="DE")
    assert values(found) == [0] * 5


# Formats


def test_columns_say_the_same_as_rows(api: Api) -> None:
    asked: dict[str, Any] = {"until": DAY + 3 * HOUR, "window": "1m", "limit": 1000, "compare": "previous"}
    columns = ask(api, "orders", **asked, shape="columns")
    rows = ask(api, "orders", **asked)
    assert len(columns["starts"]) == 180
    said = {
        (start, series["dimensions"]["country"]): value
        for series in columns["series"]
        for start, value in zip(columns["starts"], series["values"], strict=True)
        if value is not None
    }
    assert said == {
        (time_ms("start", one["start"]), one["dimensions"]["country"]): one["value"] for one in rows["points"]
    }
    order = [(one["start"], json.dumps(one["dimensions"])) for one in rows["points"]]
    assert order == sorted(order)


def test_csv_is_safe_in_a_spreadsheet_and_reads_back(api: Api) -> None:
    ends = {"from": DAY, "to": DAY + 2 * MINUTE}
    found = api.request("/v1/points", metric="orders", window="1m", format="csv", compare="previous", **ends)
    assert found.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert found.headers["Content-Disposition"] == 'attachment; filename="orders-1m.csv"'
    head, *lines = csv.reader(io.StringIO(found.data.decode(), newline=""))
    assert head == ["start", "country", "value", "count", "state", "revision", "error", "then", "then_value"]
    assert [line[:6] for line in lines] == [
        ["2026-01-01T00:00:00Z", "'=1+1,\n", "3", "1", "final", "2"],
        ["2026-01-01T00:00:00Z", "FR", "1", "1", "final", "2"],
        ["2026-01-01T00:00:00Z", "US", "100", "100", "final", "2"],
        ["2026-01-01T00:01:00Z", "DE", "1", "1", "final", "2"],
        ["2026-01-01T00:01:00Z", "US", "100", "100", "final", "2"],
    ]
    quantiles = api.request(
        "/v1/points", {"Accept": "text/csv"}, metric="delay", window="1m", **{"from": DAY, "to": DAY + HOUR}
    )
    assert quantiles.data.decode().splitlines()[:2] == [
        "start,p50,p99,count,state,revision,error",
        "2026-01-01T00:00:00Z,1.5,0.0,1,final,2,",
    ]


def test_arrow_is_a_table_of_the_same(api: Api) -> None:
    accepts = {"Accept": "application/json;q=0.5, application/vnd.apache.arrow.stream"}
    found = api.request("/v1/points", accepts, metric="orders", window="1m", **{"from": DAY, "to": DAY + MINUTE})
    assert found.headers["Content-Type"] == "application/vnd.apache.arrow.stream"
    table = pl.read_ipc_stream(found.data)
    assert table.schema["start"] == pl.Datetime("ms", "UTC")
    assert table["country"].to_list() == ["=1+1,\n", "FR", "US"]
    assert table["value"].to_list() == [3, 1, 100]
    assert table["value"].dtype == pl.Int64
    delays = api.request("/v1/points", metric="delay", format="arrow", **{"from": DAY, "to": DAY + HOUR})
    assert pl.read_ipc_stream(delays.data).select("p50", "p99").rows() == [(1.5, 0.0), (1.5, 2.0)]
    none = api.request("/v1/points", metric="delay", format="arrow", **{"from": 0, "to": HOUR})
    assert pl.read_ipc_stream(none.data).shape == (0, 7)


def test_several_values_a_point_and_their_gaps(api: Api) -> None:
    found = ask(api, "delay", DAY, DAY + 3 * MINUTE, shape="columns")
    assert [one["values"] for one in found["series"]] == [[{"p50": 1.5, "p99": 0.0}, None, {"p50": 1.5, "p99": 2.0}]]


# What clients may keep


def test_who_has_an_answer_is_not_sent_it_again_until_it_changes(api: Api, store: Store) -> None:
    start = DAY + 2 * DAY_MS
    store.write([_of("orders", "1m", start, 7, country="IT")])
    for extra in ({}, {"window": "1m"}, {"shape": "columns", "compare": "yesterday"}, {"format": "csv"}):
        asked: dict[str, Any] = {"metric": "orders", "country": "IT", "from": start, "to": start + HOUR, **extra}
        first = api.request("/v1/points", **asked)
        assert first.status == 200
        tag = {"If-None-Match": f'W/"other", {first.headers["ETag"]}'}
        again = api.request("/v1/points", tag, **asked)
        assert (again.status, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        # The same count, revision and watermark: a tag of these would not have changed.
        store.write([_of("orders", "1m", start, 8, country="IT", state=State.CORRECTED)])
        changed = api.request("/v1/points", tag, **asked)
        assert changed.status == 200
        assert changed.headers["ETag"] != first.headers["ETag"]
        store.write([_of("orders", "1m", start, 7, country="IT", state=State.CORRECTED)])


def test_only_what_is_settled_is_kept_without_asking(api: Api) -> None:
    def kept(since: object, until: object) -> str:
        return api.request("/v1/points", metric="orders", **{"from": since, "to": until}).headers["Cache-Control"]

    assert kept(DAY, DAY + HOUR) == "private, max-age=300"
    assert kept(DAY, DAY + 3 * DAY_MS + 5 * MINUTE) == "private, no-cache"
    assert kept("-30d", "-1d") == "private, no-cache"


def test_large_answers_are_compressed_for_who_can_take_it(api: Api) -> None:
    ends = {"from": DAY, "to": DAY + 3 * HOUR}
    plain = api.request("/v1/points", metric="orders", **ends)
    small = api.request("/v1/points", {"Accept-Encoding": "gzip"}, metric="orders", **{"from": 0, "to": HOUR})
    assert "Content-Encoding" not in plain.headers
    assert "Content-Encoding" not in small.headers
    for forbidden in ("gzip;q=0", "br, gzip; q=0.0", "x-gzip-9"):
        answer = api.request("/v1/points", {"Accept-Encoding": forbidden}, metric="orders", **ends)
        assert "Content-Encoding" not in answer.headers, forbidden
    found = api.request("/v1/points", {"Accept-Encoding": "br;q=0.5, GZIP;q=0.8"}, metric="orders", **ends)
    assert found.headers["Content-Encoding"] == "gzip"
    assert found.headers["ETag"] != plain.headers["ETag"]
    assert found.data == plain.data, "as urllib3 has decompressed it"
    assert api.request("/v1/points", {"If-None-Match": found.headers["ETag"]}, metric="orders", **ends).status == 304


def test_openapi_has_every_parameter_and_an_example_of_each_answer() -> None:
    app, _ = create_app(
        parse(CATALOG), valkey_url="valkey://127.0.0.1:1", store_url="sqlite:////nowhere/x.db", version="0"
    )
    said = app.openapi()["paths"]["/v1/points"]["get"]
    assert {one["name"] for one in said["parameters"]} == {
        *("metric", "window", "from", "to", "step", "compare", "fill", "format", "shape", "limit")
    }
    assert set(said["responses"]["200"]["content"]) == {
        "application/json",
        "text/csv",
        "application/vnd.apache.arrow.stream",
    }
    assert {"304", "400", "404", "422", "503"} <= set(said["responses"])


def test_points_of_a_window_are_the_same_however_they_are_read(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ask(api, "orders", None, None, window="1m")
    wanted = [p.to_json() for p in store.points("orders", "1m") if p.dimensions]
    assert whole["points"] == wanted
    assert ask(api, "delay", window="1m")["points"] == [p.to_json() for p in store.points("delay", "1m")]
    monkeypatch.setattr(history, "MAX_POINTS", 50)
    cut = [(ask(api, "orders", None, None, window="1m"))]
    # The beginning alone; and, where that is not enough, what the database finds.
    monkeypatch.setattr(plain, "_MOST_READ", 10)
    cut.append(ask(api, "orders", None, None, window="1m"))
    monkeypatch.setattr(plain, "earliest", lambda *_: None)
    cut.append(ask(api, "orders", None, None, window="1m"))
    for one in cut:
        assert (one["points"], one["truncated"]) == (wanted[:50], True)
