"""The wall clock: read here and by readers, passed on as `now` to everything that decides."""

import time


def clock_ms() -> int:
    """Now, epoch milliseconds."""
    return time.time_ns() // 1_000_000
