"""Which worker of a cluster the engine gives a key to, so that keys can be chosen that spread evenly.

The engine routes a key by SipHash-1-3 of its UTF-8 and a byte 0xFF, with a zero key, modulo the number of workers. That
was measured, not documented; a test holds the engine to it.
"""

from __future__ import annotations

from itertools import count

_MASK = (1 << 64) - 1
_SPREAD = 1_680
"""Divided by every number of workers up to 8, and by 10, 12, 14, 15 and 16."""


def hash_of(key: str) -> int:
    """The engine's hash of a key. SipHash: Aumasson and Bernstein 2012, here with one and three rounds."""
    data = key.encode() + b"\xff"
    v = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]
    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    for word in words:
        v[3] ^= word
        _round(v)
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(3):
        _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def worker_of(key: str, workers: int) -> int:
    """The worker, of so many, that holds the state of this key."""
    return hash_of(key) % workers


def shard_keys(shards: int) -> tuple[str, ...]:
    """A key for each shard: shard `i` is at worker `i` modulo the workers, for nearly every number of workers.

    One shard has the key that it always had. *Cost*: 15 ms a shard, once in the life of a state directory.
    """
    return ("0",) if shards == 1 else tuple(_key(f"{shard}.", shard % _SPREAD, _SPREAD) for shard in range(shards))


def worker_keys(workers: int) -> tuple[str, ...]:
    """A key for each worker that reaches it."""
    return tuple(_key("", worker, workers) for worker in range(workers))


def _key(prefix: str, remainder: int, divisor: int) -> str:
    return next(key for key in (f"{prefix}{salt}" for salt in count()) if hash_of(key) % divisor == remainder)


def _round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & _MASK
    v[1] = _rotated(v[1], 13) ^ v[0]
    v[0] = _rotated(v[0], 32)
    v[2] = (v[2] + v[3]) & _MASK
    v[3] = _rotated(v[3], 16) ^ v[2]
    v[0] = (v[0] + v[3]) & _MASK
    v[3] = _rotated(v[3], 21) ^ v[0]
    v[2] = (v[2] + v[1]) & _MASK
    v[1] = _rotated(v[1], 17) ^ v[2]
    v[2] = _rotated(v[2], 32)


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK
