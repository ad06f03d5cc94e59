"""Values as producers wrote them to columns: one for each type of field, and the event's time.

A converter takes the field's name, the values of all events (n) and `bad`, where it puts the rows it cannot take, each
with the reason; it returns a column (n).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from sinks.records import Reason
from stream.arrays import Ints
from stream.expressions import FieldType
from stream.usual_times import epoch_ms, usual_times

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, 1: True, 0: False}

Bad = dict[int, tuple[Reason, str]]


def _numbers(name: str, values: list[Any], bad: Bad) -> pl.Series:
    try:
        # None becomes NaN here, and NaN becomes null below: JSON has no NaN, and text that says so is looked for.
        numbers = np.array(values, dtype=np.float64)
        suspicious = any(type(value) is str for value in values) or not np.isfinite(numbers[~np.isnan(numbers)]).all()
    except (ValueError, OverflowError):
        numbers, suspicious = np.full(len(values), np.nan), True
    if suspicious:
        for row, value in enumerate(values):
            number = _number(value)
            if number is not None and math.isfinite(number):
                numbers[row] = number
            else:
                numbers[row] = np.nan
                if value is not None:
                    bad.setdefault(row, (Reason.BAD_TYPE, f"{name}: expected a finite number, found {_shown(value)}"))
    return pl.Series(name, numbers, nan_to_null=True)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    # Python's float takes more than numbers of JSON and CSV: 1_000, and digits of other scripts.
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _booleans(name: str, values: list[Any], bad: Bad) -> pl.Series:
    if not all(value is None or value is True or value is False for value in values):
        values = list(values)
        for row, value in enumerate(values):
            if value is not None:
                values[row] = _BOOLEANS.get(value.lower() if isinstance(value, str) else value)
                if values[row] is None:
                    bad.setdefault(row, (Reason.BAD_TYPE, f"{name}: expected true or false, found {_shown(value)}"))
    return pl.Series(name, values, dtype=pl.Boolean())


def _strings(name: str, values: list[Any], bad: Bad) -> pl.Series:
    texts = [value if value is None or type(value) is str else scalar_text(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String())


CONVERTERS: dict[FieldType, Callable[[str, list[Any], Bad], pl.Series]] = {
    FieldType.STRING: _strings,
    FieldType.NUMBER: _numbers,
    FieldType.BOOLEAN: _booleans,
}


def scalar_text(value: bool | int | float) -> str:
    """A JSON scalar as text: `true`, `200` also for 200.0, `1.5`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    # All digits, never an exponent, as Polars writes them.
    return f"{Decimal(repr(value)):f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def times_of_texts(name: str, texts: pl.Series, bad: Bad) -> Ints:
    """Epoch milliseconds of each text (n); rows without a time, or with one that is none, stay 0."""
    # Only what both ways of reading agree on: an event must mean the same in whatever company it comes.
    result, usual = usual_times(texts)
    rest = np.flatnonzero(~usual)
    if len(rest):
        some: Bad = {}
        result[rest] = times_of(name, texts.gather(rest).to_list(), some)
        bad.update({int(rest[row]): why for row, why in some.items() if int(rest[row]) not in bad})
    return result


def times_of_integers(name: str, numbers: pl.Series, bad: Bad) -> Ints:
    """Epoch milliseconds of each integer (n); rows without a time stay 0."""
    return epoch_ms(numbers.fill_null(0).to_numpy() if numbers.null_count() else numbers.to_numpy())


def times_of(name: str, values: Sequence[Any], bad: Bad) -> Ints:
    """Epoch milliseconds of each value (n); rows without a time, or with one that is none, stay 0."""
    result = np.zeros(len(values), dtype=np.int64)
    for row in range(len(values)):
        if values[row] is None:
            continue
        try:
            result[row] = _time_ms(values[row])
        except (ValueError, OverflowError):
            message = f"{name}: expected ISO 8601 or epoch s, ms, us or ns, found {_shown(values[row])}"
            bad.setdefault(row, (Reason.BAD_TYPE, message))
    return result


def _time_ms(value: str | int | float) -> int:
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.lstrip("+-").isdecimal():
            return _epoch_ms(int(text))
        number = _number(text)
        return _iso_ms(text) if number is None else _epoch_ms(number)
    return _epoch_ms(value)


def _epoch_ms(number: int | float) -> int:
    """Seconds, ms, us or ns, told apart by size: as seconds each reaches from 1970 to the year 5138."""
    if not math.isfinite(number):
        raise ValueError("not finite")
    size = abs(number)
    if size < 1e11:
        return round(number * 1_000)
    if size < 1e14:
        return math.floor(number)
    if size < 1e17:
        return math.floor(number // 1_000)
    if size < 1e20:
        return math.floor(number // 1_000_000)
    raise ValueError("beyond any clock")


def _iso_ms(text: str) -> int:
    # Not of the standard, but how databases write it out.
    bare = text.removesuffix(" UTC")
    when = datetime.fromisoformat(bare)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    elif bare != text:
        raise ValueError("two zones")
    return (when - _EPOCH) // _MILLISECOND
