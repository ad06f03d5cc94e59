"""Tables of the catalog about what is kept where, and for how long: `[influx]`, `[archive]` and `[keep]`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from stream.tables import Duration, FieldName, Table, WindowText, each_once


class Influx(Table):
    """`[influx]`: what of the points InfluxDB is given. Where it is, is a setting."""

    open: bool = False
    """Whether windows that are not over yet are written too."""


class Archive(Table):
    """`[archive]`: the events themselves are kept. Where, is a setting."""

    fields: Annotated[list[FieldName], AfterValidator(each_once)] = Field([], max_length=200)
    """Fields that are kept besides those that the catalog reads anyway: what a later metric may ask for."""


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
    """Entries of the streams, once they are counted."""
    dead_letters: Duration | None = None
    """Events that were refused."""
    store: Annotated[dict[WindowText, Duration], BeforeValidator(_by_window)] = Field({})
    """Points, by their window. Those of less than a minute are kept for two hours if nothing else is said."""
    alerts: Duration | None = None
    """Alerts that have ended."""
    archive: Duration | None = None
    """Days of archived events."""
    bucket: Buckets = Field(default_factory=lambda: Buckets.model_validate({}))
