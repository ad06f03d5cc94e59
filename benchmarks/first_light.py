"""How late a number is, and what an idle installation costs: `make bench-first-light`.

Latency is from the XADD of an event to the WebSocket frame whose count includes it, over the real `up` with the demo
catalog at 2,000 events a second, producer, browser's part and all on the same machine. Writes
`benchmarks/results/first_light.json` with exactly the keys of `Result`.
"""

from __future__ import annotations

import bisect
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import valkey
from rich.console import Console
from rich.table import Table
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from stream.catalog import load
from streamgauge.demo.food_sharing import FoodSharing
from streamgauge.places import find_catalog
from tests.ports import free_port

RATE = 2_000
SECONDS = 30
WARM_UP_S = 5
IDLE_S = 20
BATCH_S = 0.01
RESULTS = Path(__file__).parent / "results" / "first_light.json"


@dataclass(frozen=True)
class Result:
    latency_p50_ms: float
    latency_p99_ms: float
    latency_max_ms: float
    events_per_s: float
    busy_core_share: float
    """Processor time of the whole tree at that rate, without the producer, as a share of one core."""
    idle_core_share: float
    idle_rss_mb: float
    """Resident memory of the whole idle tree, shared pages counted once for each process."""
    ready_s: float
    """From starting `up` to /readyz."""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge", "up", "--catalog", "food_sharing", "--port", str(port)],
            cwd=directory,
            env={k: v for k, v in os.environ.items() if not k.startswith(("STREAMGAUGE_", "VALKEY_", "DATABASE_"))},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            url = ""
            while not url:
                url = next(iter(re.findall(r"valkey://\S+", process.stdout.readline())), "")
            _wait_ready(port)
            ready_s = time.monotonic() - started
            time.sleep(8)
            idle = _cost(process.pid, IDLE_S)
            result = _under_load(url, port, process.pid, idle, ready_s)
        finally:
            process.terminate()
            process.wait(15)
    RESULTS.write_text(json.dumps(asdict(result), indent=2) + "\n")
    table = Table("figure", "measured", "target")
    targets = {"latency_p99_ms": "≤ 250", "idle_core_share": "≤ 0.15", "idle_rss_mb": "≤ 500", "ready_s": "≤ 180"}
    for name, value in asdict(result).items():
        table.add_row(name, f"{value:.3g}" if value < 1 else f"{value:,.1f}", targets.get(name, ""))
    Console().print(table)


def _under_load(url: str, port: int, root: int, idle: tuple[float, float], ready_s: float) -> Result:
    catalog = load(find_catalog("food_sharing"))
    # Made beforehand, so that what is measured is the pipe and not the simulator.
    simulator = FoodSharing(7, RATE, incidents=())
    count = RATE * (SECONDS + WARM_UP_S)
    now_ms = time.time_ns() // 1_000_000
    made = simulator.events_between(now_ms - 600_000, now_ms)
    while len(made) < count:
        made = made + made
    client = valkey.Valkey.from_url(url)
    sent_at: list[float] = []
    seen: list[tuple[float, int]] = []
    stop = threading.Event()

    def watch() -> None:
        with connect(f"ws://127.0.0.1:{port}/v1/ws") as socket:
            socket.send(json.dumps({"op": "hello", "topics": ["metric:events@1d"]}))
            while not stop.is_set():
                try:
                    message = json.loads(socket.recv(timeout=1))
                except (TimeoutError, WebSocketException):
                    continue
                at = time.monotonic()
                for series in message.get("series", {}).values():
                    seen.append((at, sum(point[1] for point in series["points"])))

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(1)
    cpu = _cpu_s(root)
    begun = time.monotonic()
    streams = catalog.platform.streams
    for start in range(0, count, int(RATE * BATCH_S)):
        due = begun + start / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        stamp = time.time_ns() // 1_000_000
        pipe = client.pipeline(transaction=False)
        for number in range(start, min(count, start + int(RATE * BATCH_S))):
            event = made[number] | {"time": stamp, "id": f"bench-{number}"}
            pipe.xadd(streams[number % len(streams)], {"data": orjson.dumps(event)})
        at = time.monotonic()
        pipe.execute()
        sent_at.extend([at] * int(RATE * BATCH_S))
    took = time.monotonic() - begun
    busy = (_cpu_s(root) - cpu) / took
    time.sleep(2)
    stop.set()
    watcher.join()
    counts = [value for _, value in seen]
    latencies = []
    for number in range(RATE * WARM_UP_S, count):
        place = bisect.bisect_left(counts, number + 1)
        assert place < len(seen), f"event {number} of {count} never came; the last count was {counts[-1]}"
        latencies.append((seen[place][0] - sent_at[number]) * 1_000)
    cuts = statistics.quantiles(latencies, n=100)
    return Result(cuts[49], cuts[98], max(latencies), count / took, busy, *idle, ready_s)


def _wait_ready(port: int) -> None:
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit("it did not become ready")


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
        found.extend(int(child) for child in listed.stdout.split())
    return found


def _cpu_s(root: int) -> float:
    ticks = 0
    for pid in _tree(root):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _cost(root: int, seconds: float) -> tuple[float, float]:
    """(share of a core, resident MB) of a process tree over some seconds."""
    before = _cpu_s(root)
    time.sleep(seconds)
    share = (_cpu_s(root) - before) / seconds
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _tree(root))
    return share, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
