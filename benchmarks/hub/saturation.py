"""Frames for a second of processor time, of all contenders, in turns.

The clients look only each 5 ms what has come. On loopback it is the sender who wakes a reader that waits, and that is a
sixth of what a frame costs; no client on a machine of its own is woken by the server. It is the same for all.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.engine.place import ROOT, Place, clean_environment
from benchmarks.hub import ours
from benchmarks.hub.costs import cpu_s
from benchmarks.hub.crowd import Crowd
from tests.ports import free_port

OURS, SEND_TEXT, SOCKETIO, CHANNELS = "ours", "Starlette, send_text in a loop", "python-socketio", "Django Channels"
BARE, GATHERED = "bare writes, the ceiling", "bare writes, gathered by the kernel"
RATIOS = {"vs_send_text": SEND_TEXT, "vs_socketio": SOCKETIO, "vs_channels": CHANNELS}
"""Each key, and the contender that ours is compared with."""
KEYS = ("frames_per_s_core", *RATIOS)

CLIENTS = 500
FRAME_BYTES = 300
_HEAD_BYTES = 4
"""Of a WebSocket frame of that size."""
_NAP_S = 0.005
_WARM_UP_S = 2.0
_HERE = Path(__file__).parent
_SCRIPTS = {SOCKETIO: _HERE / "peer_socketio.py", CHANNELS: _HERE / "peer_channels.py"}
_MODULES = {
    BARE: "benchmarks.hub.peer_bare",
    GATHERED: "benchmarks.hub.peer_bare",
    SEND_TEXT: "benchmarks.hub.peer_send_text",
}


@dataclass(frozen=True)
class _Speaks:
    """How a client of a contender opens the conversation."""

    says: tuple[str, ...] = ("hello",)
    """What it says at first, and after each frame of the server."""
    ready_after: int = 1
    """Frames of the server until it is a member of all that are sent to."""
    path: str = "/v1/ws"


_SPEAKS = {
    OURS: _Speaks((ours.HELLO,), ready_after=2),
    # Engine.IO speaks first; `40` joins the default namespace.
    SOCKETIO: _Speaks(("", "40"), ready_after=2, path="/socket.io/?EIO=4&transport=websocket"),
}


@dataclass(frozen=True)
class Turn:
    frames_per_s_core: float
    """Frames received for each second of processor time of the server."""
    frames_per_s: float
    frame_bytes: float
    """Size of the payload."""
    core_share: float
    clients_core_share: float
    """What the clients took of theirs: below 1, they were not what it waited for."""


@dataclass
class Saturation:
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Contenders that could not take part, and why."""

    def value(self, key: str) -> float | None:
        """Of a key of the result: the median over the rounds; None where the contender is absent."""
        mine = [turn.frames_per_s_core for turn in self.turns[OURS]]
        if key not in RATIOS:
            return statistics.median(mine)
        if RATIOS[key] in self.absent:
            return None
        others = [turn.frames_per_s_core for turn in self.turns[RATIOS[key]]]
        return statistics.median(a / b for a, b in zip(mine, others, strict=True))


def measure(where: Place, keys: Collection[str], rounds: int, seconds: float, say: Callable[[str], None]) -> Saturation:
    """All contenders that `keys` need, one after the other, so many times, each measured for so long."""
    found = Saturation()
    programs: dict[str, list[str]] = {OURS: [sys.executable, "-m", "benchmarks.hub.ours", where.url]}
    for name in (BARE, GATHERED, *(RATIOS[key] for key in keys if key in RATIOS)):
        try:
            start = [_python(_SCRIPTS[name]), str(_SCRIPTS[name])] if name in _SCRIPTS else _module(_MODULES[name])
        except (OSError, subprocess.SubprocessError) as error:
            found.absent[name] = f"not to be had: {_reason(error)}"
            continue
        programs[name] = start
    for number in range(rounds):
        # There and back, so that a machine that gets slower or faster does it to all alike.
        for name in list(programs)[:: -1 if number % 2 else 1]:
            turn = _turn(name, programs[name], seconds)
            found.turns.setdefault(name, []).append(turn)
            say(f"round {number + 1}: {name} {turn.frames_per_s_core:,.0f} frames/s of a core")
    return found


def _turn(name: str, program: Sequence[str], seconds: float) -> Turn:
    port = free_port()
    speaks = _SPEAKS.get(name, _Speaks())
    size = () if name == OURS else (str(FRAME_BYTES),)
    gather = ("gather",) if name == GATHERED else ()
    server = subprocess.Popen([*program, str(port), *size, *gather], cwd=ROOT, env=clean_environment())
    try:
        _await_port(port, server)
        with Crowd() as crowd:
            crowd.connect(name, CLIENTS, port, speaks.says, path=speaks.path, ready_after=speaks.ready_after)
            crowd.nap(_NAP_S)
            time.sleep(_WARM_UP_S)
            before, cpu, clients_cpu = crowd.counts(name), cpu_s(server.pid), crowd.cpu_s
            time.sleep(seconds)
            after, cpu, clients_cpu = crowd.counts(name), cpu_s(server.pid) - cpu, crowd.cpu_s - clients_cpu
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(5)
        server.kill()
        server.wait()
    frames, took_s = after.frames - before.frames, after.at_s - before.at_s
    if not frames or after.lost:
        raise RuntimeError(f"{name}: {frames} frames came, and {len(after.lost)} of {CLIENTS} clients were lost")
    return Turn(
        frames_per_s_core=frames / cpu,
        frames_per_s=frames / took_s,
        frame_bytes=(after.bytes - before.bytes) / frames - _HEAD_BYTES,
        core_share=cpu / took_s,
        clients_core_share=clients_cpu / took_s,
    )


def _await_port(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"{server.args!r} ended with status {server.returncode}; what it said is above")
        with socket.socket() as probe:
            # Bound, not connected to: a connection that says nothing would be one of the clients of the bare writes.
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{server.args!r} does not listen")


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def _python(script: Path) -> str:
    """The interpreter of an environment that has what the head of a script asks for, made if need be.

    It is of the same Python as ours: a newer one would be faster, an older one slower.
    """
    uv = str(Path(sys.executable).with_name("uv"))
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run(
        [uv, "sync", "--quiet", "--script", str(script), "--python", version],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    done = subprocess.run(
        [uv, "python", "find", "--script", str(script)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _reason(error: Exception) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
    return (said or str(error)).strip()[-600:]
