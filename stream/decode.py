"""Entries to columns: the only place that reads what producers wrote.

An entry carries one event as flat fields, one as JSON in the field `data`, or many as a JSON array in the field
`batch`. Only the fields the catalog names are decoded. An event that cannot be taken is refused alone, with a reason
from the closed list; the rest of its batch goes on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np
import polars as pl

from sinks.records import DeadLetter, Reason
from stream.arrays import Ints, Mask
from stream.batches import Decoded, Fields, Origin, RawBatch, Status
from stream.expressions import FieldType
from stream.plan import Plan

MAX_ENTRY_BYTES = 1 << 20
"""Larger entries are refused whole."""

_ACCEPTED: dict[FieldType, Any] = {
    FieldType.STRING: str | int | float | bool | None,
    FieldType.NUMBER: int | float | str | None,
    FieldType.BOOLEAN: bool | str | int | None,
}
_USUAL_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$"
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_LATEST_MS = 1 << 48
"""Later than any clock (the year 10889), and small enough for every sum that follows."""
_TIME_ACCEPTED = str | int | float | None
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, 1: True, 0: False}


class _Refused(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class Decoder:
    """Turns raw batches into columns. Stateless: the same batch and `now_ms` always give the same result.

    *Guarantee*: every event of the batch is either a row or a DeadLetter. *Cost*: about 2 µs an event with ten
    fields.
    """

    def __init__(self, plan: Plan, *, max_entry_bytes: int = MAX_ENTRY_BYTES) -> None:
        self._event = plan.event
        self._fields = dict(plan.fields)
        self._required = plan.event.required
        self._max_entry_bytes = max_entry_bytes
        types: dict[str, Any] = {name: _ACCEPTED[kind] for name, kind in self._fields.items()}
        types.setdefault(plan.event.time, _TIME_ACCEPTED)
        self._names = set(types)
        self._struct, self._getters = _struct(types)
        self._json: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._struct)
        self._json_array = msgspec.json.Decoder(list[msgspec.Raw])

    def decode(self, batch: RawBatch, now_ms: int) -> Decoded:
        """Decode one batch. `now_ms` is what `future` is measured against."""
        events: list[Any] = []
        origins: list[Origin] = []
        rejects: list[DeadLetter] = []
        for entry_id, fields in batch.entries:
            entry = entry_id.decode()
            try:
                self._entry(entry, fields, events, origins, batch.stream, rejects)
            except _Refused as refused:
                kind, body = _json_field(fields, self._names)
                raw = body if kind and len(fields) == 2 else _flat_bytes(fields)
                rejects.append(DeadLetter(batch.stream, entry, 0, refused.reason, refused.message, raw))
        columns, time_ms, bad = self._columns(events, origins, now_ms)
        # The time is a column too, so that there is a row for each event even where no field is read.
        columns[self._event.time] = pl.Series(time_ms)
        frame = pl.DataFrame(columns)
        if bad:
            keep: Mask = np.ones(len(events), dtype=np.bool_)
            for row, (reason, message) in sorted(bad.items()):
                keep[row] = False
                entry, index, raw = origins[row]
                rejects.append(DeadLetter(batch.stream, entry, index, reason, message, raw))
            frame = frame.filter(pl.Series(keep))
            time_ms = time_ms[keep]
            origins = [origin for row, origin in enumerate(origins) if row not in bad]
        return Decoded(
            stream=batch.stream,
            frame=frame,
            time_ms=time_ms,
            origins=origins,
            rejects=rejects,
            caught_up=batch.caught_up,
            read_at_ms=batch.read_at_ms,
            decoded_at_ms=now_ms,
            status=self._status(batch, time_ms) if batch.report else None,
        )

    def _entry(
        self,
        entry: str,
        fields: Fields,
        events: list[Any],
        origins: list[Origin],
        stream: str,
        rejects: list[DeadLetter],
    ) -> None:
        """Append the events of one entry. Raises _Refused when the entry as a whole cannot be taken."""
        kind, body = _json_field(fields, self._names)
        if kind == b"data":
            self._check_size(len(body))
            events.append(self._parse(body))
            origins.append((entry, 0, body if len(fields) == 2 else _flat_bytes(fields)))
        elif kind == b"batch":
            self._check_size(len(body))
            for index, raw in enumerate(self._elements(body)):
                try:
                    events.append(self._parse(raw))
                    origins.append((entry, index, raw))
                except _Refused as refused:
                    rejects.append(DeadLetter(stream, entry, index, refused.reason, refused.message, raw))
        else:
            self._check_size(sum(map(len, fields)))
            events.append(self._flat(fields))
            origins.append((entry, 0, _flat_bytes(fields)))

    def _elements(self, body: bytes) -> list[bytes]:
        """The events of a `batch`, each with its own bytes."""
        try:
            elements = [bytes(element) for element in self._json_array.decode(body)]
        except (msgspec.DecodeError, RecursionError) as error:
            elements = _elements_one_by_one(body)
            if not elements:
                raise _Refused(Reason.MALFORMED, f"batch: expected a JSON array of events: {error}") from None
        if not elements:
            raise _Refused(Reason.MALFORMED, "batch: expected at least one event, found an empty array")
        return elements

    def _check_size(self, size: int) -> None:
        if size > self._max_entry_bytes:
            raise _Refused(Reason.TOO_LARGE, f"expected at most {self._max_entry_bytes} bytes, found {size}")

    def _parse(self, raw: bytes) -> Any:
        if not raw.isascii():
            # The JSON decoder checks only the text it keeps; bytes that are not UTF-8 are refused wherever they are.
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                raise _Refused(Reason.MALFORMED, f"expected UTF-8: {error.reason} at byte {error.start}") from None
        try:
            event = self._json.decode(raw)
        except msgspec.ValidationError as error:
            message = str(error)
            reason = Reason.BAD_TYPE if " - at `" in message else Reason.MALFORMED
            raise _Refused(reason, message) from None
        except msgspec.DecodeError as error:
            raise _Refused(Reason.MALFORMED, str(error)) from None
        except RecursionError:
            raise _Refused(Reason.MALFORMED, "nested too deeply") from None
        if not raw.strip(b" \t\r\n{}"):
            raise _Refused(Reason.MALFORMED, "an event without any field")
        return event

    def _flat(self, fields: Fields) -> Any:
        values: dict[str, Any] = {}
        empty = True
        for name, value in zip(fields[::2], fields[1::2], strict=True):
            empty = empty and not (name and value)
            try:
                # The first of a repeated name wins, as it would for a reader of the entry.
                text = value.decode()
                values.setdefault(name.decode(), text if text else None)
            except UnicodeDecodeError as error:
                shown = name.decode(errors="replace")
                raise _Refused(Reason.MALFORMED, f"field {shown}: expected UTF-8: {error.reason}") from None
        if empty:
            raise _Refused(Reason.MALFORMED, "an event without any field")
        return msgspec.convert(_nested({k: v for k, v in values.items() if k in self._names}), self._struct)

    def _columns(
        self, events: list[Any], origins: list[Origin], now_ms: int
    ) -> tuple[dict[str, pl.Series], Ints, dict[int, tuple[Reason, str]]]:
        """Columns of all events (n rows each), their times (n), and the rows that must be refused."""
        bad: dict[int, tuple[Reason, str]] = {}
        columns: dict[str, pl.Series] = {}
        time_field = self._event.time
        for name, kind in self._fields.items():
            getter = self._getters[name]
            values = [getter(event) for event in events]
            if name == self._event.name and self._event.default_name is not None:
                values = [self._event.default_name if value is None else value for value in values]
            if name in self._required:
                for row, value in enumerate(values):
                    if value is None or value == "":
                        bad.setdefault(row, (Reason.MISSING_FIELD, f"{name}: expected a value, found none"))
            columns[name] = _CONVERTERS[kind](name, values, bad)
        getter = self._getters[time_field]
        times = [getter(event) for event in events]
        time_ms = _times(time_field, times, bad)
        for row, time in enumerate(times):
            if time is None:
                time_ms[row] = entry_time_ms(origins[row][0])
                if time_field in self._required:
                    bad.setdefault(row, (Reason.MISSING_FIELD, f"{time_field}: expected a value, found none"))
        latest = now_ms + self._event.max_skew_ms
        for row in np.flatnonzero((time_ms > latest) | (time_ms < self._event.earliest_ms)).tolist():
            early = time_ms[row] < self._event.earliest_ms
            reason = Reason.TOO_LATE if early else Reason.FUTURE
            bound = "before the earliest day taken" if early else "further ahead of the clock than max_skew"
            bad.setdefault(row, (reason, f"{time_field}: {times[row]!r} is {bound}"))
        return columns, time_ms, bad

    def _status(self, batch: RawBatch, time_ms: Ints) -> Status:
        behind = not batch.caught_up and batch.entries
        lag_ms = batch.read_at_ms - entry_time_ms(batch.entries[-1][0].decode()) if behind else 0
        latest = int(time_ms.max()) if len(time_ms) else None
        return Status(batch.stream, batch.read_at_ms, batch.caught_up, max(0, lag_ms), latest)


def entry_time_ms(entry_id: str) -> int:
    """`"1526919030474-55"` → 1526919030474: when the server added the entry, unless the producer chose the id."""
    return min(int(entry_id.partition("-")[0]), _LATEST_MS)


def _json_field(fields: Fields, named: Container[str]) -> tuple[bytes, bytes]:
    """`data` or `batch` and its JSON, or two empty texts for an entry of flat fields.

    Other fields beside it are the producer's own business, and a catalog that names a field so means the field.
    """
    names = fields[::2]
    for kind in (b"data", b"batch"):
        if kind in names and (len(names) == 1 or kind.decode() not in named):
            return kind, fields[2 * names.index(kind) + 1]
    return b"", b""


def _elements_one_by_one(body: bytes) -> list[bytes]:
    """The elements of an array of which some cannot be decoded; none where it is no array.

    Slower than the decoder's own way and more lenient: each element is judged by itself afterwards.
    """
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return []
    if not (text.startswith("[") and text.endswith("]")):
        return []
    scanner, at, found = json.JSONDecoder(), 1, []
    while True:
        at += len(text) - at - len(text[at:].lstrip())
        try:
            _, end = scanner.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        found.append(text[at:end].encode())
        at = end + len(text) - end - len(text[end:].lstrip())
        if text[at] == "]":
            return found if at == len(text) - 1 else []
        if text[at] != ",":
            return []
        at += 1


def _flat_bytes(fields: Fields) -> bytes:
    """Flat fields as `name=value&…`, percent-encoded: readable, and any bytes survive."""
    return urlencode(list(zip(fields[::2], fields[1::2], strict=True))).encode()


def _struct(types: dict[str, Any]) -> tuple[type, dict[str, Callable[[Any], Any]]]:
    """A struct type for events with these fields, where `a.b` is field b of the object a, and a getter for each."""
    fields: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    getters: dict[str, Callable[[Any], Any]] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, accepted in types.items():
        head, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(head, {})[rest] = accepted
            continue
        attribute = f"f{len(fields)}"
        fields.append((attribute, accepted, None))
        rename[attribute] = name
        getters[name] = attrgetter(attribute)
    for head, nested in inner.items():
        struct, nested_getters = _struct(nested)
        attribute = f"f{len(fields)}"
        fields.append((attribute, struct | None, None))
        rename[attribute] = head
        for rest, getter in nested_getters.items():
            getters[f"{head}.{rest}"] = _inner_getter(attribute, getter)
    return msgspec.defstruct("Event", fields, rename=rename, gc=False), getters


def _inner_getter(attribute: str, getter: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def get(event: Any) -> Any:
        inner = getattr(event, attribute)
        return None if inner is None else getter(inner)

    return get


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` → `{"a": {"b": 1}}`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        here = result
        *parents, last = name.split(".")
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = value
    return result


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


_CONVERTERS: dict[FieldType, Callable[[str, list[Any], Bad], pl.Series]] = {
    FieldType.STRING: _strings,
    FieldType.NUMBER: _numbers,
    FieldType.BOOLEAN: _booleans,
}


def scalar_text(value: bool | int | float) -> str:
    """A JSON scalar as text: `true`, `200` also for 200.0, `1.5`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    return str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _times(name: str, values: Sequence[Any], bad: Bad) -> Ints:
    """Epoch milliseconds of each value (n); rows without a time, or with one that is none, stay 0."""
    result = np.zeros(len(values), dtype=np.int64)
    rest: Sequence[int] = range(len(values))
    if values and all(type(value) is str for value in values):
        texts = pl.Series(values)
        # Only what both ways of reading agree on: an event must mean the same in whatever company it comes.
        parsed = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="ms", strict=False)
        usual = texts.str.contains(_USUAL_TIME) & parsed.is_not_null()
        result = parsed.to_physical().fill_null(0).to_numpy().astype(np.int64)
        rest = np.flatnonzero(~usual.to_numpy()).tolist()
    for row in rest:
        result[row] = 0
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
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - _EPOCH) // _MILLISECOND
