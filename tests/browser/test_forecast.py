"""Charts go on into what is forecast."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import Watch
from tests.browser.shop import CATALOG, Shop, shop_of
from tests.stack import eventually

pytestmark = pytest.mark.browser

FORECAST = '[[forecast]]\nmetric = "sold"\nwindow = "10s"\nseason = "off"\n\n[[board]]'
_PIXELS = """
(plot) => {
  const canvas = plot.querySelector("canvas");
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = getComputedStyle(plot).getPropertyValue("--line-0").trim();
  probe.fillRect(0, 0, 1, 1);
  const line = probe.getImageData(0, 0, 1, 1).data;
  const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  // How far to the right the line's own colour is seen, and the same let through.
  const found = { line: 0, band: 0, width };
  for (let at = 0; at < data.length; at += 4) {
    if (![0, 1, 2].every((c) => Math.abs(data[at + c] - line[c]) <= 6)) continue;
    const x = (at / 4) % width;
    if (data[at + 3] > 250) found.line = Math.max(found.line, x);
    else if (data[at + 3] > 40 && data[at + 3] < 60) found.band = Math.max(found.band, x);
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def forecasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, with a forecast of its sales."""
    with shop_of(tmp_path_factory.mktemp("shop"), CATALOG.replace("[[board]]", FORECAST, 1)) as made:
        # Its processor has read the hour, and said what comes next.
        eventually(lambda: len(made.points("sold_forecast", "10s")) > 900, what="forecasts in the store")
        yield made
        print(made.logs())


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_line_goes_on_into_what_is_forecast(
    forecasting: Shop, page: Page, watch: Watch, artifacts: Path, theme: str
) -> None:
    # What Chromium says of a test that looks at pixels.
    watch.excused.append("willReadFrequently")
    page.goto(f"{forecasting.url}/board/past?theme={theme}")
    plot = page.get_by_test_id("plot")
    expect(plot).to_have_attribute("data-coming", re.compile("1[0-2]"), timeout=45_000)
    expect(plot).to_have_attribute("data-banded", "true", timeout=45_000)
    expect(plot).to_have_attribute("aria-label", re.compile("with a forecast for"))
    expect(plot).to_contain_text("forecast")
    page.wait_for_timeout(1_000)
    page.screenshot(path=artifacts / f"forecast-{theme}.png")
    seen = plot.evaluate(_PIXELS)
    # Both reach the right edge, but for the room of a time of day.
    assert min(seen["line"], seen["band"]) > 0.9 * seen["width"]


def test_what_is_forecast_of_a_window_to_come_can_be_asked_for(forecasting: Shop) -> None:
    sold = forecasting.points("sold", "10s")
    ahead = forecasting.points("sold_forecast", "10s")
    assert max(point["start"] for point in ahead) > max(point["start"] for point in sold)
    assert {tuple(point["value"]) for point in ahead} == {("value", "lower", "upper")}
