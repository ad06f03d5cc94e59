"""PostgreSQL for tests: one server for the session, one database for each test that asks."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sinks.database import open_database
from tests.ports import free_port

_INSTALL = "apt-get install -y postgresql"
_START_TIMEOUT_S = 30.0
PASSWORD = "a-password"
_numbers = count()


@dataclass
class Postgres:
    """A server on a loopback port. Its superuser `tests` has a password, as real ones do."""

    directory: Path
    program: Path
    port: int
    account: dict[str, Any]
    """Who it runs as, for Popen: it refuses to be root's."""
    durable: bool = False
    """Whether what is committed outlives a power cut, which no test needs."""
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, *, user: str = "tests", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Rows of a statement that is a transaction of its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """The name of an empty database that is nobody else's."""
        name = f"test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def start(self) -> None:
        log = (self.directory / "log").open("ab")
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "max_connections": 50,
            "shared_buffers": "32MB",
            "deadlock_timeout": "200ms",
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.program / "postgres"), "-D", str(self.directory / "data"), *arguments]
        self.process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log, **self.account)
        log.close()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    said = (self.directory / "log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL did not come up ({error}):\n{said[-2000:]}") from error
                time.sleep(0.05)

    def stop(self) -> None:
        """End it now, and every connection with it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(timeout=30)


def sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """The rows of the last of some statements, in one transaction, in a database of either kind."""
    engine = open_database(url, busy_timeout_s=5)
    try:
        with engine.begin() as connection:
            for statement in statements:
                # As it is: nothing in it is a parameter.
                result = connection.execution_options(no_parameters=True).exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """A server of its own, in a directory that goes with it."""
    program = _program()
    account: dict[str, Any] = {}
    # Not below pytest's directories, which only their owner may enter.
    directory = Path(tempfile.mkdtemp(prefix="streamgauge-postgres-"))
    try:
        if os.geteuid() == 0:
            who = pwd.getpwnam("nobody")
            os.chown(directory, who.pw_uid, who.pw_gid)
            account = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
        password = directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        subprocess.run(
            [
                *(str(program / "initdb"), "-D", str(directory / "data"), "--no-sync", "--auth=scram-sha-256"),
                *("--username=tests", f"--pwfile={password}", "--encoding=UTF8", "--locale=C.UTF-8"),
                # What most installations sort by, and we must not.
                *("--locale-provider=icu", "--icu-locale=en-US"),
            ],
            cwd=directory,
            check=True,
            capture_output=True,
            **account,
        )
        server = Postgres(directory, program, free_port(), account, durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _program() -> Path:
    """The directory of the newest PostgreSQL that is installed, where Debian has it or on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("postgres")
    if found:
        return found[-1].parent
    if on_path is not None:
        return Path(on_path).resolve().parent
    # A failure on purpose: a skipped engine would leave a green run that has tested nothing.
    raise RuntimeError(f"PostgreSQL is not installed; these tests need it: {_INSTALL}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@contextmanager
def empty_database(kind: str, request: pytest.FixtureRequest, directory: Path) -> Iterator[str]:
    """The URL of an empty database, `sqlite` or `postgresql`, for fixtures of any scope."""
    if kind == "sqlite":
        yield f"sqlite:///{directory / 'points.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as name:
        yield server.url(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database: each test that asks runs once for SQLite and once for PostgreSQL."""
    with empty_database(request.param, request, tmp_path) as url:
        yield url
