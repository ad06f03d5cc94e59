"""Input that would fill the memory: what is held is bounded, no event is lost, and the log says so once."""

from __future__ import annotations

import logging

import pytest

from stream import panes
from stream.bounds import notes
from stream.decode import Decoder
from stream.enrich import Enricher, Pseudonyms
from stream.pipeline import Pipeline
from tests.batches import KEY, T0, data_batch, plan_of, pseudonyms

CATALOG = """
[event]
time = "t"
allowed_lateness = "20d"
[[metric]]
name = "seen"
measure = "count"
by = ["k"]
max_series = 100
windows = ["10s", "1d"]
[[metric]]
name = "people"
measure = "distinct"
value = "k"
by = ["k"]
max_series = 100
windows = ["10s"]
"""
PLAN = plan_of(CATALOG, builtin=False)


def rows(pipeline: Pipeline) -> dict[str, int]:
    (cube,) = pipeline._shards[0]._panes.values()
    return {name: len(table.rows) for name, table in cube._tables.items()}


def test_many_values_of_a_dimension_share_one_series(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Pipeline(PLAN, Pseudonyms(KEY))
    for start in range(0, 50_000, 5_000):
        pipeline.add(data_batch([{"t": T0, "k": f"value {i}"} for i in range(start, start + 5_000)]), T0)
        pipeline.tick(T0)
        assert rows(pipeline) == {"10s": 101, "1d": 101}
    points = {(p.metric, p.window, p.dimensions[0][1]): p for p in pipeline.finish(T0).live}
    assert sum(p.count for key, p in points.items() if key[:2] == ("seen", "1d")) == 50_000
    assert points["seen", "1d", "__other__"].value == 49_900
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "seen, people: more than 100 series by k" in record.getMessage()


def test_many_windows_open_at_once_share_one_series_each(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panes, "MOST_ROWS", 15_000)
    pipeline = Pipeline(PLAN, Pseudonyms(KEY))
    sent, found = 0, []
    for series in range(4):
        # 10,000 windows of 10 s, a series after the other.
        events = [{"t": T0 + 10_000 * window, "k": f"k{series}"} for window in range(10_000)]
        pipeline.add(data_batch(events), T0 + 10_000 * 10_000)
        found += pipeline.tick(T0).live
        sent += len(events)
    # One more for each window, that of what is past the limit.
    assert rows(pipeline)["10s"] <= 15_000 + 10_000
    found += pipeline.finish(T0).live
    points = {(p.metric, p.window, p.start_ms, p.dimensions): p for p in found}
    of = {window: [p for key, p in points.items() if key[:2] == ("seen", window)] for window in ("10s", "1d")}
    assert sum(p.count for p in of["10s"]) == sum(p.count for p in of["1d"]) == sent
    assert {p.dimensions[0][1] for p in of["1d"]} == {"k0", "k1", "k2", "k3"}
    messages = [record.getMessage() for record in caplog.records]
    assert [m for m in messages if "windows are open at once" in m and "__other__" in m] == messages[:1]


def test_a_catalog_that_may_hold_much_is_told_so() -> None:
    many, year = notes(PLAN), notes(plan_of(CATALOG.replace('"20d"', '"1h"').replace('"10s", "1d"', '"366d/1d"')))
    assert len(many) == 1
    assert "up to 172,801 windows of 10s are open at once" in many[0]
    assert "seen, people: 366d/1d is put together of 366 parts for each series, up to 36,600" in year[0]
    assert notes(plan_of(CATALOG.replace('"20d"', '"1h"'))) == []


def test_a_hot_person_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    plan = plan_of('[event]\ntime = "t"\nperson = "k"\n[[metric]]\nname = "n"\nmeasure = "count"\n')
    enricher, decoder = Enricher(plan, pseudonyms(), 2), Decoder(plan)
    even = decoder.decode(data_batch([{"t": T0, "k": f"k{i}"} for i in range(10_000)]), T0)
    hot = decoder.decode(data_batch([{"t": T0, "k": "k1"}] * 10_000), T0)
    for _ in range(10):
        enricher.split(even)
    assert not caplog.records
    for _ in range(20):
        enricher.split(hot)
    (record,) = caplog.records
    assert "100 % of the last 100000 events are of shard" in record.getMessage()
