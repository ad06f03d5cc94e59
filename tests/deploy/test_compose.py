"""docker-compose.yml: valid, and by the rules that it is meant to keep."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from typing import Any

import pytest

from live_api import app
from streamgauge import __version__, delivering, processor
from streamgauge.settings import variables
from tests.deploy.compose import FILE, compose, seconds, services
from tests.stack import ROOT

EVERY = services()
OURS = {name: one for name, one in EVERY.items() if one["image"].startswith("streamgauge:")}
every = pytest.mark.parametrize("service", EVERY.values(), ids=EVERY)


def test_it_is_what_compose_takes() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_parts_are_there() -> None:
    always = {name for name, one in EVERY.items() if "profiles" not in one}
    assert always == {"valkey", "influxdb", "postgres", "buckets", "processor", "api", "deliver"}
    assert {name: one["profiles"] for name, one in EVERY.items() if "profiles" in one} == {
        "demo": ["demo"],
        "prometheus": ["observability"],
        "dashboards": ["observability"],
        "grafana": ["observability"],
    }


@every
def test_images_are_pinned(service: dict[str, Any]) -> None:
    name, _, tag = service["image"].partition(":")
    assert re.match(r"v?\d+\.\d+", tag), service["image"]
    if name == "streamgauge":
        assert tag == __version__
        assert service["build"] == "."


@every
def test_what_a_service_may_do_is_little(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["init"] is True
    user, _, _ = service["user"].partition(":")
    assert int(user) > 0
    assert not service.get("privileged")


@every
def test_what_a_service_may_take_is_limited(service: dict[str, Any]) -> None:
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["ulimits"]["nofile"] >= 65_536
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


@every
def test_only_this_machine_reaches_a_port(service: dict[str, Any]) -> None:
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


@every
def test_a_service_is_healthy_or_ends(service: dict[str, Any]) -> None:
    ends = {"buckets", "dashboards", "demo"}
    checked = "test" in service["healthcheck"]
    assert checked != (service in [EVERY[name] for name in ends])


@every
def test_whoever_is_waited_for_can_be(service: dict[str, Any]) -> None:
    for name, how in service.get("depends_on", {}).items():
        wanted = "service_healthy" if "test" in EVERY[name]["healthcheck"] else "service_completed_successfully"
        assert how["condition"] == wanted, name
        # With a profile off, what is always there must not need what is not.
        assert set(EVERY[name].get("profiles", [])) <= set(service.get("profiles", []))


def test_secrets_are_files_and_nothing_else() -> None:
    whole = compose()
    assert all(set(one) == {"file"} for one in whole["secrets"].values())
    used = {name for one in EVERY.values() for name in one.get("secrets", [])}
    assert used == set(whole["secrets"])
    secret = re.compile(r"PASSWORD|TOKEN|KEY|SECRET|VALKEY_URL|DATABASE_URL")
    for name, one in EVERY.items():
        for variable, value in one.get("environment", {}).items():
            if secret.search(variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert value.startswith(("/run/secrets/", "/run/influx/")), f"{name}: {value}"
            if value.startswith("/run/secrets/"):
                assert value.removeprefix("/run/secrets/") in one["secrets"], f"{name}: {variable}"


@pytest.mark.parametrize("name", OURS)
def test_our_settings_are_those_there_are(name: str) -> None:
    known = set(variables().values())
    found = {variable.removesuffix("_FILE") for variable in OURS[name].get("environment", {})}
    assert found <= known, found - known


def test_whoever_needs_no_secret_gets_none() -> None:
    assert {name for name, one in EVERY.items() if "person_key" in one.get("secrets", [])} == {"processor", "api"}
    assert {name for name, one in EVERY.items() if "influx_admin_token" in one.get("secrets", [])} == {
        "influxdb",
        "buckets",
    }


def test_only_the_processor_has_its_state() -> None:
    with_state = [name for name, one in EVERY.items() if "state:/var/lib/streamgauge" in one.get("volumes", [])]
    assert with_state == ["processor"]


def test_volumes_and_networks_are_declared() -> None:
    whole = compose()
    mounted = {one.partition(":")[0] for of in EVERY.values() for one in of.get("volumes", []) if isinstance(one, str)}
    assert mounted == set(whole["volumes"])
    assert whole["networks"]["data"] == {"internal": True}
    # A port of a network without a way out is published nowhere.
    assert {name for name, one in EVERY.items() if "front" in one["networks"]} >= {
        name for name, one in EVERY.items() if "ports" in one
    }


def test_what_is_mounted_from_here_is_here() -> None:
    for name, one in EVERY.items():
        for mount in one.get("volumes", []):
            if isinstance(mount, dict):
                assert (ROOT / mount["source"]).exists(), f"{name}: {mount['source']}"
                assert mount["read_only"] is True


@pytest.mark.parametrize(
    ("name", "own_limit_s"),
    [("processor", processor.DRAIN_S), ("api", app.HARD_LIMIT_S), ("deliver", delivering._HARD_LIMIT_S)],
)
def test_nobody_is_killed_who_would_end_by_itself(name: str, own_limit_s: float) -> None:
    assert seconds(EVERY[name]["stop_grace_period"]) >= 1.5 * own_limit_s


@pytest.mark.parametrize("name", OURS)
def test_a_wrong_setting_does_not_start_again_for_ever(name: str) -> None:
    # Docker cannot tell status 78 from others.
    assert re.fullmatch(r"on-failure:\d+", OURS[name]["restart"])


def test_events_are_never_evicted() -> None:
    command = " ".join(EVERY["valkey"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_nobody_sees_anything_without_a_key() -> None:
    api = EVERY["api"]["environment"]
    assert api["STREAMGAUGE_HOST"] == "0.0.0.0"
    assert api["STREAMGAUGE_ANONYMOUS"] == "none"


def test_secrets_are_made_once_and_kept_from_others(tmp_path: Any) -> None:
    secrets = tmp_path / "secrets"
    make = [str(ROOT / "deploy/make-secrets"), str(secrets)]
    subprocess.run(make, check=True, capture_output=True)
    first = {path.name: path.read_text() for path in secrets.iterdir()}
    assert set(first) == {one["file"].rpartition("/")[2] for one in compose()["secrets"].values()}
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o444}
    assert first["valkey_password"].strip() in first["valkey_url"]
    assert first["valkey_conf"] == f"requirepass {first['valkey_password']}"
    assert first["postgres_password"].strip() in first["database_url"]
    random = [text for name, text in first.items() if name not in ("valkey_url", "valkey_conf", "database_url")]
    assert all(re.fullmatch(r"[0-9a-f]{64}\n", text) for text in random)
    assert len(set(random)) == len(random)
    subprocess.run(make, check=True, capture_output=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == first


def test_secrets_are_in_no_commit_and_in_no_layer() -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", "deploy/secrets/person_key"], cwd=ROOT)
    assert ignored.returncode == 0
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert not any(rule.startswith("!deploy") for rule in rules)
