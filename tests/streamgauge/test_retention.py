from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import urllib3
import valkey
from moto.server import ThreadedMotoServer

from sinks.alert_store import AlertStore
from sinks.archive_layout import day_of, directory_of
from sinks.deadletter import DeadLetters, DeadLetterSink
from sinks.records import DeadLetter, Point, Reason, State
from sinks.store import Store
from stream.catalog import load
from stream.plan import compile_plan
from streamgauge.places import group_of, state_of
from streamgauge.retention import kept_in_store
from tests.alerts import AT_MS, alert, resolved
from tests.servers import ValkeyServer
from tests.streamgauge.conftest import CATALOG, Command

DAY = 86_400_000
GROUP = "streamgauge:shop"
FAR_AHEAD = 1 << 62


@pytest.fixture
def url(valkey_server: ValkeyServer) -> str:
    return valkey_server.connection_url


def with_keep(path: Path, keep: str) -> Path:
    path.write_text(f"{CATALOG}\n[keep]\n{keep}\n")
    return path


def days_ago(client: valkey.Valkey, days: float, number: int = 0) -> str:
    seconds, _ = client.time()
    return f"{seconds * 1_000 - int(days * DAY)}-{number}"


def point(start_ms: int, window: str, watermark_ms: int | None = None, kind: str = "a") -> Point:
    watermark_ms = start_ms if watermark_ms is None else watermark_ms
    return Point("orders", window, start_ms, (("kind", kind),), 1, 1, State.FINAL, 1, watermark_ms)


def state_directory(tmp_path: Path, catalog: Path) -> Path:
    directory = state_of(tmp_path / "state", load(catalog))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture
def own_state(tmp_path: Path, catalog_path: Path) -> Path:
    return state_directory(tmp_path, catalog_path)


@pytest.fixture
def store(own_state: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{own_state}/points.db")
    store.setup()
    yield store
    store.close()


# What the catalog says.


def test_windows_have_the_durations_of_the_catalog_and_short_ones_two_hours(catalog_path: Path) -> None:
    text = CATALOG.replace('windows = ["1m", "1d"]', 'windows = ["1s", "10s", "1m", "1d"]')
    catalog_path.write_text(f'{text}\n[keep]\nstore = {{ "10s" = "1d", "1m" = "90d", "1h" = "365d" }}\n')
    catalog = load(catalog_path)
    assert kept_in_store(catalog, compile_plan(catalog)) == {
        "1s": 2 * 3_600_000,
        "10s": DAY,
        "1m": 90 * DAY,
        # In no metric any more, and ruled all the same; those that nobody names are kept.
        "1h": 365 * DAY,
    }


# Streams.


def entries(client: valkey.Valkey, stream: str) -> list[str]:
    return [entry_id.decode() for entry_id, _ in client.xrange(stream)]


@pytest.mark.parametrize("many", [1, 700])
def test_of_a_stream_goes_what_is_old_and_was_counted(
    verb: Command, valkey_client: valkey.Valkey, catalog_path: Path, url: str, store: Store, many: int
) -> None:
    with_keep(catalog_path, 'streams = "3d"')
    told: dict[str, list[str]] = {}
    for stream in ("events:{0}", "events:{1}"):
        ids = [days_ago(valkey_client, days, number) for days in (9, 5, 4, 2, 1) for number in range(many)]
        for entry in ids:
            valkey_client.xadd(stream, {"data": "{}"}, id=entry)
        told[stream] = ids
    # All of one is counted, but of the other only what is older than five days.
    valkey_client.xgroup_create("events:{0}", GROUP, "$")
    valkey_client.xgroup_create("events:{1}", GROUP, told["events:{1}"][many])
    dry = verb("retention", "apply", "-c", catalog_path, "--dry-run", VALKEY_URL=url)
    assert (dry.returncode, dry.stderr) == (0, "")
    assert f"stream events:{{0}}: {3 * many:,} entries, " in dry.stdout
    assert re.search(
        rf"events:\{{1\}}: {many:,} entries, .*would go, 3d are kept \(held back by group {GROUP}", dry.stdout
    )
    assert {stream: entries(valkey_client, stream) for stream in told} == told
    done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"stream events:{{0}}: {3 * many:,} entries, the oldest of " in done.stdout
    assert entries(valkey_client, "events:{0}") == told["events:{0}"][3 * many :]
    # What was read last stays, as the processor tells by it that nothing was lost.
    assert entries(valkey_client, "events:{1}") == told["events:{1}"][many:]


def test_nothing_goes_that_anybody_has_yet_to_read(
    verb: Command, valkey_client: valkey.Valkey, catalog_path: Path, url: str, store: Store
) -> None:
    with_keep(catalog_path, 'streams = "1d"')
    ids = [
        valkey_client.xadd("events:{0}", {"data": "{}"}, id=days_ago(valkey_client, 9, n)).decode() for n in range(6)
    ]
    valkey_client.xadd("events:{1}", {"data": "{}"}, id=days_ago(valkey_client, 9))
    valkey_client.xgroup_create("events:{0}", GROUP, "$")
    # Another program has taken three and is done with the first only.
    valkey_client.xgroup_create("events:{0}", "mailer", "0")
    valkey_client.xreadgroup("mailer", "one", {"events:{0}": ">"}, count=3)
    valkey_client.xack("events:{0}", "mailer", ids[0])
    done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url)
    assert done.returncode == 0, done.stderr
    assert "held back by group mailer" in done.stdout
    assert entries(valkey_client, "events:{0}") == ids[1:]
    # And of this stream no processor has said how far it is.
    assert f"events:{{1}}: nothing went, 1d are kept (group {GROUP} is not there" in done.stdout
    assert valkey_client.xlen("events:{1}") == 1


def test_the_group_is_the_one_that_the_processor_moves(catalog_path: Path) -> None:
    assert group_of(load(catalog_path)) == GROUP


# Dead letters.


def test_dead_letters_of_this_catalog_go_when_they_are_old(
    verb: Command, valkey_client: valkey.Valkey, catalog_path: Path, url: str, store: Store
) -> None:
    with_keep(catalog_path, 'dead_letters = "30d"')

    def refused(stream: str, days: float) -> str:
        sink = DeadLetterSink(valkey_client, "scratch")
        sink.write([DeadLetter(stream, "1-1", 0, Reason.BAD_TYPE, "no JSON", b"12345")])
        [(_, fields)] = valkey_client.xrange("scratch")
        valkey_client.delete("scratch")
        return valkey_client.xadd("streamgauge:deadletter", fields, id=days_ago(valkey_client, days)).decode()

    _, _, others, young = (
        refused(stream, days)
        for stream, days in (("events:{0}", 50), ("influx", 40), ("another:platform", 35), ("events:{1}", 29))
    )
    dry = verb("retention", "apply", "-c", catalog_path, "-n", VALKEY_URL=url)
    assert "dead letters: 2 letters, 10 bytes, the oldest of " in dry.stdout
    assert DeadLetters(valkey_client).length() == 4
    done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url)
    assert "dead letters: 2 letters" in done.stdout
    assert [one.id for page in DeadLetters(valkey_client).pages() for one in page] == [others, young]


# The store.


def starts(store: Store, window: str) -> list[int]:
    return [(one.start_ms - AT_MS) // DAY for one in store.points("orders", window)]


def test_points_and_alerts_are_as_old_as_the_events_say(
    verb: Command, catalog_path: Path, store: Store, own_state: Path, url: str
) -> None:
    with_keep(catalog_path, 'store = { "1m" = "3d", "1h" = "5d" }\nalerts = "4d"')
    # Years ago by the clock. What was computed over files says that all was read, which is no time.
    store.write([point(AT_MS + day * DAY, window) for day in range(8) for window in ("1m", "1h", "1d")])
    store.write([point(AT_MS, "1m", FAR_AHEAD, kind="b")])
    alerts = AlertStore(f"sqlite:///{own_state}/points.db")
    ended = [resolved(alert(channel=str(day), opened_ms=AT_MS + day * DAY, last_seen_ms=AT_MS)) for day in range(6)]
    alerts.write([*ended, alert(channel="open", opened_ms=AT_MS - DAY, last_seen_ms=AT_MS - DAY)])
    dry = verb("retention", "apply", "-c", catalog_path, "--dry-run", VALKEY_URL=url)
    assert (dry.returncode, dry.stderr) == (0, "")
    assert "store, windows of 1m: 5 points, the oldest of 2023-11-14T22:13:20Z: would go, 3d are kept" in dry.stdout
    assert "store, windows of 1h: 2 points" in dry.stdout
    assert "alerts that have ended: 3 alerts" in dry.stdout
    assert "windows of 1d" not in dry.stdout
    assert len(starts(store, "1m")) == 9
    done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url)
    assert "windows of 1m: 5 points, the oldest of 2023-11-14T22:13:20Z: went" in done.stdout
    assert starts(store, "1m") == [4, 5, 6, 7]
    assert starts(store, "1h") == [2, 3, 4, 5, 6, 7]
    assert starts(store, "1d") == [*range(8)]
    assert {one.opened_ms for one in alerts.alerts()} == {AT_MS - DAY, *(AT_MS + day * DAY for day in (3, 4, 5))}
    again = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url)
    assert "windows of 1m: nothing went, 3d are kept" in again.stdout
    # Unless somebody asks for the clock's word: then all of it is of the past.
    assert verb("retention", "apply", "-c", catalog_path, "--by-clock", VALKEY_URL=url).returncode == 0
    assert (starts(store, "1m"), starts(store, "1h"), starts(store, "1d")) == ([], [], [*range(8)])
    assert [one.opened_ms for one in alerts.alerts()] == [AT_MS - DAY]
    alerts.close()


def test_a_store_on_postgresql_is_ruled_alike(
    verb: Command, catalog_path: Path, postgres: Any, url: str, own_state: Path
) -> None:
    with_keep(catalog_path, 'store = { "1m" = "3d" }')
    with postgres.database() as name:
        store = Store(postgres.url(name))
        store.setup()
        store.write([point(AT_MS + day * DAY, window) for day in range(8) for window in ("1m", "1d")])
        done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url, DATABASE_URL=postgres.url(name))
        assert (done.returncode, done.stderr) == (0, "")
        assert "windows of 1m: 4 points" in done.stdout
        assert starts(store, "1m") == [4, 5, 6, 7]
        assert starts(store, "1d") == [*range(8)]
        store.close()


# The archive.


def archived(place: Path, *days: int) -> None:
    for day in days:
        for stream in ("events:{0}", "events:{1}"):
            directory = place / directory_of(day_of(AT_MS + day * DAY), stream)
            directory.mkdir(parents=True)
            (directory / "a.parquet").write_bytes(b"x" * 1_000)


def test_whole_days_of_the_archive_go(
    verb: Command, catalog_path: Path, own_state: Path, store: Store, url: str
) -> None:
    with_keep(catalog_path, 'archive = "3d"')
    place = own_state / "archive"
    archived(place, *range(6))
    (place / "notes.txt").write_text("no day")
    # Nothing is in it any more, but it is a day.
    (place / "day=2001-01-01").mkdir()
    dry = verb("retention", "apply", "-c", catalog_path, "--dry-run", VALKEY_URL=url)
    assert "archive: 4 days, 6.0 kB, the oldest of 2001-01-01: would go, 3d are kept (6 files)" in dry.stdout
    assert len(list(place.iterdir())) == 8
    done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    left = sorted(path.name for path in place.iterdir())
    assert left == [*(f"day={day_of(AT_MS + day * DAY)}" for day in (3, 4, 5)), "notes.txt"]
    assert len(list(place.rglob("*.parquet"))) == 6


def test_an_archive_that_is_not_there_yet_is_nothing(verb: Command, catalog_path: Path, store: Store, url: str) -> None:
    with_keep(catalog_path, 'archive = "3d"')
    done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "archive: nothing went, 3d are kept" in done.stdout


@pytest.fixture
def s3() -> Iterator[dict[str, str]]:
    """Settings of an S3 of our own, with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    about = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "a-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        # The driver says where it has found each of these.
        "STREAMGAUGE_LOG_LEVEL": "WARNING",
    }
    urllib3.request("PUT", f"{about['AWS_ENDPOINT_URL']}/a-bucket")
    yield about
    server.stop()


def test_days_of_an_archive_in_s3_go(
    command: Command, catalog_path: Path, store: Store, url: str, s3: dict[str, str]
) -> None:
    with_keep(catalog_path, 'archive = "3d"')
    where = f"{s3['AWS_ENDPOINT_URL']}/a-bucket"
    for day in range(6):
        path = f"shop/{quote(directory_of(day_of(AT_MS + day * DAY), 'events:{0}'))}/a.parquet"
        assert urllib3.request("PUT", f"{where}/{path}", body=b"x" * 1_000).status == 200
    settings = {**s3, "VALKEY_URL": url, "ARCHIVE_URL": "s3://a-bucket/shop"}
    dry = command("retention", "apply", "-c", catalog_path, "--dry-run", timeout_s=120, **settings)
    assert (dry.returncode, dry.stderr) == (0, "")
    assert f"archive: 3 days, 3.0 kB, the oldest of {day_of(AT_MS)}: would go" in dry.stdout
    assert command("retention", "apply", "-c", catalog_path, timeout_s=120, **settings).returncode == 0
    listed = urllib3.request("GET", f"{where}?list-type=2").data.decode()
    left = [f"day={day_of(AT_MS + day * DAY)}" for day in range(6) if f"day={day_of(AT_MS + day * DAY)}/" in listed]
    assert left == [f"day={day_of(AT_MS + day * DAY)}" for day in (3, 4, 5)]


# InfluxDB.


class Buckets:
    """The buckets of InfluxDB 2, as far as they are asked for here, over real HTTP."""

    def __init__(self, **kept_s: int) -> None:
        self.kept_s = kept_s
        self.status = 200
        self.body = b""
        self.url = ""

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if self.status != 200:
            return self.status, self.body
        name = query.get("name") or path.rpartition("/")[2]
        if path.startswith("/api/v2/buckets") and name not in self.kept_s:
            return 404, b'{"code": "not found", "message": "bucket not found"}'
        if method == "PATCH":
            [rule] = json.loads(body)["retentionRules"]
            self.kept_s[name] = rule["everySeconds"]
        rules = [{"type": "expire", "everySeconds": self.kept_s[name]}] if self.kept_s[name] else []
        bucket = {"id": name, "name": name, "orgID": "o", "retentionRules": rules}
        return 200, json.dumps(bucket if method == "PATCH" else {"buckets": [bucket]}).encode()


@contextmanager
def serving(buckets: Buckets) -> Iterator[Buckets]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            where = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(where.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            status, body = buckets.answer(self.command, where.path, query, self.rfile.read(length))
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json" if body.startswith(b"{") else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PATCH = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    buckets.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield buckets
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_buckets_keep_what_the_catalog_says(verb: Command, catalog_path: Path, store: Store, url: str) -> None:
    with_keep(catalog_path, 'bucket = { raw = "7d", hourly = "30d", daily = "60d" }')
    with serving(Buckets(raw=7 * 86_400, long=0)) as buckets:
        influx = {
            "INFLUX_URL": buckets.url,
            "INFLUX_BUCKET": "raw",
            "INFLUX_BUCKET_HOURLY": "long",
            "INFLUX_BUCKET_DAILY": "long",
        }
        dry = verb("retention", "apply", "-c", catalog_path, "-n", VALKEY_URL=url, **influx)
        assert (dry.returncode, dry.stderr) == (0, "")
        assert "bucket raw: nothing would go, 7d are kept\n" in dry.stdout
        assert "all were: 60d would be kept" in dry.stdout
        assert buckets.kept_s == {"raw": 7 * 86_400, "long": 0}
        done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url, **influx)
        assert (done.returncode, done.stderr) == (0, "")
        # Two kinds of windows in one bucket: as long as the longer of them.
        assert buckets.kept_s == {"raw": 7 * 86_400, "long": 60 * 86_400}


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b'{"code": "unauthorized", "message": "unauthorized access"}', "INFLUX_TOKEN"),
        (503, b'{"code": "unavailable", "message": "busy"}', "503: busy"),
        (502, b"<html>", "502: Bad Gateway"),
        (200, b"", "no bucket elsewhere"),
    ],
)
def test_what_influxdb_refuses_is_said_and_the_rest_is_done(
    verb: Command, catalog_path: Path, store: Store, url: str, status: int, body: bytes, says: str
) -> None:
    with_keep(catalog_path, 'store = { "1m" = "3d" }')
    store.write([point(AT_MS + day * DAY, "1m") for day in range(8)])
    with serving(Buckets(raw=1)) as buckets:
        buckets.status, buckets.body = status, body
        done = verb(
            "retention", "apply", "-c", catalog_path, VALKEY_URL=url, INFLUX_URL=buckets.url, INFLUX_BUCKET="elsewhere"
        )
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.startswith("InfluxDB: ")
    assert starts(store, "1m") == [4, 5, 6, 7]


def test_a_server_that_knows_no_buckets_is_no_error(verb: Command, catalog_path: Path, store: Store, url: str) -> None:
    with serving(Buckets()) as buckets:
        buckets.status, buckets.body = 404, b"404 page not found\n"
        done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url, INFLUX_URL=buckets.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no buckets of InfluxDB 2" in done.stdout


# What cannot be reached.


def test_each_place_that_is_away_is_an_error_of_its_own(
    verb: Command, catalog_path: Path, own_state: Path, tmp_path: Path
) -> None:
    with_keep(catalog_path, 'streams = "1d"\ndead_letters = "1d"\narchive = "3d"\nalerts = "1d"')
    archived(own_state / "archive", *range(6))
    done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL="valkey://127.0.0.1:1")
    assert done.returncode == 1
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == [
        "stream events:{0}",
        "stream events:{1}",
        "dead letters",
        "store",
        "alerts",
    ]
    assert "points.db is not there" in done.stderr
    assert not (own_state / "points.db").exists()
    assert "archive: 3 days" in done.stdout


def test_what_is_kept_for_good_is_said(verb: Command, catalog_path: Path, store: Store, url: str) -> None:
    done = verb("retention", "apply", "-c", catalog_path, VALKEY_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("streams", "dead_letters", "alerts", "archive"):
        assert f"all is kept, as [keep] has no `{name}`" in done.stdout
