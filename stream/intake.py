"""Tables of the catalog about how events are taken in: `[ingest]`, `[enrich]` and `[sampling]`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stream.tables import FieldName, Table, each_once


class Ingest(Table):
    """`[ingest]`: what may come in over HTTP, and what of it is kept."""

    properties: Annotated[list[FieldName], AfterValidator(each_once)] = Field([], max_length=200)
    """Fields that reach a stream besides those that the catalog reads; all others are dropped at the door."""
    consent: FieldName = "consent"
    """Field that says whether somebody may be followed. With anything but `true`, `1`, `"yes"` or `"granted"` in it the
    event counts without a person; an event that does not have it says nothing against it."""
    dnt: bool = False
    """Whether `DNT: 1` counts as `Sec-GPC: 1` does: the event counts without a person."""
    anonymous: FieldName = "anonymous_id"
    """Field that says who it is where the person's own says nothing."""
    cookieless: bool = False
    """Whether an event with neither counts for a person of the day: a keyed hash of a salt that changes daily, the
    address, the browser and the site."""


class Enrich(Table):
    """`[enrich]`: fields that are worked out of others. Names are those of the fields to read; none: not at all."""

    user_agent: FieldName | None = None
    """Gives `device`, `browser`, `os` and `is_bot`."""
    ip: FieldName | None = None
    """Gives `country` and `region`, where STREAMGAUGE_GEOIP names a database. It is then dropped."""
    url: FieldName | None = None
    """Gives `campaign`, `campaign_source` and `campaign_medium`."""
    referrer: FieldName | None = None
    """Gives `referrer_host` and, with `url`, `channel`."""
    bots: Literal["drop", "mark"] = "drop"
    """Whether events of known bots are refused with the reason `bot`, or only marked in `is_bot`."""


Share = Annotated[float, Field(gt=0, le=1)]
Sampling = dict[str, Share]
"""`[sampling]`: of a stream, the share of its persons (or events, where they have none) that are counted."""
