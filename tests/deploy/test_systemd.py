"""The units: what systemd takes, and what they keep from the services."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from live_api import app
from streamgauge import delivering, processor
from streamgauge.settings import EXIT_CONFIGURATION, variables
from tests.stack import ROOT

UNITS = ROOT / "deploy/systemd"
LIMITS_S = {"processor": processor.DRAIN_S, "api": app.HARD_LIMIT_S, "deliver": delivering._HARD_LIMIT_S}
part = pytest.mark.parametrize("part", LIMITS_S)
MOST_EXPOSED = 2.0
"""As `systemd-analyze security` says, from 0 to 10; a unit without any of it has 9.6."""


def unit(name: str) -> dict[str, list[str]]:
    said = defaultdict(list)
    for line in (UNITS / f"streamgauge-{name}.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            said[key].append(value)
    return said


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    # A failure on purpose: a skipped tool would leave a green run in which nobody has looked.
    assert program, "systemd is not installed; these tests need its systemd-analyze: apt-get install -y systemd"
    return subprocess.run([program, *arguments], capture_output=True, text=True)


def test_they_are_what_systemd_takes(tmp_path: Path) -> None:
    for path in UNITS.glob("*.service"):
        # What they start need not be here.
        text = re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/true", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text)
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    done = analyze("verify", *sorted(str(path) for path in tmp_path.glob("streamgauge-*.service")))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@part
def test_little_is_exposed(part: str) -> None:
    done = analyze("security", "--offline=true", str(UNITS / f"streamgauge-{part}.service"))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= MOST_EXPOSED


@part
def test_it_ends_and_starts_as_the_parts_do(part: str) -> None:
    said = unit(part)
    assert said["Restart"] == ["on-failure"]
    assert said["RestartPreventExitStatus"] == [str(EXIT_CONFIGURATION)]
    assert float(said["TimeoutStopSec"][0]) >= 1.5 * LIMITS_S[part]
    assert int(said["LimitNOFILE"][0]) >= 65_536


@part
def test_secrets_are_credentials(part: str) -> None:
    said = unit(part)
    handed = {one.partition(":")[0] for one in said["LoadCredential"]}
    given = dict(word.split("=", 1) for line in said["Environment"] for word in line.split())
    files = {name: value for name, value in given.items() if name.endswith("_FILE")}
    assert {value.removeprefix("%d/") for value in files.values()} == handed
    assert {name.removesuffix("_FILE") for name in files} <= set(variables().values())
    assert ("STREAMGAUGE_PERSON_KEY_FILE" in files) == (part != "deliver")
    assert given["STREAMGAUGE_STATE"] == f"%S/{said['StateDirectory'][0]}"


def test_each_has_a_state_directory_of_its_own() -> None:
    found = [unit(part)["StateDirectory"][0] for part in LIMITS_S]
    assert len(set(found)) == len(found)
