from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import valkey

from sinks.deadletter import DEADLETTER_STREAM, DeadLetters, DeadLetterSink
from sinks.records import DeadLetter, Reason
from streamgauge.settings import EXIT_CONFIGURATION
from tests.ports import free_port
from tests.servers import ValkeyServer

from .conftest import Command, as_command
from .test_cli import fails

STREAM = "events:{0}"
LETTER = DeadLetter(STREAM, "1442016000000-0", 0, Reason.BAD_TYPE, "price: expected a number", b'{"kind":"book"}')
VERBS = {"list": [], "replay": ["-c", "events"], "purge": ["--all"]}


@pytest.fixture
def url(valkey_server: ValkeyServer, valkey_client: valkey.Valkey) -> str:
    """A server with a letter of each kind: two that can go back, one that cannot, one of a sink."""
    DeadLetterSink(valkey_client).write(
        [
            LETTER,
            replace(LETTER, index=1, reason=Reason.TOO_LATE),
            replace(LETTER, index=2, reason=Reason.MALFORMED, raw=b"{"),
            replace(LETTER, stream="influx", entry_id="", raw=b"amount value=1 \x1b[31m"),
        ]
    )
    return valkey_server.connection_url


def length(client: valkey.Valkey) -> int:
    return DeadLetters(client).length()


def test_list_shows_the_newest_last(verb: Command, url: str) -> None:
    done = verb("deadletter", "list", VALKEY_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert '  bad_type  events:{0}  1442016000000-0[0]  price: expected a number  {"kind":"book"}' in lines[0]
    assert lines[-1].endswith("  influx  -  price: expected a number  amount value=1 \\x1b[31m")
    done = verb("deadletter", "list", "--limit", 1, "--json", VALKEY_URL=url)
    assert json.loads(done.stdout)["stream"] == "influx"
    assert "older ones are not shown: --limit 1" in done.stderr
    done = verb("deadletter", "list", "-r", "too_late", "-r", "malformed", "--since", "1h", VALKEY_URL=url)
    assert len(done.stdout.splitlines()) == 2
    assert verb("deadletter", "list", "--before", "1h", VALKEY_URL=url).stdout == ""
    done = verb("deadletter", "list", "--id", "1442016000000-0[1]", VALKEY_URL=url)
    assert [line.split("  ")[1] for line in done.stdout.splitlines()] == ["too_late"]


def test_list_counts(verb: Command, url: str) -> None:
    done = verb("deadletter", "list", "--count", "--stream", STREAM, VALKEY_URL=url)
    assert sorted(done.stdout.splitlines()) == [
        "1  bad_type  events:{0}",
        "1  malformed  events:{0}",
        "1  too_late  events:{0}",
        "3 dead letters",
    ]
    done = verb("deadletter", "list", "--count", "--json", VALKEY_URL=url)
    assert {"reason": "bad_type", "stream": "influx", "count": 1} in map(json.loads, done.stdout.splitlines())


def test_replay_sends_back_what_the_catalog_takes_now(verb: Command, url: str, valkey_client: valkey.Valkey) -> None:
    dry = verb("deadletter", "replay", "-c", "events", "--dry-run", VALKEY_URL=url)
    assert (dry.returncode, dry.stdout) == (0, "")
    assert (length(valkey_client), valkey_client.exists(STREAM)) == (4, 0)
    done = verb("deadletter", "replay", "-c", "events", "--yes", VALKEY_URL=url)
    assert done.returncode == 0
    assert done.stderr.startswith("sent back 2 refused events\n")
    assert dry.stderr == done.stderr.replace("sent back 2", "to be sent back: 2")
    for part in (
        "1 had been refused as too_late, and come back unless allowed_lateness",
        "2 had no time of their own; that of their entry is written into `time`",
        "1 stays: this catalog still refuses: malformed 1",
        "1 stays: of sinks, which are no events and cannot be sent back: influx 1",
    ):
        assert part in done.stderr, done.stderr
    assert (length(valkey_client), valkey_client.xlen(STREAM)) == (2, 2)


def test_purge_says_how_many(verb: Command, url: str, valkey_client: valkey.Valkey) -> None:
    done = verb("deadletter", "purge", "--stream", STREAM, "--dry-run", VALKEY_URL=url)
    assert done.stderr.startswith("to be deleted: 3\n")
    assert length(valkey_client) == 4
    done = verb("deadletter", "purge", "--stream", STREAM, VALKEY_URL=url)
    assert (done.returncode, done.stderr.splitlines()[0], length(valkey_client)) == (0, "deleted 3", 1)
    assert verb("deadletter", "purge", "--all", "-y", VALKEY_URL=url).stderr.startswith("deleted 1\n")
    assert length(valkey_client) == 0


def test_purge_of_everything_has_to_be_said(verb: Command, url: str, valkey_client: valkey.Valkey) -> None:
    fails(verb("deadletter", "purge", VALKEY_URL=url), "--all for every dead letter", status=2)
    fails(verb("deadletter", "purge", "--all", "--before", "7d", VALKEY_URL=url), "say which", status=2)
    assert length(valkey_client) == 4


def test_what_cannot_be_understood_is_named(verb: Command, url: str) -> None:
    fails(verb("deadletter", "list", "--since", "soon", VALKEY_URL=url), "--since: expected how long ago", status=2)
    fails(verb("deadletter", "purge", "--before", "7", VALKEY_URL=url), "--before: expected how long ago", status=2)
    fails(verb("deadletter", "list", "--id", "7", VALKEY_URL=url), "--id: expected an entry", status=2)
    fails(verb("deadletter", "list", "--reason", "bad_tipe", VALKEY_URL=url), "bad_tipe", status=2)
    fails(verb("deadletter", "replay", VALKEY_URL=url), "--catalog", status=2)
    gone = verb("deadletter", "replay", "-c", "gone.toml", VALKEY_URL=url)
    fails(gone, "gone.toml", "ready catalogs", status=EXIT_CONFIGURATION)


@pytest.mark.parametrize("name", VERBS)
def test_without_a_server_it_says_so(verb: Command, url: str, valkey_client: valkey.Valkey, name: str) -> None:
    arguments = ["deadletter", name, *VERBS[name]]
    fails(verb(*arguments), "VALKEY_URL is not set", status=EXIT_CONFIGURATION)
    fails(verb(*arguments, VALKEY_URL="localhost:6379"), "valkey://", status=EXIT_CONFIGURATION)
    fails(verb(*arguments, VALKEY_URL=f"valkey://127.0.0.1:{free_port()}"), "VALKEY_URL: ", "refused")
    valkey_client.delete(DEADLETTER_STREAM)
    valkey_client.set(DEADLETTER_STREAM, "no stream")
    done = verb(*arguments, VALKEY_URL=url)
    assert (done.returncode, "Traceback" in done.stderr) == (EXIT_CONFIGURATION, False)
    assert "WRONGTYPE" in done.stderr


@pytest.mark.parametrize("name", VERBS)
def test_without_letters_there_is_nothing_to_do(
    verb: Command, url: str, valkey_client: valkey.Valkey, name: str
) -> None:
    valkey_client.delete(DEADLETTER_STREAM)
    done = verb("deadletter", name, *VERBS[name], VALKEY_URL=url)
    assert (done.returncode, done.stdout) == (0, "")


def at_a_terminal(
    environment: dict[str, str], tmp_path: Path, url: str, arguments: list[str], answer: bytes
) -> tuple[int, str]:
    """Exit status and all output of a verb at a terminal of its own, given `answer` when it asks."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        as_command(arguments),
        env=environment | {"VALKEY_URL": url},
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                seen += os.read(ours, 65_536)
            except OSError:
                break
            if answer and b"[y/N]" in seen:
                os.write(ours, answer)
                answer = b""
        return process.wait(30), seen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(("answer", "left", "status"), [(b"y\n", 2, 0), (b"n\n", 4, 1)])
def test_at_a_terminal_it_asks_first(
    environment: dict[str, str],
    tmp_path: Path,
    url: str,
    valkey_client: valkey.Valkey,
    answer: bytes,
    left: int,
    status: int,
) -> None:
    arguments = ["deadletter", "replay", "-c", "events"]
    ended, seen = at_a_terminal(environment, tmp_path, url, arguments, answer)
    assert (ended, length(valkey_client)) == (status, left), seen
    assert "to be sent back: 2 refused events" in seen
    assert "Send them back? [y/N]" in seen
    assert ("sent back 2 refused events" in seen) == (status == 0)


def test_yes_is_not_asked(environment: dict[str, str], tmp_path: Path, url: str, valkey_client: valkey.Valkey) -> None:
    ended, seen = at_a_terminal(environment, tmp_path, url, ["deadletter", "purge", "--all", "--yes"], b"")
    assert (ended, length(valkey_client)) == (0, 0), seen
    assert "[y/N]" not in seen


def test_control_c_ends_it_with_what_was_done(
    environment: dict[str, str], tmp_path: Path, url: str, valkey_client: valkey.Valkey
) -> None:
    count = 30_000
    DeadLetterSink(valkey_client).write([replace(LETTER, entry_id=f"1442016000001-{n}") for n in range(count)])
    process = subprocess.Popen(
        as_command(["deadletter", "replay", "-c", "events", "--stream", STREAM]),
        env=environment | {"VALKEY_URL": url},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not valkey_client.xlen(STREAM):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(2)
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    sent = valkey_client.xlen(STREAM)
    assert 0 < sent < count
    assert (process.returncode, told.splitlines()[0]) == (0, f"sent back {sent:,} refused events")
    assert told.endswith("(stopped)\n")
    assert sent + length(valkey_client) == count + 4
