"""How old a number is when it is painted: the whole `up` with its demo, and Chromium with a wall open."""

from __future__ import annotations

import bisect
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import urllib3
import valkey
from playwright.sync_api import sync_playwright

from benchmarks.engine.place import ROOT, clean_environment
from benchmarks.hub.browser import ARGUMENTS, PAINTED, WATCH
from stream.catalog import load
from streamgauge.places import find_catalog
from tests.ports import free_port

EVERY_S = 0.137
"""No multiple of a tick, so that every moment between two of them has its turn."""
_METRIC = """
[[metric]]
name = "probe"
title = "Probe"
measure = "last"
value = "probe_ms"
where = "event = 'probe'"
windows = ["1m", "1d"]
"""
_BOARD = """
[[board]]
name = "probed"

[[board.tile]]
type = "number"
metric = "probe"

[[board.tile]]
type = "number"
metric = "events"

[[board.tile]]
type = "sparkline"
metric = "claims"

[[board.tile]]
type = "line"
metric = "page_views"

[[board.tile]]
type = "bar"
metric = "api_calls"

[[board.tile]]
type = "status"
"""
"""The probe, and some of what a board usually has beside it."""
_PAGE = "/board/probed"
_WARM_UP_S = 10.0
_LINGER_S = 2.0
_READY_WITHIN_S = 60.0
_STOP_S = 20.0
_FIRST_MS = 100_000
"""The value of the first probe. A wall shows every digit of numbers below a million."""


@dataclass(frozen=True)
class Age:
    """Of each probe: from before its XADD to the animation frame after it, or a later one, was put in the page, ms."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    probes: int
    painted: int
    """Probes that were themselves painted; the others were overtaken by the next."""


def measure(seconds: float) -> Age:
    with tempfile.TemporaryDirectory(prefix="hub-") as directory, _up(Path(directory)) as (valkey_url, page_url):
        probing = _Probing(valkey_url)
        with sync_playwright() as playwright:
            program = shutil.which("chromium")
            if program is None:
                raise RuntimeError("chromium is not installed: apt-get install -y chromium")
            browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
            page = browser.new_context(viewport={"width": 1920, "height": 1080}).new_page()
            with probing:
                page.goto(page_url)
                page.wait_for_selector("[data-testid=tile][data-metric=probe] [data-testid=value]", timeout=30_000)
                page.evaluate(WATCH, "[data-testid=tile][data-metric=probe]")
                page.wait_for_timeout(1_000 * (_WARM_UP_S + seconds))
            page.wait_for_timeout(1_000 * _LINGER_S)
            painted: list[tuple[float, int]] = [(at_ms, value) for at_ms, value in page.evaluate(PAINTED)]
            browser.close()
    first_ms = probing.base_ms + painted[0][1] + 1_000 * _WARM_UP_S
    sent = [value for value in probing.sent if probing.base_ms + value >= first_ms]
    values = [value for _, value in painted]
    if values != sorted(values) or not sent or values[-1] < sent[-1]:
        raise RuntimeError(f"{len(sent)} probes up to {sent[-1:]} were sent; the last painted were {values[-5:]}")
    late_ms = [painted[bisect.bisect_left(values, value)][0] - probing.base_ms - value for value in sent]
    return Age(
        p50_ms=float(np.percentile(late_ms, 50)),
        p99_ms=float(np.percentile(late_ms, 99)),
        max_ms=max(late_ms),
        probes=len(sent),
        painted=len(set(sent) & set(values)),
    )


class _Probing:
    """Sends probes, each with the moment before its XADD in it, in ms since `base_ms`."""

    def __init__(self, valkey_url: str) -> None:
        self._client = valkey.Valkey.from_url(valkey_url, socket_timeout=10)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probing")
        self.base_ms = time.time_ns() // 1_000_000 - _FIRST_MS
        self.sent: list[int] = []

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        stream = load(find_catalog("food_sharing")).platform.streams[0]
        while not self._stop.wait(EVERY_S):
            now_ms = time.time_ns() // 1_000_000
            value = now_ms - self.base_ms
            event = {"id": f"probe-{now_ms}", "time": now_ms, "event": "probe", "probe_ms": value}
            self._client.xadd(stream, {"data": orjson.dumps(event)})
            self.sent.append(value)


@contextmanager
def _up(directory: Path) -> Iterator[tuple[str, str]]:
    """The addresses of the server and of the page, of everything with the demo at its usual rate, once it is ready."""
    catalog = directory / "probed.toml"
    head, table, rest = find_catalog("food_sharing").read_text().partition("[[metric]]")
    catalog.write_text(head + _METRIC + table + rest + _BOARD)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamgauge", "up", "--demo", "--catalog", str(catalog), "--port", str(port)],
        cwd=directory,
        env=clean_environment() | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = ""
        while not url:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("`up` ended before it said where it is")
            url = next(iter(re.findall(r"valkey://\S+", line)), "")
        # Whoever does not read what it says further on would stop it.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        _await_ready(port)
        yield url, f"http://127.0.0.1:{port}{_PAGE}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(port: int) -> None:
    http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(2))
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        try:
            if http.request("GET", f"http://127.0.0.1:{port}/readyz").status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.05)
    raise RuntimeError("`up` did not become ready")
