"""Metrics as REST and the wall see them."""

from __future__ import annotations

from typing import TypedDict

from stream.catalog import Catalog
from stream.metrics import Metric

_NEW_EACH_DAY = (
    "Who is told apart without cookies is somebody new each day: over several days, people are sums of the days'."
)


class Described(TypedDict):
    """A metric in JSON."""

    name: str
    title: str
    measure: str
    by: list[str]
    windows: list[str]
    unit: str | None
    description: str | None
    target: float | None


def describe(metric: Metric) -> Described:
    return {
        "name": metric.name,
        "title": metric.title or title_of(metric.name),
        "measure": metric.measure,
        "by": metric.by,
        "windows": metric.windows,
        "unit": metric.unit,
        "description": metric.description,
        "target": metric.target,
    }


def described(catalog: Catalog) -> dict[str, Described]:
    """Every metric of a catalog, and behind them the built-in ones, by name."""
    found = {metric.name: describe(metric) for metric in catalog.every_metric}
    if catalog.ingest.cookieless:
        for metric in catalog.every_metric:
            if metric.on is not None:
                told = found[metric.name]
                told["description"] = f"{told['description'] or ''} {_NEW_EACH_DAY}".strip()
    return found


def title_of(name: str) -> str:
    """`orders_by_country` → `Orders by country`"""
    return name.replace("_", " ").replace("-", " ").strip().capitalize()
