"""The wallboard in a real browser over the real product."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.stack import Stack, eventually, stack

pytestmark = pytest.mark.browser

CATALOG = """
[platform]
name = "Corner shop"

[event]
required = ["kind"]

[[metric]]
name = "orders"
measure = "count"
windows = ["1s", "1m", "1d"]
title = "Orders"

[[metric]]
name = "orders_by_kind"
measure = "count"
by = ["kind"]
windows = ["1s", "1m", "1d"]
title = "Orders by kind"

[[board]]
name = "floor"
title = "Shop floor"

[[board.tile]]
type = "number"
metric = "orders"
warning = 1
critical = 1000000

[[board.tile]]
type = "status"

[[board.tile]]
type = "line"
metric = "orders_by_kind"

[[board]]
name = "kinds"

[[board.tile]]
type = "line"
metric = "orders_by_kind"
width = 12
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("wall")
    catalog = directory / "catalog.toml"
    catalog.write_text(CATALOG)
    with stack(directory, catalog) as made:
        made.run_processor()
        made.run_api()
        made.ready()
        yield made
        print(made.logs())


def _sell(shop: Stack, count: int, kind: str = "book") -> None:
    shop.add("events:{0}", [{"kind": kind}] * count)


def test_a_number_changes_and_a_dead_line_says_so_and_heals(shop: Stack, page: Page, artifacts: Path) -> None:
    _sell(shop, 5)
    eventually(lambda: shop.total("orders") == 5)
    page.goto(shop.api + "/?theme=dark")
    value = page.locator("[data-testid=tile][data-metric=orders] [data-testid=value]")
    banner = page.get_by_test_id("banner")
    expect(value).to_have_text("5", timeout=10_000)
    expect(banner).to_have_count(0)
    expect(page.locator("[data-testid=tile][data-type=line]")).to_have_count(1)

    _sell(shop, 2)
    expect(value).to_have_text("7", timeout=5_000)

    # A mark that a reload would wipe away.
    page.evaluate("window.notReloaded = true")
    api = shop.processes["serve"]
    api.kill()
    api.wait()
    expect(banner).to_be_visible(timeout=3_000)
    expect(page.locator("[data-testid=tile][data-metric=orders]")).to_have_attribute("data-state", "lost")
    page.screenshot(path=artifacts / "wall-line-lost.png")

    _sell(shop, 3)
    shop.run_api()
    expect(value).to_have_text("10", timeout=40_000)
    expect(banner).to_have_count(0, timeout=5_000)
    _sell(shop, 1)
    expect(value).to_have_text("11", timeout=5_000)
    assert page.evaluate("window.notReloaded") is True
    page.screenshot(path=artifacts / "wall-recovered.png")


def test_a_stopped_producer_looks_stale_and_a_stopped_processor_looks_different(shop: Stack, page: Page) -> None:
    page.goto(shop.api + "/?theme=light")
    _sell(shop, 1)
    tile = page.locator("[data-testid=tile][data-metric=orders]")
    expect(tile).to_have_attribute("data-state", "live", timeout=10_000)
    # Windows of one second: five seconds without an event are too long.
    expect(tile).to_have_attribute("data-state", "stale", timeout=15_000)
    expect(tile).to_contain_text("no data for")

    processor = shop.processes["run"]
    processor.kill()
    processor.wait()
    expect(tile).to_have_attribute("data-state", "source_down", timeout=15_000)
    expect(page.get_by_test_id("banner")).to_be_visible()
    shop.run_processor()
    _sell(shop, 1)
    expect(tile).to_have_attribute("data-state", "live", timeout=40_000)
    expect(page.get_by_test_id("banner")).to_have_count(0, timeout=5_000)


def test_boards_by_address_and_by_key(shop: Stack, page: Page, artifacts: Path) -> None:
    page.goto(shop.api + "/board/floor?theme=light")
    tile = page.locator("[data-testid=tile][data-metric=orders]")
    expect(page).to_have_title("Shop floor · Corner shop")
    expect(tile).to_have_attribute("data-level", "warning", timeout=10_000)
    expect(tile.get_by_test_id("level")).to_have_text("warning")
    expect(page.get_by_test_id("part").first).to_contain_text("live")
    page.screenshot(path=artifacts / "wall-board-light.png")

    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(shop.api + "/board/kinds?theme=light")
    expect(page.get_by_test_id("legend-row")).not_to_have_count(0, timeout=5_000)
    page.keyboard.press("1")
    expect(page).to_have_url(shop.api + "/board/floor?theme=light")
    expect(tile).to_have_attribute("data-state", re.compile("live|stale"), timeout=5_000)


def test_boards_take_turns_but_not_under_somebody_who_reads(shop: Stack, page: Page) -> None:
    page.goto(shop.api + "/?rotate=3&kiosk&boards=kinds,floor")
    expect(page).to_have_url(re.compile("/board/floor"), timeout=6_000)
    page.keyboard.press("Tab")
    expect(page.get_by_test_id("held")).to_be_visible(timeout=2_000)
    time.sleep(4)
    expect(page).to_have_url(re.compile("/board/floor"))
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("/board/kinds"), timeout=6_000)


def test_refused_events_are_counted_on_the_wall(shop: Stack, page: Page) -> None:
    shop.client.xadd("events:{0}", {"data": "{broken"})
    eventually(lambda: shop.get("/v1/metrics")["rejected_total"] >= 1)
    refused = shop.get("/v1/metrics")["rejected_total"]
    page.goto(shop.api)
    expect(page.get_by_test_id("rejects")).to_contain_text(str(refused), timeout=10_000)
    expect(page.get_by_test_id("rejects")).to_contain_text("refused")


def test_numbers_move_within_a_second_of_opening_the_demo(
    tmp_path_factory: pytest.TempPathFactory, page: Page, artifacts: Path
) -> None:
    from tests.engines import free_port
    from tests.integration.test_up import _up

    directory = tmp_path_factory.mktemp("demo")
    with _up(directory, free_port(), "--demo", "--rate", "200") as up:
        up.ready()
        page.goto(f"http://127.0.0.1:{up.port}/?theme=dark")
        value = page.locator("[data-testid=tile][data-metric=events] [data-testid=value]")
        expect(value).to_be_visible(timeout=10_000)
        first = value.inner_text()
        expect(value).not_to_have_text(first, timeout=5_000)
        # History comes first: the past ten minutes are there before anything was seen live.
        time.sleep(3)
        page.screenshot(path=artifacts / "wall-demo-dark.png")
        up.process.terminate()
        assert up.process.wait(10) == 0, up.said
