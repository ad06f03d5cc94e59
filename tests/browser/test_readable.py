"""The boards of the demo, as they are on a wall: every tile has something to say, and it can be read from afar."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import until
from tests.browser.looks import MAIN_PX, Text, crowding_of, small_numbers_of, texts_of
from tests.up import Up

pytestmark = pytest.mark.browser

BOARDS = ("ops", "sharing", "people")
FULL_HD = {"width": 1920, "height": 1080}


def _open(demo: Up, page: Page, board: str, theme: str = "dark") -> None:
    page.set_viewport_size(FULL_HD)
    page.goto(f"http://127.0.0.1:{demo.port}/board/{board}?theme={theme}&kiosk")
    expect(page.get_by_test_id("tile")).not_to_have_count(0, timeout=30_000)
    # An alert feed that nobody feeds does not know.
    waiting = page.locator("[data-testid=tile][data-state=waiting]:not([data-type=alerts])")
    expect(waiting).to_have_count(0, timeout=45_000)
    # The demo begins with ten minutes of the past, which a busy machine takes a while to catch up with.
    behind = page.locator("[data-testid=tile]:is([data-state=stale], [data-state=late])")
    expect(behind).to_have_count(0, timeout=60_000)


def test_numbers_move_within_a_second_of_opening(demo: Up, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{demo.port}/?theme=dark")
    value = page.locator("[data-testid=tile][data-metric=events] [data-testid=value]")
    expect(value).to_be_visible(timeout=30_000)
    first = value.inner_text()
    expect(value).not_to_have_text(first, timeout=15_000)


_SAYS = {
    "number": "[data-testid=value]",
    "sparkline": "[data-testid=value]",
    "gauge": "[data-testid=value]",
    # One line by itself has no legend.
    "line": "[data-testid=legend-row], [data-testid=plot]",
    "bar": "[data-testid=bar]",
    "top_k": "[data-testid=bar]",
    "table": "[data-testid=row]",
    "heatmap": "[data-testid=heatmap] canvas",
    "status": "[data-testid=part]",
    "alerts": "[data-testid=standing]",
    "retention": "[data-testid=cell]",
    "funnel": "[data-testid=row]",
    "lifecycle": "[data-testid=stack]",
    "paths": "[data-testid=band]",
}


@pytest.mark.parametrize("board", BOARDS)
def test_every_tile_shows_a_value_in_its_place(demo: Up, page: Page, board: str) -> None:
    _open(demo, page, board)
    for tile in page.locator("[data-testid=tile]").all():
        says = tile.locator(_SAYS[tile.get_attribute("data-type") or ""])
        expect(says).not_to_have_count(0, timeout=30_000)
        if "value" in _SAYS[tile.get_attribute("data-type") or ""]:
            expect(says).to_have_text(re.compile(r"\d"))
    until(page, lambda: crowding_of(page) == [], within_s=3, what=f"room for all: {crowding_of(page)}")


@pytest.mark.parametrize("board", BOARDS)
def test_on_a_small_screen_no_number_is_cut(demo: Up, page: Page, board: str) -> None:
    _open(demo, page, board)
    # As after a while: the page writes on into what it knows, which is no longer there.
    page.get_by_test_id("side").evaluate_all("all => all.forEach((one) => (one.innerText = '123,456'))")
    for width, height in ((1366, 768), (1280, 800), (1280, 720)):
        page.set_viewport_size({"width": width, "height": height})
        until(page, lambda: crowding_of(page) == [], within_s=3, what=f"room for all: {crowding_of(page)}")


def _too_faint(texts: Iterable[Text]) -> str:
    return "\n".join(sorted({str(one) for one in texts if one.ratio < one.least}))


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("board", BOARDS)
def test_text_stands_out_and_numbers_are_large(demo: Up, page: Page, board: str, theme: str) -> None:
    _open(demo, page, board, theme)
    until(page, lambda: len(texts_of(page)) > 60, what="a board full of text")
    assert _too_faint(texts_of(page)) == ""
    assert small_numbers_of(page, MAIN_PX) == []

    # What is not current is dimmed, and can still be read. Only the style is looked at, so the state is put there.
    for state in ("stale", "late", "source_down", "lost"):
        page.get_by_test_id("tile").evaluate_all(f"all => all.forEach((one) => (one.dataset.state = '{state}'))")
        assert _too_faint(one for one in texts_of(page) if one.main and one.state == state) == ""
