"""Somebody is forgotten: nothing is left of them, and everybody else is as before."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard

from sinks.person_records import PersonLine
from sinks.records import Reason
from stream.batches import Partials, Tombstone
from stream.catalog import parse
from stream.enrich import shard_of
from stream.people.journal import MemoryFiles
from stream.plan import compile_plan
from stream.shard import Shard
from stream.snapshots import unpack_state
from tests.batches import T0, data_batch, pseudonyms
from tests.stream.test_shard import feed

CATALOG = """
[platform]
streams = ["events:{0}"]
[event]
person = "user"
time = "t"
name = "event"
max_skew = "1d"
out_of_orderness = "5s"
allowed_lateness = "2h"
[fields]
tab = "string"
[people]
timeline = "30d"
[sessions]
page = "page"
[actives]
[[funnel]]
name = "buy"
unit = "session"
steps = [{ name = "Home", where = "page = 'home'" }, { name = "Pay", where = "page = 'pay'" }]
window = "3h"
[[metric]]
name = "views"
measure = "count"
windows = ["1h"]
"""
PLAN = compile_plan(parse(CATALOG))
ANN, BOB = "ann@example.org", "bob"
MINUTE = 60_000
DAY = 86_400_000


def pseudonym(user: str) -> str:
    return pseudonyms().of(user)


def event(user: str, at_min: float, page: str = "home") -> dict[str, Any]:
    return {"user": user, "t": T0 + int(at_min * MINUTE), "event": "view", "page": page}


def add(shard: Shard, *events: dict[str, Any]) -> list[Any]:
    return feed(shard, data_batch(events, read_at_ms=T0 + 3 * DAY), PLAN)


def tombstone(user: str) -> Tombstone:
    return Tombstone(0, pseudonym(user), "1-0")


def counts(partials: list[Partials], known: dict[Any, float]) -> dict[Any, float]:
    for one in partials:
        for block in one.blocks:
            for row, (start, series) in enumerate(zip(block.start_s.tolist(), block.series, strict=True)):
                known[one.cube, block.panes, start, series] = float(block.columns[0][row])
    return known


def knows(shard: Shard, user: str) -> list[str]:
    """Where a person is in what a shard has in memory."""
    people = shard._people
    assert people is not None
    high, low = (int(pseudonym(user)[at : at + 16], 16) for at in (0, 16))
    found: list[str] = []
    for name, space in people.spaces.items():
        highs, lows = space.person_of(np.arange(len(space)))
        found += [f"{name} units"] * int(((highs == high) & (lows == low)).any())
        own = np.flatnonzero((highs == high) & (lows == low))
        found += [f"{name} waiting" for part in space._waiting if np.isin(part["slot"], own).any()]
    told = [line for one in [*people._events, *shard._lines] for line, _ in one.lines()]
    found += ["lines" for line in told if line.person == pseudonym(user)]
    return found


def record_of(shard: Shard, user: str) -> list[tuple[PersonLine, bool]]:
    """What is newly told of a person."""
    told = [line for one in shard.lines() for line in one.lines()]
    return [(line, gone) for line, gone in told if line.person == pseudonym(user)]


def everything(files: MemoryFiles) -> bytes:
    return b"".join(zstandard.ZstdDecompressor().decompress(content) for content in files.content.values())


def halves(user: str) -> list[bytes]:
    name = pseudonym(user)
    return [np.array([int(name[at : at + 16], 16)], dtype=np.uint64).tobytes() for at in (0, 16)]


def held(files: MemoryFiles, user: str) -> bool:
    return any(half in everything(files) for half in halves(user)) or pseudonym(user).encode() in everything(files)


def test_nothing_is_left_in_memory_and_nothing_in_the_next_snapshots() -> None:
    files = MemoryFiles()
    shard = Shard(PLAN, 0, files)
    add(shard, event(ANN, 0), event(BOB, 0), event(ANN, 1, "pay"))
    add(shard, event(BOB, 30))
    shard.tick()
    add(shard, event(ANN, 31), event(BOB, 31))
    shard.to_bytes()
    add(shard, event(ANN, 32))
    assert set(knows(shard, ANN)) >= {"person units", "person waiting", "lines"}
    assert held(files, ANN)

    assert shard.forget(tombstone(ANN)).person == pseudonym(ANN)
    assert knows(shard, ANN) == []
    assert "person units" in knows(shard, BOB)
    for _ in range(8):
        saved = shard.to_bytes()
    assert not held(files, ANN)
    assert held(files, BOB)
    state = unpack_state(saved, 3)
    assert state.pop("forgotten") == [pseudonym(ANN)]
    assert pseudonym(ANN).encode() not in msgspec.msgpack.encode(state)


@pytest.mark.parametrize("restarts", [False, True])
def test_events_of_somebody_forgotten_are_refused_before_they_count(restarts: bool) -> None:
    files = MemoryFiles()
    shard = Shard(PLAN, 0, files)
    known: dict[Any, float] = {}
    add(shard, event(ANN, 0), event(BOB, 0))
    add(shard, event(BOB, 1))
    counts(shard.tick(), known)
    shard.forget(tombstone(ANN))
    if restarts:
        saved, shard = shard.to_bytes(), Shard(PLAN, 0, files)
        shard.restore(saved, pytest.fail)
    # Replayed, new, and so late that it would be a dead letter, of which its bytes would be kept.
    assert add(shard, event(ANN, 0), event(ANN, 2), event(BOB, 2)) == []
    add(shard, event(BOB, 600))
    assert add(shard, event(ANN, 3), event(ANN, 599)) == []
    assert [letter.reason for letter in add(shard, event(ANN, 4), event(BOB, 4))] == [Reason.TOO_LATE]
    assert shard.suppressed == 5
    counts(shard.tick(), known)
    assert knows(shard, ANN) == []
    (views,) = [cube.key for cube in PLAN.cubes if "views" in cube.names]
    by_hour = {start: value for (cube, panes, start, _), value in known.items() if (cube, panes) == (views, "1h")}
    assert sum(by_hour.values()) == 5, "one of hers before, four of his"
    refused = [value for (_, panes, _, series), value in known.items() if series == ("suppressed",)]
    assert refused


def test_others_are_counted_as_if_nobody_had_been_forgotten() -> None:
    """Bob's own record is the same, whether Ann is forgotten between or was never there."""

    def lines(with_ann: bool, forgets: bool) -> list[Any]:
        shard = Shard(PLAN, 0)
        found = []
        for step in range(12):
            both = [event(BOB, 10 * step, "pay" if step % 3 else "home"), event(BOB, 10 * step - 35, "late")]
            add(shard, *both, *([event(ANN, 10 * step)] if with_ann else []))
            shard.tick()
            if forgets and step == 6:
                shard.forget(tombstone(ANN))
            found += record_of(shard, BOB)
        shard.finish()
        return [*found, *record_of(shard, BOB)]

    assert lines(True, True) == lines(False, False)
    assert lines(True, True)


def test_late_events_of_others_still_find_their_past_after_the_log_has_shrunk() -> None:
    shard = Shard(PLAN, 0)
    add(shard, event(ANN, 0), event(BOB, 1), event(ANN, 2), event(BOB, 3), event("eve", 3))
    add(shard, event("eve", 20))
    shard.tick()
    people = shard._people
    assert people is not None
    before = people.spaces["person"].tail.size
    shard.forget(tombstone(ANN))
    assert people.spaces["person"].tail.size == before - 2
    add(shard, event(BOB, 2))
    shard.finish()
    (ended,) = [line for line, _ in record_of(shard, BOB) if line.kind == "session"][-1:]
    assert ended.fields["pages"] == 3


def test_to_forget_nobody_or_twice_is_harmless() -> None:
    shard = Shard(PLAN, 0)
    shard.forget(tombstone(ANN))
    shard.forget(tombstone(ANN))
    assert add(shard, event(ANN, 0)) == []
    assert shard.suppressed == 1
    assert unpack_state(shard.to_bytes(), 3)["forgotten"] == [pseudonym(ANN)]


def test_the_shard_of_a_pseudonym_is_that_of_the_events() -> None:
    from stream.decode import Decoder
    from stream.enrich import Enricher

    enricher = Enricher(PLAN, pseudonyms(), 7)
    for number in range(20):
        parts = enricher.split(Decoder(PLAN).decode(data_batch([event(f"u{number}", 0)]), T0))
        (shard,) = [part.shard for part in parts if len(part.time_ms)]
        assert shard == shard_of(pseudonym(f"u{number}"), 7)
