"""What is shipped: the wallboard is built into every package, and built once.

Each build runs as an installer runs it, isolated and through the build hook.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CATALOGS = sorted(path.name for path in (ROOT / "catalogs").glob("*.toml"))
PACKAGES = ("streamgauge", "live_api", "stream", "sinks", "models")
LEFT_BY_HAND = "left_by_hand.txt"


def build(kind: str, source: Path, into: Path) -> Path:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    assert uv is not None, "uv is not installed; `make setup` installs it"
    done = subprocess.run(
        [uv, "build", f"--{kind}", "--out-dir", str(into), "--python", sys.executable, str(source)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (built,) = [path for path in into.iterdir() if path.suffix in (".gz", ".whl")]
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture
def unpacked(sdist: Path, tmp_path: Path) -> Path:
    """A fresh tree of the sdist, with a file in the built wallboard that no build would make."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    (tree / "live_api/static" / LEFT_BY_HAND).touch()
    return tree


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_sdist_has_the_wallboard_and_its_sources(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"live_api/wallboard/package-lock.json", "live_api/wallboard/.npmrc", "hatch_build.py"} <= names
    assert {"live_api/static/index.html", "live_api/static/sources.sha256"} <= names
    assert not [name for name in names if "node_modules" in name]


def test_a_wheel_from_the_sdist_takes_the_wallboard_that_is_in_it(unpacked: Path, tmp_path: Path) -> None:
    names = names_in(build("wheel", unpacked, tmp_path / "wheel"))
    assert "live_api/static/index.html" in names
    assert [name for name in names if name.startswith("live_api/static/assets/") and name.endswith(".js")]
    assert f"live_api/static/{LEFT_BY_HAND}" in names, "it was built again though its sources are the same"
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert CATALOGS
    assert {f"streamgauge/catalogs/{name}" for name in CATALOGS} <= names
    revisions = {path.name for path in (ROOT / "sinks/migrations/versions").glob("v*.py")}
    assert revisions
    assert {"sinks/migrations/env.py", *(f"sinks/migrations/versions/{name}" for name in revisions)} <= names
    unwanted = ("live_api/wallboard", "node_modules", "live_api/.static")
    assert not [name for name in names if any(part in name for part in unwanted)]


def test_a_changed_source_is_built_again(unpacked: Path, tmp_path: Path) -> None:
    page = unpacked / "live_api/wallboard/index.html"
    page.write_text(page.read_text("utf-8").replace("<title>streamgauge<", "<title>changed<"), "utf-8")
    wheel = build("wheel", unpacked, tmp_path / "wheel")
    assert f"live_api/static/{LEFT_BY_HAND}" not in names_in(wheel)
    with zipfile.ZipFile(wheel) as archive:
        assert b"<title>changed<" in archive.read("live_api/static/index.html")


def test_a_build_that_fails_says_why_and_leaves_what_was_there(unpacked: Path, tmp_path: Path) -> None:
    (unpacked / "live_api/wallboard/src/main.ts").write_text('import "./nowhere";\n', "utf-8")
    with pytest.raises(AssertionError, match=r"(?s)WallboardBuildError.*npm run build.*nowhere"):
        build("wheel", unpacked, tmp_path / "wheel")
    assert (unpacked / "live_api/static" / LEFT_BY_HAND).exists()
    assert not list((unpacked / "live_api").glob(".static*"))
