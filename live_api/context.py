"""What the routes share: made once by `live_api.app`."""

from __future__ import annotations

from dataclasses import dataclass

from live_api.feed import Feed
from sinks.store import Store
from stream.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Context:
    catalog: Catalog
    store: Store
    feed: Feed
    version: str
