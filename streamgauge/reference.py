"""The parts of the documents that are made of the code: `python -m streamgauge.reference FILE…` writes them anew.

A block stands between `<!-- generated: NAME -->` and `<!-- end -->`. NAME is a table of the catalog such as `Metric`,
`settings`, `routes`, or the `events` of the log. What a key or a setting means is the docstring behind it, whose last
sentence may be `Default: …` where the code says it badly; a test holds the files to this module.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from live_api.app import create_app
from stream.catalog import parse
from streamgauge.reference_logs import events_table
from streamgauge.reference_routes import routes_of
from streamgauge.reference_tables import TABLES, Undocumented, keys_table, settings_table

BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written_anew(text: str, routes: Callable[[], str]) -> str:
    """A document with its generated blocks as they should be."""

    def made(found: re.Match[str]) -> str:
        name = found[2]
        if name == "routes":
            block = routes()
        elif name == "settings":
            block = settings_table()
        elif name == "events":
            block = events_table()
        elif name in TABLES:
            block = keys_table(TABLES[name])
        else:
            known = ", ".join(("settings", "routes", "events", *TABLES))
            raise Undocumented(f"<!-- generated: {name} -->: expected one of {known}")
        return f"{found[1]}{block}{found[3]}"

    return BLOCK.sub(made, text)


def application() -> Any:
    """The API as `serve` makes it, over a catalog of one metric; nothing is connected to."""
    catalog = parse('[[metric]]\nname = "n"\nmeasure = "count"\n')
    with tempfile.TemporaryDirectory() as directory:
        store = f"sqlite:///{directory}/points.db"
        made, _ = create_app(catalog, valkey_url="valkey://127.0.0.1:1", store_url=store, version="0")
    return made


def main(files: list[str]) -> None:
    for path in map(Path, files):
        text = path.read_text(encoding="utf-8")
        anew = written_anew(text, lambda: routes_of(application()))
        if anew != text:
            path.write_text(anew, encoding="utf-8")
            sys.stdout.write(f"{path}: written anew\n")


if __name__ == "__main__":
    main(sys.argv[1:])
