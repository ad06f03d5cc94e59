"""How long tests wait for what has to happen."""

from __future__ import annotations

PATIENCE = 3.0
"""How many times longer anything may take than on a machine of one's own: where tests run, others run too, and what
waits for a disk stands still for seconds."""
