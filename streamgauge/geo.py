"""The operator's database of where addresses are."""

from __future__ import annotations

from stream.catalog import Catalog
from stream.geo import Geo
from streamgauge.settings import Settings


def geo_of(settings: Settings, catalog: Catalog) -> Geo | None:
    """The database, where the catalog looks up addresses and there is one. Raises Misconfigured."""
    return None if catalog.enrich.ip is None or settings.geoip is None else Geo(settings.geoip)
