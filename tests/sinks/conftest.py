"""Engines for the sinks' tests, one of each for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import valkey

from tests import engines
from tests.servers import ValkeyServer


@pytest.fixture(scope="session")
def influx1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Influx1]:
    with engines.influx1(tmp_path_factory.mktemp("influxd")) as engine:
        yield engine


@pytest.fixture(scope="session")
def victoria_metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.VictoriaMetrics]:
    with engines.victoria_metrics(tmp_path_factory.mktemp("victoria-metrics")) as engine:
        yield engine


@pytest.fixture
def fake() -> Iterator[engines.FakeInflux2]:
    with engines.fake_influx2() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture
def valkey_client(valkey_url: str) -> Iterator[valkey.Valkey]:
    """A client of the running Valkey, which is emptied first."""
    client = valkey.Valkey.from_url(valkey_url)
    client.flushall()
    yield client
    client.close()
