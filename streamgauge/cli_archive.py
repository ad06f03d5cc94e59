"""`streamgauge archive`: looking after the files of archived events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from sinks.errors import Misconfigured, SinkError
from stream.durations import duration_ms
from stream.walltime import clock_ms
from streamgauge.cli_options import RunningCatalogOption, StateOption
from streamgauge.places import state_of
from streamgauge.preconditions import fail, load_catalog, load_settings
from streamgauge.settings import EXIT_CONFIGURATION, archive_url
from streamgauge.terminal import printable

app = typer.Typer(name="archive", help="Look after the files of archived events.", no_args_is_help=True)


@app.callback()
def archive() -> None:
    """Look after the files of archived events."""


@app.command()
def compact(
    catalog: RunningCatalogOption,
    state: StateOption = None,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="DURATION", help="How long a day is over before it is touched.")
    ] = "1d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be joined, and change nothing.")] = False,
) -> None:
    """Join the small files of days that are over into larger ones.

    The processor may run, and files may be read: what is replaced is deleted once its successor is there as a whole.
    Ended at any point, the next run finishes it.
    """
    from sinks.archive_compact import compact as join_files
    from sinks.archive_compact import plan, remove_abandoned
    from sinks.archive_place import open_place
    from streamgauge.archive_forgetting import changing

    _, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    own_state = state_of(settings.state, loaded)
    try:
        over_ms = 0 if older_than == "0" else duration_ms(older_than)
    except ValueError as error:
        fail(f"--older-than: {error}", EXIT_CONFIGURATION)
    last = datetime.fromtimestamp((clock_ms() - over_ms) / 1_000, UTC).date() - timedelta(days=1)
    try:
        place = open_place(archive_url(settings, own_state))
        with changing(own_state):
            wanted = plan(place, last)
            before = sum(map(len, wanted.groups))
            if dry_run:
                for group in wanted.groups:
                    size = sum(file.size_bytes for file in group)
                    typer.echo(f"{printable(group[0].directory)}: {len(group):,} files, {size / 1e6:,.1f} MB, into one")
                typer.echo(f"{before:,} files would become {len(wanted.groups):,}; nothing was changed")
                return
            after = 0
            for first, made in join_files(place, wanted):
                after += made
                typer.echo(f"{printable(first.directory)}: {made:,} {'file' if made == 1 else 'files'}", err=True)
            remove_abandoned(place)
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(str(error))
    left = f", {len(wanted.leftovers):,} of before deleted" if wanted.leftovers else ""
    typer.echo(f"{before:,} files have become {after:,}{left}")
