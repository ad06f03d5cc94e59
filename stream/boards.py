"""`[[board]]` and `[[board.tile]]`: what stands on a wall. `stream.board_check` holds them against the metrics."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from stream.tables import FieldName, MetricName, Table

if TYPE_CHECKING:
    pass

COLUMNS = 12
"""Cells in a row of a board."""
EVERY = frozenset({"type", "title", "width", "height"})
"""Keys of every tile."""
_SERIES = frozenset({"metric", "window", "dimensions", "unit"})
_LIMITS = frozenset({"warning", "critical"})
TAKES: Mapping[str, frozenset[str]] = {
    "number": EVERY | _SERIES | _LIMITS | {"compare", "target", "key"},
    "sparkline": EVERY | _SERIES | _LIMITS | {"compare", "target", "key"},
    "line": EVERY | _SERIES | _LIMITS | {"target", "limit", "key", "forecast"},
    "bar": EVERY | _SERIES | _LIMITS | {"target", "limit", "key"},
    "table": EVERY | _SERIES | _LIMITS | {"target", "limit", "key"},
    "top_k": EVERY | _SERIES | {"limit"},
    "gauge": EVERY | _SERIES | _LIMITS | {"compare", "target", "min", "max", "key"},
    "heatmap": EVERY | _SERIES | {"limit", "key"},
    "status": EVERY | _SERIES | _LIMITS | {"key"},
    "alerts": EVERY | {"limit"},
    "retention": EVERY | {"analysis", "limit"},
    "funnel": EVERY | {"analysis"},
    "lifecycle": EVERY | {"period", "limit"},
    "paths": EVERY | {"analysis", "limit"},
    "risk": EVERY,
    "model": EVERY | {"model"},
}
"""Every type of tile, with the keys it takes."""
ANALYSED = frozenset({"retention", "funnel", "lifecycle", "paths"})
"""Types that show an analysis of people, and no metric."""
MODELLED = frozenset({"risk", "model"})
"""Types that show what models say, and no metric."""
CHURN = "churn"
"""The model that a risk tile is of, and a model tile that names none."""
LIFECYCLE = "lifecycle"
"""What a lifecycle tile shows: of its kind there is but one, and `[actives]` brings it."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Title = Annotated[str, Field(min_length=1, max_length=100)]
BoardName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


def _type(name: str) -> str:
    if name not in TAKES:
        near = difflib.get_close_matches(name, TAKES, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"expected one of {', '.join(TAKES)}; found {name!r}{hint}")
    return name


class Tile(Table):
    """`[[board.tile]]`: one thing on a board. Which keys a type takes is in `TAKES`."""

    type: Annotated[str, AfterValidator(_type)]
    metric: MetricName | None = None
    """What it is about; a `status` without one is about the streams and the processor."""
    window: str | None = None
    """Which of the metric's windows is shown."""
    dimensions: dict[FieldName, str] = Field({})
    """Only series that have these."""
    title: Title | None = None
    unit: str | None = None
    width: int | None = Field(None, ge=1, le=COLUMNS)
    """Cells of a row of twelve."""
    height: int | None = Field(None, ge=1, le=COLUMNS)
    compare: Literal["yesterday", "target", "none"] | None = None
    """What the number is set against."""
    target: Finite | None = None
    warning: Finite | None = None
    """From here on it is a warning: upwards where `critical` is above it or absent, downwards where it is below."""
    critical: Finite | None = None
    limit: int | None = Field(None, ge=1, le=100)
    """How many rows, bars, lines, cohorts, periods or ways."""
    min: Finite | None = None
    max: Finite | None = None
    """Ends of a gauge."""
    key: str | None = None
    """Which value of a quantile, such as `p99`."""
    forecast: bool | None = None
    """Whether a line goes on into what is forecast. Default: where its window is."""
    analysis: str | None = Field(None, min_length=1)
    """Name of the `[[retention]]`, `[[funnel]]` or `[[paths]]` that is shown."""
    model: str | None = Field(None, min_length=1)
    """Name of the model that is shown: `churn`, or that of a forecast."""
    period: Literal["day", "week", "month"] | None = None
    """What a bar of a lifecycle is of."""


class Board(Table):
    """`[[board]]`: one page of the wall."""

    name: BoardName
    """Where it is: `/board/<name>`."""
    title: Title | None = None
    tile: list[Tile] = Field(min_length=1, max_length=60)
