"""The line between a wall and its server: numbers move, a dead line says so, and heals without a reload."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Error, Locator, Page, expect

from tests.browser.chromium import AWAY, Frames, Watch
from tests.browser.looks import look_of
from tests.browser.shop import Shop
from tests.patience import Stopwatch
from tests.stack import eventually

pytestmark = pytest.mark.browser


def _orders(page: Page) -> Locator:
    return page.locator("[data-testid=tile][data-type=number][data-metric=orders]")


def _sell(shop: Shop, count: int) -> str:
    """Sell, and what the wall is to show then."""
    before = -1.0
    # What an earlier test sold reaches the store within a second or so.
    while (now := shop.orders_today()) != before:
        before = now
        time.sleep(1.5)
    shop.sell(count)
    eventually(lambda: shop.orders_today() == before + count, what=f"{before + count:.0f} orders")
    return f"{before + count:,.0f}"


def test_a_dead_line_is_seen_at_once_and_heals_without_a_reload(
    shop: Shop, page: Page, watch: Watch, artifacts: Path
) -> None:
    frames = Frames(page)
    expected = _sell(shop, 5)
    page.goto(f"{shop.url}/?theme=dark")
    tile, banner = _orders(page), page.get_by_test_id("banner")
    value = tile.get_by_test_id("value")
    expect(value).to_have_text(expected, timeout=30_000)
    expect(banner).to_have_count(0)
    expected = _sell(shop, 2)
    expect(value).to_have_text(expected, timeout=15_000)
    live = look_of(tile)

    # A mark that a reload would wipe away.
    page.evaluate("window.__mark = true")
    watch.excused.append(AWAY)
    since = Stopwatch()
    shop.kill_api()
    expect(banner).to_be_visible(timeout=15_000)
    assert since.worked_s < 3
    expect(banner).to_contain_text("not current")
    expect(tile).to_have_attribute("data-state", "lost")
    lost = look_of(tile)
    assert lost.opacity < live.opacity
    assert lost.pattern != live.pattern
    assert lost.edge != live.edge
    assert re.fullmatch(r"line lost for \d+ s", lost.words)
    page.screenshot(path=artifacts / "wall-line-lost.png")

    # What happens meanwhile is not missed, and only what has changed is sent.
    shop.sell(3)
    shop.run_api()
    expected = f"{int(expected.replace(',', '')) + 3:,}"
    expect(value).to_have_text(expected, timeout=60_000)
    expect(banner).to_have_count(0, timeout=15_000)
    assert look_of(tile) == live
    assert [welcome["resumed"] for welcome in frames.said("welcome")] == [True]
    assert frames.said("snapshot") == []
    assert shop.metric("streamgauge_hub_joined_clients_total", first="update") == 1
    expected = _sell(shop, 1)
    expect(value).to_have_text(expected, timeout=15_000)
    assert page.evaluate("window.__mark") is True


def test_a_word_to_all_pages_has_them_load_themselves_anew(shop: Shop, page: Page) -> None:
    page.goto(f"{shop.url}/board/floor?theme=dark")
    expect(_orders(page)).to_have_attribute("data-state", re.compile("live|stale"), timeout=30_000)
    page.evaluate("window.__mark = true")
    said = shop.reload(within_s=1)
    assert "load themselves anew within 1 s" in said
    # Not `wait_for_function`, which the page's policy forbids; while it loads there is nothing to ask.
    eventually(lambda: _unmarked(page), within_s=10, what="a page that was loaded anew")
    expect(_orders(page)).to_have_attribute("data-state", re.compile("live|stale"), timeout=30_000)
    expect(page).to_have_url(f"{shop.url}/board/floor?theme=dark")


def test_a_board_that_is_not_there_is_not_found_and_says_which_are(shop: Shop, page: Page, watch: Watch) -> None:
    watch.excused.append("404")
    answer = page.goto(f"{shop.url}/board/flour")
    assert answer is not None
    assert answer.status == 404
    expect(page.locator("h1")).to_contain_text("flour")
    page.get_by_role("link", name="floor").click()
    expect(_orders(page)).to_be_visible(timeout=30_000)
    expect(page).to_have_url(f"{shop.url}/board/floor")


def test_refused_events_are_counted_on_the_wall(shop: Shop, page: Page) -> None:
    shop.refuse()
    eventually(lambda: shop.get("/v1/metrics")["rejected_total"] >= 1)
    refused = shop.get("/v1/metrics")["rejected_total"]
    page.goto(shop.url)
    rejects = page.get_by_test_id("rejects")
    expect(rejects).to_contain_text(str(refused), timeout=30_000)
    expect(rejects).to_contain_text("refused")


def _unmarked(page: Page) -> bool:
    try:
        return bool(page.evaluate("window.__mark === undefined"))
    except Error:
        return False
