"""A corner shop: a catalog with each type of tile, and an installation of it in which tests sell and break things."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import urllib3

from sinks.live import FIELD, LIVE_STREAM
from tests.ports import free_port
from tests.stack import Stack, eventually, stack

PLATFORM = "Corner shop"
STREAM = "events:{0}"
HOUR_S = 3_600
WINDOW_S = 10
"""Of `sold`, the metric with a past."""

CATALOG = """
[platform]
name = "Corner shop"

[event]
required = ["kind"]
out_of_orderness = "500ms"

[fields]
price = "number"

[[metric]]
name = "orders"
measure = "count"
where = "kind = 'book' OR kind = 'pen'"
windows = ["1s", "1m", "1d"]

[[metric]]
name = "orders_by_kind"
measure = "count"
by = ["kind"]
windows = ["1s", "1m", "1d"]
title = "Orders by kind"

[[metric]]
name = "sold"
measure = "count"
where = "kind = 'sale'"
windows = ["10s", "1d"]

[[metric]]
name = "refunds"
measure = "count"
where = "kind = 'refund'"
windows = ["1s", "1m", "1d"]

[[metric]]
name = "kinds"
measure = "top_k"
value = "kind"
windows = ["1m", "1d"]
title = "Favourites"

[[metric]]
name = "price"
measure = "mean"
value = "price"
windows = ["1s", "1m", "1d"]
unit = "€"

[[board]]
name = "floor"
title = "Shop floor"

[[board.tile]]
type = "number"
metric = "orders"
warning = 1
critical = 1000000

[[board.tile]]
type = "status"

[[board.tile]]
type = "line"
metric = "orders_by_kind"

[[board]]
name = "kinds"

[[board.tile]]
type = "line"
metric = "orders_by_kind"
width = 12

[[board]]
name = "past"

[[board.tile]]
type = "sparkline"
metric = "sold"
width = 12
height = 6

[[board.tile]]
type = "line"
metric = "sold"
width = 12
height = 6

[[board]]
name = "quiet"

[[board.tile]]
type = "number"
metric = "orders"

[[board.tile]]
type = "number"
metric = "refunds"

[[board]]
name = "every"
title = "Every type of tile"

[[board.tile]]
type = "number"
metric = "orders"

[[board.tile]]
type = "sparkline"
metric = "orders"

[[board.tile]]
type = "line"
metric = "orders_by_kind"

[[board.tile]]
type = "bar"
metric = "orders_by_kind"

[[board.tile]]
type = "table"
metric = "orders_by_kind"

[[board.tile]]
type = "top_k"
metric = "kinds"

[[board.tile]]
type = "gauge"
metric = "price"
max = 50
warning = 20
critical = 40

[[board.tile]]
type = "heatmap"
metric = "orders_by_kind"

[[board.tile]]
type = "status"

[[board.tile]]
type = "alerts"
"""

_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Shop:
    """A running installation of the shop."""

    def __init__(self, made: Stack, metrics_port: int) -> None:
        self._made = made
        self._metrics_port = metrics_port
        self.url = made.api
        self.logs = made.logs
        self.get = made.get
        self.points = made.points
        self.client = made.client
        self.store_url = f"sqlite:///{made.directory}/state/corner-shop/points.db"

    def sell(self, count: int, kind: str = "book", price: float = 12.5) -> None:
        self._made.add(STREAM, [{"kind": kind, "price": price}] * count)

    def refuse(self) -> None:
        self._made.client.xadd(STREAM, {"data": "{broken"})

    def orders_today(self) -> float:
        return self._made.total("orders")

    def sell_in_the_past(self) -> None:
        """An hour of sales, one to five in each window, under ids of then: an event without a time has its entry's."""
        pipe = self._made.client.pipeline(transaction=False)
        width_ms = WINDOW_S * 1_000
        first = (_now_ms() - HOUR_S * 1_000) // width_ms * width_ms
        chance = random.Random(7)
        for start in range(first, _now_ms() - width_ms, width_ms):
            for sale in range(chance.randint(1, 5)):
                pipe.xadd(STREAM, {"data": b'{"kind":"sale"}'}, id=f"{start + sale}-0")
        pipe.execute()

    def reload(self, within_s: float) -> str:
        """Have all pages load themselves anew. What the command says."""
        done = self._made.command("reload", "--catalog", str(self._made.catalog), "--within", str(within_s))
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Parts that are broken and mended.

    def kill_api(self) -> None:
        api = self._made.processes["serve"]
        api.kill()
        api.wait()

    def run_api(self) -> None:
        self._made.run_api()

    def hang(self, part: str) -> None:
        self._process(part).send_signal(signal.SIGSTOP)

    def wake(self, part: str) -> None:
        self._process(part).send_signal(signal.SIGCONT)

    def _process(self, part: str) -> subprocess.Popen[bytes]:
        return self._made.processes[{"api": "serve", "processor": "run"}[part]]

    def mend(self) -> None:
        """Everything runs again, and is ready."""
        for part, start in (("api", self._made.run_api), ("processor", self._made.run_processor)):
            if self._process(part).poll() is None:
                self.wake(part)
            else:
                start()
        self._made.ready()

    # What other parts would say on the live stream.

    def publish(self, **said: Any) -> None:
        """An update of the live stream, such as another part of the platform writes."""
        entry = {"t": _now_ms(), "platform": PLATFORM, **said}
        self._made.client.xadd(LIVE_STREAM, {FIELD: orjson.dumps(entry)})

    def alert(self, status: str, name: str = "a1", severity: str = "critical") -> None:
        now = _now_ms()
        self.publish(
            alerts={
                name: {
                    "id": name,
                    "rule": "Too few orders",
                    "series": {"metric": "orders", "window": "1m", "dimensions": {}},
                    "severity": severity,
                    "status": status,
                    "opened": now - 60_000,
                    "last_seen": now,
                    "acked_by": None,
                    "resolved": now if status == "resolved" else None,
                    "expected": 40,
                    "actual": 3,
                    "score": 4.2,
                    "why": "3 in a minute, where 40 are usual",
                }
            }
        )

    def backlog(self, behind_ms: int) -> None:
        """What a processor says that is so far behind."""
        status = {"caught_up": False, "lag_ms": behind_ms, "at_ms": _now_ms(), "max_event_ms": _now_ms() - behind_ms}
        self.publish(status={STREAM: {**status, "lag": 5_000, "gaps": 0, "lost": 0, "lost_exact": True}})

    def metric(self, name: str, **labels: str) -> float:
        """One number of the API's own metrics."""
        shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
        wanted = f"{name}{{{shown}}}" if shown else name
        text = _http.request("GET", f"http://127.0.0.1:{self._metrics_port}/metrics").data.decode()
        found = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == wanted]
        assert len(found) == 1, f"{wanted} is not in\n{text}"
        return float(found[0])


@contextmanager
def shop_of(directory: Path, text: str = CATALOG) -> Iterator[Shop]:
    """Valkey, processor and API of the shop, in `directory`."""
    catalog = directory / "catalog.toml"
    catalog.write_text(text)
    metrics_port = free_port()
    # A second between heartbeats, so that a server that hangs is noticed soon.
    environment = {"STREAMGAUGE_HEARTBEAT_S": "1", "STREAMGAUGE_API_METRICS_PORT": str(metrics_port)}
    with stack(directory, catalog, environment=environment) as made:
        shop = Shop(made, metrics_port)
        shop.sell_in_the_past()
        made.run_processor()
        made.run_api()
        made.ready()
        eventually(lambda: len(shop.points("sold", "10s")) >= 350, what="an hour of sales in the store")
        yield shop
