from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from streamgauge.settings import (
    MetricsPlace,
    Settings,
    SettingsError,
    environment_with,
    existing_person_key,
    person_key,
    read_settings,
    variables,
)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(("STREAMGAUGE_", "VALKEY_", "DATABASE_", "INFLUX_", "OTEL_")):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = read_settings()
    assert settings.valkey_url is None
    assert settings.influx_url is None
    assert (settings.host, settings.port, settings.tick_ms, settings.snapshot_s) == ("127.0.0.1", 8000, 100, 2.0)
    assert settings.state == Path(".streamgauge")


def test_each_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "VALKEY_URL": "valkey://h:1/2",
        "DATABASE_URL": "postgresql://h/d",
        "INFLUX_URL": "http://influx:8086",
        "INFLUX_TOKEN": "secret-token",
        "INFLUX_ORG": "org",
        "INFLUX_ADMIN_TOKEN": "the-operators",
        "INFLUX_BUCKET": "bucket",
        "INFLUX_BUCKET_HOURLY": "hours",
        "INFLUX_BUCKET_DAILY": "days",
        "INFLUX_SPOOL_MB": "64",
        "ARCHIVE_URL": "s3://bucket/events",
        "STREAMGAUGE_STATE": "/var/lib/x",
        "STREAMGAUGE_PERSON_KEY": "k" * 16,
        "STREAMGAUGE_HOST": "0.0.0.0",
        "STREAMGAUGE_PORT": "8080",
        "STREAMGAUGE_TICK_MS": "250",
        "STREAMGAUGE_SNAPSHOT_S": "0.5",
        "STREAMGAUGE_ON_GAP": "error",
        "STREAMGAUGE_SHARDS": "4",
        "STREAMGAUGE_METRICS_HOST": "0.0.0.0",
        "STREAMGAUGE_METRICS_PORT": "9500",
        "STREAMGAUGE_API_METRICS_PORT": "9600",
        "STREAMGAUGE_DELIVER_METRICS_PORT": "9700",
        "STREAMGAUGE_ORIGINS": "https://wall.example, http://tv:8080",
        "STREAMGAUGE_MAX_CLIENTS": "5",
        "STREAMGAUGE_MAX_CLIENTS_PER_ADDRESS": "4",
        "STREAMGAUGE_ACCEPTS_PER_S": "2.5",
        "STREAMGAUGE_HEARTBEAT_S": "1",
        "STREAMGAUGE_LOG_LEVEL": "DEBUG",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert settings.valkey_url == "valkey://h:1/2"
    assert settings.store_url(Path("x")) == "postgresql://h/d"
    assert settings.influx_token.get_secret_value() == "secret-token"
    assert settings.influx_admin_token.get_secret_value() == "the-operators"
    assert (settings.influx_bucket_hourly, settings.influx_bucket_daily) == ("hours", "days")
    assert (settings.influx_spool_mb, settings.archive_url) == (64, "s3://bucket/events")
    assert (settings.influx_url, settings.influx_org, settings.influx_bucket) == ("http://influx:8086", "org", "bucket")
    assert (settings.state, settings.host, settings.port) == (Path("/var/lib/x"), "0.0.0.0", 8080)
    assert (settings.tick_ms, settings.snapshot_s, settings.log_level) == (250, 0.5, "DEBUG")
    assert settings.on_gap == "error"
    assert settings.shards == 4
    assert settings.metrics_of("processor") == MetricsPlace("0.0.0.0", 9500, True, "STREAMGAUGE_METRICS_PORT")
    deliver = MetricsPlace("0.0.0.0", 9700, True, "STREAMGAUGE_DELIVER_METRICS_PORT")
    assert settings.metrics_of("deliver") == deliver
    assert settings.metrics_of("api") == MetricsPlace("0.0.0.0", 9600, True, "STREAMGAUGE_API_METRICS_PORT")
    assert settings.allowed_origins == ("https://wall.example", "http://tv:8080")
    assert (settings.max_clients, settings.max_clients_per_address, settings.accepts_per_s) == (5, 4, 2.5)
    assert settings.heartbeat_s == 1
    assert not settings.loopback
    outside = {
        "STREAMGAUGE_ANONYMOUS": "viewer",
        "STREAMGAUGE_PUBLIC_URL": "https://wall.example",
        "STREAMGAUGE_TRUSTED_PROXIES": "10.0.0.1",
        "STREAMGAUGE_OIDC_ISSUER": "https://login.example",
        "STREAMGAUGE_OIDC_CLIENT_ID": "gauge",
        "STREAMGAUGE_OIDC_CLIENT_SECRET": "hidden",
        "STREAMGAUGE_OIDC_AUDIENCE": "api",
        "STREAMGAUGE_OIDC_ROLES_CLAIM": "realm_access.roles",
        "STREAMGAUGE_OIDC_ROLES": "sre=operator",
        "STREAMGAUGE_OIDC_ROWS": "community=communities",
        "STREAMGAUGE_OIDC_PERSON_CLAIM": "user_id",
        "STREAMGAUGE_INGEST_ORIGINS": "*",
        "STREAMGAUGE_INGEST_MAX_BYTES": "2048",
        "STREAMGAUGE_INGEST_EVENTS_PER_S": "7.5",
        "STREAMGAUGE_INGEST_BACKLOG": "11",
        "STREAMGAUGE_INGEST_DEDUPE_S": "0",
        "STREAMGAUGE_GEOIP": "/var/lib/geo.mmdb",
        "STREAMGAUGE_LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://traces:4318",
    }
    for name, value in outside.items():
        monkeypatch.setenv(name, value)
    settings, of = read_settings(), {variable: name for name, variable in variables().items()}
    for name, value in outside.items():
        found = getattr(settings, of[name])
        assert str(found.get_secret_value() if isinstance(found, SecretStr) else found) == value
    assert len(values | outside) == len(Settings.model_fields)


def test_metrics_are_off_when_they_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings()
    assert settings.metrics_of("processor") == MetricsPlace("127.0.0.1", 9464, False, "STREAMGAUGE_METRICS_PORT")
    assert settings.metrics_of("api") == MetricsPlace("127.0.0.1", 9564, False, "STREAMGAUGE_API_METRICS_PORT")
    monkeypatch.setenv("STREAMGAUGE_API_METRICS_PORT", "9700")
    assert read_settings().metrics_of("api").wanted
    assert not read_settings().metrics_of("processor").wanted
    monkeypatch.setenv("STREAMGAUGE_METRICS_PORT", "off")
    assert read_settings().metrics_port is None
    for wrong in ("0", "none", "-1", "70000"):
        monkeypatch.setenv("STREAMGAUGE_METRICS_PORT", wrong)
        with pytest.raises(SettingsError, match=f"STREAMGAUGE_METRICS_PORT: .*; found '{wrong}'"):
            read_settings()


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_PORT", "8080")
    assert read_settings(port=9000).port == 9000
    assert read_settings(port=None).port == 8080


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `VALKEY_URL=` of an .env file, and `VALKEY_URL: ${VALKEY_URL:-}` of a compose file."""
    for name in ("VALKEY_URL", "DATABASE_URL", "INFLUX_URL", "STREAMGAUGE_PORT", "STREAMGAUGE_PERSON_KEY"):
        monkeypatch.setenv(name, "")
    settings = read_settings()
    assert (settings.valkey_url, settings.influx_url, settings.person_key, settings.port) == (None, None, None, 8000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STREAMGAUGE_PORT", "http"),
        ("STREAMGAUGE_PORT", "0"),
        ("STREAMGAUGE_PORT", "65536"),
        ("STREAMGAUGE_TICK_MS", "19"),
        ("STREAMGAUGE_SNAPSHOT_S", "0"),
        ("STREAMGAUGE_SNAPSHOT_S", "nan"),
        ("STREAMGAUGE_LOG_LEVEL", "VERBOSE"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_was_found(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: .*found '{value}'$"):
        read_settings()


def test_every_problem_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_PORT", "x")
    monkeypatch.setenv("STREAMGAUGE_TICK_MS", "y")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "STREAMGAUGE_PORT",
        "STREAMGAUGE_TICK_MS",
    ]


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUX_TOKEN", "secret-token")
    monkeypatch.setenv("STREAMGAUGE_PERSON_KEY", "secret-key-of-persons")
    shown = repr(read_settings())
    assert "secret-token" not in shown
    assert "secret-key" not in shown


def test_the_store_is_sqlite_in_the_state_directory_by_default(tmp_path: Path) -> None:
    assert read_settings().store_url(tmp_path) == f"sqlite:///{tmp_path}/points.db"


def test_the_key_of_the_pseudonyms_is_made_once_and_private(tmp_path: Path) -> None:
    settings = read_settings()
    state = tmp_path / "deep" / "state"
    key = person_key(settings, state)
    assert len(key) >= 32
    assert person_key(settings, state) == key
    assert stat.S_IMODE((state / "person.key").stat().st_mode) == 0o600
    assert person_key(settings, tmp_path / "other") != key


def test_a_key_that_is_to_be_there_is_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        existing_person_key(read_settings(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    key = person_key(read_settings(), tmp_path)
    assert existing_person_key(read_settings(), tmp_path) == key
    monkeypatch.setenv("STREAMGAUGE_PERSON_KEY", "sixteen bytes or more")
    assert existing_person_key(read_settings(), tmp_path) == b"sixteen bytes or more"


def test_processes_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    settings = read_settings()
    for number in range(30):
        keys: list[bytes | Exception] = []
        gate = threading.Barrier(4)

        def ask(state: Path, keys: list[bytes | Exception] = keys, gate: threading.Barrier = gate) -> None:
            gate.wait()
            try:
                keys.append(person_key(settings, state))
            except SettingsError as error:
                keys.append(error)

        threads = [threading.Thread(target=ask, args=(tmp_path / str(number),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(keys)) == 1, keys


def test_a_key_that_is_set_is_used_and_none_is_made(tmp_path: Path) -> None:
    assert person_key(read_settings(person_key="k" * 16), tmp_path) == b"k" * 16
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingsError, match="STREAMGAUGE_PERSON_KEY: expected at least 16 bytes; found 15"):
        person_key(read_settings(person_key="k" * 15), tmp_path)


def test_a_spoiled_key_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "person.key").write_text("short\n")
    with pytest.raises(SettingsError, match=r"person\.key: expected a key of at least 16 bytes; found 5"):
        person_key(read_settings(), tmp_path)
    assert (tmp_path / "person.key").read_text() == "short\n"


def test_the_environment_of_a_child_has_values_before_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_FILE", "/secret")
    monkeypatch.setenv("B_FILE", "/secret")
    made = environment_with({"A": 1, "B": None, "C": Path("/x"), "D": ""})
    assert {name: made[name] for name in "ACD"} == {"A": "1", "C": "/x", "D": ""}
    assert "B" not in made
    assert "A_FILE" not in made
    assert made["B_FILE"] == "/secret"


@pytest.mark.parametrize(
    "origins", ["wall.example", "ftp://wall.example", "https://", "https://wall.example/path", "x,*"]
)
def test_origins_are_origins(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("STREAMGAUGE_ORIGINS", origins)
    with pytest.raises(SettingsError, match=r"STREAMGAUGE_ORIGINS: .*expected origins such as"):
        read_settings()


def test_a_setting_can_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "database"
    secret.write_text("postgresql://a:b@c/d\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(secret))
    monkeypatch.setenv("STREAMGAUGE_PERSON_KEY_FILE", str(secret))
    settings = read_settings()
    assert settings.database_url == "postgresql://a:b@c/d"
    assert settings.person_key is not None
    assert settings.person_key.get_secret_value() == "postgresql://a:b@c/d"


def test_a_setting_and_its_file_at_once_are_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=r"DATABASE_URL_FILE: .*missing cannot be read"):
        read_settings()
    monkeypatch.setenv("DATABASE_URL", "sqlite:////tmp/x.db")
    with pytest.raises(SettingsError, match="DATABASE_URL: expected it or DATABASE_URL_FILE; found both"):
        read_settings()
