"""Asking the store's database, which nobody may have made ready yet."""

from __future__ import annotations

from collections.abc import Callable
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
    try:
        return asked(store, what)
    except SinkError as error:
        raise HTTPException(503, str(error)) from error
