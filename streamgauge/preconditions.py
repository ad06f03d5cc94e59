"""What a verb needs before it begins: settings, a catalog, a server's address; or a clear refusal."""

from __future__ import annotations

import getpass
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer
from valkey.connection import parse_url

from stream.catalog import Catalog, load
from stream.problems import CatalogError
from streamgauge import logs
from streamgauge.children import CHILD
from streamgauge.places import find_catalog, ready_catalogs, state_of
from streamgauge.redaction import REDACTED
from streamgauge.settings import EXIT_CONFIGURATION, Settings, SettingsError, read_settings
from streamgauge.terminal import without_login
from streamgauge.unknown_settings import unknown, variables_of

logger = logging.getLogger(__name__)

_of_catalog: set[str] = set()
"""Variables that the catalogs which were loaded name themselves."""


def load_catalog(name: str) -> tuple[Path, Catalog]:
    path = find_catalog(name)
    try:
        loaded = load(path)
    except CatalogError as error:
        fail(f"{error}{other_catalogs(path)}", EXIT_CONFIGURATION)
    _of_catalog.update(variables_of(loaded))
    return path, loaded


def other_catalogs(path: Path) -> str:
    """What else there is, for somebody who named a catalog that is not there."""
    return "" if path.exists() else f"\nready catalogs: {', '.join(sorted(ready_catalogs()))}"


def load_settings(*, quiet: bool = False, **overrides: Any) -> Settings:
    """The settings, with logs as they say. `quiet`: what is no setting is told by whoever asks, and not logged."""
    try:
        settings = read_settings(**overrides)
    except SettingsError as error:
        fail(str(error), EXIT_CONFIGURATION)
    logs.apply(settings)
    if not quiet and CHILD not in os.environ:  # whoever started this process has said so already
        for one in unknown(os.environ, _of_catalog):
            logger.warning("%s is no setting%s", one.name, f"; did you mean {one.nearest}?" if one.nearest else "")
    return settings


def state_directory(settings: Settings, catalog: Catalog) -> Path:
    state = state_of(settings.state, catalog)
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{state}: cannot be made: {error.strerror}; choose another place with --state", EXIT_CONFIGURATION)
    return state


def valkey_address(settings: Settings) -> str:
    if settings.valkey_url is None:
        message = "VALKEY_URL is not set: it names the server, such as valkey://127.0.0.1:6379 (`up` prints its own)"
        fail(message, EXIT_CONFIGURATION)
    try:
        parse_url(settings.valkey_url)
    except ValueError as error:
        shown = without_login(settings.valkey_url)
        # What is wrong may be said with a part of the password.
        why = f": {error}" if shown == settings.valkey_url else ""
        message = f"VALKEY_URL: expected one like valkey://127.0.0.1:6379; found {shown!r}{why}"
        fail(message, EXIT_CONFIGURATION)
    return settings.valkey_url


def stop_event() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()

    handler: Callable[..., None] = stop
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
    return stopping


def fail(message: str, status: int = 1) -> NoReturn:
    typer.echo(REDACTED(message), err=True)
    raise typer.Exit(status)


def whoever() -> str:
    """Who gives the command, as the audit log names them."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        # A container's user may have a number only.
        return f"cli:uid {os.getuid()}"
