from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from stream.digests import hashes_of
from stream.sampling import sampled

HASHES = hashes_of(pl.Series([f"person {number}" for number in range(20_000)]))


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.99, 1.0])
def test_about_the_share_is_counted(share: float) -> None:
    assert sampled(HASHES, share).mean() == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("shards", [2, 3, 8])
def test_every_shard_has_its_part(shards: int) -> None:
    shard = (HASHES[sampled(HASHES, 0.25)] % np.uint64(shards)).astype(np.int64)
    assert np.bincount(shard) / len(shard) == pytest.approx(1 / shards, abs=0.03)


def test_those_of_a_smaller_share_are_among_those_of_a_larger() -> None:
    assert not (sampled(HASHES, 0.1) & ~sampled(HASHES, 0.2)).any()


def test_who_is_counted_is_the_same_for_ever() -> None:
    """The state and the archive have these and no others: this may change only with a migration."""
    assert np.flatnonzero(sampled(HASHES[:40], 0.2)).tolist() == [5, 11, 14, 17, 19, 22, 38]
