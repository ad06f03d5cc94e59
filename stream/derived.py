"""Metrics that are worked out of others: a ratio of two, or an expression over several.

They have no state. Their inputs have the same dimensions, and the values of one series in one window are put together
when any of them changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from stream.arrays import Floats
from stream.expressions import compile_expression, fields_of

if TYPE_CHECKING:
    from stream.metrics import Metric

ZERO_WITHOUT_EVENTS = frozenset({"count", "sum", "rate", "distinct"})
"""Measures of nothing that are 0; the others have no value then, and neither has what is worked out of them."""
SCALAR = frozenset({"count", "sum", "mean", "min", "max", "rate", "distinct", "first", "last"})
"""Measures with one number, of which others can be worked out."""


@dataclass(frozen=True, slots=True)
class Derived:
    """How one derived metric is worked out."""

    inputs: tuple[str, ...]
    """Names of the metrics it reads. As its count goes that of the one with most events."""
    compute: Callable[[list[Floats]], Floats]
    """Values of the inputs (n each, NaN where there is none) → its values (n, NaN or infinite where there is none)."""


def _ratio(metric: Metric) -> Derived:
    assert metric.of is not None
    assert metric.to is not None

    def compute(values: list[Floats]) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return values[0] / values[1]

    return Derived((metric.of, metric.to), compute)


def _expression(metric: Metric) -> Derived:
    assert metric.value is not None
    expression = compile_expression(metric.value).cast(pl.Float64)
    names = tuple(fields_of(expression))
    filled = expression.fill_null(float("nan")).alias("\nvalue")

    def compute(values: list[Floats]) -> Floats:
        columns = [pl.Series(name, column, nan_to_null=True) for name, column in zip(names, values, strict=True)]
        # with_columns keeps a row for each, also of an expression that reads no column.
        return pl.DataFrame(columns).with_columns(filled)["\nvalue"].to_numpy()

    return Derived(names, compute)


DERIVED: Mapping[str, Callable[[Metric], Derived]] = {"ratio": _ratio, "expr": _expression}
"""Every way to work out a metric of others, by the name it has as a `measure`."""


def derive(metric: Metric) -> Derived:
    return DERIVED[metric.measure](metric)
