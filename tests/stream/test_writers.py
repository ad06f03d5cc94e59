from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sinks.errors import Misconfigured, Rejected, Retryable
from sinks.person_store import PersonStore
from sinks.records import DeadLetter, Point, Reason, State
from stream.batches import Emission, Forgotten, Lines, Status
from stream.meters import Meters
from stream.people.people import Told
from stream.writers import Patience, deadletter_writer, durable_writer, live_writer, person_writer
from tests.batches import STREAM, T0


def points(number: int) -> list[Point]:
    return [Point("n", "10s", T0 + i, (), i, i, State.OPEN, 1, T0) for i in range(number)]


@dataclass
class Moody:
    """A destination that answers each write as it is told, and takes it once it is told no more."""

    answers: list[Exception] = field(default_factory=list)
    taken: list[Any] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    meanwhile: Callable[[], None] = lambda: None

    def write(self, items: Sequence[Any], status: Mapping[str, Any] | None = None, *, now_ms: int = 0) -> None:
        self.meanwhile()
        if self.answers:
            raise self.answers.pop(0)
        self.taken.extend(items)
        self.status.update(status or {})


class Clock:
    now_ms = T0

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def meters() -> Meters:
    return Meters(Clock())


def read(meters: Meters, name: str, **labels: str) -> float | None:
    return meters.registry.get_sample_value(f"streamgauge_processor_{name}", labels)


def patience(name: str, meters: Meters, budget_s: float | None = None) -> Patience:
    return Patience(name, threading.Event(), budget_s, meters)


def test_each_retry_is_an_error_and_what_was_taken_is_counted_once(meters: Meters) -> None:
    sink = Moody([Retryable("away", 0.001), Retryable("away", 0.001)])
    write = durable_writer("store", sink, patience("store", meters), pytest.fail, meters)  # type: ignore[arg-type]
    assert read(meters, "errors_total", stage="store") == 0, "there from the start"
    write([Emission([], points(2)), Emission([], []), Emission(points(7), points(1))])
    write([Emission(points(5), [])])
    assert len(sink.taken) == 3
    assert read(meters, "errors_total", stage="store") == 2
    assert read(meters, "retries_total", stage="store") == 2
    assert read(meters, "sent_points_total", sink="store") == 3


def test_what_is_given_up_is_an_error_that_was_not_retried(meters: Meters) -> None:
    for error in (Retryable("away", 9.0), Misconfigured("no such bucket")):
        write = durable_writer("x", Moody([error]), patience("x", meters, 0.1), pytest.fail, meters)  # type: ignore[arg-type]
        with pytest.raises(type(error)):
            write([Emission([], points(1))])
    assert read(meters, "errors_total", stage="x") == 2
    assert read(meters, "retries_total", stage="x") == 0
    assert read(meters, "sent_points_total", sink="x") is None


def test_what_a_sink_will_never_take_is_no_point_sent(meters: Meters) -> None:
    letters = Moody()
    refuse = deadletter_writer(letters, patience("deadletter", meters), meters)  # type: ignore[arg-type]
    sink = Moody([Rejected("no", [b"one line"])])
    durable_writer("influx", sink, patience("influx", meters), refuse, meters)([Emission([], points(4))])  # type: ignore[arg-type]
    assert letters.taken == [DeadLetter("influx", "", 0, Reason.BAD_TYPE, "no", b"one line")]
    assert read(meters, "sent_points_total", sink="influx") == 3
    assert read(meters, "discarded_points_total", sink="influx") == 1
    assert read(meters, "errors_total", stage="influx") == 1
    assert read(meters, "sent_dead_letters_total") == 1


def test_freshness_is_taken_once_the_live_sink_has_written_and_is_that_of_the_oldest() -> None:
    clock = Clock()
    meters = Meters(clock)

    def later() -> None:
        clock.now_ms += 2_000

    sink = Moody([Retryable("away", 0.001)], meanwhile=later)
    write = live_writer(sink, patience("live", meters), clock, meters)  # type: ignore[arg-type]
    status = Status(STREAM, T0, True, 0, None)
    write([Emission(points(2), [], T0 - 500), Emission(points(1), [], T0 - 1_000), Emission(points(1), []), status])
    assert read(meters, "freshness_seconds_count") == 1
    assert read(meters, "freshness_seconds_sum") == pytest.approx(5.0), "two tries of 2 s each"
    assert read(meters, "sent_points_total", sink="live") == 4
    # Neither a status nor a window that closed says anything new.
    write([status])
    write([Emission(points(1), points(1))])
    assert read(meters, "freshness_seconds_count") == 1
    assert set(sink.status) == {STREAM}


def test_what_a_shard_said_before_it_forgot_somebody_does_not_come_back(tmp_path: Path) -> None:
    store = PersonStore(f"sqlite:///{tmp_path / 'points.db'}")
    store.setup()
    meters = Meters()
    write = person_writer(store, Patience("people", threading.Event(), 1.0, meters), None, lambda: 0, meters)
    ann, bob = "0a" * 16, "0b" * 16

    def lines(*persons: str) -> Lines:
        number = len(persons)
        here, reference = np.zeros(number, dtype=np.bool_), np.arange(number, dtype=np.uint64)
        return Lines([Told("event", pl.Series(persons), reference, np.arange(number), here, {})])

    write([lines(ann, bob), Forgotten(ann, "1-0"), lines(bob)])
    assert (store.count(ann), store.count(bob)) == (0, 2)
    assert store.has_forgotten("1-0")
    write([Forgotten(bob, "2-0"), lines(ann)])
    assert (store.count(ann), store.count(bob)) == (1, 0)
    store.close()
