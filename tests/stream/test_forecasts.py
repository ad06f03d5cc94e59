from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.forecast import Forecaster
from sinks.records import Dimensions, Point, State
from stream.batches import Emission
from stream.catalog import parse
from stream.clock import END_MS
from stream.forecasts import Forecasts, Foretold, Outlook, outlooks
from stream.plan import compile_plan

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_700_006_400_000
CATALOG = """
[[metric]]
name = "orders"
measure = "count"
by = ["place"]
windows = ["1m", "5m", "day", "month"]

[[metric]]
name = "price"
measure = "mean"
value = "price"
by = ["place"]
windows = ["1m"]

[[metric]]
name = "wait"
measure = "quantile"
value = "wait"
by = ["place"]
windows = ["1m"]
"""
ORDERS = '[[forecast]]\nmetric = "orders"\nwindow = "1m"\nseason = "10m"\n'


def outlooked(forecasts: str, text: str = CATALOG) -> list[Outlook]:
    catalog = parse(text + forecasts)
    (found,) = outlooks(catalog, compile_plan(catalog)).values()
    return found


def stage(forecasts: str = ORDERS, text: str = CATALOG) -> Forecasts:
    return Forecasts(outlooked(forecasts, text))


def point(
    minute: int, value: float | dict[str, float] | None, place: str = "a", metric: str = "orders", window: str = "1m"
) -> Point:
    dimensions: Dimensions = (("place", place),)
    return Point(metric, window, START + minute * MINUTE, dimensions, value, 1, State.FINAL, 1, 0)


def at(minute: int) -> int:
    """The watermark once that minute has closed."""
    return START + (minute + 1) * MINUTE


def named(told: Foretold | Iterable[Point], name: str, **dimensions: str) -> dict[int, object]:
    """The values of a metric by the minute of their window."""
    points = told.emission.live if isinstance(told, Foretold) else told
    return {
        (one.start_ms - START) // MINUTE: one.value
        for one in points
        if one.metric == name and dimensions.items() <= dict(one.dimensions).items()
    }


def by_hand(values: list[float], *, horizons: tuple[int, ...] = (1, 6, 12), season_s: float = 600) -> dict[str, object]:
    """Every point about one series, worked out with the model alone, by metric, horizon and minute."""
    model = Forecaster(horizons, season_s=season_s, step_s=60, non_negative=True)
    found: dict[str, object] = {}
    said: dict[int, float] = {}
    for minute, value in enumerate(values):
        if minute in said and not math.isnan(value):
            found[f"orders_residual@{minute}"] = value - said[minute]
        model.learn_one(value)
        for one in model.forecasts():
            told = {"value": one.value, "lower": one.lower, "upper": one.upper}
            found[f"orders_forecast{one.horizon}@{minute + one.horizon}"] = told
            if one.horizon == horizons[0]:
                said[minute + one.horizon] = one.value
    return found


def written(points: Iterable[Point]) -> dict[str, object]:
    """The same of what a stage said."""
    found: dict[str, object] = {}
    for one in points:
        if not one.metric.startswith("forecast_"):
            minute = (one.start_ms - START) // MINUTE
            key = f"{one.metric}{dict(one.dimensions).get('horizon', '')}@{minute}"
            assert key not in found, "said twice"
            assert one.state is State.FINAL
            found[key] = one.value
    return found


def wave(count: int) -> list[float]:
    return [20 + minute % 10 + (7 * minute) % 3 for minute in range(count)]


def fed(it: Forecasts, values: list[float], place: str = "a") -> list[Point]:
    """Each minute by itself, NaN for one without events."""
    found: list[Point] = []
    for minute, value in enumerate(values):
        some = [] if math.isnan(value) else [point(minute, value, place)]
        found += it.take(some, at(minute)).emission.live
    return found


def test_it_says_what_the_model_says_of_the_same_values() -> None:
    values = wave(150)
    assert written(fed(stage(), values)) == by_hand(values)


def test_what_is_forecast_is_told_of_the_window_that_it_is_about() -> None:
    told = stage().take([point(minute, value) for minute, value in enumerate(wave(60))], at(59))
    for horizon in (1, 6, 12):
        assert max(named(told, "orders_forecast", horizon=str(horizon))) == 59 + horizon
    first = next(one for one in told.emission.live if one.metric == "orders_forecast")
    assert [name for name, _ in first.dimensions] == ["place", "horizon"]
    assert isinstance(first.value, dict)
    assert list(first.value) == ["value", "lower", "upper"]
    assert told.emission.live == told.emission.durable


def test_a_count_without_events_is_learned_as_zero() -> None:
    values = [*wave(40), 0.0, 0.0, 0.0, *wave(10)]
    it = stage()
    found: list[Point] = []
    for minute, value in enumerate(values):
        found += it.take([point(minute, value)] if value else [], at(minute)).emission.live
    assert written(found) == by_hand(values)
    assert named(found, "orders_residual")[41] is not None


def test_a_mean_without_events_is_a_hole() -> None:
    values = [*wave(40), math.nan, math.nan, *wave(10)]
    it = stage(ORDERS.replace("orders", "price"))
    found: list[Point] = []
    for minute, value in enumerate(values):
        some = [] if math.isnan(value) else [point(minute, value, metric="price")]
        found += it.take(some, at(minute)).emission.live
    residuals = named(found, "price_residual")
    assert set(range(35, 52)) - residuals.keys() == {40, 41}
    assert set(range(40, 53)) <= named(found, "price_forecast", horizon="1").keys()


@given(
    values=st.lists(st.one_of(st.none(), st.integers(0, 30)), min_size=1, max_size=60),
    cuts=st.sets(st.integers(0, 60)),
    sizes=st.lists(st.integers(1, 12), max_size=30),
)
@settings(deadline=None, max_examples=40)
def test_restarts_and_larger_batches_change_nothing(values: list[int | None], cuts: set[int], sizes: list[int]) -> None:
    steady, other = stage(), stage()
    expected: list[Point] = []
    for minute, value in enumerate(values):
        some = [] if value is None else [point(minute, value), point(minute, value + minute % 7, "b")]
        expected += steady.take(some, at(minute)).emission.live
    found: list[Point] = []
    minute = 0
    for size in [*sizes, len(values)]:
        cut = list(enumerate(values))[minute : minute + size]
        if not cut:
            continue
        points = [
            made
            for place, value in reversed(cut)
            if value is not None
            for made in (point(place, value + place % 7, "b"), point(place, value))
        ]
        minute += len(cut)
        found += other.take(points, at(minute - 1)).emission.live
        if minute in cuts:
            snapshot = other.to_bytes()
            other = stage()
            other.restore(snapshot)
    assert _same(found) == _same(expected)


def _same(points: Iterable[Point]) -> list[Point]:
    """In one order, and as if said at one time."""
    settled = (msgspec.structs.replace(one, watermark_ms=0) for one in points)
    return sorted(settled, key=lambda one: (one.metric, one.start_ms, one.dimensions))


@pytest.mark.parametrize("state", [State.OPEN, State.CORRECTED])
def test_what_is_open_or_corrected_is_not_learned(state: State) -> None:
    it, other = stage(), stage()
    values = wave(40)
    found = fed(it, values)
    again: list[Point] = []
    for minute, value in enumerate(values):
        noise = msgspec.structs.replace(point(max(0, minute - 3), 900), state=state)
        again += other.take([noise, point(minute, value)], at(minute)).emission.live
    assert again == found


def test_the_residual_is_of_the_nearest_horizon() -> None:
    values = wave(60)
    found = fed(stage(ORDERS + "horizons = [12, 4]\n"), values)
    said, residuals = named(found, "orders_forecast", horizon="4"), named(found, "orders_residual")
    assert len(residuals) > 30
    for minute, residual in residuals.items():
        told = said[minute]
        assert isinstance(told, dict)
        assert residual == values[minute] - told["value"]


def test_one_quantile_of_several() -> None:
    it = stage(ORDERS.replace("orders", "wait") + 'key = "0.9"\n')
    for minute, value in enumerate(wave(40)):
        told = it.take([point(minute, {"p50": 1.0, "p90": value, "p99": 900.0}, metric="wait")], at(minute))
    (found,) = named(told, "wait_forecast", horizon="1").values()
    assert isinstance(found, dict)
    assert 10 < found["value"] < 40


def test_days_of_the_calendar_and_months_are_stepped_through() -> None:
    text = CATALOG.replace("[[metric]]", '[platform]\ntimezone = "Europe/Berlin"\n[[metric]]', 1)
    it = stage('[[forecast]]\nmetric = "orders"\nwindow = "month"\nhorizons = [1, 3]\n', text)
    found: list[Point] = []
    # Months of 2023 and 2024 begin at midnight in Berlin: in UTC an hour or two before.
    starts = _months()
    for start_ms, end_ms in pairwise(starts[:15]):
        one = Point("orders", "month", start_ms, (("place", "a"),), 30, 30, State.FINAL, 1, 0)
        found += it.take([one], end_ms).emission.live
    ahead = [one.start_ms for one in found if dict(one.dimensions).get("horizon") == "3"]
    assert ahead
    assert set(ahead) <= set(starts)
    assert max(ahead) == starts[13 + 3]


def _months() -> list[int]:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Europe/Berlin")
    months = [(2023 + number // 12, number % 12 + 1) for number in range(24)]
    return [int(datetime(year, month, 1, tzinfo=zone).timestamp() * 1_000) for year, month in months]


def test_only_series_with_the_dimensions_of_the_forecast() -> None:
    it = stage(ORDERS + 'dimensions = { place = "b" }\n')
    for minute in range(40):
        told = it.take([point(minute, 12), point(minute, 13, "b")], at(minute))
    assert {dict(one.dimensions).get("place", "b") for one in told.emission.live} == {"b"}


def test_more_series_than_are_forecast(caplog: pytest.LogCaptureFixture) -> None:
    it = stage(ORDERS + "max_series = 2\n")
    for minute in range(30):
        told = it.take([point(minute, 12, place) for place in "abcd"], at(minute))
    assert {dict(one.dimensions)["place"] for one in told.emission.live if one.metric == "orders_forecast"} == {
        "a",
        "b",
    }
    assert caplog.text.count("forecast orders@1m watches 2 series") == 1


def test_a_model_that_fails_stops_neither_its_series_nor_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    learn_one = Forecaster.learn_one

    def failing(self: Forecaster, value: float) -> None:
        if value == 13:
            raise ZeroDivisionError
        learn_one(self, value)

    monkeypatch.setattr(Forecaster, "learn_one", failing)
    it, undisturbed = stage(), stage()
    found: list[Point] = []
    expected: list[Point] = []
    for minute in range(80):
        b = point(minute, minute % 5, "b")
        found += it.take([point(minute, 13 if minute == 30 else 5), b], at(minute)).emission.live
        expected += undisturbed.take([b], at(minute)).emission.live
    assert "learns {'place': 'a'} anew: it cannot learn 13" in caplog.text
    assert named(found, "orders_forecast", place="b") == named(expected, "orders_forecast", place="b")
    # It begins with the window after the one it failed at.
    assert named(found, "orders_forecast", place="a", horizon="1").keys() > {79, 80}


def test_after_days_of_silence_it_knows_where_in_the_season_it_is() -> None:
    it = stage()
    values = wave(200)
    fed(it, values)
    later = 6 * DAY // MINUTE + 3
    told = it.take([point(later, 25)], at(later))
    model = Forecaster((1, 6, 12), season_s=600, step_s=60, non_negative=True)
    # A count is 0 for three days, and then nobody looks.
    looked = 200 + 3 * DAY // MINUTE
    for value in [*values, *[0.0] * (looked - 200)]:
        model.learn_one(value)
    model.skip(later - looked)
    model.learn_one(25)
    last = [one for one in told.emission.live if one.start_ms > START + later * MINUTE]
    assert {dict(one.dimensions)["horizon"]: one.value for one in last} == {
        str(one.horizon): {"value": one.value, "lower": one.lower, "upper": one.upper} for one in model.forecasts()
    }
    assert named(told, "orders_residual").get(later) is None


def test_what_was_said_before_days_of_silence_is_not_held_against_what_comes_after() -> None:
    """Also where these are whole seasons, behind which the series goes on at the very same place."""
    forecasts = stage('[[forecast]]\nmetric = "price"\nwindow = "1m"\nseason = "10m"\nhorizons = [1, 12]\n')
    for minute in range(300):
        forecasts.take([point(minute, 20 + minute % 10, metric="price")], at(minute))
    later = 300 + 10 * DAY // MINUTE
    forecasts.take([], at(later - 1))
    (before,) = (one.learned.model.quality(12) for one in forecasts._running[0].walk.series.values())
    assert before.steps > 100
    told = forecasts.take([point(later, 1e6, metric="price")], at(later))
    (after,) = (one.learned.model.quality(12) for one in forecasts._running[0].walk.series.values())
    assert (after.steps, after.mae) == (before.steps, before.mae)
    assert named(told, "price_residual") == {}


@pytest.mark.parametrize(("window", "step_ms"), [("1s", 1_000), ("10s", 10_000), ("1m", MINUTE)])
def test_a_weekend_without_events_costs_a_bounded_number_of_points(window: str, step_ms: int) -> None:
    text = CATALOG.replace('windows = ["1m"]', f'windows = ["{window}"]')
    forecasts = stage(f'[[forecast]]\nmetric = "price"\nwindow = "{window}"\nhorizons = [1]\nseason = "off"\n', text)

    def said(number: int) -> int:
        start_ms = START + number * step_ms
        made = Point("price", window, start_ms, (("place", "a"),), 5.0, 1, State.FINAL, 1, 0)
        return len(forecasts.take([made], start_ms + step_ms).emission.durable)

    for number in range(30):
        said(number)
    assert 4_000 < said(30 + 4 * DAY // step_ms) <= 5_002


def test_at_the_end_of_all_input_nothing_more_is_made_up() -> None:
    told = stage().take([point(minute, value) for minute, value in enumerate(wave(50))], END_MS)
    assert max(named(told, "orders_residual")) == 49


@pytest.mark.parametrize("values", [[5.0] * 300, [0.0] * 300, [5.0] + [math.nan] * 300, [1e308, 0.0] * 150])
def test_a_constant_a_series_of_holes_and_what_is_beyond_all_measure(values: list[float]) -> None:
    it = stage(ORDERS.replace("orders", "price"))
    for minute, value in enumerate(values):
        some = [] if math.isnan(value) else [point(minute, value, metric="price")]
        for one in it.take(some, at(minute)).emission.live:
            numbers = one.value.values() if isinstance(one.value, dict) else [one.value]
            assert all(isinstance(number, float) and math.isfinite(number) for number in numbers), one
    if len(set(values)) == 1:
        (said,) = named(it.take([point(300, 5.0, metric="price")], at(300)), "price_residual").values()
        assert said == 5.0 - values[0]


def test_how_good_they_are_is_a_mean_over_the_series() -> None:
    together, alone = stage(), {place: stage() for place in "ab"}
    for minute in range(400):
        values = {"a": wave(minute + 1)[-1], "b": 5.0 + (minute * 13) % 7}
        told = together.take([point(minute, value, place) for place, value in values.items()], at(minute))
        each = {place: it.take([point(minute, values[place], place)], at(minute)) for place, it in alone.items()}
    for name in ("forecast_mase", "forecast_coverage"):
        for horizon in ("1", "6", "12"):
            (mean,) = named(told, name, of="orders", horizon=horizon).values()
            parts = [found for one in each.values() for found in named(one, name, horizon=horizon).values()]
            assert len(parts) == 2
            assert mean == pytest.approx(sum(parts) / 2)  # type: ignore[arg-type]
    assert named(told, "forecast_worst_coverage") == {}, "there have been fewer than 500"


def test_how_it_stands_is_said_once_a_minute() -> None:
    text = CATALOG.replace('"1m", "5m"', '"10s", "1m", "5m"')
    it = stage(ORDERS.replace('"1m"', '"10s"'), text)
    statuses = []
    for number in range(6 * 40):
        one = Point("orders", "10s", START + number * 10_000, (("place", "a"),), number % 7, 1, State.FINAL, 1, 0)
        statuses += it.take([one], START + (number + 1) * 10_000).statuses
    # From the first window on, and then with each whole minute.
    assert [status.at_ms - START for status in statuses] == [10_000, *(minute * MINUTE for minute in range(1, 41))]
    last = statuses[-1]
    assert (last.name, last.kind, last.samples, last.proven) == ("forecast orders@10s", "forecast", 240, True)
    assert 0 < last.state_bytes < 10_240
    assert last.quality["series"] == 1
    assert last.quality["horizons"]["1"]["relative"] < 1


def test_a_forecast_of_something_else_learns_anew(caplog: pytest.LogCaptureFixture) -> None:
    it = stage()
    fed(it, wave(60))
    same = stage(ORDERS + "max_series = 7\n")
    same.restore(it.to_bytes())
    assert named(same.take([point(60, 20)], at(60)), "orders_residual")
    other = stage(ORDERS.replace("10m", "20m"))
    other.restore(it.to_bytes())
    assert "forecast orders@1m is of something else now, and learns anew" in caplog.text
    assert named(other.take([point(60, 20)], at(60)), "orders_residual") == {}


def test_a_state_of_another_version_learns_anew(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = stage()
    fed(it, wave(60))
    snapshot = it.to_bytes()
    monkeypatch.setattr("models.forecast.VERSION", 99)
    other = stage()
    other.restore(snapshot)
    assert "forecast orders@1m learns {'place': 'a'} anew" in caplog.text
    assert named(other.take([point(60, 20)], at(60)), "orders_residual") == {}


def test_what_has_not_changed_is_not_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    it = stage()
    fed(it, wave(60))
    packed = 0
    to_bytes = Forecaster.to_bytes

    def counted(self: Forecaster) -> bytes:
        nonlocal packed
        packed += 1
        return to_bytes(self)

    monkeypatch.setattr(Forecaster, "to_bytes", counted)
    first = it.to_bytes()
    assert it.to_bytes() == first
    assert packed <= 1
    assert isinstance(it.take([], at(59)).emission, Emission)
    assert it.take([], at(59)).emission.watermark_ms == at(59)
