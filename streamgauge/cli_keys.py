"""The verbs of `streamgauge keys`: who gets in without a login."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sinks.audit_store import Action, AuditStore, Entry
from sinks.errors import Misconfigured, SinkError
from sinks.key_records import ApiKey, hash_of, id_of, new_text
from sinks.key_store import KeyStore
from sinks.records import iso
from stream.catalog import Catalog
from stream.durations import duration_ms
from stream.walltime import clock_ms
from streamgauge.cli_options import RunningCatalogOption, StateOption
from streamgauge.places import state_of
from streamgauge.preconditions import fail, load_catalog, load_settings, whoever
from streamgauge.settings import EXIT_CONFIGURATION, Settings, SettingsError, existing_person_key
from streamgauge.terminal import printable

app = typer.Typer(
    name="keys",
    help="API keys: made, listed and revoked.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_USAGE = 2


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, such as `wall in the hall`.")],
    catalog: RunningCatalogOption,
    role: Annotated[str | None, typer.Option("--role", help="viewer, analyst, operator or admin.")] = None,
    can: Annotated[
        str | None,
        typer.Option("--can", metavar="PERMISSION,…", help="Single permissions, besides those of a role: track, …"),
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option("--row", metavar="DIMENSION=VALUE,…", help="Only series with these values. May be repeated."),
    ] = None,
    person: Annotated[
        str | None,
        typer.Option("--person", metavar="USER_ID", help="Whose key it is, as events have them; a pseudonym is kept."),
    ] = None,
    expires: Annotated[str | None, typer.Option("--expires", metavar="TIME", help="In how long it ends: 90d.")] = None,
    state: StateOption = None,
) -> None:
    """Make a key and print it, once: what is stored is its hash.

    The key goes to standard output alone, all else to standard error. API processes know it at once.
    """
    from live_api.access.permissions import Permission, Role

    _, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    own_state = state_of(settings.state, loaded)
    if role is not None and role not in tuple(Role):
        fail(f"--role: expected one of {', '.join(Role)}; found {role!r}", _USAGE)
    permissions = tuple(filter(None, (one.strip() for one in (can or "").split(","))))
    for one in permissions:
        if one not in tuple(Permission):
            fail(f"--can: expected some of {', '.join(Permission)}; found {one!r}", _USAGE)
    if role is None and not permissions:
        fail("expected --role or --can: a key that may do nothing opens nothing", _USAGE)
    now_ms = clock_ms()
    text = new_text()
    key = ApiKey(
        id=id_of(text) or "",
        name=name,
        hash=hash_of(text),
        role=role,
        permissions=permissions,
        rows=_rows(loaded, row or []),
        person=None if person is None else _pseudonym(settings, own_state, person),
        created_ms=now_ms,
        expires_ms=None if expires is None else now_ms + _duration(expires),
    )
    with _store(settings, own_state) as (store, audit):
        # First: a key that nobody knows to be there is worse than an entry about one that is not.
        audit.write(Entry(now_ms, whoever(), Action.KEY_CREATED, f"key:{key.id}", f"{name}: {_may(key)}"))
        store.add(key)
    typer.echo(text)
    ends = "never ends" if key.expires_ms is None else f"ends {iso(key.expires_ms)}"
    typer.echo(f"key {key.id} ({printable(name)}): {_may(key)}; {ends}. It is not shown again.", err=True)


@app.command("list")
def list_keys(catalog: RunningCatalogOption, state: StateOption = None) -> None:
    """List all keys there have been, one a line: id, state, what it may, when it was made and used, name."""
    _, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    now_ms = clock_ms()
    with _store(settings, state_of(settings.state, loaded)) as (store, _):
        keys = store.all()
    for key in keys:
        if key.revoked_ms is not None:
            stands = f"revoked {_day(key.revoked_ms)}"
        elif not key.is_good(now_ms):
            stands = f"ended {_day(key.expires_ms)}"
        else:
            stands = "good" if key.expires_ms is None else f"good until {_day(key.expires_ms)}"
        used = "never used" if key.last_used_ms is None else f"used {iso(key.last_used_ms)[:16]}"
        typer.echo(f"{key.id}  {stands}  {_may(key)}  made {_day(key.created_ms)}, {used}  {printable(key.name)}")
    if not keys:
        typer.echo("there are no keys", err=True)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it; or the key itself.")],
    catalog: RunningCatalogOption,
    state: StateOption = None,
) -> None:
    """End a key, and the sessions that began with it: within 5 seconds in every API process."""
    _, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    wanted = id_of(key_id) or key_id
    with _store(settings, state_of(settings.state, loaded)) as (store, audit):
        if store.get(wanted) is None:
            fail("there is no such key; `streamgauge keys list` has all")
        if not store.revoke(wanted, clock_ms()):
            fail(f"key {wanted} was revoked before")
        # Behind it: it is to end even where nothing can be written down.
        audit.write(Entry(clock_ms(), whoever(), Action.KEY_REVOKED, f"key:{wanted}"))
    typer.echo(f"key {wanted} is revoked: no API process takes it after 5 s", err=True)


@contextmanager
def _store(settings: Settings, state: Path) -> Iterator[tuple[KeyStore, AuditStore]]:
    """The keys and the log; what is wrong with them ends the verb with a message."""
    try:
        if settings.database_url is None:
            state.mkdir(parents=True, exist_ok=True)
        store, audit = KeyStore(settings.store_url(state)), AuditStore(settings.store_url(state))
        try:
            store.setup()
            yield store, audit
        finally:
            store.close()
            audit.close()
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except (SinkError, OSError) as error:
        fail(str(error))


def _rows(catalog: Catalog, told: list[str]) -> dict[str, tuple[str, ...]]:
    known = {name for metric in catalog.every_metric for name in metric.by}
    rows: dict[str, tuple[str, ...]] = {}
    for one in told:
        dimension, sep, values = one.partition("=")
        if not sep or dimension not in known:
            fail(f"--row: expected DIMENSION=VALUE with one of {', '.join(sorted(known)) or 'none'}; found {one!r}", 2)
        rows[dimension] = (*rows.get(dimension, ()), *(value.strip() for value in values.split(",")))
    return rows


def _pseudonym(settings: Settings, state: Path, person: str) -> str:
    from stream.enrich import Pseudonyms

    try:
        return Pseudonyms(existing_person_key(settings, state)).of(person)
    except SettingsError as error:
        fail(str(error), EXIT_CONFIGURATION)
    except OSError as error:
        fail(f"--person: no key of pseudonyms yet ({error}); the processor makes it on its first start")


def _duration(text: str) -> int:
    try:
        return duration_ms(text)
    except ValueError as error:
        fail(f"--expires: {error}", _USAGE)


def _may(key: ApiKey) -> str:
    mays = ",".join(([key.role] if key.role else []) + list(key.permissions))
    rows = " ".join(f"{name}={','.join(values)}" for name, values in key.rows.items())
    return f"{mays} of {rows}" if rows else mays


def _day(at_ms: int | None) -> str:
    return "" if at_ms is None else iso(at_ms)[:10]
