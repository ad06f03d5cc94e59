"""What a request brings, whatever its format, and our own format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from live_api.intake.verdict import Rejected
from sinks.records import Reason
from stream.catalog import Catalog
from stream.entries import elements_of

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")


class Unusable(Exception):
    """A body that has no events which could be told apart."""


@dataclass(slots=True)
class Sent:
    """The events of a request, each as JSON with the catalog's names, before anything is kept or left out of them."""

    pieces: Sequence[bytes]
    where: Sequence[int] | None = None
    """Place of each piece in the request; None: in their order, as nothing else was there."""
    rejected: list[Rejected] = field(default_factory=list)
    sent_at: Any = None
    """When the client says that it sent them."""
    key: str | None = None
    """A key that came in the body."""
    array: bytes | None = None
    """All pieces as they came, where they were an array of JSON."""

    def index(self, row: int) -> int:
        return row if self.where is None else self.where[row]

    @property
    def count(self) -> int:
        return len(self.pieces) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Names:
    """Where the parts of an envelope go: fields of the catalog, None for what it does not ask."""

    time: str
    person: str | None
    anonymous: str
    id: str | None
    name: str | None
    consent: str
    ip: str | None = None
    user_agent: str | None = None
    url: str | None = None
    referrer: str | None = None

    @staticmethod
    def of(catalog: Catalog) -> Names:
        event, enrich = catalog.event, catalog.enrich
        asked = (enrich.ip, enrich.user_agent, enrich.url, enrich.referrer)
        return Names(
            event.time, event.person, catalog.ingest.anonymous, event.id, event.name, catalog.ingest.consent, *asked
        )


class _Envelope(msgspec.Struct):
    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    sent_at: Any = None


_envelope = msgspec.json.Decoder(_Envelope)


def native(body: bytes, kind: str) -> Sent:
    """An event, an array of them, `{"events": […]}`, or a line for each. Raises Unusable."""
    if kind in NDJSON:
        lines = [line for line in body.splitlines() if line.strip()]
        return Sent(lines)
    body = body.strip()
    if body.startswith(b"["):
        return Sent(pieces_of(body), array=body)
    try:
        envelope = _envelope.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if not body.startswith(b"{"):
            raise Unusable(_EXPECTED) from None
        return Sent([body])  # refused by itself, with the reason
    if envelope.events is not msgspec.UNSET and bytes(envelope.events).startswith(b"["):
        array = bytes(envelope.events)
        return Sent(pieces_of(array), sent_at=envelope.sent_at, array=array)
    return Sent([body], sent_at=envelope.sent_at)


def pieces_of(array: bytes) -> list[bytes]:
    """The elements of an array, each with its own bytes. Raises Unusable."""
    try:
        return elements_of(array)
    except ValueError as error:
        raise Unusable(str(error)) from None


_EXPECTED = 'expected an event as a JSON object, an array of them, or {"events": […]}'


def loads(body: bytes) -> Any:
    """A body as JSON. Raises Unusable."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unusable(f"expected JSON: {error}" if str(error) else "expected JSON") from None


def put(event: dict[str, Any], name: str | None, value: Any) -> None:
    """Set a field, `a.b` being field b of the object a; nothing where the catalog has no such field, or no value."""
    if name is None or value is None:
        return
    *parents, last = name.split(".")
    for parent in parents:
        inner = event.get(parent)
        # Another's object stays as it is.
        event[parent] = event = dict(inner) if isinstance(inner, dict) else {}
    event[last] = value


def fill(event: dict[str, Any], name: str | None, value: Any) -> None:
    """Set a field that has no value yet."""
    if name is not None and at(event, *name.split(".")) is None:
        put(event, name, value)


def at(value: Any, *names: str) -> Any:
    """What is below these names; None where nothing is."""
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def too_many(events: int, key: Any = None) -> Sent:
    """So many that they are refused by their number: nothing is made of them, as nobody knows yet who has sent them."""
    return Sent([b""] * events, key=key if isinstance(key, str) else None)


def sent_of(mapped: Sequence[dict[str, Any] | Rejected], sent_at: Any = None, key: Any = None) -> Sent:
    """Events that were put into the catalog's names, and those that could not be, in their order."""
    sent = Sent([], [], sent_at=sent_at, key=key if isinstance(key, str) else None)
    pieces, where = [], []
    for index, one in enumerate(mapped):
        if isinstance(one, Rejected):
            sent.rejected.append(one)
            continue
        try:
            pieces.append(msgspec.json.encode(one))
            where.append(index)
        except RecursionError:
            sent.rejected.append(Rejected(index, Reason.MALFORMED, "", "nested too deeply"))
    sent.pieces, sent.where = pieces, where
    return sent
