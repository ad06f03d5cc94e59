"""The limit that the door is held to: `python -m benchmarks.ingest.adder URL SECONDS`. Prints how many events it added.

Single events, one field `data`, in pipelines of 1,000 commands, with libvalkey.
"""

from __future__ import annotations

import json
import sys
import time

import valkey

from benchmarks.ingest.sender import event

_A_PIPELINE = 1_000


def main(url: str, seconds: float) -> None:
    client = valkey.Valkey.from_url(url)
    bodies = [json.dumps(event(number, "raw"), separators=(",", ":")).encode() for number in range(10_000)]
    client.ping()
    added, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        pipeline = client.pipeline(transaction=False)
        for number in range(_A_PIPELINE):
            pipeline.xadd("raw", {"data": bodies[(added + number) % len(bodies)]})
        pipeline.execute()
        added += _A_PIPELINE
    print(json.dumps({"events": added, "seconds": time.perf_counter() - began_s}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
