"""Tables of the catalog about what is kept where, and for how long: `[influx]`, `[archive]` and `[keep]`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from stream.tables import Duration, FieldName, Table, WindowText, each_once


class Influx(Table):
    """`[influx]`: what of the points InfluxDB is given. Where it is, is a setting."""

    open: bool = False
    """Whether InfluxDB is given windows that are not over yet too, each second that they change; final and corrected
    ones it is given always."""


class Archive(Table):
    """`[archive]`: the events themselves are kept. Where, is a setting."""

    fields: Annotated[list[FieldName], AfterValidator(each_once)] = Field([], max_length=200)
    """Fields to keep besides those that the catalog reads anyway, so that a metric of next year has a past too. They
    are text unless `[fields]` says otherwise."""


class Buckets(Table):
    """`[keep.bucket]`: for how long buckets of InfluxDB keep what is in them, as `influx bootstrap` makes them."""

    raw: Duration = "90d"
    """Windows shorter than an hour."""
    hourly: Duration = "365d"
    """Windows from an hour to less than a day."""
    daily: Duration = "1095d"
    """Windows of a day and more."""


def _by_window(value: Any) -> Any:
    """Raise ValueError for one duration where there is one for each window."""
    if not isinstance(value, dict):
        raise ValueError(
            f'expected a duration for each window, such as {{ "1m" = "90d", "1h" = "365d" }}; found {value!r}'
        )
    return value


class Keep(Table):
    """`[keep]`: for how long each thing is kept, wherever it is. What has no duration is kept for good.

    It is no `[retention]`, as `[[retention]]` says who comes back.
    """

    streams: Duration | None = None
    """Entries of the streams in Valkey, once they are counted and saved. Default: for good."""
    dead_letters: Duration | None = None
    """Events that were refused (a million of them at the most). Default: for good."""
    store: Annotated[dict[WindowText, Duration], BeforeValidator(_by_window)] = Field({})
    """A table with a duration for each window, spelled as metrics spell it, such as `{ "1m" = "90d", "1h" = "365d" }`.
    Default: for good; windows of less than a minute `2h`."""
    alerts: Duration | None = None
    """Alerts that have ended. Default: for good."""
    archive: Duration | None = None
    """Whole days of archived events. Default: for good."""
    bucket: Buckets = Field(default_factory=lambda: Buckets.model_validate({}))
    """Buckets of InfluxDB, as `[keep.bucket]` below."""
