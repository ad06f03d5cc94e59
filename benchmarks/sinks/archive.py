"""Events from the shard to Parquet files in their place: increments with every snapshot, rolls in their thread."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from sinks.archive import Archive
from sinks.archive_files import files_of
from sinks.archive_place import open_place
from stream.archive_jobs import Desk, JobThread
from stream.archive_pending import Pending
from stream.archiving import Archiving
from stream.batches import Accepted
from stream.catalog import parse
from stream.identity import IDENTITY
from stream.meters import Meters
from stream.origins import ENTRY_MS, ENTRY_NO
from stream.plan import compile_plan

_CATALOG = """
[platform]
name = "Shop"
streams = ["events:{0}", "events:{1}", "events:{2}", "events:{3}"]
[event]
time = "at"
person = "user"
name = "event"
[fields]
amount = "number"
seconds = "number"
is_new = "boolean"
[archive]
fields = ["page", "country", "device", "amount", "seconds", "is_new"]
[[metric]]
name = "happened"
measure = "count"
"""
_BATCH = 5_000
_BATCHES = 400
_BATCHES_A_SNAPSHOT = 60
"""Two seconds of 150,000 events a second."""
_T0 = 1_767_225_600_000


def measure() -> dict[str, float]:
    """Of the 2,000,000 events of some batches; all that the worker and the thread need counts, whichever is more of
    the time on the clock and that of the processors."""
    plan = compile_plan(parse(_CATALOG))
    generator = np.random.default_rng(20_261_121)
    people = pl.Series([f"{number:032x}" for number in generator.integers(0, 1 << 62, 20_000).tolist()])
    batches = [_batch(plan.streams[number % 4], number, people, generator) for number in range(_BATCHES)]
    events = _BATCHES * _BATCH
    with TemporaryDirectory(dir=".") as directory:
        state = Path(directory)
        pending = Pending(state / "archive-pending")
        jobs = JobThread(Desk(Archive(str(state / "archive"), "bench"), pending), Meters())
        archiving = Archiving(plan, pending, jobs)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        now_ms = _T0
        for number, batch in enumerate(batches, 1):
            archiving.add(batch, now_ms)
            if number % _BATCHES_A_SNAPSHOT == 0:
                now_ms += 2_000
                archiving.to_bytes(now_ms)
        worker_s = time.perf_counter() - wall_s
        while archiving.waiting.rows:
            # What is left is not waited for a minute, but as long as it takes.
            now_ms += 60_000
            archiving.to_bytes(now_ms)
            time.sleep(0.01)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        jobs.stop()
        place = open_place(str(state / "archive"))
        files = files_of(place)
        archived = sum(pl.read_parquet(place.path(file.name), columns=["time"]).height for file in files)
        assert archived == events, f"{archived:,} of {events:,} events are in the archive"
        size = sum(file.size_bytes for file in files)
    print(
        f"archive: {events:,} events in {wall_s:.2f} s, {cpu_s:.2f} s of processors, the worker done after "
        f"{worker_s:.2f} s; {len(files)} files, {size / events:.1f} bytes an event",
        file=sys.stderr,
    )
    return {"archive_events_per_s": events / max(wall_s, cpu_s)}


def _batch(stream: str, number: int, people: pl.Series, generator: np.random.Generator) -> Accepted:
    """Of about a second and a half, in nearly the order of time."""
    n = _BATCH
    at = _T0 + number * 35 + np.sort(generator.integers(0, 1_500, n))

    def one_of(texts: list[str]) -> pl.Series:
        return pl.Series(texts).gather(generator.integers(0, len(texts), n))

    frame = pl.DataFrame(
        {
            "user": people.gather(generator.integers(0, len(people), n)),
            "event": one_of(["view", "click", "cart", "checkout", "purchase"]),
            "page": one_of([f"/products/category-{page % 20}/{page}" for page in range(500)]),
            "country": one_of([f"C{country}" for country in range(40)]),
            "device": one_of(["phone", "tablet", "desktop"]),
            "amount": np.round(generator.lognormal(3.0, 1.0, n), 2),
            "seconds": generator.exponential(20.0, n),
            "is_new": generator.random(n) < 0.1,
            "at": at,
            IDENTITY: generator.integers(0, 1 << 63, n).astype(np.uint64),
            ENTRY_MS: at,
            ENTRY_NO: np.arange(n, dtype=np.int64),
        }
    )
    return Accepted(0, stream, frame, at.astype(np.int64))
