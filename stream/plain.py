"""JSON events straight into columns: the fast way for those that are written as the catalog means them.

Polars reads a whole batch in native code. It is stricter than `stream.decode` where a number or a boolean is written as
text, and more lenient about what it takes for a text; what it refuses, and what it would read otherwise, is left to the
slower way, so that an event means the same whichever way it went.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from stream.arrays import Mask
from stream.expressions import DTYPES, FieldType

_ODD = "odd"
_HALF_PAIR = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F])")
"""A whole surrogate pair, or as its group half of one: Polars takes that in a field that nobody reads."""
_NEWLINE, _OPEN, _CLOSE, _QUOTE = b"\n", ord("{"), ord("}"), ord('"')


class PlainReader:
    """Reads JSON objects into a column for each field, with `a.b` as field b of the object a.

    The time is a column of texts, or of integers (Int64) where all events of a batch write it so.
    """

    def __init__(self, fields: Mapping[str, FieldType], time: str) -> None:
        types: dict[str, pl.DataType] = {name: DTYPES[kind] for name, kind in fields.items()}
        self._of_integers = _nested_schema(types | {time: pl.Int64()})
        types[time] = pl.String()
        self._schema = _nested_schema(types)
        self._time = time
        self._integers = False
        """Whether the last batch had all its times as integers: then most likely the next has too."""
        self._names = list(types)
        # Numbers as names meanwhile: Polars takes a name such as `a*` for a pattern.
        columns = [_column(name).alias(str(place)) for place, name in enumerate(types)]
        texts = [_column(name).str for name, kind in types.items() if kind == pl.String()]
        # An object or a list comes as its JSON; half a surrogate pair as NUL.
        objects = [text.starts_with(bracket) for text in texts for bracket in "{["]
        nul = [text.contains("\x00", literal=True) for text in texts]
        self._columns = [*columns, pl.any_horizontal(objects).fill_null(False).alias(_ODD)]
        self._columns_escaped = [*columns, pl.any_horizontal(objects + nul).fill_null(False).alias(_ODD)]
        self._is_flat = self._names == list(self._schema)

    def read(self, bodies: Sequence[bytes]) -> tuple[pl.DataFrame, Mask] | None:
        """A row for each of `bodies` (n), and which of them have to be read the slower way all the same (n).

        None when any of them cannot be read so.
        """
        joined = _NEWLINE.join(bodies)
        odd = _odd_lines(joined, len(bodies))
        if odd is None:
            return None
        # One byte is looked for many times as fast as two.
        escaped = b"\\" in joined and b"\\u" in joined
        if escaped and (b"\\ud" in joined or b"\\uD" in joined):
            halves = [found.start() for found in _HALF_PAIR.finditer(joined) if found[1] is not None]
            if halves:
                ends = np.flatnonzero(np.frombuffer(joined, dtype=np.uint8) == _NEWLINE[0])
                odd[np.searchsorted(ends, halves)] = True
        # No bracket but one for each line: no value can be an object or a list.
        scalars = b"[" not in joined and np.count_nonzero(np.frombuffer(joined, dtype=np.uint8) == _OPEN) == len(bodies)
        looked_at = escaped or not scalars or not self._is_flat
        try:
            frame = self._parsed(joined)
            if looked_at:
                frame = frame.select(self._columns_escaped if escaped else self._columns)
        except BaseException as error:
            # Not Exception alone: what panics in Rust is none.
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            return None
        if frame.height != len(bodies):
            return None
        if looked_at:
            odd |= frame.drop_in_place(_ODD).to_numpy()
            frame.columns = self._names
        return frame, odd

    def _parsed(self, joined: bytes) -> pl.DataFrame:
        if self._integers:
            try:
                # It takes nothing but integers for one, and no time.
                return pl.read_ndjson(joined, schema=self._of_integers)
            except pl.exceptions.ComputeError:
                self._integers = False
        frame = pl.read_ndjson(joined, schema=self._schema)
        if self._time in frame.columns and frame.height:
            first = frame[self._time][0]
            self._integers = first is not None and first.isdecimal()
        return frame


def _odd_lines(joined: bytes, count: int) -> Mask | None:
    """Which lines are to be looked at by themselves (count), such as `{}`; None unless each line is one object.

    A newline is no part of a JSON text but as white space, and behind `}` only `,`, `}` or `]` can go on with what was
    begun. So where each newline stands between `}` and `{`, broken lines cannot make up a whole one together.
    """
    text = np.frombuffer(joined, dtype=np.uint8)
    ends = np.flatnonzero(text == _NEWLINE[0])
    if len(ends) != count - 1 or text.size < 2 or text[0] != _OPEN or text[-1] != _CLOSE:
        return None
    if (text[ends - 1] != _CLOSE).any() or (text[ends + 1] != _OPEN).any():
        return None
    second = np.empty(count, dtype=np.int64)
    second[0], second[1:] = 1, ends + 2
    odd: Mask = text[second] != _QUOTE
    return odd


def _nested_schema(types: Mapping[str, pl.DataType]) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    inner: dict[str, dict[str, pl.DataType]] = {}
    for name, dtype in types.items():
        head, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(head, {})[rest] = dtype
        else:
            schema[name] = dtype
    for head, nested in inner.items():
        schema[head] = pl.Struct(_nested_schema(nested))
    return schema


def _column(name: str) -> pl.Expr:
    head, *rest = name.split(".")
    # pl.col reads ^…$ as a pattern.
    expression = pl.col([head])
    for part in rest:
        expression = expression.struct.field(part)
    return expression
