"""`streamgauge sql`: questions to the archive and the store together."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from sinks.errors import Misconfigured, SinkError
from streamgauge.cli_options import CatalogOption, StateOption
from streamgauge.places import state_of
from streamgauge.preconditions import fail, load_catalog, load_settings
from streamgauge.settings import EXIT_CONFIGURATION

_USAGE = 2


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to ask, or - to read it from standard input.")],
    catalog: CatalogOption,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", "-f", metavar="FORMAT", help="table, csv, json, ndjson or parquet. Default: by the file's name."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the result here.")] = None,
    place: Annotated[
        str,
        typer.Option(
            "--from", metavar="PLACE", help="The archive: `archive` for the platform's own, a directory, s3://…."
        ),
    ] = "archive",
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Only what is from then on: 7d ago, or 2026-01-31T03:00Z."),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only what is from before then.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="NAME", help="Points, scores and alerts of this metric only."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Rows of a table; 0: all.")] = 100,
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="Most memory that a query may take.")] = "1GB",
    state: StateOption = None,
) -> None:
    """Ask the archive and the store in SQL (DuckDB's): `SELECT day, count(*) FROM events GROUP BY day`.

    `events` has what was archived; `points`, `alerts`, `scores`, `person_lines`, `churn_scores` and `deliveries` what
    the store has. Times are UTC. Nothing is ever changed, and no other file read. `--since`, `--until` and `--metric`
    say what of the store is copied for the query, which is all where nothing is said.
    """
    from stream.archived import ArchiveError
    from stream.walltime import clock_ms
    from streamgauge.archive_input import names_in, place_named
    from streamgauge.deadletters import moment_ms
    from streamgauge.sql import QueryError, check, days_of, session
    from streamgauge.sql_output import FORMATS, write_csv, write_json, write_table
    from streamgauge.sql_tables import Range

    _, loaded = load_catalog(catalog)
    settings = load_settings(state=state)
    own_state = state_of(settings.state, loaded)
    chosen = form or {".csv": "csv", ".json": "json", ".ndjson": "ndjson", ".parquet": "parquet"}.get(
        "" if out is None else out.suffix, "table" if out is None else "ndjson"
    )
    if chosen not in FORMATS:
        fail(f"--format: expected one of {', '.join(FORMATS)}; found {chosen!r}", _USAGE)
    if chosen == "parquet" and out is None:
        fail("--format parquet needs a file (--out)", _USAGE)
    option = "--since"
    try:
        since_ms = None if since is None else moment_ms(since, clock_ms())
        option = "--until"
        wanted = Range(since_ms, None if until is None else moment_ms(until, clock_ms()), tuple(metric or ()))
    except ValueError as error:
        fail(f"{option}: {error}", _USAGE)
    text = sys.stdin.read() if query == "-" else query
    made = None if out is None else out.with_name(f".{out.name}.part")
    url = settings.database_url
    if url is None and (own_state / "points.db").exists():
        url = settings.store_url(own_state)
    try:
        check(text)
        opened = place_named(place, settings, own_state)
        names = names_in(opened, *days_of(wanted))
        threads = min(4, os.cpu_count() or 1)
        with session(loaded, text, opened, names, url, wanted, memory=memory, threads=threads, writes=made) as asked:
            if chosen == "parquet":
                assert made is not None
                asked.to_parquet(text, made)
            else:
                columns, rows = asked.rows(text)
                with ExitStack() as closing:
                    if chosen in ("json", "ndjson"):
                        binary = sys.stdout.buffer if made is None else closing.enter_context(made.open("wb"))
                        write_json(columns, rows, binary, lines=chosen == "ndjson")
                        binary.flush()
                    else:
                        file = sys.stdout if made is None else closing.enter_context(made.open("w", newline=""))
                        if chosen == "csv":
                            write_csv(columns, rows, file)
                        else:
                            write_table(columns, rows, file, limit)
                        file.flush()
        if made is not None and out is not None:
            made.replace(out)
    except (QueryError, ArchiveError) as error:
        fail(str(error))
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    except SinkError as error:
        fail(str(error))
    except BrokenPipeError:
        sys.stdout = None
    except OSError as error:
        fail(f"{out or place}: {error.strerror or error}")
    finally:
        if made is not None:
            made.unlink(missing_ok=True)
