"""Events of the archive as the shards take them: they are decoded and pseudonymised, and that is not done again.

What the archive lacks is said before anything is counted: a column that is not in a file was not archived when that
was written, which is something else than events without a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from sinks.archive_layout import ENTRY_MS, ENTRY_NO, IDENTITY, SHARD, TIME, column_of
from stream import identity, origins
from stream.arrays import Ints
from stream.batches import ShardBatch
from stream.catalog import Catalog
from stream.convert import CONVERTERS, Bad
from stream.derived import DERIVED
from stream.durations import DAY_MS, MINUTE_MS
from stream.expressions import DTYPES, FieldType, compile_expression, fields_of
from stream.people.declared import declarations
from stream.pipeline import nothing
from stream.plan import Plan, compile_plan

STREAM = "archive"
"""Stands for all streams: the events of all of them are read in order of time."""
_ROWS = 250_000
"""Events that are read at once, about."""
_MOST_EXACT = 1 << 53
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)


class ArchiveError(Exception):
    """An archive that cannot be read as one. Names the file, what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file of events of one day and stream."""

    name: str
    """Path below the archive's place."""
    local: str
    """Where it can be read from this machine."""
    day: date
    stream: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What is known of a file before its events are read."""

    file: ArchiveFile
    schema: Mapping[str, pl.DataType]
    minutes: Ints
    """Minutes since the epoch in which it has events (n), rising."""
    rows: Ints
    """How many each (n)."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time whose events are read at once, and the files that have some of them."""

    from_ms: int
    to_ms: int
    files: tuple[ArchiveFile, ...]


@dataclass(frozen=True, slots=True)
class Lacking:
    """A field that files of some days do not have, as it was not archived then."""

    field: str
    first: date
    last: date
    files: int


def plan_of(catalog: Catalog, types: Mapping[str, FieldType]) -> Plan:
    """The plan of a catalog over its archive, of whose fields it has the `types`: nothing is late there, and nothing a
    duplicate."""
    known = catalog.model_copy(update={"fields": {name: kind.value for name, kind in types.items()}, "archive": None})
    plan = compile_plan(known, builtin=False)
    # What analyses of people say of the past may still change it, for as long as it may in the live processor.
    lateness_ms = 0 if plan.people is None else plan.event.allowed_lateness_ms
    event = replace(plan.event, dedupe_ms=0, out_of_orderness_ms=0, allowed_lateness_ms=lateness_ms)
    fields = {name: types[name] for name in sorted(fields_read(catalog))}
    return replace(plan, streams=(STREAM,), event=event, fields=fields)


def fields_read(catalog: Catalog) -> set[str]:
    """The fields of events that the metrics and the analyses of a catalog read."""
    found: set[str] = set()
    for metric in catalog.metric:
        if metric.on is None and metric.measure not in DERIVED:
            found |= _read_by(metric.where, metric.value) | set(metric.by)
    for _, declared in declarations(catalog):
        needs = declared.needs()
        found |= _read_by(*needs.conditions, *needs.values, *needs.texts, *needs.hashes)
        found |= _read_by(*(key.text for key in declared.unit()))
        if catalog.event.person is not None:
            found.add(catalog.event.person)
    return found


def look_at(file: ArchiveFile) -> Looked:
    """What is in a file, by its schema and the times of its events. Raises ArchiveError."""
    try:
        schema = _schema(file)
        minute = (pl.col(TIME).dt.epoch("ms") // MINUTE_MS).alias("minute")
        found = _scan(file).group_by(minute).len().sort("minute").collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ArchiveError(f"{file.name}: expected a Parquet file of events: {error}") from error
    return Looked(file, schema, found["minute"].to_numpy(), found["len"].to_numpy().astype(np.int64))


def reach_of(files: Sequence[ArchiveFile]) -> tuple[int, int, str] | None:
    """The first event's time, and up to which all are known, for sure, with what holds that back; None without files.

    Each shard writes its own events and each stream is read by itself, so the end is the least of the latest events of
    those of them that had any in these files.
    """
    parts = []
    for file in files:
        try:
            _schema(file)
            when = pl.col(TIME).dt.epoch("ms")
            found = _scan(file).group_by(SHARD).agg(when.min().alias("first"), when.max().alias("last"))
            parts.append(found.with_columns(pl.lit(file.stream).alias("stream")).collect(engine="streaming"))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ArchiveError(f"{file.name}: expected a Parquet file of events: {error}") from error
    frame = pl.concat(parts, how="vertical_relaxed") if parts else None
    if frame is None or not frame.height:
        return None
    ends: list[tuple[int, str]] = []
    for column, word in ((SHARD, "shard"), ("stream", "stream")):
        for key, last in frame.group_by(column).agg(pl.col("last").max()).sort(column).iter_rows():
            ends.append((int(last), f"{word} {key}"))
    return int(frame["first"].min()), *min(ends)  # type: ignore[arg-type]


def lacking(looked: Sequence[Looked], plan: Plan) -> list[Lacking]:
    """The fields that are read and some files do not have. Raises ArchiveError for a column of another type."""
    found: list[Lacking] = []
    for one in looked:
        for column in _own(plan):
            if column not in one.schema:
                raise ArchiveError(f"{one.file.name}: expected a column {column}, found {', '.join(one.schema)}")
    for name, kind in plan.fields.items():
        without: list[ArchiveFile] = []
        for one in looked:
            dtype = one.schema.get(column_of(name))
            if dtype is None:
                without.append(one.file)
            elif not _takes(dtype, kind):
                column = column_of(name)
                message = f"{one.file.name}: column {column}: expected {kind}, as the catalog has it, found {dtype}"
                raise ArchiveError(message)
        if without:
            days = [file.day for file in without]
            found.append(Lacking(name, min(days), max(days), len(without)))
    return found


def stretches(looked: Sequence[Looked], from_ms: int, to_ms: int, rows: int = _ROWS) -> Iterator[Stretch]:
    """The time from `from_ms` to `to_ms` in stretches of minutes, each of a day and about `rows` events at the most."""
    first, after = from_ms // MINUTE_MS, -(-to_ms // MINUTE_MS)
    counts: dict[int, int] = {}
    by_minute: list[tuple[int, int, ArchiveFile]] = []
    for one in looked:
        inside = (one.minutes >= first) & (one.minutes < after)
        minutes = one.minutes[inside]
        if not len(minutes):
            continue
        by_minute.append((int(minutes[0]), int(minutes[-1]), one.file))
        for minute, count in zip(minutes.tolist(), one.rows[inside].tolist(), strict=True):
            counts[minute] = counts.get(minute, 0) + count
    a_day = DAY_MS // MINUTE_MS
    begin = first
    while begin < after:
        # Midnight ends a stretch: files are of a day each, and people's days go on one by one.
        end_of_day = min((begin // a_day + 1) * a_day, after)
        end, taken = begin, 0
        while end < end_of_day and (taken == 0 or taken + counts.get(end, 0) <= rows):
            taken += counts.get(end, 0)
            end += 1
        files = tuple(file for low, high, file in by_minute if low < end and high >= begin)
        yield Stretch(max(begin * MINUTE_MS, from_ms), min(end * MINUTE_MS, to_ms), files)
        begin = end


def events_of(stretch: Stretch, plan: Plan) -> Iterator[ShardBatch]:
    """The events of a stretch, by file, in any order. Raises ArchiveError."""
    when = pl.col(TIME).dt.epoch("ms")
    for file in stretch.files:
        try:
            schema = pl.read_parquet_schema(file.local)
            wanted = [*_own(plan), *(column for name in plan.fields if (column := column_of(name)) in schema)]
            rows = _scan(file).select(wanted).filter((when >= stretch.from_ms) & (when < stretch.to_ms)).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ArchiveError(f"{file.name}: expected a Parquet file of events: {error}") from error
        if rows.height:
            yield batch_of(rows, plan, file.name)


def batch_of(rows: pl.DataFrame, plan: Plan, name: str = "") -> ShardBatch:
    """Rows of the archive (n) as a batch for the one shard there is. `name` is that of the file, for errors."""
    # One by one, as a field may have the name of a column of ours.
    columns = [_field(rows, field, kind, name) for field, kind in plan.fields.items()]
    time_ms = rows[TIME].dt.epoch("ms").to_numpy()
    columns.append(pl.Series(plan.event.time, time_ms))
    if IDENTITY in _own(plan):
        columns.append(rows[IDENTITY].cast(pl.UInt64).alias(identity.IDENTITY))
    if ENTRY_MS in _own(plan):
        columns.append(rows[ENTRY_MS].cast(pl.Int64).alias(origins.ENTRY_MS))
        columns.append(rows[ENTRY_NO].cast(pl.Int64).alias(origins.ENTRY_NO))
    return replace(nothing(0, STREAM, None), frame=pl.DataFrame(columns), time_ms=time_ms)


def _own(plan: Plan) -> list[str]:
    """The columns of the layout that a plan needs."""
    return [TIME, *([ENTRY_MS, ENTRY_NO] if plan.ordered else []), *([] if plan.people is None else [IDENTITY])]


def _schema(file: ArchiveFile) -> Mapping[str, pl.DataType]:
    schema = pl.read_parquet_schema(file.local)
    kind = schema.get(TIME)
    if not isinstance(kind, pl.Datetime):
        raise ArchiveError(f"{file.name}: column {TIME}: expected a timestamp, found {kind or 'no such column'}")
    return schema


def _scan(file: ArchiveFile) -> pl.LazyFrame:
    return pl.scan_parquet(file.local, hive_partitioning=False, glob=False)


def _read_by(*texts: str | None) -> set[str]:
    return {name for text in texts if text is not None for name in fields_of(compile_expression(text))}


def _takes(dtype: pl.DataType, kind: FieldType) -> bool:
    """Whether the values of a column can be taken as a field's without becoming others."""
    if dtype in (DTYPES[kind], pl.Null):
        return True
    if kind is FieldType.STRING:
        return isinstance(dtype, pl.Categorical | pl.Enum)
    # Texts are read as the decoder reads those of events.
    return dtype == pl.String or (kind is FieldType.NUMBER and dtype in (*_INTEGERS, pl.Float32))


def _field(rows: pl.DataFrame, field: str, kind: FieldType, name: str) -> pl.Series:
    column = column_of(field)
    if column not in rows.columns:
        return pl.Series(field, [None], dtype=DTYPES[kind]).new_from_index(0, rows.height)
    values = rows[column].alias(field)
    if values.dtype == DTYPES[kind]:
        return values
    if values.dtype == pl.String:
        bad: Bad = {}
        found = CONVERTERS[kind](field, values.to_list(), bad)
        if bad:
            raise ArchiveError(f"{name}: column {column}: {next(iter(bad.values()))[1]}")
        return found
    if values.dtype in _INTEGERS and not values.is_between(-_MOST_EXACT, _MOST_EXACT).all():
        raise ArchiveError(f"{name}: column {column}: expected numbers up to 2^53, found larger ones ({values.dtype})")
    return values.cast(DTYPES[kind])
