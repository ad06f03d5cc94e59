"""Tiles of people analyses: what they draw, how they look when it is not current, and that they can be read.

The server is real, but for the board and the analyses it is asked for: those are answered here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, ViewportSize, expect

from tests.browser.chromium import Watch, until
from tests.browser.looks import crowding_of, look_of, texts_of
from tests.browser.shop import Shop

pytestmark = pytest.mark.browser

TYPES = ("retention", "funnel", "lifecycle", "paths")
NAMES = {"retention": "weekly", "funnel": "checkout", "lifecycle": "lifecycle", "paths": "pages"}
DAY_S = 86_400
FULL_HD: ViewportSize = {"width": 1920, "height": 1080}
LAPTOP: ViewportSize = {"width": 1366, "height": 768}


def _retention() -> dict[str, Any]:
    def cell(place: int, offset: int, people: int) -> dict[str, Any] | None:
        if place + offset > 7:
            return None
        share = 1.0 if offset == 0 else 0.62 * (1 - 0.09 * place) / offset
        return {
            "offset": str(offset),
            "people": round(share * people),
            "share": share,
            "partial": place + offset == 7,
        }

    cohorts = []
    for place in range(8):
        people = 1200 + 137 * place
        cohorts.append(
            {
                "cohort": (date(2026, 5, 4) + timedelta(weeks=place)).isoformat(),
                "segment": None,
                "people": people,
                "cells": [cell(place, offset, people) for offset in range(8)],
                "revenue": 512.5 * (8 - place),
                "ltv": 4.25,
            }
        )
    overall = [{"offset": str(at), "people": 900, "of": 2000, "share": 1.0 if at == 0 else 0.5 / at} for at in range(8)]
    offsets = [str(at) for at in range(8)]
    about = {"period": "week", "mode": "first_time", "rolling": False, "offsets": offsets}
    return about | {"cohorts": cohorts, "overall": overall}


def _funnel() -> dict[str, Any]:
    people = [48_213, 20_410, 6_120, 1_904]
    names = ["Home", "A product", "Basket", "Paid"]
    steps = [
        {
            "step": at + 1,
            "name": names[at],
            "people": people[at],
            "share": people[at] / people[0],
            "from_previous": people[at] / people[max(0, at - 1)],
            "drop_off": people[max(0, at - 1)] - people[at],
            "seconds": None if at == 0 else {"p50": 40.0 * at, "p90": 900.0 * at},
            "histogram": [],
        }
        for at in range(4)
    ]
    breakdown = [
        {
            "value": value,
            "steps": [{"step": 1, "people": entered, "share": 1}, {"step": 4, "people": 9, "share": share}],
        }
        for value, entered, share in (("phone", 30_000, 0.031), ("desktop", 18_213, 0.057))
    ]
    about = {"order": "ordered", "window": "1h", "period": "day", "conversion": people[-1] / people[0]}
    return about | {"steps": steps, "overall_seconds": {"p50": 420.0, "p90": 3_000.0}, "breakdown": breakdown}


def _lifecycle() -> dict[str, Any]:
    bars = []
    for ago in range(13, -1, -1):
        start = datetime.fromtimestamp(time.time() // DAY_S * DAY_S - ago * DAY_S, UTC)
        new, returning, resurrecting, dormant = 220 + 9 * ago % 71, 900 + 31 * ago % 230, 60 + ago, 180 + 17 * ago % 90
        bars.append(
            {
                "start": start.isoformat(),
                "new": new,
                "returning": returning,
                "resurrecting": resurrecting,
                "dormant": dormant,
                "active": new + returning + resurrecting,
                "churn_rate": 0.154,
                "growth": 0.031,
                "state": "open" if ago == 0 else "corrected" if ago == 3 else "final",
            }
        )
    return {"period": "day", "bars": bars}


def _paths() -> dict[str, Any]:
    ways = [("/", "/shop", 4210), ("/shop", "/shop/hats", 1980), ("/shop/hats", "/basket", 840), ("/", "/help", 410)]
    ways += [("/basket", "/pay", 390), ("/shop", "/", 350), ("/help", "/", 120), ("/shop/hats", "/shop", 95)]
    return {
        "window": "day",
        "start": "2026-05-04T00:00:00Z",
        "transitions": [{"from": start, "to": end, "count": count} for start, end, count in ways],
        "starts": [{"page": "/", "count": 3100}],
        "ends": [{"page": "/help", "count": 300}, {"page": "/pay", "count": 370}],
    }


class People:
    """Answers about people, in the server's place."""

    def __init__(self, page: Page) -> None:
        self.bodies = {"weekly": _retention(), "checkout": _funnel(), "lifecycle": _lifecycle(), "pages": _paths()}
        self.state = "live"
        self.age_s = 0.0
        """How old what is told is."""
        self.fails = False
        self.sizes = {"retention": (6, 4), "funnel": (6, 4), "lifecycle": (6, 3), "paths": (6, 4)}
        self.asked: list[str] = []
        page.route(re.compile("/v1/boards/floor$"), self._board)
        page.route(re.compile("/v1/people/"), self._answer)

    def _board(self, route: Route) -> None:
        board = route.fetch().json()
        shape = next(tile for tile in board["tiles"] if tile["type"] == "status")
        board["tiles"] = [
            shape
            | {
                "id": f"t{place}",
                "type": kind,
                "title": kind.capitalize(),
                "width": self.sizes[kind][0],
                "height": self.sizes[kind][1],
                "limit": {"retention": 12, "lifecycle": 30}.get(kind, 10),
                "analysis": NAMES[kind],
                "period": "day" if kind == "lifecycle" else None,
            }
            for place, kind in enumerate(TYPES)
        ]
        route.fulfill(json=board)

    def _answer(self, route: Route) -> None:
        path = route.request.url.partition("/v1/people/")[2]
        self.asked.append(path)
        if self.fails:
            route.fulfill(status=503, json={"detail": "no"})
            return
        name = path.partition("?")[0]
        as_of = datetime.fromtimestamp(time.time() - self.age_s, UTC).isoformat()
        about = {"analysis": name, "type": name, "title": name, "as_of": as_of, "state": self.state}
        route.fulfill(json=about | self.bodies[name])


@pytest.fixture
def people(page: Page) -> Iterator[People]:
    yield People(page)
    # The server itself would not know what the page goes on to ask for.
    page.goto("about:blank")


def _open(shop: Shop, page: Page, theme: str = "dark", size: ViewportSize = FULL_HD) -> dict[str, Locator]:
    page.set_viewport_size(size)
    page.goto(f"{shop.url}/board/floor?theme={theme}&kiosk")
    tiles = {kind: page.locator(f"[data-testid=tile][data-type={kind}]") for kind in TYPES}
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "live", timeout=30_000)
    return tiles


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_tiles_of_people_say_what_they_know_and_are_read_from_afar(
    shop: Shop, page: Page, people: People, theme: str, artifacts: Path
) -> None:
    tiles = _open(shop, page, theme)
    expect(tiles["retention"].get_by_test_id("row")).to_have_count(8)
    expect(tiles["retention"].get_by_test_id("row").first).to_contain_text("4 May")
    expect(tiles["retention"].get_by_test_id("row").first).to_contain_text("62%")
    expect(tiles["retention"].get_by_test_id("overall")).to_contain_text("25%")
    expect(tiles["funnel"].get_by_test_id("row")).to_have_count(4)
    expect(tiles["funnel"].get_by_test_id("row").nth(2)).to_contain_text(
        re.compile(r"Basket.*13%.*6,120.*14.3k \(70%\)")
    )
    expect(tiles["funnel"].get_by_test_id("conversion")).to_have_text("3.9% to the end, half of them within 7 min")
    expect(tiles["funnel"].get_by_test_id("of-value")).to_have_text(["phone 3.1%", "desktop 5.7%"])
    expect(tiles["lifecycle"].get_by_test_id("rates")).to_contain_text("churn 15%, growth +3.1%")
    expect(tiles["paths"].get_by_test_id("band")).not_to_have_count(0)
    expect(tiles["paths"].get_by_test_id("flow")).to_contain_text("(start)")
    assert "lifecycle?period=day&limit=30" in people.asked

    until(page, lambda: crowding_of(page) == [], within_s=3, what=f"room for all: {crowding_of(page)}")
    page.screenshot(path=artifacts / f"wall-people-{theme}.png")
    assert [str(one) for one in texts_of(page) if one.ratio < one.least] == []
    for state in ("stale", "late", "source_down", "lost"):
        page.get_by_test_id("tile").evaluate_all(f"all => all.forEach((one) => (one.dataset.state = '{state}'))")
        assert [str(one) for one in texts_of(page) if one.main and one.ratio < one.least] == []


def test_small_tiles_leave_out_what_they_have_no_room_for_and_say_so(
    shop: Shop, page: Page, people: People, artifacts: Path
) -> None:
    people.sizes = {"retention": (4, 3), "funnel": (4, 3), "lifecycle": (4, 3), "paths": (4, 3)}
    cohorts = people.bodies["weekly"]["cohorts"]
    people.bodies["weekly"]["cohorts"] = [one | {"segment": kind} for one in cohorts for kind in ("phone", "desktop")]
    last = people.bodies["checkout"]["steps"][-1]
    people.bodies["checkout"]["steps"] += [last | {"step": at, "name": f"Step {at}"} for at in range(5, 21)]
    names = [f"/a/long/address/of/a/page/{at}" for at in range(30)]
    people.bodies["pages"]["transitions"] = [
        {"from": one, "to": other, "count": 900 - 7 * at}
        for at, (one, other) in enumerate(zip(names, reversed(names), strict=True))
    ]
    tiles = _open(shop, page, size=LAPTOP)
    for kind in ("retention", "funnel", "paths"):
        expect(tiles[kind].get_by_test_id("more")).to_have_text(re.compile(r"\d+"))
    expect(tiles["funnel"].get_by_test_id("row").last).to_contain_text("Step 20")
    expect(tiles["retention"].get_by_test_id("row").last).to_contain_text("22 Jun, desktop")
    expect(tiles["retention"].get_by_test_id("later")).to_have_text(re.compile(r"to week \d, \d more"))
    # What is cut is cut so that no two names look alike.
    shown = tiles["paths"].locator("ul.left .name").all_inner_texts()
    assert len(set(shown)) == len(shown) > 3
    until(page, lambda: crowding_of(page) == [], within_s=3, what=f"room for all: {crowding_of(page)}")
    page.screenshot(path=artifacts / "wall-people-small.png")
    for side in ("left", "right"):
        ends = page.locator(f"[data-type=paths] ul.{side} li").evaluate_all(
            "all => all.map((one) => one.getBoundingClientRect()).map(({ top, bottom }) => [top, bottom])"
        )
        assert all(after[0] >= before[1] - 2 for before, after in pairwise(ends)), ends


def test_what_is_still_growing_looks_so_and_is_told(shop: Shop, page: Page, people: People) -> None:
    tiles = _open(shop, page)
    cells = tiles["retention"].locator("[data-testid=row] [data-testid=cell]")
    expect(cells).to_have_count(36)
    patterns = cells.evaluate_all("all => all.map((one) => [one.innerText, getComputedStyle(one).backgroundImage])")
    growing = [text for text, pattern in patterns if pattern != "none"]
    assert len(growing) == 8
    assert all("so far" in text for text in growing)
    assert all("so far" not in text for text, pattern in patterns if pattern == "none")

    fills = (
        tiles["lifecycle"]
        .get_by_test_id("stack")
        .evaluate_all(
            """all => all.map((one) => {
          const style = getComputedStyle(one);
          return [one.classList.contains("open"), style.strokeDasharray, style.fill];
        })"""
        )
    )
    assert {dashes for is_open, dashes, _ in fills if is_open} == {"5px, 3px"}
    assert {dashes for is_open, dashes, _ in fills if not is_open} == {"none"}
    assert {fill for is_open, _, fill in fills if is_open} & {
        fill for is_open, _, fill in fills if not is_open
    } == set()
    # Four parts, which are told apart: of the final bars each has a colour of its own.
    assert len({fill for is_open, _, fill in fills if not is_open}) == 4
    rows = tiles["lifecycle"].locator("tbody tr")
    expect(rows.last).to_contain_text("so far")
    expect(rows.nth(10)).to_contain_text("corrected")
    # Who cannot see the bands reads them.
    ways = tiles["paths"].locator("tbody tr").all_inner_texts()
    assert len(ways) == tiles["paths"].get_by_test_id("band").count()
    assert re.split(r"\s+", ways[0])[:3] == ["/", "/shop", "4,210"]


def test_what_is_not_current_looks_so(shop: Shop, page: Page, people: People, watch: Watch) -> None:
    watch.excused.append("503")
    tiles = _open(shop, page)
    looks = {"live": look_of(tiles["funnel"])}

    people.state = "valkey_down"
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "source_down", timeout=30_000)
        expect(tile.get_by_test_id("freshness")).to_have_text("Valkey away")
    looks["source_down"] = look_of(tiles["funnel"])
    people.state = "processor_silent"
    expect(tiles["paths"].get_by_test_id("freshness")).to_have_text("processor silent", timeout=30_000)

    people.state, people.age_s = "live", 900
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "stale", timeout=30_000)
        expect(tile.get_by_test_id("freshness")).to_have_text("no data for 15 min")
    looks["stale"] = look_of(tiles["funnel"])
    people.age_s = 0
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "live", timeout=30_000)

    # Nobody answers: what was known stays, and is old after a while.
    people.fails = True
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "stale", timeout=60_000)
    expect(tiles["funnel"].get_by_test_id("row")).to_have_count(4)
    assert look_of(tiles["funnel"]).pattern == looks["stale"].pattern
    assert len({one.pattern for one in looks.values()}) == len(looks)
    assert len({one.mark for one in looks.values()}) == len(looks)
    people.fails = False
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "live", timeout=60_000)


def test_what_was_never_answered_or_is_about_nobody_says_so(
    shop: Shop, page: Page, people: People, watch: Watch
) -> None:
    watch.excused.append("503")
    people.bodies["weekly"]["cohorts"] = []
    people.bodies["pages"] |= {"transitions": [], "starts": [], "ends": []}
    tiles = _open(shop, page)
    expect(tiles["retention"]).to_contain_text("nobody counted yet")
    expect(tiles["paths"]).to_contain_text("nobody counted yet")
    people.fails = True
    page.reload()
    for tile in tiles.values():
        expect(tile).to_have_attribute("data-state", "waiting", timeout=30_000)
        expect(tile).to_contain_text("the server has no answer")
