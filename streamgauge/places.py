"""Where things are: ready catalogs, and one state directory for each platform."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from stream.catalog import Catalog

_HERE = Path(__file__).parent
DEFAULT_GROUP = "streamgauge"
"""Also what a platform is called whose catalog does not say."""
SPOOLS = "influx"
"""Directory below the state directory in which lines wait for InfluxDB."""


def ready_catalogs() -> dict[str, Path]:
    """The catalogs that come with the package, by name."""
    # In a checkout they stand beside the packages, in a wheel inside this one.
    found = [*(_HERE / "catalogs").glob("*.toml"), *(_HERE.parent / "catalogs").glob("*.toml")]
    return {path.stem: path for path in reversed(found)}


def find_catalog(name: str) -> Path:
    """A catalog by path, or by the name of a ready one."""
    path = Path(name)
    if path.is_file() or path.suffix:
        return path
    return ready_catalogs().get(name, path)


def state_of(root: Path, catalog: Catalog) -> Path:
    """The state directory of this catalog's platform, so that two platforms never share one."""
    return root / _slug(catalog.platform.name)


def group_of(catalog: Catalog) -> str:
    """The consumer group that shows how far this platform is: one for each that reads a stream."""
    name = catalog.platform.name
    return DEFAULT_GROUP if name == DEFAULT_GROUP else f"{DEFAULT_GROUP}:{_slug(name)}"


def outbox_of(catalog: Catalog) -> str:
    """The stream of notifications of this platform that are on their way to webhooks."""
    return f"{DEFAULT_GROUP}:outbox:{_slug(catalog.platform.name)}"


def scores_of(catalog: Catalog) -> str:
    """The hash in Valkey that has the scores of this platform's people."""
    return f"{DEFAULT_GROUP}:scores:{_slug(catalog.platform.name)}"


def _slug(platform: str) -> str:
    """The name of a platform in letters that are safe anywhere."""
    name = platform.lower()
    slug = re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "platform"
    if re.search(r"[^a-z0-9 _-]", name):
        # What the slug leaves out must tell two platforms apart all the same.
        slug += f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return slug
