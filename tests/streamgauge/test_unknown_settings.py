from __future__ import annotations

import pytest

from stream.catalog import parse
from streamgauge.settings import variables
from streamgauge.unknown_settings import unknown, variables_of


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("STREAMGAUGE_TIK_MS", "STREAMGAUGE_TICK_MS"),
        ("STREAMGAUGE_VALKEY_URL", "VALKEY_URL"),
        ("STREAMGUAGE_PORT", "STREAMGAUGE_PORT"),
        ("STREAMGAUGE_PERSON_KEY_FLIE", "STREAMGAUGE_PERSON_KEY_FILE"),
        ("STREAMGAUGE_ZZZZZZ", None),
        ("VALKEY_ULR", "VALKEY_URL"),
        ("INFLUX_TOKKEN", "INFLUX_TOKEN"),
        ("OIDC_ISSUER", "STREAMGAUGE_OIDC_ISSUER"),
    ],
)
def test_a_name_that_is_none_is_told_with_the_nearest(name: str, nearest: str | None) -> None:
    [found] = unknown({name: "x", "PATH": "/bin"})
    assert (found.name, found.nearest) == (name, nearest)


def test_settings_their_files_and_what_others_use_are_not_told() -> None:
    ours = {name: "x" for name in variables().values()}
    files = {f"{name}_FILE": "x" for name in ours}
    others = ["INFLUX_CONFIGS_PATH", "INFLUX_ORG_ID", "INFLUX_BUCKET_ID", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
    others += ["HOST", "PORT", "HOME", "LOG_LEVEL", "STREAMGAUGE_CHILD", "STREAMGAUGE_SCREENSHOTS"]
    assert list(unknown(ours | files | dict.fromkeys(others, "x"))) == []


def test_variables_that_a_catalog_chose_are_its_own() -> None:
    catalog = parse(
        '[[metric]]\nname = "n"\nmeasure = "count"\n'
        '[[webhook]]\nurl_env = "STREAMGAUGE_HOOK"\nsecret_env = "STREAMGAUGE_HOOK_SECRET"\nname = "ops"\n'
        '[webhook.headers]\nX-Key = "STREAMGAUGE_HOOK_KEY"\n'
    )
    names = variables_of(catalog)
    assert names == {"STREAMGAUGE_HOOK", "STREAMGAUGE_HOOK_SECRET", "STREAMGAUGE_HOOK_KEY"}
    assert list(unknown(dict.fromkeys(names, "x"), names)) == []
