"""What every destination of points looks like to the runtime."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from sinks.records import Point


class Sink(Protocol):
    """A place that points are written to.

    `setup` and `write` raise nothing but the three errors of `sinks.errors`. None of the methods retries: how
    long to go on trying is the runtime's decision, and it has one loop for all sinks.
    """

    def setup(self) -> None:
        """Make the destination ready. Called once before the first `write`; calling it again does no harm."""

    def write(self, points: Sequence[Point]) -> None:
        """Return only when the destination has accepted all of `points`; nothing is held back for later.

        Points are upserts, so writing the same ones again after an error changes nothing.
        """

    def close(self) -> None:
        """Give back connections. Never raises, and there is nothing left to flush."""


@runtime_checkable
class Forgetful(Protocol):
    """A sink that can take points back."""

    def roll_back(self, metrics: Collection[str], after_ms: int) -> int:
        """Delete the points of some metrics that were made at a watermark behind `after_ms`; how many.

        A processor that goes on from a snapshot makes them again, but for those that turn out otherwise.
        """
