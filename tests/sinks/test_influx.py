from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from sinks.errors import Misconfigured, Rejected, Retryable
from sinks.influx import BATCH_LINES, InfluxSink
from sinks.influx_tiers import Buckets
from sinks.line_protocol import LineEncoder
from sinks.records import Point, State
from tests.engines import FakeInflux2, Influx1, Scripted, VictoriaMetrics
from tests.ports import free_port

START_MS = 1_442_016_000_000


def point(
    metric: str = "edits", i: int = 0, *, value: float = 1.0, state: State = State.FINAL, revision: int = 1
) -> Point:
    return Point(metric, "10s", START_MS + i * 10_000, (("channel", "#en"),), value, 1, state, revision, START_MS)


def lines_of(*points: Point) -> list[bytes]:
    return LineEncoder().lines(points)


@pytest.fixture
def sink(fake: FakeInflux2) -> Iterator[InfluxSink]:
    sink = InfluxSink(fake.url, fake.token, fake.org, fake.bucket, timeout_s=0.5)
    sink.setup()
    yield sink
    sink.close()


# What InfluxDB 2 answers, and what becomes of it.


def test_points_are_written_in_batches(fake: FakeInflux2, sink: InfluxSink) -> None:
    points = [point(i=i) for i in range(BATCH_LINES + 1)]
    sink.write(points)
    assert fake.written == lines_of(*points)
    assert fake.requests == 2


def test_nothing_to_write_asks_nothing(fake: FakeInflux2, sink: InfluxSink) -> None:
    sink.write([])
    sink.write([point(state=State.OPEN)])
    assert fake.requests == 0


def test_open_points_are_written_where_asked_for(fake: FakeInflux2) -> None:
    points = [point(i=i, state=state) for i, state in enumerate(State)]
    with_open = InfluxSink(fake.url, fake.token, fake.org, fake.bucket, open_points=True)
    with_open.write(points)
    with_open.close()
    assert fake.written == lines_of(*points)


def test_only_the_bad_lines_of_a_batch_that_failed_whole_are_rejected(fake: FakeInflux2, sink: InfluxSink) -> None:
    points = [point("unparseable" if i in (3, 700) else "edits", i) for i in range(1_000)]
    with pytest.raises(Rejected, match=r"2 of 1000 lines: unable to parse .*bad timestamp") as caught:
        sink.write(points)
    assert set(caught.value.lines) == set(lines_of(points[3], points[700]))
    assert set(fake.written) == set(lines_of(*points)) - set(caught.value.lines)
    assert fake.requests < 60


def test_only_the_bad_lines_of_a_partial_write_are_rejected(fake: FakeInflux2, sink: InfluxSink) -> None:
    points = [point("conflict" if i == 17 else "edits", i) for i in range(100)]
    with pytest.raises(Rejected, match="field type conflict") as caught:
        sink.write(points)
    assert caught.value.lines == tuple(lines_of(points[17]))
    assert set(fake.written) == set(lines_of(*points)) - set(caught.value.lines)


def test_a_batch_of_nothing_but_bad_lines_takes_one_request(fake: FakeInflux2, sink: InfluxSink) -> None:
    points = [point("conflict", i) for i in range(1_000)]
    with pytest.raises(Rejected) as caught:
        sink.write(points)
    assert caught.value.lines == tuple(lines_of(*points))
    assert fake.requests == 1


def test_rejected_lines_of_one_batch_do_not_keep_the_next_from_being_written(
    fake: FakeInflux2, sink: InfluxSink
) -> None:
    points = [point("conflict", 0), *(point(i=i) for i in range(BATCH_LINES + 10))]
    with pytest.raises(Rejected) as caught:
        sink.write(points)
    assert len(caught.value.lines) == 1
    assert set(fake.written) == set(lines_of(*points[1:]))


def test_a_batch_that_is_too_large_is_split(fake: FakeInflux2, sink: InfluxSink) -> None:
    fake.max_lines = 300
    points = [point(i=i) for i in range(1_000)]
    sink.write(points)
    assert fake.written == lines_of(*points)


def test_a_single_line_that_is_too_large_is_rejected(fake: FakeInflux2, sink: InfluxSink) -> None:
    fake.max_lines = 0
    with pytest.raises(Rejected, match="too large") as caught:
        sink.write([point()])
    assert caught.value.lines == tuple(lines_of(point()))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"token": "stale"}, "INFLUX_TOKEN"),
        ({"org": "elsewhere"}, "INFLUX_ORG, which is 'elsewhere'"),
        ({"bucket": "typo"}, "INFLUX_BUCKET"),
    ],
)
def test_a_wrong_setting_is_named(fake: FakeInflux2, setting: dict[str, str], says: str) -> None:
    settings = {"token": fake.token, "org": fake.org, "bucket": fake.bucket} | setting
    sink = InfluxSink(fake.url, **settings)
    with pytest.raises(Misconfigured, match=says):
        sink.write([point()])
    sink.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Scripted(403, "insufficient permissions for write"), "INFLUX_TOKEN may not write to INFLUX_BUCKET"),
        (Scripted(404, body=b"<html>not here</html>"), "INFLUX_URL"),
        (Scripted(405, body=b""), "INFLUX_URL"),
        (Scripted(301, headers=(("Location", "https://elsewhere.example/"),)), "INFLUX_URL"),
    ],
)
def test_what_a_person_must_put_right(fake: FakeInflux2, sink: InfluxSink, answer: Scripted, says: str) -> None:
    fake.next.append(answer)
    with pytest.raises(Misconfigured, match=says):
        sink.write([point()])


def test_a_path_that_is_no_write_api_names_the_url(fake: FakeInflux2) -> None:
    sink = InfluxSink(f"{fake.url}/influx", fake.token, fake.org, fake.bucket)
    with pytest.raises(Misconfigured, match=r"404 page not found.*INFLUX_URL"):
        sink.write([point()])
    sink.close()


@pytest.mark.parametrize("url", ["localhost:8086", "ftp://localhost", ""])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(Misconfigured, match="INFLUX_URL"):
        InfluxSink(url, "t", "o", "b")


def test_a_url_that_cannot_be_resolved_at_all_names_it() -> None:
    sink = InfluxSink("http://[broken", "t", "o", "b")
    with pytest.raises(Misconfigured, match="INFLUX_URL"):
        sink.write([point()])
    sink.close()


MIDNIGHT = "Sat, 12 Sep 2015 00:00:00 GMT"
HALF_PAST = "Sat, 12 Sep 2015 00:01:30 GMT"


@pytest.mark.parametrize(
    ("answer", "retry_after_s"),
    [
        (Scripted(429, "too many requests", (("Retry-After", "7"),)), 7.0),
        (Scripted(503, "overloaded", (("Retry-After", "1.5"),)), 1.5),
        (Scripted(503, "overloaded", (("Retry-After", "-3"),)), 0.0),
        (Scripted(503, "overloaded"), None),
        (Scripted(503, "overloaded", (("Retry-After", "soon"),)), None),
        (Scripted(429, "", (("Retry-After", HALF_PAST), ("Date", MIDNIGHT))), 90.0),
        (Scripted(429, "", (("Retry-After", MIDNIGHT), ("Date", HALF_PAST))), 0.0),
        (Scripted(429, "", (("Retry-After", HALF_PAST),)), None),
        (Scripted(408, "timeout"), None),
        (Scripted(500, "internal error"), None),
        (Scripted(502, body=b"<html>bad gateway</html>"), None),
        (Scripted(502, body=b"\xff\xfe\x00"), None),
        (Scripted(204, after_s=5.0), None),
        (Scripted(204, reset=True), None),
    ],
)
def test_what_may_succeed_later_is_retryable(
    fake: FakeInflux2, sink: InfluxSink, answer: Scripted, retry_after_s: float | None
) -> None:
    fake.next.append(answer)
    with pytest.raises(Retryable) as caught:
        sink.write([point()])
    assert caught.value.retry_after_s == retry_after_s
    assert fake.requests == 1  # the client did not try again by itself
    sink.write([point()])
    assert fake.written == lines_of(point())


def test_a_server_that_is_away_is_retryable() -> None:
    sink = InfluxSink(f"http://127.0.0.1:{free_port()}", "t", "o", "b")
    with pytest.raises(Retryable, match="cannot be reached"):
        sink.write([point()])
    sink.close()


def test_the_token_is_in_no_message_and_no_log(fake: FakeInflux2, caplog: pytest.LogCaptureFixture) -> None:
    sink = InfluxSink(fake.url, "secret-token", fake.org, fake.bucket)
    with caplog.at_level(logging.DEBUG), pytest.raises(Misconfigured) as caught:
        sink.write([point()])
    sink.close()
    assert "secret-token" not in str(caught.value)
    assert "secret-token" not in caplog.text


# Buckets by the width of windows.

WIDTHS = {"10s": 10_000, "1h": 3_600_000, "hour": 3_600_000, "6h": 21_600_000, "1d": 86_400_000, "month": 2_592_000_000}


def windowed(window: str) -> Point:
    return Point("edits", window, START_MS, (), 1.0, 1, State.FINAL, 1, START_MS)


def test_windows_go_to_the_bucket_of_their_width(fake: FakeInflux2) -> None:
    fake.more_buckets = ("hours", "days")
    buckets = Buckets(fake.bucket, "hours", "days", WIDTHS)
    sink = InfluxSink(fake.url, fake.token, fake.org, buckets)
    sink.write([windowed(window) for window in (*WIDTHS, "unheard-of")])
    sink.close()
    assert fake.by_bucket == {
        fake.bucket: lines_of(windowed("10s"), windowed("unheard-of")),
        "hours": lines_of(windowed("1h"), windowed("hour"), windowed("6h")),
        "days": lines_of(windowed("1d"), windowed("month")),
    }


def test_without_buckets_of_their_own_all_windows_go_to_one(fake: FakeInflux2) -> None:
    sink = InfluxSink(fake.url, fake.token, fake.org, Buckets(fake.bucket, widths_ms=WIDTHS))
    sink.write([windowed(window) for window in WIDTHS])
    sink.close()
    assert set(fake.by_bucket[fake.bucket]) == set(lines_of(*(windowed(window) for window in WIDTHS)))


@pytest.mark.parametrize(
    ("window", "says"), [("1h", "INFLUX_BUCKET_HOURLY"), ("1d", "INFLUX_BUCKET_DAILY"), ("10s", "INFLUX_BUCKET")]
)
def test_the_setting_of_the_bucket_that_is_missing_is_named(fake: FakeInflux2, window: str, says: str) -> None:
    sink = InfluxSink(fake.url, fake.token, fake.org, Buckets("no-raw", "no-hours", "no-days", WIDTHS))
    with pytest.raises(Misconfigured, match=rf"Create the bucket 'no-\w+' or set {says}\."):
        sink.write([windowed(window)])
    sink.close()


def test_a_token_that_may_not_write_to_one_of_the_buckets_says_which(fake: FakeInflux2) -> None:
    fake.more_buckets = fake.read_only = ("days",)
    sink = InfluxSink(fake.url, fake.token, fake.org, Buckets(fake.bucket, None, "days", WIDTHS))
    sink.write([windowed("10s"), windowed("1h")])
    with pytest.raises(Misconfigured, match="INFLUX_TOKEN may not write to INFLUX_BUCKET_DAILY 'days'"):
        sink.write([windowed("1d")])
    sink.close()


def test_a_measurement_that_is_refused_whole_costs_a_request_not_one_for_each_line(
    fake: FakeInflux2, sink: InfluxSink
) -> None:
    points = [point("conflict" if i % 2 else "edits", i) for i in range(4_000)]
    with pytest.raises(Rejected) as caught:
        sink.write(points)
    assert set(caught.value.lines) == set(lines_of(*points[1::2]))
    assert set(fake.written) == set(lines_of(*points[::2]))
    assert fake.requests == 3


# Real engines.


def test_influxdb_overwrites_the_same_point(influx1: Influx1) -> None:
    database = influx1.new_database()
    sink = InfluxSink(influx1.url, "", "", database)
    sink.write([point(value=1.0), point(i=1)])
    sink.write([point(value=1.0), point(i=1)])
    corrected = point(value=5.0, state=State.CORRECTED, revision=2)
    sink.write([corrected])
    sink.close()
    rows = influx1.rows(database, "SELECT value, revision, final, channel FROM edits")
    assert [(row["time"], row["value"], row["revision"], row["channel"]) for row in rows] == [
        (START_MS, 5.0, 2, "#en"),
        (START_MS + 10_000, 1.0, 1, "#en"),
    ]


def test_influxdb_rejects_only_the_line_with_a_type_conflict(influx1: Influx1) -> None:
    database = influx1.new_database()
    sink = InfluxSink(influx1.url, "", "", database)
    influx1.write(database, f'busy,window=10s value="text" {START_MS}')
    points = [point("busy" if i == 3 else "edits", i) for i in range(20)]
    with pytest.raises(Rejected, match="field type conflict") as caught:
        sink.write(points)
    sink.close()
    assert caught.value.lines == tuple(lines_of(points[3]))
    assert len(influx1.rows(database, "SELECT value FROM edits")) == 19


def test_influxdb_keeps_integers_and_booleans_apart_from_floats(influx1: Influx1) -> None:
    database = influx1.new_database()
    sink = InfluxSink(influx1.url, "", "", database)
    sink.write([point(value=3), point(i=1, value=0.5)])
    sink.close()
    kinds = influx1.rows(database, "SHOW FIELD KEYS FROM edits")
    assert {row["fieldKey"]: row["fieldType"] for row in kinds} == {
        "value": "float",
        "count": "integer",
        "revision": "integer",
        "final": "boolean",
    }


def test_a_database_that_influxdb_does_not_have_is_named(influx1: Influx1) -> None:
    sink = InfluxSink(influx1.url, "", "", "nowhere")
    with pytest.raises(Misconfigured, match=r"database not found.*Create the bucket 'nowhere'"):
        sink.write([point()])
    sink.close()


def test_victoria_metrics_takes_the_same_point_again(victoria_metrics: VictoriaMetrics) -> None:
    sink = InfluxSink(victoria_metrics.url, "", "", "any")
    for _ in range(2):
        sink.write([point("rewritten", i, value=i + 0.5) for i in range(3)])
    sink.close()
    (series,) = victoria_metrics.series(__name__="rewritten_value")
    assert series["metric"] == {"__name__": "rewritten_value", "channel": "#en", "window": "10s"}
    assert series["values"] == [0.5, 1.5, 2.5]
    assert series["timestamps"] == [START_MS, START_MS + 10_000, START_MS + 20_000]
