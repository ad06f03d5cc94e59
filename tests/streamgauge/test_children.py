from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from streamgauge.children import Child, stop_all
from tests.patience import PATIENCE, Stopwatch
from tests.stack import eventually

made: list[Child] = []


def child(code: str, *arguments: object, output: IO[bytes] | None = None) -> Child:
    one = Child("part", [sys.executable, "-c", code, *map(str, arguments)], dict(os.environ), output)
    made.append(one)
    return one


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    yield
    for one in made:
        if one.process is not None:
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait()
    made.clear()


def end_of(one: Child, now_s: float, within_s: float = 5) -> int:
    """Its exit status, as `poll` says it."""
    deadline = time.monotonic() + within_s * PATIENCE
    while time.monotonic() < deadline:
        status = one.poll(now_s)
        if status is not None:
            return status
        time.sleep(0.01)
    raise AssertionError("it did not end")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


SLEEP = "import time; print('up', flush=True); time.sleep(60)"
SILENT = "import time; time.sleep(60)"
"""For one whose parent has something to say at the same place."""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEP
FAIL = "import sys; sys.exit(3)"


def test_it_runs_with_its_environment_and_output(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as output:
        one = Child("part", [sys.executable, "-c", "import os; print(os.environ['X'])"], {"X": "seven"}, output)
        made.append(one)
        one.start(0)
        assert end_of(one, 1) == 0
    assert (tmp_path / "log").read_text() == "seven\n"


def test_a_failing_child_is_started_again_later_each_time() -> None:
    one = child(FAIL)
    one.start(100.0)
    now, waits = 100.0, []
    for _ in range(7):
        assert end_of(one, now) == 3
        assert one.start_at_s is not None
        waits.append(one.start_at_s - now)
        # Not before its time, and its end is said once only.
        first = one.process
        assert one.poll(one.start_at_s - 0.01) is None
        assert one.process is first
        now = one.start_at_s
        assert one.poll(now) is None
        assert one.process is not first
        assert one.started_s == now
    assert waits == [0.5, 1, 2, 4, 8, 10, 10]


def test_a_child_that_was_steady_is_started_again_soon() -> None:
    one = child(FAIL)
    one.backoff_s = 10
    one.start(100)
    assert end_of(one, 130) == 3
    assert one.start_at_s == pytest.approx(130.5)


def test_nothing_happens_to_a_child_that_runs() -> None:
    one = child(SLEEP)
    assert not one.running
    one.start(0)
    assert one.running
    assert one.poll(1_000) is None
    first = one.process
    assert one.poll(2_000) is None
    assert one.process is first


def test_ctrl_c_reaches_only_the_parent() -> None:
    one = child(SLEEP)
    one.start(0)
    assert one.process is not None
    assert os.getsid(one.process.pid) == one.process.pid != os.getsid(0)


def test_stop_all_ends_all_at_once_and_kills_what_ignores_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as output:
        children = [child(DEAF, output=output) for _ in range(2)] + [child(SLEEP, output=output) for _ in range(2)]
        for one in children:
            one.start(0)
        eventually(lambda: (tmp_path / "log").read_text().count("up") == 4)
    failed, never = child(FAIL), child(SLEEP)
    failed.start(0)
    end_of(failed, 0)
    assert failed.start_at_s is not None
    watch = Stopwatch()
    stop_all([*children, failed, never], 0.5)
    assert watch.worked_s < 1.5
    statuses = [one.process.returncode for one in children if one.process is not None]
    assert statuses == [-signal.SIGKILL, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGTERM]
    # What was to be started again is not.
    assert failed.poll(1e9) == 3 or failed.start_at_s is None
    assert not failed.running
    assert never.process is None


PARENT = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever these tests were started by ignores
from streamgauge.children import Child
one = Child("part", [sys.executable, "-c", sys.argv[1]], dict(os.environ))
one.start(time.monotonic())
print(one.process.pid, flush=True)
while True:
    time.sleep(0.05)  # not for long: Python looks at a signal that comes just before a sleep only after it
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_dies_with_its_parent_however_that_goes(how: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, SILENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(how)
        parent.wait(30)
        eventually(lambda: not alive(pid), within_s=5)
    finally:
        if parent.poll() is None:
            parent.kill()
        parent.communicate()


def test_a_child_dies_with_a_parent_that_was_started_by_nohup() -> None:
    # It has SIGHUP ignored, which is inherited: a member that is still loading has no handler of its own yet.
    code = PARENT.replace("dict(os.environ))", "dict(os.environ), orphaned=ORPHANED)").replace(
        "import Child", "import ORPHANED, Child"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{code}", SILENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    try:
        assert alive(pid)
        parent.kill()
        parent.wait(30)
        eventually(lambda: not alive(pid), within_s=5)
    finally:
        if parent.poll() is None:
            parent.kill()
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
        parent.communicate()


def test_a_command_that_is_not_there_is_an_error_that_names_it() -> None:
    one = Child("part", ["/nowhere/at-all"], {})
    with pytest.raises(FileNotFoundError, match="/nowhere/at-all"):
        one.start(0)
