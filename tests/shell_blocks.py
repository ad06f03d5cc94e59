"""Shell blocks of the documents, run as a reader would run them.

A block that is run has a comment before it, which GitHub does not show: `<!-- tested -->`. The blocks of a page are
run in order, in one directory and one environment, with the real `streamgauge` on the path. A `text` block right behind
one is what it prints, on both outputs; `…` stands for anything. What may stand in the comment:

| word | what it does |
|---|---|
| `file=NAME` | the block is no shell: it is written to that file |
| `append=NAME` | it is put behind what that file has |
| `terminal=NAME` | it goes on in a terminal of its own, and is waited for until that shows what it should |
| `until=TEXT` | what it is waited for where no `text` block says so |
| `ends=NAME` | that terminal is ended by Ctrl-C before |
| `shows=NAME` | the block is a `text` block: what that terminal shows sooner or later |
| `eventually` | it is run again until it prints what it should, for half a minute |
| `status=N` | with which exit status it ends |

One of a terminal's name that runs already is ended by Ctrl-C before. 8000 and 9000 stand for ports that are free, and
6379 for that of the Valkey server that `up` has started.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(
    r"^<!-- tested(?P<words>[^\n]*?) -->\n+```(?P<language>\w+)\n(?P<body>.*?)^```\n"
    r"(?:\n```text\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_WITHIN_S = 40.0
_WORDS = frozenset({"file", "append", "terminal", "until", "shows", "eventually", "status", "ends"})


@dataclass(frozen=True, slots=True)
class Block:
    line: int
    language: str
    body: str
    shown: str | None
    words: dict[str, str]


def blocks_of(text: str) -> list[Block]:
    """The marked blocks of a page. Raises ValueError for a mark that says something unknown, or has no block."""
    found = []
    for match in _BLOCK.finditer(text):
        words = dict((*word.split("=", 1), "")[:2] for word in shlex.split(match["words"]))
        if not words.keys() <= _WORDS:
            raise ValueError(f"expected marks among {', '.join(sorted(_WORDS))}; found {match['words']!r}")
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(line, match["language"], match["body"], match["shown"], words))
    if len(found) != text.count("<!-- tested"):
        raise ValueError("expected a fenced block behind each mark")
    return found


def pattern_of(shown: str) -> str:
    """Of what is shown, with `…` for anything."""
    lines = "\n".join(line.rstrip() for line in shown.strip("\n").splitlines())
    return ".*?".join(re.escape(part) for part in lines.split("…"))


@dataclass
class Reader:
    """Somebody who does what a page says, in a directory of their own."""

    directory: Path
    _terminals: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _ports: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        tools = self.directory / ".tools"
        tools.mkdir()
        shim = tools / "valkey-cli"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {ROOT / "tests" / "valkey_cli.py"} "$@"\n')
        shim.chmod(0o755)
        self._ports = {"8000": str(free_port()), "9000": str(free_port())}
        ours = ("STREAMGAUGE_", "VALKEY_", "DATABASE_", "INFLUX_", "ARCHIVE_", "COLUMNS", "PYTEST_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
            "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "STREAMGAUGE_PORT": self._ports["8000"],
            "STREAMGAUGE_METRICS_PORT": "off",
            "STREAMGAUGE_API_METRICS_PORT": "off",
            "STREAMGAUGE_DELIVER_METRICS_PORT": "off",
            # What is forgotten is out of every file after eight of these.
            "STREAMGAUGE_SNAPSHOT_S": "0.5",
            "COLUMNS": "120",
        }

    def follow(self, block: Block) -> None:
        """Do what a block says. Raises AssertionError where it does not go as the page says."""
        where, body = f"line {block.line}", self._with_ports(block.body)
        expected = None if block.shown is None else pattern_of(self._with_ports(block.shown))
        if "ends" in block.words:
            self._end(block.words["ends"])
        if "shows" in block.words:
            self._await(block.words["shows"], pattern_of(body), where)
        elif "file" in block.words:
            (self.directory / block.words["file"]).write_text(body)
        elif "append" in block.words:
            with (self.directory / block.words["append"]).open("a") as file:
                file.write(f"\n{body}")
        elif "terminal" in block.words:
            self._open(block.words["terminal"], body)
            self._await(block.words["terminal"], expected or re.escape(block.words["until"]), where)
        else:
            self._run(body, expected, int(block.words.get("status", 0)), "eventually" in block.words, where)

    def close(self) -> None:
        for name in list(self._terminals):
            self._end(name)

    def _with_ports(self, text: str) -> str:
        for said, real in self._ports.items():
            text = re.sub(rf"\b{said}\b", real, text)
        return text

    def _run(self, body: str, expected: str | None, status: int, again: bool, where: str) -> None:
        kept = self.directory / ".tools" / "environment"
        script = f"set -eo pipefail\n[ ! -e {kept} ] || . {kept}\n{body}\nexport -p > {kept}\n"
        deadline_s = time.monotonic() + (_WITHIN_S if again else 0)
        while True:
            done = subprocess.run(
                ["bash", "-c", script],
                cwd=self.directory,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            printed = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
            right = expected is None or re.fullmatch(expected, printed, re.DOTALL) is not None
            if done.returncode == status and right:
                return
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{where}: status {done.returncode}, printed\n{printed}\nexpected\n{expected}")
            time.sleep(0.5)

    def _open(self, name: str, body: str) -> None:
        self._end(name)
        with self._output(name).open("wb") as output:
            self._terminals[name] = subprocess.Popen(
                ["bash", "-c", body],
                cwd=self.directory,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _await(self, name: str, pattern: str, where: str) -> None:
        deadline_s = time.monotonic() + _WITHIN_S
        while True:
            printed = "\n".join(line.rstrip() for line in self._output(name).read_text().splitlines())
            if re.search(pattern, printed, re.DOTALL):
                break
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{where}: terminal {name} printed\n{printed}\nexpected\n{pattern}")
            time.sleep(0.1)
        if server := re.search(r"valkey://127\.0\.0\.1:(\d+)", printed):
            self._ports["6379"] = server[1]

    def _end(self, name: str) -> None:
        """Ctrl-C, and what is left of it killed."""
        process = self._terminals.pop(name, None)
        if process is None:
            return
        for how, within_s in ((signal.SIGINT, 20), (signal.SIGKILL, 5)):
            if process.poll() is None:
                os.killpg(process.pid, how)
            try:
                process.wait(within_s)
            except subprocess.TimeoutExpired:
                continue
            return

    def _output(self, name: str) -> Path:
        return self.directory / ".tools" / f"{name}.out"
