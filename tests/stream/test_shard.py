from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.records import Reason
from stream.batches import Partials, RawBatch
from stream.clock import END_MS, NEVER_MS
from stream.decode import Decoder
from stream.enrich import Enricher
from stream.plan import Plan
from stream.shard import STATE_VERSION, Shard
from stream.snapshots import StateError, pack_state, unpack_state
from tests.batches import STREAM, T0, data_batch, plan_of, pseudonyms

CATALOG = """
[event]
time = "t"
allowed_lateness = "1h"
[[metric]]
name = "n"
measure = "count"
by = ["k"]
windows = ["10s", "1m"]
[[metric]]
name = "v"
measure = "sum"
value = "v"
by = ["k"]
windows = ["1m"]
[[metric]]
name = "least"
measure = "min"
value = "v"
where = "v > 0"
windows = ["10s", "1d"]
"""
PLAN = plan_of(CATALOG, builtin=False)

events_ = st.lists(
    st.fixed_dictionaries(
        {"t": st.integers(T0, T0 + 200_000)},
        optional={"k": st.sampled_from(["a", "b", "c", None]), "v": st.integers(-9, 9)},
    ),
    min_size=1,
    max_size=25,
)
Totals = dict[tuple[str, str, int, tuple[str, ...]], list[float]]


def feed(shard: Shard, raw: RawBatch, plan: Plan = PLAN) -> list[Any]:
    (part,) = Enricher(plan, pseudonyms(), 1).split(Decoder(plan).decode(raw, raw.read_at_ms))
    return list(shard.add(part))


def test_it_says_how_long_what_it_newly_counts_has_waited_and_how_much_was_late() -> None:
    plan = plan_of(CATALOG, builtin=False, dedupe=True)
    shard = Shard(plan, 0)

    def add(times: list[int], read_at_ms: int) -> None:
        raw = data_batch([{"t": time, "k": "a"} for time in times], read_at_ms=read_at_ms)
        decoded = replace(Decoder(plan).decode(raw, T0), added_ms=raw.added_ms)
        (part,) = Enricher(plan, pseudonyms(), 1).split(decoded)
        shard.add(part)

    add([T0, T0 + 60_000], T0 + 2_000)
    add([T0 + 1], T0 + 1_000)
    assert [partials.added_ms for partials in shard.tick()] == [T0 + 1_000, None], "no event has what the other counts"
    assert shard.late == 1, "an event of the batch that moves the watermark is not behind it"
    add([T0 + 1], T0 + 5_000)
    assert {partials.added_ms for partials in shard.tick()} <= {None}, "a duplicate"
    add([T0 + 90_000], T0 + 6_000)
    assert [partials.added_ms for partials in shard.tick()] == [T0 + 6_000, None]
    assert (shard.late, shard.duplicates) == (1, 1)


def totals(partials: Sequence[Partials]) -> Totals:
    """Later partials replace earlier ones: they are totals."""
    result: Totals = {}
    for partial in partials:
        for block in partial.blocks:
            for row, (start, series) in enumerate(zip((block.start_s * 1_000).tolist(), block.series, strict=True)):
                result[partial.cube, block.panes, start, series] = [float(column[row]) for column in block.columns]
    return result


@given(events=events_, data=st.data())
@settings(deadline=None, max_examples=40)
def test_the_same_events_give_the_same_partials(events: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = Shard(PLAN, 0)
    feed(whole, data_batch(events))
    shuffled = data.draw(st.permutations(events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    split = Shard(PLAN, 0)
    told: list[Partials] = []
    for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        assert feed(split, data_batch(shuffled[start:end])) == []
        if data.draw(st.booleans()):
            told += split.tick()
        if data.draw(st.booleans()):
            saved, split = split.to_bytes(), Shard(PLAN, 0)
            split.restore(saved, pytest.fail)
    assert totals(told + split.finish()) == totals(whole.finish())


def test_partials_are_accumulated_totals() -> None:
    shard = Shard(PLAN, 3)
    for number in range(3):
        feed(shard, data_batch([{"t": T0 + number, "k": "a", "v": 2}]))
        partials = {partial.cube: partial for partial in shard.tick()}
        (block,) = [block for block in partials["k"].blocks if block.panes == "1m"]
        assert ((block.start_s * 1_000).tolist(), block.series) == ([T0], [("a",)])
        assert [column.tolist() for column in block.columns] == [[number + 1], [number + 1], [2 * (number + 1)]]
        assert {partial.shard for partial in partials.values()} == {3}


def test_what_was_told_does_not_change_afterwards() -> None:
    shard = Shard(PLAN, 0)
    feed(shard, data_batch([{"t": T0, "k": "a", "v": 2}]))
    told = shard.tick()
    before = totals(told)
    feed(shard, data_batch([{"t": T0, "k": "a", "v": 2}] * 50))
    assert totals(told) == before


def test_nothing_is_said_when_nothing_changed() -> None:
    shard = Shard(PLAN, 0)
    assert shard.tick() == []
    feed(shard, data_batch([{"t": T0, "k": "a"}]))
    assert [partial.watermark_ms for partial in shard.tick()] == [T0 - 5_000] * 2
    assert shard.tick() == []
    feed(shard, data_batch([{"t": T0 - 1, "k": "a"}]))
    assert [partial.cube for partial in shard.tick()] == ["k"], "the other cube has no event with a value"
    feed(shard, RawBatch(STREAM, [], True, T0 + 60_000))
    moved = shard.tick()
    assert [(partial.watermark_ms, partial.blocks) for partial in moved] == [(T0 + 55_000, [])] * 2


def test_the_bound_is_the_watermark_before_the_batch() -> None:
    """Within a batch events are in no order: none of them makes another late."""
    shard = Shard(PLAN, 0)
    hour_ms = 3_600_000
    assert feed(shard, data_batch([{"t": T0}, {"t": T0 - 3 * hour_ms}], read_at_ms=T0)) == []
    bound_ms = T0 - 5_000 - hour_ms
    late = feed(shard, data_batch([{"t": bound_ms - 1}, {"t": bound_ms}], read_at_ms=T0, first=5))
    assert [(letter.reason, letter.entry_id, letter.stream) for letter in late] == [
        (Reason.TOO_LATE, f"{T0}-5", STREAM)
    ]


def test_windows_expire_behind_the_allowed_lateness_and_not_before() -> None:
    plan = plan_of(CATALOG.replace('"1h"', '"30s"'), builtin=False)
    shard = Shard(plan, 0)
    now_ms = T0 + 600_000
    feed(
        shard,
        data_batch([{"t": T0 + second * 1_000, "k": "a"} for second in range(0, 600, 5)], read_at_ms=now_ms),
        plan,
    )
    shard.tick()
    # The watermark is at 590 s, so 560 s is the oldest event that is still taken: window 56, of 2 events.
    assert feed(shard, data_batch([{"t": T0 + 560_000, "k": "a"}], read_at_ms=now_ms, first=900), plan) == []
    (block,) = [block for partial in shard.tick() for block in partial.blocks if block.panes == "10s"]
    assert [column.tolist() for column in block.columns] == [[3]]
    assert len(unpack_state(shard.to_bytes(), STATE_VERSION)["cubes"]["k"]["panes"]["10s"]["key"]) == 8 * 4


def test_values_that_are_none_do_not_count() -> None:
    metric = '[event]\ntime = "t"\n[[metric]]\nname = "m"\nmeasure = "mean"\nvalue = "sqrt(v) / w"\nwindows = ["1d"]\n'
    plan = plan_of(metric, builtin=False)
    shard = Shard(plan, 0)
    values = [(4, 1), (-1, 1), (1, 0), (None, 1), (0, 0), (16, 2)]
    feed(shard, data_batch([{"t": T0, "v": v, "w": w} for v, w in values]), plan)
    assert list(totals(shard.tick()).values()) == [[2.0, 4.0]]


def test_finish_closes_everything() -> None:
    shard = Shard(PLAN, 0)
    assert shard.watermark_ms == NEVER_MS
    feed(shard, data_batch([{"t": T0, "k": "a"}]))
    assert {partial.watermark_ms for partial in shard.finish()} == {END_MS}
    assert shard.watermark_ms == END_MS


def test_a_restored_shard_says_everything_again() -> None:
    shard = Shard(PLAN, 0)
    feed(shard, data_batch([{"t": T0, "k": "a", "v": 1}]))
    told = totals(shard.tick())
    again = Shard(PLAN, 0)
    again.restore(shard.to_bytes(), pytest.fail)
    assert totals(again.tick()) == told
    assert again.watermark_ms == T0 - 5_000


def test_snapshots_are_bytes_that_do_not_change() -> None:
    shard = Shard(PLAN, 0)
    feed(shard, data_batch([{"t": T0, "k": "a", "v": 1}]))
    saved = shard.to_bytes()
    copy = bytes(saved)
    feed(shard, data_batch([{"t": T0, "k": "a", "v": 1}] * 9))
    assert saved == copy
    assert isinstance(saved, bytes)


@pytest.mark.parametrize(
    ("snapshot", "message"),
    [
        (b"", "not a snapshot"),
        (b"\xc1", "not a snapshot"),
        (msgspec.msgpack.encode([1]), "not a snapshot"),
        (msgspec.msgpack.encode({}), "not a snapshot"),
        (pack_state(999, {}), "expected a snapshot of version 3, found version 999"),
        (msgspec.msgpack.encode({"version": 2}), "expected a snapshot of version 3, found version 2"),
        (pack_state(3, {})[:-1], "not a snapshot"),
    ],
)
def test_a_snapshot_of_another_kind_is_refused(snapshot: bytes, message: str) -> None:
    with pytest.raises(StateError, match=message):
        Shard(PLAN, 0).restore(snapshot, pytest.fail)


def test_a_shard_without_events_tells_progress_only() -> None:
    shard = Shard(PLAN, 0)
    feed(shard, RawBatch(STREAM, [], True, T0))
    assert shard.tick() == []
    assert np.isclose(shard.watermark_ms, NEVER_MS)
