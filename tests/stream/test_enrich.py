from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.records import Reason
from stream.batches import RawBatch, ShardBatch
from stream.decode import Decoder
from stream.enrich import MADE, Enricher, Pseudonyms, made
from tests.batches import KEY, T0, data_batch, plan_of, pseudonyms

CATALOG = """
[event]
time = "t"
person = "user"
id = "id"
allowed_lateness = "30s"
max_skew = "1s"
[[metric]]
name = "n"
measure = "sum"
value = "v"
"""
PLAN = plan_of(CATALOG)
DECODER = Decoder(PLAN)

events_ = st.lists(
    st.fixed_dictionaries(
        {"v": st.integers(0, 9), "t": st.integers(T0 - 60_000, T0)},
        optional={
            "user": st.sampled_from(["u1", "u2", "u3", "ünï", "", None]),
            "id": st.sampled_from(["1", "2", "3", "", None]),
        },
    ),
    max_size=20,
)


def split(events: list[Any], shards: int) -> list[ShardBatch]:
    # An event with neither person nor id is known by its bytes, so equal events are to have equal ones.
    same = [dict(sorted(event.items())) for event in events]
    return Enricher(PLAN, pseudonyms(), shards).split(DECODER.decode(data_batch(same), T0))


def test_a_pseudonym_is_a_keyed_hash() -> None:
    expected = hmac.new(KEY, "Zoë".encode(), hashlib.sha256).hexdigest()[:32]
    assert pseudonyms().of("Zoë") == expected
    assert pseudonyms().of("Zoë") != Pseudonyms(b"another key of 16").of("Zoë")


@given(names=st.lists(st.text(max_size=5), max_size=20, unique=True))
def test_pseudonyms_are_stable_and_differ(names: list[str]) -> None:
    one, other = pseudonyms(), pseudonyms()
    made = [one.of(name) for name in names]
    assert made == [other.of(name) for name in reversed(names)][::-1]
    assert made == [one.of(name) for name in names]
    assert len(set(made)) == len(names)


def test_a_pseudonym_made_before_is_of_the_same_person() -> None:
    names = pseudonyms()
    ann = names.of("ann")
    assert made(ann) == MADE + ann
    found = names.of_all(pl.Series(["ann", made(ann), "bob", made("0" * 32), None, ""]))
    assert found.to_list() == [ann, ann, names.of("bob"), "0" * 32, None, None]
    assert names.meant(made(ann)) == names.meant("ann") == ann


@pytest.mark.parametrize(
    "text", ["0" * 32, "~" + "0" * 31, "~" + "0" * 33, "~" + "A" * 32, "~" * 33, "~" + "0" * 32 + "\n"]
)
def test_any_other_text_is_an_id(text: str) -> None:
    assert pseudonyms().of_all(pl.Series([text])).to_list() == [pseudonyms().of(text)]


def test_nobody_can_claim_a_pseudonym_where_one_is_made() -> None:
    assert pseudonyms().of(made("0" * 32)) != "0" * 32


def test_pseudonyms_outlive_their_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.enrich._CACHED_PERSONS", 3)
    small = pseudonyms()
    first = [small.of(str(number)) for number in range(10)]
    assert [small.of(str(number)) for number in range(10)] == first


@pytest.mark.parametrize("key", [b"", b"fifteen bytes.."])
def test_a_short_key_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match=f"at least 16 bytes, found {len(key)}"):
        Pseudonyms(key)


@given(events=events_, shards=st.integers(1, 5))
@settings(deadline=None)
def test_every_event_is_in_one_shard_and_nobody_by_name(events: list[Any], shards: int) -> None:
    parts = split(events, shards)
    assert [part.shard for part in parts] == list(range(shards))
    found = []
    for part in parts:
        assert part.frame.height == len(part.time_ms)
        assert (part.max_event_ms, part.read_at_ms) == (max((e["t"] for e in events), default=None), T0)
        found += list(zip(part.time_ms.tolist(), part.frame["v"], part.frame["user"], strict=True))
    of = pseudonyms().of
    expected = [(e["t"], float(e["v"]), of(e["user"]) if e.get("user") else None) for e in events]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


@given(events=events_, shards=st.integers(2, 5), data=st.data())
@settings(deadline=None)
def test_a_person_and_a_duplicate_stay_in_their_shard(events: list[Any], shards: int, data: st.DataObject) -> None:
    """Across batches, processes and neighbours: `hash()` would fail this."""
    shard_of: dict[Any, set[int]] = defaultdict(set)
    for batch in (events, data.draw(st.permutations(events)), *([event] for event in events[:3])):
        for part in split(batch, shards):
            for user, id_, time, v in zip(
                part.frame["user"], part.frame["id"], part.time_ms.tolist(), part.frame["v"], strict=True
            ):
                shard_of[user or id_ or (time, v, id_)].add(part.shard)
    assert all(len(found) == 1 for found in shard_of.values()) or not shard_of


def test_the_shard_of_a_person_is_the_same_for_ever() -> None:
    """The state of a person is in its shard's snapshot: these may change only with a migration."""
    parts = split([{"t": T0, "user": f"person {number}", "v": number} for number in range(8)], 4)
    found = {part.shard: [int(v) for v in part.frame["v"]] for part in parts}
    assert found == {0: [0, 6], 1: [2, 3], 2: [5, 7], 3: [1, 4]}


@given(events=events_, shards=st.integers(1, 4))
@settings(deadline=None)
def test_every_row_that_can_be_too_late_keeps_its_bytes(events: list[Any], shards: int) -> None:
    for part in split(events, shards):
        for row, time_ms in enumerate(part.time_ms.tolist()):
            if time_ms < T0 + 1_000 - 30_000:
                _, _, raw = part.origins.at(part.late_rows.tolist().index(row))
                assert pl.read_json(raw)["t"].to_list() == [time_ms]


@pytest.mark.parametrize("shards", [1, 3])
def test_refused_events_are_told_once(shards: int) -> None:
    entries = [(b"%d-0" % (T0 - 5), [b"data", b"{"]), (b"%d-1" % T0, [b"data", b'{"t": 0}'])]
    parts = Enricher(PLAN, pseudonyms(), shards).split(DECODER.decode(RawBatch("s", entries, False, T0), T0))
    rejects = [reject for part in parts for reject in part.rejects]
    assert sorted(rejects) == [(Reason.MALFORMED, T0 - 5), (Reason.TOO_LATE, T0)]


def test_progress_reaches_every_shard_without_events() -> None:
    parts = Enricher(PLAN, pseudonyms(), 3).split(DECODER.decode(RawBatch("s", [], True, T0 + 9), T0))
    assert [(part.stream, part.caught_up, part.read_at_ms, part.frame.height) for part in parts] == [
        ("s", True, T0 + 9, 0)
    ] * 3
