"""What the soak measures: a page that holds on to things is seen, and one that does not is not."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import Page

from tests.soak.judge import judge
from tests.soak.probe import Probe

pytestmark = pytest.mark.browser


def test_a_page_that_holds_on_to_things_is_seen(page: Page) -> None:
    probe = Probe(page, os.getpid())
    page.set_content("<p>0</p>")

    def soak(step: str) -> list[str]:
        samples = []
        for number in range(12):
            page.evaluate(step)
            samples.append(probe.sample(float(number), str(number), is_live=True))
        return judge(samples)

    # Garbage is collected, and what is kept on purpose is not.
    assert soak("() => { Array.from({ length: 1e5 }, () => ({})); document.createElement('p'); }") == []
    leaks = soak(
        """() => {
          (window.kept ??= []).push(Array.from({ length: 3e4 }, () => ({})));
          for (let at = 0; at < 100; at += 1) window.kept.push(document.createElement("p"));
        }"""
    )
    assert {leak.partition(":")[0] for leak in leaks} == {"heap_bytes", "nodes"}
