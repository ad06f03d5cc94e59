"""Environment variables that look like settings and are none: somebody misspelt one, and relies on it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from stream.catalog import Catalog
from streamgauge.children import CHILD
from streamgauge.settings import variables

PREFIX = "STREAMGAUGE_"
OTHERS = frozenset({CHILD, "STREAMGAUGE_SCREENSHOTS"})
"""What is read besides settings: by a part that another has started, and by the tests."""
_ALIKE = 0.85
_ABOUT_AS_LONG = 2
"""Other programs have longer names with ours in them, such as INFLUX_BUCKET_ID: those are no mistakes."""


@dataclass(frozen=True, slots=True)
class Unknown:
    name: str
    nearest: str | None
    """The setting that was meant, as far as that can be told."""


def unknown(environment: Mapping[str, str], others: Collection[str] = ()) -> Iterator[Unknown]:
    """Variables that begin as ours do, or nearly are one of ours, and are none. `others`: names that the catalog has
    chosen itself."""
    known = set(variables().values())
    known |= {f"{name}_FILE" for name in known} | OTHERS | set(others)
    short = {one.removeprefix(PREFIX): one for one in known - OTHERS}
    for name in sorted(environment):
        if name in known:
            continue
        if name.startswith(PREFIX):
            near = difflib.get_close_matches(name.removeprefix(PREFIX), short, 1, 0.6)
            yield Unknown(name, short[near[0]] if near else None)
        elif f"{PREFIX}{name}" in known and name.startswith(("OIDC_", "INGEST_")):
            yield Unknown(name, f"{PREFIX}{name}")
        else:
            near = difflib.get_close_matches(name, known, 1, _ALIKE)
            if near and abs(len(near[0]) - len(name)) <= _ABOUT_AS_LONG:
                yield Unknown(name, near[0])


def variables_of(catalog: Catalog) -> set[str]:
    """Variables that the webhooks of a catalog read."""
    names: set[str | None] = set()
    for webhook in catalog.webhook:
        names |= {webhook.secret_env, webhook.url_env, *webhook.headers.values()}
    return {name for name in names if name is not None}
