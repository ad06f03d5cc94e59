"""What the tests in a browser share: the browser, a page that is watched, a shop and a demo to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import Watch, chromium
from tests.browser.shop import Shop, shop_of
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.stack import ROOT
from tests.up import Up, running_up

expect.set_options(5_000 * PATIENCE)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Of this package only: while Playwright runs, no other test of this thread can run a loop of its own."""
    with chromium() as launched:
        yield launched


@pytest.fixture
def watch() -> Watch:
    """What the test's page does wrong; a test that breaks something says in `excused` what follows from it."""
    return Watch()


@pytest.fixture
def page(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A page that may have no error, write none to the console, and ask nobody but the server it came from."""
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    watch.over(context)
    yield context.new_page()
    context.close()
    assert watch.problems() == []


@pytest.fixture(scope="package")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A small catalog over real parts, with an hour of sales behind it. Who breaks a part mends it again."""
    with shop_of(tmp_path_factory.mktemp("shop")) as made:
        yield made
        print(made.logs())


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """What `make demo` shows."""
    with running_up(tmp_path_factory.mktemp("demo"), free_port(), "--demo") as up:
        up.ready()
        yield up


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots go, for a person to look at."""
    directory = ROOT / "tests" / "artifacts"
    directory.mkdir(exist_ok=True)
    return directory
