"""What is installed where it runs: locked, from one index, under licences that go with ours."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from typing import Any

from tests.stack import ROOT

LOCK: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
FREE = re.compile(r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|LGPL|0BSD|Unlicense|Zlib)")
"""Of what is used as it is and beside us, as all of these are, none asks for more than to be named."""
UNSAID = {"bytewax": "Apache-2.0", "polars-hash": "MIT"}
"""Whose metadata has no licence; what their repositories say."""


def running() -> set[str]:
    """Names of all that an installation with every extra has, and of ours none of the tools of developers."""
    by_name = {one["name"]: one for one in LOCK}
    ours = by_name["streamgauge"]
    waiting = [*ours["dependencies"], *(one for extra in ours["optional-dependencies"].values() for one in extra)]
    found: set[str] = set()
    while waiting:
        one = waiting.pop()
        package = by_name[one["name"]]
        extras = [other for extra in one.get("extra", ()) for other in package["optional-dependencies"].get(extra, ())]
        waiting += extras
        if one["name"] not in found:
            found.add(one["name"])
            waiting += package.get("dependencies", ())
    return found


def test_every_dependency_is_locked_with_its_hash() -> None:
    for one in LOCK:
        if one["name"] == "streamgauge":
            continue
        assert set(one["source"]) == {"registry"}, one["name"]
        files = [*one.get("wheels", ()), *([one["sdist"]] if "sdist" in one else ())]
        assert files, one["name"]
        assert all(file["hash"].startswith("sha256:") for file in files), one["name"]


def test_licences_go_with_ours() -> None:
    looked_at = 0
    for name in sorted(running()):
        try:
            about = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or Python than this one
        classifiers = " ".join(one for one in about.get_all("Classifier", []) if one.startswith("License"))
        said = f"{about.get('License-Expression', '')} {classifiers} {(about.get('License') or '')[:100]}"
        licence = said if FREE.search(said) else UNSAID.get(name, said)
        assert FREE.search(licence), f"{name}: {said}"
        assert not re.search(r"(?<!L)GPL|AGPL", licence.replace("LGPL", "")), f"{name}: {said}"
        looked_at += 1
    assert looked_at > 50
