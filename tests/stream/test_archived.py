"""What is computed over the archive is what the live processor said of the same events."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.archive_place import open_place
from sinks.records import Point, State
from stream.archived import ArchiveError, ArchiveFile, look_at, plan_of, stretches
from stream.batches import RawBatch
from stream.catalog import Catalog, parse
from stream.forecasts import outlooks
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from stream.windows import window_of
from streamgauge.archive_input import at_hand, names_in
from streamgauge.backfill import Asked, Job, compute, narrowed, prepare
from tests.archives import Archiver
from tests.batches import data_batch, pseudonyms
from tests.oracle import Key, last_of_each

T0 = int(datetime(2026, 3, 27, tzinfo=UTC).timestamp() * 1000)
"""Two days before the clocks in Europe go forward."""
HOUR = 3_600_000
DAY = 24 * HOUR
CATALOG = parse("""
[platform]
timezone = "Europe/Berlin"
streams = ["a", "b"]

[event]
time = "t"
person = "who"
id = "id"
name = "kind"
default_name = "look"
allowed_lateness = "30m"
out_of_orderness = "10s"

[archive]

[sessions]
gap = "20m"

[actives]

[[retention]]
name = "back"
period = "day"
periods = 3

[[funnel]]
name = "buying"
steps = [{ name = "look", where = "kind = 'look'" }, { name = "buy", where = "kind = 'buy'" }]
window = "2h"

[[metric]]
name = "events"
measure = "count"
windows = ["10s", "1m", "1h", "1d", "day", "week"]

[[metric]]
name = "buys"
measure = "count"
where = "kind = 'buy'"
windows = ["1m", "1h"]

[[metric]]
name = "all_of_them"
measure = "count"
windows = ["1m", "1h"]

[[metric]]
name = "share"
measure = "ratio"
of = "buys"
to = "all_of_them"

[[metric]]
name = "spent"
measure = "sum"
value = "price / 3"
by = ["kind"]
windows = ["1m", "30m/10m", "2d/day", "hour"]

[[metric]]
name = "price"
measure = "quantile"
value = "price"
by = ["time"]
windows = ["1h"]

[[metric]]
name = "different"
measure = "distinct"
value = "who"
windows = ["1h", "day"]

[[metric]]
name = "best"
measure = "top_k"
value = "kind"
windows = ["1h"]

[[metric]]
name = "latest"
measure = "last"
value = "price"
by = ["time"]
windows = ["1h", "1m"]

[[metric]]
name = "highest"
measure = "max"
value = "price"
where = "NOT robot"
windows = ["15m/5m"]
""")
ZONE = CATALOG.platform.zone


@dataclass
class Run:
    """A history as the live processor took it, and its archive."""

    directory: Path
    live: list[Point] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    watermark_ms: int = 0


def a_history(seed: int, count: int, days: float) -> list[RawBatch]:
    """Events of two streams: out of order, late, too late, some twice, in batches of any size."""
    chance = random.Random(seed)
    people = [f"u{number}" for number in range(12)]
    entries: list[tuple[int, str, dict[str, Any]]] = []
    for number in range(count):
        sent = T0 + int(number * days * DAY / count)
        late = chance.choice([0, 0, 0, 0, chance.randint(0, 9_000), chance.randint(0, 1_500_000)])
        if chance.random() < 0.03:
            late = chance.randint(2 * HOUR, 20 * HOUR)
        event = {
            "t": sent - late,
            "id": f"e{number}",
            "who": chance.choice([*people, None]),
            "kind": chance.choice(["look", "look", "buy", None]),
            "price": chance.choice([round(chance.random() * 100, 2), chance.randint(1, 9), None]),
            "time": chance.choice(["x", "y"]),
            "robot": chance.choice([True, False, None]),
        }
        stream = chance.choice("ab")
        entries.append((sent, stream, event))
        if chance.random() < 0.1:
            # Again, as a producer does who had no answer: the same person, so the same shard.
            entries.append((sent + chance.randint(0, 60_000), stream, event))
    entries.sort(key=lambda one: one[0])
    batches: list[RawBatch] = []
    at = 0
    while at < len(entries):
        run = entries[at : at + chance.choice([1, 3, 20, 200])]
        read_ms = run[-1][0]
        for stream in "ab":
            own = [event for _, of, event in run if of == stream]
            batches.append(data_batch(own, stream=stream, read_at_ms=read_ms, first=at, caught_up=True))
        at += len(run)
    return batches


def played(catalog: Catalog, batches: Sequence[RawBatch], place: Path, shards: int, seed: int) -> Run:
    """What the live processor says of the batches; what it counts is archived in `place`."""
    chance = random.Random(seed)
    plan = compile_plan(catalog)
    pipeline = Pipeline(plan, pseudonyms(), shards=shards, outlooks=outlooks(catalog, plan))
    archiver = Archiver(plan, pseudonyms(), place, shards=shards, seed=seed)
    run = Run(place)
    for batch in batches:
        late = [letter.entry_id for letter in pipeline.add(batch, batch.read_at_ms)]
        archiver.add(batch, batch.read_at_ms, late)
        if chance.random() < 0.5:
            run.live.extend(pipeline.tick(batch.read_at_ms).live)
    emission = pipeline.tick(batches[-1].read_at_ms)
    run.live.extend(emission.live)
    return run


def job_of(catalog: Catalog, place: Path, asked: Asked | None = None) -> Job:
    opened = open_place(str(place))
    with at_hand(opened) as files:
        return prepare(catalog, names_in(opened), files.of, asked or Asked())


def worked_out(job: Job) -> dict[Key, Point]:
    return last_of_each(point for points in compute(job, lambda _: None, 0) for point in points)


def settled(points: Iterable[Point], job: Job) -> dict[Key, Point]:
    """The last of each point of closed windows that the job is to give."""
    found = {}
    for key, point in last_of_each(points).items():
        if point.metric in job.names and point.state is not State.OPEN:
            end_ms = window_of(point.window, ZONE).end_ms(point.start_ms)
            if point.start_ms >= job.since_ms and end_ms <= min(job.until_ms, job.watermark_ms):
                found[key] = point
    return found


def differences(expected: dict[Key, Point], found: dict[Key, Point]) -> list[str]:
    # A count of 0: all that was said has been taken back, and nobody has to be told who was told nothing.
    result = [f"missing: {expected[key]}" for key in expected.keys() - found.keys() if expected[key].count]
    result += [f"unexpected: {found[key]}" for key in found.keys() - expected.keys() if found[key].count]
    for key in expected.keys() & found.keys():
        one, other = expected[key], found[key]
        if one.count != other.count or not alike(one.value, other.value):
            result.append(f"expected {one}, found {other}")
    return sorted(result)


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, float) or isinstance(other, float):
        return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 400),
    days=st.sampled_from([0.1, 1.0, 4.0]),
    shards=st.integers(1, 3),
)
def test_the_archive_gives_what_the_live_processor_said(seed: int, count: int, days: float, shards: int) -> None:
    with TemporaryDirectory() as directory:
        run = played(CATALOG, a_history(seed, count, days), Path(directory), shards, seed)
        job = job_of(CATALOG, run.directory, Asked(until_ms=T0 + 10 * DAY))
        assert differences(settled(run.live, job), worked_out(job)) == []


def test_a_range_gives_its_own_windows_only_and_whole(tmp_path: Path) -> None:
    run = played(CATALOG, a_history(3, 1_500, 4.0), tmp_path, 2, 3)
    since_ms, until_ms = T0 + DAY + 90_000, T0 + 2 * DAY + 5 * HOUR
    names = ("events", "share", "spent", "highest")
    job = job_of(CATALOG, tmp_path, Asked(names, since_ms, until_ms))
    found = worked_out(job)
    assert job.read_from_ms == since_ms, "nothing before is needed"
    assert job.plan.people is None
    assert {key[0] for key in found} == set(names)
    ends = [window_of(window, ZONE).end_ms(start) for _, window, start, _ in found]
    assert max(ends) <= until_ms
    assert min(start for _, _, start, _ in found) >= since_ms
    assert differences(settled(run.live, job), found) == []


def test_analyses_of_people_are_given_for_a_range_but_read_from_the_beginning(tmp_path: Path) -> None:
    run = played(CATALOG, a_history(4, 1_500, 4.0), tmp_path, 1, 4)
    job = job_of(CATALOG, tmp_path, Asked(("sessions", "dau"), T0 + 2 * DAY))
    assert job.read_from_ms < T0 + HOUR
    assert "dau, sessions" in " ".join(job.notes)
    found = worked_out(job)
    assert found
    assert differences(settled(run.live, job), found) == []


def test_stretches_are_in_order_whole_and_small(tmp_path: Path) -> None:
    played(CATALOG, a_history(5, 1_200, 3.0), tmp_path, 1, 5)
    job = job_of(CATALOG, tmp_path, Asked(("events",)))
    found = list(stretches(job.looked, job.read_from_ms, job.watermark_ms, 100))
    assert found[0].from_ms == job.read_from_ms
    assert found[-1].to_ms == job.watermark_ms
    assert all(one.to_ms == other.from_ms for one, other in pairwise(found))
    minutes = [pl.concat([pl.scan_parquet(f.local).select("time").collect() for f in one.files]) for one in found]
    counts = [
        frame.filter(pl.col("time").dt.epoch("ms").is_between(one.from_ms, one.to_ms, closed="left")).height
        for one, frame in zip(found, minutes, strict=True)
    ]
    assert max(counts) <= 100
    read = 0

    def advance(events: int) -> None:
        nonlocal read
        read += events

    for _ in compute(job, advance, 0):
        pass
    assert read == sum(counts)
    assert 0 <= job.events - read < 100


def rewritten(place: Path, change: Any) -> ArchiveFile:
    """Change the first file of an archive."""
    path = sorted(place.rglob("*.parquet"))[0]
    change(pl.read_parquet(path, hive_partitioning=False)).write_parquet(path)
    return ArchiveFile(str(path.relative_to(place)), str(path), datetime(2026, 3, 27, tzinfo=UTC).date(), "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.with_columns(pl.col("price").cast(pl.String) + "x"), "column price: .*finite number"),
        (lambda frame: frame.with_columns(kind=pl.lit(1.5)), "column kind: expected string"),
        (lambda frame: frame.with_columns(price=pl.lit((1 << 60) + 1)), r"2\^53"),
        (lambda frame: frame.drop("entry_no"), "expected a column entry_no"),
        (lambda frame: frame.with_columns(time=pl.lit("x")), "column time: expected a timestamp, found String"),
    ],
)
def test_a_column_of_another_type_is_named_with_its_file(tmp_path: Path, change: Any, message: str) -> None:
    played(CATALOG, a_history(6, 200, 1.0), tmp_path, 1, 6)
    file = rewritten(tmp_path, change)
    with pytest.raises(ArchiveError, match=message) as caught:
        worked_out(job_of(CATALOG, tmp_path, Asked(("spent", "latest"))))
    assert file.name in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.with_columns(pl.col("kind").cast(pl.Categorical)),
        lambda frame: frame.with_columns(pl.col("price").cast(pl.String)),
        lambda frame: frame.with_columns(pl.col("time").dt.cast_time_unit("us")),
    ],
)
def test_a_column_that_can_be_read_without_loss_is(tmp_path: Path, change: Any) -> None:
    run = played(CATALOG, a_history(7, 300, 1.0), tmp_path, 1, 7)
    rewritten(tmp_path, change)
    job = job_of(CATALOG, tmp_path, Asked(("spent", "latest")))
    assert differences(settled(run.live, job), worked_out(job)) == []


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(ArchiveError, match="day=x: expected a Parquet file"):
        look_at(ArchiveFile("day=x", str(path), datetime(2026, 3, 27, tzinfo=UTC).date(), "a"))


def test_only_the_fields_that_the_metrics_need_are_read() -> None:
    types = CATALOG.field_types
    assert set(plan_of(narrowed(CATALOG, {"events"}), types).fields) == set()
    assert set(plan_of(narrowed(CATALOG, {"share"}), types).fields) == {"kind"}
    assert set(plan_of(narrowed(CATALOG, {"price"}), types).fields) == {"price", "time"}
    assert set(plan_of(narrowed(CATALOG, {"sessions"}), types).fields) >= {"who"}
