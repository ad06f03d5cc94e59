"""What other tests measure with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.patience import Stopwatch

MEASURED = """
import time
from tests.patience import Stopwatch
watch = Stopwatch()
print("ready", flush=True)
while watch.passed_s < 1.5:
    time.sleep(0.01)
print(watch.passed_s, watch.worked_s, flush=True)
"""


def test_the_time_in_which_everything_stood_still_is_passed_and_not_worked() -> None:
    with subprocess.Popen([sys.executable, "-c", MEASURED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(process.pid, signal.SIGCONT)
        passed_s, worked_s = map(float, process.stdout.readline().split())
    assert passed_s >= 1.5
    assert worked_s < passed_s - 0.7


def test_the_time_in_which_somebody_waits_is_worked() -> None:
    watch = Stopwatch()
    time.sleep(0.5)
    assert 0 < watch.worked_s <= watch.passed_s
