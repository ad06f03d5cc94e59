"""Checks of what is kept on disks and in databases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from sinks import prepared
from sinks.archive_place import open_place
from sinks.database import open_database, transaction
from sinks.errors import SinkError
from sinks.schema import SCHEMA_VERSION
from sinks.spool_places import left_bytes
from stream.plan import compile_plan
from stream.snapshots import StateError
from streamgauge.doctor.findings import Deployment, Finding, note, ok, problem, warning, writable
from streamgauge.places import SPOOLS
from streamgauge.settings import archive_url
from streamgauge.state import read_facts

_LITTLE_BYTES, _SOME_BYTES = 1e9, 5e9
_REMOTE = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "ceph", "glusterfs", "lustre")


def state(at: Deployment) -> Iterator[Finding]:
    """Whether the state directory can be used: rights, space, a local disk, and of this version."""
    if at.state is None:
        return
    path = at.state
    if not writable(path):
        yield problem(f"{path} cannot be written", "no part can keep its state", "give it to this user, or --state")
        return
    try:
        facts = read_facts(path)
    except StateError as error:
        yield problem(str(error), "the processor will not start with it", "see docs/settings.md, State directory")
        return
    if facts is None:
        yield note(f"{path} has no state yet", "the next start counts from the beginning of the streams")
    else:
        yield ok(f"{path}: shards: {facts.shards}, recovery partitions: {facts.partitions}, of this version")
    yield _space(path, "the state directory")
    kind = filesystem_of(path, Path("/proc/self/mounts"))
    if kind is not None and kind.startswith(_REMOTE):
        yield problem(
            f"{path} is on {kind}", "SQLite's WAL mode is not safe there: snapshots may be spoiled", "use a local disk"
        )


def store(at: Deployment) -> Iterator[Finding]:
    """Whether the store can be read, and has the tables of this version."""
    if at.state is None:
        return
    url = at.settings.store_url(at.state)
    sqlite = url.startswith("sqlite")
    path = Path(make_url(url).database or "") if sqlite else None
    if path is not None and not path.exists():
        yield note(f"{path} is not there yet", "the first to write makes it")
        return
    # Read only, and without what the sinks set when they open one: nothing is changed here, not even its mode.
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true") if path else open_database(url, busy_timeout_s=3)
    try:
        with transaction(engine) as connection:
            version = prepared.version_in(connection)
    except (SinkError, SQLAlchemyError) as error:
        yield problem(
            f"the store cannot be read: {error}", "there is no history, and points wait", "put DATABASE_URL right"
        )
        return
    finally:
        engine.dispose()
    where = str(path) if path else "the PostgreSQL server"
    if version is None:
        yield note(f"{where} has no tables yet", "the first to write makes them")
    elif version == SCHEMA_VERSION:
        yield ok(f"{where} has schema version {version}")
    elif version == 0 or version > SCHEMA_VERSION:
        yield problem(f"{where} was written by a newer streamgauge", "this one will not use it", "upgrade this one")
    else:
        yield note(f"{where} has schema version {version}", f"the next start makes it {SCHEMA_VERSION}")
    facts = read_facts(at.state)
    if sqlite and facts is not None and facts.processes > 1:
        yield note(
            f"{facts.processes} processes share one SQLite file",
            "they wait for each other when they write",
            "use PostgreSQL (DATABASE_URL) when writes are slow; on several machines it is needed",
        )


def influx(at: Deployment) -> Iterator[Finding]:
    """Whether InfluxDB answers, and what waits for it. `influx check` writes and reads back, too."""
    waiting = 0 if at.state is None else left_bytes(at.state / SPOOLS)
    if at.settings.influx_url is None:
        if waiting:
            yield warning(
                f"{waiting / 1e6:.1f} MB wait for InfluxDB, and INFLUX_URL is not set",
                "they stay on disk",
                "set INFLUX_URL, or delete the directory `influx` in the state directory",
            )
        return
    from streamgauge.influx_places import place_of
    from streamgauge.influx_server import Http, look

    try:
        server = look(Http(place_of(at.settings)))
        yield ok(f"{server} answers; `streamgauge influx check` tries out writing")
    except SinkError as error:
        yield problem(
            f"InfluxDB: {error}", "points wait on disk, up to INFLUX_SPOOL_MB", "put INFLUX_URL or the server right"
        )
    limit = at.settings.influx_spool_mb * 1e6
    if waiting > limit / 2:
        yield warning(
            f"{waiting / 1e6:,.0f} MB wait for InfluxDB, of {limit / 1e6:,.0f}",
            "when that is full, open lines are let go of and then counting waits",
            "see why it is slow or away",
        )


def archive(at: Deployment) -> Iterator[Finding]:
    """Whether events can be archived; a bucket is only looked at."""
    if at.catalog is None or at.state is None or not compile_plan(at.catalog).archived:
        return
    url = archive_url(at.settings, at.state)
    try:
        place = open_place(url)
        if not place.is_local:
            place.files.ls(place.root.partition("/")[0])
            yield ok(f"the bucket of {place.url} can be listed")
            return
    except Exception as error:
        # Drivers raise errors of the libraries below them.
        yield problem(f"the archive: {error}", "events wait on disk", "put ARCHIVE_URL, its rights or its driver right")
        return
    root = Path(place.root)
    if writable(root):
        yield _space(root, "the archive")
    else:
        yield problem(f"{root} cannot be written", "events wait on disk", "give it to this user, or set ARCHIVE_URL")


def _space(path: Path, what: str) -> Finding:
    while not path.exists():
        path = path.parent
    usage = shutil.disk_usage(path)
    said = f"{what} has {usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.1f}"
    if usage.free < _LITTLE_BYTES:
        return problem(said, "what is written there fails soon", "make room")
    if usage.free < _SOME_BYTES:
        return warning(said, "an outage of a sink fills that in hours", "make room")
    return ok(said)


def filesystem_of(path: Path, mounts: Path) -> str | None:
    """The kind of file system that a path is on; None where that is not known."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return None
    resolved = path.resolve()
    # The last of those mounted at the same place is the one that is seen.
    fitting = [(len(line[1]), number, line[2]) for number, line in enumerate(lines) if _below(resolved, line[1])]
    return max(fitting)[2] if fitting else None


def _below(path: Path, mount: str) -> bool:
    return path.is_relative_to(mount.replace("\\040", " "))
