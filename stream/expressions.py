"""SQL expressions of the catalog: compiled once, and the types of the fields they read.

A JSON event has no schema, but its columns must have one: a column whose type followed the data would change
meaning from batch to batch. Types that the catalog does not declare are inferred from how a field is used,
first from the literals it is compared with, then by trying the expression on one row of each type.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from enum import Enum, StrEnum
from itertools import product
from typing import Any

import polars as pl

logger = logging.getLogger(__name__)


class FieldType(StrEnum):
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"


DTYPES: Mapping[FieldType, pl.DataType] = {
    FieldType.STRING: pl.String(),
    FieldType.NUMBER: pl.Float64(),
    FieldType.BOOLEAN: pl.Boolean(),
}
_SAMPLES: Mapping[FieldType, Any] = {FieldType.STRING: "x", FieldType.NUMBER: 1.5, FieldType.BOOLEAN: True}
_VARIED: Mapping[FieldType, list[Any]] = {
    FieldType.STRING: ["x", "Yy", "10", "z z", "x"],
    FieldType.NUMBER: [1.5, -2.0, 7.25, 0.0, 40.0],
    FieldType.BOOLEAN: [True, False, False, True, None],
}
_AGGREGATES = {"Agg", "Window", "Over", "Correlation", "Quantile"}
_LITERALS = {"String": FieldType.STRING, "Boolean": FieldType.BOOLEAN}
_PREFERENCE = (FieldType.STRING, FieldType.NUMBER, FieldType.BOOLEAN)
_MAX_TRIES = 3**6


class Yields(Enum):
    """What an expression has to give for each event."""

    BOOLEAN = "a boolean"
    NUMBER = "a number"
    ANYTHING = "a text, a number or a boolean"


class ExpressionError(ValueError):
    """An expression that cannot be compiled, or reads a field in a way its type does not allow."""


def compile_expression(text: str) -> pl.Expr:
    """Compile one SQL expression. Raises ExpressionError for what is not a row by row expression.

    Polars' SQL refuses functions that read files; aggregates and sub-queries are refused here.
    """
    try:
        expression = pl.sql_expr(text)
    except Exception as error:  # the SQL front end raises several unrelated types
        raise ExpressionError(_explained(_first_line(error), text)) from error
    for node in _nodes(_tree(expression)):
        if _AGGREGATES & node.keys() or "Len" in node.values():
            raise ExpressionError("an expression is worked out for each event; aggregates belong in `measure`")
        if "SubPlan" in node:
            raise ExpressionError("sub-queries are not allowed")
    return expression


def _explained(message: str, text: str) -> str:
    """The SQL front end's message, with a word for who did not mean a function."""
    found = re.search(r"unsupported function '(\w+)'", message)
    if found is None or re.search(rf"\b{found[1]}\s*\(", text, re.IGNORECASE):
        return message
    return f'{message}; a field whose name is a word of SQL is written in double quotes: "{found[1]}"'


def fields_of(expression: pl.Expr) -> list[str]:
    """The fields an expression reads, each once, in order of appearance."""
    return list(dict.fromkeys(expression.meta.root_names()))


def infer_types(expression: pl.Expr, known: Mapping[str, FieldType], yields: Yields) -> dict[str, FieldType]:
    """Types for the fields of `expression`, such that it yields what it has to.

    Fields in `known` keep their type. Raises ExpressionError when no assignment works.
    """
    names = fields_of(expression)
    hints = _hints(_tree(expression))
    choices = [(known[name],) if name in known else hints.get(name, _PREFERENCE) for name in names]
    last_error = "it reads too many fields to find their types; declare them in [fields]"
    for tries, types in enumerate(product(*choices)):
        if tries >= _MAX_TRIES:
            break
        assignment = dict(zip(names, types, strict=True))
        try:
            dtype = _result_type(expression, assignment)
        except Exception as error:  # Polars raises a different type for each kind of misuse
            last_error = _first_line(error)
            continue
        if _gives(dtype, yields):
            _check_row_by_row(expression, assignment)
            return assignment
        last_error = f"expected it to yield {yields.value}, it yields {dtype}"
    detail = ", ".join(f"{name} is a {known[name]}" for name in names if name in known)
    raise ExpressionError(f"{last_error} ({detail})" if detail else last_error)


def evaluate(frame: pl.DataFrame, expressions: list[pl.Expr]) -> list[pl.Series]:
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
            return [column for expression in expressions for column in evaluate(frame, [expression])]
        if frame.height > 1:
            half = frame.height // 2
            (head,), (tail,) = (evaluate(part, expressions) for part in (frame[:half], frame[half:]))
            return [pl.concat([head, tail])]
        # Not what the error says, which is of the event.
        logger.debug("an event does not count: %s: %s", expressions[0], type(error).__name__)
        kind = names[0][0]
        nothing = {"c": pl.Series([False]), "v": pl.Series([float("nan")]), "t": pl.Series([None], dtype=pl.String())}
        return [nothing[kind].alias(names[0])]


def _gives(dtype: pl.DataType, yields: Yields) -> bool:
    if yields is Yields.BOOLEAN:
        return dtype == pl.Boolean()
    return dtype.is_numeric() or (yields is Yields.ANYTHING and dtype in (pl.String(), pl.Boolean()))


def _result_type(expression: pl.Expr, types: Mapping[str, FieldType]) -> pl.DataType:
    sample = pl.DataFrame(
        {name: [_SAMPLES[kind], None] for name, kind in types.items()} or {"": [None, None]},
        schema={name: DTYPES[kind] for name, kind in types.items()} or {"": pl.Null()},
    )
    return sample.select(result=expression).dtypes[0]


def _check_row_by_row(expression: pl.Expr, types: Mapping[str, FieldType]) -> None:
    """Raise ExpressionError when an event's result depends on the events it came with, as that of `corr(a, b)` does."""
    rows = 5
    frame = pl.DataFrame(
        {
            name: [_VARIED[kind][(row * (place + 2)) % rows] for row in range(rows)]
            for place, (name, kind) in enumerate(types.items())
        }
        or {"": [None] * rows},
        schema={name: DTYPES[kind] for name, kind in types.items()} or {"": pl.Null()},
    )
    try:
        together = frame.select(result=expression)["result"].to_list()
        alone = [frame[row : row + 1].select(result=expression)["result"].to_list() for row in range(rows)]
    except Exception:  # it cannot be worked out for one of the samples, which is no reason to refuse it
        return
    expected = together * rows if not types else together
    same = len(expected) == rows and all(
        len(one) == 1 and _same(one[0], other) for one, other in zip(alone, expected, strict=False)
    )
    if not same:
        raise ExpressionError("an expression is worked out for each event; aggregates belong in `measure`")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        # Not to the last bit: a whole column may be divided in another way than one number.
        return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def _hints(tree: Any) -> dict[str, tuple[FieldType, ...]]:
    """Fields compared with a string or boolean literal, or negated, have that literal's type."""
    found: dict[str, tuple[FieldType, ...]] = {}
    for node in _nodes(tree):
        binary = node.get("BinaryExpr")
        if isinstance(binary, dict):
            for one, other in (("left", "right"), ("right", "left")):
                name, literal = binary[one].get("Column"), binary[other].get("Literal")
                if isinstance(name, str) and isinstance(literal, dict):
                    for kind in literal.get("Scalar") or ():
                        if kind in _LITERALS:
                            found[name] = (_LITERALS[kind],)
        function = node.get("Function")
        if isinstance(function, dict) and function.get("function") == {"Boolean": "Not"}:
            for argument in function["input"]:
                inner = argument.get("Cast", {}).get("expr", argument)
                if isinstance(inner, dict) and isinstance(inner.get("Column"), str):
                    found[inner["Column"]] = (FieldType.BOOLEAN,)
    return found


def _tree(expression: pl.Expr) -> Any:
    return json.loads(expression.meta.serialize(format="json"))


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for child in tree.values():
            yield from _nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from _nodes(child)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
