"""The past, read from the store: the same points however they are read, and longer windows as a plain loop has them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.combined import MEASURES, Combine
from sinks.errors import Misconfigured
from sinks.history import History, Past, Series
from sinks.records import ALL_READ_MS, Point, State
from sinks.runs import STATES, Run
from sinks.store import Store
from tests.postgres import empty_database

MINUTE = 60_000
DAY = 1_767_225_600_000
STEP = 5
WINDOWS = 20

_values = st.one_of(
    st.integers(-1_000, 1_000), st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3)), st.none()
)
_points = st.dictionaries(
    st.integers(0, STEP * WINDOWS - 1),
    st.tuples(_values, st.integers(1, 9), st.sampled_from(list(State)), st.integers(1, 5)),
    max_size=40,
)


_count = itertools.count()


class Held:
    """One store for all tests of a module, in which each example has a metric of its own."""

    def __init__(self, url: str) -> None:
        self.store, self.history = Store(url), History(url)
        self.store.setup()

    @contextmanager
    def __call__(self, points: Sequence[Point], by: Sequence[str] = ("where",)) -> Iterator[tuple[Past, list[Series]]]:
        """What there is of these points, and their series."""
        metric = f"m{next(_count)}"
        self.store.write([msgspec.structs.replace(point, metric=metric) for point in points])
        with self.history.reading() as past:
            yield past, past.series(metric, "1m", by, {})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    with empty_database(request.param, request, tmp_path_factory.mktemp("history")) as url:
        made = Held(url)
        yield made
        made.history.close()
        made.store.close()


def _point(minute: int, value: float | None, count: int, state: State, revision: int, where: str = "a") -> Point:
    start_ms = DAY + minute * MINUTE
    # An open window has lasted for half of its length.
    known_ms = start_ms + (MINUTE // 2 if state is State.OPEN else MINUTE)
    return Point("m", "1m", start_ms, (("where", where),), value, count, state, revision, known_ms)


@given(_points, _points)
@settings(max_examples=15, deadline=None)
def test_runs_are_the_points_that_were_written(held: Held, one: dict, other: dict) -> None:  # type: ignore[type-arg]
    written = [
        _point(at, *said, where=where) for where, all_ in (("a", one), ("b", other)) for at, said in all_.items()
    ]
    starts = [DAY + n * MINUTE for n in range(STEP * WINDOWS)]
    with held(written) as (past, series):
        runs = past.runs(series, starts, details=True)
        short = past.runs(series, starts, details=False)
    for run, brief in zip(runs, short, strict=True):
        wanted = sorted((p for p in written if p.dimensions == run.dimensions), key=lambda p: p.start_ms)
        assert run.starts == brief.starts == [p.start_ms for p in wanted]
        assert run.values == brief.values == [p.value for p in wanted]
        assert [STATES[state] for state in run.states] == [p.state for p in wanted]
        assert [state == 0 for state in brief.states] == [p.state is State.OPEN for p in wanted]
        assert run.counts == [p.count for p in wanted]
        assert run.revisions == [p.revision for p in wanted]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("slice_minutes", [STEP, 1], ids=["in SQL", "in Python"])
@given(points=_points)
@settings(max_examples=10, deadline=None)
def test_longer_windows_are_what_a_plain_loop_makes_of_the_shorter(
    held: Held,
    measure: str,
    slice_minutes: int,
    points: dict,  # type: ignore[type-arg]
) -> None:
    starts = [DAY + n * STEP * MINUTE for n in range(WINDOWS)]
    end_ms = DAY + STEP * WINDOWS * MINUTE
    watermark_ms = DAY + STEP * MINUTE * WINDOWS // 2
    how = Combine(measure, MINUTE, slice_minutes * MINUTE)
    written = [_point(at, *said) for at, said in points.items()]
    with held(written) as (past, series):
        runs = past.combined(series, starts, end_ms, how, watermark_ms)
    if not written:
        assert runs == []
        return
    [run] = runs
    expected = _by_loop(written, measure, watermark_ms)
    assert run.starts == sorted(expected)
    for index, start in enumerate(run.starts):
        value, count, state, revision = expected[start]
        assert (run.counts[index], STATES[run.states[index]], run.revisions[index]) == (count, state, revision)
        found = run.values[index]
        if value is None:
            assert found is None
        else:
            assert isinstance(found, int | float)
            assert math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-6)


def _by_loop(points: list[Point], measure: str, watermark_ms: int) -> dict[int, tuple[float | None, int, State, int]]:
    width = STEP * MINUTE
    found = {}
    for start in {point.start_ms // width * width for point in points}:
        inside = sorted((p for p in points if p.start_ms // width * width == start), key=lambda p: p.start_ms)
        numbers = [(p.value, p) for p in inside if isinstance(p.value, int | float)]
        is_open = any(p.state is State.OPEN for p in inside) or start + width > max(
            watermark_ms, min(p.watermark_ms for p in inside)
        )
        count = sum(p.count for p in inside)
        value: float | None = None
        if numbers:
            match measure:
                case "count" | "sum":
                    value = sum(number for number, _ in numbers)
                case "min":
                    value = min(number for number, _ in numbers)
                case "max":
                    value = max(number for number, _ in numbers)
                case "mean":
                    value = sum(number * p.count for number, p in numbers) / count
                case "rate":
                    known_ms = max(watermark_ms, *(p.watermark_ms for p in inside), 0) if is_open else start + width
                    lasted_s = (min(known_ms, start + width) - start) / 1_000
                    value = sum(n * min(p.watermark_ms - p.start_ms, MINUTE) / 1_000 for n, p in numbers) / lasted_s
        corrected = any(p.state is State.CORRECTED for p in inside)
        state = State.OPEN if is_open else State.CORRECTED if corrected else State.FINAL
        found[start] = (value, count, state, sum(p.revision for p in inside))
    return found


def test_whole_numbers_stay_whole_and_others_do_not_become_so(held: Held) -> None:
    whole = [_point(n, n, 1, State.FINAL, 1) for n in range(5)]
    half = [_point(n, 0.5 if n == 5 else 1, 1, State.FINAL, 1) for n in range(5, 10)]
    with held(whole + half) as (past, series):
        [run] = past.combined(series, [DAY, DAY + STEP * MINUTE], DAY + 10 * MINUTE, _SUM, DAY + 10 * MINUTE)
    assert run.values_json == "10,4.5"


def test_what_no_float_holds_makes_no_sum(held: Held) -> None:
    huge = Point("m", "1m", DAY, (("where", "a"),), 10**400, 1, State.FINAL, 1, DAY + MINUTE)
    with held([huge, _point(1, 1, 1, State.FINAL, 1)]) as (past, series):
        [run] = past.combined(series, [DAY], DAY + STEP * MINUTE, _SUM, None)
    assert run.values == [None]


def test_what_was_computed_of_all_input_is_over(held: Held) -> None:
    all_read = Point("m", "1m", DAY, (("where", "a"),), 3, 1, State.FINAL, 1, ALL_READ_MS)
    with held([all_read]) as (past, series):
        assert past.watermark_ms([one.id for one in series]) is None
        [run] = past.combined(series, [DAY], DAY + STEP * MINUTE, _SUM, None)
    assert [STATES[state] for state in run.states] == [State.FINAL]


def test_what_is_known_later_than_events_is_not_over_when_they_are(tmp_path: Path) -> None:
    held = Held(f"sqlite:///{tmp_path}/points.db")
    own = _point(1, 1, 1, State.FINAL, 1)
    held.store.write([own, Point("streamgauge_events", "1m", DAY, (), 3, 3, State.FINAL, 1, DAY + 9 * MINUTE)])
    with held.history.reading() as past:
        ids = [one.id for one in past.series("m", "1m", ["where"], {})]
        assert past.watermark_ms(ids) == DAY + 9 * MINUTE
        assert past.watermark_ms(ids, of_events=False) == own.watermark_ms
    held.history.close()
    held.store.close()


def test_a_run_in_another_order_is_put_right() -> None:
    run = Run((), [2, 1], '{"a":1},5', [0, 1], [7, 8], [1, 1], [None, 0.5]).sorted()
    assert run == Run((), [1, 2], '5,{"a":1}', [1, 0], [8, 7], [1, 1], [0.5, None])


def test_dimensions_of_a_former_catalog_are_no_series_of_this_one(held: Held) -> None:
    points = [
        _point(0, 1, 1, State.FINAL, 1),
        Point("m", "1m", DAY, (), 5, 1, State.FINAL, 1, 0),
        Point("m", "1m", DAY, (("where", "b\0"),), 6, 1, State.FINAL, 1, 0),
    ]
    with held(points, []) as (past, series):
        assert [one.dimensions for one in series] == [()]
        metric = f"m{next(_count) - 1}"
        assert len(past.series(metric, "1m", ["where"], {"where": ["a", "b\0", "c"]})) == 2
        assert past.series(metric, "1m", ["where"], {"where": ["c"]}) == []


def test_a_store_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "points.db").write_bytes(b"no database at all, and longer than a header is" * 100)
    history = History(f"sqlite:///{tmp_path}/points.db")
    with pytest.raises(Misconfigured, match="not a sound SQLite database"), history.reading():
        pass


_SUM = Combine("sum", MINUTE, STEP * MINUTE)
