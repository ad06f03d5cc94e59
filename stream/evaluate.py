"""The catalog's conditions and values over a batch of events."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl

from stream.arrays import Floats, Ints, Mask
from stream.labels import labels_of
from stream.measures.base import Inputs, Labels
from stream.origins import ENTRY_MS, ENTRY_NO
from stream.plan import CubePlan, Plan

logger = logging.getLogger(__name__)


class Contribution:
    """What one metric takes from a batch: which rows (n) count, and their values (n) where it has any."""

    __slots__ = ("mask", "values")

    def __init__(self, mask: Mask | None, values: Floats | Labels | None) -> None:
        self.mask = mask
        """None: every row counts."""
        self.values = values

    @property
    def known(self) -> Floats | Labels | None:
        """The values (n), with some number in the place of those that do not count, which may be none."""
        if isinstance(self.values, np.ndarray) and self.mask is not None:
            return np.where(self.mask, self.values, 0.0)
        return self.values


class Evaluation:
    """What every expression of the plan gives for each event of `frame` (n).

    An event for which an expression cannot be worked out (a text that is no number in a CAST, say) does not count for
    the metrics that ask for it, and counts for all others.
    """

    def __init__(self, plan: Plan, frame: pl.DataFrame, time_ms: Ints) -> None:
        self._frame = frame
        self._time_ms = time_ms
        self._labels: dict[str, Labels] = {}
        conditions = [_boolean(expression).alias(f"c{i}") for i, expression in enumerate(plan.conditions)]
        values = [_number(expression).alias(f"v{i}") for i, expression in enumerate(plan.values)]
        texts = [_text(expression).alias(f"t{i}") for i, expression in enumerate(plan.texts)]
        columns = _evaluate(frame, [*conditions, *values, *texts])
        self._masks: list[Mask] = [column.to_numpy() for column in columns[: len(conditions)]]
        self._values: list[tuple[Floats | Labels, Mask | None]] = []
        for column in columns[len(conditions) : len(conditions) + len(values)]:
            numbers = column.to_numpy()
            finite = np.isfinite(numbers)
            self._values.append((numbers, None if finite.all() else finite))
        self._texts: list[tuple[Floats | Labels, Mask | None]] = []
        for column in columns[len(conditions) + len(values) :]:
            there = (column != "").fill_null(False).to_numpy()
            self._texts.append((labels_of(column), None if there.all() else there))

    @property
    def time_ms(self) -> Ints:
        return self._time_ms

    def labels(self, field: str) -> Labels:
        """The texts of a field (n)."""
        found = self._labels.get(field)
        if found is None:
            found = self._labels[field] = labels_of(self._frame[field])
        return found

    def inputs(self, values: Floats | Labels | None) -> Inputs:
        """What a sketch may take from the events (n)."""
        if ENTRY_MS in self._frame.columns:
            entry_ms, entry_no = self._frame[ENTRY_MS].to_numpy(), self._frame[ENTRY_NO].to_numpy()
        else:
            entry_ms = entry_no = np.zeros(len(self._time_ms), dtype=np.int64)
        return Inputs(values, self._time_ms, entry_ms, entry_no)

    def contributions(self, cube: CubePlan) -> list[Contribution]:
        """What each metric of a cube takes from the batch."""
        result: list[Contribution] = []
        for metric in cube.metrics:
            mask = None if metric.where is None else self._masks[metric.where]
            values: Floats | Labels | None = None
            has_value: Mask | None = None
            if metric.value is not None:
                values, has_value = self._values[metric.value]
            elif metric.text is not None:
                values, has_value = self._texts[metric.text]
            if has_value is not None:
                mask = has_value if mask is None else mask & has_value
            result.append(Contribution(mask, values))
        return result


def _boolean(expression: pl.Expr) -> pl.Expr:
    return expression.fill_null(False)


def _number(expression: pl.Expr) -> pl.Expr:
    return expression.cast(pl.Float64).fill_null(float("nan"))


def _text(expression: pl.Expr) -> pl.Expr:
    return expression.cast(pl.String)


def _evaluate(frame: pl.DataFrame, expressions: list[pl.Expr]) -> list[pl.Series]:
    """One column (n) for each expression."""
    if not expressions:
        return []
    names = [expression.meta.output_name() for expression in expressions]
    try:
        # with_columns, so that an expression without a field also has a row for each event.
        result = frame.with_columns(expressions)
        return [result[name] for name in names]
    except BaseException as error:
        # Not Exception alone: what panics in Rust is none.
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        if len(expressions) > 1:
            return [column for expression in expressions for column in _evaluate(frame, [expression])]
        if frame.height > 1:
            half = frame.height // 2
            (head,), (tail,) = (_evaluate(part, expressions) for part in (frame[:half], frame[half:]))
            return [pl.concat([head, tail])]
        logger.debug("an event does not count: %s: %s", expressions[0], error)
        kind = names[0][0]
        nothing = {"c": pl.Series([False]), "v": pl.Series([float("nan")]), "t": pl.Series([None], dtype=pl.String())}
        return [nothing[kind].alias(names[0])]
