"""Events of a request on their way into the streams, and the verdict on each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from live_api.intake import skew
from live_api.intake.given import Given, fields_given
from live_api.intake.kept import Event, Kept
from live_api.intake.sent import Names, Sent
from live_api.intake.verdict import NOT_WRITTEN, Rejected, Verdict, path_of
from live_api.intake.who import Visitor, Who
from live_api.intake.writer import Outcome, Writer
from sinks.records import DeadLetter, Reason
from stream.batches import Decoded, RawBatch
from stream.catalog import Catalog
from stream.decode import MAX_ENTRY_BYTES, Decoder
from stream.digests import Hashes, hashes_of
from stream.geo import Geo
from stream.plan import compile_plan

RETRY_AFTER_S = 2
"""When to send again what could not be written."""
_NATIVELY_FROM = 1_000
"""As few events as come in a request are read sooner one by one."""
_NO_FIELD = b"{}"
_EMPTY = hashes_of(pl.Series([""]))[0]


class Door:
    """Takes the events of requests.

    *Guarantee*: what is accepted is in a stream, as an element of the field `batch`, with no more than the fields that
    are kept and with a pseudonym in the place of its person; and the processor's own decoder has read it before it was
    written. *Failure*: events that could not be written are rejected as `not_written`. *Cost*: about 10 µs an event.
    """

    def __init__(
        self, catalog: Catalog, writer: Writer, pseudonym: Callable[[str], str], geo: Geo | None = None
    ) -> None:
        """`pseudonym` may raise SinkError. `geo` says where addresses are."""
        plan, enrich = compile_plan(catalog), catalog.enrich
        self.names = Names.of(catalog)
        self._writer = writer
        self._event = plan.event
        names = {*plan.read, *catalog.ingest.properties, plan.event.time}
        # What says who somebody is, and is not the person's own field, never reaches a stream.
        names -= {one for one in (catalog.ingest.anonymous, enrich.ip) if one is not None and one != plan.event.person}
        looked_at = {plan.event.time}
        if plan.event.person is not None:
            looked_at |= {plan.event.person, catalog.ingest.consent, catalog.ingest.anonymous}
        if plan.enrich is not None:
            looked_at |= fields_given(plan.enrich)
            looked_at |= {one for one in (enrich.user_agent, enrich.ip, enrich.url, enrich.referrer) if one is not None}
        self._kept = Kept(names, looked_at)
        self._time = self._kept.field(plan.event.time)
        self._who = self._given = None
        if plan.event.person is not None:
            self._who = Who(
                self._kept,
                plan.event.person,
                catalog.ingest,
                pseudonym,
                keeps_consent=catalog.ingest.consent in names,
                address=enrich.ip,
                browser=enrich.user_agent,
            )
        if plan.enrich is not None:
            self._given = Given(self._kept, plan.enrich, {*plan.fields, *catalog.ingest.properties}, geo)
        self._decoder = Decoder(plan, max_entry_bytes=MAX_ENTRY_BYTES - len(b"[]"), natively_from=_NATIVELY_FROM)
        self._fields = frozenset({*plan.read, plan.event.time})
        self._no_time = _null_at(plan.event.time)

    async def take(self, sent: Sent, visitor: Visitor, received_ms: int) -> Verdict:
        """The verdict on all that was sent. Raises SinkError where no pseudonyms can be made: nothing is written."""
        events, places, rejected = self._events(sent, received_ms)
        said_ms = None if sent.sent_at is None else skew.sent_ms(sent.sent_at)
        if said_ms is not None:
            skew.correct(events, self._time, said_ms, received_ms)
        if self._who is not None:
            self._who.settle(events, visitor)
        bots = [] if self._given is None else self._given.settle(events, visitor)
        pieces = [self._kept.write(event) for event in events]
        decoded, refused = self._judge(self._with_something(pieces, places, sent), received_ms)
        for row, letter in refused.items():
            rejected.append(self._rejected(sent.index(places[row]), letter))
        good = [row for row in range(len(pieces)) if row not in refused]
        ids, persons = self._hashes(decoded, self._event.id), self._hashes(decoded, self._event.person)
        if any(bots):
            rejected += [Rejected(sent.index(places[row]), Reason.BOT, "", "of a bot") for row in good if bots[row]]
            people = np.array([not bots[row] for row in good])
            good, ids, persons = [row for row in good if not bots[row]], ids[people], persons[people]
        if not good:
            return Verdict(0, 0, _in_order(rejected))
        where = self._writer.places(persons, ids)
        outcomes, why = await self._writer.write([pieces[row] for row in good], where, ids)
        unwritten = [row for row, one in zip(good, outcomes, strict=True) if one is Outcome.NOT_WRITTEN]
        rejected += [Rejected(sent.index(places[row]), NOT_WRITTEN, "", why) for row in unwritten]
        return Verdict(
            outcomes.count(Outcome.ACCEPTED),
            outcomes.count(Outcome.DUPLICATE),
            _in_order(rejected),
            RETRY_AFTER_S if unwritten else None,
        )

    def _events(self, sent: Sent, now_ms: int) -> tuple[list[Event], Sequence[int], list[Rejected]]:
        """The events that are some, which of the pieces each of them is, and what is rejected so far."""
        rejected = list(sent.rejected)
        if sent.array is not None:
            try:
                events = self._kept.read_all(sent.array)
                if len(events) == len(sent.pieces):
                    return events, range(len(events)), rejected
            except ValueError:
                pass
        events, places = [], []
        for place, piece in enumerate(sent.pieces):
            try:
                events.append(self._kept.read(piece))
                places.append(place)
            except ValueError as error:
                _, refused = self._judge([piece], now_ms)
                letter = refused.get(0)
                rejected.append(
                    Rejected(sent.index(place), Reason.MALFORMED, "", str(error))
                    if letter is None
                    else self._rejected(sent.index(place), letter)
                )
        return events, places, rejected

    def _with_something(self, pieces: list[bytes], places: Sequence[int], sent: Sent) -> list[bytes]:
        """The same, but an event of which nothing is kept says at least that it has no time: it is one all the same."""
        for row, piece in enumerate(pieces):
            if piece == _NO_FIELD and sent.pieces[places[row]].strip(b" \t\r\n{}"):
                pieces[row] = self._no_time
        return pieces

    def _judge(self, pieces: Sequence[bytes], now_ms: int) -> tuple[Decoded, dict[int, DeadLetter]]:
        """What the processor will make of events, and which of them it would refuse."""
        entries = [(b"%d-%d" % (now_ms, row), [b"data", piece]) for row, piece in enumerate(pieces)]
        decoded = self._decoder.decode(RawBatch("", entries, True, now_ms), now_ms)
        return decoded, {int(letter.entry_id.partition("-")[2]): letter for letter in decoded.rejects}

    def _rejected(self, index: int, letter: DeadLetter) -> Rejected:
        return Rejected(index, letter.reason, path_of(letter.message, self._fields), letter.message)

    @staticmethod
    def _hashes(decoded: Decoded, field: str | None) -> Hashes:
        """64 bits of each text; 0 for none."""
        if field is None:
            return np.zeros(decoded.frame.height, dtype=np.uint64)
        found = hashes_of(decoded.frame[field])
        return np.where(found == _EMPTY, np.uint64(0), found)


def _in_order(rejected: list[Rejected]) -> list[Rejected]:
    return sorted(rejected, key=lambda one: one.index)


def _null_at(name: str) -> bytes:
    """An event whose field says that it has no value: `a.b` is field b of the object a."""
    event: Any = None
    for part in reversed(name.split(".")):
        event = {part: event}
    return msgspec.json.encode(event)
