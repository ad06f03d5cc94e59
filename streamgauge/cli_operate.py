"""The verbs of whoever keeps a deployment running: `doctor` and `top`."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from stream.walltime import clock_ms
from streamgauge.cli_options import StateOption
from streamgauge.preconditions import fail, load_catalog, load_settings, stop_event
from streamgauge.redaction import REDACTED
from streamgauge.settings import EXIT_CONFIGURATION

if TYPE_CHECKING:
    from streamgauge.top import Look


def doctor(
    catalog: Annotated[
        str | None,
        typer.Option("--catalog", "-c", metavar="FILE", help="The catalog that runs, or a ready one's name."),
    ] = None,
    state: StateOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="All findings, as one JSON document.")] = False,
    brief: Annotated[bool, typer.Option("--brief", "-q", help="Leave out what is well.")] = False,
) -> None:
    """Check a deployment: servers, disks, the parts that run, who can reach them, what was refused.

    For each finding: what there is, what it means, what to do. Reads only, and shows no secret. Exit status 1 when
    there is a problem, else 0. Run it where the parts run, with their settings and catalog.
    """
    from streamgauge.doctor.checks import examine
    from streamgauge.doctor.findings import Deployment, Level

    loaded = None if catalog is None else load_catalog(catalog)[1]
    settings = load_settings(state=state, quiet=True)
    found = list(examine(Deployment(settings, loaded, os.environ, clock_ms())))
    worst = max((one.level for _, one in found), default=Level.OK)
    if as_json:
        rows = [
            {"check": name, "level": one.level.word, "found": one.found, "means": one.means, "do": one.do}
            for name, one in found
        ]
        said = {"worst": worst.word, "findings": [{key: REDACTED(text) for key, text in row.items()} for row in rows]}
        typer.echo(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode())
        raise typer.Exit(1 if worst is Level.PROBLEM else 0)
    colours = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.PROBLEM: "red"}
    for name, one in found:
        if brief and one.level is Level.OK:
            continue
        typer.echo(f"{typer.style(f'{one.level.word:<8}', fg=colours[one.level])} {name:<13} {REDACTED(one.found)}")
        for word, text in (("means", one.means), ("do", one.do)):
            if text:
                typer.echo(f"{'':<23}{word}: {REDACTED(text)}")
    counts = ", ".join(f"{level.word}: {sum(one.level is level for _, one in found)}" for level in reversed(Level))
    typer.echo(counts)
    raise typer.Exit(1 if worst is Level.PROBLEM else 0)


def top(
    catalog: Annotated[
        str | None,
        typer.Option("--catalog", "-c", metavar="FILE", help="Finds the server that `up` has started with it."),
    ] = None,
    state: StateOption = None,
    once: Annotated[bool, typer.Option("--once", help="One screen, of a second, and no more.")] = False,
) -> None:
    """Show how all parts are doing, each second: lag, rates, freshness, processes, sinks, clients, webhooks.

    Reads `/metrics` of the parts, at the ports that are set, and the live stream at VALKEY_URL. A part that does not
    answer is said to be not reachable. Without a terminal, one screen below the other. Ctrl-C ends it.
    """
    import valkey
    from rich.console import Console
    from rich.live import Live

    from streamgauge.doctor.findings import Deployment
    from streamgauge.top import draw, follow, look

    loaded = None if catalog is None else load_catalog(catalog)[1]
    settings = load_settings(state=state)
    url = Deployment(settings, loaded, os.environ, clock_ms()).valkey_url
    try:
        client = None if url is None else valkey.Valkey.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    except ValueError as error:
        fail(f"VALKEY_URL: {error}", EXIT_CONFIGURATION)
    stopping = stop_event()

    def ask() -> Look:
        return look(settings, client, time.time())

    console = Console(width=None if sys.stdout.isatty() else 110)
    if once:
        first = ask()
        stopping.wait(1.0)
        console.print(draw(ask(), first))
    elif console.is_terminal:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            follow(ask, lambda screen: live.update(screen, refresh=True), stopping.wait)
    else:
        follow(ask, console.print, stopping.wait)
