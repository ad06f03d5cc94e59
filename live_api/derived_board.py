"""A board for a catalog that declares none: its numbers first, then its series, and no row with a gap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from stream.boards import ANALYSED, CHURN, COLUMNS, LIFECYCLE, Tile
from stream.metrics import BUILTIN_METRICS, Metric

_NUMBERS_IN_ROW = (6, 4, 3, 2, 1)
_CHARTS_IN_ROW = (3, 2, 1)
"""How many may stand in a row: divisors of its twelve cells, as a row is to be full."""
_FEW_NUMBERS = 8
_FEW_CHARTS = 4
_OF_PEOPLE = frozenset({"active_now", "sessions", "bounce_rate", "dau"})
"""Metrics about people that are shown."""


def derived_tiles(metrics: Sequence[Metric], analyses: Mapping[str, str] = MappingProxyType({})) -> list[Tile]:
    """A tile for every metric, in the catalog's order: numbers with a sparkline for those without `by`, and how things
    stand; then lines for those with several series or values, and lists of what is most frequent.

    Where no metric is one number, how many events come in stands for them. Of people there is a tile for each of the
    `analyses` (their types by name) that has one, and a few numbers: their metrics are too many.
    """
    metrics = [metric for metric in metrics if metric.on is None or metric.name in _OF_PEOPLE]
    numbers = [metric for metric in metrics if not metric.by and metric.measure not in ("quantile", "top_k")]
    charts = [metric for metric in metrics if metric not in numbers]
    first = [_tile("sparkline", metric) for metric in numbers or BUILTIN_METRICS[:1]] + [_tile("status")]
    then = [_tile("top_k" if metric.measure == "top_k" else "line", metric) for metric in charts]
    of_people = [_of_people(name, kind) for name, kind in analyses.items() if kind in ANALYSED]
    if CHURN in analyses:
        of_people += [Tile.model_validate({"type": kind}) for kind in ("risk", "model")]
    return [
        *_in_rows(first, [size for size in _NUMBERS_IN_ROW if size <= 4 or len(first) > _FEW_NUMBERS]),
        *_in_rows(then, [size for size in _CHARTS_IN_ROW if size <= 2 or len(then) > _FEW_CHARTS]),
        *_in_rows(of_people, [2, 1]),
    ]


def _tile(kind: str, metric: Metric | None = None) -> Tile:
    return Tile.model_validate({"type": kind, "metric": None if metric is None else metric.name})


def _of_people(name: str, kind: str) -> Tile:
    return Tile.model_validate({"type": kind} if kind == LIFECYCLE else {"type": kind, "analysis": name})


def _in_rows(tiles: Iterable[Tile], sizes: Sequence[int]) -> Iterator[Tile]:
    """The tiles with widths that fill every row."""
    left = list(tiles)
    for size in row_sizes(len(left), sizes):
        for tile in left[:size]:
            yield tile.model_copy(update={"width": COLUMNS // size})
        del left[:size]


def row_sizes(count: int, sizes: Sequence[int]) -> list[int]:
    """How many go into each row, fullest first: as few rows as there can be, and those as even as can be.

    `sizes` are those a row may have, and among them is 1.
    """
    best: list[list[int]] = [[]]
    for total in range(1, count + 1):
        found = [sorted([*best[total - size], size], reverse=True) for size in sizes if size <= total]
        best.append(min(found, key=lambda rows: (len(rows), max(rows) - min(rows))))
    return best[count]
