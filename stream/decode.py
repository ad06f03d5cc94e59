"""Entries to columns: the only place that reads what producers wrote.

An entry carries one event as flat fields, one as JSON in the field `data`, or many as a JSON array in the field
`batch`. Only the fields the catalog names are decoded. An event that cannot be taken is refused alone, with a reason
from the closed list; the rest of its batch goes on.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import polars as pl

from sinks.records import DeadLetter, Reason, Shape
from stream.arrays import Ints, Mask
from stream.batches import Decoded, Fields, Origin, RawBatch, Status
from stream.convert import CONVERTERS, Bad, times_of
from stream.entries import MAX_ELEMENTS, elements_one_by_one, entry_time_ms, flat_bytes, json_field
from stream.plan import Plan
from stream.shape import ACCEPTED, TIME_ACCEPTED, nested, struct_of

MAX_ENTRY_BYTES = 1 << 20
"""Larger entries are refused whole."""


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
        types: dict[str, Any] = {name: ACCEPTED[kind] for name, kind in self._fields.items()}
        types.setdefault(plan.event.time, TIME_ACCEPTED)
        self._names = set(types)
        self._struct, self._getters = struct_of(types)
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
                kind, body = json_field(fields, self._names)
                alone = bool(kind) and len(fields) == 2
                raw, shape = (body, Shape(kind.decode())) if alone else (flat_bytes(fields), Shape.FIELDS)
                rejects.append(DeadLetter(batch.stream, entry, 0, refused.reason, refused.message, raw, shape))
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
        kind, body = json_field(fields, self._names)
        if kind == b"data":
            self._check_size(len(body))
            events.append(self._parse(body))
            origins.append((entry, 0, body if len(fields) == 2 else flat_bytes(fields)))
        elif kind == b"batch":
            self._check_size(len(body))
            for index, raw in enumerate(self._elements(body)):
                try:
                    events.append(self._parse(raw))
                    origins.append((entry, index, raw))
                except _Refused as refused:
                    letter = DeadLetter(stream, entry, index, refused.reason, refused.message, raw, Shape.DATA)
                    rejects.append(letter)
        else:
            self._check_size(sum(map(len, fields)))
            events.append(self._flat(fields))
            origins.append((entry, 0, flat_bytes(fields)))

    def _elements(self, body: bytes) -> list[bytes]:
        """The events of a `batch`, each with its own bytes."""
        try:
            elements = [bytes(element) for element in self._json_array.decode(body)]
        except (msgspec.DecodeError, RecursionError) as error:
            elements = elements_one_by_one(body)
            if not elements:
                raise _Refused(Reason.MALFORMED, f"batch: expected a JSON array of events: {error}") from None
        if not elements:
            raise _Refused(Reason.MALFORMED, "batch: expected at least one event, found an empty array")
        if len(elements) > MAX_ELEMENTS:
            raise _Refused(Reason.TOO_LARGE, f"batch: expected at most {MAX_ELEMENTS} events, found {len(elements)}")
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
        return msgspec.convert(nested({k: v for k, v in values.items() if k in self._names}), self._struct)

    def _columns(self, events: list[Any], origins: list[Origin], now_ms: int) -> tuple[dict[str, pl.Series], Ints, Bad]:
        """Columns of all events (n rows each), their times (n), and the rows that must be refused."""
        bad: Bad = {}
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
            columns[name] = CONVERTERS[kind](name, values, bad)
        getter = self._getters[time_field]
        times = [getter(event) for event in events]
        time_ms = times_of(time_field, times, bad)
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
