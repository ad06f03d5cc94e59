"""The API as processes: one, or several that share a port or have one each."""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from live_api.admission import Limits, Origins
from live_api.app import create_app, serve
from live_api.health import conditions
from live_api.ingest import IngestLimits
from sinks.errors import Misconfigured, Retryable
from stream.catalog import Catalog
from stream.enrich import Pseudonyms
from stream.walltime import clock_ms
from streamgauge import __version__
from streamgauge.children import Child, stop_all, watch
from streamgauge.embedded import check_port_free
from streamgauge.exposition import expose
from streamgauge.geo import geo_of
from streamgauge.health import Health, alive
from streamgauge.letting_in import access_of, check_not_open, origins_of, warn_of_openness
from streamgauge.places import group_of
from streamgauge.preconditions import stop_event, valkey_address
from streamgauge.settings import EXIT_CUT_OFF, Settings, SettingsError, existing_person_key
from streamgauge.tracing import Traced, tracing_of

logger = logging.getLogger(__name__)

_STOP_S = 8.0


def serve_one(catalog: Catalog, settings: Settings, state: Path, *, number: int = 0, shared: bool = False) -> int:
    """Serve until SIGTERM or SIGINT, in this process. `number` is its place among several, `shared` whether they listen
    on one port. Returns the exit status. Raises Misconfigured, PortTaken."""
    port = settings.port if shared else settings.port + number
    access = access_of(settings)
    check_not_open(settings, state)
    if not shared:
        check_port_free(settings.host, port, "--port")
    if number == 0:
        warn_of_openness(settings, state)
    _raise_file_limit(settings)
    app, hub = create_app(
        catalog,
        valkey_url=valkey_address(settings),
        store_url=settings.store_url(state),
        version=__version__,
        tick_ms=settings.tick_ms,
        heartbeat_s=settings.heartbeat_s,
        limits=Limits(settings.max_clients, settings.max_clients_per_address, settings.accepts_per_s),
        origins=Origins(origins_of(settings), settings.loopback),
        pseudonym=_pseudonym(settings, state),
        ingest_limits=IngestLimits(
            settings.ingest_max_bytes,
            settings.ingest_events_per_s,
            settings.ingest_backlog,
            settings.ingest_dedupe_s,
        ),
        ingest_origins=settings.allowed_ingest_origins,
        ingest_group=group_of(catalog),
        access=access,
        geo=geo_of(settings, catalog),
    )
    health = Health(
        lambda: alive(hub.meters.turned_ago_s()),
        lambda: list(conditions(hub.feed, catalog.platform.streams, clock_ms())),
    )
    expose(hub.meters.registry, settings, number, "api", health)
    tracing = tracing_of(settings, "api")
    if tracing is not None:
        app.add_middleware(Traced, tracing=tracing)
    as_asked = serve(
        app,
        hub,
        host=settings.host,
        port=port,
        log_level="warning",
        accepts_per_s=settings.accepts_per_s,
        shared=shared,
        cut_off_status=EXIT_CUT_OFF,
        trusted_proxies=settings.trusted_proxies,
    )
    if tracing is not None:
        tracing.close()
    return 0 if as_asked else 1


def serve_many(catalog_path: Path, settings: Settings, state: Path, processes: int, *, own_ports: bool) -> int:
    """Run several until SIGTERM or SIGINT; one that fails is started again. Returns the exit status.

    Raises SinkError, PortTaken.
    """
    access_of(settings)
    check_not_open(settings, state)
    for number in range(processes if own_ports else 1):
        check_port_free(settings.host, settings.port + number, "--port")
    stopping = stop_event()
    me = [sys.executable, "-m", "streamgauge", "serve", "--catalog", str(catalog_path)]
    me += ["--host", settings.host, "--port", str(settings.port), "--state", str(settings.state)]
    me += ["--own-ports"] if own_ports else []
    children = [Child(f"api {number}", [*me, "--number", str(number)], dict(os.environ)) for number in range(processes)]
    try:
        for child in children:
            child.start(time.monotonic())
        return watch(children, stopping)
    finally:
        stop_all(children, _STOP_S)


def _pseudonym(settings: Settings, state: Path) -> Callable[[str], str]:
    """What makes pseudonyms as the processor does. The key is read when the first is asked for: whoever serves may have
    begun before the processor, which makes it."""
    known: list[Pseudonyms] = []

    def of(person: str) -> str:
        if not known:
            try:
                known.append(Pseudonyms(existing_person_key(settings, state)))
            except SettingsError as error:
                raise Misconfigured(str(error)) from error
            except OSError as error:
                raise Retryable(f"the key of the pseudonyms cannot be read: {error}") from error
        return known[0].of(person)

    return of


def _raise_file_limit(settings: Settings) -> None:
    """Each client is an open file, and most systems allow 1,024 unless asked."""
    wanted = settings.open_files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        logger.warning(
            "STREAMGAUGE_MAX_CLIENTS is %d, but this process may open %d files at most; raise its limit (ulimit -n)",
            settings.max_clients,
            most,
        )
