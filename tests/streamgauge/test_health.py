from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
import urllib3
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from live_api.conditions import Condition, State, answer
from live_api.delivery.meters import DeliveryMeters
from sinks.errors import Retryable
from stream.batches import Status
from stream.decode import Decoder
from stream.meters import Meters
from stream.writers import Patience
from streamgauge.cli import app
from streamgauge.exposition import serve
from streamgauge.health import Health, alive, of_deliver, of_processor
from streamgauge.samples import Samples
from tests.batches import STREAM, T0, data_batch, plan_of
from tests.ports import free_port

_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))
PLAN = plan_of('[[metric]]\nname = "n"\nmeasure = "count"\n')


class Times:
    now_ms = T0
    seconds = 100.0


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def meters(times: Times) -> Meters:
    """Of a processor that reads one stream, and has just heard of it."""
    made = Meters(lambda: times.now_ms, lambda: times.seconds)
    made.reading(STREAM, lambda: 0)
    made.called("source")
    return made


def judged(meters: Meters, times: Times) -> tuple[str, list[str]]:
    _, said = answer(of_processor(Samples.of(meters.registry), times.now_ms / 1_000))
    return said["status"], said["reasons"]


def test_a_stream_that_was_not_heard_of_yet_is_not_ready(meters: Meters, times: Times) -> None:
    assert judged(meters, times) == ("not ready", [f"the stream {STREAM} has not been heard of yet"])


def _report(meters: Meters, **fields: Any) -> None:
    """The reader has told how far it is."""
    heard = Status(STREAM, T0, True, 0, None)
    batch = data_batch([], caught_up=True)
    meters.received(batch, replace(Decoder(PLAN).decode(batch, T0), status=replace(heard, **fields)))


def test_a_stream_that_is_read_is_ready_and_after_silence_it_is_not(meters: Meters, times: Times) -> None:
    _report(meters)
    assert judged(meters, times) == ("ready", [])
    times.now_ms += 5_000
    assert judged(meters, times) == ("ready", [])
    times.now_ms += 1_000
    assert judged(meters, times) == ("not ready", [f"the stream {STREAM} was heard of 6 s ago"])


def test_a_processor_that_is_behind_is_degraded_and_not_ended(meters: Meters, times: Times) -> None:
    _report(meters, lag_ms=60_000, lag=12_345, caught_up=False)
    status, reasons = judged(meters, times)
    assert (status, reasons) == (
        "degraded",
        [f"the stream {STREAM} is 60 s behind, with 12,345 entries to catch up with"],
    )
    assert answer(alive(meters.turned_ago_s()))[0] == 200


@pytest.mark.parametrize(("stage", "status"), [("live", "not ready"), ("store", "not ready"), ("people", "degraded")])
def test_a_sink_that_fails_is_told_until_it_works_again(meters: Meters, times: Times, stage: str, status: str) -> None:
    _report(meters)
    draining, tried = threading.Event(), []

    def write() -> None:
        tried.append(judged(meters, times))
        if len(tried) < 3:
            times.seconds += 11  # as if so much had passed between two attempts
            raise Retryable("away", 0.001)

    Patience(stage, draining, None, meters)(write)
    assert tried == [("ready", []), ("ready", []), (status, [f"{stage} has been tried again for 11 s"])]
    assert judged(meters, times) == ("ready", [])


def test_a_loop_that_stands_still_is_not_alive(meters: Meters, times: Times) -> None:
    assert answer(alive(meters.turned_ago_s()))[0] == 200
    times.seconds += 61
    assert answer(alive(meters.turned_ago_s()))[0] == 503
    meters.retried("live")
    assert answer(alive(meters.turned_ago_s()))[0] == 200, "a write that is tried again"
    assert answer(alive(None))[0] == 200, "it has not begun"


def test_the_deliverer_is_ready_while_valkey_answers_about_each_endpoint() -> None:
    meters = DeliveryMeters()

    def judge(now_ms: int) -> tuple[str, list[str]]:
        _, said = answer(of_deliver(Samples.of(meters.registry), now_ms / 1_000))
        return said["status"], said["reasons"]

    assert judge(T0) == ("ready", []), "it has nobody to deliver to"
    meters.of("ops")
    assert judge(T0) == ("not ready", ["ops: its part of the outbox has not been read yet"])
    meters.reached("ops", T0)
    assert judge(T0) == ("ready", [])
    meters.stands("ops", waiting=1, oldest_ms=T0, now_ms=T0 + 400_000, circuit_open=False, disabled=False)
    assert judge(T0) == ("degraded", ["ops: the oldest notification has waited for 400 s"])
    meters.stands("ops", waiting=1, oldest_ms=T0, now_ms=T0, circuit_open=True, disabled=False)
    assert judge(T0) == ("degraded", ["ops fails, and is only tried now and then"])
    meters.stands("ops", waiting=1, oldest_ms=T0, now_ms=T0, circuit_open=True, disabled=True)
    assert judge(T0) == ("degraded", ["ops is switched off, as it answered 410"])
    assert judge(T0 + 16_000) == ("not ready", ["ops: Valkey was last reached 16 s ago"])


def test_the_worst_is_said_first() -> None:
    status, said = answer(
        [
            Condition("a", State.READY, "fine"),
            Condition("b", State.DEGRADED, "slow"),
            Condition("c", State.NOT_READY, "gone"),
        ]
    )
    assert (status, said["status"], said["reasons"]) == (503, "not ready", ["gone", "slow"])
    assert [one["state"] for one in said["conditions"]] == ["ready", "degraded", "not ready"]


@pytest.mark.parametrize("state", list(State))
def test_the_verb_asks_over_http_and_exits_as_checks_want_it(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    well: Callable[[], list[Condition]] = lambda: [Condition("loop", State.READY, "turns")]  # noqa: E731
    server = serve(CollectorRegistry(), "127.0.0.1", 0, Health(well, lambda: [Condition("x", state, "as it is")]))
    monkeypatch.setenv("STREAMGAUGE_METRICS_PORT", str(server.server_port))
    try:
        found = _http.request("GET", f"http://127.0.0.1:{server.server_port}/readyz")
        assert orjson.loads(found.data)["status"] == state.word
        assert found.headers["content-type"] == "application/json"
        asked = CliRunner().invoke(app, ["health", "--role", "processor", "--ready"])
        assert asked.exit_code == (1 if state is State.NOT_READY else 0)
        assert asked.output.strip() == (state.word if state is State.READY else f"{state.word}; as it is")
        assert CliRunner().invoke(app, ["health", "--role", "processor"]).exit_code == 0
    finally:
        server.shutdown()
        server.server_close()


def test_the_verb_says_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_PORT", str(free_port()))
    asked = CliRunner().invoke(app, ["health"])
    assert asked.exit_code == 1
    assert "/healthz does not answer" in asked.output
    monkeypatch.setenv("STREAMGAUGE_METRICS_PORT", "off")
    asked = CliRunner().invoke(app, ["health", "--role", "processor"])
    assert asked.exit_code == 1
    assert "STREAMGAUGE_METRICS_PORT=off" in asked.output


def test_the_verb_loads_little_as_it_is_asked_often() -> None:
    code = (
        "import sys; sys.argv[1:] = ['health', '--help']\n"
        "from streamgauge.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'polars', 'bytewax', 'fastapi', 'sqlalchemy', 'valkey', 'stream.catalog'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage: streamgauge health [OPTIONS]" in done.stdout
    assert "--ready" in done.stdout
