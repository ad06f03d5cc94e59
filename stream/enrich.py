"""People become pseudonyms, and events find their shard.

The person field is replaced by a keyed pseudonym before any later step sees it, so no raw id can reach state, a
database or a screen. The shard of an event follows from its person, or from the event itself where there is none, so
that one person's events, and the duplicates of one event, always meet.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re

import numpy as np
import polars as pl

from sinks.records import Reason
from stream.arrays import Ints
from stream.batches import Decoded, ShardBatch
from stream.digests import hashes_of
from stream.entries import entry_time_ms
from stream.identity import IDENTITY, identities
from stream.origins import Origins
from stream.plan import Plan
from stream.rows import RowTable

logger = logging.getLogger(__name__)

MADE = "~"
"""What stands before a pseudonym that was made before its event came in."""
_MADE = re.compile(f"{MADE}[0-9a-f]{{32}}")
_CACHED_PERSONS = 200_000
_LOOKED_AT = 100_000
"""So many events are looked at together for how they fall to the shards."""
_UNEVEN = 0.95
_CLOCKS_DIFFER_MS = 60_000
"""How far apart the clocks of two readers may be before a dead letter is without its bytes."""


def made(pseudonym: str) -> str:
    """What the person's field of an event says whose pseudonym was made before it came in, as at the HTTP door."""
    return MADE + pseudonym


class Pseudonyms:
    """HMAC-SHA256(project key, id), 128 bits kept, as 32 hex digits.

    A text that is `~` and such digits stands for that pseudonym itself: so events whose person was made unknown at the
    door, and those with the person's own id, are of the same person.

    *Cost*: 1.5 µs for a new id, 0.1 µs for one of the last 200,000. Those are known by 64 bits: the chance that two of
    them are taken for one is 1 in 10^9.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError(f"expected a project key of at least 16 bytes, found {len(key)}")
        self._key = key
        self._known = RowTable()
        self._names = pl.Series(dtype=pl.String())
        """Pseudonym of each row of the table."""

    def of(self, person: str) -> str:
        """The pseudonym of an id, whatever that looks like: for whoever may not say that it is one already."""
        return hmac.digest(self._key, person.encode(), hashlib.sha256)[:16].hex()

    def meant(self, text: str) -> str:
        """The pseudonym that an event means by this text in its person's field."""
        return text[len(MADE) :] if _MADE.fullmatch(text) else self.of(text)

    def of_all(self, persons: pl.Series) -> pl.Series:
        """The pseudonym that each text means (n); none where there is no person, or an empty text."""
        hashes = hashes_of(persons).view(np.int64)
        rows = self._known.look_up(hashes)
        if (rows < 0).any():
            if len(self._known) >= _CACHED_PERSONS:
                # Emptied rather than evicted one by one: refilling costs little and needs no order kept.
                self._known, self._names = RowTable(), self._names.clear()
                rows[:] = -1
            missing = np.flatnonzero(rows < 0)
            different, first = np.unique(hashes[missing], return_index=True)
            texts = persons.gather(missing[first]).to_list()
            names = [self.meant(text) if text else None for text in texts]
            # Rows are given in the order in which they are asked for.
            self._known.find(different)
            self._names = pl.concat([self._names, pl.Series(names, dtype=pl.String())], rechunk=True)
            rows = self._known.look_up(hashes)
        return self._names.gather(rows).alias(persons.name)


def shard_of(person: str, shards: int) -> int:
    """The shard that has a person, by pseudonym."""
    return int(hashes_of(pl.Series([person]))[0] % np.uint64(shards))


class Enricher:
    """Pseudonymises a decoded batch and splits it into `shards` parts, every shard getting one even if empty."""

    def __init__(self, plan: Plan, pseudonyms: Pseudonyms, shards: int) -> None:
        self._person = plan.event.person
        self._id = plan.event.id
        self._pseudonyms = pseudonyms
        self._shards = shards
        self._events = np.zeros(shards, dtype=np.int64)
        """Events of each shard since they were last looked at."""
        self._is_uneven = False
        # Only such events can be too late for a shard, whose watermark passes the decoder's clock by no more.
        self._late_before_ms = plan.event.max_skew_ms - plan.event.allowed_lateness_ms + _CLOCKS_DIFFER_MS

    def split(self, batch: Decoded) -> list[ShardBatch]:
        """One ShardBatch for each shard, in their order."""
        frame = self._pseudonymised(batch.frame)
        # Producers may choose entry ids, and then these are not times: none is from after it was read.
        rejects = [(x.reason, min(entry_time_ms(x.entry_id), batch.read_at_ms)) for x in batch.rejects]
        late = np.flatnonzero(batch.time_ms < batch.decoded_at_ms + self._late_before_ms)
        if self._shards == 1:
            return [self._part(0, batch, frame, batch.time_ms, late, batch.origins.take(late), rejects)]
        shard = self._shard_of(batch, frame)
        self._watch_evenness(shard)
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

    def _watch_evenness(self, shard: Ints) -> None:
        """Say so once when one shard, and so one process, has most of the work."""
        self._events += np.bincount(shard, minlength=self._shards)
        total = int(self._events.sum())
        if self._is_uneven or total < _LOOKED_AT:
            return
        most = int(self._events.argmax())
        share = self._events[most] / total
        if share > _UNEVEN * (1 + 1 / self._shards) / 2:
            self._is_uneven = True
            logger.warning(
                "%.0f %% of the last %d events are of shard %d of %d: most of them are of one person, or have one id. "
                "Numbers stay right, but one process has most of the work",
                *(100 * share, total, most, self._shards),
            )
        self._events[:] = 0

    def _pseudonymised(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self._person is None:
            return frame
        return frame.with_columns(self._pseudonyms.of_all(frame[self._person]))

    def _shard_of(self, batch: Decoded, frame: pl.DataFrame) -> Ints:
        """Shard of each row (n): by person, or by the event itself. Never `hash()`, which differs in every process."""
        if IDENTITY in frame.columns:
            deciding = frame[IDENTITY].to_numpy()
        else:
            ids = frame[self._id] if self._id is not None else None
            deciding = identities(batch.origins, ids, np.zeros(frame.height, dtype=np.bool_)).to_numpy()
        if self._person is not None:
            persons = frame[self._person]
            deciding = np.where(persons.is_null().to_numpy(), deciding, hashes_of(persons))
        return (deciding % np.uint64(self._shards)).astype(np.int64)
