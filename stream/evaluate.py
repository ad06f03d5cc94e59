"""The catalog's conditions and values over a batch of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from stream.arrays import Floats, Ints, Mask
from stream.columns import empty
from stream.expressions import evaluate
from stream.labels import Labels, Texts, labels_of
from stream.measures.base import Inputs, Sketch
from stream.origins import ENTRY_MS, ENTRY_NO
from stream.plan import Expressions, MetricPlan


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one metric takes from a batch: which rows (n) count, and their values (n) where it has any."""

    mask: Mask | None
    """None: every row counts."""
    values: Floats | None


class Evaluation:
    """What every expression of the plan gives for each event, or fact about people, of `frame` (n).

    An event for which an expression cannot be worked out (a text that is no number in a CAST, say) does not count for
    the metrics that ask for it, and counts for all others.
    """

    def __init__(
        self, expressions: Expressions, frame: pl.DataFrame, time_ms: Ints, weight: Ints | None = None
    ) -> None:
        """`weight` (n): how often each counts, less than 0 to take it back; None: once each."""
        self._frame = frame
        self.time_ms = time_ms
        self.weight = weight
        self._labels: dict[str, Labels] = {}
        self._prepared: dict[tuple[type[Sketch], int | None, int | None], Any] = {}
        conditions = [_boolean(expression).alias(f"c{i}") for i, expression in enumerate(expressions.conditions)]
        values = [_number(expression).alias(f"v{i}") for i, expression in enumerate(expressions.values)]
        texts = [_text(expression).alias(f"t{i}") for i, expression in enumerate(expressions.texts)]
        columns = iter(evaluate(frame, [*conditions, *values, *texts]))
        self._masks: list[Mask] = [next(columns).to_numpy() for _ in conditions]
        self._values: list[tuple[Floats, Mask | None]] = []
        for _ in values:
            numbers = next(columns).to_numpy()
            finite = np.isfinite(numbers)
            self._values.append((numbers, None if finite.all() else finite))
        self._texts: list[tuple[Texts, Mask | None]] = []
        for column in columns:
            there = ~empty(column)
            self._texts.append((Texts(column), None if there.all() else there))

    def labels(self, field: str) -> Labels:
        """The texts of a field (n)."""
        found = self._labels.get(field)
        if found is None:
            found = self._labels[field] = labels_of(self._frame[field])
        return found

    def prepared(self, metric: MetricPlan) -> Any:
        """What the metric's sketch needs of the events (n); those that do not count are among them."""
        sketch = metric.measure.sketch
        assert sketch is not None
        # A sketch's options are no part of it, nor is who counts: so metrics over one value share it.
        key = type(sketch), metric.value, metric.text
        if key not in self._prepared:
            self._prepared[key] = sketch.prepare(self._inputs(metric))
        return self._prepared[key]

    def contribution(self, metric: MetricPlan) -> Contribution:
        """What a metric takes from the batch."""
        mask = None if metric.where is None else self._masks[metric.where]
        values: Floats | None = None
        has_value: Mask | None = None
        if metric.value is not None:
            values, has_value = self._values[metric.value]
        elif metric.text is not None:
            _, has_value = self._texts[metric.text]
        if has_value is not None:
            mask = has_value if mask is None else mask & has_value
        return Contribution(mask, values)

    def _inputs(self, metric: MetricPlan) -> Inputs:
        values: Floats | Texts | None = None
        if metric.value is not None:
            values, finite = self._values[metric.value]
            if finite is not None:
                values = np.where(finite, values, 0.0)
        elif metric.text is not None:
            values, _ = self._texts[metric.text]
        if ENTRY_MS in self._frame.columns:
            entry_ms, entry_no = self._frame[ENTRY_MS].to_numpy(), self._frame[ENTRY_NO].to_numpy()
        else:
            entry_ms = entry_no = np.zeros(len(self.time_ms), dtype=np.int64)
        return Inputs(values, self.time_ms, entry_ms, entry_no, self.weight)


def _boolean(expression: pl.Expr) -> pl.Expr:
    return expression.fill_null(False)


def _number(expression: pl.Expr) -> pl.Expr:
    return expression.cast(pl.Float64).fill_null(float("nan"))


def _text(expression: pl.Expr) -> pl.Expr:
    return expression.cast(pl.String)
