"""`streamgauge compute`: the catalog over files, or over the archive, as its user types it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Protocol

import typer

from sinks.base import Sink
from sinks.errors import Misconfigured, SinkError
from sinks.records import Point, iso
from stream.catalog import Catalog
from streamgauge.cli_options import CatalogOption, StateOption
from streamgauge.places import state_of
from streamgauge.preconditions import fail, load_catalog, load_settings
from streamgauge.settings import EXIT_CONFIGURATION, Settings, SettingsError

_USAGE, _INTERRUPTED = 2, 130
_DESTINATIONS = ("store", "influx")


class _Target(Protocol):
    def write(self, points: Sequence[Point]) -> None: ...


def compute(
    catalog: CatalogOption,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE…]", help="Event files: .ndjson, .json (one event a line), .csv, each also as .gz"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write here: .parquet, or NDJSON for any other name."),
    ] = None,
    state: StateOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no report of refused events.")] = False,
    place: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="Over an archive instead: `archive` for the platform's own, a directory, archive://PATH, s3://….",
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="store,influx", help="Write the points there, as final ones.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Windows that start then or later: 7d ago, or 2026-01-31T03:00Z."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Windows that end by then, spelled as for --since.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", metavar="NAME", help="Only this metric; may be repeated.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Also where the archive lacks fields, or events that were counted.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing: say what would be written.")] = False,
) -> None:
    """Work the catalog out over files or the archive, with the processor's own code, and print the final points.

    The answer is what the live processor arrives at over the same events. Points go to standard output as NDJSON;
    how many events were refused, and why, to standard error.

    With `--from archive` the past is worked out again, beside a running processor or without: `--to store,influx` puts
    every window between `--since` and `--until` that is over in its place, and the same again changes nothing. So a
    metric that the catalog has since today gets its past.
    """
    _, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    own_state = state_of(settings.state, loaded)
    if place is None:
        given: dict[str, object] = {"--to": to, "--since": since, "--until": until, "--metric": metric}
        given |= {"--allow-missing": allow_missing, "--dry-run": dry_run}
        if lone := [name for name, value in given.items() if value]:
            fail(f"{', '.join(lone)}: only over an archive: say which with --from", _USAGE)
        if not files:
            fail("expected event files, or an archive with --from", _USAGE)
        _over_files(loaded, files, settings, own_state, out, quiet=quiet)
        return
    if files:
        fail("choose one: event files, or an archive with --from", _USAGE)
    destinations = tuple(filter(None, (one.strip() for one in (to or "").split(","))))
    if wrong := [one for one in destinations if one not in _DESTINATIONS]:
        fail(f"--to: expected some of {', '.join(_DESTINATIONS)}; found {wrong[0]!r}", _USAGE)
    _over_archive(
        loaded,
        settings,
        own_state,
        place,
        destinations,
        out,
        (tuple(metric or ()), since, until, allow_missing),
        quiet=quiet,
        dry_run=dry_run,
    )


def _over_files(
    catalog: Catalog, files: list[Path], settings: Settings, state: Path, out: Path | None, *, quiet: bool
) -> None:
    from streamgauge.compute import compute as work_out
    from streamgauge.compute import report_left_out, report_refused, report_silence, write_parquet
    from streamgauge.files import FileError
    from streamgauge.geo import geo_of
    from streamgauge.settings import person_key

    try:
        key = person_key(settings, state, make=False)
        points, refused, left_out, unseen = work_out(catalog, files, key, geo=geo_of(settings, catalog), quiet=quiet)
    except (FileError, Misconfigured, SettingsError, OSError) as error:
        fail(str(error))
    if not quiet:
        report_refused(refused, sys.stderr)
        report_left_out(left_out, sys.stderr)
        report_silence(points, unseen, sys.stderr)
    if out is not None and out.suffix == ".parquet":
        try:
            write_parquet(points, out)
        except OSError as error:
            fail(f"{out}: {error.strerror or error}")
        return
    _write_lines(points, out)


def _over_archive(
    catalog: Catalog,
    settings: Settings,
    state: Path,
    text: str,
    destinations: tuple[str, ...],
    out: Path | None,
    asked_for: tuple[tuple[str, ...], str | None, str | None, bool],
    *,
    quiet: bool,
    dry_run: bool,
) -> None:
    from stream.archived import ArchiveError
    from stream.walltime import clock_ms
    from streamgauge.archive_input import at_hand, names_in, place_named
    from streamgauge.backfill import Asked, Refused, meanwhile, prepare
    from streamgauge.backfill import compute as work_out
    from streamgauge.backfill_write import AT_ONCE, Tally, ToFile, ToInflux, ToStore, influx_of, short_windows, store_of
    from streamgauge.deadletters import moment_ms
    from streamgauge.progress import progress_bar

    metrics, since, until, allow_missing = asked_for
    now_ms = clock_ms()
    option = "--since"
    try:
        since_ms = None if since is None else moment_ms(since, now_ms)
        option = "--until"
        until_ms = None if until is None else moment_ms(until, now_ms)
    except ValueError as error:
        fail(f"{option}: {error}", _USAGE)
    asked = Asked(metrics, since_ms, until_ms, allow_missing)
    tally = Tally()
    influx: Sink | None = None
    store = None
    try:
        place = place_named(text, settings, state)
        store = store_of(settings, state, make="store" in destinations and not dry_run)
        targets: list[_Target] = []
        if "store" in destinations:
            targets.append(ToStore(store, tally, skip=short_windows(catalog), dry_run=dry_run))
        if "influx" in destinations:
            influx = influx_of(settings, catalog)
            if not dry_run:
                influx.setup()
                targets.append(ToInflux(influx, tally))
        file = None if dry_run or (out is None and destinations) else ToFile(out)
        if file is not None:
            targets.append(file)
        with at_hand(place) as files:
            job = prepare(catalog, names_in(place), files.of, asked, store)
            if not quiet:
                for note in job.notes:
                    typer.echo(note, err=True)
            with progress_bar(quiet) as bar:
                done = 0

                def advance(events: int) -> None:
                    nonlocal done
                    done += events
                    bar.advance(events, done, job.events)

                waiting: list[Point] = []

                def write() -> None:
                    tally.count(waiting)
                    for target in targets:
                        target.write(waiting)
                    waiting.clear()

                for points in work_out(job, advance, now_ms):
                    waiting.extend(points)
                    if len(waiting) >= AT_ONCE:
                        write()
                if waiting:
                    write()
            if store is not None and "store" in destinations and not dry_run and not allow_missing:
                meanwhile(job, store)
        if file is not None and out is not None:
            file.finish()
        elif file is not None:
            _write_lines(file.points(), None)
    except (Refused, ArchiveError) as error:
        fail(str(error))
    except (Misconfigured, SettingsError) as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(f"{error}\nwhat was written stays; the same command completes it")
    except OSError as error:
        fail(f"{error.filename or out or text}: {error.strerror or error}")
    except KeyboardInterrupt:
        fail("interrupted: what was written stays; the same command completes it", _INTERRUPTED)
    finally:
        if influx is not None:
            influx.close()
        if store is not None:
            store.close()
    if not quiet:
        span = f"{iso(max(job.since_ms, job.read_from_ms))} to {iso(min(job.until_ms, job.watermark_ms))}"
        would = "would write" if dry_run else "computed"
        typer.echo(
            f"{would} {tally.points:,} points of {len(tally.series):,} series in {len(tally.windows):,} windows, "
            f"{span}, of {done:,} events",
            err=True,
        )
        if "store" in destinations:
            typer.echo(f"store: {tally.new:,} new, {tally.changed:,} changed, {tally.same:,} as they were", err=True)
    if tally.refused:
        fail(f"InfluxDB refused {tally.refused:,} lines: {tally.why}")


def _write_lines(points: list[Point], out: Path | None) -> None:
    from streamgauge.compute import write_ndjson

    try:
        if out is None:
            write_ndjson(points, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            with out.open("wb") as file:
                write_ndjson(points, file)
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has seen enough; nothing may be flushed at exit either.
        sys.stdout = None
    except OSError as error:
        fail(f"{out}: {error.strerror or error}")
