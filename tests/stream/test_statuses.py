"""An event between two statuses is told of with the next."""

from __future__ import annotations

from stream.batches import RawBatch
from stream.decode import Decoder
from stream.statuses import Statuses
from tests.batches import plan_of

T0 = 1_712_000_000_000


def test_the_next_status_tells_of_the_latest_event_since_the_one_before() -> None:
    decoder = Decoder(plan_of('[event]\ntime = "t"\n[[metric]]\nname = "n"\nmeasure = "count"'))
    statuses = Statuses()

    def told(stream: str, *times_ms: int, report: bool = False) -> list[int | None]:
        entries = [(b"%d-%d" % (T0, number), [b"t", str(at).encode()]) for number, at in enumerate(times_ms)]
        decoded = decoder.decode(RawBatch(stream, entries, True, T0, report=report), T0)
        return [status.max_event_ms for status in statuses.of(decoded)]

    assert told("a", report=True) == [None]
    assert told("a", T0 - 500) == []
    assert told("a", T0 - 2_000) == []
    assert told("b", report=True) == [None]
    assert told("a", T0 - 900, report=True) == [T0 - 500]
    assert told("a", report=True) == [None]
    assert told("a", T0 - 100, report=True) == [T0 - 100]
