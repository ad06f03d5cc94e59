"""Boards by address, by key and in turn; what is read aloud; every type of tile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.shop import Shop

pytestmark = pytest.mark.browser

TYPES = {"number", "sparkline", "line", "bar", "table", "top_k", "gauge", "heatmap", "status", "alerts"}


def test_boards_by_address_and_by_key(shop: Shop, page: Page) -> None:
    shop.sell(1)
    page.goto(f"{shop.url}/board/floor?theme=light")
    tile = page.locator("[data-testid=tile][data-metric=orders]")
    expect(page).to_have_title("Shop floor · Corner shop")
    expect(tile).to_have_attribute("data-level", "warning", timeout=30_000)
    expect(tile.get_by_test_id("level")).to_have_text("warning")
    expect(page.get_by_test_id("part").first).to_contain_text("live")

    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(f"{shop.url}/board/kinds?theme=light")
    expect(page.get_by_test_id("legend-row")).not_to_have_count(0, timeout=15_000)
    page.keyboard.press("5")
    expect(page).to_have_url(f"{shop.url}/board/every?theme=light")
    page.get_by_role("button", name="Shop floor").click()
    expect(page).to_have_url(f"{shop.url}/board/floor?theme=light")
    expect(tile).to_have_attribute("data-state", re.compile("live|stale"), timeout=15_000)


def test_every_type_of_tile_shows_what_was_sold_and_is_walked_through_by_key(
    shop: Shop, page: Page, artifacts: Path
) -> None:
    shop.alert("resolved")
    for kind, count in (("book", 3), ("pen", 2)):
        shop.sell(count, kind)
    page.goto(f"{shop.url}/board/every?theme=dark")
    tiles = page.get_by_test_id("tile")
    expect(tiles).to_have_count(len(TYPES), timeout=30_000)
    assert set(tiles.evaluate_all("all => all.map((one) => one.dataset.type)")) == TYPES
    for tile in tiles.all():
        expect(tile).to_have_attribute("data-state", "live", timeout=15_000)
        expect(tile.get_by_text("nothing measured yet")).to_have_count(0)
    for kind, shown in (("bar", "bar"), ("table", "row"), ("line", "legend-row")):
        rows = page.locator(f"[data-type={kind}]").get_by_test_id(shown)
        expect(rows.filter(has_text="book")).to_have_count(1)
        expect(rows.filter(has_text="pen")).to_have_count(1)
    expect(page.locator("[data-type=top_k]").get_by_test_id("bar").filter(has_text="sale")).to_have_count(1)
    expect(page.locator("[data-type=gauge]").get_by_test_id("value")).to_have_text("12.5")
    expect(page.locator("[data-type=alerts]").get_by_test_id("alert")).to_contain_text("resolved")
    page.screenshot(path=artifacts / "wall-every-tile.png")

    # Tab goes from tile to tile in reading order, and it is seen where one is.
    order = []
    for _ in range(40):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """() => {
              const at = document.activeElement;
              if (at.dataset.testid !== "tile") return at.dataset.testid ?? at.tagName;
              const box = at.getBoundingClientRect();
              const outline = getComputedStyle(at);
              return [at.dataset.type, Math.round(box.top), Math.round(box.left), outline.outlineStyle];
            }"""
        )
        if at == "heatmap":
            page.keyboard.press("ArrowLeft")
            expect(page.get_by_test_id("readout")).to_have_text(re.compile(r"\d"))
            page.keyboard.press("Escape")
            expect(page.get_by_test_id("readout")).to_have_count(0)
            page.get_by_test_id("heatmap").focus()
        if isinstance(at, list):
            order.append(at)
        if len(order) == len(TYPES):
            break
    assert [style for *_, style in order] == ["solid"] * len(TYPES)
    places = [(top, left) for _, top, left, _ in order]
    assert places == sorted(places)
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement === document.body")


def test_boards_take_turns_but_not_while_an_alert_is_firing_or_somebody_reads(shop: Shop, page: Page) -> None:
    shop.alert("resolved")
    held = page.get_by_test_id("held")
    # Two seconds are taken for three, the least in which a board can be read.
    page.goto(f"{shop.url}/?rotate=2&kiosk&boards=kinds,floor")
    expect(page).to_have_url(re.compile("/board/floor"), timeout=24_000)
    assert "rotate=2&kiosk&boards=kinds,floor" in page.url

    shop.alert("firing")
    try:
        expect(held).to_have_text("stays: alert firing", timeout=15_000)
        page.wait_for_timeout(3_500)
        expect(page).to_have_url(re.compile("/board/floor"))
    finally:
        shop.alert("resolved")
    expect(page).to_have_url(re.compile("/board/kinds"), timeout=15_000)

    page.keyboard.press("Tab")
    expect(held).to_have_text("stays while you read", timeout=15_000)
    page.wait_for_timeout(3_500)
    expect(page).to_have_url(re.compile("/board/kinds"))
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("/board/floor"), timeout=15_000)


def test_a_screen_that_nobody_touches_has_no_controls_and_no_cursor(shop: Shop, page: Page) -> None:
    controls = page.get_by_role("navigation", name="Boards")
    cursor = "getComputedStyle(document.querySelector('[data-testid=tile]')).cursor"
    page.goto(f"{shop.url}/board/floor")
    expect(controls).to_be_visible(timeout=30_000)
    expect(page.get_by_test_id("tile").first).to_be_visible()
    assert page.evaluate(cursor) != "none"
    page.goto(f"{shop.url}/board/floor?kiosk")
    expect(page.get_by_test_id("tile").first).to_be_visible(timeout=30_000)
    expect(controls).to_have_count(0)
    expect(page.get_by_role("button")).to_have_count(0)
    assert page.evaluate(cursor) == "none"


# What a screen reader would hear: changes in a live region that are not hidden from it, of those that stay.
_LISTEN = """
() => {
  const LIVE = "[aria-live], [role=status], [role=alert], [role=log]";
  window.__heard = [];
  window.__changes = 0;
  const said = (region) => {
    const copy = region.cloneNode(true);
    copy.querySelectorAll("[aria-hidden=true]").forEach((one) => one.remove());
    return copy.textContent.replace(/\\s+/g, " ").trim();
  };
  const before = new Map();
  const look = () => {
    for (const region of document.querySelectorAll(LIVE)) {
      const text = said(region);
      if (before.has(region) ? before.get(region) !== text : text !== "") window.__heard.push(text);
      before.set(region, text);
    }
  };
  for (const one of document.querySelectorAll(LIVE)) before.set(one, said(one));
  const isNumber = (node) => node.parentElement?.closest("[data-testid=value]") != null;
  new MutationObserver((all) => {
    window.__changes += all.filter(({ target }) => isNumber(target)).length;
    look();
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}
"""


def test_changes_of_state_are_read_aloud_and_numbers_are_not(shop: Shop, page: Page) -> None:
    shop.alert("resolved")
    shop.sell(1)
    page.goto(f"{shop.url}/board/every?theme=dark")
    tile = page.locator("[data-testid=tile][data-type=number]")
    expect(page.locator("[data-testid=tile][data-state=live]")).to_have_count(len(TYPES), timeout=30_000)
    # A board that opens on old numbers says first that they are live again, and that a moment later.
    for count in range(10):
        shop.sell(count % 4 + 1)
        page.wait_for_timeout(300)
    page.evaluate(_LISTEN)
    for count in range(1, 13):
        shop.sell(count % 4 + 1, "book" if count % 2 else "pen", price=5.0 + count % 5)
        page.wait_for_timeout(300)
    assert page.evaluate("window.__changes") >= 8
    assert page.evaluate("window.__heard") == []

    # Nothing is sold any more, and then something is.
    expect(tile).to_have_attribute("data-state", "stale", timeout=45_000)
    announced = page.get_by_test_id("announcement")
    expect(announced).to_contain_text("no data")
    shop.alert("firing")
    expect(page.get_by_test_id("standing").locator("strong")).to_have_text("1 firing", timeout=15_000)
    shop.alert("resolved")
    shop.sell(1)
    expect(announced).to_contain_text("live again", timeout=15_000)
    heard = page.evaluate("window.__heard")
    assert any("no data" in one for one in heard)
    assert "1 firing" in heard
    assert len(heard) < 12, heard
