"""Events of people who visit a shop, as batches that a shard takes: decoded, with pseudonyms, in order of time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from stream.batches import ShardBatch
from stream.identity import IDENTITY
from stream.origins import ENTRY_MS, ENTRY_NO, NOWHERE

CATALOG = """
[platform]
streams = ["events:{0}"]
[event]
person = "user"
name = "event"
allowed_lateness = "1h"
max_skew = "1d"
[sessions]
page = "page"
by = ["device"]
[actives]
[[retention]]
name = "weekly"
period = "week"
periods = 12
[[funnel]]
name = "checkout"
steps = [
    { name = "Home", where = "page = 'home'" },
    { name = "Item", where = "page = 'item'" },
    { name = "Cart", where = "page = 'cart'" },
    { name = "Paid", where = "event = 'paid'" },
]
"""
PAGES = ("home", "list", "item", "search", "help", "cart")
_SHARES = (0.2, 0.25, 0.3, 0.15, 0.05, 0.05)
BEGIN_MS = 1_772_409_600_000
"""2 March 2026, a Monday."""


def pseudonyms(people: int) -> pl.Series:
    """Of so many people, each of 32 hex digits."""
    numbers = np.random.default_rng(1).integers(0, 1 << 63, size=(people, 2), dtype=np.uint64)
    raw = numbers.byteswap().tobytes()
    return pl.Series("user", [raw[place : place + 16].hex() for place in range(0, len(raw), 16)])


def batches(
    people: pl.Series, events: int, per_s: float, size: int, *, begin_ms: int = BEGIN_MS, seed: int = 7
) -> Iterator[ShardBatch]:
    """So many events of any of the people, `per_s` a second by their own time, `size` in a batch."""
    rng = np.random.default_rng(seed)
    shares = np.cumsum(_SHARES)
    pages = pl.Series("page", PAGES)
    devices = pl.Series("device", ["phone", "desktop", "tablet"])
    for start in range(0, events, size):
        number = np.arange(start, min(events, start + size))
        time_ms = begin_ms + (number * 1_000 / per_s).astype(np.int64)
        who = rng.integers(0, len(people), len(number))
        frame = pl.DataFrame(
            [
                people.gather(who),
                pages.gather(np.searchsorted(shares, rng.random(len(number)), side="right").clip(0, len(PAGES) - 1)),
                devices.gather(who % 3),
                pl.Series("event", ["view", "paid"]).gather((rng.random(len(number)) < 0.02).astype(np.int64)),
                pl.Series("time", time_ms),
                pl.Series(IDENTITY, rng.integers(0, 1 << 63, len(number), dtype=np.uint64)),
                pl.Series(ENTRY_MS, time_ms),
                pl.Series(ENTRY_NO, number),
            ]
        )
        read_at_ms = int(time_ms[-1])
        yield ShardBatch(
            0, "events:{0}", frame, time_ms, np.empty(0, dtype=np.int64), NOWHERE, read_at_ms, False, read_at_ms
        )
