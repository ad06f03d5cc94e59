"""The progress bar of the commands that go through many events: how many, rate, time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Bar:
    """Counts events. How much is left of a file is judged by its bytes, as nobody knows how many events it has."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, events=0, rate="") if progress is not None else None
        self.events = 0

    def advance(self, events: int, done: int, size: int) -> None:
        """`events` more were taken; the work stands at `done` of `size`, in bytes or whatever it is measured in."""
        self.events += events
        if self._progress is None or self._task is None:
            return
        elapsed_s = self._progress.tasks[0].elapsed or 0.0
        rate = f"{self.events / elapsed_s:,.0f}/s" if elapsed_s > 0.2 else ""
        self._progress.update(self._task, completed=done, total=max(size, 1), events=self.events, rate=rate)


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Bar]:
    """A bar on standard error, or none when `quiet` or when nobody is looking."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Bar(None)
        return
    columns = (
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        yield Bar(progress)
