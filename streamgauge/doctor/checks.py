"""Every check of `streamgauge doctor`, and how they are run: a check is one function and one row here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import valkey
from valkey.exceptions import ValkeyError

from streamgauge.doctor import exposure, machine, parts, storage
from streamgauge.doctor import valkey as server
from streamgauge.doctor.findings import WITHIN_S, Check, Deployment, Finding, problem, warning

CHECKS: Mapping[str, Check] = {
    "settings": exposure.names,
    "catalog": machine.catalog,
    "valkey": server.reachable,
    "valkey.keeps": server.keeps,
    "valkey.room": server.room,
    "valkey.clock": server.clocks,
    "streams": server.streams,
    "state": storage.state,
    "store": storage.store,
    "influx": storage.influx,
    "archive": storage.archive,
    "processor": parts.processor,
    "api": parts.api,
    "webhooks": parts.webhooks,
    "dead letters": parts.refused,
    "exposure": exposure.reach,
    "login": exposure.login,
    "files": machine.files,
    "clock": machine.clock,
    "cores": machine.cores,
    "geoip": machine.places,
}


def examine(at: Deployment) -> Iterator[tuple[str, Finding]]:
    """All findings, in the order of the checks. Nothing is written, and no check can stop the others."""
    lost = _connect(at)
    if lost is not None:
        yield "valkey", lost
    for name, check in CHECKS.items():
        if lost is not None and check is server.reachable:
            continue
        try:
            for found in check(at):
                yield name, found
        except ValkeyError as error:
            yield name, server.answers(error)
        except Exception as error:
            yield name, warning(f"could not be checked: {error!r}", "it is not known how this is", "tell the makers")


def _connect(at: Deployment) -> Finding | None:
    """Find the server; what is wrong with it, if anything."""
    if at.valkey_url is None:
        return None
    try:
        at.client = valkey.Valkey.from_url(
            at.valkey_url, socket_timeout=WITHIN_S, socket_connect_timeout=WITHIN_S, retry=None
        )
        at.client.ping()
    except ValueError as error:
        at.client = None
        return problem(f"VALKEY_URL: {error}", "nothing can be read or shown", "expected one like valkey://host:6379")
    except ValkeyError as error:
        at.client = None
        return server.answers(error)
    return None
