"""Child processes that never outlive their parent, started again when they fail."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO

from streamgauge.settings import EXIT_CONFIGURATION

logger = logging.getLogger(__name__)

_POLL_S = 0.1
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 10.0
_STEADY_S = 30.0
"""A child that lived so long is started again as soon as one that never failed."""
CHILD = "STREAMGAUGE_CHILD"
"""Variable that tells a process that its parent is one of ours, which has said what is to be said once."""
ORPHANED = signal.SIGHUP
"""Tells a member of a cluster that its supervisor is gone, which is no request to end: that would end all of them."""
_PR_SET_PDEATHSIG = 1
_PARENT = os.getpid()
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Child:
    """One part of the product as a process."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    output: IO[bytes] | None = None
    """Where its output goes; None: where the parent's goes."""
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    start_at_s: float | None = None
    """When it is to be started again; None while it runs."""
    backoff_s: float = field(default=_FIRST_BACKOFF_S)
    orphaned: signal.Signals = signal.SIGTERM
    """What the kernel sends it when its parent is gone."""

    def start(self, now_s: float) -> None:
        self.started_s, self.start_at_s = now_s, None
        self.process = subprocess.Popen(
            self.command,
            env={**self.environment, CHILD: "1"},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            # A session of its own: Ctrl-C reaches only the parent, which then stops the parts in their order.
            start_new_session=True,
            preexec_fn=partial(_die_with_parent, self.orphaned),
        )

    def poll(self, now_s: float) -> int | None:
        """Start it again when that is due. Returns the exit status when it has just ended."""
        if self.start_at_s is not None:
            if now_s >= self.start_at_s:
                self.start(now_s)
            return None
        status = self.process.poll() if self.process is not None else None
        if status is not None:
            if now_s - self.started_s >= _STEADY_S:
                self.backoff_s = _FIRST_BACKOFF_S
            self.start_at_s = now_s + self.backoff_s
            self.backoff_s = min(_LONGEST_BACKOFF_S, self.backoff_s * 2)
        return status

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


def watch(children: Sequence[Child], stopping: threading.Event) -> int:
    """Start again whatever ends, until `stopping` is set. Returns the exit status: 0, or that of a child which cannot
    run as it is set up."""
    while not stopping.wait(_POLL_S):
        for child in children:
            status = child.poll(time.monotonic())
            if status is None or stopping.is_set():
                continue
            if status == EXIT_CONFIGURATION:
                logger.critical("%s cannot run as it is set up; see its message above", child.name)
                return EXIT_CONFIGURATION
            logger.error("%s ended with status %d; starting it again", child.name, status)
    return 0


def stop_all(children: Sequence[Child], within_s: float) -> None:
    """SIGTERM to all at once, SIGKILL to those that are still there after `within_s`."""
    for child in children:
        child.start_at_s = None
        if child.process is not None and child.running:
            child.process.terminate()
    deadline_s = time.monotonic() + within_s
    for child in children:
        if child.process is None:
            continue
        try:
            child.process.wait(max(0.05, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.error("%s did not stop in %.0f s and was killed", child.name, within_s)
            child.process.kill()
            child.process.wait()


def _die_with_parent(orphaned: signal.Signals) -> None:
    # What a parent ignores its children ignore too, and `nohup` has SIGHUP ignored: a member that is still loading, and
    # has no handler of its own, would not notice that its supervisor is gone.
    signal.signal(orphaned, signal.SIG_DFL)
    # The kernel sends this when the parent is gone, however it went: no part is left behind by kill -9.
    _libc.prctl(_PR_SET_PDEATHSIG, orphaned)
    if os.getppid() != _PARENT:
        os._exit(1)  # it went before the kernel was asked
