"""Entries to columns: the only place that reads what producers wrote.

An entry carries one event as flat fields, one as JSON in the field `data`, or many as a JSON array in the field
`batch`. Only the fields the catalog reads are decoded. An event that cannot be taken is refused alone, with a reason
from the closed list; the rest of its batch goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl

from sinks.records import DeadLetter, Reason, Shape, iso
from stream.arrays import Ints, Mask
from stream.batches import Decoded, RawBatch, Status
from stream.columns import empty, missing
from stream.convert import CONVERTERS, Bad, times_of, times_of_integers, times_of_texts
from stream.entries import MAX_ELEMENTS, Fields, elements_of, entry_time_ms, flat_bytes, json_field
from stream.expressions import FieldType
from stream.identity import identities
from stream.origins import NOWHERE, Origins
from stream.plain import PlainReader
from stream.plan import Plan
from stream.shape import ACCEPTED, PLAIN, TIME_ACCEPTED, nested, struct_of

NATIVELY_FROM = 150
"""Fewer events are read sooner one by one: the native way takes 0.5 ms to begin with, each event by itself 4 µs."""
MAX_ENTRY_BYTES = 1 << 20
"""Larger entries are refused whole."""


class _Refused(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(slots=True)
class _Rows:
    """Events as columns (n), before they are looked at together."""

    frame: pl.DataFrame
    time_ms: Ints
    no_time: Mask
    """Those that do not say when they were."""
    bad: Bad


class Decoder:
    """Turns raw batches into columns. Stateless: the same batch and `now_ms` always give the same result.

    *Guarantee*: every event of the batch is either a row or a DeadLetter; what an event means does not depend on the
    others of its batch. (Which of two fields of one name counts in JSON is not promised.) *Cost*: about one
    `orjson.loads` of the event where numbers are numbers, three where they are texts.
    """

    def __init__(
        self, plan: Plan, *, max_entry_bytes: int = MAX_ENTRY_BYTES, natively_from: int = NATIVELY_FROM
    ) -> None:
        self._natively_from = natively_from
        self._event = plan.event
        self._fields = {name: kind for name, kind in plan.read.items() if name != plan.event.time}
        self._required = plan.event.required
        self._ordered = plan.ordered
        self._identified = plan.event.dedupe_ms > 0 or plan.people is not None or plan.archived
        self._max_entry_bytes = max_entry_bytes
        types: dict[str, Any] = {name: ACCEPTED[kind] for name, kind in self._fields.items()}
        self._struct, self._getters = struct_of(types | {plan.event.time: TIME_ACCEPTED})
        self._names = set(self._getters)
        self._json: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._struct)
        plain = {name: PLAIN[kind] for name, kind in self._fields.items()}
        self._plain_json: msgspec.json.Decoder[Any]
        self._plain_json = msgspec.json.Decoder(struct_of(plain | {plan.event.time: TIME_ACCEPTED})[0])
        self._plain = PlainReader(self._fields, plan.event.time)

    def decode(self, batch: RawBatch, now_ms: int) -> Decoded:
        """Decode one batch. `now_ms` is what `future` is measured against."""
        rejects: list[DeadLetter] = []
        origins = self._pieces(batch, rejects)
        rows = self._rows(origins.pieces)
        self._check(rows, origins, now_ms)
        # The time is a column too, so that there is a row for each event even where no field is read.
        columns = [pl.Series(self._event.time, rows.time_ms)]
        time_ms = rows.time_ms
        if self._identified:
            ids = None if self._event.id is None else rows.frame[self._event.id]
            columns.append(identities(origins, ids, rows.no_time, batch.stream))
        if self._ordered:
            columns.extend(origins.order())
        frame = rows.frame
        frame.drop_in_place(self._event.time)
        frame = frame.hstack(columns)
        if rows.bad:
            keep: Mask = np.ones(len(origins), dtype=np.bool_)
            for row, (reason, message) in sorted(rows.bad.items()):
                keep[row] = False
                entry, index, raw = origins.at(row)
                rejects.append(DeadLetter(batch.stream, entry, index, reason, message, raw, origins.shape(row)))
            frame, time_ms, origins = frame.filter(pl.Series(keep)), time_ms[keep], origins.take(np.flatnonzero(keep))
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

    def _pieces(self, batch: RawBatch, rejects: list[DeadLetter]) -> Origins:
        """The events of the entries, not yet read. Refuses entries that cannot be taken apart."""
        entries = batch.entries
        if not entries:
            return NOWHERE
        flat = list(chain.from_iterable([fields for _, fields in entries]))
        # No entry has less than one field, so this is one each.
        if len(flat) == 2 * len(entries) and flat[::2].count(b"data") == len(entries):
            bodies: list[bytes | Fields] = [*flat[1::2]]
            if max(map(len, bodies)) <= self._max_entry_bytes:
                return Origins(entries, np.arange(len(entries)), np.zeros(len(entries), dtype=np.int64), bodies)
        pieces: list[bytes | Fields] = []
        numbers: list[int] = []
        indexes: list[int] = []
        for number, (entry_id, fields) in enumerate(entries):
            kind, body = json_field(fields, self._names)
            try:
                self._check_size(len(body) if kind else sum(map(len, fields)))
                found: Sequence[bytes | Fields]
                found = self._elements(body) if kind == b"batch" else [body if kind else fields]
            except _Refused as refused:
                alone = bool(kind) and len(fields) == 2
                raw, shape = (body, Shape(kind.decode())) if alone else (flat_bytes(fields), Shape.FIELDS)
                entry = entry_id.decode()
                rejects.append(DeadLetter(batch.stream, entry, 0, refused.reason, refused.message, raw, shape))
                continue
            pieces.extend(found)
            numbers.extend([number] * len(found))
            indexes.extend(range(len(found)))
        return Origins(entries, np.array(numbers, dtype=np.int64), np.array(indexes, dtype=np.int64), pieces)

    def _elements(self, body: bytes) -> list[bytes]:
        """The events of a `batch`, each with its own bytes."""
        try:
            elements = elements_of(body)
        except ValueError as error:
            raise _Refused(Reason.MALFORMED, f"batch: {error}") from None
        if not elements:
            raise _Refused(Reason.MALFORMED, "batch: expected at least one event, found an empty array")
        if len(elements) > MAX_ELEMENTS:
            raise _Refused(Reason.TOO_LARGE, f"batch: expected at most {MAX_ELEMENTS} events, found {len(elements)}")
        return elements

    def _check_size(self, size: int) -> None:
        if size > self._max_entry_bytes:
            raise _Refused(Reason.TOO_LARGE, f"expected at most {self._max_entry_bytes} bytes, found {size}")

    def _rows(self, pieces: Sequence[bytes | Fields]) -> _Rows:
        """All events as columns: natively where they are written as meant, one by one where not."""
        if len(pieces) < self._natively_from:
            return self._one_by_one(pieces)
        if set(map(type, pieces)) == {bytes}:
            read = self._plain.read(cast(Sequence[bytes], pieces))
            if read is not None and not read[1].any():
                return self._of_texts(read[0])
        plain = np.flatnonzero([self._is_plain(piece) for piece in pieces])
        read = self._plain.read([body for row in plain.tolist() if isinstance(body := pieces[row], bytes)])
        if read is None:
            return self._one_by_one(pieces)
        own = pl.Series(~read[1])
        plain, natively = plain[~read[1]], self._of_texts(read[0].filter(own))
        others = np.setdiff1d(np.arange(len(pieces)), plain)
        one_by_one = self._one_by_one([pieces[row] for row in others.tolist()])
        place = np.concatenate([plain, others])
        order = np.argsort(place)
        return _Rows(
            pl.concat([natively.frame.cast({self._event.time: pl.String()}), one_by_one.frame])[order],
            np.concatenate([natively.time_ms, one_by_one.time_ms])[order],
            np.concatenate([natively.no_time, one_by_one.no_time])[order],
            {int(plain[row]): why for row, why in natively.bad.items()}
            | {int(others[row]): why for row, why in one_by_one.bad.items()},
        )

    def _of_texts(self, frame: pl.DataFrame) -> _Rows:
        """Rows that were read natively."""
        bad: Bad = {}
        times = frame[self._event.time]
        find = times_of_texts if times.dtype == pl.String() else times_of_integers
        return _Rows(frame, find(self._event.time, times, bad), missing(times), bad)

    def _is_plain(self, piece: bytes | Fields) -> bool:
        """Whether an event can be read natively: one line of JSON in which every value has its field's type."""
        if not isinstance(piece, bytes) or piece[:1] != b"{" or piece[-1:] != b"}" or b"\n" in piece:
            return False
        try:
            self._plain_json.decode(piece)
            return piece.isascii() or bool(piece.decode())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False

    def _one_by_one(self, pieces: Sequence[bytes | Fields]) -> _Rows:
        bad: Bad = {}
        events: list[Any] = []
        for row, piece in enumerate(pieces):
            try:
                events.append(self._parse(piece) if isinstance(piece, bytes) else self._flat(piece))
            except _Refused as refused:
                events.append(self._struct())
                bad[row] = refused.reason, refused.message
        columns = {
            name: CONVERTERS[kind](name, [self._getters[name](event) for event in events], bad)
            for name, kind in self._fields.items()
        }
        times = [self._getters[self._event.time](event) for event in events]
        time_ms = times_of(self._event.time, times, bad)
        no_time = np.array([time is None for time in times], dtype=np.bool_)
        # As in what was read natively, so that the two can be put together, and also where no field is read at all.
        columns[self._event.time] = pl.Series(self._event.time, [None] * len(events), dtype=pl.String())
        return _Rows(pl.DataFrame(columns), time_ms, no_time, bad)

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

    def _check(self, rows: _Rows, origins: Origins, now_ms: int) -> None:
        """What is asked of every event, however it was read: defaults, required fields, a time that can be."""
        event, bad, time_ms = self._event, rows.bad, rows.time_ms
        if event.name is not None and event.default_name is not None and rows.frame[event.name].null_count():
            rows.frame = rows.frame.with_columns(
                pl.Series(event.name, rows.frame[event.name].fill_null(event.default_name))
            )
        for name in self._required:
            lacking = rows.no_time if name == event.time else self._missing(rows.frame, name)
            for row in np.flatnonzero(lacking).tolist():
                bad.setdefault(row, (Reason.MISSING_FIELD, f"{name}: expected a value, found none"))
        for row in np.flatnonzero(rows.no_time).tolist():
            time_ms[row] = entry_time_ms(origins.entry_id(row))
        latest = now_ms + event.max_skew_ms
        for row in np.flatnonzero((time_ms > latest) | (time_ms < event.earliest_ms)).tolist():
            early = time_ms[row] < event.earliest_ms
            reason = Reason.TOO_LATE if early else Reason.FUTURE
            bound = "before the earliest day taken" if early else "further ahead of the clock than max_skew"
            bad.setdefault(row, (reason, f"{event.time}: {_shown_time(int(time_ms[row]))} is {bound}"))

    def _missing(self, frame: pl.DataFrame, name: str) -> Mask:
        column = frame[name]
        return empty(column) if self._fields[name] is FieldType.STRING else missing(column)

    def _status(self, batch: RawBatch, time_ms: Ints) -> Status:
        behind = not batch.caught_up and batch.entries
        lag_ms = batch.read_at_ms - entry_time_ms(batch.entries[-1][0].decode()) if behind else 0
        latest = int(time_ms.max()) if len(time_ms) else None
        status = Status(batch.stream, batch.read_at_ms, batch.caught_up, max(0, lag_ms), latest, batch.lag)
        if batch.position is None:
            return status
        position = batch.position
        return replace(status, gaps=position.gaps, lost=position.lost, lost_exact=position.lost_exact)


def _shown_time(time_ms: int) -> str:
    try:
        return iso(time_ms)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
