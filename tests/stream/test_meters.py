from __future__ import annotations

import math
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sinks.records import DeadLetter, Reason
from stream.batches import RawBatch
from stream.clock import NEVER_MS
from stream.decode import Decoder
from stream.meters import Meters
from stream.position import Position
from tests.batches import STREAM, T0, data_batch, plan_of

PLAN = plan_of('[[metric]]\nname = "n"\nmeasure = "count"\n')


class Times:
    """A clock and a stopwatch that go when they are told to."""

    def __init__(self) -> None:
        self.now_ms = T0
        self.seconds = 100.0

    def clock(self) -> int:
        return self.now_ms

    def stopwatch(self) -> float:
        return self.seconds


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def meters(times: Times) -> Meters:
    return Meters(times.clock, times.stopwatch)


def read(meters: Meters, name: str, **labels: str) -> float | None:
    return meters.registry.get_sample_value(f"streamgauge_processor_{name}", labels)


def take(meters: Meters, batch: RawBatch) -> None:
    meters.received(batch, Decoder(PLAN).decode(batch, T0))


def test_what_was_received_is_counted_by_stream_and_what_was_refused_by_reason(meters: Meters) -> None:
    take(meters, data_batch([{"a": 1}, {"a": 2}, b"{", {"time": "never"}]))
    take(meters, data_batch([], caught_up=True))
    array = RawBatch("events:{1}", [(b"%d-0" % T0, [b"batch", b'[{"a": 1}, {"a": 2}, {"time": "never"}]'])], True, T0)
    take(meters, array)
    for name, first, second in (("batches", 1, 1), ("entries", 4, 1), ("events", 4, 3)):
        assert read(meters, f"received_{name}_total", stream=STREAM) == first, name
        assert read(meters, f"received_{name}_total", stream="events:{1}") == second, name
    assert read(meters, "discarded_events_total", reason="malformed") == 1
    assert read(meters, "discarded_events_total", reason="bad_type") == 2
    assert read(meters, "discarded_events_total", reason="duplicate") == 0, "there from the start"


def status_batch(position: Position, *, lag: int | None, caught_up: bool = False) -> RawBatch:
    entries = data_batch([{"a": 1}, {"a": 2}], read_at_ms=T0 - 3_000).entries
    return RawBatch(STREAM, entries, caught_up, T0, True, position, lag)


def test_how_far_a_stream_is_follows_its_status(meters: Meters) -> None:
    take(meters, status_batch(Position(gaps=2, lost=120), lag=5_000))
    assert read(meters, "lag_entries", stream=STREAM) == 5_000
    assert read(meters, "lag_seconds", stream=STREAM) == 3
    assert read(meters, "reported_timestamp_seconds", stream=STREAM) == T0 / 1_000
    assert read(meters, "gaps_total", stream=STREAM) == 2
    assert read(meters, "lost_entries_total", stream=STREAM) == 120
    assert read(meters, "lost_entries_exact", stream=STREAM) == 1

    take(meters, status_batch(Position(gaps=3, lost=130, lost_exact=False), lag=None, caught_up=True))
    lag = read(meters, "lag_entries", stream=STREAM)
    assert lag is not None
    assert math.isnan(lag)
    assert read(meters, "lag_seconds", stream=STREAM) == 0
    assert read(meters, "gaps_total", stream=STREAM) == 3
    assert read(meters, "lost_entries_total", stream=STREAM) == 130
    assert read(meters, "lost_entries_exact", stream=STREAM) == 0


def test_a_shard_that_hears_nothing_falls_behind(meters: Meters, times: Times) -> None:
    meters.counted(1, NEVER_MS, late=0, too_late=0, duplicates=0)
    assert read(meters, "watermark_timestamp_seconds", shard="1") is None
    meters.counted(1, T0 - 5_000, late=3, too_late=2, duplicates=4)
    meters.counted(1, T0 - 4_000, late=1, too_late=0, duplicates=1)
    assert read(meters, "watermark_timestamp_seconds", shard="1") == (T0 - 4_000) / 1_000
    assert read(meters, "event_time_lag_seconds", shard="1") == 4
    times.now_ms += 60_000
    assert read(meters, "event_time_lag_seconds", shard="1") == 64
    assert read(meters, "late_events_total", shard="1") == 4
    assert read(meters, "discarded_events_total", reason="too_late") == 2
    assert read(meters, "discarded_events_total", reason="duplicate") == 5


def test_an_epoch_lasts_from_end_to_end_and_ends_when_it_is_committed(meters: Meters, times: Times) -> None:
    meters.called("a")
    for round_ in range(2):
        times.seconds = 100.0 + 2 * round_
        meters.epoch_ended("a")
        times.seconds += 0.25
        meters.called("b")  # is still in the epoch, so this says nothing
        meters.epoch_ended("b")
        for key, size, took_s in (("0", 10, 0.125), ("1", 20 + round_, 0.125)):
            assert meters.snapshot("shard", key, lambda s=size, t=took_s: slow(times, t, b"x" * s)) == b"x" * size
        meters.snapshot("merge", "n", lambda: b"xyz")
        times.seconds += 0.5
        meters.called("b")
        meters.called("a")
        times.seconds += 10
        meters.called("a")
    assert read(meters, "epoch_seconds_count") == 1
    assert read(meters, "epoch_seconds_sum") == 2
    assert read(meters, "epoch_commit_seconds_count") == 2
    assert read(meters, "epoch_commit_seconds_sum") == 1.5
    assert read(meters, "epoch_snapshot_seconds_count", part="shard") == 2
    assert read(meters, "epoch_snapshot_seconds_sum", part="shard") == 0.5
    assert read(meters, "snapshot_bytes", part="shard") == 31, "the latest of each shard, together"
    assert read(meters, "snapshot_bytes", part="merge") == 3


def slow(times: Times, seconds: float, result: bytes) -> bytes:
    times.seconds += seconds
    return result


def test_a_backlog_shows_with_its_age(meters: Meters, times: Times) -> None:
    times.now_ms = T0 + 90_000
    meters.shown(T0)
    meters.shown(T0 + 89_800)
    assert read(meters, "freshness_seconds_sum") == pytest.approx(90.2)
    assert read(meters, "freshness_seconds_bucket", le="0.15") == 0
    assert read(meters, "freshness_seconds_bucket", le="0.25") == 1
    assert read(meters, "freshness_seconds_bucket", le="60.0") == 1
    assert read(meters, "freshness_seconds_bucket", le="+Inf") == 2


def test_the_queue_is_asked_when_it_is_looked_at(meters: Meters) -> None:
    waiting: list[Any] = []
    meters.reading(STREAM, lambda: len(waiting))
    assert read(meters, "queued_batches", stream=STREAM) == 0
    waiting.append(1)
    assert read(meters, "queued_batches", stream=STREAM) == 1


def test_all_of_it_can_be_read_as_text(meters: Meters) -> None:
    letters = [DeadLetter(STREAM, "1-0", 0, reason, "", b"") for reason in Reason]
    odd = RawBatch('s"\\\n✓', data_batch([{"a": 1}]).entries, True, T0, True)
    decoded = Decoder(PLAN).decode(odd, T0)
    decoded.rejects.extend(letters)
    meters.received(odd, decoded)
    found = list(text_string_to_metric_families(generate_latest(meters.registry).decode()))
    ours = [family for family in found if family.name.startswith("streamgauge_processor_")]
    assert len(ours) > 20
    assert {s.labels["stream"] for family in ours for s in family.samples if "stream" in s.labels} == {'s"\\\n✓'}


def test_a_batch_is_as_old_as_its_first_entry_and_no_younger_than_its_read() -> None:
    assert data_batch([{"a": 1}, {"a": 2}], read_at_ms=T0).added_ms == T0
    entries = [(b"%d-3" % (T0 - 500), [b"data", b"{}"]), (b"%d-0" % T0, [b"data", b"{}"])]
    assert RawBatch(STREAM, entries, False, T0).added_ms == T0 - 500
    assert RawBatch(STREAM, [(b"99999999999999-0", [b"data", b"{}"])], False, T0).added_ms == T0, "a chosen id"
    assert data_batch([]).added_ms is None
