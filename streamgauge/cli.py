"""The command line: every verb reads its settings here and hands plain values on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from valkey.exceptions import ValkeyError

from sinks.errors import Misconfigured, SinkError
from stream.catalog import load
from stream.problems import CatalogError
from stream.snapshots import StateError
from streamgauge import (
    __version__,
    cli_archive,
    cli_backtest,
    cli_compute,
    cli_deadletter,
    cli_forget,
    cli_grafana,
    cli_health,
    cli_influx,
    cli_keys,
    cli_operate,
    cli_retention,
    cli_sql,
    cli_webhooks,
    logs,
)
from streamgauge.cli_options import CatalogOption, StateOption
from streamgauge.places import find_catalog, state_of
from streamgauge.preconditions import (
    fail,
    load_catalog,
    load_settings,
    other_catalogs,
    state_directory,
    stop_event,
    valkey_address,
)
from streamgauge.settings import EXIT_CONFIGURATION, SettingsError

app = typer.Typer(
    name="streamgauge",
    help="Live metrics from Valkey streams: declared in a catalog, exact, and on a wall within a quarter of a second.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

app.add_typer(cli_archive.app)
app.add_typer(cli_deadletter.app)
app.add_typer(cli_backtest.app)
app.add_typer(cli_webhooks.app)
app.add_typer(cli_retention.app)
app.add_typer(cli_influx.app)
app.add_typer(cli_keys.app)
app.command()(cli_compute.compute)
app.command()(cli_sql.sql)
app.command()(cli_forget.forget)
app.command()(cli_grafana.grafana)
app.command()(cli_health.health)
app.command()(cli_operate.doctor)
app.command()(cli_operate.top)

ProcessesOption = Annotated[
    int, typer.Option("--processes", "-n", min=1, max=16, help="Processes of the processor, on this machine.")
]
FilesArgument = Annotated[
    list[Path],
    typer.Argument(metavar="FILE…", help="Event files: .ndjson, .json (one event a line), .csv, each also as .gz"),
]


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Add a simulated food-sharing community as producer.")] = False,
    catalog: Annotated[
        str | None,
        typer.Option("--catalog", "-c", metavar="FILE", help="Catalog file, or the name of a ready one."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", min=1, max=65535, help="Port of the wallboard and API [8000].")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on [127.0.0.1].")] = None,
    state: StateOption = None,
    rate: Annotated[float, typer.Option("--rate", help="Events a second of the demo, averaged over a week.")] = 100.0,
    processes: ProcessesOption = 1,
) -> None:
    """Run everything with one command: an embedded Valkey server, the processor, the API and the wallboard.

    Open http://127.0.0.1:8000/ and send events with `XADD 'events:{0}' '*' data '{…}'` to the address it prints, or
    add `--demo`. Ctrl-C stops all parts; state is kept, and the next `up` goes on where this one ended. When VALKEY_URL
    is set, that server is used and none is started.
    """
    from streamgauge.embedded import PortTaken
    from streamgauge.up import Demo, UpError
    from streamgauge.up import up as run_up

    logs.bind("up")
    path, loaded = load_catalog(catalog or ("food_sharing" if demo else "events"))
    settings = load_settings(port=port, host=host, state=state)
    try:
        own_state = state_of(settings.state, loaded)
        status = run_up(path, loaded, settings, own_state, Demo(rate, 600.0) if demo else None, processes)
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except (PortTaken, SinkError, UpError, OSError) as error:
        fail(str(error))
    raise typer.Exit(status)


@app.command()
def run(
    catalog: CatalogOption,
    state: StateOption = None,
    trim: Annotated[
        bool, typer.Option("--trim", help="Trim entries from the streams once they are in two saved snapshots.")
    ] = False,
    processes: ProcessesOption = 1,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="HOST:PORT,…", help="Where the members of a cluster reach each other."),
    ] = None,
    member: Annotated[int | None, typer.Option("--member", min=0, help="Which of them this is, from 0.")] = None,
    supervised: Annotated[str | None, typer.Option("--supervised", hidden=True)] = None,
) -> None:
    """Run the processor: read the catalog's streams from VALKEY_URL, write points to every sink that is set.

    SIGTERM ends it with everything saved and exit status 0; after any other end, even `kill -9`, it goes on from its
    last snapshot and loses nothing. Sinks: the live stream and the store always, InfluxDB when INFLUX_URL is set.


    `--processes N` counts with N processes on this machine: they are ended together, and started again together when
    one fails. Over several machines, start one with `--cluster HOST:PORT,HOST:PORT,… --member I` on each, with the same
    catalog and settings; members count from 0. The number may change from one start to the next.
    """
    logs.bind("processor", member)
    path, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    addresses = _members(cluster, member, processes)
    own_state = state_directory(settings, loaded)
    valkey_address(settings)
    try:
        if not addresses and processes == 1:
            from streamgauge.processor import run_processor

            status = run_processor(loaded, settings, own_state, trim=trim)
        else:
            from streamgauge.cluster import run_machine, run_member, run_processes

            if not addresses:
                status = run_processes(path, loaded, settings, own_state, trim=trim, n=processes)
            elif supervised is None:
                status = run_machine(path, settings, own_state, trim=trim, addresses=addresses, number=member or 0)
            else:
                status = run_member(
                    loaded, settings, own_state, trim=trim, addresses=addresses, number=member or 0, kind=supervised
                )
    except (Misconfigured, SettingsError, StateError) as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(str(error))
    raise typer.Exit(status)


@app.command()
def serve(
    catalog: CatalogOption,
    port: Annotated[
        int | None, typer.Option("--port", "-p", min=1, max=65535, help="Port to listen on [8000].")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on [127.0.0.1].")] = None,
    state: StateOption = None,
    processes: Annotated[
        int, typer.Option("--processes", "-n", min=1, max=64, help="Processes of the API, on this machine.")
    ] = 1,
    own_ports: Annotated[
        bool, typer.Option("--own-ports", help="Process i on port + i, instead of all on one port.")
    ] = False,
    number: Annotated[int | None, typer.Option("--number", hidden=True)] = None,
) -> None:
    """Run the API: wallboard at /, live numbers at /v1/ws and /v1/live, history at /v1/points, /docs for the rest.

    Reads the live stream from VALKEY_URL and history from the store (DATABASE_URL, else SQLite in the state directory).
    Any number of these may run beside one processor. `--processes N` runs N of them on one port, among which the kernel
    shares out the connections; with `--own-ports` on N ports in a row, for a load balancer that knows better.
    """
    from streamgauge.embedded import PortTaken
    from streamgauge.serving import serve_many, serve_one

    logs.bind("api", number)
    path, loaded = load_catalog(catalog)
    settings = load_settings(port=port, host=host, state=state)
    own_state = state_directory(settings, loaded)
    try:
        if number is not None:
            raise typer.Exit(serve_one(loaded, settings, own_state, number=number, shared=not own_ports))
        if processes > 1:
            status = serve_many(path, settings, own_state, processes, own_ports=own_ports)
            raise typer.Exit(status)
        raise typer.Exit(serve_one(loaded, settings, own_state))
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except (SinkError, PortTaken) as error:
        fail(str(error))


@app.command()
def deliver(
    catalog: CatalogOption,
    state: StateOption = None,
    pace: Annotated[str | None, typer.Option("--pace", hidden=True)] = None,
) -> None:
    """Send what the processor has to say of alerts to the catalog's webhooks: signed, retried, in order.

    Reads the outbox at VALKEY_URL. Any number of these may run: to each endpoint one of them delivers, and another goes
    on where it ended. SIGTERM ends it within 5 s; what was not delivered is after the next start.
    """
    from streamgauge.delivering import pace_of, run_deliver

    logs.bind("deliver")
    _, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    own_state = state_directory(settings, loaded)
    try:
        status = run_deliver(loaded, settings, own_state, valkey_address(settings), pace_of(pace))
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(str(error))
    raise typer.Exit(status)


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Catalog files or ready ones' names.")],
) -> None:
    """Validate catalogs. Says for each error the file, the key, what was expected and what was found.

    For a valid catalog it lists fields with their types, metrics and boards. Exit status 1 when any is invalid.
    """
    from stream.bounds import notes
    from stream.durations import DAY_MS
    from stream.plan import compile_plan

    valid = True
    for name in files:
        try:
            loaded = load(find_catalog(name))
        except CatalogError as error:
            typer.echo(f"{error}{other_catalogs(find_catalog(name))}", err=True)
            valid = False
            continue
        fields = ", ".join(f"{field} {kind}" for field, kind in loaded.field_types.items())
        streams = "1 stream" if len(loaded.platform.streams) == 1 else f"{len(loaded.platform.streams)} streams"
        typer.echo(f"{name}: valid; {len(loaded.metric)} metrics over {streams}")
        typer.echo(f"  fields: {fields or 'none'}")
        for metric in loaded.metric:
            by = f" by {', '.join(metric.by)}" if metric.by else ""
            typer.echo(f"  {metric.name}: {metric.measure}{by}, windows {', '.join(metric.windows)}")
        for rule in loaded.anomaly:
            limits = ", ".join(f"{severity} {limit}" for severity, limit in rule.severity.items()) or "its own limits"
            typer.echo(f"  rule {rule.called}: {rule.detector} on {rule.metric}@{rule.window}, {limits}")
        for one in loaded.forecast:
            typer.echo(f"  forecast {one.called}: {', '.join(str(ahead) for ahead in one.ahead)} windows ahead")
        if loaded.churn is not None:
            days = loaded.churn.active_ms // DAY_MS
            inputs = len(loaded.churn.inputs())
            typer.echo(f"  churn: who leaves for {loaded.churn.horizon}, of people of {days} days, by {inputs} inputs")
        for board in loaded.board:
            typer.echo(f"  board {board.name}: {len(board.tile)} tiles, {', '.join(tile.type for tile in board.tile)}")
        for webhook in loaded.webhook:
            typer.echo(f"  webhook {webhook.endpoint}: {webhook.format}, from {webhook.severity} on")
        for note in notes(compile_plan(loaded)):
            typer.echo(f"  note: {note}")
    raise typer.Exit(0 if valid else 1)


@app.command()
def replay(
    files: FilesArgument,
    catalog: CatalogOption,
    rate: Annotated[float | None, typer.Option("--rate", min=0.001, help="Events a second.")] = None,
    speed: Annotated[
        float | None, typer.Option("--speed", min=0.000001, help="Times as fast as it happened, by event time.")
    ] = None,
    fastest: Annotated[bool, typer.Option("--max", help="As fast as the server takes them; the default.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Send event files to the catalog's streams at VALKEY_URL, as a producer would.

    Every line is sent as it is, broken ones too: refusing them is the processor's work. Ctrl-C ends it between two
    batches and says how many were sent. When the server is full it waits and goes on.
    """
    import valkey

    from streamgauge.files import FileError
    from streamgauge.replay import Pace
    from streamgauge.replay import replay as send

    if sum((rate is not None, speed is not None, fastest)) > 1:
        fail("choose one of --rate, --speed and --max")
    _, loaded = load_catalog(catalog)
    client = valkey.Valkey.from_url(valkey_address(load_settings()), socket_timeout=10)
    stopping = stop_event()
    try:
        sent = send(loaded, files, client, Pace(rate=rate, speed=speed), stopped=stopping.wait, quiet=quiet)
    except FileError as error:
        fail(str(error))
    except ValkeyError as error:
        fail(f"VALKEY_URL: {error}")
    typer.echo(f"sent {sent:,} events{' (stopped)' if stopping.is_set() else ''}", err=True)


@app.command()
def tail(
    metric: Annotated[str | None, typer.Argument(help="Only this metric.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Whole points as JSON.")] = False,
    influx: Annotated[bool, typer.Option("--influx", help="As they come to InfluxDB and change there.")] = False,
    catalog: cli_influx.TailCatalogOption = None,
    every: cli_influx.EveryOption = 2.0,
) -> None:
    """Print points as they arrive from the processor, one line each. Ctrl-C ends it.

    With `--influx` they are read from InfluxDB at INFLUX_URL, with Flux or, where that has none, with InfluxQL: each
    once, and again when it changed.
    """
    import valkey

    if influx:
        cli_influx.tail_influx(metric, catalog, as_json=as_json, every_s=every)
        return
    if catalog is not None:
        fail("--catalog goes with --influx: the live stream says itself what is in it", 2)

    from streamgauge.tail import tail as follow

    client = valkey.Valkey.from_url(valkey_address(load_settings()), socket_timeout=10)
    stopping = stop_event()
    try:
        follow(client, metric, sys.stdout, as_json=as_json, stopped=stopping.is_set)
    except BrokenPipeError:
        sys.stdout = None
    except ValkeyError as error:
        fail(f"VALKEY_URL: {error}")


@app.command()
def reload(
    catalog: CatalogOption,
    within: Annotated[float, typer.Option("--within", min=0, max=3600, help="Seconds over which they do.")] = 30.0,
) -> None:
    """Have every wallboard that is open load itself anew, each at a random moment: after new boards, say.

    A new version of the front end needs no such word: pages notice it when they reconnect.
    """
    import valkey

    from sinks.errors import SinkError
    from sinks.live import LiveSink
    from stream.walltime import clock_ms

    _, loaded = load_catalog(catalog)
    client = valkey.Valkey.from_url(valkey_address(load_settings()), socket_timeout=10)
    try:
        LiveSink(client, platform=loaded.platform.name).reload(int(within * 1_000), now_ms=clock_ms())
    except SinkError as error:
        fail(str(error))
    typer.echo(f"told all pages of {loaded.platform.name} to load themselves anew within {within:g} s")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command(hidden=True)
def simulate(
    catalog: CatalogOption,
    rate: Annotated[float, typer.Option("--rate")] = 100.0,
    history: Annotated[float, typer.Option("--history", help="Seconds of the past to begin with.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed")] = 7,
) -> None:
    """Send a simulated food-sharing community's events to the catalog's streams."""
    logs.bind("demo")
    import valkey

    from streamgauge.demo.food_sharing import FoodSharing
    from streamgauge.demo.producer import produce

    _, loaded = load_catalog(catalog)
    client = valkey.Valkey.from_url(valkey_address(load_settings()), socket_timeout=5)
    stopping = stop_event()
    produce(
        client,
        loaded.platform.streams,
        # So many that each does no more in a visit than people do.
        FoodSharing(seed, rate, loaded.platform.timezone, people=max(4_000, round(200 * rate))),
        sleep=stopping.wait,
        stop=stopping.is_set,
        history_s=history,
    )


def main() -> None:
    """The `streamgauge` command."""
    logs.begin()
    app()


def _members(cluster: str | None, member: int | None, processes: int) -> tuple[str, ...]:
    """The addresses of `--cluster`; none without it."""
    from streamgauge.cluster import parse_addresses

    if cluster is None and member is None:
        return ()
    if cluster is None or member is None:
        fail("--cluster and --member go together: where all members are, and which of them this is", 2)
    if processes > 1:
        fail("--processes is for one machine, --cluster for several: choose one", 2)
    try:
        addresses = parse_addresses(cluster)
    except ValueError as error:
        fail(f"--cluster: {error}", 2)
    if member >= len(addresses):
        fail(f"--member: expected 0 to {len(addresses) - 1}, as there are {len(addresses)} members; found {member}", 2)
    return addresses
