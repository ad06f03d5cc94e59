"""`streamgauge compute`: the catalog over files, with the processor's own classes and no server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import orjson
import polars as pl

from sinks.records import DeadLetter, Point, Reason
from stream.batches import RawBatch
from stream.catalog import Catalog
from stream.enrich import Pseudonyms
from stream.forecasts import outlooks
from stream.geo import Geo
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from stream.walltime import clock_ms
from streamgauge.files import EventFile
from streamgauge.progress import progress_bar

_BATCH = 5_000
_LEFT_OUT = {
    Reason.DUPLICATE: "counted once: {} events that were there before (event.dedupe_window)",
    Reason.BOT: "left out: {} events of bots (enrich.bots)",
    Reason.SAMPLED_OUT: "left out: {} events that are not sampled ([sampling])",
}


def compute(
    catalog: Catalog, paths: list[Path], key: bytes, *, geo: Geo | None = None, quiet: bool = False
) -> tuple[list[Point], list[DeadLetter], Counter[Reason], set[str]]:
    """Final points of the catalog over all events of the files, by metric, window, start and series; what was refused;
    how many events were left out, being duplicates, of bots or not sampled; and the fields that no event had.

    Files are whole, so nothing in them is too late, whatever their order, and count as the first stream. Raises
    FileError for a file that cannot be read.
    """
    # Nobody asks for the record of a person here, and it would be as long as the file.
    people = catalog.people.model_copy(update={"timeline": None})
    catalog = catalog.model_copy(update={"people": people})
    plan = compile_plan(catalog, builtin=False)
    pipeline = Pipeline(plan, Pseudonyms(key), whole_input=True, outlooks=outlooks(catalog, plan), geo=geo)
    refused: list[DeadLetter] = []
    with progress_bar(quiet) as bar:
        for batch in batches(paths, plan.streams[0], bar.advance):
            refused.extend(pipeline.add(batch, clock_ms()))
        points = pipeline.finish(clock_ms()).live
    points.sort(key=lambda p: (p.metric, p.window, p.start_ms, p.dimensions))
    # People and ids may well be missing; what a metric reads is there for some event, or misspelt.
    read = set(plan.fields) - {plan.event.person, plan.event.id, plan.event.name}
    left_out = +Counter({Reason.DUPLICATE: pipeline.duplicates, **pipeline.left_out})
    return points, refused, left_out, read - pipeline.fields_seen


def write_ndjson(points: list[Point], out: IO[bytes]) -> None:
    """One JSON object a line, in the public shape of a point."""
    for point in points:
        out.write(orjson.dumps(point.to_json()) + b"\n")


def write_parquet(points: list[Point], path: Path) -> None:
    """One row a point. Dimensions are a list of (name, value), as metrics differ in theirs; so are several values."""
    frame = pl.DataFrame(
        {
            "metric": [point.metric for point in points],
            "window": [point.window for point in points],
            "start": [point.start_ms for point in points],
            "dimensions": [[{"name": n, "value": v} for n, v in point.dimensions] for point in points],
            "value": [float(point.value) if isinstance(point.value, int | float) else None for point in points],
            "values": [
                [{"key": k, "value": v} for k, v in point.value.items()] if isinstance(point.value, Mapping) else None
                for point in points
            ],
            "error": [point.error for point in points],
            "count": [point.count for point in points],
            "state": [point.state.value for point in points],
            "revision": [point.revision for point in points],
        },
        schema={
            "metric": pl.String,
            "window": pl.String,
            "start": pl.Int64,
            "dimensions": pl.List(pl.Struct({"name": pl.String, "value": pl.String})),
            "value": pl.Float64,
            "values": pl.List(pl.Struct({"key": pl.String, "value": pl.Float64})),
            "error": pl.Float64,
            "count": pl.Int64,
            "state": pl.String,
            "revision": pl.Int64,
        },
    )
    frame.with_columns(pl.col("start").cast(pl.Datetime("ms", "UTC"))).write_parquet(path)


def report_refused(refused: list[DeadLetter], out: IO[str]) -> None:
    """Say on `out` how many events were refused and why, with the first of each reason."""
    for reason, count in Counter(letter.reason for letter in refused).most_common():
        first = next(letter for letter in refused if letter.reason is reason)
        out.write(f"refused {count} as {reason}: line {first.entry_id.partition('-')[2]}: {first.message}\n")


def report_left_out(left_out: Mapping[Reason, int], out: IO[str]) -> None:
    for reason, events in left_out.items():
        out.write(_LEFT_OUT[reason].format(events) + "\n")


def report_silence(points: list[Point], unseen: set[str], out: IO[str]) -> None:
    """Say on `out` what a misspelt catalog or the wrong file would otherwise say by silence."""
    if unseen:
        out.write(f"no event has a value for: {', '.join(sorted(unseen))}\n")
    if not points:
        out.write("no points: no event counted for any metric\n")


def batches(paths: list[Path], stream: str, advance: Callable[[int, int, int], None]) -> Iterator[RawBatch]:
    """What is in the files, as it would come from one stream. Raises FileError."""
    now_ms = clock_ms()
    number = 0
    for path in paths:
        with EventFile(path) as file:
            entries = []
            for fields in file:
                number += 1
                # An entry id as the server would give it now: events without a time have the time of this run.
                entries.append((b"%d-%d" % (now_ms, number), fields))
                if len(entries) == _BATCH:
                    yield RawBatch(stream, entries, False, now_ms)
                    advance(len(entries), file.done_bytes, file.size_bytes)
                    entries = []
            if entries:
                yield RawBatch(stream, entries, False, now_ms)
            advance(len(entries), file.size_bytes, file.size_bytes)
