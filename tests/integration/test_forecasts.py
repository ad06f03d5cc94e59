"""The whole way of a forecast: events, processor, store, hub, REST, alerts; and what crashes leave of it."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.batches import RawBatch
from stream.catalog import load
from stream.enrich import Pseudonyms
from stream.forecasts import outlooks
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from tests.stack import Stack, eventually, live, stack

STREAM = "events:{0}"
SECONDS = 240
SURPRISE = 200
CATALOG = """
[event]
out_of_orderness = "60s"

[[metric]]
name = "orders"
measure = "count"
by = ["place"]
windows = ["1s"]

[[metric]]
name = "price"
measure = "mean"
value = "price"
windows = ["1s"]

[[forecast]]
metric = "orders"
window = "1s"
season = "10s"
horizons = [1, 5]

[[forecast]]
metric = "price"
window = "1s"
season = "off"

[[anomaly]]
name = "unforeseen"
metric = "orders_residual"
window = "1s"
detector = "above"
severity = { warning = 20 }
"""


def events(start_ms: int) -> list[dict[str, Any]]:
    found = [
        {"time": start_ms + second * 1_000 + number, "place": place, "price": second % 7 + number, "n": number}
        for second in range(SECONDS)
        for place, more in (("a", 0), ("b", 3))
        for number in range(2 + second % 10 + more + (40 if second == SURPRISE and place == "b" else 0))
    ]
    # Late enough to close all of it.
    return [*found, {"time": start_ms + (SECONDS + 80) * 1_000, "place": "z"}]


def said(points: list[dict[str, Any]]) -> dict[Any, Any]:
    """Value and count, by series and second."""
    return {
        (point["start"], *sorted(point["dimensions"].items())): (point["value"], point["count"]) for point in points
    }


def expected(catalog_path: Path, some: list[dict[str, Any]]) -> dict[str, dict[Any, Any]]:
    """The same, worked out at once and without an engine."""
    catalog = load(catalog_path)
    plan = compile_plan(catalog)
    pipeline = Pipeline(plan, Pseudonyms(b"the-key-of-these-tests"), outlooks=outlooks(catalog, plan))
    now_ms = int(time.time() * 1_000)
    entries = [(b"%d-%d" % (now_ms, number + 1), [b"data", orjson.dumps(one)]) for number, one in enumerate(some)]
    pipeline.add(RawBatch(STREAM, entries, False, now_ms), now_ms)
    found: dict[str, list[dict[str, Any]]] = {}
    for point in pipeline.tick(now_ms).durable:
        found.setdefault(point.metric, []).append(point.to_json())
    return {metric: said(points) for metric, points in found.items()}


def start_of() -> int:
    return int(time.time()) * 1_000 - 400_000


METRICS = (
    "orders_forecast",
    "orders_residual",
    "price_forecast",
    "price_residual",
    "forecast_mase",
    "forecast_coverage",
)


def await_same(made: Stack, wanted: dict[str, dict[Any, Any]]) -> None:
    for metric in METRICS:
        with suppress(AssertionError):
            eventually(lambda metric=metric: said(made.points(metric, "1s")) == wanted[metric], within_s=120)
        assert said(made.points(metric, "1s")) == wanted[metric], metric


def test_what_is_forecast_is_in_the_store_on_the_wall_and_watched(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    with stack(tmp_path, catalog) as made:
        some = events(start_of())
        made.run_processor()
        made.run_api()
        made.ready()
        with live(made, "metric:orders_forecast@1s{place=a}") as client:
            made.add(STREAM, some)
            client.until(lambda one: any("horizon=5" in key for key in one.series))
        wanted = expected(catalog, some)
        await_same(made, wanted)

        def status() -> Any:
            found: Any = {one["name"]: one for one in made.get("/v1/models")["models"]}["forecast orders@1s"]
            assert found["kind"] == "forecast"
            return found

        # Before the first of its forecasts has come true, nothing is known of how good they are.
        eventually(lambda: set(status()["quality"]["horizons"]) == {"1", "5"}, what="the state of the model")
        (alert,) = eventually(
            lambda: made.get("/v1/alerts", rule="unforeseen", status="resolved")["alerts"], what="the alert"
        )
        assert alert["series"] == {"metric": "orders_residual", "window": "1s", "dimensions": {"place": "b"}}
        assert {one["name"] for one in made.get("/v1/metrics")["metrics"]} >= {*METRICS}


@pytest.mark.parametrize(("seed", "processes"), [(1, 1), (2, 2)])
def test_killed_again_and_again_it_says_what_an_undisturbed_run_says(tmp_path: Path, seed: int, processes: int) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    rng = random.Random(seed)

    def run() -> Any:
        return made.start("run", "run", "--catalog", str(catalog), "--processes", str(processes))

    with stack(tmp_path, catalog) as made:
        some = events(start_of())
        made.run_api()
        processor = run()
        sizes = sorted(rng.sample(range(1, len(some)), 6))
        for first, last in zip([0, *sizes], [*sizes, len(some)], strict=True):
            made.add(STREAM, some[first:last])
            time.sleep(rng.uniform(0.2, 1.5))
            if rng.random() < 0.6:
                processor.kill()
                processor.wait()
                processor = run()
        wanted = expected(catalog, some)
        await_same(made, wanted)
