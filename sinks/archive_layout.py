"""How the archive of events is laid out, for whoever writes it, reads it or lets go of it.

`<place>/day=2026-11-21/stream=events%3A%7B0%7D/<name>.parquet`: one directory for each day (UTC, of the event's time)
and stream, as every engine that knows Hive's partitions reads them. A row is an event that was counted, once.

| column | type | what |
|---|---|---|
| `time` | timestamp (ms, UTC) | the event's time |
| `entry_ms`, `entry_no` | int64 | which of two events of the same time came first: the entry's id, and with its second part the place in the entry |
| `identity` | uint64 | equal for the same event and no other |
| `shard` | int32 | which shard counted it |
| the catalog's fields | string, double, boolean | as they were decoded; a person is a pseudonym |

A field with a name of ours gets an underscore: `time` becomes `time_`, and `time_`, where somebody has that, `time__`.
"""  # noqa: E501 - a table

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from urllib.parse import quote, unquote

TIME, ENTRY_MS, ENTRY_NO, IDENTITY, SHARD = OWN = ("time", "entry_ms", "entry_no", "identity", "shard")
DAY, STREAM = PARTITIONS = ("day", "stream")

_TAKEN = re.compile(rf"(?:{'|'.join((*OWN, *PARTITIONS))})_*\Z", re.IGNORECASE)


def column_of(field: str) -> str:
    """The column that has a field of events."""
    return f"{field}_" if _TAKEN.match(field) else field


def field_of(column: str) -> str | None:
    """The field that a column has; None for our own columns. The inverse of `column_of`."""
    if not _TAKEN.match(column):
        return column
    return column[:-1] if column.endswith("_") else None


def day_of(time_ms: int) -> date:
    """The day that an event is archived under."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()


def directory_of(day: date, stream: str) -> str:
    """Where events of a stream and day are, below the archive's place."""
    return f"{DAY}={day.isoformat()}/{STREAM}={quote(stream, safe='')}"


def day_named(directory: str) -> date | None:
    """The day of a directory `day=2026-11-21`; None for anything else."""
    name, _, value = directory.rpartition("/")[2].partition("=")
    if name != DAY:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def stream_named(directory: str) -> str | None:
    """The stream of a directory `stream=events%3A%7B0%7D`; None for anything else."""
    name, _, value = directory.rpartition("/")[2].partition("=")
    return unquote(value) if name == STREAM else None
