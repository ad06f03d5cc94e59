"""What is traced, as a plain function that is passed in: nothing here knows of any library for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Span:
    """Something that takes its time."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """What a request carries that is part of it."""
    notes: dict[str, str | int] = field(default_factory=dict)
    """What is known of it at its end."""


Trace = Callable[[str, Mapping[str, str | int]], AbstractContextManager[Span]]
"""Begins a span of a name, with what is known of it."""


@contextmanager
def untraced(_: str, __: Mapping[str, str | int]) -> Iterator[Span]:
    """Where nobody wants to know."""
    yield Span()
