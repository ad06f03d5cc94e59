"""History first: a tile opens with the last hour from the store, and goes live without a seam."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.chromium import Frames, until
from tests.browser.looks import bars_of
from tests.browser.shop import HOUR_S, WINDOW_S, Shop

pytestmark = pytest.mark.browser

SNAPSHOT_WINDOWS = 8
WINDOWS = HOUR_S // WINDOW_S


def _stored(shop: Shop) -> dict[int, float]:
    """Sales by window start, epoch s, from the store."""
    points = shop.points("sold", f"{WINDOW_S}s")
    return {int(datetime.fromisoformat(point["start"]).timestamp()): point["value"] for point in points}


def _drawn_up_to(tile: Locator, shop: Shop) -> int:
    """Start of the latest closed window that is drawn; 0 unless every bar is as high as its number in the store."""
    bars = bars_of(tile)
    indexes = [bar.index for bar in bars]
    assert indexes == sorted(set(indexes)), "a window is drawn twice"
    stored = _stored(shop)
    closed = [bar for bar in bars if not bar.is_open]
    if len(closed) < WINDOWS - SNAPSHOT_WINDOWS:
        return 0
    # Heights are in proportion. Which window is at the right edge follows from where the store's numbers fit.
    for last in range(max(stored) - WINDOW_S, int(time.time()) + WINDOW_S, WINDOW_S):
        starts = [last - (bars[-1].index - bar.index) * WINDOW_S for bar in closed]
        wanted = [stored.get(start, 0) for start in starts]
        unit = max(bar.height for bar in closed) / max(wanted)
        if all(abs(bar.height - want * unit) < max(2.0, unit / 4) for bar, want in zip(closed, wanted, strict=True)):
            return starts[-1]
    return 0


def _today(frames: Frames) -> str:
    """What the snapshot says of the day, as a wall writes it."""
    [snapshot] = frames.said("snapshot")
    [day] = [one for one in snapshot["series"].values() if one["metric"] == "sold" and one["window"] == "1d"]
    return f"{day['points'][-1][1]:,.0f}"


# The share of columns that a line was drawn in, of those between its ends; and how much of the canvas these are.
_LINE = """
(tile) => {
  const canvas = tile.querySelector("canvas");
  const probe = document.createElement("i");
  probe.style.color = "var(--line-0)";
  tile.append(probe);
  const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
  probe.remove();
  const { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const columns = [];
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      const at = 4 * (y * width + x);
      if (data[at + 3] > 120 && Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b) < 60) {
        columns.push(x);
        break;
      }
    }
  }
  const span = columns.at(-1) - columns[0] + 1;
  return [columns.length / span, span / width];
}
"""


def test_an_hour_is_drawn_from_the_store_and_goes_on_live_without_a_seam(shop: Shop, page: Page) -> None:
    held: list[Route] = []
    page.route("**/v1/points?*", lambda route: held.append(route))
    frames = Frames(page)
    page.goto(f"{shop.url}/board/past?theme=dark")
    tile = page.locator("[data-testid=tile][data-type=sparkline]")

    # The first paint is the snapshot's, whenever history comes.
    until(page, lambda: frames.said("snapshot") and held, what="a snapshot, and a question for history")
    expect(tile.get_by_test_id("value")).to_have_text(_today(frames))
    assert len(bars_of(tile)) < WINDOWS / 2

    # What is still held goes on.
    page.unroute("**/v1/points?*")
    until(page, lambda: _drawn_up_to(tile, shop), what="an hour of bars as high as the store's numbers")
    line = page.locator("[data-testid=tile][data-type=line]")
    until(page, lambda: min(line.evaluate(_LINE)) > 0.85, what="a line without a gap from edge to edge")

    # The window that is open now ends while somebody looks.
    shop.sell(1, kind="sale")
    until(page, lambda: max(_stored(shop)) > time.time() - 2 * WINDOW_S, what="a sale in the store")
    now = max(_stored(shop))

    def sells_on() -> bool:
        shop.sell(1, kind="sale")
        page.wait_for_timeout(300)
        return _drawn_up_to(tile, shop) >= now

    until(page, sells_on, within_s=30, what="a live window beside those of the store")
    assert len(frames.sockets) == 1
    assert len(frames.said("snapshot")) == 1


def _in_all(shop: Shop) -> str:
    """What was sold by the store, as a wall writes it."""
    return f"{sum(_stored(shop).values()):,.0f}"


def test_a_line_opens_its_past_from_the_store_and_stays_live(shop: Shop, page: Page, artifacts: Path) -> None:
    frames = Frames(page)
    page.goto(f"{shop.url}/board/past?theme=dark")
    line = page.locator("[data-testid=tile][data-type=line]")
    look = line.get_by_role("button", name="Look at the past of")
    expect(look).to_be_visible(timeout=30_000)
    look.focus()
    page.keyboard.press("Enter")
    history = page.get_by_test_id("history")
    expect(history).to_be_visible()
    expect(history).to_have_attribute("data-step", "5m", timeout=15_000)
    total = history.get_by_test_id("history-total")
    expect(total).to_have_text(_in_all(shop))

    page.get_by_role("button", name="1 h", exact=True).click()
    expect(history).to_have_attribute("data-step", f"{WINDOW_S}s")
    until(page, lambda: int(history.get_attribute("data-drawn") or 0) >= WINDOWS - 10, what="an hour of windows")
    plot = history.locator("[role=img]")
    until(page, lambda: min(plot.evaluate(_LINE)) > 0.85, what="a line without a gap from edge to edge")
    page.get_by_role("button", name="Compare with the day before").click()
    expect(history).to_have_attribute("data-compared", "true")
    page.screenshot(path=artifacts / "wall-history.png")

    # The live edge moves with the numbers on the line, and not when the store is asked again.
    held: list[Route] = []
    page.route("**/v1/points?*", lambda route: held.append(route))
    before = int(total.inner_text().replace(",", ""))
    shop.sell(3, kind="sale")
    until(page, lambda: int(total.inner_text().replace(",", "")) >= before + 3, what="three sales more")
    for route in held:
        route.continue_()
    page.unroute("**/v1/points?*")

    page.get_by_role("button", name="Earlier").click()
    expect(history).to_have_attribute("data-back", "1")
    expect(page.get_by_role("button", name="Later")).to_be_enabled()
    page.keyboard.press("Escape")
    expect(history).to_have_count(0)
    expect(look).to_be_focused()
    assert len(frames.sockets) == 1


def test_a_screen_that_nobody_touches_has_nothing_to_press(shop: Shop, page: Page) -> None:
    page.goto(f"{shop.url}/board/past?theme=dark&kiosk")
    line = page.locator("[data-testid=tile][data-type=line]")
    expect(line.get_by_test_id("plot")).to_be_visible(timeout=30_000)
    expect(line.get_by_test_id("look")).to_have_count(0)
