"""What follows from a visitor's browser and address, worked out before both are dropped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
import polars as pl

from live_api.intake.kept import Event, Field, Kept
from live_api.intake.who import Visitor
from stream.enrich_plan import GIVES, IS_BOT, EnrichPlan
from stream.enrichment import Enrichment
from stream.geo import Geo

_SAYS_SO = (True, 1, "true", "True", "1")


class Given:
    """Fills in fields that the catalog reads and `[enrich]` gives, from what an event says of the browser and the
    address, or else from the browser's own request. What an event says itself stands. The address is gone afterwards.
    Unless they are kept for themselves, so is the browser's name, and of the query of a page all but its campaign."""

    def __init__(self, kept: Kept, plan: EnrichPlan, keeps: Collection[str], geo: Geo | None) -> None:
        """`keeps`: names of fields that reach a stream."""
        # The addresses of pages are kept, and what follows from them is the processor's to say.
        self._enrichment = Enrichment(replace(plan, url=None, referrer=None), geo)
        self._plan = plan
        self._sources = [(name, kept.field(name)) for name in (plan.user_agent, plan.ip) if name is not None]
        self._url = None if plan.url is None else kept.field(plan.url)
        pages = [name for name in (plan.url, plan.referrer) if name is not None and name not in keeps]
        self._pages = [kept.field(name) for name in pages]
        self._fields = {name: kept.field(name) for name in fields_given(plan)}
        self._keeps = keeps

    def settle(self, events: Sequence[Event], visitor: Visitor) -> list[bool]:
        """Change all `events`. Returns which of them are of bots and to be left out (n)."""
        if self._url is not None and visitor.page is not None:
            _fill(events, self._url, [visitor.page] * len(events))
        for field in self._pages:
            for event in events:
                page = field.get(event)
                if isinstance(page, str):
                    field.set(event, without_query(page))
        columns: dict[str, list[str | None]] = {}
        for name, field in self._sources:
            said = visitor.address if name == self._plan.ip else visitor.browser
            values = [field.get(event) for event in events]
            columns[name] = [said if value is None else value if isinstance(value, str) else None for value in values]
            if name == self._plan.ip or name not in self._keeps:
                for event in events:
                    field.set(event, msgspec.UNSET)
        bots = [False] * len(events)
        if not columns or not events:
            return bots
        frame = self._enrichment.columns(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String())))
        for name, field in self._fields.items():
            if name in frame.columns:
                _fill(events, field, frame[name].to_list())
        if self._plan.drops_bots and IS_BOT in self._fields:
            bots = [self._fields[IS_BOT].get(event) in _SAYS_SO for event in events]
        return bots


def fields_given(plan: EnrichPlan) -> set[str]:
    """The fields that follow from the browser and the address, of those that somebody reads."""
    return {name for key in ("user_agent", "ip") if getattr(plan, key) for name in GIVES[key]} & plan.gives


@lru_cache(4_096)
def without_query(page: str) -> str:
    """The address of a page with no more of its query than says whose campaign it is of."""
    try:
        parts = urlsplit(page)
        query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name.startswith("utm_")])
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))
    except ValueError:
        return ""


def _fill(events: Sequence[Event], field: Field, values: Sequence[Any]) -> None:
    for event, value in zip(events, values, strict=True):
        if value is not None and field.get(event) is None:
            field.set(event, value)
