"""What is kept of refused events: nobody's own id, and no address, wherever these can be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from sinks.records import DeadLetter, Shape
from stream.convert import CONVERTERS, Bad
from stream.enrich import Pseudonyms, made
from stream.entries import flat_bytes, flat_fields, json_at, json_with
from stream.expressions import FieldType
from stream.plan import Plan


class Letters:
    """Dead letters as they are kept.

    *Guarantee*: in the bytes of an event that can be read, the person is the pseudonym as at the door (`~` and 32 hex
    digits), so that it is of the same person when it is sent back, and the field that `[enrich] ip` names is empty.
    All else is as it came; so is what cannot be read, and a person that is an object or a list. *Cost*: 10 µs a letter.
    """

    def __init__(self, plan: Plan, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._person = plan.event.person
        self._address = None if plan.enrich is None else plan.enrich.ip

    def kept(self, letter: DeadLetter) -> DeadLetter:
        """A letter as it is to be kept."""
        if self._person is None and self._address is None:
            return letter
        try:
            is_json = letter.raw.lstrip(b" \t\r\n")[:1] == b"{"
            if letter.shape is Shape.DATA or (letter.shape is None and is_json):
                return replace(letter, raw=self._json(letter.raw))
            return letter if letter.shape is Shape.BATCH else replace(letter, raw=self._flat(letter.raw))
        except (ValueError, RecursionError):
            return letter

    def _json(self, raw: bytes) -> bytes:
        if self._address is not None and json_at(raw, path := self._address.split(".")).strip() not in (b"", b"null"):
            raw = json_with(raw, path, b"null")
        if self._person is not None and (found := json_at(raw, path := self._person.split("."))):
            value = msgspec.json.decode(found)
            if isinstance(value, str | int | float) and (text := self._said(value)):
                raw = json_with(raw, path, msgspec.json.encode(text))
        return raw

    def _flat(self, raw: bytes) -> bytes:
        fields = flat_fields(raw)
        for at in range(0, len(fields), 2):
            name = fields[at].decode(errors="replace")
            if name == self._address:
                fields[at + 1] = b""
            elif name == self._person:
                fields[at + 1] = self._said(fields[at + 1].decode(errors="replace")).encode()
        return flat_bytes(fields)

    def _said(self, value: Any) -> str:
        """What the person's field is to say instead; an empty text for nobody."""
        bad: Bad = {}
        (text,) = CONVERTERS[FieldType.STRING]("", [value], bad)
        return made(self._pseudonyms.meant(text)) if text else ""
