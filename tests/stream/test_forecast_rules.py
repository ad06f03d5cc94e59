"""Forecasts in the whole processor: events in; points, residuals and alerts out."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
import pytest

from sinks.alert_records import Alert
from sinks.records import Point, State
from stream.alerts import Alerts
from stream.batches import Closed, Emission, RawBatch
from stream.catalog import Catalog, parse
from stream.closings import Closings
from stream.enrich import Pseudonyms
from stream.forecasts import Forecasts, outlooks, source_of
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from stream.score import Scorer, lifecycles, watches

MINUTE = 60_000
START = 1_700_006_400_000
CATALOG = """
[event]
dedupe_window = "off"

[[metric]]
name = "orders"
measure = "count"
by = ["place"]
windows = ["1m"]

[[metric]]
name = "price"
measure = "mean"
value = "price"
windows = ["1m"]

[[forecast]]
metric = "orders"
window = "1m"
season = "10m"

[[forecast]]
metric = "price"
window = "1m"
season = "off"
"""


def events(minutes: Iterable[tuple[int, int]]) -> list[dict[str, object]]:
    """So many orders in each minute."""
    return [
        {"time": START + minute * MINUTE + number, "place": "a", "price": float(count), "n": number}
        for minute, count in minutes
        for number in range(count)
    ]


def batch(some: list[dict[str, object]]) -> RawBatch:
    entries = [(b"%d-%d" % (START, number + 1), [b"data", orjson.dumps(one)]) for number, one in enumerate(some)]
    return RawBatch("events:{0}", entries, False, START + 10_000 * MINUTE)


def course(minutes: int) -> list[tuple[int, int]]:
    return [(minute, 3 + minute % 5) for minute in range(minutes)]


def pipeline_of(catalog: Catalog, *, whole_input: bool = False) -> Pipeline:
    plan = compile_plan(catalog)
    forecast = outlooks(catalog, plan)
    return Pipeline(plan, Pseudonyms(b"k" * 32), shards=2, whole_input=whole_input, outlooks=forecast)


def settled(points: Iterable[Point]) -> dict[object, object]:
    return {
        (one.metric, one.start_ms, one.dimensions): (one.value, one.count, one.revision)
        for one in points
        if one.state is State.FINAL and ("forecast" in one.metric or "residual" in one.metric)
    }


def live(catalog: Catalog, minutes: list[tuple[int, int]], *, restart_at: int | None = None) -> list[Point]:
    """As the processor has it: minute by minute, with a restart."""
    it = pipeline_of(catalog)
    found: list[Point] = []
    for number, minute in enumerate(minutes):
        now_ms = START + (minute[0] + 2) * MINUTE
        it.add(batch(events([minute])), now_ms)
        found += it.tick(now_ms).durable
        if number == restart_at:
            saved = it.snapshot()
            it = pipeline_of(catalog)
            it.restore(saved)
    return [*found, *it.finish(START + 10_000 * MINUTE).durable]


def test_all_at_once_says_what_was_said_minute_by_minute() -> None:
    catalog = parse(CATALOG)
    whole = pipeline_of(catalog, whole_input=True)
    whole.add(batch(events(reversed(course(160)))), START + 10_000 * MINUTE)
    at_once = settled(whole.finish(START + 10_000 * MINUTE).durable)
    assert at_once == settled(live(catalog, course(160)))
    assert at_once == settled(live(catalog, course(160), restart_at=77))
    assert {key[0] for key in at_once} >= {"orders_forecast", "orders_residual", "price_forecast", "price_residual"}  # type: ignore[index]
    # Ten minutes are a season; of a hundred values and more it is told how well they were forecast.
    assert {key[0] for key in at_once} >= {"forecast_mase", "forecast_coverage"}  # type: ignore[index]
    assert whole.models["forecast orders@1m"].samples == 160


class Processor:
    """The stages that rules go through, as the flow wires them: what forecasts say comes behind what they are of."""

    def __init__(self, catalog: Catalog) -> None:
        plan = compile_plan(catalog)
        watched, forecast = watches(catalog, plan), outlooks(catalog, plan)
        self.sources = set(watched)
        self._forecasts = {cube: Forecasts(some) for cube, some in forecast.items()}
        self._learned, self._closed = Closings(forecast), Closings(watched)
        self._scorers = {source: Scorer(source, some) for source, some in watched.items()}
        self._alerts = Alerts(lifecycles(watched, catalog), watched, "shop")
        self.alerts: dict[str, Alert] = {}
        self.told: list[Alert] = []
        """As they were each time that something was to be said of them."""

    def take(self, cube: str, points: list[Point], watermark_ms: int) -> None:
        self._emit(cube, Emission(points, points, watermark_ms=watermark_ms))

    def _emit(self, source: str, emission: Emission) -> None:
        for cube, closed in self._learned.of((source, emission)):
            foretold = self._forecasts[cube].take(closed.points, closed.watermark_ms)
            self._emit(source_of(cube), foretold.emission)
        for _, closed in self._closed.of((source, emission)):
            self._score(closed)

    def _score(self, closed: Closed) -> None:
        self._alerts.add(self._scorers[closed.cube].take(closed.points, closed.watermark_ms))
        for alert in self._alerts.advance(closed.watermark_ms).alerts:
            self.told.append(alert)
            self.alerts[alert.id] = alert


def orders(minute: int, value: float) -> Point:
    return Point("orders", "1m", START + minute * MINUTE, (("place", "a"),), value, 1, State.FINAL, 1, 0)


def ran(rule: str, values: Iterable[float]) -> tuple[Processor, list[Alert]]:
    it = Processor(parse(CATALOG + rule))
    for minute, value in enumerate(values):
        it.take("place", [orders(minute, value)], START + (minute + 1) * MINUTE)
    return it, list(it.alerts.values())


def minute_of(time_ms: int) -> int:
    return (time_ms - START) // MINUTE


def test_a_rule_over_the_residual_tells_of_what_was_not_foreseen() -> None:
    rule = '[[anomaly]]\nmetric = "orders_residual"\nwindow = "1m"\ndetector = "above"\nseverity = { error = 40 }\n'
    values = [20.0 + minute % 10 for minute in range(200)]
    values[150] += 100
    it, alerts = ran(rule, values)
    assert it.sources == {"forecast|place"}
    (alert,) = alerts
    assert (alert.metric, dict(alert.dimensions)) == ("orders_residual", {"place": "a"})
    # The minute of the surprise has just closed.
    assert minute_of(alert.opened_ms) == 151
    assert alert.status.value == "resolved"


def test_novelty_watches_a_residual_as_any_metric() -> None:
    rule = '[[anomaly]]\nmetric = "orders_residual"\nwindow = "1m"\n'
    values = [20.0 + minute % 10 + (minute * 7) % 3 for minute in range(3_000)]
    # Not high for a count that goes up to thirty, but not what was to be expected.
    values[2_900] += 8
    _, alerts = ran(rule, values)
    # A season later the surprise is what was to be expected, and its absence another.
    assert minute_of(alerts[0].opened_ms) == 2_901


def test_a_rule_over_the_forecast_tells_when_it_is_made_and_not_when_it_has_come_true() -> None:
    rule = """
[[anomaly]]
metric = "orders_forecast"
key = "value"
window = "1m"
dimensions = { horizon = "6" }
detector = "above"
severity = { error = 500 }
"""
    values = [float(3 * minute) for minute in range(180)]
    _, alerts = ran(rule, values)
    (alert,) = alerts
    assert dict(alert.dimensions) == {"place": "a", "horizon": "6"}
    crosses = next(minute for minute, value in enumerate(values) if value >= 500)
    assert crosses - 8 <= minute_of(alert.opened_ms) <= crosses - 3


def test_how_good_forecasts_are_is_told_of_those_of_every_cube() -> None:
    rule = """
[[anomaly]]
metric = "forecast_coverage"
window = "1m"
detector = "below"
severity = { warning = 1.01 }
"""
    it = Processor(parse(CATALOG + rule))
    assert it.sources == {"forecast|place", "forecast|"}
    for minute in range(300):
        end_ms = START + (minute + 1) * MINUTE
        it.take("place", [orders(minute, 20.0 + minute % 10)], end_ms)
        price = Point("price", "1m", START + minute * MINUTE, (), minute % 7 + 0.5, 1, State.FINAL, 1, 0)
        it.take("", [price], end_ms)
    about = {(dict(alert.dimensions)["of"], dict(alert.dimensions)["horizon"]) for alert in it.alerts.values()}
    assert about == {(name, horizon) for name in ("orders", "price") for horizon in ("1", "6", "12")}


@pytest.mark.parametrize("silent", [False, True])
def test_alerts_wait_for_no_forecast_that_has_nothing_to_say(silent: bool) -> None:
    """Windows of one cube are judged once all have come as far; forecasts say so also when they say nothing else."""
    rules = """
[[anomaly]]
metric = "orders_residual"
window = "1m"
detector = "above"
severity = { error = 40 }
[[anomaly]]
metric = "orders"
window = "1m"
detector = "above"
severity = { error = 40 }
"""
    it = Processor(parse(CATALOG + rules))
    it.take("place", [] if silent else [orders(0, 3)], START + MINUTE)
    it.take("place", [orders(1, 50)], START + 2 * MINUTE)
    assert [alert.metric for alert in it.alerts.values()] == ["orders"]


CROSSING = """
[[anomaly]]
name = "soon_full"
metric = "orders"
window = "1m"
detector = "crossing"
options = { above = 50_000, within = 6, season = "1h" }
"""


def test_a_number_that_will_cross_a_limit_opens_an_alert_that_says_when() -> None:
    # Level with some noise for three hours, then upwards: the limit is crossed in the 51st minute of that.
    level = [20_000.0 + 40 * (minute * 37 % 11) for minute in range(180)]
    climb = [20_000.0 + 600 * minute + 40 * (minute * 37 % 11) for minute in range(70)]
    it, alerts = ran(CROSSING, [*level, *climb])
    assert it.sources == {"place"}
    (alert,) = alerts
    crossed = 180 + next(minute for minute, value in enumerate(climb) if value > 50_000)
    assert crossed - 6 <= minute_of(alert.opened_ms) <= crossed - 1
    first, *others = [one.why.partition(":")[0] for one in it.told]
    assert first == "may cross 50,000 in 6 windows"
    assert "will cross 50,000 in 6 windows" in others
    assert dict(alert.dimensions) == {"place": "a"}


def test_what_stays_below_a_limit_crosses_nothing() -> None:
    _, alerts = ran(CROSSING, [20_000.0 + 40 * (minute * 37 % 11) for minute in range(300)])
    assert alerts == []
