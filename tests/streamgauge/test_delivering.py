from __future__ import annotations

import base64
from pathlib import Path

import pytest

from live_api.delivery.retries import STANDARD_S
from sinks.errors import Misconfigured
from stream.catalog import parse
from streamgauge.delivering import endpoints_of, pace_of
from streamgauge.places import outbox_of

METRIC = '[platform]\nname = "Shop"\n[[metric]]\nname = "edits"\nmeasure = "count"\n'
SECRET = "whsec_" + base64.b64encode(b"hunter2-" * 4).decode()


def misconfigured(text: str, **environment: str) -> str:
    with pytest.raises(Misconfigured) as error:
        endpoints_of(parse(f"{METRIC}[[webhook]]\n{text}\n"), environment)
    message = str(error.value)
    assert "hunter2" not in message
    assert base64.b64encode(b"hunter2-").decode()[:8] not in message
    return message


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "in this environment variable; found nothing"),
        ("  ", "found nothing"),
        ("hunter2", "does not begin with whsec_"),
        ("whsec_hunter2!!", "9 characters that are not base64"),
        ("whsec_" + base64.b64encode(b"hunter2-").decode(), "found 8 bytes"),
        ("whsec_" + base64.b64encode(b"hunter2-" * 9).decode(), "found 72 bytes"),
        (f"{SECRET} hunter2", "does not begin with whsec_"),
    ],
)
def test_a_secret_that_cannot_sign_is_refused_by_webhook_and_variable(value: str | None, found: str) -> None:
    environment = {} if value is None else {"OPS_SECRET": value}
    message = misconfigured('name = "ops"\nurl = "https://a.example"\nsecret_env = "OPS_SECRET"', **environment)
    assert message.startswith("webhook ops: OPS_SECRET: expected whsec_ and base64 of 24 to 64 bytes")
    assert found in message


def test_a_secret_comes_from_a_file_too_and_two_sign_while_it_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n{SECRET}\n")
    [made] = endpoints_of(parse(f'{METRIC}[[webhook]]\nurl = "https://a.example"\nsecret_file = "{path}"\n'), {})
    assert len(made.keys) == 2
    assert "hunter2" not in repr(made)
    assert SECRET not in repr(made)
    message = misconfigured(f'url = "https://a.example"\nsecret_file = "{tmp_path}/none"')
    assert message.startswith(f"webhook a.example: secret_file {tmp_path}/none: expected whsec_")
    assert message.endswith("found No such file or directory")
    path.write_bytes(b"hunter2\xff")
    assert "letters beyond ASCII" in misconfigured(f'url = "https://a.example"\nsecret_file = "{path}"')
    path.write_bytes(b"")
    assert "found nothing" in misconfigured(f'url = "https://a.example"\nsecret_file = "{path}"')


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "expected the URL in this environment variable; found nothing"),
        ("http://h.example/hunter2", "begins with https://"),
        ("https://me:hunter2@h.example/", "no user or password"),
        ("https://169.254.169.254/hunter2", "169.254.169.254, which is link-local"),
        ("hunter2", "found none"),
    ],
)
def test_a_url_of_the_environment_is_held_to_what_one_of_the_catalog_is(url: str, said: str) -> None:
    message = misconfigured('name = "chat"\nformat = "slack"\nurl_env = "SLACK_URL"', SLACK_URL=url)
    assert message.startswith("webhook chat: SLACK_URL: expected")
    assert said in message


def test_pagerdutys_key_has_32_letters_and_is_no_signing_key() -> None:
    text = 'format = "pagerduty"\nsecret_env = "PD"'
    [made] = endpoints_of(parse(f"{METRIC}[[webhook]]\n{text}\n"), {"PD": "a" * 32})
    assert made.url == "https://events.pagerduty.com/v2/enqueue"
    assert made.keys == ()
    assert "aaaa" not in repr(made)
    assert "expected a routing key of 32 letters and digits; found 7" in misconfigured(text, PD="hunter2")


def test_headers_come_from_variables() -> None:
    text = 'url = "https://a.example"\nheaders = { Authorization = "TOKEN" }'
    [made] = endpoints_of(parse(f"{METRIC}[[webhook]]\n{text}\n"), {"TOKEN": "Bearer hunter2"})
    assert made.headers == {"Authorization": "Bearer hunter2"}
    assert "TOKEN: expected header Authorization" in misconfigured(text)
    assert "on one line" in misconfigured(text, TOKEN="hunter2\r\nx: y")


def test_all_that_is_wrong_is_said_at_once() -> None:
    two = 'url = "https://a.example"\nsecret_env = "A"\n[[webhook]]\nurl = "https://b.example"\nsecret_env = "B"'
    assert [line.split(":")[0] for line in misconfigured(two).splitlines()] == [
        "webhook a.example",
        "webhook b.example",
    ]


def test_the_usual_pace_is_the_standards() -> None:
    assert pace_of(None).schedule.delays_s == STANDARD_S
    assert pace_of('{"delays_s": [0, 1], "failures": 9}').failures == 9


def test_platforms_of_one_server_have_an_outbox_each() -> None:
    assert outbox_of(parse(METRIC)) == "streamgauge:outbox:shop"
