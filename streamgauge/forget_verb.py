"""`streamgauge forget`: have a person forgotten everywhere, or look whether they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
import valkey
from valkey.exceptions import ValkeyError

from sinks.audit_store import Action, AuditStore, Entry
from sinks.commands import CommandSink
from sinks.database import open_database
from sinks.deadletter import DeadLetters
from sinks.erasure import Erasure
from sinks.errors import Misconfigured, SinkError
from sinks.key_store import KeyStore
from sinks.live_scores import LiveScores
from sinks.person_store import PersonStore
from sinks.score_store import ScoreStore
from stream.catalog import Catalog
from stream.enrich import Pseudonyms
from stream.plan import compile_plan
from stream.walltime import clock_ms
from streamgauge import forgetting, forgotten
from streamgauge.archive_forgetting import forget_in_archive, scan_archive, scan_pending
from streamgauge.forgetting import Deleted, Marks, Theirs
from streamgauge.places import group_of, scores_of, state_of
from streamgauge.preconditions import fail, load_catalog, load_settings, valkey_address, whoever
from streamgauge.settings import EXIT_CONFIGURATION, Settings, SettingsError, archive_url, existing_person_key
from streamgauge.terminal import printable

_EXIT_USAGE = 2
_SCRUB_S = 30.0


def forget(user_id: str, catalog: str, state: Path | None, *, verify: bool, wait: float, vacuum: bool) -> None:
    """What `streamgauge forget` does: see `cli_forget`."""
    _, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    if user_id == "-":
        user_id = sys.stdin.readline().rstrip("\r\n")
    if not user_id:
        fail("expected the id of a person, found an empty text", _EXIT_USAGE)
    if loaded.event.person is None:
        fail("the catalog's [event] names no person, so nothing is known of any", EXIT_CONFIGURATION)
    own_state = state_of(settings.state, loaded)
    try:
        pseudonym = Pseudonyms(existing_person_key(settings, own_state)).meant(user_id)
    except SettingsError as error:
        fail(str(error), EXIT_CONFIGURATION)
    except OSError as error:
        message = (
            f"{error.filename}: no key of pseudonyms ({error.strerror}); the processor makes it on its first start"
        )
        fail(f"{message}. Give --state, or STREAMGAUGE_PERSON_KEY", EXIT_CONFIGURATION)
    marks = Marks(user_id, pseudonym)
    theirs = Theirs(compile_plan(loaded), user_id, marks)
    with _client(settings) as client:
        if verify:
            done = _verify(client, settings, loaded, own_state, marks, theirs, user_id)
        else:
            done = _forget(client, settings, loaded, own_state, theirs, pseudonym, wait, vacuum)
    raise typer.Exit(0 if done else 1)


def _forget(
    client: valkey.Valkey,
    settings: Settings,
    loaded: Catalog,
    own_state: Path,
    theirs: Theirs,
    pseudonym: str,
    wait_s: float,
    vacuum: bool,
) -> bool:
    """Returns whether the processor has done its part."""
    url = settings.store_url(own_state)
    store, scores = PersonStore(url), ScoreStore(url)
    audit, keys = AuditStore(url), KeyStore(url)
    scoring = loaded.churn is not None

    def answered() -> bool:
        return store.has_forgotten(entry) and (not scoring or scores.has_forgotten(entry))

    try:
        # Before anything is sent: without it, no answer would ever be found.
        store.setup()
        audit.write(Entry(clock_ms(), whoever(), Action.ERASED, pseudonym))
        entry = CommandSink(client).forget(Erasure(pseudonym, loaded.platform.name, clock_ms()))
        typer.echo(f"{pseudonym} is to be forgotten: {entry} in streamgauge:commands", err=True)
        done = forgetting.wait_until(answered, wait_s)
        if done:
            typer.echo("the processor has let go of them, deleted their record, and takes nothing of theirs", err=True)
        else:
            message = (
                f"no processor has answered within {wait_s:g} s. What it knows, and their record in the store, remain"
            )
            typer.echo(f"{message} until it runs again; the word waits for it", err=True)
        # A processor that makes scores has done so by now; one that does no more leaves what it made.
        LiveScores(client, scores_of(loaded)).drop([pseudonym])
        scores.forget(pseudonym)
        keys.forget(pseudonym)
        _say("dead letters", forgetting.delete_letters(DeadLetters(client), theirs))
        with _client(settings) as other:
            if done:
                # What has come until now is deleted, once it is in a snapshot.
                forgetting.wait_until(forgetting.all_counted(other, loaded.platform.streams, group_of(loaded)), wait_s)
            for stream in loaded.platform.streams:
                _say(printable(stream), forgetting.delete_entries(other, stream, theirs, group_of(loaded)))
        typer.echo(forget_in_archive(archive_url(settings, own_state), own_state, pseudonym), err=True)
        typer.echo(f"valkey {forgetting.rewrite_log(client)}", err=True)
        if done and vacuum:
            scrubbed = forgetting.scrub(store, _SCRUB_S)
            typer.echo(_ABOUT_SCRUBBING[scrubbed], err=True)
    finally:
        store.close()
        scores.close()
        audit.close()
        keys.close()
    after_s = 8 * settings.snapshot_s
    typer.echo(
        f"files of before leave the state directory after 8 snapshots, {after_s:g} s or so: see --verify", err=True
    )
    return done


_ABOUT_SCRUBBING = {
    True: "the store's file was written anew, without what was deleted",
    False: f"the store's file still has deleted bytes: others were using it for {_SCRUB_S:g} s; run this again",
    None: "the store's server removes deleted rows from its files by itself (VACUUM)",
}


def _say(place: str, done: Deleted) -> None:
    left: list[str] = []
    if done.shared:
        left.append(f"{done.shared:,} left that have events of others too, such as {', '.join(done.ids)}")
    if done.uncounted:
        left.append(f"{done.uncounted:,} left that the processor has not counted yet: run this again")
    typer.echo("; ".join([f"{place}: {done.deleted:,} deleted", *left]), err=True)


def _verify(
    client: valkey.Valkey,
    settings: Settings,
    loaded: Catalog,
    own_state: Path,
    marks: Marks,
    theirs: Theirs,
    user_id: str,
) -> bool:
    """Returns whether nothing was found."""
    scans = [forgotten.scan_letters(DeadLetters(client), theirs, marks)]
    with _client(settings) as other:
        scans[:0] = [forgotten.scan_stream(other, stream, theirs, marks) for stream in loaded.platform.streams]
        scans += forgotten.scan_keys(other, marks)
    url = settings.store_url(own_state)
    store = PersonStore(url)
    try:
        store.setup()
    finally:
        store.close()
    engine = open_database(url, busy_timeout_s=5.0)
    try:
        scans += forgotten.scan_tables(engine, marks, user_id)
    finally:
        engine.dispose()
    scans += forgotten.scan_store_files(url, marks)
    scans.append(forgotten.scan_people(own_state / "people", marks, settings.snapshot_s))
    scans.append(forgotten.scan_recovery(own_state / "recovery", marks))
    scans.append(scan_pending(own_state / "archive-pending", marks))
    scans.append(scan_archive(archive_url(settings, own_state), marks))
    for line in forgotten.table(scans):
        typer.echo(line)
    if not marks.searches_id:
        typer.echo("the id is too short to be looked for where nothing can be read as an event", err=True)
    found = sum(one.found for one in scans)
    places = sum(one.found > 0 for one in scans)
    typer.echo(f"found {found:,} in {places} place{'' if places == 1 else 's'}" if found else "nothing is left of them")
    return not found


@contextmanager
def _client(settings: Settings) -> Iterator[valkey.Valkey]:
    """The server; its errors, and those of the store, end the verb with a message."""
    client = valkey.Valkey.from_url(valkey_address(settings), socket_timeout=10)
    try:
        yield client
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(str(error))
    except ValkeyError as error:
        fail(f"VALKEY_URL: {error}")
    finally:
        client.close()
