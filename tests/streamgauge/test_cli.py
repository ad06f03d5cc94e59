from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamgauge import __version__
from streamgauge.cli import app
from streamgauge.processor import EXIT_CONFIGURATION
from tests.ports import free_port
from tests.servers import ValkeyServer

from .conftest import Command, as_command

VERBS = ("up", "run", "serve", "check", "replay", "compute", "tail", "deadletter", "version", "simulate")


def fails(done: subprocess.CompletedProcess[str], *parts: str, status: int = 1) -> None:
    """It ended with a message for whoever typed it, and not with a stack of Python."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, (done.returncode, done.stderr)
    assert done.stdout == ""
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    done = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.output)
    assert f"streamgauge {verb}" in text or f"{verb} [OPTIONS]" in text
    # The verbs that read or write say from which setting the address comes.
    described = {"up": "VALKEY_URL", "run": "INFLUX_URL", "serve": "DATABASE_URL", "replay": "VALKEY_URL"}
    assert described.get(verb, "") in text


def test_every_verb_is_listed_but_the_hidden_one() -> None:
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    listed = set(re.findall(r"^\W*([a-z]+)  ", re.sub(r"\x1b\[[0-9;]*m", "", done.output), re.MULTILINE))
    assert set(VERBS) - {"simulate"} <= listed
    assert "simulate" not in listed


def test_version() -> None:
    assert CliRunner().invoke(app, ["version"]).output == f"{__version__}\n"


def test_no_verb_waits_for_what_only_some_models_need() -> None:
    """scipy and the models of river take seconds: more than all the rest of a start."""
    asked = "import sys, streamgauge.cli, streamgauge.processor, live_api.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "models.churn" in loaded
    assert not loaded & {"scipy", "pandas", "river.drift", "river.cluster", "river.time_series", "river.anomaly"}


def test_check_lists_what_a_valid_catalog_measures(catalog_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(catalog_path), "events"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        f"{catalog_path}: valid; 2 metrics over 2 streams",
        "  fields: user string, price number, quantity number, kind string",
        "  orders: count by kind, windows 1m, 1d",
        "  revenue: sum, windows 1d",
    ]
    assert "events: valid; 3 metrics over 1 stream" in lines


def test_check_lists_the_boards() -> None:
    done = CliRunner().invoke(app, ["check", "food_sharing"])
    assert done.exit_code == 0
    assert "\n  forecast api_requests@1m: 1, 5, 15 windows ahead\n" in done.stdout
    assert "\n  churn: who leaves for 14d, of people of 30 days, by " in done.stdout
    boards = [line for line in done.stdout.splitlines() if line.startswith("  board ")]
    assert boards[0].startswith("  board ops: 9 tiles, status, sparkline, ")
    assert boards[1].startswith("  board sharing: 10 tiles, number, ")


def test_check_says_what_is_wrong_and_where(tmp_path: Path, catalog_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[[metric]]\nname = "a"\nmeasure = "cuont"\n\n[[metric]]\nname = "B"\nmeasure = "count"\n')
    done = CliRunner().invoke(app, ["check", str(bad), str(catalog_path), str(tmp_path / "gone.toml")])
    assert done.exit_code == 1
    *errors, ready = done.stderr.splitlines()
    assert ready.startswith("ready catalogs: events, food_sharing")
    assert all(": expected" in line and "; found" in line for line in errors), errors
    assert errors[0].startswith(f'{bad}: metric[0] "a".measure: expected one of ')
    assert "did you mean count?" in errors[0]
    assert errors[1].startswith(f'{bad}: metric[1] "B".name: ')
    assert errors[2].startswith(f"{tmp_path / 'gone.toml'}: file: expected a readable UTF-8 file")
    # The others are checked all the same.
    assert f"{catalog_path}: valid" in done.stdout


# What stands in the way of a verb


@pytest.mark.parametrize("name", ["run", "serve", "tail", "replay"])
def test_without_a_server_it_says_what_to_set(verb: Command, catalog_path: Path, name: str) -> None:
    (catalog_path.parent / "a.json").write_text("{}\n")
    arguments = {"tail": [], "replay": ["a.json", "-c", catalog_path]}.get(name, ["-c", catalog_path])
    more = ["--port", free_port()] if name == "serve" else []
    done = verb(name, *arguments, *more)
    fails(done, "VALKEY_URL is not set", "such as valkey://127.0.0.1:6379", status=EXIT_CONFIGURATION)


@pytest.mark.parametrize("verb", ["serve", "tail", "replay"])
def test_an_address_that_is_none_is_named_with_what_was_expected(
    command: Command, catalog_path: Path, verb: str
) -> None:
    (catalog_path.parent / "a.json").write_text("{}\n")
    arguments = {"tail": [], "replay": ["a.json", "-c", catalog_path]}.get(
        verb, ["-c", catalog_path, "--port", free_port()]
    )
    try:
        done = command(verb, *arguments, timeout_s=30, VALKEY_URL="localhost:6379")
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"it runs on, with {error.stderr!r}") from None
    fails(done, "VALKEY_URL", "valkey://", status=EXIT_CONFIGURATION)


@pytest.mark.parametrize("name", ["tail", "replay"])
def test_a_server_that_is_away_is_named(verb: Command, catalog_path: Path, name: str) -> None:
    (catalog_path.parent / "a.json").write_text("{}\n")
    arguments = [] if name == "tail" else ["a.json", "-c", catalog_path]
    fails(verb(name, *arguments, VALKEY_URL=f"valkey://127.0.0.1:{free_port()}"), "VALKEY_URL: ", "refused")


def test_a_supervisor_is_told_when_starting_again_will_not_help(
    command: Command, catalog_path: Path, valkey_server: ValkeyServer
) -> None:
    settings = {"VALKEY_URL": valkey_server.connection_url, "DATABASE_URL": "mysql://h/d"}
    fails(command("run", "-c", catalog_path, **settings), "DATABASE_URL names 'mysql'", status=EXIT_CONFIGURATION)


def test_serve_refuses_a_database_that_can_never_work(
    command: Command, catalog_path: Path, valkey_server: ValkeyServer
) -> None:
    settings = {"VALKEY_URL": valkey_server.connection_url, "DATABASE_URL": "mysql://h/d"}
    done = command("serve", "-c", catalog_path, "--port", free_port(), **settings)
    fails(done, "DATABASE_URL names 'mysql'", status=EXIT_CONFIGURATION)


def test_serve_names_a_taken_port(verb: Command, catalog_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        fails(verb("serve", "-c", catalog_path, "--port", port), f"port {port} on 127.0.0.1 is taken", "--port")


def test_a_catalog_that_is_not_there_is_named_with_those_that_are(verb: Command) -> None:
    done = verb("run", "-c", "nothing.toml")
    expected = "nothing.toml: file: expected a readable UTF-8 file"
    fails(done, expected, "ready catalogs: events, food_sharing, music, web, wikipedia", status=EXIT_CONFIGURATION)


def test_settings_that_cannot_be_used_are_named(verb: Command, catalog_path: Path) -> None:
    done = verb("run", "-c", catalog_path, STREAMGAUGE_TICK_MS="fast")
    fails(done, "STREAMGAUGE_TICK_MS:", "found 'fast'", status=EXIT_CONFIGURATION)
    done = verb("run", "-c", catalog_path, STREAMGAUGE_LOG_LEVEL="verbose")
    fails(done, "STREAMGAUGE_LOG_LEVEL", "verbose", status=EXIT_CONFIGURATION)


def test_one_pace_at_a_time(verb: Command, catalog_path: Path) -> None:
    done = verb("replay", "a.json", "-c", catalog_path, "--rate", 5, "--max", VALKEY_URL="valkey://127.0.0.1:1")
    fails(done, "choose one of --rate, --speed and --max")


def test_files_that_cannot_be_used_are_named(verb: Command, catalog_path: Path, tmp_path: Path) -> None:
    fails(verb("compute", "gone.json", "-c", catalog_path), "gone.json: No such file")
    (tmp_path / "a.json").write_text('{"kind":"book"}\n')
    fails(verb("compute", "a.json", "-c", catalog_path, "-o", "no/such/out.json"), "no/such/out.json: No such file")
    done = verb("compute", "a.json", "-c", catalog_path, "-o", "no/such/out.parquet")
    fails(done, "no/such/out.parquet: No such file")


def test_a_reader_that_has_seen_enough_is_no_error(
    environment: dict[str, str], catalog_path: Path, tmp_path: Path
) -> None:
    lines = (f'{{"kind":"k{n}","price":1,"quantity":1,"time":"2015-09-12T00:00:00Z"}}\n' for n in range(5_000))
    (tmp_path / "a.json").write_text("".join(lines))
    process = subprocess.Popen(
        as_command(["compute", "a.json", "-c", catalog_path]),
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert (process.wait(40), complaint) == (0, b"")


def test_replay_sends_and_says_how_many(
    verb: Command, catalog_path: Path, tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    client = valkey_server.client()
    client.flushall()
    (tmp_path / "a.json").write_text('{"kind":"book"}\n' * 1_200)
    done = verb("replay", "a.json", "-c", catalog_path, VALKEY_URL=valkey_server.connection_url)
    assert (done.returncode, done.stderr.strip()) == (0, "sent 1,200 events")
    assert client.xlen("events:{0}") + client.xlen("events:{1}") == 1_200
    client.close()
