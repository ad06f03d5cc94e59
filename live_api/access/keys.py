"""Whose key it is that somebody shows: the store is asked once in a few seconds for each that is in use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from live_api.access.identity import Identity, Rows
from live_api.access.permissions import PERMISSIONS, Permission, Role
from live_api.stored import asked
from sinks.errors import SinkError
from sinks.key_records import ApiKey, id_of
from sinks.key_store import KeyStore

logger = logging.getLogger(__name__)

KNOWN_FOR_S = 4.0
"""A key that was revoked is good for so long here, at most."""
_USED_EVERY_MS = 60_000
_MOST_KEPT = 10_000


class Keys:
    """Keys by their text, and by their id for sessions that began with one.

    *Guarantee*: what is revoked, or over, is refused within `KNOWN_FOR_S`. *Failure*: SinkError when the store cannot
    be asked: whoever shows a key is then neither let in nor told that it is bad.
    """

    def __init__(self, store: KeyStore, *, clock: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self._known: dict[str, tuple[ApiKey, float]] = {}
        self._had_any: tuple[bool, float] | None = None

    def has_seen(self, text: str) -> bool:
        """Whether this very key has been good here before."""
        known = self._known.get(id_of(text) or "")
        return known is not None and known[0].is_of(text)

    async def of(self, text: str) -> Identity | None:
        """Whose key this is; None where it is nobody's, or no longer. Raises SinkError."""
        key_id = id_of(text)
        if key_id is None:
            return None
        key = await self._key(key_id)
        if key is None or not key.is_of(text) or not key.is_good(self._clock()):
            return None
        await self._note_use(key)
        return identity_of_key(key)

    async def by_id(self, key_id: str) -> Identity | None:
        """Whose key has this id, for somebody who has shown it before. Raises SinkError."""
        key = await self._key(key_id)
        return None if key is None or not key.is_good(self._clock()) else identity_of_key(key)

    async def any_ever(self) -> bool:
        """Whether there is or was a key. Raises SinkError while nobody has ever been able to say."""
        known = self._had_any
        if known is not None and (known[0] or self._monotonic() - known[1] < KNOWN_FOR_S):
            return known[0]
        if known is not None:
            # One looks, and the others go by what was known: a database that is away takes its time to say so.
            self._had_any = (known[0], self._monotonic())
        try:
            found = await asyncio.to_thread(asked, self._store, self._store.any)
        except SinkError:
            # Nobody makes keys in a store that is away.
            if known is None:
                raise
            found = known[0]
        self._had_any = (found, self._monotonic())
        return found

    async def _key(self, key_id: str) -> ApiKey | None:
        now_s = self._monotonic()
        known = self._known.get(key_id)
        if known is not None and now_s - known[1] < KNOWN_FOR_S:
            return known[0]
        found = await asyncio.to_thread(asked, self._store, lambda: self._store.get(key_id))
        if found is None:
            # Ids that there are not are not kept: a stranger could send any number of them.
            self._known.pop(key_id, None)
            return None
        if len(self._known) >= _MOST_KEPT and key_id not in self._known:
            del self._known[next(iter(self._known))]
        self._known[key_id] = (found, now_s)
        return found

    async def _note_use(self, key: ApiKey) -> None:
        now_ms = self._clock()
        if key.last_used_ms is not None and now_ms - key.last_used_ms < _USED_EVERY_MS:
            return
        try:
            await asyncio.to_thread(self._store.used, key.id, now_ms)
        except SinkError as error:
            logger.debug("when key %s was last used is not noted: %s", key.id, error)
        else:
            known = self._known.get(key.id)
            if known is not None:
                self._known[key.id] = (replace(known[0], last_used_ms=now_ms), known[1])


def identity_of_key(key: ApiKey) -> Identity:
    """Who somebody with this key is. What a former or later version called a permission gives nothing."""
    role = next((one for one in Role if one.value == key.role), None)
    mine = frozenset(one for one in Permission if one.value in key.permissions)
    mine |= PERMISSIONS[role] if role is not None else frozenset()
    return Identity(f"key:{key.id}", mine, Rows.of(key.rows), key.person, key.expires_ms)
