from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.records import DeadLetter, Point, Reason, State
from stream.batches import RawBatch
from stream.catalog import Catalog, load, parse
from stream.durations import window_ms
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from stream.problems import CatalogError
from tests.batches import T0, as_json, data_batch, plan_of, pseudonyms
from tests.oracle import Key, differences, last_of_each
from tests.snapshots import resumed, snapshot
from tests.wikipedia import REAL, SAMPLE, generate

PROJECT = Path(__file__).resolve().parents[2]

LATENESS_MS = 30_000
OUT_OF_ORDERNESS_MS = 5_000
STREAMS = ("a", "b")
CATALOG = parse("""
[platform]
streams = ["a", "b"]

[event]
time = "t"
person = "who"
allowed_lateness = "30s"
out_of_orderness = "5s"
dedupe_window = "off"

[[metric]]
name = "edits"
measure = "count"
windows = ["10s", "15s", "1m", "1d"]

[[metric]]
name = "additions"
measure = "count"
where = "added > 0 AND NOT robot"
by = ["channel"]
windows = ["1s", "1m"]

[[metric]]
name = "added"
measure = "sum"
value = "added"
by = ["channel"]
windows = ["10s", "1h"]

[[metric]]
name = "spent"
measure = "sum"
value = "price"
windows = ["10s", "1m"]

[[metric]]
name = "price"
measure = "mean"
value = "price / 3"
by = ["robot", "channel"]
windows = ["20s", "1m"]

[[metric]]
name = "least"
measure = "min"
value = "price"
where = "channel <> '#de'"
windows = ["10s", "1d"]

[[metric]]
name = "most"
measure = "max"
value = "abs(added)"
by = ["channel"]
windows = ["10s", "1d"]
""")
PLAN = compile_plan(CATALOG)
OWN = frozenset(metric.name for metric in CATALOG.metric)

quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Step:
    """One batch as it arrives, and what happens after it."""

    batch: RawBatch
    events: list[dict[str, Any]]
    then: list[str]


@dataclass(frozen=True)
class History:
    steps: list[Step]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for step in self.steps for event in step.events]


def _events(span_ms: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"t": st.integers(T0, T0 + span_ms)},
        optional={
            "who": st.sampled_from(["u1", "u2", "u3", "u4", "u5", "u6", None]),
            "channel": st.sampled_from(["#en", "#de", "", "a,b=c d", "ünï", None]),
            "robot": st.sampled_from([True, False, None]),
            "added": st.integers(-1_000, 1_000) | st.none(),
            # None below 0: a sum of both signs has no relative error to speak of.
            "price": st.floats(0, 1e6, allow_subnormal=False) | st.none(),
        },
    )


@st.composite
def histories(draw: st.DrawFn, span_ms: int = 150_000) -> History:
    """Events over several times the allowed lateness, each arriving at most that late, by a simulated clock.

    An event that is delayed by at most out_of_orderness + allowed_lateness can never be behind the watermark by more
    than the latter, as the watermark stays out_of_orderness behind the clock.
    """
    delays = st.integers(0, LATENESS_MS + OUT_OF_ORDERNESS_MS) | st.integers(0, 2_000)
    arrivals = draw(st.lists(st.tuples(_events(span_ms), delays, st.sampled_from(STREAMS)), min_size=1, max_size=30))
    arrivals.sort(key=lambda arrival: arrival[0]["t"] + arrival[1])
    steps: list[Step] = []
    at = 0
    while at < len(arrivals):
        stream = arrivals[at][2]
        size = draw(st.integers(1, 6))
        run = [arrivals[at]]
        while len(run) < size and at + len(run) < len(arrivals) and arrivals[at + len(run)][2] == stream:
            run.append(arrivals[at + len(run)])
        events = [event for event, _, _ in run]
        clock_ms = run[-1][0]["t"] + run[-1][1]
        caught_up = draw(st.booleans())
        batch = data_batch(events, stream=stream, read_at_ms=clock_ms, caught_up=caught_up, first=at)
        then = draw(st.lists(st.sampled_from(["tick", "beat", "restart"]), max_size=3))
        steps.append(Step(batch, events, then))
        at += len(run)
    return History(steps)


def played(history: History, shards: int) -> tuple[list[Point], list[Point]]:
    """Every live and every durable point of a history, ticks and restarts included."""
    pipeline = Pipeline(PLAN, pseudonyms(), shards=shards)
    live: list[Point] = []
    durable: list[Point] = []
    clock_ms = T0
    for step in history.steps:
        clock_ms = step.batch.read_at_ms
        assert pipeline.add(step.batch, clock_ms) == []
        for action in step.then:
            if action == "tick":
                emission = pipeline.tick(clock_ms)
                live += emission.live
                durable += emission.durable
            elif action == "beat":
                for stream in STREAMS:
                    assert pipeline.add(RawBatch(stream, [], True, clock_ms), clock_ms) == []
            else:
                pipeline, notices = resumed(PLAN, snapshot(pipeline))
                assert notices == []
    emission = pipeline.finish(clock_ms)
    return live + emission.live, durable + emission.durable


def total(points: Iterable[Point], metric: str) -> int:
    return sum(p.count for p in last_of_each(points).values() if p.metric == metric and p.window == "total")


@quick
@given(history=histories(), shards=st.integers(1, 4))
def test_final_values_equal_the_oracle(history: History, shards: int) -> None:
    live, durable = played(history, shards)
    assert differences(CATALOG, live, history.events) == []
    assert differences(CATALOG, durable, history.events) == []
    assert total(live, "streamgauge_events") == len(history.events)
    assert total(live, "streamgauge_rejects") == 0


@quick
@given(history=histories(), shards=st.integers(1, 4))
def test_a_point_only_ever_moves_forward(history: History, shards: int) -> None:
    live, _ = played(history, shards)
    courses: dict[Key, list[Point]] = defaultdict(list)
    for point in live:
        courses[point.metric, point.window, point.start_ms, point.dimensions].append(point)
    assert courses
    for key, course in courses.items():
        assert [point.revision for point in course] == list(range(1, len(course) + 1)), key
        states = [point.state for point in course]
        settled = next((i for i, state in enumerate(states) if state is not State.OPEN), len(states))
        assert State.OPEN not in states[settled:], (key, states)
        assert State.FINAL not in states[settled + 1 :], (key, states)
        assert states[-1] is not State.OPEN, "finish closes every window"
        counts = [point.count for point in course]
        assert counts == sorted(counts)
        for point in course:
            end_ms = point.start_ms + window_ms(point.window)
            assert (point.state is State.OPEN) == (point.watermark_ms < end_ms), point
        # A correction says something new; a point that only closes may repeat its value.
        for before, after in pairwise(course):
            assert after.count > before.count or (before.state is State.OPEN and after.state is State.FINAL)
    marks = [point.watermark_ms for point in live]
    assert marks == sorted(marks)


@quick
@given(history=histories(), shards=st.integers(1, 3), data=st.data())
def test_a_crash_loses_and_repeats_nothing(history: History, shards: int, data: st.DataObject) -> None:
    """The snapshot has the offset with the state: all that came after it is read again, in other batches."""
    saved_after = data.draw(st.integers(0, len(history.steps)), "snapshot after")
    died_after = data.draw(st.integers(saved_after, len(history.steps)), "crash after")
    pipeline = Pipeline(PLAN, pseudonyms(), shards=shards)
    saved = snapshot(pipeline)
    written: list[Point] = []
    for number, step in enumerate(history.steps[:died_after]):
        if number == saved_after:
            saved = snapshot(pipeline)
        pipeline.add(step.batch, step.batch.read_at_ms)
        written += pipeline.tick(step.batch.read_at_ms).durable
    if saved_after == died_after:
        saved = snapshot(pipeline)
    pipeline, _ = resumed(PLAN, saved)
    clock_ms = T0
    for step in history.steps[saved_after:]:
        clock_ms = step.batch.read_at_ms
        for entry in step.batch.entries:
            single = RawBatch(step.batch.stream, [entry], step.batch.caught_up, clock_ms)
            assert pipeline.add(single, clock_ms) == []
        if data.draw(st.booleans()):
            written += pipeline.tick(clock_ms).durable
    written += pipeline.finish(clock_ms).durable
    assert differences(CATALOG, written, history.events) == []


@quick
@given(
    events=st.lists(_events(20 * 86_400_000), min_size=1, max_size=30),
    shards=st.integers(1, 4),
    data=st.data(),
)
def test_whole_input_in_any_order_equals_the_oracle(
    events: list[dict[str, Any]], shards: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(events))
    now_ms = T0 + 30 * 86_400_000
    pipeline = Pipeline(PLAN, pseudonyms(), shards=shards, whole_input=True)
    points: list[Point] = []
    at = 0
    while at < len(shuffled):
        size = data.draw(st.integers(1, 10))
        batch = data_batch(shuffled[at : at + size], stream="a", read_at_ms=now_ms, first=at)
        assert pipeline.add(batch, now_ms) == []
        if data.draw(st.booleans()):
            open_points = pipeline.tick(now_ms).live
            assert {point.state for point in open_points} <= {State.OPEN}
            points += open_points
        at += size
    points += pipeline.finish(now_ms).live
    assert differences(CATALOG, points, events) == []
    assert {point.state for point in last_of_each(points).values()} == {State.FINAL}


LATE = """
[event]
time = "t"
allowed_lateness = "30s"
out_of_orderness = "5s"
[[metric]]
name = "n"
measure = "count"
by = ["k"]
windows = ["10s"]
"""


def counted(points: Iterable[Point], metric: str = "n") -> dict[tuple[int, str], int]:
    last = last_of_each(points)
    return {
        (p.start_ms, ",".join(value for _, value in p.dimensions)): p.count
        for p in last.values()
        if p.metric == metric and p.window == "10s"
    }


@pytest.mark.parametrize("shards", [1, 3])
def test_the_bound_of_lateness_is_exact(shards: int) -> None:
    pipeline = Pipeline(plan_of(LATE), pseudonyms(), shards=shards)
    clock_ms = T0 + 100_000
    assert pipeline.add(data_batch([{"t": clock_ms, "k": "now"}], read_at_ms=clock_ms), clock_ms) == []
    points = pipeline.tick(clock_ms).live
    watermark_ms = clock_ms - OUT_OF_ORDERNESS_MS
    bound_ms = watermark_ms - LATENESS_MS
    at, past = as_json({"t": bound_ms, "k": "at"}), b'{"t": %d, "k": "past",  "extra": 1}' % (bound_ms - 1)
    batch = RawBatch("events:{0}", [(b"%d-7" % clock_ms, [b"batch", b"[%s, %s]" % (at, past)])], False, clock_ms)
    (letter,) = pipeline.add(batch, clock_ms)
    assert letter == DeadLetter(batch.stream, f"{clock_ms}-7", 1, Reason.TOO_LATE, letter.message, past)
    assert "2015-09-12T00:01:04.999Z" in letter.message
    points += pipeline.finish(clock_ms).live
    assert counted(points) == {(T0 + 100_000, "now"): 1, (T0 + 60_000, "at"): 1}
    refused = [p for p in last_of_each(points).values() if p.metric == "streamgauge_rejects" and p.window == "total"]
    assert [(p.dimensions, p.count) for p in refused] == [((("reason", "too_late"),), 1)]


def test_a_late_event_corrects_its_closed_window() -> None:
    pipeline = Pipeline(plan_of(LATE), pseudonyms())
    clock_ms = T0 + 40_000
    pipeline.add(data_batch([{"t": T0 + 10_000, "k": "x"}, {"t": clock_ms}], read_at_ms=clock_ms), clock_ms)
    (first,) = [p for p in pipeline.tick(clock_ms).live if p.metric == "n" and p.start_ms == T0 + 10_000]
    assert (first.state, first.count, first.revision) == (State.FINAL, 1, 1)
    late = [{"t": T0 + 12_000, "k": "x"}, {"t": T0 + 12_000, "k": "unheard of"}]
    assert pipeline.add(data_batch(late, read_at_ms=clock_ms), clock_ms) == []
    emission = pipeline.tick(clock_ms)
    corrected = [p for p in emission.live if p.metric == "n"]
    assert [(p.dimensions[0][1], p.state, p.count, p.revision) for p in corrected] == [
        ("x", State.CORRECTED, 2, 2),
        ("unheard of", State.CORRECTED, 1, 1),
    ]
    assert corrected == [p for p in emission.durable if p.metric == "n"], "a correction goes to databases at once"


@pytest.mark.parametrize("shards", [1, 2])
def test_an_event_that_waited_in_the_queue_may_be_too_late(shards: int) -> None:
    """Decoding can lag behind reading: what is too late then is a dead letter all the same."""
    pipeline = Pipeline(plan_of(LATE), pseudonyms(), shards=shards)
    now_ms = T0 + 60_000
    ahead = {"t": now_ms + 300_000}
    assert pipeline.add(data_batch([ahead], read_at_ms=T0), now_ms) == []
    late = as_json({"t": T0 + 300_000 - LATENESS_MS + 1_000})
    (letter,) = pipeline.add(data_batch([late], read_at_ms=T0, first=1), now_ms)
    assert (letter.reason, letter.raw) == (Reason.TOO_LATE, late)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_catalog_that_reads_no_field_counts_events(shards: int) -> None:
    """The smallest catalog there is: nothing but a count."""
    plan = plan_of('[[metric]]\nname = "n"\nmeasure = "count"\nwindows = ["10s"]\n')
    pipeline = Pipeline(plan, pseudonyms(), shards=shards)
    refused = pipeline.add(data_batch([{"a": 1}, b"{", {"b": 2}, {"time": "never"}], read_at_ms=T0), T0)
    assert [letter.reason for letter in refused] == [Reason.MALFORMED, Reason.BAD_TYPE]
    assert counted(pipeline.finish(T0).live) == {(T0, ""): 2}


@pytest.mark.parametrize(
    ("line", "value"), [('measure = "sum"\nvalue = "2"', 6), ('measure = "count"\nwhere = "1 = 1"', 3)]
)
def test_an_expression_of_literals_holds_for_every_event(line: str, value: int) -> None:
    pipeline = Pipeline(plan_of(f'[[metric]]\nname = "n"\n{line}\nwindows = ["10s"]\n'), pseudonyms())
    pipeline.add(data_batch([{"a": 1}, {"a": 2}, {"a": 3}]), T0)
    assert [p.value for p in pipeline.finish(T0).live if p.metric == "n"] == [value]


def test_too_many_series_are_counted_together() -> None:
    catalog = LATE.replace('by = ["k"]', 'by = ["k", "l"]\nmax_series = 3')
    pipeline = Pipeline(plan_of(catalog), pseudonyms())
    events = [{"t": T0 + i, "k": f"k{i % 7}", "l": "l"} for i in range(70)]
    points: list[Point] = []
    for at in range(0, 70, 10):
        pipeline.add(data_batch(events[at : at + 10], first=at), T0)
        points += pipeline.tick(T0).live
        if at == 40:
            pipeline, notices = resumed(plan_of(catalog), snapshot(pipeline))
            assert notices == []
    points += pipeline.finish(T0).live
    assert counted(points) == {
        (T0, "k0,l"): 10,
        (T0, "k1,l"): 10,
        (T0, "k2,l"): 10,
        (T0, "__other__,__other__"): 40,
    }


def test_events_without_a_dimension_are_counted_as_none() -> None:
    pipeline = Pipeline(plan_of(LATE), pseudonyms())
    pipeline.add(data_batch([{"t": T0}, {"t": T0, "k": None}, {"t": T0, "k": ""}, {"t": T0, "k": 0}]), T0)
    assert counted(pipeline.finish(T0).live) == {(T0, "__none__"): 3, (T0, "0"): 1}


def test_a_metric_that_means_something_else_starts_empty() -> None:
    catalog = LATE + '[[metric]]\nname = "m"\nmeasure = "sum"\nvalue = "v"\nby = ["k"]\nwindows = ["10s"]\n'
    changed = catalog.replace('value = "v"', 'value = "v * 2"')
    pipeline = Pipeline(plan_of(catalog), pseudonyms())
    pipeline.add(data_batch([{"t": T0, "k": "x", "v": 1}, {"t": T0, "k": "x", "v": 2}]), T0)
    pipeline.tick(T0)
    pipeline, notices = resumed(plan_of(changed), snapshot(pipeline))
    assert notices == ["metric m (10s) has changed its meaning and starts empty"]
    pipeline.add(data_batch([{"t": T0, "k": "x", "v": 5}], first=2), T0)
    last = {p.metric: (p.value, p.count) for p in pipeline.finish(T0).live if p.window == "10s" and p.dimensions}
    assert last == {"n": (3, 3), "m": (10, 1)}


def test_a_new_metric_and_a_new_window_start_empty_and_the_rest_goes_on() -> None:
    grown = LATE.replace('["10s"]', '["10s", "1m"]') + '[[metric]]\nname = "all"\nmeasure = "count"\nwindows=["10s"]\n'
    pipeline = Pipeline(plan_of(LATE, builtin=False), pseudonyms())
    pipeline.add(data_batch([{"t": T0, "k": "x"}]), T0)
    pipeline, notices = resumed(plan_of(grown, builtin=False), snapshot(pipeline))
    assert sorted(notices) == ["all start empty", "windows of 1m of n are new and start empty"]
    pipeline.add(data_batch([{"t": T0, "k": "x"}], first=1), T0)
    found = {(p.metric, p.window): p.count for p in pipeline.finish(T0).live}
    assert found == {("n", "10s"): 2, ("n", "1m"): 1, ("all", "10s"): 1}


@pytest.mark.parametrize(
    "value",
    [
        *("a / b", "a % b", "sqrt(a)", "ln(a)", "power(a, b)", "round(a, 2)", "a // b", "ceil(a)", "length(s)"),
        *("CAST(a AS BIGINT)", "a::TINYINT", "CAST(a AS DECIMAL)", "TRY_CAST(s AS DOUBLE)", "strpos(s, s)"),
        *("CASE WHEN s REGEXP s THEN 1 ELSE 0 END", "CASE WHEN s LIKE '(%' THEN a ELSE b END"),
        *("length(substr(s, 1, a))", "length(left(s, a))", "corr(a, b)", "unnest(a)", "quantile_cont(a, 0.5)"),
    ],
)
def test_no_event_stops_the_processor_through_an_expression(value: str) -> None:
    """An expression that works for some events only is refused with the catalog, or does without the others."""
    fields = '[fields]\na = "number"\nb = "number"\ns = "string"\n'
    try:
        plan = plan_of(f'{fields}[[metric]]\nname = "n"\nmeasure = "sum"\nvalue = """{value}"""\nwindows = ["10s"]\n')
    except CatalogError:
        return
    numbers, texts = [None, 0.0, -1.0, 1e300, 2.0**63, 1e-300, 5.0], [None, "", "(", "?", "{", "9" * 40, "-1", "é"]
    events = [{"a": a, "b": b, "s": s} for a in numbers for b in numbers for s in texts]
    pipeline = Pipeline(plan, pseudonyms())
    assert pipeline.add(data_batch(events), T0) == []
    assert total(pipeline.finish(T0).live, "streamgauge_events") == len(events)


@pytest.mark.parametrize("measure", ["sum", "mean"])
def test_a_total_beyond_all_floats_is_still_json(measure: str) -> None:
    catalog = f'[[metric]]\nname = "n"\nmeasure = "{measure}"\nvalue = "v"\nwindows = ["10s"]\n'
    pipeline = Pipeline(plan_of(catalog), pseudonyms())
    assert pipeline.add(data_batch([{"v": 1.5e308}, {"v": 1.5e308}]), T0) == []
    (point,) = [point for point in pipeline.finish(T0).live if point.metric == "n"]
    assert point.count == 2
    json.dumps(point.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("windows", "time_ms"),
    [
        pytest.param(["1s"], 2_208_988_800_000, id="2040"),
        pytest.param(["10s", "15s"], T0, id="common-divisor-5-s"),
        pytest.param(["27s", "32s"], T0, id="common-divisor-1-s"),
    ],
)
def test_every_window_is_where_it_should_be(windows: list[str], time_ms: int) -> None:
    catalog = f'[[metric]]\nname = "n"\nmeasure = "count"\nby = ["k"]\nwindows = {json.dumps(windows)}\n'
    pipeline = Pipeline(plan_of(catalog), pseudonyms())
    assert pipeline.add(data_batch([{"k": "x"}], read_at_ms=time_ms), time_ms) == []
    found = {(p.window, p.start_ms, p.count, p.state) for p in pipeline.finish(time_ms).live if p.metric == "n"}
    assert found == {(window, time_ms - time_ms % window_ms(window), 1, State.FINAL) for window in windows}


@pytest.mark.parametrize("entry_ms", [1, T0, T0 * 1_000], ids=["file", "ms", "us"])
def test_refused_events_are_counted_whatever_their_entry_id(entry_ms: int) -> None:
    pipeline = Pipeline(plan_of(LATE), pseudonyms())
    (letter,) = pipeline.add(RawBatch("events:{0}", [(b"%d-0" % entry_ms, [b"data", b"{"])], True, T0), T0)
    assert letter.reason is Reason.MALFORMED
    refused = [p for p in pipeline.finish(T0).live if p.metric == "streamgauge_rejects" and p.window == "total"]
    assert [(p.start_ms, p.dimensions, p.count) for p in refused] == [(0, (("reason", "malformed"),), 1)]


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("sample", ["generated", *(["real"] if SAMPLE.exists() else [])])
def test_wikipedia_adds_up(sample: str, shards: int, tmp_path: Path) -> None:
    """Live, with ticks and a restart: the days add up to the known totals, and every point equals the oracle's."""
    path = SAMPLE if sample == "real" else tmp_path / "edits.json.gz"
    known = REAL if sample == "real" else generate(path)
    lines = gzip.decompress(path.read_bytes()).splitlines()
    catalog: Catalog = load(PROJECT / "catalogs/wikipedia.toml")
    plan = compile_plan(catalog)
    pipeline = Pipeline(plan, pseudonyms(), shards=shards)
    clock_ms = T0 + 120 * 86_400_000
    points: list[Point] = []
    for number, at in enumerate(range(0, len(lines), 1_500)):
        clock_ms += 40
        batch = data_batch(lines[at : at + 1_500], read_at_ms=clock_ms)
        assert pipeline.add(batch, clock_ms) == []
        if number % 3 == 0:
            points += pipeline.tick(clock_ms).live
        if number == 4:
            pipeline, notices = resumed(plan, snapshot(pipeline))
            assert notices == []
    points += pipeline.finish(clock_ms).live
    days: Counter[str] = Counter()
    channels = set()
    for point in last_of_each(points).values():
        if point.window == "1d":
            assert isinstance(point.value, int | float)
            days[point.metric] += point.value
            channels |= {value for name, value in point.dimensions if name == "channel"}
    assert days["edits"] == days["edits_by_channel"] == days["streamgauge_events"] == known.edits
    assert (days["bytes_added"], days["bytes_deleted"]) == (known.added, known.deleted)
    assert days["robot_edits"] == known.robots
    assert len(channels) == known.channels
    events: Sequence[dict[str, Any]] = [json.loads(line) for line in lines]
    assert differences(catalog, points, events) == []
