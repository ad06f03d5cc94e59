"""The steps of the Dockerfile, taken in a directory instead of an image, with nothing of this checkout to lean on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from tests.stack import ROOT

FILE = ROOT / "Dockerfile"
USER = 10_001
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WAY_OUT = re.compile(r"(?i)^(.*_proxy|PIP_.*|UV_(DEFAULT_)?INDEX.*|npm_config_.*|SSL_CERT_.*|.*_CA_CERTS)$")
"""How this machine reaches PyPI and npm, which a build elsewhere does in its own way."""


@dataclass(frozen=True)
class Step:
    kind: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


@dataclass
class Stage:
    image: str
    steps: list[Step] = field(default_factory=list)

    def of(self, kind: str) -> list[Step]:
        return [step for step in self.steps if step.kind == kind]

    @property
    def environment(self) -> dict[str, str]:
        return dict(word.partition("=")[::2] for step in self.of("ENV") for word in step.words)


def stages() -> list[Stage]:
    """The Dockerfile, read."""
    lines = [line for line in FILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        kind, _, text = line.partition(" ")
        if kind == "FROM":
            found.append(Stage(text.split()[0]))
        else:
            found[-1].steps.append(Step(kind, text.strip()))
    return found


@dataclass(frozen=True)
class Built:
    """What the final stage would hold, below `root`."""

    root: Path
    account: dict[str, object]
    """Who its processes run as, for Popen: the image's user where this machine lets us."""

    @property
    def bin(self) -> Path:
        return self.root / "opt/streamgauge/bin"

    def environment(self) -> dict[str, str]:
        """That of a container of it, before anybody sets more."""
        final = {name: self.placed(value) for name, value in stages()[-1].environment.items()}
        return final | {"LANG": "C.UTF-8"}

    def placed(self, text: str) -> str:
        """A path of the image where it is here."""
        return re.sub(r"/(?=opt/streamgauge|src\b|var/lib/streamgauge)", f"{self.root}/", text)


@contextmanager
def built_image() -> Iterator[Built]:
    """Take every step of every stage."""
    # Not below pytest's directories, which only their owner may enter.
    root = Path(tempfile.mkdtemp(prefix="streamgauge-image-"))
    root.chmod(0o755)
    as_root = os.geteuid() == 0
    built = Built(root, {"user": USER, "group": USER, "extra_groups": []} if as_root else {})
    try:
        tools = root / "tools"
        python = shutil.which("python3", path=_PATH)
        assert python is not None
        subprocess.run([python, "-m", "venv", str(tools)], check=True)
        for number, stage in enumerate(stages()):
            where = root
            for step in stage.steps:
                if step.kind == "WORKDIR":
                    where = Path(built.placed(step.text))
                    where.mkdir(parents=True, exist_ok=True)
                elif step.kind == "COPY" and not step.text.startswith("--from"):
                    *sources, target = step.words
                    _copy(sources, where / target)
                elif step.kind == "RUN" and (as_root or number == 0):
                    _run(built.placed(re.sub(r"--mount=\S+ ", "", step.text)), where, built, stage, tools)
        state = root / "var/lib/streamgauge"
        state.mkdir(parents=True, exist_ok=True)
        yield built
    finally:
        # Several times as fast as shutil's.
        subprocess.run(["rm", "-rf", str(root)], check=True)


def _run(command: str, where: Path, built: Built, stage: Stage, tools: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if _WAY_OUT.match(name)},
        **{name: built.placed(value) for name, value in stage.environment.items()},
        "PATH": f"{tools / 'bin'}:{_PATH}",
        "HOME": os.environ["HOME"],
        # Copies are for the cache that Docker mounts from another file system. Here they would only take time.
        "UV_LINK_MODE": "hardlink",
    }
    done = subprocess.run(["sh", "-c", command], cwd=where, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"RUN {command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def _copy(sources: list[str], target: Path) -> None:
    """Files that git knows, less what .dockerignore keeps out."""
    for source in sources:
        for name in _sent():
            if name == source:
                place = target / Path(name).name if target.is_dir() else target
            elif name.startswith(f"{source}/"):
                place = target / name.removeprefix(f"{source}/")
            else:
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place)
        assert target.exists(), f"COPY {source}: .dockerignore keeps it out, or git does not know it"


def _sent() -> list[str]:
    """The build context. Later rules stand above earlier ones, as for Docker."""
    known = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [(line.removeprefix("!"), line.startswith("!")) for line in lines if line and not line.startswith("#")]

    def goes(name: str) -> bool:
        sent = True
        for rule, back in rules:
            if name.startswith(f"{rule}/") or fnmatch(name, rule):
                sent = back
        return sent

    return [name for name in known if goes(name) and (ROOT / name).is_file()]
