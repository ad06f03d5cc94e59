from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import valkey
from prometheus_client import CollectorRegistry
from rich.console import Console
from typer.testing import CliRunner

from live_api.delivery.meters import DeliveryMeters
from live_api.meters import HubMeters
from sinks.live import LiveSink
from stream.batches import Status
from stream.decode import Decoder
from stream.meters import Meters
from stream.walltime import clock_ms
from streamgauge.asking import Role
from streamgauge.cli import app
from streamgauge.exposition import serve
from streamgauge.last_words import Heard
from streamgauge.samples import Samples
from streamgauge.top import Look, draw, follow, quantile
from tests.batches import STREAM, T0, data_batch, plan_of
from tests.ports import free_port

PLAN = plan_of('[[metric]]\nname = "n"\nmeasure = "count"\n')


def shown(now: Look, before: Look) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(draw(now, before))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def row(text: str, first: str) -> list[str]:
    """The cells of the row that begins so."""
    [line] = [line for line in text.splitlines() if line.strip().startswith(first)]
    return line.split()


def seen(at_s: float, **registries: CollectorRegistry) -> Look:
    parts = {role: [Samples.of(registries[role.value])] if role.value in registries else [] for role in Role}
    return Look(at_s, parts, {role: "it was not started" for role in Role if not parts[role]})


def work(meters: Meters, events: int) -> None:
    batch = data_batch([{"a": 1}] * events, caught_up=True)
    meters.received(batch, replace(Decoder(PLAN).decode(batch, T0), status=Status(STREAM, T0, True, 90_000, None, 77)))
    meters.sent("live", 5 * events)


def test_rates_are_those_between_two_looks_and_states_those_of_the_last() -> None:
    meters, hub, deliver = Meters(lambda: T0), HubMeters(), DeliveryMeters()
    meters.stage("live")
    deliver.of("ops")
    hub.joined("ws", resumed=False)
    registries = {"processor": meters.registry, "api": hub.registry, "deliver": deliver.registry}
    work(meters, 3)
    before = seen(T0 / 1_000 - 2, **registries)
    work(meters, 40)
    meters.shown(T0 - 120)
    hub.wrote(30, 1_000)
    deliver.stands("ops", waiting=4, oldest_ms=T0 - 65_000, now_ms=T0, circuit_open=True, disabled=False)
    text = shown(seen(T0 / 1_000, **registries), before)
    assert row(text, STREAM) == [STREAM, "20", "77", "90", "s", "now"]
    assert row(text, "live") == ["live", "100", "works", "-"]
    assert row(text, "1 (ws 1)") == ["1", "(ws", "1)", "0", "15", "15", "-"]
    assert row(text, "ops") == ["ops", "0", "4", "65", "s", "fails"]
    assert "events/s 20" in text
    assert "freshness p50 125 ms" in text
    assert "not reachable" not in text


def test_what_is_not_reachable_is_said_and_is_no_zero() -> None:
    now = replace(seen(T0 / 1_000), heard=Heard(T0, T0, T0 - 4_000, {"events": {"at_ms": T0, "lag": 5, "lag_ms": 1}}))
    text = shown(now, seen(T0 / 1_000 - 1))
    for role in Role:
        assert re.search(rf"^ {role} +not reachable( +-)+ *$", text, re.MULTILINE)
        assert f"{role} is not reachable: it was not started" in text
    assert row(text, "events") == ["events", "-", "5", "0.0", "s", "now"], "from the live stream"
    assert "watermark 4.0 s behind" in text
    assert "0 s ago" not in text
    gone = shown(replace(now, heard="Valkey: refused"), seen(T0 / 1_000 - 1))
    assert "not reachable: Valkey: refused" in gone


def test_a_part_that_began_anew_has_no_rate_yet() -> None:
    one, other = Meters(lambda: T0), Meters(lambda: T0)
    work(one, 40)
    work(other, 3)
    before = seen(T0 / 1_000 - 2, processor=one.registry)
    now = seen(T0 / 1_000, processor=other.registry)
    # Both registries tell of this one process, so one of them is given another start.
    [samples] = before.parts[Role.PROCESSOR]
    samples._found["process_start_time_seconds"] = [({}, 1.0)]
    assert row(shown(now, before), STREAM)[1] == "-"


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({0.1: 0, 0.2: 10, float("inf"): 10}, 0.5, 0.15),
        ({0.1: 10, 0.2: 10, float("inf"): 10}, 0.99, 0.099),
        ({0.1: 0, 0.2: 0, float("inf"): 10}, 0.5, 0.2),
        ({0.1: 0, float("inf"): 0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_a_quantile_of_a_histogram(counts: dict[float, float], share: float, expected: float | None) -> None:
    found = quantile(counts, share)
    assert found == (None if expected is None else pytest.approx(expected))


def test_it_goes_on_until_it_is_told_to_end() -> None:
    times: Iterator[float] = iter(range(100))
    screens: list[object] = []
    waits = iter([False, False, True])
    follow(lambda: seen(next(times)), screens.append, lambda _: next(waits))
    assert len(screens) == 2


def test_one_screen_without_a_terminal(
    valkey_client: valkey.Valkey, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    LiveSink(valkey.Valkey.from_url(valkey_url), platform="Shop").write(
        [], {"clicks": {"at_ms": clock_ms(), "lag": 9, "lag_ms": 12_000}}, now_ms=clock_ms()
    )
    hub = HubMeters()
    server = serve(hub.registry, "127.0.0.1", 0)
    monkeypatch.setenv("VALKEY_URL", valkey_url)
    monkeypatch.setenv("STREAMGAUGE_METRICS_PORT", str(free_port()))
    monkeypatch.setenv("STREAMGAUGE_DELIVER_METRICS_PORT", "off")
    monkeypatch.setenv("STREAMGAUGE_API_METRICS_PORT", str(server.server_port))
    try:
        told = CliRunner().invoke(app, ["top", "--once"])
    finally:
        server.shutdown()
        server.server_close()
    assert told.exit_code == 0, told.output
    assert "\n clicks" in told.output, told.output
    assert row(told.output, "clicks") == ["clicks", "-", "9", "12", "s", "now"]
    assert "processor is not reachable: http://127.0.0.1:" in told.output
    assert "deliver is not reachable: STREAMGAUGE_DELIVER_METRICS_PORT=off" in told.output
    assert row(told.output, "api 0")[-1] == "-", "its loop has not begun"
