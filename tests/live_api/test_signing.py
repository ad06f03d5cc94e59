from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from live_api.delivery.signing import SigningKey, signed_headers


def secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


@given(st.binary(min_size=24, max_size=64), st.text().map(str.encode))
def test_what_is_signed_is_verified_by_the_standards_own_package(key: bytes, body: bytes) -> None:
    headers = signed_headers("msg1", int(time.time() * 1_000), body, [SigningKey.parse(secret(key))])
    Webhook(secret(key)).verify(body, headers, json_parse=False)


def test_another_body_id_or_time_is_not_verified() -> None:
    key = secret(b"k" * 32)
    headers = signed_headers("msg1", int(time.time() * 1_000), b"{}", [SigningKey.parse(key)])
    Webhook(key).verify(b"{}", headers)
    for wrong in ({"webhook-id": "msg2"}, {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(b"{}", headers | wrong)
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(b"[]", headers)


def test_while_a_secret_is_changed_either_of_the_two_verifies() -> None:
    new, old, other = (secret(letter * 32) for letter in (b"n", b"o", b"x"))
    headers = signed_headers("msg1", int(time.time() * 1_000), b"{}", [SigningKey.parse(new), SigningKey.parse(old)])
    assert len(headers["webhook-signature"].split(" ")) == 2
    Webhook(new).verify(b"{}", headers)
    Webhook(old).verify(b"{}", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(b"{}", headers)


def test_without_a_key_there_is_an_id_but_no_signature() -> None:
    assert signed_headers("msg1", 1_700_000_000_999, b"", []) == {
        "webhook-id": "msg1",
        "webhook-timestamp": "1700000000",
    }


@pytest.mark.parametrize("bad", ["", "a.b"])
def test_an_id_that_could_be_read_in_two_ways_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="expected an id without dots"):
        signed_headers(bad, 0, b"", [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hunter2hunter2hunter2hunter2hunter2", "does not begin with whsec_"),
        ("whsec_hunter2!hunter2!hunter2!hunter2!", "32 characters that are not base64"),
        ("whsec_hunter2hünter2", "not base64"),
        (secret(b"hunter2" * 3), "found 21 bytes"),
        (secret(b"hunter2" * 10), "found 70 bytes"),
        ("whsec_", "found 0 bytes"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_never_quoted(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=found) as error:
        SigningKey.parse(text)
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None
    assert "24 to 64 bytes" in str(error.value)


def test_a_key_does_not_show_itself() -> None:
    assert repr(SigningKey(b"hunter2" * 4)) == "SigningKey(…)"
