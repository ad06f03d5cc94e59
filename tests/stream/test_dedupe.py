from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.records import Point
from stream.catalog import parse
from stream.dedupe import HashSet, Seen
from stream.digests import Hashes
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from tests.batches import T0, as_json, data_batch, pseudonyms
from tests.oracle import differences
from tests.snapshots import resumed, snapshot

HOUR_MS = 3_600_000
hashes_ = st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1), max_size=60)


def some(hashes: list[int]) -> Hashes:
    return np.array(hashes, dtype=np.uint64)


@given(batches=st.lists(hashes_, max_size=8))
def test_a_hash_set_is_a_set(batches: list[list[int]]) -> None:
    found, model = HashSet(), set[int]()
    for batch in batches:
        # 0 and 1 are one to it.
        wanted = [hash_ or 1 for hash_ in batch]
        assert found.has(some(wanted)).tolist() == [hash_ in model for hash_ in wanted]
        new = sorted(set(wanted) - model)
        found.add(some(new))
        model |= set(new)
        assert len(found) == len(model)
        found = HashSet.from_bytes(found.to_bytes())
    assert not found.has(some([2**63 + 12345])).any() or 2**63 + 12345 in model


@given(batches=st.lists(hashes_, max_size=8))
def test_each_event_is_first_once(batches: list[list[int]]) -> None:
    seen, before = Seen(HOUR_MS, 1_000_000), set[int]()
    for number, batch in enumerate(batches):
        batch = [hash_ or 1 for hash_ in batch]
        first = seen.first(some(batch), T0 + number).tolist()
        for hash_, is_first in zip(batch, first, strict=True):
            assert is_first == (hash_ not in before)
            before.add(hash_)
        other = Seen(HOUR_MS, 1_000_000)
        other.restore(seen.to_state())
        seen = other


def test_an_event_is_remembered_for_the_window_and_not_for_ever() -> None:
    seen = Seen(HOUR_MS, 1_000_000)
    assert seen.first(some([7]), T0).all()
    assert not seen.first(some([7]), T0 + HOUR_MS - 1).any()
    assert not seen.first(some([7]), T0 + HOUR_MS + 1).any(), "at least the window"
    assert seen.first(some([7]), T0 + 5 * HOUR_MS).all()
    quiet = Seen(HOUR_MS, 1_000_000)
    quiet.first(some([7]), T0)
    assert quiet.first(some([7]), T0 + 2 * HOUR_MS).all()


def test_memory_is_bounded_and_the_newest_half_is_remembered() -> None:
    seen = Seen(HOUR_MS, 2_000)
    for start in range(0, 50_000, 500):
        assert seen.first(some(list(range(start + 1, start + 501))), T0).all()
    assert len(seen._old) + len(seen._new) <= 2_500
    assert not seen.first(some(list(range(49_501, 50_001))), T0).any()
    assert not seen.first(some(list(range(49_001, 49_501))), T0).any()


CATALOG = parse("""
[event]
time = "t"
person = "who"
id = "id"

[[metric]]
name = "n"
measure = "count"
by = ["k"]
windows = ["10s", "1d"]

[[metric]]
name = "spent"
measure = "sum"
value = "price"
windows = ["1d"]
""")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    events=st.lists(
        st.fixed_dictionaries(
            {"t": st.integers(T0 - 10_000, T0), "k": st.sampled_from("ab"), "price": st.integers(0, 9)},
            optional={"who": st.sampled_from(["u1", "u2", None])},
        ),
        min_size=1,
        max_size=20,
    ),
    named=st.booleans(),
    shards=st.integers(1, 4),
    data=st.data(),
)
def test_what_comes_twice_counts_once(
    events: list[dict[str, Any]], named: bool, shards: int, data: st.DataObject
) -> None:
    """In the same batch, in another, and behind a restart; by id, or by the content where there is none."""
    events = [event | ({"id": f"e{number}"} if named else {"no": number}) for number, event in enumerate(events)]
    sent = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=20))))
    plan = compile_plan(CATALOG)
    pipeline = Pipeline(plan, pseudonyms(), shards=shards)
    points: list[Point] = []
    number = 0
    while sent:
        cut = data.draw(st.integers(1, len(sent)))
        pipeline.add(data_batch(sent[:cut], read_at_ms=T0 + number, first=number), T0 + number)
        number, sent = number + cut, sent[cut:]
        points += pipeline.tick(T0 + number).live
        if data.draw(st.booleans()):
            pipeline, _ = resumed(plan, snapshot(pipeline))
    points += pipeline.finish(T0 + number).live
    assert differences(CATALOG, points, events) == []
    refused = [p.count for p in points if p.metric == "streamgauge_rejects" and p.window == "total"]
    assert (refused or [0])[-1] == number - len(events)


def test_two_events_that_do_not_say_when_they_were_are_two() -> None:
    pipeline = Pipeline(compile_plan(CATALOG), pseudonyms())
    pipeline.add(data_batch([{"k": "a"}, {"k": "a"}]), T0)
    assert pipeline.duplicates == 0
    pipeline.add(data_batch([{"k": "a", "id": "1"}, {"k": "a", "id": "1"}], first=10), T0)
    assert pipeline.duplicates == 1


@pytest.mark.parametrize("window", ["off", "1h"])
def test_it_can_be_switched_off(window: str) -> None:
    catalog = parse(f'[event]\ntime = "t"\ndedupe_window = "{window}"\n[[metric]]\nname = "n"\nmeasure = "count"\n')
    pipeline = Pipeline(compile_plan(catalog), pseudonyms())
    pipeline.add(data_batch([as_json({"t": T0})] * 5), T0)
    assert pipeline.duplicates == (0 if window == "off" else 4)
