"""What `doctor` found, and what it looks at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import valkey

from stream.catalog import Catalog
from streamgauge.places import state_of
from streamgauge.settings import Settings

WITHIN_S = 3.0
"""How long a server may take to answer."""


class Level(IntEnum):
    """In the order of how bad it is."""

    OK = 0
    NOTE = 1
    """Worth knowing; nothing has to be done."""
    WARNING = 2
    """It works, and may not for long, or not as wanted."""
    PROBLEM = 3
    """It does not work, or data is at risk."""

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    found: str
    """What there is, in a line."""
    means: str = ""
    """What follows from it; may be empty when all is well."""
    do: str = ""
    """What to do about it."""


@dataclass(slots=True)
class Deployment:
    """What is checked: the settings and what they lead to, each asked once."""

    settings: Settings
    catalog: Catalog | None
    """None when none was named."""
    environment: Mapping[str, str]
    now_ms: int
    """By the clock of this machine."""
    client: valkey.Valkey | None = field(default=None)
    """None while there is no server that could be asked."""

    @property
    def state(self) -> Path | None:
        return None if self.catalog is None else state_of(self.settings.state, self.catalog)

    @property
    def valkey_url(self) -> str | None:
        """The server that is set, else the one that `up` has started on this state directory."""
        if self.settings.valkey_url is not None or self.state is None:
            return self.settings.valkey_url
        try:
            return f"valkey://127.0.0.1:{int((self.state / 'valkey.port').read_text())}/0"
        except (OSError, ValueError):
            return None

    def ask(self, *command: str | int) -> Any:
        """The answer of Valkey. Raises its errors."""
        assert self.client is not None
        return self.client.execute_command(*command)

    def about(self, section: str) -> dict[str, Any]:
        """What the server says of itself. Raises its errors."""
        assert self.client is not None
        found: Any = self.client.info(section)
        return dict(found)


Check = Callable[[Deployment], Iterator[Finding]]


def ok(found: str) -> Finding:
    return Finding(Level.OK, found)


def note(found: str, means: str = "", do: str = "") -> Finding:
    return Finding(Level.NOTE, found, means, do)


def warning(found: str, means: str, do: str) -> Finding:
    return Finding(Level.WARNING, found, means, do)


def problem(found: str, means: str, do: str) -> Finding:
    return Finding(Level.PROBLEM, found, means, do)


def writable(path: Path) -> bool:
    """Whether this user could write in a directory, or make it: nothing is tried."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
