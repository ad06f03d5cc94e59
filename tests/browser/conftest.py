"""Debian's Chromium, driven by Playwright, which brings no browser of its own here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.stack import ROOT

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    # A failure on purpose: a skipped browser would leave a green run in which nobody has looked.
    assert program, "chromium is not installed; these tests need it: apt-get install -y chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose uncaught errors fail the test."""
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots go, for a person to look at."""
    directory = ROOT / "tests" / "artifacts"
    directory.mkdir(exist_ok=True)
    return directory
