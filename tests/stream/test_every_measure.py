"""Every measure in every kind of window, against a batch computation; and through restarts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.records import Point, State
from stream.catalog import parse
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from tests.batches import data_batch, pseudonyms
from tests.oracle import differences, last_of_each
from tests.snapshots import resumed, snapshot

CATALOG = parse("""
[platform]
timezone = "Europe/Berlin"

[event]
time = "t"
person = "who"
allowed_lateness = "60d"
dedupe_window = "off"

[[metric]]
name = "n"
measure = "count"
windows = ["10s", "1h", "hour", "day", "week", "month", "1m/10s", "3d/day", "2h/1h"]

[[metric]]
name = "spent"
measure = "sum"
value = "price"
where = "price > 10"
windows = ["day", "1h", "1m/10s", "3d/day"]

[[metric]]
name = "pace"
measure = "rate"
windows = ["10s", "day", "1m/10s"]

[[metric]]
name = "earning"
measure = "rate"
value = "price"
by = ["k"]
windows = ["1h", "month"]

[[metric]]
name = "opened"
measure = "first"
value = "tt"
by = ["k"]
windows = ["1h", "week", "1m/10s"]

[[metric]]
name = "closed"
measure = "last"
value = "tt"
windows = ["1h", "day", "3d/day"]

[[metric]]
name = "people"
measure = "distinct"
value = "who"
by = ["k"]
windows = ["1h", "day", "1m/10s", "3d/day"]

[[metric]]
name = "kinds"
measure = "distinct"
value = "k"
windows = ["day", "1m/10s", "3d/day"]

[[metric]]
name = "prices"
measure = "quantile"
value = "price"
quantiles = [0.1, 0.5, 0.99]
by = ["k"]
windows = ["1h", "day", "1m/10s"]

[[metric]]
name = "top"
measure = "top_k"
value = "k"
k = 2
windows = ["1h", "day", "3d/day"]

[[metric]]
name = "mean_spent"
measure = "mean"
value = "price"
windows = ["day", "1m/10s"]

[[metric]]
name = "dear_share"
measure = "ratio"
of = "spent"
to = "n"

[[metric]]
name = "mixed"
measure = "expr"
value = "mean_spent * 2 + n - spent"
""")
PLAN = compile_plan(CATALOG)
# Around the end of summer time in Berlin, and the change of a month.
AUTUMN = 1_445_644_800_000
"""2015-10-24T00:00:00Z."""
DAYS_MS = 12 * 86_400_000

quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
_times = st.one_of(
    st.integers(AUTUMN, AUTUMN + DAYS_MS),
    st.integers(AUTUMN + 86_400_000, AUTUMN + 86_400_000 + 7_200_000),
    st.integers(AUTUMN, AUTUMN + 90_000),
)


@st.composite
def _event(draw: st.DrawFn) -> dict[str, Any]:
    time_ms = draw(_times)
    event: dict[str, Any] = {"t": time_ms, "tt": time_ms % 1_000}
    for name, values in (
        ("who", st.sampled_from(["u1", "u2", "u3", None])),
        ("k", st.sampled_from(["a", "b", "c", "", None])),
        ("price", st.floats(0.01, 1_000) | st.none()),
    ):
        event[name] = draw(values)
    return event


_events = st.lists(_event(), min_size=1, max_size=30)


@quick
@given(events=_events, shards=st.integers(1, 3), data=st.data())
def test_live_equals_batch(events: list[dict[str, Any]], shards: int, data: st.DataObject) -> None:
    """In any order, cut into any batches, with any ticks and restarts between them."""
    pipeline = Pipeline(PLAN, pseudonyms(), shards=shards)
    live: list[Point] = []
    durable: list[Point] = []
    now_ms = AUTUMN + 2 * DAYS_MS
    left = events
    while left:
        cut = data.draw(st.integers(1, len(left)))
        batch, left = left[:cut], left[cut:]
        now_ms += 1_500
        assert pipeline.add(data_batch(batch, read_at_ms=now_ms), now_ms) == []
        then = data.draw(st.sampled_from(["nothing", "tick", "restart"]))
        if then == "restart":
            pipeline, _ = resumed(PLAN, snapshot(pipeline))
        if then == "tick":
            emission = pipeline.tick(now_ms)
            live += emission.live
            durable += emission.durable
    emission = pipeline.finish(now_ms)
    for points in (live + emission.live, durable + emission.durable):
        assert differences(CATALOG, points, events) == []
        assert all(p.state is not State.OPEN for p in last_of_each(points).values() if p.window != "total")


@quick
@given(events=_events)
def test_open_points_are_those_of_what_came_so_far(events: list[dict[str, Any]]) -> None:
    """Each tick says what a batch over the events so far says, of every window that it tells of."""
    pipeline = Pipeline(PLAN, pseudonyms())
    points: list[Point] = []
    for number in range(0, len(events), 7):
        now_ms = AUTUMN + 2 * DAYS_MS + number
        pipeline.add(data_batch(events[number : number + 7], read_at_ms=now_ms), now_ms)
        points += pipeline.tick(now_ms).live
        wrong = differences(CATALOG, points, events[: number + 7])
        # Not yet told: windows that slide and end later. Rates of what is open are of the time so far.
        assert [
            text
            for text in wrong
            if not text.startswith("missing:") and "'pace'" not in text and "'earning'" not in text
        ] == []


def test_a_sliding_window_tells_of_its_quiet_end() -> None:
    """No event comes any more, and the sum over the last minute falls to nothing step by step."""
    pipeline = Pipeline(PLAN, pseudonyms())
    pipeline.add(data_batch([{"t": AUTUMN, "price": 20.0}], read_at_ms=AUTUMN), AUTUMN)
    pipeline.tick(AUTUMN)
    finals: list[int] = []
    for second in range(0, 120, 5):
        now_ms = AUTUMN + 1_000 * second
        pipeline.add(data_batch([], read_at_ms=now_ms, caught_up=True), now_ms)
        finals += [
            (p.start_ms - AUTUMN) // 1_000
            for p in pipeline.tick(now_ms).live
            if p.metric == "n" and p.window == "1m/10s" and p.state is State.FINAL
        ]
    assert finals == [-50, -40, -30, -20, -10, 0]


@pytest.mark.parametrize("at", [0, 13, 30, 59])
def test_a_restart_leaves_windows_that_slide_as_they_were(at: int) -> None:
    """Also those that are behind the allowed lateness, whose first panes are no longer held."""
    catalog = parse("""
[event]
time = "t"
allowed_lateness = "1m"
out_of_orderness = "10s"
[[metric]]
name = "n"
measure = "count"
windows = ["10s", "1m/10s", "1m"]
""")
    plan = compile_plan(catalog)
    events = [{"t": AUTUMN + 5_000 * number} for number in range(120)]
    pipeline = Pipeline(plan, pseudonyms(), shards=2)
    points: list[Point] = []
    for number in range(0, len(events), 2):
        now_ms = AUTUMN + 5_000 * number
        pipeline.add(data_batch(events[number : number + 2], read_at_ms=now_ms), now_ms)
        points += pipeline.tick(now_ms).live
        if number // 2 == at:
            pipeline, _ = resumed(plan, snapshot(pipeline))
    points += pipeline.finish(AUTUMN + 600_000).live
    assert differences(catalog, points, events) == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('measure = "ratio"\nof = "nothing"\nto = "n"\n', ".of"),
        ('measure = "ratio"\nof = "n"\n', ".to"),
        ('measure = "ratio"\nof = "n"\nto = "by_k"\n', ".of"),
        ('measure = "ratio"\nof = "n"\nto = "q"\n', ".of"),
        ('measure = "ratio"\nof = "n"\nto = "other"\n', ".of"),
        ('measure = "ratio"\nof = "n"\nto = "n"\nby = ["k"]\n', ".by"),
        ('measure = "expr"\nvalue = "n +"\n', ".value"),
        ('measure = "expr"\nvalue = "1 + 1"\n', ".value"),
        ('measure = "expr"\n', ".value"),
        ('measure = "count"\nof = "n"\n', ".of"),
        ('measure = "count"\nk = 3\n', ".k"),
        ('measure = "top_k"\n', ".value"),
        ('measure = "count"\nwindows = ["5m/7s"]\n', ".windows[0]"),
        ('measure = "count"\nwindows = ["10s/10s"]\n', ".windows[0]"),
        ('measure = "count"\nwindows = ["7d/week"]\n', ".windows[0]"),
        ('measure = "count"\nwindows = ["year"]\n', ".windows[0]"),
    ],
)
def test_mistakes_are_told_where_they_are(text: str, key: str) -> None:
    from stream.problems import CatalogError

    others = "".join(
        f'[[metric]]\nname = "{name}"\nmeasure = "{measure}"\n{more}'
        for name, measure, more in (
            ("n", "count", ""),
            ("by_k", "count", 'by = ["k"]\n'),
            ("q", "quantile", 'value = "v"\n'),
            ("other", "count", 'windows = ["2h"]\n'),
        )
    )
    with pytest.raises(CatalogError) as caught:
        parse(f'{others}[[metric]]\nname = "x"\n{text}')
    assert [problem.key for problem in caught.value.problems] == [f'metric[4] "x"{key}']
