from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from sinks.deadletter import DeadLetterSink
from sinks.live import LiveSink
from sinks.records import DeadLetter, Reason
from sinks.schema import SCHEMA_VERSION
from sinks.store import Store
from stream.catalog import parse
from stream.walltime import clock_ms
from streamgauge.cli import app
from streamgauge.doctor.checks import CHECKS, examine
from streamgauge.doctor.findings import Deployment, Level
from streamgauge.doctor.storage import filesystem_of
from streamgauge.settings import Settings
from tests.ports import free_port
from tests.servers import ValkeyServer

CATALOG = '[platform]\nname = "Shop"\nstreams = ["events"]\n[[metric]]\nname = "n"\nmeasure = "count"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A server of these tests alone, whose settings they change."""
    made = ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey"))
    made.start()
    yield made
    made.terminate()


@pytest.fixture
def deployment(server: ValkeyServer, tmp_path: Path) -> Deployment:
    client = server.client()
    client.flushall()
    client.config_set("maxmemory", "1gb")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("appendonly", "yes")
    ports = {"port": free_port(), "deliver_metrics_port": free_port()}
    settings = Settings(valkey_url=server.connection_url, state=tmp_path, **ports)  # type: ignore[arg-type]
    return Deployment(settings, parse(CATALOG), {}, clock_ms())


def found(at: Deployment, check: str, level: Level) -> list[str]:
    return [one.found for name, one in examine(at) if (name, one.level) == (check, level)]


def changed(at: Deployment, catalog: str = "", environment: dict[str, str] | None = None, **fields: Any) -> Deployment:
    settings = at.settings.model_copy(update=fields)
    return Deployment(settings, parse(CATALOG + catalog), environment or {}, clock_ms())


def test_every_finding_but_a_good_one_says_what_it_means(deployment: Deployment) -> None:
    at = changed(deployment, host="0.0.0.0", anonymous="admin", origins="*", metrics_host="0.0.0.0")
    for name, one in examine(at):
        assert name in CHECKS
        assert one.found
        if one.level >= Level.WARNING:
            assert one.means, one
            assert one.do, one


def test_a_server_that_would_lose_events_is_a_problem(deployment: Deployment, server: ValkeyServer) -> None:
    assert found(deployment, "valkey.keeps", Level.PROBLEM) == []
    assert len(found(deployment, "valkey.keeps", Level.OK)) == 2
    server.client().config_set("maxmemory-policy", "allkeys-lru")
    server.client().config_set("appendonly", "no")
    assert found(deployment, "valkey.keeps", Level.PROBLEM) == ["maxmemory-policy is allkeys-lru"]
    assert found(deployment, "valkey.keeps", Level.WARNING) == ["the append-only file is off"]


def test_a_server_that_is_away_is_one_problem_and_the_rest_is_checked(deployment: Deployment) -> None:
    at = changed(deployment, valkey_url=f"valkey://me:hunter2-secret@127.0.0.1:{free_port()}")
    said = list(examine(at))
    [problem] = [one for name, one in said if one.level is Level.PROBLEM]
    assert "refused" in problem.found
    assert "hunter2" not in str(said)
    assert {"settings", "catalog", "state", "files", "clock"} <= {name for name, _ in said}


def test_a_full_server(deployment: Deployment, server: ValkeyServer) -> None:
    assert len(found(deployment, "valkey.room", Level.OK)) == 1
    used = server.client().info("memory")["used_memory"]
    server.client().config_set("maxmemory", str(int(used * 1.05)))
    assert len(found(deployment, "valkey.room", Level.PROBLEM)) == 1
    server.client().config_set("maxmemory", "0")
    assert "maxmemory is not set" in found(deployment, "valkey.room", Level.NOTE)[0]


def test_a_key_that_is_no_stream(deployment: Deployment, server: ValkeyServer) -> None:
    assert found(deployment, "streams", Level.NOTE) == ["events is not there"]
    server.client().set("events", "x")
    assert found(deployment, "streams", Level.PROBLEM) == ["events is a string, no stream"]
    server.client().delete("events")
    server.client().xadd("events", {"data": "{}"})
    assert found(deployment, "streams", Level.OK) == ["events has 1 entries"]


def test_the_processor_is_judged_by_what_it_said_last(deployment: Deployment, server: ValkeyServer) -> None:
    assert found(deployment, "processor", Level.PROBLEM) == ["no processor of this platform has said anything"]
    now_ms = clock_ms()
    status = {"events": {"at_ms": now_ms, "lag": 1_234, "lag_ms": 60_000, "gaps": 1, "lost": 3}}
    LiveSink(server.client(), platform="Shop").write([], status, now_ms=now_ms - 9_000)
    assert found(deployment, "processor", Level.OK) in (
        ["the processor was heard 0 s ago"],
        ["the processor was heard 1 s ago"],
    )
    clock, lag, lost = found(deployment, "processor", Level.WARNING)
    assert re.fullmatch(r"the processor's clock is -9\.\d s from the server's", clock)
    assert lag == "events is 60 s behind, 1,234 entries"
    assert lost == "events: 3 entries were gone before they were read, in 1 gaps"
    server.client().delete("streamgauge:live")
    server.client().xadd("streamgauge:live", {"u": b'{"t":1,"platform":"Shop"}'}, id=f"{now_ms - 60_000}-0")
    assert re.search(r"was last heard 6\d s ago", found(deployment, "processor", Level.PROBLEM)[0])


def test_what_was_refused_is_told_by_reason(deployment: Deployment, server: ValkeyServer) -> None:
    assert len(found(deployment, "dead letters", Level.OK)) == 1
    letters = [DeadLetter("events", "1-0", 0, reason, "…", b"x") for reason in (Reason.BAD_TYPE, Reason.BAD_TYPE)]
    DeadLetterSink(server.client()).write([*letters, DeadLetter("events", "1-0", 0, Reason.FUTURE, "…", b"x")])
    [said] = found(deployment, "dead letters", Level.WARNING)
    assert said == "3 dead letters within the last hour: bad_type 2, future 1"


def test_the_state_directory(deployment: Deployment, tmp_path: Path) -> None:
    assert len(found(deployment, "state", Level.NOTE)) == 1
    (tmp_path / "taken").write_text("")
    at = changed(deployment, state=tmp_path / "taken")
    assert found(at, "state", Level.PROBLEM) == [f"{tmp_path}/taken/shop cannot be written"]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/state.json").write_text("{")
    assert "state.json cannot be read" in found(deployment, "state", Level.PROBLEM)[0]


def test_the_file_system_is_that_of_the_deepest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw\nb {tmp_path} nfs4 rw\nc {tmp_path}/with\\040space xfs rw\n")
    assert filesystem_of(tmp_path / "x", mounts) == "nfs4"
    assert filesystem_of(tmp_path / "with space/x", mounts) == "xfs"
    assert filesystem_of(Path("/usr"), mounts) == "ext4"
    assert filesystem_of(Path("/usr"), tmp_path / "none") is None


def test_the_store_is_looked_at_and_not_touched(deployment: Deployment, tmp_path: Path) -> None:
    assert "is not there yet" in found(deployment, "store", Level.NOTE)[0]
    (tmp_path / "shop").mkdir()
    path = tmp_path / "shop/points.db"
    path.write_bytes(b"")
    assert "has no tables yet" in found(deployment, "store", Level.NOTE)[0]
    assert path.read_bytes() == b""
    store = Store(f"sqlite:///{path}")
    store.setup()
    store.close()
    assert found(deployment, "store", Level.OK) == [f"{path} has schema version {SCHEMA_VERSION}"]
    path.write_bytes(b"something else entirely" * 100)
    assert "cannot be read" in found(deployment, "store", Level.PROBLEM)[0]


def test_webhooks_without_their_secrets(deployment: Deployment) -> None:
    hook = '[[webhook]]\nname = "ops"\nurl = "https://ops.example/"\nsecret_env = "OPS_SECRET"\n'
    [problem] = found(changed(deployment, hook), "webhooks", Level.PROBLEM)
    assert problem.startswith("webhook ops: OPS_SECRET: expected")
    well = changed(deployment, hook, {"OPS_SECRET": "whsec_" + "QUFB" * 10})
    assert found(well, "webhooks", Level.OK) == ["1 webhooks have all that they need"]


@pytest.mark.parametrize(
    ("check", "fields", "level"),
    [
        ("exposure", {"host": "0.0.0.0", "anonymous": "admin"}, Level.PROBLEM),
        ("exposure", {"host": "0.0.0.0", "anonymous": "viewer"}, Level.WARNING),
        ("exposure", {"host": "0.0.0.0", "anonymous": "none"}, Level.OK),
        ("exposure", {"public_url": "https://wall.example", "anonymous": "admin"}, Level.PROBLEM),
        ("exposure", {"public_url": "https://wall.example", "anonymous": "viewer"}, Level.WARNING),
        ("exposure", {"origins": "*"}, Level.WARNING),
        ("exposure", {"trusted_proxies": "*"}, Level.WARNING),
        ("exposure", {"metrics_host": "0.0.0.0"}, Level.NOTE),
        ("login", {"oidc_issuer": "https://login.example"}, Level.PROBLEM),
        ("login", {"oidc_issuer": "http://login.example", "oidc_client_id": "x"}, Level.WARNING),
        ("files", {"max_clients": 1_000_000_000}, Level.WARNING),
        ("geoip", {"geoip": Path("/nowhere.mmdb")}, Level.PROBLEM),
        ("influx", {"influx_url": "http://127.0.0.1:1", "influx_token": SecretStr("t0ken-hidden")}, Level.PROBLEM),
    ],
)
def test_settings_that_let_strangers_in_or_do_not_work(
    deployment: Deployment, check: str, fields: dict[str, Any], level: Level
) -> None:
    at = changed(deployment, **fields)
    assert max(one.level for name, one in examine(at) if name == check) == level
    assert "t0ken-hidden" not in str(list(examine(at)))


def test_misspelt_settings(deployment: Deployment) -> None:
    at = changed(deployment, environment={"STREAMGAUGE_TIK_MS": "3"})
    assert found(at, "settings", Level.WARNING) == ["STREAMGAUGE_TIK_MS is no setting"]


def test_a_check_that_breaks_does_not_stop_the_others(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Deployment) -> Iterator[Any]:
        raise RuntimeError("unforeseen")

    monkeypatch.setitem(CHECKS, "streams", broken)  # type: ignore[arg-type]
    said = list(examine(deployment))
    assert [one.found for name, one in said if name == "streams"] == [
        "could not be checked: RuntimeError('unforeseen')"
    ]
    assert said[-1][0] == "cores"


def test_the_verb_says_it_for_people_and_for_programs(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tmp_path / "shop.toml"
    catalog.write_text(CATALOG)
    assert deployment.settings.valkey_url is not None
    monkeypatch.setenv("VALKEY_URL", deployment.settings.valkey_url)
    monkeypatch.setenv("STREAMGAUGE_PORT", str(deployment.settings.port))
    monkeypatch.setenv("INFLUX_TOKEN", "t0ken-hidden")
    arguments = ["doctor", "--catalog", str(catalog), "--state", str(tmp_path / "state")]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 1, "no processor runs"
    assert re.search(r"^problem +processor +no processor", told.output, re.MULTILINE)
    assert re.search(r"^ +do: `streamgauge run`$", told.output, re.MULTILINE)
    as_json = CliRunner().invoke(app, [*arguments, "--json"])
    said = orjson.loads(as_json.output)
    assert (as_json.exit_code, said["worst"]) == (1, "problem")
    assert {"check", "level", "found", "means", "do"} == set(said["findings"][0])
    brief = CliRunner().invoke(app, [*arguments, "--brief"]).output
    assert not re.search(r"^ok ", brief, re.MULTILINE)
    LiveSink(deployment_client(deployment), platform="Shop").write([], {}, now_ms=clock_ms())
    assert CliRunner().invoke(app, arguments).exit_code == 0, "warnings and notes are no problem"
    assert "t0ken-hidden" not in told.output + as_json.output
    assert not (tmp_path / "state").exists(), "nothing is written"


def deployment_client(at: Deployment) -> Any:
    import valkey

    assert at.settings.valkey_url is not None
    return valkey.Valkey.from_url(at.settings.valkey_url)
