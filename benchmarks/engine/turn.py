"""What a contender in a process of its own says when it is done: one line of JSON, the last that it prints."""

from __future__ import annotations

import json


def say(events: int, seconds: float) -> None:
    """So many events were counted in so many seconds, from the first read on, without the start of the process."""
    print(json.dumps({"events": events, "seconds": seconds}), flush=True)
