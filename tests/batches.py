"""Plans and raw batches as tests write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stream.batches import RawBatch
from stream.catalog import parse
from stream.enrich import Pseudonyms
from stream.plan import Plan, compile_plan

T0 = 1_442_016_000_000
"""2015-09-12T00:00:00Z."""
STREAM = "events:{0}"
KEY = b"a key only for tests"


def plan_of(catalog: str, *, builtin: bool = True, dedupe: bool = False) -> Plan:
    """A compiled catalog. Tests write the same event many times and mean many, unless they say `dedupe`."""
    plan = compile_plan(parse(catalog), builtin=builtin)
    return plan if dedupe else replace(plan, event=replace(plan.event, dedupe_ms=0))


def pseudonyms() -> Pseudonyms:
    return Pseudonyms(KEY)


def as_json(event: Any) -> bytes:
    return json.dumps(event).encode()


def data_batch(
    events: Sequence[bytes | Mapping[str, Any]],
    *,
    stream: str = STREAM,
    read_at_ms: int = T0,
    caught_up: bool = False,
    first: int = 0,
) -> RawBatch:
    """One entry for each event, with its JSON in `data`; entries are added at `read_at_ms`, numbered from `first`."""
    entries = [
        (b"%d-%d" % (read_at_ms, first + number), [b"data", event if isinstance(event, bytes) else as_json(event)])
        for number, event in enumerate(events)
    ]
    return RawBatch(stream, entries, caught_up, read_at_ms)
