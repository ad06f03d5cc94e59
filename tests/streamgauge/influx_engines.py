"""Engines for the tests of InfluxDB's verbs; the tests that need one name it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import engines
from tests.influx2_api import Influx2, influx2


@pytest.fixture(scope="module")
def influx1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Influx1]:
    with engines.influx1(tmp_path_factory.mktemp("influxdb")) as engine:
        yield engine


@pytest.fixture(scope="module")
def victoria_metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.VictoriaMetrics]:
    with engines.victoria_metrics(tmp_path_factory.mktemp("victoria")) as engine:
        yield engine


@pytest.fixture
def server() -> Iterator[Influx2]:
    with influx2() as made:
        yield made
