from __future__ import annotations

import pytest

from stream.catalog import parse
from stream.forecast import VALUES
from stream.metrics import GivenMetric
from stream.problems import CatalogError

METRICS = """
[[metric]]
name = "orders"
title = "Orders placed"
unit = "orders"
measure = "count"
by = ["place"]
windows = ["1m", "1h", "1d", "week", "5m/1m"]
[[metric]]
name = "sales"
measure = "count"
where = "event = 'sale'"
windows = ["1m", "1h"]
[[metric]]
name = "visits"
measure = "count"
windows = ["1m"]
[[metric]]
name = "conversion"
measure = "ratio"
of = "sales"
to = "visits"
[[metric]]
name = "balance"
measure = "sum"
value = "amount"
windows = ["1m"]
[[metric]]
name = "wait"
measure = "quantile"
value = "wait"
windows = ["1m"]
[[metric]]
name = "pages"
measure = "top_k"
value = "page"
windows = ["1m"]
[[metric]]
name = "far"
measure = "count"
by = ["horizon"]
windows = ["1m"]
"""
ORDERS = '[[forecast]]\nmetric = "orders"\nwindow = "1m"\n'


def given_metrics(text: str) -> dict[str, GivenMetric]:
    return {metric.name: metric for metric in parse(METRICS + text).given}


def test_what_a_forecast_has_that_says_little() -> None:
    (it,) = parse(METRICS + ORDERS).forecast
    assert (it.called, it.ahead, it.coverage, it.max_series) == ("orders@1m", (1, 6, 12), 0.9, 100)


def test_each_metric_that_is_forecast_has_two_more_and_all_have_three_together() -> None:
    found = given_metrics(ORDERS + ORDERS.replace("1m", "1h") + ORDERS.replace("orders", "sales"))
    assert list(found) == [
        "orders_forecast",
        "orders_residual",
        "sales_forecast",
        "sales_residual",
        "forecast_mase",
        "forecast_coverage",
        "forecast_worst_coverage",
    ]
    forecast, residual, mase = found["orders_forecast"], found["orders_residual"], found["forecast_mase"]
    assert (forecast.title, forecast.unit, forecast.of) == ("Orders placed, forecast", "orders", "orders")
    assert (forecast.by, forecast.windows, forecast.keys) == (["place", "horizon"], ["1m", "1h"], VALUES)
    assert forecast.main_key == "value"
    assert (residual.by, residual.windows, residual.keys) == (["place"], ["1m", "1h"], ())
    assert (mase.by, mase.windows, mase.among) == (["of", "horizon"], ["1m", "1h"], ("orders", "sales"))


def test_without_a_forecast_there_is_none() -> None:
    assert given_metrics("") == {}


@pytest.mark.parametrize(
    ("text", "key", "expected", "found"),
    [
        ('metric = "order"\nwindow = "1m"', "metric", "one of orders, sales", "'order' (did you mean orders?)"),
        ('metric = "streamgauge_events"\nwindow = "1m"', "metric", "one of orders, sales", "'streamgauge_events'"),
        ('metric = "orders_residual"\nwindow = "1m"', "metric", "one of orders, sales", "'orders_residual'"),
        ('metric = "orders"\nwindow = "10m"', "window", "one of 1m, 1h, 1d, week, 5m/1m, which orders has", "'10m'"),
        ('metric = "orders"\nwindow = "5m/1m"', "window", "one that does not slide", "'5m/1m'"),
        ('metric = "pages"\nwindow = "1m"', "metric", "a metric of numbers", "'pages', a top_k"),
        ('metric = "wait"\nwindow = "1m"', "key", "which of p50, p90, p99", "None"),
        ('metric = "orders"\nwindow = "1m"\nkey = "p50"', "key", "none, as orders has one value", "'p50'"),
        ('metric = "far"\nwindow = "1m"', "metric", "one without a dimension horizon", "'far'"),
        (
            'metric = "orders"\nwindow = "1m"\ndimensions = { country = "at" }',
            "dimensions",
            "some of place",
            "'country'",
        ),
        ('metric = "orders"\nwindow = "1h"\nseason = "90m"', "season", "at least two whole windows of 1h", "'90m'"),
        ('metric = "orders"\nwindow = "1h"\nseason = "1h"', "season", "at least two whole windows of 1h", "'1h'"),
        ('metric = "orders"\nwindow = "1h"\nseason = []', "season", "a duration such as 1d, a list of", "[]"),
        ('metric = "orders"\nwindow = "1h"\nseason = 7', "season", "a duration such as 1d, a list of", "7"),
        ('metric = "orders"\nwindow = "1h"\nseason = ["1d", "1d"]', "season", "each once", "['1d', '1d']"),
        ('metric = "orders"\nwindow = "1h"\nseason = ["off"]', "season", "", "'off'"),
        ('metric = "orders"\nwindow = "1h"\nseason = "500d"', "season", "at most 400d", "'500d'"),
        (
            'metric = "orders"\nwindow = "1h"\nseason = ["1d", "36h"]',
            "season",
            "a second season of which the first is a part",
            "['1d', '36h']",
        ),
        ('metric = "orders"\nwindow = "1m"\nhorizons = [0]', "horizons[0]", "greater than or equal to 1", "0"),
        ('metric = "orders"\nwindow = "1m"\nhorizons = [1, 1]', "horizons", "each once", "[1, 1]"),
        ('metric = "orders"\nwindow = "1m"\ncoverage = 1', "coverage", "less than or equal to 0.99", "1"),
        ('metric = "orders"\nwindow = "1m"\nhorizon = 3', "horizon", "one of metric, window, horizons", "'horizon'"),
    ],
)
def test_mistakes_are_named(text: str, key: str, expected: str, found: str) -> None:
    with pytest.raises(CatalogError) as caught:
        parse(f"{METRICS}[[forecast]]\n{text}\n")
    (problem,) = caught.value.problems
    assert problem.key == f"forecast[0].{key}"
    assert expected in problem.expected
    assert found in problem.found


def test_a_metric_and_window_is_forecast_once() -> None:
    with pytest.raises(CatalogError, match=r"forecast\[1\].window: expected one forecast of each metric and window"):
        parse(METRICS + ORDERS + ORDERS)


def test_the_names_of_what_is_given_are_taken() -> None:
    mine = '[[metric]]\nname = "orders_forecast"\nmeasure = "count"\n'
    with pytest.raises(CatalogError, match="another name; found 'orders_forecast', which forecast brings"):
        parse(METRICS + mine + ORDERS)


def test_a_name_leaves_room_for_those_that_are_given() -> None:
    name = "o" * 56
    with pytest.raises(CatalogError, match="a name of at most 55 letters"):
        parse(METRICS.replace('"orders"', f'"{name}"', 1) + ORDERS.replace("orders", name))


def test_what_is_wrong_elsewhere_hides_no_metric_that_is_given() -> None:
    rule = '[[anomaly]]\nmetric = "orders_residual"\nwindow = "1m"\n'
    wrong = '[[metric]]\nname = "n"\nmeasure = "cuont"\n'
    with pytest.raises(CatalogError) as caught:
        parse(METRICS + wrong + ORDERS + rule)
    assert [problem.key for problem in caught.value.problems] == ['metric[8] "n".measure']


def test_rules_and_tiles_know_what_is_given() -> None:
    rules = """
[[anomaly]]
metric = "orders_residual"
window = "1m"
[[anomaly]]
metric = "orders_forecast"
key = "upper"
window = "1m"
dimensions = { horizon = "6" }
detector = "above"
severity = { warning = 50 }
[[board]]
name = "main"
[[board.tile]]
type = "line"
metric = "forecast_coverage"
"""
    assert len(parse(METRICS + ORDERS + rules).anomaly) == 2
    with pytest.raises(CatalogError, match="key: expected which of value, lower, upper, which orders_forecast has"):
        parse(METRICS + ORDERS + rules.replace('key = "upper"\n', ""))


@pytest.mark.parametrize(
    ("metric", "window", "above_zero"),
    [("orders", "1m", True), ("conversion", "1m", True), ("balance", "1m", False)],
)
def test_counts_and_their_ratios_are_never_below_zero(metric: str, window: str, above_zero: bool) -> None:
    from stream.forecasts import outlooks
    from stream.plan import compile_plan

    catalog = parse(f'{METRICS}[[forecast]]\nmetric = "{metric}"\nwindow = "{window}"\n')
    ((found,),) = outlooks(catalog, compile_plan(catalog)).values()
    assert found.above_zero is above_zero


@pytest.mark.parametrize(
    ("window", "season", "windows"),
    [
        ("1m", "", 1440),
        ("1d", "", 7),
        ("week", "", 1),
        ("1h", 'season = "off"', 1),
        ("1h", 'season = ["1d", "7d"]', 168),
    ],
)
def test_a_season_is_a_day_and_of_days_a_week(window: str, season: str, windows: int) -> None:
    from stream.forecasts import outlooks
    from stream.plan import compile_plan

    catalog = parse(f"{METRICS}{ORDERS.replace('1m', window)}{season}\n")
    ((found,),) = outlooks(catalog, compile_plan(catalog)).values()
    window_ms = found.path.window.about_ms
    assert max(found.forecast.seasons_ms(found.path.window), default=window_ms) // window_ms == windows
