from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest
import urllib3
from prometheus_client import CollectorRegistry, Counter

from sinks.errors import Misconfigured
from streamgauge import exposition
from streamgauge.exposition import expose, serve
from streamgauge.settings import Settings
from tests.ports import free_port

_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(5))


@pytest.fixture
def registry() -> CollectorRegistry:
    found = CollectorRegistry()
    Counter("things", "Things", registry=found).inc(3)
    return found


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_it_answers_with_what_the_registry_has(registry: CollectorRegistry, host: str) -> None:
    server = serve(registry, host, 0)
    shown = f"[{host}]" if ":" in host else host
    answer = _http.request("GET", f"http://{shown}:{server.server_port}/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert b"\nthings_total 3.0\n" in answer.data
    assert b"created" not in answer.data
    server.shutdown()
    server.server_close()


def test_whoever_says_nothing_is_left_and_holds_nobody_up(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exposition._Handler, "timeout", 0.2)
    server = serve(registry, "127.0.0.1", 0)
    address = ("127.0.0.1", server.server_port)
    with socket.create_connection(address, timeout=5) as silent, socket.create_connection(address) as half:
        half.sendall(b"GET /metrics HTTP/1.1\r\nHo")
        assert _http.request("GET", f"http://127.0.0.1:{server.server_port}/metrics").status == 200
        assert silent.recv(100) == b""
    server.shutdown()
    server.server_close()
    assert capfd.readouterr().err == ""


def test_members_take_the_ports_behind_the_first(registry: CollectorRegistry) -> None:
    port = free_port()
    expose(registry, Settings(metrics_port=port - 1), 1)
    assert _http.request("GET", f"http://127.0.0.1:{port}/metrics").status == 200


def test_a_port_that_was_asked_for_must_be_free(registry: CollectorRegistry, taken: int) -> None:
    said = rf"127.0.0.1:{taken}: Address already in use; choose another place with STREAMGAUGE_METRICS_PORT"
    with pytest.raises(Misconfigured, match=said):
        expose(registry, Settings(metrics_port=taken), 0)
    with pytest.raises(Misconfigured, match=rf"member 1's own metrics cannot be served on {said}"):
        expose(registry, Settings(metrics_port=taken - 1), 1)
    with pytest.raises(Misconfigured, match=r"127\.0\.0\.1:65536"):
        expose(registry, Settings(metrics_port=65_535), 1)
    with pytest.raises(Misconfigured, match=r"nowhere\.invalid:9464"):
        expose(registry, Settings(metrics_host="nowhere.invalid"), 0)


def test_without_a_setting_a_taken_port_is_no_reason_not_to_count(
    registry: CollectorRegistry, taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    unset = Settings.model_construct(_fields_set=set(), metrics_port=taken)
    with caplog.at_level(logging.WARNING):
        expose(registry, unset, 0)
    assert "Going on without" in caplog.text
    assert "STREAMGAUGE_METRICS_PORT=off" in caplog.text


def test_off_is_off(registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        expose(registry, Settings.model_validate({"metrics_port": "off"}), 0)
    assert not caplog.text


def test_an_open_address_is_announced(registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with caplog.at_level(logging.INFO):
        expose(registry, Settings(metrics_host="127.0.0.2", metrics_port=port), 0)
    assert f"INSECURE: EVERYBODY WHO REACHES 127.0.0.2:{port} CAN READ" in caplog.text
