"""`compute --from`: the past of metrics, in the store, InfluxDB and files."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson
import polars as pl
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from live_api.app import create_app
from sinks.records import Point, State
from sinks.store import Store
from stream.batches import RawBatch
from stream.catalog import Catalog, load
from stream.enrich import Pseudonyms
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from streamgauge import backfill
from streamgauge.cli import app
from tests.archives import archive
from tests.batches import KEY, data_batch
from tests.engines import Scripted, fake_influx2
from tests.oracle import batch_points

T0 = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
HOUR, DAY = 3_600_000, 86_400_000
BEFORE = """
[platform]
name = "Shop"
streams = ["events"]
[event]
person = "user"
[archive]
fields = ["country"]
[[metric]]
name = "orders"
measure = "count"
by = ["kind"]
windows = ["10s", "1m", "1h", "1d"]
"""
AFTER = (
    BEFORE
    + """
[[metric]]
name = "revenue"
measure = "sum"
value = "price"
by = ["country"]
windows = ["1h", "1d"]
"""
).replace('fields = ["country"]', 'fields = ["country", "price"]')


@dataclass
class Shop:
    """A processor's past: what it said, in the store, and what it counted, in the archive."""

    directory: Path
    events: list[dict[str, Any]]
    store: Store

    def compute(self, *arguments: str, catalog: str = "before.toml", env: Mapping[str, str] | None = None) -> Result:
        given = ["compute", "--from", "archive", "-c", str(self.directory / catalog), *arguments]
        return CliRunner().invoke(app, given, env={"STREAMGAUGE_STATE": str(self.directory), **(env or {})})

    @property
    def place(self) -> Path:
        return self.directory / "shop" / "archive"

    def all_points(self, metric: str, window: str) -> list[Point]:
        return self.store.points(metric, window, limit=1_000_000)


def a_day(seed: int = 1, count: int = 2_000) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    times = sorted(T0 + chance.randrange(2 * DAY) for _ in range(count))
    return [
        {
            "time": time,
            "user": f"u{chance.randrange(20)}",
            "kind": chance.choice("ab"),
            "country": chance.choice(["DE", "FR"]),
            "price": chance.randrange(1, 100),
        }
        for time in times
    ]


def batches(events: list[dict[str, Any]]) -> list[RawBatch]:
    return [
        data_batch(events[at : at + 100], stream="events", read_at_ms=events[at : at + 100][-1]["time"], first=at)
        for at in range(0, len(events), 100)
    ]


def said_live(catalog: Catalog, events: list[dict[str, Any]], store: Store) -> None:
    pipeline = Pipeline(compile_plan(catalog), Pseudonyms(KEY))
    for batch in batches(events):
        assert pipeline.add(batch, batch.read_at_ms) == []
        store.write(pipeline.tick(batch.read_at_ms).durable)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "before.toml").write_text(BEFORE)
    (tmp_path / "after.toml").write_text(AFTER)
    (tmp_path / "shop").mkdir()
    events = a_day()
    store = Store(f"sqlite:///{tmp_path / 'shop' / 'points.db'}")
    store.setup()
    made = Shop(tmp_path, events, store)
    said_live(load(tmp_path / "before.toml"), events, store)
    # As if the price had been among the fields that are archived.
    archive(load(tmp_path / "after.toml"), batches(events), made.place, KEY, shards=2)
    yield made
    store.close()


def test_what_was_said_live_is_found_again_and_nothing_changes(shop: Shop) -> None:
    before = {window: shop.all_points("orders", window) for window in ("1m", "1h", "1d")}
    found = shop.compute("--to", "store")
    assert found.exit_code == 0, found.output
    assert "store: 0 new, 0 changed" in found.stderr
    assert {window: shop.all_points("orders", window) for window in before} == before


def test_a_metric_of_today_gets_its_past_and_rest_shows_it(shop: Shop) -> None:
    expected = {
        key: value
        for key, value in batch_points(load(shop.directory / "after.toml"), shop.events).items()
        if key[0] == "revenue" and (key[1] == "1h" or key[2] == T0) and key[2] < T0 + 2 * DAY - HOUR
    }
    # The processor knows the metric since the middle of an hour, and has called that hour final.
    (key,) = [key for key in expected if key[1:3] == ("1h", T0 + 30 * HOUR) and key[3] == (("country", "DE"),)]
    partial = Point(*key, 1, 1, State.FINAL, 2, T0 + 31 * HOUR)
    shop.store.write([partial])
    shop.store.write([Point("revenue", "1h", T0 + 47 * HOUR, key[3], 5, 1, State.OPEN, 1, T0 + 47 * HOUR + 1)])
    made = shop.compute("--to", "store", "--metric", "revenue", catalog="after.toml")
    assert made.exit_code == 0, made.output
    assert f"store: {len(expected) - 1} new, 1 changed, 0 as they were" in made.stderr
    points = [*shop.all_points("revenue", "1h"), *shop.all_points("revenue", "1d")]
    settled = {(p.metric, p.window, p.start_ms, p.dimensions): p for p in points if p.state is not State.OPEN}
    assert {key: (point.value, point.count) for key, point in settled.items()} == expected
    assert settled[key].state is State.CORRECTED
    latest = T0 + 2 * DAY
    assert all(point.start_ms < point.watermark_ms <= latest for point in settled.values()), "a time, not the end of it"
    again = shop.compute("--to", "store", "--metric", "revenue", catalog="after.toml")
    assert f"store: 0 new, 0 changed, {len(expected)} as they were" in again.stderr
    api, _ = create_app(
        load(shop.directory / "after.toml"),
        valkey_url="valkey://127.0.0.1:1",
        store_url=f"sqlite:///{shop.directory / 'shop' / 'points.db'}",
        version="0",
    )
    answer = TestClient(api).get("/v1/points", params={"metric": "revenue", "window": "1d"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["points"]


def test_a_dry_run_says_what_it_would_write_and_does_not(shop: Shop) -> None:
    made = shop.compute("--to", "store", "--metric", "revenue", "--dry-run", catalog="after.toml")
    assert made.exit_code == 0, made.output
    assert "would write" in made.stderr
    assert "0 changed, 0 as they were" in made.stderr
    assert shop.all_points("revenue", "1h") == []


def test_files_have_the_same_as_the_store(shop: Shop) -> None:
    since, until = "2026-03-02T05:00Z", "2026-03-02T09:00Z"
    out = shop.directory / "points.ndjson"
    made = shop.compute("-o", str(out), "--since", since, "--until", until, "-m", "orders")
    assert made.exit_code == 0, made.output
    lines = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    hours = [line for line in lines if line["window"] == "1h"]
    assert {line["start"] for line in hours} == {f"2026-03-02T{hour:02}:00:00Z" for hour in range(5, 9)}
    assert not any(line["window"] == "1d" for line in lines), "no window that is cut"
    known = {(p.start_ms, p.dimensions): p.value for p in shop.all_points("orders", "1h")}
    for line in hours:
        start_ms = int(datetime.fromisoformat(line["start"]).timestamp() * 1000)
        assert known[start_ms, tuple(line["dimensions"].items())] == line["value"]
    parquet = shop.directory / "points.parquet"
    assert shop.compute("-o", str(parquet), "--since", since, "--until", until, "-m", "orders").exit_code == 0
    assert pl.read_parquet(parquet).height == len(lines)


def test_what_was_not_archived_is_said_and_refused(shop: Shop) -> None:
    for path in shop.place.rglob("*.parquet"):
        if "day=2026-03-02" in str(path):
            pl.read_parquet(path, hive_partitioning=False).drop("price").write_parquet(path)
    made = shop.compute("--to", "store", catalog="after.toml")
    assert made.exit_code == 1
    assert "field price was not archived on 2026-03-02" in made.stderr
    assert "it is read by revenue" in made.stderr
    assert shop.all_points("revenue", "1h") == []
    later = shop.compute("--to", "store", "--since", "2026-03-03", catalog="after.toml")
    assert later.exit_code == 0, later.output
    other = shop.compute("--to", "store", "--metric", "orders", catalog="after.toml")
    assert "0 new, 0 changed" in other.stderr, other.output
    anyhow = shop.compute("--to", "store", "--allow-missing", catalog="after.toml")
    assert anyhow.exit_code == 0, anyhow.output
    assert "was not archived on 2026-03-02" in anyhow.stderr


def test_an_archive_with_fewer_events_than_were_counted_is_refused(shop: Shop) -> None:
    path = sorted(shop.place.rglob("*.parquet"))[3]
    gone = pl.read_parquet(path, hive_partitioning=False).height
    path.unlink()
    before = shop.all_points("orders", "1h")
    made = shop.compute("--to", "store")
    assert made.exit_code == 1
    assert "of the" in made.stderr, made.stderr
    assert "events that were counted" in made.stderr
    assert gone > 0
    assert shop.all_points("orders", "1h") == before


def test_an_event_of_the_running_hour_that_is_not_archived_yet_is_waited_for(shop: Shop) -> None:
    last_hour = T0 + 2 * DAY - HOUR
    before = shop.all_points("orders", "1m")
    for path in sorted(shop.place.rglob("*.parquet")):
        rows = pl.read_parquet(path, hive_partitioning=False).sort("time")
        late = rows["time"].dt.epoch("ms") >= last_hour
        if late.sum() > 1:
            # Its shard has come as far as before: only one of its events is missing.
            first = late.arg_max()
            assert first is not None
            pl.concat([rows[:first], rows[first + 1 :]]).write_parquet(path)
            break
    else:
        raise AssertionError("no file has two events of the last hour")
    made = shop.compute("--to", "store")
    assert made.exit_code == 1, made.output
    assert "events that were counted in 1 minute from 2026-03-03T23:" in made.stderr, made.stderr
    assert shop.all_points("orders", "1m") == before
    earlier = shop.compute("--to", "store", "--until", "2026-03-03T23:00Z")
    assert "store: 0 new, 0 changed" in earlier.stderr, earlier.output


def test_what_comes_late_while_it_is_computed_is_said(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    work_out = backfill.compute

    def and_meanwhile(job: backfill.Job, advance: Callable[[int], None], now_ms: int) -> Iterator[list[Point]]:
        yield from work_out(job, advance, now_ms)
        [known] = shop.store.points("streamgauge_events", "1h", from_ms=T0 + HOUR, to_ms=T0 + 2 * HOUR)
        more = known.count + 1
        late = msgspec.structs.replace(known, value=more, count=more, state=State.CORRECTED)
        shop.store.write([late])

    monkeypatch.setattr(backfill, "compute", and_meanwhile)
    made = shop.compute("--to", "store")
    assert made.exit_code == 1, made.output
    assert "came late while it was computed: the same command puts right" in made.stderr


def test_what_makes_no_sense_is_refused(shop: Shop) -> None:
    for arguments, words in (
        (("--to", "kafka"), "--to: expected some of store, influx"),
        (("--since", "yesterday"), "--since: expected how long ago"),
        (("--since", "2026-03-03", "--until", "2026-03-02"), "--since before --until"),
        (("--metric", "nothing"), "--metric: expected some of"),
        (("--metric", "streamgauge_rejects"), "which no archive has"),
        (("--to", "influx"), "INFLUX_URL is not set"),
        (("x.ndjson",), "choose one"),
    ):
        made = shop.compute(*arguments)
        assert made.exit_code != 0
        assert words in made.stderr, made.stderr
    catalog = str(shop.directory / "before.toml")
    assert "--from" in CliRunner().invoke(app, ["compute", "x.ndjson", "-c", catalog, "--to", "store"]).stderr
    assert "expected event files" in CliRunner().invoke(app, ["compute", "-c", catalog]).stderr
    empty = CliRunner().invoke(app, ["compute", "-c", catalog, "--from", str(shop.directory / "nowhere")])
    assert "the archive has no files" in empty.stderr


def test_influx_gets_every_point_waits_when_it_is_busy_and_names_what_it_refuses(shop: Shop) -> None:
    with fake_influx2() as influx:
        settings = {"INFLUX_URL": influx.url, "INFLUX_TOKEN": influx.token}
        settings |= {"INFLUX_ORG": influx.org, "INFLUX_BUCKET": influx.bucket}
        influx.next.append(Scripted(503, "busy"))
        made = shop.compute("--to", "influx", "-m", "revenue", catalog="after.toml", env=settings)
        assert made.exit_code == 0, made.output
        lines = len(influx.written)
        assert f"computed {lines} points" in made.stderr
        assert all(line.startswith(b"revenue,") for line in influx.written)
        assert shop.all_points("revenue", "1h") == [], "only where it was sent"
        both = shop.compute("--to", "influx,store", "-m", "revenue", catalog="after.toml", env=settings)
        assert both.exit_code == 0, both.output
        assert influx.written[:lines] == influx.written[lines:]
        assert len(shop.all_points("revenue", "1h")) + len(shop.all_points("revenue", "1d")) == lines
        influx.next.append(Scripted(401, "unauthorized"))
        assert shop.compute("--to", "influx", "-m", "revenue", catalog="after.toml", env=settings).exit_code == 78
    for path in (shop.directory / "after.toml",):
        path.write_text(path.read_text().replace('"revenue"', '"conflict"'))
    with fake_influx2() as influx:
        settings["INFLUX_URL"] = influx.url
        made = shop.compute("--to", "influx", catalog="after.toml", env=settings)
        assert made.exit_code == 1
        assert f"refused {lines} lines" in made.stderr
        assert influx.written, "the others were taken"
