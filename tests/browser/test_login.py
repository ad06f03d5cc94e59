"""Who looks at the wall: somebody with a key, a screen with one in its address, and nobody any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from live_api.access.entrance import Access
from live_api.access.identity import NOBODY
from live_api.admission import Origins
from sinks.key_records import ApiKey, hash_of, id_of, new_text
from sinks.key_store import KeyStore
from sinks.live import LiveSink
from sinks.records import State
from stream.walltime import clock_ms
from tests.browser.chromium import Frames, Watch
from tests.live_api.conftest import Api, point
from tests.servers import ValkeyServer

pytestmark = pytest.mark.browser

CATALOG = """
[platform]
name = "Forums"

[[metric]]
name = "posts"
measure = "count"
by = ["community"]
windows = ["1m"]

[[metric]]
name = "members"
measure = "count"
windows = ["1m"]

[[metric]]
name = "topics"
measure = "top_k"
value = "topic"
windows = ["1m"]

[[board]]
name = "all"
title = "All forums"
[[board.tile]]
type = "number"
metric = "members"
[[board.tile]]
type = "table"
metric = "posts"
[[board.tile]]
type = "line"
metric = "posts"
[[board.tile]]
type = "bar"
metric = "posts"
[[board.tile]]
type = "heatmap"
metric = "posts"
[[board.tile]]
type = "sparkline"
metric = "members"
[[board.tile]]
type = "gauge"
metric = "members"
max = 100
warning = 20
critical = 40
[[board.tile]]
type = "top_k"
metric = "topics"
[[board.tile]]
type = "status"
[[board.tile]]
type = "alerts"
"""
REFUSALS = r"status of 40[13]"
"""What Chromium writes when a server says so, whatever the page makes of it."""
VIOLATIONS = """
window.__violations = [];
addEventListener("securitypolicyviolation", (event) =>
  window.__violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


class Forums:
    """An API with keys of its own, and numbers of two communities."""

    def __init__(self, server: ValkeyServer, directory: Path) -> None:
        self._server = server
        url = f"sqlite:///{directory}/points.db"
        self._keys = KeyStore(url)
        self._keys.setup()
        self._sink = LiveSink(server.client(), platform="Forums")
        self.say()
        self.api = Api(
            server.connection_url,
            url,
            catalog=CATALOG,
            origins=Origins(loopback=True),
            access=Access(nobody=NOBODY),
            heartbeat_s=1.0,
        )
        self.url = self.api.url

    def say(self) -> None:
        now_ms = clock_ms()
        minute_ms = now_ms // 60_000 * 60_000
        status = {"lag_ms": 0, "lag": 0, "caught_up": True, "at_ms": now_ms, "max_event_ms": now_ms}
        told = [
            point(count, minute_ms - before, metric="posts", state=State.OPEN, count=count, community=community)
            for before in (0, 60_000, 120_000)
            for community, count in (("gardeners", 11), ("sailors", 22))
        ]
        told += [point(33, minute_ms - before, metric="members", count=33) for before in (0, 60_000, 120_000)]
        self._sink.write(told, {"events:{0}": {**status, "gaps": 0, "lost": 0}}, alerts={}, now_ms=now_ms)

    def key(self, *permissions: str, role: str | None = None, for_ms: int | None = None, **rows: str) -> str:
        text = new_text()
        key_id = id_of(text)
        assert key_id is not None
        now_ms = clock_ms()
        expires_ms = None if for_ms is None else now_ms + for_ms
        only = {name: (value,) for name, value in rows.items()}
        self._keys.add(ApiKey(key_id, "a test", hash_of(text), role, permissions, only, None, now_ms, expires_ms))
        return text

    def stop(self) -> None:
        self.api.stop()
        self._keys.close()


@pytest.fixture(scope="module")
def forums(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forums]:
    with ValkeyServer() as server:
        made = Forums(server, tmp_path_factory.mktemp("forums"))
        yield made
        made.stop()


def _sign_in(page: Page, key: str) -> None:
    login = page.get_by_test_id("login")
    expect(login).to_be_visible()
    login.get_by_label("Key").fill(key)
    login.get_by_role("button").click()


def _tile(page: Page, kind: str) -> Locator:
    return page.locator(f"[data-testid=tile][data-type={kind}]").first


def test_a_wall_is_shown_to_whoever_has_a_key_and_hidden_after(
    forums: Forums, page: Page, watch: Watch, artifacts: Path
) -> None:
    watch.excused.append(REFUSALS)
    frames = Frames(page)
    page.goto(f"{forums.url}/board/all?theme=dark")
    expect(page.get_by_test_id("login")).to_contain_text("Sign in")
    expect(page.get_by_test_id("oidc")).to_have_count(0)
    page.screenshot(path=artifacts / "wall-login.png")
    _sign_in(page, "sg_wrong")
    expect(page.get_by_role("alert")).to_contain_text("expected a key")
    _sign_in(page, forums.key(role="viewer"))
    forums.say()
    expect(_tile(page, "table")).to_contain_text("gardeners")
    expect(_tile(page, "table")).to_contain_text("sailors")
    expect(page.get_by_test_id("who")).to_contain_text("key ")
    assert frames.said("welcome")[0]["until"]
    # The browser has no word of the key: nothing is kept that a script could read.
    assert page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})").count("sg_") == 0
    page.reload()
    expect(_tile(page, "table")).to_contain_text("sailors")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_test_id("login")).to_be_visible()
    expect(_tile(page, "table")).to_have_count(0)
    page.reload()
    expect(page.get_by_test_id("login")).to_be_visible()


def test_a_screen_has_its_key_in_its_address_and_the_address_forgets_it(forums: Forums, page: Page) -> None:
    forums.say()
    page.goto(f"{forums.url}/board/all?kiosk&theme=dark#key={forums.key(role='viewer')}")
    expect(_tile(page, "table")).to_contain_text("sailors")
    assert page.evaluate("location.href") == f"{forums.url}/board/all?kiosk&theme=dark"
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


def test_who_may_see_one_community_sees_no_other(forums: Forums, page: Page) -> None:
    forums.say()
    page.goto(f"{forums.url}/board/all?theme=dark#key={forums.key(role='viewer', community='sailors')}")
    expect(_tile(page, "table")).to_contain_text("sailors")
    forums.say()
    expect(_tile(page, "line")).to_contain_text("sailors")
    assert "gardeners" not in page.content()
    # Totals over everybody are not theirs either, and what is refused is of nobody knows whom.
    expect(_tile(page, "number")).to_have_count(0)
    expect(page.get_by_test_id("rejects")).to_have_count(0)
    expect(page.locator("[data-line=live]")).to_have_count(1)


def test_when_a_key_ends_the_wall_says_so_and_shows_nothing_old(forums: Forums, page: Page, watch: Watch) -> None:
    # A line that was about to be opened anew is let go of.
    watch.excused += [REFUSALS, "closed before the connection is established"]
    forums.say()
    page.goto(f"{forums.url}/board/all?theme=dark#key={forums.key(role='viewer', for_ms=6_000)}")
    expect(_tile(page, "table")).to_contain_text("sailors")
    expect(page.get_by_test_id("login")).to_contain_text("has ended", timeout=60_000)
    assert "sailors" not in page.content()
    _sign_in(page, forums.key(role="viewer"))
    expect(_tile(page, "table")).to_contain_text("sailors")


def test_the_wall_runs_under_its_policy_without_one_violation(forums: Forums, page: Page, watch: Watch) -> None:
    page.add_init_script(VIOLATIONS)
    answers = []
    page.on("response", lambda answer: answers.append(answer) if answer.url.endswith("theme=light") else None)
    forums.say()
    page.goto(f"{forums.url}/board/all?theme=light#key={forums.key(role='admin')}")
    for kind in ("number", "table", "line", "bar", "heatmap", "sparkline", "gauge", "status", "alerts"):
        expect(_tile(page, kind)).to_be_visible()
    forums.say()
    expect(_tile(page, "number")).to_contain_text("33")
    # A dialog with a chart of its own.
    page.locator("[data-testid=tile][data-type=line] button").first.click()
    expect(page.locator("dialog[open]")).to_be_visible()
    page.keyboard.press("Escape")
    policy = answers[0].headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.evaluate("window.__violations") == []
    # And it would have been seen.
    watch.excused.append("Applying inline style")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>')")
    page.wait_for_function("window.__violations.length > 0")
    assert page.evaluate("window.__violations")[0].startswith("style-src-attr")
