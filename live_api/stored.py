"""Asking what may be away: the store's database, which nobody may have made ready yet either, and Valkey."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from fastapi import HTTPException

from sinks.errors import Misconfigured, SinkError

T = TypeVar("T")


class Prepared(Protocol):
    def setup(self) -> None: ...


def asked(store: Prepared, what: Callable[[], T]) -> T:
    """What the store answers. Raises SinkError."""
    try:
        return what()
    except Misconfigured:
        # Nobody has written yet, or an earlier version has. Only now, as it waits for whoever writes.
        store.setup()
        return what()


def answered(store: Prepared, what: Callable[[], T]) -> T:
    """What the store answers. Answers 503 where it cannot."""
    with or_503():
        return asked(store, what)


@contextmanager
def or_503(about: str = "") -> Iterator[None]:
    """Answers 503 for what is away, and when to come again; `about` is what that means for who asks."""
    try:
        yield
    except SinkError as error:
        said = f"{about}: {error}" if about else str(error)
        raise HTTPException(503, said, {"Retry-After": "5"}) from error
