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
    """One of the above."""
    metric: MetricName | None = None
    """What it is about: a metric, also `streamgauge_events` or `streamgauge_rejects`. Required by most types, not taken
    by the last six; a `status` without one is about the streams and the processor."""
    window: str | None = None
    """Whose value is shown. Default: of counts, sums, `distinct` and `top_k` the longest up to a day, of others the
    shortest from a minute up; a fixed one where the metric has any."""
    dimensions: dict[FieldName, str] = Field({})
    """Only series that have these values: `{ country = "DE" }`."""
    title: Title | None = None
    """Above the tile. Default: the metric's, with its dimensions and `key`; or from the name of the `analysis`."""
    unit: str | None = None
    """Shown with the numbers. Default: the metric's."""
    width: int | None = Field(None, ge=1, le=COLUMNS)
    """Cells of a grid with twelve columns. Default: see above."""
    height: int | None = Field(None, ge=1, le=COLUMNS)
    """Rows of such cells. Default: see above."""
    compare: Literal["yesterday", "target", "none"] | None = None
    """What the number is set against; or `"none"`. Default: `"target"` where there is one, else `"yesterday"`."""
    target: Finite | None = None
    """What the number should reach. Default: the metric's."""
    warning: Finite | None = None
    """Threshold: with `critical` above `warning`, or one of them alone, high is bad; with `critical` below it, low
    is."""
    critical: Finite | None = None
    """The other threshold."""
    limit: int | None = Field(None, ge=1, le=100)
    """How many rows, bars, lines, cohorts, periods or ways, up to 100. Default: 10; 8 lines, 12 cohorts, 30 periods."""
    min: Finite | None = None
    """Lower end of a gauge. Default: 0."""
    max: Finite | None = None
    """Upper end of a gauge, which needs it or a target. Default: a quarter beyond what is marked."""
    key: str | None = None
    """Which value of a `quantile`: `"p99"` or `"0.99"`. Default: the highest quantile."""
    forecast: bool | None = None
    """Whether lines go on into what is forecast of them; with `true` in another window too
    ([forecast.md](forecast.md#on-the-wall)). Default: where its window has a `[[forecast]]`."""
    analysis: str | None = Field(None, min_length=1)
    """Name of the `[[retention]]`, `[[funnel]]` or `[[paths]]` that is shown."""
    model: str | None = Field(None, min_length=1)
    """Name of the model that is shown: `churn`, or that of a forecast. Default: `"churn"`."""
    period: Literal["day", "week", "month"] | None = None
    """What a bar of a `lifecycle` is of: `"day"`, `"week"` or `"month"`; it needs `[actives]`. Default: `"day"`."""


class Board(Table):
    """`[[board]]`: one page of the wall."""

    name: BoardName
    """`[a-z][a-z0-9_-]*`, at most 64 characters: where the board is."""
    title: Title | None = None
    """For people. Default: from the name."""
    tile: list[Tile] = Field(min_length=1, max_length=60)
    """Its tiles, 1 to 60 tables `[[board.tile]]`, in rows of twelve cells from left to right."""
