"""The README's pictures: the demo's first board in both themes, and when its source is gone.

`make screenshots` takes them for the README, after a minute of the demo; without STREAMGAUGE_SCREENSHOTS they are taken
at once, for a person to look at.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import until
from tests.browser.looks import crowding_of
from tests.stack import ROOT
from tests.up import Up, child_of

pytestmark = pytest.mark.browser

MOST_BYTES = 400_000
MINUTE_MS = 60_000


def test_pictures_of_the_wall(demo: Up, page: Page, artifacts: Path) -> None:
    wanted = os.environ.get("STREAMGAUGE_SCREENSHOTS")
    folder = ROOT / wanted if wanted else artifacts
    folder.mkdir(parents=True, exist_ok=True)
    taken: list[Path] = []
    page.set_viewport_size({"width": 1920, "height": 1080})
    events = page.locator("[data-testid=tile][data-metric=events]")

    def take(name: str) -> None:
        assert crowding_of(page) == []
        taken.append(folder / f"wall-{name}.png")
        page.screenshot(path=taken[-1], animations="disabled")

    for theme, board in (("dark", "ops"), ("light", "sharing")):
        page.goto(f"http://127.0.0.1:{demo.port}/board/{board}?theme={theme}")
        expect(page.locator("[data-testid=tile][data-state=live]")).not_to_have_count(0, timeout=10_000)
        if wanted and theme == "dark":
            page.wait_for_timeout(MINUTE_MS)
        until(page, lambda: crowding_of(page) == [], what="room for all")
        take(theme)

    # The producer is held: the processor lives, and has nothing to count.
    page.goto(f"http://127.0.0.1:{demo.port}/board/ops?theme=dark")
    producer = child_of(demo, "simulate")
    os.kill(producer, signal.SIGSTOP)
    try:
        expect(events).to_have_attribute("data-state", "stale", timeout=20_000)
        expect(events).to_contain_text(re.compile(r"no data for \d+ s"))
        if wanted:
            expect(events).to_contain_text("no data for 42 s", timeout=60_000)
        take("stale")
    finally:
        os.kill(producer, signal.SIGCONT)
    expect(events).to_have_attribute("data-state", "live", timeout=20_000)
    assert {path.name: path.stat().st_size for path in taken if path.stat().st_size >= MOST_BYTES} == {}
