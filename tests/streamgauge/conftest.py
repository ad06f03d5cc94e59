"""What the tests of the front door share: a Valkey, a catalog, and the real command."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import valkey
from typer.testing import CliRunner

from streamgauge.cli import app
from tests.servers import ValkeyServer

CATALOG = """
[platform]
name = "Shop"
streams = ["events:{0}", "events:{1}"]

[event]
person = "user"
required = ["kind"]

[[metric]]
name = "orders"
measure = "count"
by = ["kind"]
windows = ["1m", "1d"]

[[metric]]
name = "revenue"
measure = "sum"
value = "price * quantity"
windows = ["1d"]
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def valkey_client(valkey_server: ValkeyServer) -> Iterator[valkey.Valkey]:
    """A client of the running Valkey, which is emptied first and may be as full as it likes."""
    client: valkey.Valkey = valkey_server.client(socket_timeout=10)
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", "noeviction")
    client.flushall()
    yield client
    client.config_set("maxmemory", 0)
    client.close()


@pytest.fixture
def catalog_path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(CATALOG)
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment without any setting but the state directory."""
    ours = ("STREAMGAUGE_", "INFLUX_", "VALKEY_", "DATABASE_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return clean | {"STREAMGAUGE_STATE": str(tmp_path / "state"), "COLUMNS": "200", "NO_COLOR": "1"}


@pytest.fixture
def command(tmp_path: Path, environment: dict[str, str]) -> Command:
    """The real command, in a directory of its own, to its end."""

    def run(*arguments: object, timeout_s: float = 30, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            as_command(arguments),
            env=environment | settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture
def verb(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """A verb to its end in this process, which saves the second that a new one takes to load."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    level = logging.getLogger().level
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ) - set(environment):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(app, [*map(str, arguments)], env=settings)
        trace = ""
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            trace = "".join(traceback.format_exception(done.exception))
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr + trace)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
    logging.getLogger().setLevel(level)


def as_command(arguments: Sequence[object]) -> list[str]:
    return [sys.executable, "-m", "streamgauge", *map(str, arguments)]
