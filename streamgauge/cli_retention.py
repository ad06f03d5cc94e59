"""The verbs of `streamgauge retention`: what the catalog's `[keep]` lets go of."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.walltime import clock_ms
from streamgauge.cli_options import RunningCatalogOption, StateOption
from streamgauge.places import state_of
from streamgauge.preconditions import load_catalog, load_settings

app = typer.Typer(
    name="retention",
    help="For how long things are kept: the catalog's `[keep]`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.callback()
def _group() -> None:
    """A group even while it has one verb."""


@app.command()
def apply(
    catalog: RunningCatalogOption,
    state: StateOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would go; change nothing.")] = False,
    by_clock: Annotated[
        bool,
        typer.Option("--by-clock", help="Measure points, alerts and the archive from now, not from the latest events."),
    ] = False,
) -> None:
    """Delete what is older than `[keep]` says, everywhere: streams, dead letters, store, alerts, archive, buckets.

    From a stream goes only what every consumer group has read, the processor's own among them. Streams and dead letters
    are measured by the server's clock; points, alerts and archived days by the events, so that a replay of old files is
    not deleted at once. A place that cannot be reached is an error of its own: the others are done, and the exit status
    is 1.
    """
    from streamgauge.retention import Keeper

    _, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    now_ms = clock_ms()
    keeper = Keeper(loaded, settings, state_of(settings.state, loaded), dry_run, now_ms if by_clock else None, now_ms)
    if not keeper.apply(typer.echo, lambda text: typer.echo(text, err=True)):
        raise typer.Exit(1)
