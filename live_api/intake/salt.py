"""The salt of the day: what tells visitors apart without cookies, until it is gone."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import valkey.asyncio

_BYTES = 16
_KEPT_S = 48 * 3_600


class Salt:
    """16 random bytes for each day of the platform, the same in all processes of the API, and after 48 h in none."""

    def __init__(self, client: valkey.asyncio.Valkey, key: str, zone: ZoneInfo, clock: Callable[[], int]) -> None:
        """`key`: below which the salts are kept in Valkey. `clock`: epoch ms."""
        self._client = client
        self._key = key
        self._zone = zone
        self._clock = clock
        self._known: tuple[str, bytes] = ("", b"")

    async def today(self) -> bytes:
        """Raises what the connection raises."""
        day = datetime.fromtimestamp(self._clock() / 1_000, self._zone).date().isoformat()
        if self._known[0] != day:
            key = f"{self._key}:{day}"
            await self._client.set(key, secrets.token_bytes(_BYTES), nx=True, ex=_KEPT_S)
            found: Any = await self._client.get(key)
            self._known = day, bytes(found)
        return self._known[1]
