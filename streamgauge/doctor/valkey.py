"""Checks of the Valkey server: whether it answers, keeps what it is given, and has room."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

from valkey.exceptions import ValkeyError

from stream.walltime import clock_ms
from streamgauge.doctor.findings import Deployment, Finding, note, ok, problem, warning

_PINGS = 20
_SLOW_MS = 5.0
_SKEW_MS, _MUCH_SKEW_MS = 1_000, 60_000


def reachable(at: Deployment) -> Iterator[Finding]:
    """Whether it answers, how fast, and which version it is."""
    if at.client is None:
        yield problem(
            "VALKEY_URL is not set",
            "nothing can be read or shown",
            "set VALKEY_URL, or name the catalog that `up` runs with, whose server is then found",
        )
        return
    took_ms = []
    for _ in range(_PINGS):
        began_s = time.perf_counter()
        at.ask("PING")
        took_ms.append((time.perf_counter() - began_s) * 1_000)
    about = at.about("server")
    version = about.get("valkey_version") or about.get("redis_version", "of an unknown version")
    kind = "Valkey" if "valkey_version" in about else "a server that is no Valkey"
    typical_ms = statistics.median(took_ms)
    said = f"{kind} {version} answers in {typical_ms:.2f} ms (median of {_PINGS}), {max(took_ms):.2f} at the most"
    if typical_ms > _SLOW_MS:
        yield warning(
            said, "each write to screens waits so long", "bring it nearer to the processor, or look at its load"
        )
    elif "valkey_version" in about:
        yield ok(said)
    else:
        yield note(said, "it is not what this is tested with", "use Valkey")
    if at.about("replication").get("role") != "master":
        yield problem("it is a replica", "it refuses writes", "set VALKEY_URL to the primary")


def keeps(at: Deployment) -> Iterator[Finding]:
    """Whether it drops events when it is full, and has them after a crash."""
    if at.client is None:
        return
    memory, saved = at.about("memory"), at.about("persistence")
    policy, most = memory.get("maxmemory_policy", "?"), int(memory.get("maxmemory", 0))
    if policy == "noeviction":
        yield ok("maxmemory-policy is noeviction: a full server refuses events, and producers wait")
    else:
        level = problem if most else warning
        means = "when it is full it deletes keys: streams with events that nobody has read yet"
        yield level(f"maxmemory-policy is {policy}", means, "CONFIG SET maxmemory-policy noeviction, and in its file")
    if int(saved.get("aof_enabled", 0)):
        if saved.get("aof_last_write_status", "ok") != "ok":
            yield problem(
                "it cannot write its append-only file",
                "what it takes now is lost with it",
                "look at its log and the space on its disk",
            )
        else:
            yield ok("the append-only file is on")
    else:
        yield warning(
            "the append-only file is off",
            "events that were not read yet are lost when the server crashes",
            "CONFIG SET appendonly yes, and in its file",
        )


def room(at: Deployment) -> Iterator[Finding]:
    """How full it is."""
    if at.client is None:
        return
    memory = at.about("memory")
    used, most = int(memory["used_memory"]), int(memory.get("maxmemory", 0))
    of = most or int(memory.get("total_system_memory", 0))
    if not of:
        yield note(f"it uses {used / 1e6:,.0f} MB; how much it may use is not known")
        return
    said = f"it uses {used / 1e6:,.0f} MB of {of / 1e6:,.0f} ({used / of:.0%})"
    said += "" if most else ", all that its machine has, as maxmemory is not set"
    do = "raise maxmemory, run with --trim, or look at what is behind (`streamgauge top`)"
    if used > 0.9 * of:
        yield problem(said, "soon it takes no events any more", do)
    elif used > 0.75 * of:
        yield warning(said, "a few hours of a processor that stands still fill the rest", do)
    elif most:
        yield ok(said)
    else:
        yield note(said, "it grows until its machine ends it", "set maxmemory to what it may use")


def streams(at: Deployment) -> Iterator[Finding]:
    """Whether the catalog's streams are there, and are streams."""
    if at.client is None or at.catalog is None:
        return
    for name in at.catalog.platform.streams:
        kind = at.ask("TYPE", name)
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        if kind == "stream":
            yield ok(f"{name} has {at.ask('XLEN', name):,} entries")
        elif kind == "none":
            yield note(
                f"{name} is not there", "no event came yet, or producers send to another", "look at the producers"
            )
        else:
            yield problem(
                f"{name} is a {kind}, no stream", "it cannot be read", "rename that key, or the stream in the catalog"
            )


def clocks(at: Deployment) -> Iterator[Finding]:
    """Whether the server's clock and this machine's agree."""
    if at.client is None:
        return
    before_ms = clock_ms()
    seconds, micros = at.ask("TIME")
    server_ms = int(seconds) * 1_000 + int(micros) // 1_000
    off_ms = server_ms - (before_ms + clock_ms()) // 2
    said = f"the server's clock is {abs(off_ms) / 1_000:.2f} s {'ahead of' if off_ms > 0 else 'behind'} this machine's"
    if abs(off_ms) < _SKEW_MS:
        yield ok(said)
    else:
        means = "lag and freshness are off by that, and events without a time get a wrong one"
        level = problem if abs(off_ms) > _MUCH_SKEW_MS else warning
        yield level(said, means, "keep both in time by NTP")


def answers(error: ValkeyError) -> Finding:
    """A server that does not answer."""
    found: Any = str(error) or type(error).__name__
    return problem(
        f"Valkey: {found}", "nothing can be read or shown", "start it, or put VALKEY_URL right: address, user, password"
    )
