"""The whole way of an alert: events, processor, store, hub, REST, outbox, webhook; and what a crash leaves of it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
import urllib3
from standardwebhooks import Webhook

from sinks.alert_records import Notification
from stream.alerts import Alerts
from stream.batches import RawBatch
from stream.catalog import load
from stream.clock import NEVER_MS
from stream.enrich import Pseudonyms
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from stream.score import Scorer, lifecycles, watches
from streamgauge.places import outbox_of
from tests.ports import free_port
from tests.stack import Stack, eventually, live, stack, stop

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
CATALOG = """
[platform]
name = "Alerts"
streams = ["events:{0}", "events:{1}"]

[event]
out_of_orderness = "1s"

[[metric]]
name = "orders"
measure = "count"
by = ["place"]
windows = ["1s"]

[[metric]]
name = "all_orders"
measure = "count"
windows = ["1s"]

[[anomaly]]
name = "rush"
metric = "orders"
window = "1s"
detector = "above"
severity = { warning = 10, critical = 40 }
resolve_after = 2
inhibited_by = ["rush_everywhere"]

[[anomaly]]
name = "rush_everywhere"
metric = "all_orders"
window = "1s"
detector = "above"
severity = { error = 100 }
k = 2
n = 3

[[anomaly]]
name = "quiet"
metric = "orders"
window = "1s"
detector = "below"
severity = { info = 1 }
dimensions = { place = "a" }
flapping = 0

[[webhook]]
name = "ops"
url = "http://127.0.0.1:PORT/hook"
secret_env = "OPS_SECRET"
allow_http = true
allow_private = ["127.0.0.0/8"]
"""
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


class Receiver:
    """What somebody runs behind a webhook; refuses what is not signed."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        receiver, signed = self, Webhook(SECRET)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.heard.append(signed.verify(body, dict(self.headers)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def made_stack(directory: Path, port: int) -> Any:
    catalog = directory / "catalog.toml"
    catalog.write_text(CATALOG.replace("PORT", str(port)))
    environment = {
        "OPS_SECRET": SECRET,
        "STREAMGAUGE_DELIVER_METRICS_PORT": "off",
        "STREAMGAUGE_API_METRICS_PORT": "off",
    }
    return stack(directory, catalog, environment=environment)


def post(made: Stack, path: str, **body: Any) -> Any:
    answer = _http.request("POST", made.api + path, json=body)
    return answer.status, orjson.loads(answer.data)


def test_an_alert_is_told_seen_taken_on_and_resolved(tmp_path: Path, receiver: Receiver) -> None:
    with made_stack(tmp_path, receiver.port) as made:
        made.run_processor()
        made.run_api()
        made.start("deliver", "deliver", "--catalog", str(made.catalog))
        made.ready()
        busy = threading.Event()

        def send() -> None:
            rounds = 0
            while not busy.is_set():
                # Of the other place so few that it never comes near ten a second: it would be told in the same breath.
                made.add("events:{0}", [{"place": "b"}] * 5 + [{"place": "a"}] * (rounds % 3 == 0))
                rounds += 1
                time.sleep(0.1)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            with live(made, "alerts") as client:
                client.until(lambda one: any("alerts" in frame and frame["alerts"] for frame in one.frames))
            (alert,) = eventually(lambda: made.get("/v1/alerts", rule="rush")["alerts"], what="the alert in the store")
            assert alert["series"] == {"metric": "orders", "window": "1s", "dimensions": {"place": "b"}}
            assert (alert["severity"], alert["status"]) in {("warning", "firing"), ("critical", "firing")}
            eventually(lambda: receiver.heard, what="the webhook")
            assert receiver.heard[0]["type"] == "alert.opened"
            status, answer = post(made, f"/v1/alerts/{alert['id']}/ack", by="ada", reason="on it")
            assert status == 202, answer
            taken = eventually(lambda: made.get("/v1/alerts", rule="rush", status="acknowledged")["alerts"], what="ack")
            assert [(one["id"], one["acked_by"], one["note"]) for one in taken] == [(alert["id"], "ada", "on it")]
        finally:
            busy.set()
            sender.join()
        ended = eventually(
            lambda: [one for one in made.get("/v1/alerts", rule="rush", status="resolved")["alerts"]],
            within_s=40,
            what="its end",
        )
        assert alert["id"] in {one["id"] for one in ended}

        def own() -> list[str]:
            return [change for told in receiver.heard for change, id_ in _changes(told) if id_ == alert["id"]]

        eventually(lambda: own()[-1:] == ["resolved"], what="the end at the webhook")
        assert [change for change in own() if change != "escalated"] == ["opened", "resolved"]
        scores = made.get("/v1/scores", metric="orders", window="1s", place="b")["scores"]
        assert any(one["anomalous"] for one in scores)
        assert stop(made.processes["run"]) == 0
        assert stop(made.processes["deliver"]) == 0


def _changes(told: dict[str, Any]) -> list[tuple[str, str]]:
    """What a notification says, of one alert or of several of a group: each change with the alert's id."""
    alerts = told["data"].get("alerts") or [{"change": told["type"].removeprefix("alert."), **told["data"]}]
    return [(one["change"], one["id"]) for one in alerts]


def expected(catalog_path: Path, events: list[tuple[str, dict[str, Any]]]) -> list[Notification]:
    """The notifications over the same events, worked out at once and without an engine."""
    catalog = load(catalog_path)
    plan = compile_plan(catalog)
    pipeline = Pipeline(plan, Pseudonyms(b"the-key-of-these-tests"))
    watched = watches(catalog, plan)
    scorers = {cube: Scorer(cube, some) for cube, some in watched.items()}
    alerts = Alerts(lifecycles(watched, catalog), watched, catalog.platform.name)
    now_ms = int(time.time() * 1_000)
    for stream in plan.streams:
        entries = [
            (b"%d-%d" % (now_ms, number + 1), [b"data", orjson.dumps(event)])
            for number, (name, event) in enumerate(events)
            if name == stream
        ]
        pipeline.add(RawBatch(stream, entries, False, now_ms), now_ms)
    points = pipeline.tick(now_ms).durable
    watermark_ms = max((point.watermark_ms for point in points), default=NEVER_MS)
    for scorer in scorers.values():
        alerts.add(scorer.take(points, watermark_ms))
    return alerts.advance(now_ms).notifications


def script(seed: int, start_ms: int, seconds: int) -> list[tuple[str, dict[str, Any]]]:
    """Orders of three places, with rushes that come and go, some everywhere."""
    rng = random.Random(seed)
    busy = dict.fromkeys("abc", 2)
    found: list[tuple[str, dict[str, Any]]] = []
    for second in range(seconds):
        for place in busy:
            if rng.random() < 0.15:
                busy[place] = rng.choice([0, 2, 2, 15, 60])
            for number in range(busy[place]):
                time_ms = start_ms + second * 1_000 + rng.randrange(1_000)
                name = f"events:{{{number % 2}}}"
                found.append((name, {"place": place, "time": time_ms, "n": f"{second}-{number}"}))
    # One late enough to close all of it, in each stream.
    found += [(f"events:{{{n}}}", {"place": "z", "time": start_ms + (seconds + 80) * 1_000}) for n in (0, 1)]
    return found


@pytest.mark.parametrize(("seed", "processes"), [(1, 1), (2, 2)])
def test_killed_again_and_again_it_tells_what_an_undisturbed_run_tells(
    tmp_path: Path, seed: int, processes: int
) -> None:
    def run() -> Any:
        return made.start("run", "run", "--catalog", str(made.catalog), "--processes", str(processes))

    with made_stack(tmp_path, free_port()) as made:
        rng = random.Random(seed)
        start_ms = int(time.time()) * 1_000 - 400_000
        events = script(seed, start_ms, 240)
        # A processor that is away for seconds takes a stream for idle when it is back; nothing is to be late by that.
        made.catalog.write_text(made.catalog.read_text().replace('"1s"\n\n[[metric]]', '"60s"\n\n[[metric]]', 1))
        processor = run()
        outbox = outbox_of(load(made.catalog))
        eventually(lambda: made.client.exists(outbox), what="the outbox")
        sizes = sorted(rng.sample(range(1, len(events)), 11))
        for first, last in zip([0, *sizes], [*sizes, len(events)], strict=True):
            for stream in ("events:{0}", "events:{1}"):
                made.add(stream, [event for name, event in events[first:last] if name == stream])
            time.sleep(rng.uniform(0.1, 1.5))
            if rng.random() < 0.6:
                processor.kill()
                processor.wait()
                processor = run()
        wanted = expected(made.catalog, events)
        assert len(wanted) > 20

        def told() -> dict[str, Notification]:
            entries: Any = made.client.xrange(outbox)
            found = [Notification.from_bytes(fields[b"n"]) for _, fields in entries]
            for one in found:
                # The same id always says the same, so that whoever has it may leave it out.
                assert one == next(other for other in found if other.id == one.id)
            return {one.id: one for one in found}

        last = wanted[-1].id
        eventually(lambda: last in told(), within_s=60, what=f"the last notification\n{made.logs()[-2000:]}")
        found = list(told().values())
        # After its last event time goes on, and ends what was open still.
        assert [one for one in found if one.at_ms <= wanted[-1].at_ms] == wanted
        assert stop(processor) == 0
