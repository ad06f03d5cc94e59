"""Signals before a verb has handlers of its own, as processes get them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

# A verb that is told to end in a place whose exceptions the interpreter drops: SQLAlchemy's weak references have such.
_VERB = """
import os, signal, sys, time
import streamgauge.cli
from streamgauge.__main__ import main

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), {number})

def verb():
    try:
        Dropped()
        print("on", flush=True)
        time.sleep(60)
    finally:
        print("tidied up", flush=True)

streamgauge.cli.main = verb
sys.argv = ["streamgauge", {verb!r}]
main()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("verb", ["serve", "compute"])
def test_a_signal_is_not_lost_where_exceptions_are(verb: str, number: int, status: int) -> None:
    begun = time.monotonic()
    code = _VERB.format(number=int(number), verb=verb)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    assert time.monotonic() - begun < 50
    # A service has nothing to tidy up yet.
    assert done.stdout == ("" if verb == "serve" else "on\ntidied up\n")
    assert "Exception ignored" not in done.stderr
