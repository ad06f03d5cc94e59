"""What is not current looks so, and each reason looks another way: in style and in words."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import AWAY, Watch, until
from tests.browser.looks import Look, look_of
from tests.browser.shop import Shop
from tests.patience import Stopwatch

pytestmark = pytest.mark.browser


def test_no_data_late_source_down_and_line_lost_are_looks_of_their_own(
    shop: Shop, page: Page, watch: Watch, artifacts: Path
) -> None:
    page.goto(f"{shop.url}/board/quiet?theme=light")
    tile = page.locator("[data-testid=tile][data-metric=orders]")
    banner = page.get_by_test_id("banner")
    looks: dict[str, Look] = {}

    def see(state: str, within_s: float) -> Look:
        expect(tile).to_have_attribute("data-state", state, timeout=within_s * 1_000)
        looks[state] = look_of(tile)
        page.screenshot(path=artifacts / f"wall-{state}.png")
        return looks[state]

    never = page.locator("[data-testid=tile][data-metric=refunds]")
    expect(never.get_by_test_id("freshness")).to_have_text("no data yet", timeout=30_000)
    looks["waiting"] = look_of(never)
    shop.sell(1)
    live = see("live", 10)
    assert live.words == ""
    value = tile.get_by_test_id("value").inner_text()

    # Nothing is sold: five seconds are too long where windows have one.
    assert re.fullmatch(r"no data for \d+ s", see("stale", 15).words)
    age = tile.get_by_test_id("age")
    before = age.inner_text()
    since = Stopwatch()
    expect(age).not_to_have_text(before, timeout=15_000)
    assert since.worked_s < 2.5
    expect(banner).to_have_count(0)

    try:
        shop.hang("processor")

        def late() -> bool:
            # Said again and again: what was said once is followed by silence before long.
            shop.backlog(behind_ms=180_000)
            return tile.get_attribute("data-state") == "late"

        since = Stopwatch()
        until(page, late, within_s=5, what="late")
        assert since.worked_s < 5
        assert see("late", 5).words == "late, 3 min behind"

        assert see("source_down", 15).words == "processor silent"
        expect(banner).to_contain_text("processor is silent")
        shop.wake("processor")
        shop.sell(1)
        expect(tile).to_have_attribute("data-state", "live", timeout=60_000)
        assert look_of(tile) == live
        expect(banner).to_have_count(0)

        # A server that hangs closes nothing: three heartbeats that do not come tell.
        watch.excused.append(AWAY)
        shop.hang("api")
        assert re.fullmatch(r"line lost for \d+ s", see("lost", 6).words)
        expect(banner).to_contain_text("Line lost")
        assert tile.get_by_test_id("value").inner_text() != value
    finally:
        shop.mend()
    expect(banner).to_have_count(0, timeout=60_000)

    assert set(looks) == {"waiting", "live", "stale", "late", "source_down", "lost"}
    for one, other in combinations(looks.values(), 2):
        for what in ("pattern", "words", "mark"):
            assert getattr(one, what) != getattr(other, what), (what, one.state, other.state)
        assert one.opacity != other.opacity or one.plate != other.plate, (one.state, other.state)
    dimmed = [state for state, look in looks.items() if look.opacity < live.opacity]
    assert set(dimmed) == set(looks) - {"live"}


def test_another_theme_by_the_address_or_by_what_the_machine_prefers(shop: Shop, page: Page) -> None:
    def ground() -> list[int]:
        text = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return [int(one) for one in re.findall(r"\d+", text)]

    page.emulate_media(color_scheme="light")
    page.goto(f"{shop.url}/?theme=dark")
    assert max(ground()) < 60
    page.goto(f"{shop.url}/?theme=light")
    assert min(ground()) > 200
    page.goto(shop.url)
    assert min(ground()) > 200
    page.emulate_media(color_scheme="dark")
    until(page, lambda: max(ground()) < 60, what="a dark page")
