"""People become pseudonyms, and events find their shard.

The person field is replaced by a keyed pseudonym before any later step sees it, so no raw id can reach state, a
database or a screen. The shard of an event follows from its person, or from the event itself where there is none, so
that one person's events, and the duplicates of one event, always meet.
"""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import polars as pl

from sinks.records import Reason
from stream.arrays import Ints
from stream.batches import Decoded, ShardBatch
from stream.entries import entry_time_ms
from stream.identity import IDENTITY, identities
from stream.labels import different_texts
from stream.origins import Origins
from stream.plan import Plan

_CACHED_PERSONS = 200_000
_CLOCKS_DIFFER_MS = 60_000
"""How far apart the clocks of two readers may be before a dead letter is without its bytes."""


class Pseudonyms:
    """HMAC-SHA256(project key, id), 128 bits kept, as 32 hex digits.

    *Cost*: 1.5 µs for a new id, 0.1 µs for one of the last 200,000.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError(f"expected a project key of at least 16 bytes, found {len(key)}")
        self._key = key
        self._known: dict[str, str] = {}

    def of(self, person: str) -> str:
        found = self._known.get(person)
        if found is None:
            if len(self._known) >= _CACHED_PERSONS:
                # Emptied rather than evicted one by one: refilling costs little and needs no order kept.
                self._known.clear()
            found = hmac.digest(self._key, person.encode(), hashlib.sha256)[:16].hex()
            self._known[person] = found
        return found


class Enricher:
    """Pseudonymises a decoded batch and splits it into `shards` parts, every shard getting one even if empty."""

    def __init__(self, plan: Plan, pseudonyms: Pseudonyms, shards: int) -> None:
        self._person = plan.event.person
        self._id = plan.event.id
        self._pseudonyms = pseudonyms
        self._shards = shards
        # Only such events can be too late for a shard, whose watermark passes the decoder's clock by no more.
        self._late_before_ms = plan.event.max_skew_ms - plan.event.allowed_lateness_ms + _CLOCKS_DIFFER_MS

    def split(self, batch: Decoded) -> list[ShardBatch]:
        """One ShardBatch for each shard, in their order."""
        frame, persons = self._pseudonymised(batch.frame)
        # Producers may choose entry ids, and then these are not times: none is from after it was read.
        rejects = [(x.reason, min(entry_time_ms(x.entry_id), batch.read_at_ms)) for x in batch.rejects]
        late = np.flatnonzero(batch.time_ms < batch.decoded_at_ms + self._late_before_ms)
        if self._shards == 1:
            return [self._part(0, batch, frame, batch.time_ms, late, batch.origins.take(late), rejects)]
        shard = self._shard_of(batch, frame, persons)
        parts: list[ShardBatch] = []
        for number in range(self._shards):
            rows = np.flatnonzero(shard == number)
            own_late = np.flatnonzero(np.isin(rows, late, assume_unique=True))
            # Refused events have no person; shard 0 counts them all.
            own = rejects if number == 0 else []
            origins = batch.origins.take(rows[own_late])
            parts.append(self._part(number, batch, frame[rows], batch.time_ms[rows], own_late, origins, own))
        return parts

    @staticmethod
    def _part(
        number: int,
        batch: Decoded,
        frame: pl.DataFrame,
        time_ms: Ints,
        late_rows: Ints,
        origins: Origins,
        rejects: list[tuple[Reason, int]],
    ) -> ShardBatch:
        return ShardBatch(
            shard=number,
            stream=batch.stream,
            frame=frame,
            time_ms=time_ms,
            late_rows=late_rows,
            origins=origins,
            max_event_ms=batch.max_event_ms,
            caught_up=batch.caught_up,
            read_at_ms=batch.read_at_ms,
            rejects=rejects,
            added_ms=batch.added_ms,
        )

    def _pseudonymised(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, Ints]:
        """The frame with pseudonyms, and a hash of each row's person (n); -1 where there is none."""
        if self._person is None:
            return frame, np.full(frame.height, -1, dtype=np.int64)
        persons = different_texts(frame[self._person])
        pseudonyms = [self._pseudonyms.of(person) if person else None for person in persons.texts]
        hashes = np.array([int(name[:8], 16) if name else -1 for name in pseudonyms], dtype=np.int64)
        column = pl.Series(self._person, pseudonyms, dtype=pl.String()).gather(persons.codes)
        return frame.with_columns(column), hashes[persons.codes]

    def _shard_of(self, batch: Decoded, frame: pl.DataFrame, persons: Ints) -> Ints:
        """Shard of each row (n): by person, or by the event itself. Never `hash()`, which differs in every process."""
        if IDENTITY in frame.columns:
            events = frame[IDENTITY].to_numpy()
        else:
            ids = frame[self._id] if self._id is not None else None
            events = identities(batch.origins, ids, np.zeros(frame.height, dtype=np.bool_)).to_numpy()
        by_event = (events % np.uint64(self._shards)).astype(np.int64)
        return np.where(persons >= 0, persons % self._shards, by_event)
