"""The page that shows the API: from files of our own, and able to ask what it shows."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import Watch
from tests.browser.shop import Shop

pytestmark = pytest.mark.browser


def test_it_shows_every_operation_and_asks_nobody_else(page: Page, watch: Watch, shop: Shop) -> None:
    page.goto(f"{shop.url}/docs")
    operations = page.locator(".opblock")
    expect(operations.first).to_be_visible()
    document = page.request.get(f"{shop.url}/openapi.json").json()
    expect(operations).to_have_count(sum(len(item) for item in document["paths"].values()))
    expect(page.locator(".opblock-summary-path", has_text="/v1/points")).to_be_visible()
    expect(page.get_by_role("button", name="Authorize")).to_be_visible()
    # `page` itself checks that nothing was written to the console, such as what the policy forbids.
    assert watch.origins == {shop.url.removeprefix("http://")}


def test_what_it_shows_can_be_tried(page: Page, shop: Shop) -> None:
    page.goto(f"{shop.url}/docs")
    page.locator(".opblock", has_text="/healthz").get_by_role("button").first.click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table td.response-col_status").last).to_contain_text("200")
