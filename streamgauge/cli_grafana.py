"""`streamgauge grafana`: a catalog's dashboards as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamgauge.preconditions import fail, load_catalog


def grafana(
    catalog: Annotated[str, typer.Argument(metavar="CATALOG", help="Catalog file, or the name of a ready one.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Write below this directory.")],
    language: Annotated[
        str, typer.Option("--language", help="flux for InfluxDB 2, influxql for InfluxDB 1, 3 and others.")
    ] = "flux",
    one_bucket: Annotated[
        bool, typer.Option("--one-bucket", help="All windows are in INFLUX_BUCKET, as without settings for others.")
    ] = False,
    path: Annotated[
        str, typer.Option("--path", metavar="PATH", help="Where Grafana will find DIR/dashboards.")
    ] = "/var/lib/grafana/dashboards",
    force: Annotated[bool, typer.Option("--force", help="Write over files that this command did not make.")] = False,
) -> None:
    """Write Grafana's data sources and dashboards for a catalog: one for each board, one with every metric and window.

    The same catalog gives the same files. They hold no secret: Grafana takes INFLUX_URL, INFLUX_TOKEN, INFLUX_ORG and
    the buckets from its own environment. Tiles whose numbers are not in InfluxDB are left out, and named.
    """
    from streamgauge.grafana import FilesTaken, make, stale, write
    from streamgauge.grafana_queries import Language

    if language not in list(Language):
        fail(f"--language: expected one of {', '.join(Language)}; found {language!r}", 2)
    _, loaded = load_catalog(catalog)
    made = make(loaded, Language(language), one_bucket=one_bucket, dashboards_path=path)
    try:
        changed = write(made, out, force=force)
        old = stale(made, out)
    except (FilesTaken, OSError) as error:
        fail(str(error))
    for name in changed:
        typer.echo(f"wrote {out / name}")
    typer.echo(f"{len(made.files) - len(changed)} of {len(made.files)} files were as they are to be")
    for text in made.left_out:
        typer.echo(text, err=True)
    for name in old:
        typer.echo(f"{out / name} is of no board of this catalog: delete it", err=True)
