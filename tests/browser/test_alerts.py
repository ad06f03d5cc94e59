"""Alerts on the wall: answered with a click or the keyboard, and seen on the charts that they are about."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from sinks.alert_records import (
    COMMAND_FIELD,
    COMMANDS_STREAM,
    Alert,
    AlertStatus,
    Command,
    Order,
    Resolution,
    Scored,
    Severity,
)
from sinks.alert_store import AlertStore
from sinks.live import LiveSink
from tests.browser.chromium import Watch, until
from tests.browser.looks import texts_of
from tests.browser.shop import CATALOG, PLATFORM, WINDOW_S, Shop, shop_of

pytestmark = pytest.mark.browser

# The first rule never fires by itself, so that what is shown is what the test says. The second fires when much is given
# back.
RULES = """
[[anomaly]]
name = "many_sold"
metric = "sold"
window = "10s"
detector = "above"
severity = { critical = 1000000 }

[[anomaly]]
name = "busy"
metric = "refunds"
window = "1s"
detector = "above"
severity = { warning = 50 }
resolve_after = 1000

[[board]]
name = "watch"

[[board.tile]]
type = "alerts"
width = 12
height = 6
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop_of(tmp_path_factory.mktemp("watched"), CATALOG + RULES) as made:
        yield made
        print(made.logs())


@pytest.fixture
def store(watched: Shop) -> Iterator[AlertStore]:
    made = AlertStore(watched.store_url)
    made.setup()
    yield made
    made.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _alert(name: str, **over: Any) -> Alert:
    now_ms = _now_ms()
    fields: dict[str, Any] = {
        "id": name,
        "rule": "many_sold",
        "metric": "sold",
        "window": "10s",
        "dimensions": (),
        "severity": Severity.CRITICAL,
        "status": AlertStatus.FIRING,
        "opened_ms": now_ms - 120_000,
        "last_seen_ms": now_ms,
        "score": 7.0,
        "peak": 9.0,
        "why": "highest in 8 days",
        "actual": 31.0,
        "expected": 3.0,
        "lower": 1.0,
        "upper": 5.0,
    }
    return Alert(**fields | over)


def _tell(shop: Shop, store: AlertStore, alert: Alert) -> None:
    """What the processor does when something happens to an alert."""
    store.write([alert])
    LiveSink(shop.client, platform=PLATFORM).write([], {}, now_ms=_now_ms(), alerts=[alert])


def _end(shop: Shop, store: AlertStore, alert: Alert) -> None:
    over = {"status": AlertStatus.RESOLVED, "resolved_ms": _now_ms(), "resolution": Resolution.BY_HAND}
    _tell(shop, store, replace(alert, **over))


def _row(page: Page, alert: Alert) -> Locator:
    return page.locator(f"[data-testid=alert][data-alert={alert.id}]")


def _commands(shop: Shop, alert: str) -> list[Command]:
    found = [Command.from_bytes(fields[COMMAND_FIELD]) for _, fields in shop.client.xrange(COMMANDS_STREAM)]
    return [command for command in found if command.alert == alert]


def test_an_alert_is_acknowledged_on_the_wall(watched: Shop, store: AlertStore, page: Page, artifacts: Path) -> None:
    page.goto(f"{watched.url}/board/watch?theme=dark")
    # The wall does not claim that all is well before it knows what is watched.
    expect(page.get_by_test_id("standing")).to_contain_text("No alert is firing", timeout=45_000)
    alert = _alert("click")
    _tell(watched, store, alert)
    row = _row(page, alert)
    expect(row).to_contain_text("many sold")
    expect(row).to_contain_text("highest in 8 days")
    expect(row).to_contain_text("31, expected 3 (1 to 5)")
    expect(row).to_contain_text("critical, firing")

    row.get_by_role("button", name="Acknowledge").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.screenshot(path=artifacts / "answer.png")
    # Who says so is asked once, and not sent without.
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Your name")
    dialog.get_by_label("Your name").fill("Ada")
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(dialog).to_have_count(0)
    expect(row.get_by_test_id("pending")).to_have_text("acknowledging …")
    until(page, lambda: _commands(watched, "click"), what="the command in Valkey")
    (command,) = _commands(watched, "click")
    assert (command.order, command.by, command.platform) == (Order.ACK, "Ada", PLATFORM)

    _tell(watched, store, replace(alert, status=AlertStatus.ACKNOWLEDGED, acked_by="Ada", acked_ms=_now_ms()))
    expect(row).to_contain_text("acknowledged by Ada")
    expect(row.get_by_test_id("pending")).to_have_count(0)
    expect(row.get_by_role("button", name="Acknowledge")).to_have_count(0)
    page.screenshot(path=artifacts / "answered.png")
    _end(watched, store, alert)


def test_the_processor_raises_an_alert_and_obeys(watched: Shop, page: Page) -> None:
    page.goto(f"{watched.url}/board/watch")
    watched.sell(200, "refund")
    row = page.get_by_test_id("alert").filter(has_text="busy")
    # Its window closes once events of later have come.
    until(page, lambda: watched.sell(1, "pen") or row.count() == 1, what="the alert")
    expect(row).to_contain_text("warning, firing")
    for order, then in (("Acknowledge", "acknowledged by Ada"), ("Resolve", "resolved by Ada")):
        row.get_by_role("button", name="Answer").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Your name").fill("Ada")
        dialog.get_by_role("button", name=order).click()
        expect(row).to_contain_text(then, timeout=45_000)


def test_the_keyboard_does_it_too_and_a_reason_is_asked_for(watched: Shop, store: AlertStore, page: Page) -> None:
    alert = _alert("keys", why="shape not seen before")
    page.goto(f"{watched.url}/board/watch?theme=light")
    _tell(watched, store, alert)
    row = _row(page, alert)
    row.get_by_role("button", name="Answer").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Your name")).to_be_focused()
    # In a dialog no key turns the board.
    page.keyboard.type("Bob 2")
    silence = dialog.get_by_role("button", name="Silence 4 hours")
    silence.focus()
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("A reason")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    faint = [str(one) for one in texts_of(page) if one.ratio < one.least]
    assert faint == []
    page.keyboard.type("a migration")
    silence.press("Enter")
    until(page, lambda: _commands(watched, "keys"), what="the command in Valkey")
    (command,) = _commands(watched, "keys")
    assert (command.order, command.by, command.reason) == (Order.SILENCE, "Bob 2", "a migration")
    assert 0 <= command.at_ms + 4 * 3_600_000 - (command.until_ms or 0) < 1_000
    expect(page).to_have_url(f"{watched.url}/board/watch?theme=light")
    _tell(watched, store, replace(alert, silenced_until_ms=command.until_ms))
    expect(row).to_contain_text("silenced until")

    # The name is kept; Escape leaves everything as it was.
    row.get_by_role("button", name="Answer").click()
    expect(dialog.get_by_label("Your name")).to_have_value("Bob 2")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert len(_commands(watched, "keys")) == 1
    _end(watched, store, alert)


def test_what_is_refused_is_said(watched: Shop, store: AlertStore, page: Page, watch: Watch) -> None:
    watch.excused.append("409")
    alert = _alert("late", why="seen by nobody in time")
    page.goto(f"{watched.url}/board/watch")
    _tell(watched, store, alert)
    row = _row(page, alert)
    row.get_by_role("button", name="Answer").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Your name").fill("Ada")
    # Somebody else was faster, and this page has not heard of it.
    ended = {"status": AlertStatus.RESOLVED, "resolved_ms": _now_ms(), "resolution": Resolution.RECOVERED}
    store.write([replace(alert, **ended)])
    dialog.get_by_role("button", name="Resolve").click()
    expect(row.get_by_role("alert")).to_contain_text("is resolved already")
    assert _commands(watched, "late") == []
    _end(watched, store, alert)


@pytest.mark.parametrize("mode", ["kiosk", "rotate=60"])
def test_a_screen_that_nobody_touches_has_nothing_to_press(
    watched: Shop, store: AlertStore, page: Page, mode: str
) -> None:
    alert = _alert("screen", why="on a wall")
    page.goto(f"{watched.url}/board/watch?{mode}")
    _tell(watched, store, alert)
    expect(_row(page, alert)).to_be_visible()
    expect(_row(page, alert).get_by_role("button")).to_have_count(0)
    _end(watched, store, alert)


_PIXELS = """
(plot) => {
  const canvas = plot.querySelector("canvas");
  const probe = document.createElement("canvas").getContext("2d");
  const rgb = (name) => {
    probe.fillStyle = getComputedStyle(plot).getPropertyValue(name).trim();
    probe.fillRect(0, 0, 1, 1);
    return probe.getImageData(0, 0, 1, 1).data;
  };
  const [mark, line] = [rgb("--level-critical"), rgb("--line-0")];
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const found = { marks: 0, band: 0 };
  for (let at = 0; at < data.length; at += 4) {
    const is = (one) => [0, 1, 2].every((c) => Math.abs(data[at + c] - one[c]) <= 6);
    if (data[at + 3] > 250 && is(mark)) found.marks += 1;
    // A band is the line's own colour, let through.
    else if (data[at + 3] > 40 && data[at + 3] < 60 && is(line)) found.band += 1;
  }
  return found;
}
"""


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_chart_shows_what_was_expected_and_what_was_not(
    watched: Shop, store: AlertStore, page: Page, watch: Watch, artifacts: Path, theme: str
) -> None:
    # What Chromium says of a test that looks at pixels.
    watch.excused.append("willReadFrequently")
    width_ms = WINDOW_S * 1_000
    last = (_now_ms() - 60_000) // width_ms * width_ms
    store.write(
        scored=[
            Scored(
                "many_sold",
                "sold",
                "10s",
                last - window * width_ms,
                (),
                3.0,
                1.0,
                warm=True,
                anomalous=window in (20, 40, 60),
                expected=3.0,
                lower=2.0,
                upper=4.0,
            )
            for window in range(300)
        ]
    )
    page.goto(f"{watched.url}/board/past?theme={theme}")
    plot = page.get_by_test_id("plot")
    expect(plot).to_have_attribute("data-banded", "true", timeout=45_000)
    expect(plot).to_have_attribute("data-marked", "3")
    expect(plot).to_have_attribute("aria-label", re.compile("3 windows out of the ordinary"))
    expect(plot).to_contain_text("out of the ordinary")
    until(page, lambda: plot.evaluate(_PIXELS)["marks"] > 60, what="marks on the canvas")
    page.screenshot(path=artifacts / f"band-{theme}.png")
    # Of the band, what lines do not hide.
    assert plot.evaluate(_PIXELS)["band"] > 10_000


def test_a_chart_of_what_no_rule_watches_asks_for_nothing(watched: Shop, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{watched.url}/board/kinds")
    until(page, lambda: any("/v1/rules" in url for url in asked), what="the question for rules")
    page.wait_for_timeout(2_000)
    assert sum("/v1/rules" in url for url in asked) == 1
    assert not any("/v1/scores" in url for url in asked)
    expect(page.get_by_test_id("plot").first).not_to_have_attribute("data-banded", "true")
