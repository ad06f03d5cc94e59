"""`streamgauge run`: the processor as one process."""

from __future__ import annotations

import logging
import os
import signal
import threading
from datetime import timedelta
from pathlib import Path

import orjson
import valkey

from sinks.base import Sink
from sinks.deadletter import DeadLetterSink
from sinks.errors import Misconfigured, SinkError
from sinks.live import LiveSink
from sinks.pruned import PrunedStore
from sinks.store import Store
from stream.catalog import Catalog
from stream.continuity import GapError, OnGap
from stream.durations import MINUTE_MS
from stream.enrich import Pseudonyms
from stream.flow import Parts, execute
from stream.plan import compile_plan
from stream.reader import client_factory
from streamgauge.places import group_of
from streamgauge.settings import EXIT_CONFIGURATION, Settings, person_key

logger = logging.getLogger(__name__)

DRAIN_S = 8.0
"""A drain that takes longer is cut off. Nothing is lost: the run goes on from the last snapshot."""
EXIT_CUT_OFF = 75
_SHORT_KEPT_MS = 2 * 3_600_000
"""How long the store keeps windows of less than a minute: enough for every sparkline."""


def run_processor(catalog: Catalog, settings: Settings, state: Path, *, trim: bool) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    if settings.valkey_url is None:
        raise Misconfigured("VALKEY_URL is not set: it names the server to read from, such as valkey://127.0.0.1:6379")
    draining = threading.Event()
    _drain_on_signal(draining)
    connect = client_factory(settings.valkey_url)
    client: valkey.Valkey = connect(10.0)
    plan = compile_plan(catalog)
    short = {
        window.name: _SHORT_KEPT_MS for cube in plan.all_cubes for window in cube.windows if window.about_ms < MINUTE_MS
    }
    databases: dict[str, Sink] = {"store": PrunedStore(Store(settings.store_url(state)), short)}
    if settings.influx_url is not None:
        from sinks.influx import InfluxSink

        databases["influx"] = InfluxSink(
            settings.influx_url,
            settings.influx_token.get_secret_value(),
            settings.influx_org,
            settings.influx_bucket,
        )
    parts = Parts(
        plan=plan,
        pseudonyms=Pseudonyms(person_key(settings, state)),
        connect=connect,
        live=LiveSink(client, platform=catalog.platform.name),
        deadletter=DeadLetterSink(client),
        databases=databases,
        draining=draining,
        tick_ms=settings.tick_ms,
        trim=trim,
        on_gap=OnGap(settings.on_gap),
        group=group_of(catalog),
        retired=_retired(state / "streams.json", plan.streams),
    )
    try:
        for database in databases.values():
            database.setup()
        execute(parts, state / "recovery", snapshot_every=timedelta(seconds=settings.snapshot_s))
    except Misconfigured as error:
        logger.critical("%s", error)
        return EXIT_CONFIGURATION
    except GapError as error:
        logger.critical(
            "%s. STREAMGAUGE_ON_GAP is `error`, so nothing is read past that. Start once with "
            "STREAMGAUGE_ON_GAP=earliest to go on with the first entry that is there, or =latest to skip to the end",
            error,
        )
        return EXIT_CONFIGURATION
    except SinkError as error:
        # When told to stop, going back to the last snapshot is an orderly end too: nothing is lost by it.
        logger.error("ending at the last snapshot: %s", error)
        return 0 if draining.is_set() else 1
    finally:
        for database in databases.values():
            database.close()
    return 0


def _retired(path: Path, streams: tuple[str, ...]) -> tuple[str, ...]:
    """Streams that were read with this state before and are not now; `path` remembers all there ever were."""
    known: list[str] = orjson.loads(path.read_bytes()) if path.exists() else []
    ever = list(dict.fromkeys([*known, *streams]))
    if ever != known:
        written = path.with_suffix(".new")
        written.write_bytes(orjson.dumps(ever))
        written.rename(path)
    return tuple(name for name in ever if name not in streams)


def _drain_on_signal(draining: threading.Event) -> None:
    """Turn SIGTERM and SIGINT into `draining`.

    While the engine runs, no Python signal handler does. But the interpreter's own C handler writes each signal to the
    wake-up descriptor at once, whichever thread the kernel chose, and a thread of ours reads it there.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def cut_off() -> None:
        logger.error("the last snapshot took longer than %.0f s; leaving without it", DRAIN_S)
        os._exit(EXIT_CUT_OFF)

    def wait() -> None:
        os.read(reader, 1)
        # Armed first: nothing that follows can keep the process from ending.
        timer = threading.Timer(DRAIN_S, cut_off)
        timer.daemon = True
        timer.start()
        draining.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
