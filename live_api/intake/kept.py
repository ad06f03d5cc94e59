"""What of an event reaches a stream: the fields that the catalog reads and those that it lists, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec

Event = Any
"""A struct with the fields that are kept, each as it came, and those that are looked at."""


class Field:
    """One field of an event, by its name in the catalog: `a.b` is field b of the object a."""

    __slots__ = ("_alone", "_attributes", "_structs")

    def __init__(self, attributes: Sequence[str], structs: Sequence[type]) -> None:
        """`structs`: what the objects are made of that lead to the field."""
        self._attributes = tuple(attributes)
        self._structs = tuple(structs)
        self._alone = attributes[0] if len(attributes) == 1 else None

    def below(self, attribute: str, struct: type) -> Field:
        """The same field of what has this object as an attribute."""
        return Field((attribute, *self._attributes), (struct, *self._structs))

    def get(self, event: Event) -> Any:
        """Its value; None where there is none, or an empty text."""
        if self._alone is not None:
            found = getattr(event, self._alone)
            return None if found is msgspec.UNSET or found == "" else found
        found = event
        for attribute in self._attributes:
            found = getattr(found, attribute)
            if found is msgspec.UNSET or found is None:
                return None
        return None if found == "" else found

    def set(self, event: Event, value: Any) -> None:
        if self._alone is not None:
            setattr(event, self._alone, value)
            return
        *parents, last = self._attributes
        for attribute, struct in zip(parents, self._structs, strict=True):
            inner = getattr(event, attribute)
            if inner is msgspec.UNSET or inner is None:
                if value is msgspec.UNSET:
                    return
                inner = struct()
                setattr(event, attribute, inner)
            event = inner
        setattr(event, last, value)


class Kept:
    """Reads events with no more than what is kept of them.

    `names` are kept as they came, `looked_at` are read as values for those who change them. Fields below a whole object
    that is kept go with it, unless one of them is looked at: then only what is named of the object is kept.
    """

    def __init__(self, names: Iterable[str], looked_at: Iterable[str]) -> None:
        looked = set(looked_at)
        every = {*names, *looked}
        above = {name for name in every if any(one.startswith(f"{name}.") for one in looked)}
        whole = every - above
        leaves = {name for name in whole if not any(name.startswith(f"{one}.") for one in whole)}
        struct, self._fields = _struct_of(sorted(leaves), looked)
        self._decode_one: Callable[[bytes], Event] = msgspec.json.Decoder(struct).decode
        self._decode_all: Callable[[bytes], list[Event]] = msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]
        self._encode = msgspec.json.Encoder().encode

    def field(self, name: str) -> Field:
        """One of `looked_at`."""
        return self._fields[name]

    def read(self, body: bytes) -> Event:
        """An event. Raises ValueError for what is no event, or not in UTF-8."""
        try:
            if not body.isascii():
                body.decode()
            return self._decode_one(body)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def read_all(self, body: bytes) -> list[Event]:
        """The events of an array. Raises ValueError where one is none: then each has to be read by itself."""
        try:
            if not body.isascii():
                body.decode()
            return self._decode_all(body)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def write(self, event: Event) -> bytes:
        """An event as JSON."""
        return self._encode(event)


def _struct_of(leaves: Sequence[str], looked: Collection[str], prefix: str = "") -> tuple[type, dict[str, Field]]:
    """A struct of these fields, and those that are looked at."""
    heads: dict[str, list[str]] = {}
    for leaf in leaves:
        head, _, rest = leaf.partition(".")
        heads.setdefault(head, []).extend([rest] if rest else [])
    fields: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    found: dict[str, Field] = {}
    for number, (head, inner) in enumerate(heads.items()):
        attribute, name = f"f{number}", f"{prefix}{head}"
        rename[attribute] = head
        kind: Any = msgspec.Raw | msgspec.UnsetType
        if inner:
            struct, below = _struct_of(inner, looked, f"{name}.")
            kind = struct | None | msgspec.UnsetType
            found |= {one: field.below(attribute, struct) for one, field in below.items()}
        elif name in looked:
            kind = object
            found[name] = Field((attribute,), ())
        fields.append((attribute, kind, msgspec.UNSET))
    return msgspec.defstruct("Event", fields, rename=rename, gc=False), found
