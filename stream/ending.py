"""How a run ends: in order and at the same epoch in every process of a cluster, or because it cannot go on.

An epoch is what the engine commits at once, in all processes. Whoever is asked to end says so to every worker through
the dataflow itself, in epoch k. When epoch k has been committed all have heard, none has read anything since, and every
process may leave: nothing is left to save, and nobody is left waiting for another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sinks.errors import SinkError
from stream.continuity import GapError
from stream.snapshots import StateError

Failure = SinkError | StateError | GapError


class Ending:
    """Shared by the parts of one process's dataflow, and by whoever wants it to end."""

    def __init__(self, on_failure: Callable[[], None] = lambda: None) -> None:
        self.asked = threading.Event()
        """Set it to end the run with everything committed. Set as well when another process was asked."""
        self.begun = False
        """Whether the engine has come to reading; before that there is nothing to save."""
        self.committed = False
        """Whether everything that was read is saved, in all processes."""
        self.failure: Failure | None = None
        """What keeps this process from going on: the engine hides it in a cluster."""
        self._on_failure = on_failure
        self._told_in: int | None = None

    def tell(self, epoch: int) -> None:
        """Every process hears in `epoch`, counted from the start of the run, that it is to end."""
        self._told_in = epoch if self._told_in is None else min(epoch, self._told_in)
        self.asked.set()

    def due(self, epoch: int) -> bool:
        """Whether a process that has come to `epoch`, with all before it committed, is to leave."""
        self.committed = self.committed or (self._told_in is not None and epoch > self._told_in)
        return self.committed

    def fail(self, error: Failure) -> Failure:
        """Note why it cannot go on; the first reason stands. Returns the error, to be raised."""
        if self.failure is None:
            self.failure = error
            self._on_failure()
        return error
