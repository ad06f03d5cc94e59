from __future__ import annotations

from contextlib import suppress

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.expressions import ExpressionError, FieldType, Yields, compile_expression, fields_of, infer_types

STRING, NUMBER, BOOLEAN = FieldType.STRING, FieldType.NUMBER, FieldType.BOOLEAN


@pytest.mark.parametrize(
    "text",
    [
        *("", "a +", "(a", "a; b", "a, b", "*", "SELECT 1"),
        *("sum(a)", "avg(a)", "count(*)", "count(DISTINCT a)", "first(a)", "median(a)", "stddev(a)", "array_agg(a)"),
        *("quantile_cont(a, 0.5)", "corr(a, b)", "covar(a, b)", "a + corr(a, b)"),
        *("sum(a) OVER (PARTITION BY b)", "row_number() OVER (ORDER BY a)", "lag(a) OVER (ORDER BY b)"),
        *("a IN (SELECT b FROM t)", "EXISTS (SELECT 1)", "(SELECT 1)"),
        *("read_csv('/etc/hostname')", "read_parquet('x')", "nothing_of_the_kind(a)"),
    ],
)
def test_what_is_not_worked_out_row_by_row_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        infer_types(compile_expression(text), {}, Yields.NUMBER)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_field_that_is_a_word_of_sql_is_told_how_to_be_written() -> None:
    for text in ("user", "user = 'a'", "concat(user, 'x')"):
        with pytest.raises(ExpressionError, match='written in double quotes: "user"'):
            compile_expression(text)
    with pytest.raises(ExpressionError) as caught:
        compile_expression("nothing_of_the_kind(a)")
    assert "quotes" not in str(caught.value)
    assert fields_of(compile_expression('"user" = 1')) == ["user"]


@given(text=st.text(max_size=12) | st.text("ab()+*'\" <>=,.1", max_size=12))
@settings(deadline=None, max_examples=200)
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    with suppress(ExpressionError):
        assert isinstance(compile_expression(text), pl.Expr)


def test_fields_are_named_once_in_their_order() -> None:
    assert fields_of(compile_expression('b + a * b - "geo.lat" + coalesce(C, 1)')) == ["b", "a", "geo.lat", "C"]
    assert fields_of(compile_expression("1 + 1")) == []


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("a", {"a": BOOLEAN}),
        ("NOT a", {"a": BOOLEAN}),
        ("a IS TRUE", {"a": BOOLEAN}),
        ("a = TRUE", {"a": BOOLEAN}),
        ("FALSE <> a", {"a": BOOLEAN}),
        ("a = 'x'", {"a": STRING}),
        ("'x' = a", {"a": STRING}),
        ("a IN ('x', 'y')", {"a": STRING}),
        ("a LIKE 'x%' OR b", {"a": STRING, "b": BOOLEAN}),
        ("a IS NULL", {"a": STRING}),
        ("a = b", {"a": STRING, "b": STRING}),
        ("a > 5", {"a": NUMBER}),
        ("5 >= a", {"a": NUMBER}),
        ("a IN (1, 2)", {"a": NUMBER}),
        ("a BETWEEN 1 AND 2", {"a": NUMBER}),
        ("coalesce(a, 0) > 1", {"a": NUMBER}),
        ("NOT (a > 1 AND b = 'x')", {"a": NUMBER, "b": STRING}),
    ],
)
def test_types_of_conditions(text: str, types: dict[str, FieldType]) -> None:
    assert infer_types(compile_expression(text), {}, Yields.BOOLEAN) == types


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("a", {"a": NUMBER}),
        ("-a", {"a": NUMBER}),
        ("abs(a) / b", {"a": NUMBER, "b": NUMBER}),
        ("round(a * 100, 2)", {"a": NUMBER}),
        ("length(a)", {"a": STRING}),
        ("CASE WHEN a THEN b ELSE 0 END", {"a": BOOLEAN, "b": NUMBER}),
        ("CASE WHEN a = 'x' THEN 1 ELSE 0 END", {"a": STRING}),
        ("TRY_CAST(a AS DOUBLE)", {"a": STRING}),
        ("1", {}),
    ],
)
def test_types_of_values(text: str, types: dict[str, FieldType]) -> None:
    assert infer_types(compile_expression(text), {}, Yields.NUMBER) == types


def test_a_known_type_is_kept_or_named_in_the_error() -> None:
    expression = compile_expression("a > b")
    assert infer_types(expression, {"a": NUMBER}, Yields.BOOLEAN) == {"a": NUMBER, "b": NUMBER}
    with pytest.raises(ExpressionError, match="a is a boolean"):
        infer_types(compile_expression("a + 1"), {"a": BOOLEAN}, Yields.BOOLEAN)
    with pytest.raises(ExpressionError, match="expected it to yield a number, it yields String"):
        infer_types(compile_expression("upper(a)"), {"a": STRING}, Yields.NUMBER)


def test_so_many_fields_that_their_types_cannot_be_tried() -> None:
    text = " + ".join(f"f{number}" for number in range(12))
    with pytest.raises(ExpressionError) as caught:
        infer_types(compile_expression(f"upper(f0) = 'X' AND {text} > 1"), {"f0": STRING}, Yields.BOOLEAN)
    assert str(caught.value)
