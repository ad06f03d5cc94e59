"""Snapshots as bytes of our own, with a version: never misread, never tied to a class's path."""

from __future__ import annotations

import msgspec

from stream.batches import State


class StateError(ValueError):
    """A snapshot that this version cannot read."""


def unpack_state(snapshot: bytes, version: int) -> State:
    """Decode a snapshot. Raises StateError when it is of another version, or is none."""
    try:
        state = msgspec.msgpack.decode(snapshot)
        found = state["version"]
    except (msgspec.DecodeError, TypeError, KeyError) as error:
        raise StateError(f"not a snapshot: {error}") from error
    if found != version:
        raise StateError(f"expected a snapshot of version {version}, found version {found}")
    assert isinstance(state, dict)
    return state
