from __future__ import annotations

import pytest
import valkey

from sinks.live import LiveSink
from sinks.records import ALL_READ_MS, Point, State
from stream.clock import NEVER_MS
from stream.walltime import clock_ms
from streamgauge.last_words import last_words


@pytest.mark.parametrize(
    ("said", "watermark_ms"),
    [([NEVER_MS], None), ([ALL_READ_MS], None), ([NEVER_MS, 60_000, 120_000, ALL_READ_MS], 120_000)],
)
def test_what_is_no_time_is_no_watermark(
    valkey_client: valkey.Valkey, said: list[int], watermark_ms: int | None
) -> None:
    points = [Point("sales", "1m", 0, (("at", str(row)),), 1, 1, State.OPEN, 1, one) for row, one in enumerate(said)]
    LiveSink(valkey_client, platform="Shop").write(points, {}, now_ms=clock_ms())
    assert last_words(valkey_client, "Shop").watermark_ms == watermark_ms
