from __future__ import annotations

import logging
from typing import Any

import pytest

from sinks.records import Reason
from stream.adapters import FormerChurnLogic, ShardLogic, decode_safely
from stream.batches import Decoded, Forgotten, PersonDays, RawBatch, Scores, ShardBatch, Tombstone
from stream.churn_files import PREFIX
from stream.churn_former import FormerChurn
from stream.decode import Decoder
from stream.ending import Ending
from stream.enrich import Enricher, shard_of
from stream.meters import Meters
from stream.people.journal import KEPT, MemoryFiles
from stream.shard import Shard
from tests.batches import T0, data_batch, plan_of, pseudonyms
from tests.stream import churning
from tests.stream.churning import Heard, batches, made, visits


class Brittle(Decoder):
    """A decoder with a fault that some event brings out."""

    def decode(self, batch: RawBatch, now_ms: int) -> Decoded:
        if any(b"brittle" in field for _, fields in batch.entries for field in fields):
            raise RuntimeError("broke")
        return super().decode(batch, now_ms)


def test_an_entry_that_breaks_the_decoder_is_refused_and_the_others_count(caplog: pytest.LogCaptureFixture) -> None:
    decoder = Brittle(plan_of('[[metric]]\nname = "n"\nmeasure = "count"\n'))
    events: list[dict[str, Any]] = [{"a": "good"}, {"a": "brittle"}, {"a": "good"}, {"time": "never"}]
    with caplog.at_level(logging.ERROR):
        decoded = decode_safely(decoder, data_batch(events), T0)
    assert decoded.frame.height == 2
    letters = {letter.reason: letter for letter in decoded.rejects}
    assert set(letters) == {Reason.MALFORMED, Reason.BAD_TYPE}
    letter = letters[Reason.MALFORMED]
    assert (letter.entry_id, letter.raw) == (f"{T0}-1", b"data=%7B%22a%22%3A+%22brittle%22%7D")
    assert "RuntimeError('broke')" in letter.message
    assert "could not be decoded" in caplog.text


def test_a_tombstone_makes_its_shard_and_goes_its_way_with_what_was_told_before() -> None:
    plan = plan_of('[event]\nperson = "user"\n[[metric]]\nname = "n"\nmeasure = "count"\n')
    meters = Meters()
    ending = Ending(lambda: None)

    def logic(snapshot: bytes | None) -> ShardLogic:
        return ShardLogic(
            lambda number: Shard(plan, number), snapshot, ending, tick_ms=100, clock=lambda: T0, meters=meters
        )

    def part(user: str) -> ShardBatch:
        return Enricher(plan, pseudonyms(), 4).split(Decoder(plan).decode(data_batch([{"user": user}]), T0))[3]

    # Found by trial: somebody of shard 3.
    user = next(f"u{n}" for n in range(99) if shard_of(pseudonyms().of(f"u{n}"), 4) == 3)
    it = logic(None)
    out, _ = it.on_batch([Tombstone(3, pseudonyms().of(user), "7-0"), part(user)])
    assert [one for one in out if isinstance(one, Forgotten)] == [Forgotten(pseudonyms().of(user), "7-0")]
    it = logic(it.snapshot())
    it.on_batch([part(user)])
    discarded = [
        sample.value
        for family in meters.registry.collect()
        for sample in family.samples
        if sample.labels.get("reason") == "suppressed" and sample.name.endswith("_total")
    ]
    assert discarded == [2.0]


def test_rows_of_people_go_their_way_with_how_far_days_have_come() -> None:
    plan = plan_of('[event]\nperson = "user"\ntime = "t"\nmax_skew = "3d"\n[churn]\nhorizon = "2d"\n')
    now_ms = T0
    it = ShardLogic(
        lambda number: Shard(plan, number),
        None,
        Ending(lambda: None),
        tick_ms=100,
        clock=lambda: now_ms,
        meters=Meters(),
    )

    def said(at_ms: int) -> list[PersonDays]:
        nonlocal now_ms
        now_ms += 1_000
        decoded = Decoder(plan).decode(data_batch([{"user": "ann", "t": T0 + at_ms}]), T0)
        out, _ = it.on_batch(list(Enricher(plan, pseudonyms(), 1).split(decoded)))
        return [one for one in out if isinstance(one, PersonDays)]

    day_ms = 86_400_000
    (first,) = said(1)
    assert (first.shard, first.told) == (0, [])
    assert said(1_000) == []
    (second,) = said(day_ms + 6_000)
    assert second.done_ms == T0 + day_ms + 1_000
    ((line, gone),) = [line for told in second.told for line in told.lines()]
    assert (line.person, line.at_ms, line.fields["events"], gone) == (pseudonyms().of("ann"), T0 + day_ms, 2, False)


def test_scores_go_with_the_churn_of_the_catalog() -> None:
    files, heard = MemoryFiles(), Heard()
    pipeline = made(heard, churning.plan_of(), files=files)
    for batch in batches(visits(20, 8), 10):
        pipeline.add(batch, batch.read_at_ms)
        pipeline.tick(T0)
    before = pipeline.snapshot().churn
    had = {one.person for part in heard.days[-1].scores for one in part.scores}
    assert had
    assert before is not None

    def former(snapshot: bytes | None) -> FormerChurnLogic:
        return FormerChurnLogic(FormerChurn(files), snapshot, Ending(lambda: None), lambda: T0)

    it = former(before)
    assert it.snapshot() == before
    it = former(it.snapshot())
    word = Forgotten(min(had), "7-0")
    told, forgotten = it.on_batch([word])[0]
    assert isinstance(told, Scores)
    assert (told.as_of_ms, list(told.scores), set(told.left)) == (heard.days[-1].end_ms + 1, [], had)
    assert forgotten is word
    assert it.on_batch([word])[0] == [word]
    kept = [name for name in files.content if name.startswith(PREFIX)]
    assert kept
    for _ in range(KEPT):
        # Whoever puts [churn] back finds nothing: nobody knows who came in between.
        assert it.notify_at() is not None
        assert it.on_notify()[0] == []
        assert it.snapshot() == b""
        assert all(name in files.content for name in kept) is (it.notify_at() is not None)
    assert it.notify_at() is None
    assert not any(name.startswith(PREFIX) for name in files.content)
    assert former(b"").notify_at() is None


def test_files_of_former_churn_that_are_gone_end_no_run(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = made(Heard(), churning.plan_of())
    for batch in batches(visits(20, 8), 10):
        pipeline.add(batch, batch.read_at_ms)
        pipeline.tick(T0)
    it = FormerChurnLogic(FormerChurn(MemoryFiles()), pipeline.snapshot().churn, Ending(lambda: None), lambda: T0)
    assert it.on_notify()[0] == []
    assert "who had a score is not known" in caplog.text
