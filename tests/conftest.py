"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.postgres import database_url, postgres

__all__ = ["database_url", "postgres"]

# Where a red run stops others, the same examples every time; at a desk, new ones each time.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
