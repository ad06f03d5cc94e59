"""What a setting has of a secret is in no message."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge.influx_places import place_of
from streamgauge.settings import read_settings
from streamgauge.terminal import without_login

from .conftest import Command

SECRET = "se:cr#et@leak"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"valkey://user:{SECRET}@host:6379/0", "valkey://host:6379/0"),
        (f"https://{SECRET}@host/a@b", "https://b"),
        ("valkey://127.0.0.1:6379/0", "valkey://127.0.0.1:6379/0"),
        ("no address", "no address"),
    ],
)
def test_an_address_is_shown_without_its_login(address: str, shown: str) -> None:
    assert without_login(address) == shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"VALKEY_URL": f"valkey://u:{SECRET}@host:99999"},
        {"VALKEY_URL": f"smtp://u:{SECRET}@host"},
        {"DATABASE_URL": f"smtp://u:{SECRET}@host/x"},
        {"INFLUX_URL": f"smtp://u:{SECRET}@host"},
        {"STREAMGAUGE_PERSON_KEY": SECRET},
        {"STREAMGAUGE_GEOIP": "/gone.mmdb"},
    ],
)
def test_what_cannot_be_used_is_named_and_its_secrets_are_not(
    verb: Command, catalog_path: Path, wrong: dict[str, str]
) -> None:
    catalog_path.write_text(catalog_path.read_text() + '\n[enrich]\nip = "ip"\n')
    done = verb("run", "-c", catalog_path, **{"VALKEY_URL": "valkey://127.0.0.1:1", **wrong})
    said = done.stdout + done.stderr
    assert done.returncode == 78
    assert next(iter(wrong)) in said or "/gone.mmdb: the MaxMind database cannot be read" in said
    assert not any(part in said for part in ("cr#et", "et@leak", "leak")), said


def test_the_address_of_influxdb_is_used_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUX_URL", f"http://u:{SECRET}@influx.example:8086/")
    assert place_of(read_settings()).url == "http://influx.example:8086"
