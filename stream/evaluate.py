"""The catalog's conditions and values over a batch of events."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl

from stream.arrays import Floats, Mask
from stream.panes import Contribution
from stream.plan import CubePlan, Plan

logger = logging.getLogger(__name__)


class Evaluation:
    """What every expression of the plan gives for each event of `frame` (n).

    An event for which an expression cannot be worked out (a text that is no number in a CAST, say) does not count for
    the metrics that ask for it, and counts for all others.
    """

    def __init__(self, plan: Plan, frame: pl.DataFrame) -> None:
        conditions = [_boolean(expression).alias(f"c{i}") for i, expression in enumerate(plan.conditions)]
        values = [_number(expression).alias(f"v{i}") for i, expression in enumerate(plan.values)]
        columns = _evaluate(frame, [*conditions, *values])
        self._masks: list[Mask] = [column.to_numpy() for column in columns[: len(conditions)]]
        self._values: list[tuple[Floats, Mask | None]] = []
        for column in columns[len(conditions) :]:
            numbers = column.to_numpy()
            finite = np.isfinite(numbers)
            self._values.append((numbers, None if finite.all() else finite))

    def contributions(self, cube: CubePlan) -> list[Contribution]:
        """What each metric of a cube takes from the batch."""
        result: list[Contribution] = []
        for metric in cube.metrics:
            mask = None if metric.where is None else self._masks[metric.where]
            values = None
            if metric.value is not None:
                values, has_value = self._values[metric.value]
                if has_value is not None:
                    mask = has_value if mask is None else mask & has_value
            result.append(Contribution(mask, values))
        return result


def _boolean(expression: pl.Expr) -> pl.Expr:
    return expression.fill_null(False)


def _number(expression: pl.Expr) -> pl.Expr:
    return expression.cast(pl.Float64).fill_null(float("nan"))


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
        nothing = False if names[0].startswith("c") else float("nan")
        return [pl.Series(names[0], [nothing])]
