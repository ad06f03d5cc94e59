"""Checks of the machine that the parts run on."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from stream.bounds import notes
from stream.plan import compile_plan
from streamgauge.doctor.findings import Deployment, Finding, note, ok, problem, warning

_SANE_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
_OLD_DAYS = 180


def catalog(at: Deployment) -> Iterator[Finding]:
    """What is worth knowing of the catalog; that it is valid is known by now."""
    if at.catalog is None:
        yield note("no catalog was named", "streams, state, archive and webhooks are not checked", "add --catalog FILE")
        return
    plan = compile_plan(at.catalog)
    yield ok(f"valid: {len(at.catalog.metric)} metrics over {len(at.catalog.platform.streams)} streams")
    for text in notes(plan):
        yield note(text)


def files(at: Deployment) -> Iterator[Finding]:
    """Whether as many clients as are let in can be open at once."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = at.settings.open_files
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        yield ok(f"{at.settings.max_clients:,} clients may be open at once")
    else:
        yield warning(
            f"a process may open {hard:,} files, and STREAMGAUGE_MAX_CLIENTS is {at.settings.max_clients:,}",
            "clients are turned away before that",
            "raise its limit (ulimit -n, LimitNOFILE), or lower the setting",
        )


def clock(at: Deployment) -> Iterator[Finding]:
    """Whether the clock can be right, and what the time zones are."""
    now_s = at.now_ms / 1_000
    shown = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds")
    if now_s < _SANE_S:
        yield problem(f"the clock says {shown}", "events count as of the future", "set the clock; keep it by NTP")
        return
    zone = "UTC" if at.catalog is None else at.catalog.platform.timezone
    yield ok(
        f"the clock says {shown}; days are those of {zone}, and this machine's zone ({time.tzname[0]}) is not used"
    )


def cores(at: Deployment) -> Iterator[Finding]:
    """How busy the machine is."""
    busy, count = os.getloadavg()[1], os.cpu_count() or 1
    if busy > 2 * count:
        yield warning(
            f"{busy:.1f} processes wanted to run over the last 5 minutes, on {count} cores",
            "numbers come late",
            "more cores, or fewer other programs",
        )
    else:
        yield ok(f"{count} cores, {busy:.1f} of them wanted over the last 5 minutes")


def places(at: Deployment) -> Iterator[Finding]:
    """Whether the database of countries can be read, and how old it is."""
    path = at.settings.geoip
    if path is None:
        return
    import maxminddb

    try:
        with maxminddb.open_database(path) as database:
            about = database.metadata()
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        yield problem(f"STREAMGAUGE_GEOIP: {path}: {error}", "there is no country or region", "name a .mmdb file")
        return
    days = int((at.now_ms / 1_000 - about.build_epoch) / 86_400)
    if days > _OLD_DAYS:
        yield note(f"{path} ({about.database_type}) is {days} days old", "some addresses have moved", "get a newer one")
    else:
        yield ok(f"{path} ({about.database_type}) is {days} days old")
