from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import valkey
from valkey.exceptions import OutOfMemoryError

from streamgauge import embedded
from streamgauge.embedded import PortTaken, check_port_free, pick_valkey_port, server_command
from tests.ports import free_port
from tests.stack import eventually


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_taken_port_is_named_and_what_chooses_another(taken: int) -> None:
    message = f"port {taken} on 127.0.0.1 is taken by another program; choose one with --port"
    with pytest.raises(PortTaken, match=message):
        check_port_free("127.0.0.1", taken, "--port")
    with pytest.raises(PortTaken, match=f"port {taken} on 0.0.0.0 is taken"):
        check_port_free("0.0.0.0", taken, "--port")


def test_a_free_port_stays_free() -> None:
    port = free_port()
    check_port_free("127.0.0.1", port, "--port")
    check_port_free("localhost", port, "--port")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", port))


def test_a_port_that_was_just_used_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            # The side that closes first keeps the port in TIME_WAIT.
            server.accept()[0].close()
    check_port_free("127.0.0.1", port, "--port")


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(PortTaken, match=f"cannot listen on {host}:8000: .*; see --port"):
        check_port_free(host, 8000, "--port")


def test_the_usual_port_when_it_is_free_else_another_and_that_one_again(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "USUAL_PORT", taken)
    other = pick_valkey_port(tmp_path / "port")
    assert other != taken
    check_port_free("127.0.0.1", other, "")
    usual = free_port()
    monkeypatch.setattr(embedded, "USUAL_PORT", usual)
    assert pick_valkey_port(tmp_path / "another") == usual
    # Producers find it where it was the last time, also when the usual port has become free.
    assert pick_valkey_port(tmp_path / "port") == other
    (tmp_path / "port").write_text("no port")
    assert pick_valkey_port(tmp_path / "port") == usual


def test_the_server_of_the_package_is_an_executable_that_keeps_its_data_and_refuses_when_full(tmp_path: Path) -> None:
    port = free_port()
    command = server_command(port, tmp_path)
    assert os.access(command[0], os.X_OK)
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True)
    assert "v=9." in version.stdout
    client = valkey.Valkey(port=port, socket_timeout=5)
    for round_ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(client.ping)
            assert client.xlen("events:{0}") == round_
            client.xadd("events:{0}", {"data": "{}"})
            assert client.config_get("bind")["bind"] == "127.0.0.1"
            if round_ == 1:
                client.config_set("maxmemory", 1)
                with pytest.raises(OutOfMemoryError):
                    client.xadd("events:{0}", {"data": "{}"})
        finally:
            process.terminate()
            process.wait(30)
    client.close()
