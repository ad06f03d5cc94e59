"""The README's pictures: boards of the demo in both themes, and one whose events have stopped.

`make screenshots` takes them for the README, of a demo with an hour behind it and after another minute; without
STREAMGAUGE_SCREENSHOTS they are taken at once, for a person to look at.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import until
from tests.browser.looks import MAIN_PX, crowding_of, small_numbers_of
from tests.stack import ROOT, stack
from tests.up import child_of

pytestmark = pytest.mark.browser

MOST_BYTES = 400_000
WANTED = os.environ.get("STREAMGAUGE_SCREENSHOTS")


@contextmanager
def _an_hour_of_demo(directory: Path) -> Iterator[tuple[str, int]]:
    catalog = ROOT / "catalogs" / "food_sharing.toml"
    with stack(directory, catalog) as made:
        made.run_processor()
        made.run_api()
        made.ready()
        producer = made.start("simulate", "simulate", "--catalog", str(catalog), "--history", "3600")
        yield made.api, producer.pid


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Address of the wall, and the producer's process."""
    if WANTED:
        with _an_hour_of_demo(tmp_path) as there:
            yield there
    else:
        demo = request.getfixturevalue("demo")
        yield f"http://127.0.0.1:{demo.port}", child_of(demo, "simulate")


def test_pictures_of_the_wall(place: tuple[str, int], page: Page, artifacts: Path) -> None:
    url, producer = place
    folder = ROOT / WANTED if WANTED else artifacts
    folder.mkdir(parents=True, exist_ok=True)
    taken: list[Path] = []
    page.set_viewport_size({"width": 1920, "height": 1080})
    events = page.locator("[data-testid=tile][data-metric=events]")

    def show(board: str, theme: str) -> None:
        page.goto(f"{url}/board/{board}?theme={theme}")
        expect(page.locator("[data-testid=tile][data-state=live]")).not_to_have_count(0, timeout=30_000)
        page.wait_for_load_state("networkidle")

    def take(name: str) -> None:
        until(page, lambda: crowding_of(page) == [], what=f"room for all on {name}")
        assert small_numbers_of(page, MAIN_PX) == []
        taken.append(folder / f"wall-{name}.png")
        page.screenshot(path=taken[-1], animations="disabled")

    show("ops", "dark")
    if WANTED:
        expect(page.get_by_text("keeping up")).to_have_count(2, timeout=180_000)
        page.wait_for_timeout(60_000)
    take("dark")
    show("sharing", "light")
    take("light")

    # The producer is held: the processor lives, and has nothing to count.
    show("ops", "dark")
    # A demo that has just begun has an hour of the past to count.
    expect(events).to_have_attribute("data-state", "live", timeout=120_000)
    os.kill(producer, signal.SIGSTOP)
    try:
        expect(events).to_have_attribute("data-state", "stale", timeout=60_000)
        expect(events).to_contain_text(re.compile(r"no data for \d+ s"))
        if WANTED:
            expect(events).to_contain_text("no data for 42 s", timeout=60_000)
        # All events ended at one moment, and whatever is closed later on makes no number younger.
        ages = [int(one.split()[0]) for one in page.locator("[data-state=stale] [data-testid=age]").all_inner_texts()]
        assert max(ages) - min(ages) <= 2, ages
        take("stale")
    finally:
        os.kill(producer, signal.SIGCONT)
    expect(events).to_have_attribute("data-state", "live", timeout=60_000)
    named = re.findall(r"!\[[^]]+\]\(docs/images/([^)]+)\)", (ROOT / "README.md").read_text())
    assert sorted(named) == sorted(path.name for path in taken)
    assert {path.name: path.stat().st_size for path in taken if path.stat().st_size >= MOST_BYTES} == {}
