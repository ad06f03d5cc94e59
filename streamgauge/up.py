"""`streamgauge up`: everything in one process tree, with nothing else installed."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import valkey
from valkey.exceptions import ValkeyError

from stream.catalog import Catalog
from streamgauge.children import Child, stop_all, watch
from streamgauge.embedded import check_port_free, pick_valkey_port, server_command
from streamgauge.letting_in import check_not_open
from streamgauge.preconditions import stop_event
from streamgauge.settings import Settings, environment_with
from streamgauge.terminal import without_login

logger = logging.getLogger(__name__)

_PARTS_STOP_S = 8.5
_SERVER_STOP_S = 1.0
_SERVER_START_S = 20.0


class UpError(RuntimeError):
    """Why it cannot start, in words for whoever typed the command."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The simulated producer: its mean rate in events a second, and how much of the past it begins with."""

    rate: float
    history_s: float


def up(
    catalog_path: Path, catalog: Catalog, settings: Settings, state: Path, demo: Demo | None, processes: int = 1
) -> int:
    """Run all parts until SIGINT or SIGTERM. Returns the exit status: 0 after an orderly stop.

    Raises UpError, PortTaken or Misconfigured when it cannot start.
    """
    check_port_free(settings.host, settings.port, "--port")
    state.mkdir(parents=True, exist_ok=True)
    check_not_open(settings, state)
    stopping = stop_event()
    with _only_one(state):
        server, url = _server(settings, state)
        environment = environment_with(
            {
                "VALKEY_URL": url,
                "DATABASE_URL": settings.store_url(state),
                "STREAMGAUGE_STATE": settings.state.resolve(),
                "PYTHONUNBUFFERED": "1",
            }
        )
        me = [sys.executable, "-m", "streamgauge"]
        common = ["--catalog", str(catalog_path)]
        how = [] if settings.valkey_url is not None else ["--trim"]
        how += ["--processes", str(processes)] if processes > 1 else []
        listen = ["--host", settings.host, "--port", str(settings.port)]
        parts = [
            Child("processor", [*me, "run", *common, *how], environment),
            Child("api", [*me, "serve", *common, *listen], environment),
        ]
        if catalog.webhook:
            parts.append(Child("deliver", [*me, "deliver", *common], environment))
        if demo is not None:
            pace = ["--rate", str(demo.rate), "--history", str(demo.history_s)]
            parts.append(Child("demo", [*me, "simulate", *common, *pace], environment))
        try:
            if server is not None:
                server.start(time.monotonic())
                _await_server(server, url, stopping)
            for part in parts:
                if not stopping.is_set():
                    part.start(time.monotonic())
            _say_where(settings, url, catalog, demo)
            return watch([*([server] if server else []), *parts], stopping)
        finally:
            stop_all(parts, _PARTS_STOP_S)
            if server is not None:
                stop_all([server], _SERVER_STOP_S)


def _server(settings: Settings, state: Path) -> tuple[Child | None, str]:
    """The embedded server and its address, or no server and the address that is set."""
    if settings.valkey_url is not None:
        try:
            valkey.Valkey.from_url(settings.valkey_url, socket_timeout=2, socket_connect_timeout=2).ping()
        except (ValkeyError, ValueError) as error:
            raise UpError(f"VALKEY_URL is set, but {error}; unset it to have a server started here") from None
        logger.warning("VALKEY_URL is set: using that server, starting none")
        return None, settings.valkey_url
    data = state / "valkey"
    data.mkdir(exist_ok=True)
    port = pick_valkey_port(state / "valkey.port")
    # The child keeps the file open for as long as it lives.
    output = (state / "valkey.log").open("ab")
    return Child("valkey", server_command(port, data), dict(os.environ), output), f"valkey://127.0.0.1:{port}/0"


def _await_server(server: Child, url: str, stopping: threading.Event) -> None:
    client = valkey.Valkey.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    deadline_s = time.monotonic() + _SERVER_START_S
    while not stopping.is_set():
        try:
            about: Any = client.info("server")
            if server.process is not None and about.get("process_id") == server.process.pid:
                return
            if not server.running:
                raise UpError("another program took the embedded Valkey server's port; try again")
        except ValkeyError:
            if not server.running:
                raise UpError("the embedded Valkey server ended at once; its log is in the state directory") from None
            if time.monotonic() > deadline_s:
                raise UpError(f"the embedded Valkey server did not answer in {_SERVER_START_S:.0f} s") from None
            stopping.wait(0.02)


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Hold the state directory; two processors on one state would each undo the other."""
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UpError(f"another streamgauge runs on {state}; stop it, or choose another with --state") from None
        yield


def _say_where(settings: Settings, url: str, catalog: Catalog, demo: Demo | None) -> None:
    streams = ", ".join(catalog.platform.streams)
    fed = "fed by the demo" if demo is not None else f"waiting for events: XADD '{catalog.platform.streams[0]}' '*' …"
    print(
        f"{catalog.platform.name}: {fed}\n"
        f"  wallboard  http://{settings.host}:{settings.port}/\n"
        f"  valkey     {without_login(url)}  (streams {streams})\n"
        "Ctrl-C stops everything.",
        flush=True,
    )
