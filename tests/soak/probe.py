"""What a page and a process take, measured from outside."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import CDPSession, Page

from tests.soak.judge import Sample


class Probe:
    """Measures one page, through the protocol of Chromium's own tools, and one process."""

    def __init__(self, page: Page, pid: int) -> None:
        self._page = page
        self._pid = pid
        self._tools: CDPSession = page.context.new_cdp_session(page)
        self._tools.send("HeapProfiler.enable")
        self._tools.send("Performance.enable")

    def sample(self, at_s: float, number: str, *, is_live: bool) -> Sample:
        # What is only held by what the first round sets free goes with the second.
        for _ in range(2):
            self._tools.send("HeapProfiler.collectGarbage")
        heap = self._tools.send("Runtime.getHeapUsage")["usedSize"]
        metrics = {one["name"]: one["value"] for one in self._tools.send("Performance.getMetrics")["metrics"]}
        return Sample(at_s, heap, metrics["Nodes"], metrics["JSEventListeners"], rss_bytes(self._pid), number, is_live)


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
