"""`streamgauge run`: the processor as one process, alone or as a member of a cluster."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import orjson
import valkey

from live_api.conditions import Condition
from sinks.alert_store import AlertStore
from sinks.archive import Archive
from sinks.base import Sink
from sinks.deadletter import DeadLetterSink
from sinks.errors import Misconfigured, Retryable, SinkError
from sinks.live import LiveSink
from sinks.live_scores import LiveScores
from sinks.outbox import Outbox
from sinks.person_store import PersonStore
from sinks.pruned import PrunedStore
from sinks.score_store import ScoreStore
from sinks.spool_places import left_bytes
from sinks.store import Store
from stream.alert_writers import AlertSinks
from stream.archive_jobs import Desk, JobThread
from stream.archive_pending import Pending
from stream.bounds import notes
from stream.catalog import Catalog
from stream.continuity import GapError, OnGap
from stream.durations import duration_ms
from stream.ending import Ending
from stream.enrich import Pseudonyms
from stream.flow import ArchiveParts, ClusterError, Member, Parts, execute, make_recovery
from stream.forecasts import outlooks
from stream.meters import Meters
from stream.people.journal import Directory
from stream.plan import Plan, compile_plan
from stream.reader import client_factory
from stream.score import lifecycles, watches
from stream.score_writers import ScoreSinks
from stream.snapshots import StateError
from stream.writers import Patience, deadletter_writer
from streamgauge.children import ORPHANED
from streamgauge.exposition import expose
from streamgauge.geo import geo_of
from streamgauge.health import Health, alive, of_processor
from streamgauge.places import SPOOLS, group_of, outbox_of, scores_of
from streamgauge.retention import kept_alerts, kept_in_store
from streamgauge.samples import Samples
from streamgauge.settings import EXIT_CONFIGURATION, EXIT_CUT_OFF, Settings, archive_url, person_key
from streamgauge.state import Facts, held, settle, unusable
from streamgauge.tracing import tracing_of

if TYPE_CHECKING:
    from stream.influx_writer import InfluxWriter

logger = logging.getLogger(__name__)

DRAIN_S = 8.0
"""A drain that takes longer is cut off. Nothing is lost: the run goes on from the last snapshot."""
_ROLL_SNAPSHOTS = 30
"""Events wait for so many snapshots for their file of the archive, about: a minute."""
_BEGIN_S = 90.0
"""How long a cluster may take from the moment its members have met to the first read."""
_FAILED_S = 2.0
"""How long the engine of a member that failed may take to end."""


def run_processor(catalog: Catalog, settings: Settings, state: Path, *, trim: bool) -> int:
    """Run as one process until SIGTERM or SIGINT. Returns the exit status."""
    run = Run(catalog, settings, state, trim=trim)
    with held(state):
        facts = settle(state, settings.shards, 1, make_recovery)
        return run.execute(facts, Member())


class Run:
    """One process of the processor: told to end by SIGTERM or SIGINT from the moment it is made."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        state: Path,
        *,
        trim: bool,
        supervised: bool = False,
        own_state: bool = True,
    ) -> None:
        """`own_state`: no other process of this run has the same state directory."""
        if settings.valkey_url is None:
            message = "VALKEY_URL is not set: it names the server to read from, such as valkey://127.0.0.1:6379"
            raise Misconfigured(message)
        self._geo = geo_of(settings, catalog)
        self.catalog = catalog
        self.settings = settings
        self.state = state
        self.trim = trim
        self.plan: Plan = compile_plan(catalog)
        self.ending = Ending(self._failed)
        self._in_cluster = supervised
        self._own_state = own_state
        # Nobody asked when the supervisor is killed: members elsewhere are to wait then, not to end in order.
        _on_signal(self.ending.asked.set, (lambda: _leave(1)) if supervised else None)
        threading.Thread(target=self._end_in_time, name="ending", daemon=True).start()

    def execute(self, facts: Facts, member: Member) -> int:
        """Run the dataflow to its end. Returns the exit status; as a member it ends the process with it."""
        if self._in_cluster:
            timer = threading.Timer(_BEGIN_S, self._give_up)
            timer.daemon = True
            timer.start()
            _leave(self._execute(facts, member))
        return self._execute(facts, member)

    def run_as(self, facts: Facts, number: int, addresses: tuple[str, ...]) -> int:
        return self.execute(facts, Member(number, addresses))

    def _execute(self, facts: Facts, member: Member) -> int:
        meters = Meters()
        tracing = tracing_of(self.settings, "processor")
        if tracing is not None:
            meters.each_epoch(tracing.epoch)
        meters.kept_where(lambda: shutil.disk_usage(self.state).free)
        url, pending = archive_url(self.settings, self.state), Pending(self.state / "archive-pending")
        desk = Desk(Archive(url, facts.id), pending, meters.archived)
        jobs = JobThread(desk, meters)
        roll_ms = int(_ROLL_SNAPSHOTS * self.settings.snapshot_s * 1_000)
        parts = self._parts(facts, member, ArchiveParts(pending, jobs, roll_ms), meters)
        for note in notes(self.plan) if member.number == 0 else ():
            logger.warning("%s", note, extra={"event": "catalog_note"})
        try:
            # Not before the state is ours: whoever had it until now may still have the port.
            expose(parts.meters.registry, self.settings, member.number, health=_health(parts.meters))
            for database in parts.databases.values():
                database.setup()
            parts.alert_sinks.outbox.setup()
            if self.plan.archived:
                _try_out(desk)
            if parts.alert_sinks.influx is not None:
                self._send_to(parts.alert_sinks.influx, parts)
            every = timedelta(seconds=self.settings.snapshot_s)
            execute(parts, self.state / "recovery", snapshot_every=every)
        except (SinkError, StateError, GapError) as error:
            return self._status_of(self.ending.failure or error)
        except ClusterError as error:
            if self.ending.asked.is_set():
                logger.warning("another member left first; what was not saved is read again at the next start")
                return 0
            logger.error("another member is gone, so the cluster ends; it goes on from the last snapshot (%s)", error)
            return 1
        finally:
            if parts.alert_sinks.influx is not None:
                parts.alert_sinks.influx.close()
            for database in parts.databases.values():
                database.close()
            parts.alert_sinks.store.close()
            jobs.stop()
            parts.people.close()
            parts.scores.store.close()
            if tracing is not None:
                tracing.close()
        return 0 if self.ending.failure is None else self._status_of(self.ending.failure)

    def _send_to(self, influx: InfluxWriter, parts: Parts) -> None:
        """Begin to send to InfluxDB, from a thread that the dataflow never waits for."""
        patience = Patience("deadletter", self.ending.asked, None, parts.meters)
        refuse = deadletter_writer(parts.deadletter, patience, parts.meters)

        def stop(error: Misconfigured) -> None:
            self.ending.fail(error)
            # What was counted is saved first. In a cluster that would end all members in order, and hide what is wrong.
            if not self._in_cluster:
                self.ending.asked.set()

        influx.setup()
        # Over several machines each has a state directory of its own, and nobody else to send what is left in it.
        drains = parts.member.number == 0 or self._own_state
        influx.start(refuse, stop, drains=drains)

    def _parts(self, facts: Facts, member: Member, archive: ArchiveParts, meters: Meters) -> Parts:
        settings, plan = self.settings, self.plan
        assert settings.valkey_url is not None
        connect = client_factory(settings.valkey_url)
        client: valkey.Valkey = connect(10.0)
        alerts, kept = AlertStore(settings.store_url(self.state)), kept_alerts(self.catalog)
        store = Store(settings.store_url(self.state))
        pruned = PrunedStore(store, kept_in_store(self.catalog, plan), None if kept is None else (alerts, kept))
        databases: dict[str, Sink] = {"store": pruned}
        influx = None
        if settings.influx_url is not None:
            from streamgauge.influx import writer_of  # half a second, for those who have none

            influx = writer_of(
                self.catalog,
                plan,
                settings,
                self.state,
                processes=member.processes,
                member=member.number,
                meters=meters,
            )
        elif member.number == 0 and (left := left_bytes(self.state / SPOOLS)):
            logger.warning(
                "%s has %.1f MB that wait for InfluxDB, and INFLUX_URL is not set: they stay until it is",
                self.state / SPOOLS,
                left / 1e6,
            )
        keep = self.catalog.people.timeline
        watched = watches(self.catalog, plan)
        live = LiveSink(client, platform=self.catalog.platform.name)
        outbox = Outbox(client, outbox_of(self.catalog), [webhook.endpoint for webhook in self.catalog.webhook])
        return Parts(
            plan=plan,
            alert_sinks=AlertSinks(alerts, outbox, live, influx),
            watches=watched,
            outlooks=outlooks(self.catalog, plan),
            rules=lifecycles(watched, self.catalog),
            platform=self.catalog.platform.name,
            pseudonyms=Pseudonyms(person_key(settings, self.state)),
            connect=connect,
            live=live,
            deadletter=DeadLetterSink(client),
            databases=databases,
            ending=self.ending,
            people=PersonStore(settings.store_url(self.state)),
            files=Directory(self.state / "people"),
            scores=ScoreSinks(ScoreStore(settings.store_url(self.state)), LiveScores(client, scores_of(self.catalog))),
            archive=archive,
            meters=meters,
            geo=self._geo,
            keep_events_ms=None if keep is None else duration_ms(keep),
            shard_keys=facts.shard_keys,
            member=member,
            most_processes=facts.processes,
            tick_ms=settings.tick_ms,
            trim=self.trim,
            on_gap=OnGap(settings.on_gap),
            group=group_of(self.catalog),
            retired=_retired(self.state / "streams.json", plan.streams),
        )

    def _status_of(self, error: Exception) -> int:
        if isinstance(error, StateError):
            said = unusable(self.state, f"recovery: {error}")
            logger.critical("%s", said, extra={"event": "state_unusable"})
            return EXIT_CONFIGURATION
        if isinstance(error, GapError):
            logger.critical(
                "%s. STREAMGAUGE_ON_GAP is `error`, so nothing is read past that. Start once with STREAMGAUGE_ON_GAP="
                "earliest to go on with the first entry that is there, or =latest to skip to the end",
                error,
            )
            return EXIT_CONFIGURATION
        if isinstance(error, Misconfigured):
            logger.critical("%s", error, extra={"event": "processor_misconfigured"})
            return EXIT_CONFIGURATION
        # When told to stop, going back to the last snapshot is an orderly end too: nothing is lost by it.
        logger.error("ending at the last snapshot: %s", error)
        return 0 if self.ending.asked.is_set() else 1

    def _failed(self) -> None:
        """In a cluster the engine may wait for the others, and says no more than that something went wrong."""
        if self._in_cluster:
            failure = self.ending.failure
            assert failure is not None
            timer = threading.Timer(_FAILED_S, lambda: _leave(self._status_of(failure)))
            timer.daemon = True
            timer.start()

    def _give_up(self) -> None:
        if not self.ending.begun:
            logger.error("the members met, but their engines have not found each other in %.0f s", _BEGIN_S)
            _leave(1)

    def _end_in_time(self) -> None:
        self.ending.asked.wait()
        if not self.ending.begun and self._in_cluster:
            _leave(0)  # nothing was read, and the engine would wait for the others for ever
        time.sleep(DRAIN_S)
        if self.ending.committed:
            _leave(0)  # all is saved; only others keep the engine
        logger.error("the last snapshot took longer than %.0f s; leaving without it", DRAIN_S)
        _leave(EXIT_CUT_OFF)


def _health(meters: Meters) -> Health:
    def ready() -> list[Condition]:
        return list(of_processor(Samples.of(meters.registry), time.time()))

    return Health(lambda: alive(meters.turned_ago_s()), ready)


def _try_out(desk: Desk) -> None:
    """Raises Misconfigured where nothing could ever be archived. One that is only away is waited for."""
    desk.pending.setup()
    try:
        desk.archive.setup()
    except Retryable as error:
        logger.warning("%s; events wait on disk until it is back", error)


def _retired(path: Path, streams: tuple[str, ...]) -> tuple[str, ...]:
    """Streams that were read with this state before and are not now; `path` remembers all there ever were."""
    known: list[str] = orjson.loads(path.read_bytes()) if path.exists() else []
    ever = list(dict.fromkeys([*known, *streams]))
    if ever != known:
        # Several members may do the same at once.
        written = path.with_suffix(f".{os.getpid()}")
        written.write_bytes(orjson.dumps(ever))
        written.rename(path)
    return tuple(name for name in ever if name not in streams)


def _leave(status: int) -> NoReturn:
    """End the process now, whatever its threads wait for."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)


def _on_signal(ask: Callable[[], None], orphaned: Callable[[], None] | None) -> None:
    """Have SIGTERM and SIGINT call `ask`, and `ORPHANED` the other where there is one.

    While the engine runs, no Python signal handler does. But the interpreter's own C handler writes each signal to the
    wake-up descriptor at once, whichever thread the kernel chose, and a thread of ours reads it there.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, *([ORPHANED] if orphaned else [])):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        (number,) = os.read(reader, 1)
        if number == ORPHANED and orphaned is not None:
            orphaned()
        ask()

    threading.Thread(target=wait, name="signals", daemon=True).start()
