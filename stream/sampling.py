"""Which events of a stream are counted where only a share of its people is."""

from __future__ import annotations

import numpy as np

from stream.arrays import Mask
from stream.digests import Hashes


def sampled(deciding: Hashes, share: float) -> Mask:
    """Which of some events (n) are counted, by hashes (n) of what decides.

    Always the same ones, in any order, batch and process; and those of a smaller share are among those of a larger.
    """
    if share >= 1:
        return np.ones(len(deciding), dtype=np.bool_)
    return _mixed(deciding) < np.uint64(share * 2.0**64)


def _mixed(hashes: Hashes) -> Hashes:
    """Other numbers (n) for the same hashes: shards and sketches look at these, and are not to see a part of them only.
    The last steps of splitmix64, https://prng.di.unimi.it/splitmix64.c."""
    with np.errstate(over="ignore"):
        mixed = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
