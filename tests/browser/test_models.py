"""Tiles of models: what they draw, that nothing unproven looks proven, that nobody is named, and that they can be read.

The server is real, but for the board and the models it is asked for: those are answered here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, ViewportSize, expect

from tests.browser.chromium import Watch, until
from tests.browser.looks import crowding_of, look_of, texts_of
from tests.browser.shop import Shop
from tests.scores import QUALITY

pytestmark = pytest.mark.browser

TYPES = ("risk", "model")
DAY_S = 86_400
FULL_HD: ViewportSize = {"width": 1920, "height": 1080}
LAPTOP: ViewportSize = {"width": 1366, "height": 768}


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()


def _risk() -> dict[str, Any]:
    people = {"high": 412, "medium": 1_800, "low": 7_738}
    return {
        "horizon_s": 30 * DAY_S,
        "people": 9_950,
        "proven": True,
        "model": "proven; AUC 0.891 (time since the last event alone: 0.842)",
        "levels": [
            {"level": level, "from": begins, "people": people[level], "expected": share * people[level]}
            for level, begins, share in (("high", 0.8, 0.87), ("medium", 0.5, 0.6), ("low", 0.0, 0.1))
        ],
        "segments": [
            {"segment": name, "people": count, "high": high, "medium": 0, "low": 0}
            for name, count, high in (
                ("rarely there, for years", 3_000, 380),
                ("there every day, posts a lot", 5_000, 30),
                ("new", 1_950, 2),
            )
        ],
        "factors_of": 412,
        "factors": [
            {"name": f"factor{at}", "words": words, "people": 380 - 50 * at}
            for at, words in enumerate(
                (
                    "long times between visits of late",
                    "silence beside the usual pace of events",
                    "posts something less than others in the last week",
                    "reputation lower than before",
                    "has exchanged in fewer of the cases than others",
                    "platform is ios",
                )
            )
        ],
        "persons": [],
        "next": None,
    }


def _model() -> dict[str, Any]:
    return {
        "name": "churn",
        "kind": "churn",
        "version": 3,
        "samples": 12_345,
        "proven": True,
        "state_bytes": 6_100,
        "drift": {"count": 1, "at": "2026-03-20T00:00:00Z"},
        "swapped": "2026-03-04T00:00:00Z",
        "quality": QUALITY,
    }


class Models:
    """Answers about models, in the server's place."""

    def __init__(self, page: Page) -> None:
        self.bodies = {"churn?limit=0": _risk(), "models/churn": _model()}
        self.age_s, self.due_s = 20 * 3_600.0, 5 * 3_600.0
        """How old what is told is, and in how long there is something newer."""
        self.fails = False
        self.size = (6, 6)
        self.asked: list[str] = []
        page.route(re.compile("/v1/boards/floor$"), self._board)
        page.route(re.compile("/v1/(churn|models)"), self._answer)

    def _board(self, route: Route) -> None:
        board = route.fetch().json()
        shape = next(tile for tile in board["tiles"] if tile["type"] == "status")
        width, height = self.size
        board["tiles"] = [
            shape
            | {"id": f"t{place}", "type": kind, "title": kind.capitalize(), "analysis": "churn"}
            | {"width": width, "height": height, "limit": 10, "period": None}
            for place, kind in enumerate(TYPES)
        ]
        route.fulfill(json=board)

    def _answer(self, route: Route) -> None:
        path = route.request.url.partition("/v1/")[2]
        self.asked.append(path)
        if self.fails:
            route.fulfill(status=503, json={"detail": "no"})
            return
        now_s = time.time()
        at = "as_of" if path.startswith("churn") else "at"
        about = {at: _iso(now_s - self.age_s), "due": _iso(now_s + self.due_s), "state": "live"}
        route.fulfill(json=about | self.bodies[path])


@pytest.fixture
def models(page: Page) -> Iterator[Models]:
    yield Models(page)
    # The server itself would not know what the page goes on to ask for.
    page.goto("about:blank")


def _open(shop: Shop, page: Page, theme: str = "dark", size: ViewportSize = FULL_HD) -> dict[str, Locator]:
    shop.sell(1)
    page.set_viewport_size(size)
    page.goto(f"{shop.url}/board/floor?theme={theme}&kiosk")
    tiles = {kind: page.locator(f"[data-testid=tile][data-type={kind}]") for kind in TYPES}
    for tile in tiles.values():
        expect(tile).not_to_have_attribute("data-state", "waiting", timeout=30_000)
    return tiles


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("proven", [True, False])
def test_tiles_of_models_say_what_they_know_and_are_read_from_afar(
    shop: Shop, page: Page, models: Models, theme: str, proven: bool, artifacts: Path
) -> None:
    models.bodies["models/churn"]["proven"] = models.bodies["churn?limit=0"]["proven"] = proven
    if not proven:
        models.bodies["churn?limit=0"]["model"] = "unproven: not shown to be better than the time since the last event"
    tiles = _open(shop, page, theme)
    expect(tiles["risk"].get_by_test_id("level")).to_have_text(
        [re.compile(r"high\s*4\.1%\s*412"), re.compile(r"medium\s*18%\s*1,800"), re.compile(r"low\s*78%\s*7,738")]
    )
    expect(tiles["risk"].get_by_test_id("factor").first).to_have_text(re.compile(r"long times between visits.*380"))
    expect(tiles["risk"].get_by_test_id("segment")).to_have_count(3)
    expect(tiles["risk"].get_by_test_id("expected")).to_have_text("2,212 of 9,950 expected to leave within 30 days")
    expect(tiles["model"].get_by_test_id("row").first).to_have_text(re.compile(r"this model\s*0\.891\s*0\.402"))
    expect(tiles["model"].get_by_test_id("row").nth(1)).to_have_text(
        re.compile(r"time since last seen\s*0\.842\s*0\.467")
    )
    expect(tiles["model"].get_by_test_id("bin")).to_have_count(10)
    expect(tiles["model"].get_by_test_id("notes")).to_contain_text("12.3k answers")
    verdict = "proven: better than" if proven else "unproven: not shown to be better than"
    expect(tiles["model"].get_by_test_id("verdict")).to_contain_text(verdict)
    expect(tiles["risk"].get_by_test_id("unproven")).to_have_count(0 if proven else 1)
    # What is said once a day is current until the next is due.
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "live", timeout=30_000)

    figures = tiles["model"].locator("table.figures").bounding_box()
    curve = tiles["model"].get_by_test_id("curve").bounding_box()
    assert figures is not None
    assert curve is not None
    assert figures["x"] + figures["width"] <= curve["x"] or figures["y"] + figures["height"] <= curve["y"]
    until(page, lambda: crowding_of(page) == [], within_s=3, what=f"room for all: {crowding_of(page)}")
    page.screenshot(path=artifacts / f"wall-models-{theme}-{'proven' if proven else 'unproven'}.png")
    assert [str(one) for one in texts_of(page) if one.ratio < one.least] == []


def test_the_curve_is_as_high_as_what_happened_and_is_read_aloud(shop: Shop, page: Page, models: Models) -> None:
    tiles = _open(shop, page)
    heights = (
        tiles["model"]
        .get_by_test_id("bin")
        .evaluate_all(
            """all => all.map((one) => {
          const whole = one.getBoundingClientRect();
          const [bar, line] = [".happened", ".said"].map((name) => one.querySelector(name)?.getBoundingClientRect());
          return [bar && bar.height / whole.height, line && (whole.bottom - line.bottom) / whole.height];
        })"""
        )
    )
    assert heights[9] == [None, None]
    for tenth in range(9):
        happened, said = heights[tenth]
        assert happened == pytest.approx(0.06 + tenth / 10, abs=0.01)
        assert said == pytest.approx(0.05 + tenth / 10, abs=0.03)
    rows = tiles["model"].locator("table.visually-hidden tbody tr")
    expect(rows.nth(2)).to_contain_text("of 840 said to leave with 25%, 26% did")


def test_small_tiles_leave_out_what_they_have_no_room_for(
    shop: Shop, page: Page, models: Models, artifacts: Path
) -> None:
    models.size = (4, 3)
    models.bodies["churn?limit=0"]["proven"] = False
    tiles = _open(shop, page, size=LAPTOP)
    expect(tiles["risk"].get_by_test_id("level")).to_have_count(3)
    expect(tiles["model"].get_by_test_id("verdict")).to_contain_text("proven")
    until(page, lambda: crowding_of(page) == [], within_s=3, what=f"room for all: {crowding_of(page)}")
    page.screenshot(path=artifacts / "wall-models-small.png")


def test_nobody_is_named(shop: Shop, page: Page, models: Models) -> None:
    _open(shop, page)
    assert {path for path in models.asked if path.startswith("churn")} == {"churn?limit=0"}


def test_what_is_not_current_or_was_never_there_says_so(shop: Shop, page: Page, models: Models, watch: Watch) -> None:
    watch.excused.append("503")
    tiles = _open(shop, page)
    live = look_of(tiles["risk"])
    models.age_s, models.due_s = 49 * 3_600.0, -24 * 3_600.0
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "stale", timeout=45_000)
        expect(tile.get_by_test_id("freshness")).to_have_text("no data for 2 d")
    assert look_of(tiles["risk"]).pattern != live.pattern

    models.bodies["churn?limit=0"] |= {"people": 0, "levels": [], "factors": [], "segments": [], "proven": False}
    models.bodies["churn?limit=0"]["model"] = "unproven: nobody's answer is known yet"
    models.bodies["models/churn"] |= {"samples": 0, "proven": False, "quality": {}}
    expect(tiles["risk"]).to_contain_text("nobody has a score yet", timeout=45_000)
    expect(tiles["risk"].get_by_test_id("unproven")).to_have_text("unproven: nobody's answer is known yet")
    expect(tiles["model"].get_by_test_id("verdict")).to_have_text("unproven: 0 answers yet")
    expect(tiles["model"].get_by_test_id("row")).to_have_count(0)
    models.fails = True
    page.reload()
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "waiting", timeout=30_000)
        expect(tile).to_contain_text("the server has no answer")
