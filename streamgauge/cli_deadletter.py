"""The verbs of `streamgauge deadletter`: what an operator does about refused events."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
import valkey
from valkey.exceptions import ValkeyError

from sinks.deadletter import DeadLetters
from sinks.errors import Misconfigured, SinkError
from sinks.records import Reason
from streamgauge import deadletters
from streamgauge.deadletters import Kinds, Selection, moment_ms, place_of
from streamgauge.preconditions import fail, load_catalog, load_settings, stop_event, valkey_address
from streamgauge.progress import progress_bar
from streamgauge.settings import EXIT_CONFIGURATION

_EXIT_USAGE = 2

app = typer.Typer(
    name="deadletter",
    help="Refused events: see why, send them back once the reason is gone, or delete them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

ReasonOption = Annotated[
    list[Reason] | None,
    typer.Option("--reason", "-r", metavar="REASON", help="Only letters with this reason; may be repeated."),
]
StreamOption = Annotated[
    list[str] | None,
    typer.Option("--stream", "-s", metavar="STREAM", help="Only of this stream or sink; may be repeated."),
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only refused since then: 90s, 1h, 7d ago, or 2026-01-31T03:00Z."),
]
BeforeOption = Annotated[
    str | None, typer.Option("--before", metavar="TIME", help="Only refused before then, spelled as for --since.")
]
IdOption = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="ENTRY", help="Only this event, as `list` prints it; may be repeated."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be done.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; without a terminal nobody is asked anyway.")]


@app.command("list")
def list_(
    reason: ReasonOption = None,
    stream: StreamOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    id_: IdOption = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=0, help="The newest so many; 0 for all.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Whole letters, one JSON object a line.")] = False,
    count: Annotated[bool, typer.Option("--count", help="How many there are, by reason and stream, instead.")] = False,
) -> None:
    """Print refused events, the newest last: when and why, where they came from, and how their bytes begin.

    What producers sent is printed so that no terminal obeys it. It may name people.
    """
    with _letters() as (_, letters, now_ms):
        selection = _selection(reason, stream, since, before, id_, now_ms)
        if count:
            with progress_bar() as bar:
                kinds = deadletters.count(letters, selection, bar)
            for row in (deadletters.json_table if as_json else deadletters.table)(kinds):
                typer.echo(row)
            if not as_json:
                typer.echo(f"{kinds.total():,} dead letter{'' if kinds.total() == 1 else 's'}")
        elif deadletters.write_list(letters, selection, sys.stdout, limit=limit, as_json=as_json):
            typer.echo(f"older ones are not shown: --limit {limit}", err=True)


@app.command("replay")
def replay(
    catalog: Annotated[
        str,
        typer.Option(
            "--catalog", "-c", metavar="FILE", help="The catalog the processor runs with now, or a ready one's name."
        ),
    ],
    reason: ReasonOption = None,
    stream: StreamOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    id_: IdOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Send refused events back into the streams they came from, once the catalog takes them, at VALKEY_URL.

    What the catalog would refuse again stays where it is, and so do events of streams it does not read, and lines that
    a database refused. An event keeps its time: where that was the time of its entry, it is written into the event. A
    letter is removed only after its event was added; after a crash in between some may be sent twice, none is lost.
    Ctrl-C ends it between two pages.
    """
    from streamgauge.resend import Resender, report, resend

    _, loaded = load_catalog(catalog)
    with _letters() as (client, letters, now_ms):
        selection = _selection(reason, stream, since, before, id_, now_ms)
        if dry_run or (not yes and _is_asked()):
            trial = Resender(loaded)
            with progress_bar() as bar:
                resend(client, letters, selection, trial, bar, now_ms=now_ms, stopped=lambda _: False, dry_run=True)
            _echo(report(trial, done=False))
            if dry_run or not trial.resent.sent:
                return
            _ask("Send them back?")
        resender = Resender(loaded)
        stopping = stop_event()
        try:
            with progress_bar() as bar:
                resend(client, letters, selection, resender, bar, now_ms=now_ms, stopped=stopping.wait)
        finally:
            # Also when the server went away half-way.
            _echo(report(resender, done=True))
        if stopping.is_set():
            typer.echo("(stopped)", err=True)


@app.command("purge")
def purge(
    reason: ReasonOption = None,
    stream: StreamOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    id_: IdOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them: what it takes without any filter.")] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Delete refused events for good, and say how many. Without a filter it takes `--all`."""
    if everything == any(given for given in (reason, stream, since, before, id_)):
        fail("say which: --reason, --stream, --since, --before, --id; or --all for every dead letter", _EXIT_USAGE)
    with _letters() as (_, letters, now_ms):
        selection = _selection(reason, stream, since, before, id_, now_ms)
        if dry_run or (not yes and _is_asked()):
            with progress_bar() as bar:
                kinds = deadletters.count(letters, selection, bar)
            _echo([f"to be deleted: {kinds.total():,}", *(f"  {row}" for row in deadletters.table(kinds))])
            if dry_run or not kinds:
                return
            _ask("Delete them for good?")
        purged: Kinds = Kinds()
        stopping = stop_event()
        try:
            with progress_bar() as bar:
                deadletters.purge(letters, selection, purged, bar, stopped=stopping.is_set)
        finally:
            stopped = " (stopped)" if stopping.is_set() else ""
            _echo([f"deleted {purged.total():,}{stopped}", *(f"  {row}" for row in deadletters.table(purged))])


@contextmanager
def _letters() -> Iterator[tuple[valkey.Valkey, DeadLetters, int]]:
    """The server, its letters, and its time in epoch milliseconds, as the ids of letters have it. Its errors end the
    verb with a message."""
    client = valkey.Valkey.from_url(valkey_address(load_settings()), socket_timeout=10)
    try:
        now: Any = client.time()
        yield client, DeadLetters(client), now[0] * 1_000 + now[1] // 1_000
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has seen enough; nothing may be flushed at exit either.
        sys.stdout = None
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(str(error))
    except ValkeyError as error:
        fail(f"VALKEY_URL: {error}")
    finally:
        client.close()


def _selection(
    reasons: list[Reason] | None,
    streams: list[str] | None,
    since: str | None,
    before: str | None,
    ids: list[str] | None,
    now_ms: int,
) -> Selection:
    option = ""
    try:
        option = "--since"
        since_ms = None if since is None else moment_ms(since, now_ms)
        option = "--before"
        before_ms = None if before is None else moment_ms(before, now_ms)
        option = "--id"
        places = frozenset(map(place_of, ids or ()))
    except ValueError as error:
        fail(f"{option}: {error}", _EXIT_USAGE)
    return Selection(frozenset(reasons or ()), frozenset(streams or ()), since_ms, before_ms, places)


def _is_asked() -> bool:
    """Whether there is somebody who can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: str) -> None:
    if not typer.confirm(question, err=True):
        typer.echo("nothing was done", err=True)
        raise typer.Exit(1)


def _echo(lines: Iterator[str] | list[str]) -> None:
    for line in lines:
        typer.echo(line, err=True)
