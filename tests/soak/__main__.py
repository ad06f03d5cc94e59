"""`make soak`: the demo and a wall for minutes, and a table of what they took. SOAK_MINUTES says how many."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from tests.browser.chromium import Watch, chromium
from tests.ports import free_port
from tests.soak.judge import Sample, judge, rise_per_s
from tests.soak.probe import Probe
from tests.up import child_of, running_up

_EVERY_S = 15.0
_NUMBER = "[data-testid=tile][data-metric=events] [data-testid=value]"
_IS_LIVE = "document.querySelector('.line')?.dataset.line === 'live' && !document.querySelector('[data-testid=banner]')"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    usual = float(os.environ.get("SOAK_MINUTES") or 10)
    parser.add_argument("--minutes", type=float, default=usual, help="how long (SOAK_MINUTES)")
    parser.add_argument("--every", type=float, default=_EVERY_S, help="seconds between two samples")
    parser.add_argument("--page", default="board/ops?theme=dark", help="which page is looked at")
    asked = parser.parse_args()
    # Told to end, it must still end what it has started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    directory = Path(tempfile.mkdtemp(prefix="streamgauge-soak-"))
    watch = Watch()
    samples: list[Sample] = []
    try:
        with running_up(directory, free_port(), "--demo") as up, chromium() as browser:
            up.ready()
            context = browser.new_context(viewport={"width": 1920, "height": 1080})
            watch.over(context)
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{up.port}/{asked.page}")
            page.wait_for_selector(f"{_NUMBER} >> text=/[0-9]/", timeout=60_000)
            page.wait_for_function(_IS_LIVE, timeout=60_000)
            _watch(page, Probe(page, child_of(up, "serve")), asked.minutes * 60, asked.every, samples)
            context.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    problems = judge(samples) + watch.problems()
    _sum_up(samples)
    print(
        "\n".join(problems) or "flat: nothing grows, the line was live throughout, numbers moved, no error was logged"
    )
    return 1 if problems else 0


def _watch(page: Page, probe: Probe, for_s: float, every_s: float, samples: list[Sample]) -> None:
    print(f"{'s':>6} {'heap, kB':>10} {'nodes':>7} {'listeners':>10} {'API, MB':>8} {'line':>5}  events")
    began_s = time.monotonic()
    while True:
        at_s = time.monotonic() - began_s
        one = probe.sample(at_s, page.inner_text(_NUMBER), is_live=page.evaluate(_IS_LIVE))
        samples.append(one)
        print(
            f"{one.at_s:6.0f} {one.heap_bytes / 1e3:10,.0f} {one.nodes:7,.0f} {one.listeners:10,.0f} "
            f"{one.rss_bytes / 1e6:8.1f} {'live' if one.is_live else 'lost':>5}  {one.number}",
            flush=True,
        )
        left_s = for_s - at_s
        if left_s < every_s / 2:
            return
        page.wait_for_timeout(1_000 * min(every_s, left_s))


def _sum_up(samples: list[Sample]) -> None:
    settled = samples[len(samples) // 3 :]
    if len(settled) < 2:
        return
    heap = rise_per_s(settled, lambda one: one.heap_bytes) * 60 / 1e3
    rss = rise_per_s(settled, lambda one: one.rss_bytes) * 60 / 1e6
    print(f"over the last two thirds: heap {heap:+.1f} kB a minute, API {rss:+.2f} MB a minute")


if __name__ == "__main__":
    sys.exit(main())
