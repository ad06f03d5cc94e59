"""Options that several verbs take, each said in one way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CatalogOption = Annotated[
    str,
    typer.Option("--catalog", "-c", metavar="FILE", help="Catalog file, or the name of a ready one."),
]
RunningCatalogOption = Annotated[
    str,
    typer.Option("--catalog", "-c", metavar="FILE", help="The catalog the processor runs with, or a ready one."),
]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="Where state is kept. Default: STREAMGAUGE_STATE, else .streamgauge"),
]
