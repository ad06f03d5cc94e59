"""The verbs of `streamgauge influx`, and `tail --influx`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from sinks.errors import Misconfigured, SinkError
from stream.catalog import Catalog
from stream.walltime import clock_ms
from streamgauge.influx_places import TOP_K, InfluxPlace, place_of, written_metrics
from streamgauge.preconditions import fail, load_catalog, load_settings, stop_event
from streamgauge.settings import EXIT_CONFIGURATION

app = typer.Typer(
    name="influx",
    help="InfluxDB: make the buckets and a token for a catalog, and check that what it gives can be written.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

CatalogOption = Annotated[
    str,
    typer.Option(
        "--catalog", "-c", metavar="FILE", help="The catalog whose points are written, or a ready one's name."
    ),
]

TailCatalogOption = Annotated[
    str | None,
    typer.Option(
        "--catalog", "-c", metavar="FILE", help="With --influx: read no more of the past than it lets change."
    ),
]
EveryOption = Annotated[
    float, typer.Option("--every", min=0.1, max=3600, help="With --influx: seconds between two looks.")
]


@app.command("bootstrap")
def bootstrap(
    catalog: CatalogOption,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Keep the new token here, for its owner alone to read."),
    ] = None,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make another token although there is one: that one was lost, say.")
    ] = False,
) -> None:
    """Make what a catalog needs in InfluxDB 2: organisation, three buckets that keep points as long as `[keep.bucket]`
    says, and a token that may write and read these and nothing else.

    Needs INFLUX_URL, and in INFLUX_ADMIN_TOKEN a token that may do so. What is there stays, how long a bucket keeps
    points is corrected, and a second run changes nothing. Standard output gets the settings for the processor, as
    `NAME=value`; everything else goes to standard error. InfluxDB shows a token when it is made and never again, and
    so does this.
    """
    from streamgauge.influx_bootstrap import bootstrap as make
    from streamgauge.influx_bootstrap import needs_no_buckets
    from streamgauge.influx_server import Http, Kind, client_of, look

    _, loaded = load_catalog(catalog)
    settings = load_settings()
    if token_file is not None and not dry_run and token_file.exists() and token_file.stat().st_size:
        fail(f"{token_file}: is there already, and a token in it may be in use; choose another file")
    try:
        place = place_of(settings, token=settings.influx_admin_token.get_secret_value(), apart=True)
        server = look(Http(place))
        if server.kind is not Kind.INFLUX2:
            fail(f"{server} at {place.url}: {needs_no_buckets(server, place, loaded)}", EXIT_CONFIGURATION)
        if not place.token:
            message = "INFLUX_ADMIN_TOKEN is not set: a token that may make buckets and tokens, such as the one that"
            fail(f"{message} `influx setup` printed", EXIT_CONFIGURATION)
        with client_of(place) as client:
            outcome = make(client, place, loaded, _say, dry_run=dry_run, new_token=new_token)
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(str(error))
    _say(_in_all(outcome.changes, dry_run))
    if not dry_run:
        _print_settings(place, outcome.token, token_file)


@app.command("check")
def check(catalog: CatalogOption) -> None:
    """Write a point to each bucket in use, read it back, and say what is there and what does not fit the catalog.

    Uses INFLUX_URL, INFLUX_TOKEN, INFLUX_ORG and the buckets as the processor does. Exit status 1 when something is
    wrong, 78 when a setting is.
    """
    from streamgauge.influx_check import Finding, Level
    from streamgauge.influx_check import check as look_through
    from streamgauge.influx_server import Http, client_of

    _, loaded = load_catalog(catalog)
    wrong = 0

    def tell(finding: Finding) -> None:
        nonlocal wrong
        wrong += finding.level is Level.WRONG
        typer.echo(f"{finding.level.value:<5}  {finding.about}: {finding.text}")

    try:
        place = place_of(load_settings())
        with client_of(place) as client:
            look_through(place, loaded, Http(place), client, tell, clock_ms())
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(str(error))
    raise typer.Exit(1 if wrong else 0)


def tail_influx(metric: str | None, catalog: str | None, *, as_json: bool, every_s: float) -> None:
    """Print points of a metric, or of all, as they come to InfluxDB or change there, until SIGINT or SIGTERM."""
    from streamgauge.influx_rows import reader_of
    from streamgauge.influx_server import Http, client_of, look
    from streamgauge.influx_tail import Follower, follow, reaches

    loaded = None if catalog is None else load_catalog(catalog)[1]
    if loaded is not None and metric is not None:
        _refuse_unwritten(metric, loaded)
    stopping = stop_event()
    try:
        place = place_of(load_settings())
        http = Http(place)
        with client_of(place) as client:
            reader = reader_of(look(http), place, http, client)
            follower = Follower(reader, reaches(place, metric, loaded), metric)
            follow(follower, sys.stdout, as_json=as_json, wait=lambda: stopping.wait(every_s), clock=clock_ms)
    except BrokenPipeError:
        sys.stdout = None
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(str(error))


def _refuse_unwritten(metric: str, catalog: Catalog) -> None:
    if any(metric == one.name for one in written_metrics(catalog)):
        return
    found = next((one for one in catalog.every_metric if one.name == metric), None)
    if found is None:
        fail(f"no metric {metric!r} in this catalog; expected one of "
             f"{', '.join(one.name for one in written_metrics(catalog))}", 2)  # fmt: skip
    why = "a top_k" if found.measure == TOP_K else "it has no window that ends"
    fail(f"{metric} is not in InfluxDB: {why}", 2)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _in_all(changes: int, dry_run: bool) -> str:
    if not changes:
        return "nothing to do: all is there"
    things = "1 thing" if changes == 1 else f"{changes} things"
    return f"{things} to do; nothing was changed" if dry_run else f"{things} done"


def _print_settings(place: InfluxPlace, token: str | None, token_file: Path | None) -> None:
    """The settings of a processor that writes there."""
    names = ("INFLUX_BUCKET", "INFLUX_BUCKET_HOURLY", "INFLUX_BUCKET_DAILY")
    values = {"INFLUX_URL": place.url, "INFLUX_ORG": place.org}
    values |= dict(zip(names, place.buckets.values(), strict=True))
    for name, value in values.items():
        typer.echo(f"{name}={shlex.quote(value)}")
    if token is None:
        return
    if token_file is not None:
        try:
            # For its owner alone from the start.
            descriptor = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{token}\n")
            _say(f'the token is in {token_file}: set INFLUX_TOKEN="$(cat {shlex.quote(str(token_file))})"')
            return
        except OSError as error:
            # It exists by now, and nobody would ever see it again.
            _say(f"{token_file}: {error.strerror or error}; so here it is")
    typer.echo(f"INFLUX_TOKEN={shlex.quote(token)}")
    _say("InfluxDB does not show this token again: keep it where you keep secrets, or pass --token-file next time")
