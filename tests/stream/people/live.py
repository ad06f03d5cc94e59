"""A catalog about people through the whole processor: all at once, and as it might come live."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from sinks.records import Dimensions, Point
from stream.batches import Emission, RawBatch
from stream.catalog import Catalog
from stream.enrich import Pseudonyms
from stream.pipeline import Pipeline
from stream.plan import Plan, compile_plan

Event = Mapping[str, Any]
Key = tuple[str, str, int, Dimensions]
PSEUDONYMS = Pseudonyms(b"k" * 32)
_NOW_MS = 1 << 50


def entries(events: Sequence[Event]) -> list[tuple[bytes, list[bytes]]]:
    """Events as stream entries, each with its place in `events` as id, so that ties have an order of their own."""
    return [(b"%d-0" % (place + 1), [b"data", orjson.dumps(event)]) for place, event in enumerate(events)]


def whole(catalog: Catalog, events: Sequence[Event]) -> dict[Key, Any]:
    """The value and count of every point over all events at once."""
    pipeline = Pipeline(compile_plan(catalog, builtin=False), PSEUDONYMS, whole_input=True)
    pipeline.add(RawBatch(catalog.platform.streams[0], entries(events), False, 1), _NOW_MS)
    return _values(pipeline.finish(_NOW_MS).live, {})


def live(
    catalog: Catalog,
    events: Sequence[Event],
    rng: random.Random,
    *,
    late_ms: int,
    shards: int = 3,
    copies: float = 0.1,
    restarts: float = 0.1,
    crashes: float = 0.05,
) -> dict[Key, Any]:
    """The same as they come: out of order by up to `late_ms`, in small batches, some twice, with restarts and crashes
    between. A crash goes back to an earlier snapshot, and reads on from there in other batches."""
    plan = compile_plan(catalog, builtin=False)
    pipeline = Pipeline(plan, PSEUDONYMS, shards=shards)
    numbered = [entry for entry in entries(events) for _ in range(2 if rng.random() < copies else 1)]
    numbered.sort(key=lambda entry: events[int(entry[0].split(b"-")[0]) - 1]["time"] + rng.random() * late_ms)
    known: dict[Key, Any] = {}
    made: dict[Key, int] = {}
    now_ms = 1
    saved, place = pipeline.snapshot(), 0
    crashes_left = 3

    def write(emission: Emission) -> None:
        for back in emission.rolled_back:
            for key in [key for key in known if key[0] in back.metrics and made[key] > back.after_ms]:
                del known[key]
        _values(emission.live, known)
        made.update({(p.metric, p.window, p.start_ms, p.dimensions): p.watermark_ms for p in emission.live})

    position = 0
    while position < len(numbered):
        size = rng.randint(1, 6)
        batch = numbered[position : position + size]
        position += len(batch)
        now_ms += 50
        refused = pipeline.add(RawBatch(plan.streams[0], batch, False, now_ms), _NOW_MS)
        assert not refused, refused[0]
        if rng.random() < 0.6:
            write(pipeline.tick(now_ms))
        if rng.random() < restarts:
            saved, place = pipeline.snapshot(), position
            pipeline = _from(plan, saved, shards)
        elif crashes_left and rng.random() < crashes:
            crashes_left -= 1
            pipeline, position = _from(plan, saved, shards), place
    write(pipeline.finish(now_ms))
    return known


def _from(plan: Plan, saved: Any, shards: int) -> Pipeline:
    pipeline = Pipeline(plan, PSEUDONYMS, shards=shards, files=saved[0])
    pipeline.restore(saved)
    return pipeline


def values_of(points: Sequence[Point]) -> dict[Key, Any]:
    """The value and count of each point."""
    return _values(points, {})


def _values(points: Sequence[Point], known: dict[Key, Any]) -> dict[Key, Any]:
    for point in points:
        value = point.value if not isinstance(point.value, float) else round(point.value, 9)
        known[point.metric, point.window, point.start_ms, point.dimensions] = (value, point.count)
    return known


def said(values: Mapping[Key, Any]) -> dict[Key, Any]:
    """Without those of which nothing is left: what was said and taken back is the same as what was never said."""
    return {key: value for key, value in values.items() if value[1]}
