"""Where points of the past go: the store, InfluxDB, a file; each such that the same again changes nothing."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sinks.base import Sink
from sinks.errors import Misconfigured, Rejected, Retryable
from sinks.records import ROUNDING, Dimensions, Point, State, Value
from sinks.store import Store
from stream.catalog import Catalog
from stream.durations import MINUTE_MS, TOTAL
from stream.plan import compile_plan
from stream.windows import window_of
from streamgauge.compute import write_ndjson, write_parquet
from streamgauge.settings import Settings

AT_ONCE = 5_000
"""Points that are written in one transaction, or request, at the least."""
_PATIENCE_S = 120.0
_LONGEST_WAIT_S = 5.0


@dataclass(slots=True)
class Tally:
    """What there was to write, and what became of it."""

    points: int = 0
    new: int = 0
    """Of the store: points that it did not have, or had as open,"""
    changed: int = 0
    """had with another value,"""
    same: int = 0
    """and had already."""
    refused: int = 0
    """Lines that InfluxDB will never take,"""
    why: str = ""
    """and what it says of them."""
    windows: set[tuple[str, int]] = field(default_factory=set)
    series: set[tuple[str, str, Dimensions]] = field(default_factory=set)

    def count(self, points: Sequence[Point]) -> None:
        self.points += len(points)
        self.windows.update((point.window, point.start_ms) for point in points)
        self.series.update((point.metric, point.window, point.dimensions) for point in points)


class ToStore:
    """Points for the store, which may be in use by a processor: a write waits for its turn.

    What is there with the same value is left alone, as it was written by whoever was first to know it. Raises the
    errors of `sinks.errors`.
    """

    def __init__(self, store: Store | None, tally: Tally, *, skip: Collection[str] = (), dry_run: bool = False) -> None:
        """`store`: None where there is none yet, and so nothing is known, in a dry run. `skip`: windows that it does
        not keep."""
        self._store = store
        self._tally = tally
        self._skip = frozenset(skip)
        self._dry_run = dry_run

    def write(self, points: Sequence[Point]) -> None:
        different = self._different(points)
        store = self._store
        if store is not None and different and not self._dry_run:
            patiently(lambda: store.write(different))

    def _different(self, points: Sequence[Point]) -> list[Point]:
        several: dict[tuple[str, str], list[Point]] = {}
        for point in points:
            if point.window in self._skip:
                continue
            several.setdefault((point.metric, point.window), []).append(point)
        different: list[Point] = []
        for (metric, window), some in several.items():
            known = self._known(metric, window, some)
            for point in some:
                before = known.get((point.start_ms, frozenset(point.dimensions)))
                if before is None and not point.count:
                    continue  # all that was said was taken back: who was told nothing is told nothing
                if before is None or before.state is State.OPEN:
                    self._tally.new += 1
                    different.append(point)
                elif before.count == point.count and same(before.value, point.value):
                    self._tally.same += 1
                else:
                    self._tally.changed += 1
                    different.append(point)
        return different

    def _known(
        self, metric: str, window: str, points: Sequence[Point]
    ) -> dict[tuple[int, frozenset[tuple[str, str]]], Point]:
        found: list[Point] = []
        store = self._store
        if store is None:
            return {}
        first, last = min(point.start_ms for point in points), max(point.start_ms for point in points)

        def read() -> None:
            found[:] = store.points(metric, window, from_ms=first, to_ms=last + 1, limit=100_000_000)

        patiently(read)
        return {(point.start_ms, frozenset(point.dimensions)): point for point in found}


class ToInflux:
    """Points for InfluxDB. What it will never take is counted, and the rest goes on."""

    def __init__(self, sink: Sink, tally: Tally) -> None:
        self._sink = sink
        self._tally = tally

    def write(self, points: Sequence[Point]) -> None:
        try:
            patiently(lambda: self._sink.write(points))
        except Rejected as error:
            self._tally.refused += len(error.lines)
            self._tally.why = str(error)


class ToFile:
    """Points for a file or for standard output, once all are there. *Cost*: memory for all of them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._points: dict[tuple[str, str, int, Dimensions], Point] = {}

    def write(self, points: Sequence[Point]) -> None:
        for point in points:
            self._points[point.metric, point.window, point.start_ms, point.dimensions] = point

    def points(self) -> list[Point]:
        """The last of each, by metric, window, start and series."""
        return [point for key in sorted(self._points) if (point := self._points[key]).count]

    def finish(self) -> None:
        """Write the file, whole or not at all. Raises OSError."""
        assert self._path is not None
        made = self._path.with_name(f".{self._path.name}.part")
        if self._path.suffix == ".parquet":
            write_parquet(self.points(), made)
        else:
            with made.open("wb") as file:
                write_ndjson(self.points(), file)
        made.replace(self._path)


def short_windows(catalog: Catalog) -> set[str]:
    """Windows of less than a minute, which the store keeps for hours only where the catalog says no more."""
    zone = catalog.platform.zone
    named = {text for metric in catalog.every_metric for text in metric.windows if text != TOTAL}
    return {text for text in named - catalog.keep.store.keys() if window_of(text, zone).about_ms < MINUTE_MS}


def store_of(settings: Settings, state: Path, *, make: bool) -> Store | None:
    """The store that is set; None where there is none yet and none is to be made."""
    if not make and settings.database_url is None and not (state / "points.db").exists():
        return None
    if make and settings.database_url is None:
        state.mkdir(parents=True, exist_ok=True)
    store = Store(settings.store_url(state))
    if make:
        patiently(store.setup)
    return store


def influx_of(settings: Settings, catalog: Catalog) -> Sink:
    """InfluxDB as the processor writes to it, with each window in its bucket. Raises `Misconfigured`."""
    from streamgauge.influx import sink_of

    if settings.influx_url is None:
        raise Misconfigured("--to influx: INFLUX_URL is not set: it names the server, such as http://localhost:8086")
    return sink_of(catalog, compile_plan(catalog), settings)


def patiently(
    write: Callable[[], object], *, budget_s: float = _PATIENCE_S, sleep: Callable[[float], object] = time.sleep
) -> None:
    """Write, and again after a while for as long as the destination is busy or away; then its error is raised."""
    deadline, wait_s = time.monotonic() + budget_s, 0.1
    while True:
        try:
            write()
            return
        except Retryable as error:
            pause_s = error.retry_after_s or random.uniform(wait_s / 2, wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            if time.monotonic() + pause_s > deadline:
                raise
            sleep(pause_s)


def same(one: Value, other: Value) -> bool:
    """Whether two values differ by no more than the order in which floats were added up."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=ROUNDING)
    return one == other
