from __future__ import annotations

import pytest
import valkey

from sinks.alert_records import Notification
from sinks.errors import Misconfigured, Retryable
from sinks.outbox import NOTIFICATION, Outbox, group_of_endpoint
from tests.alerts import notification

STREAM = "streamgauge:outbox:shop"


def test_an_endpoint_reads_what_was_written_since_its_place_was_made(valkey_client: valkey.Valkey) -> None:
    Outbox(valkey_client, STREAM, ["old"]).setup()
    outbox = Outbox(valkey_client, STREAM, ["old", "new"])
    told = [notification("g", number) for number in range(3)]
    outbox.write(told[:1])
    outbox.setup()
    outbox.setup()
    outbox.write(told[1:])
    for endpoint, wanted in (("old", told), ("new", told[1:])):
        [(_, entries)] = valkey_client.xreadgroup(group_of_endpoint(endpoint), "c", {STREAM: ">"})  # type: ignore[misc]
        assert [Notification.from_bytes(fields[NOTIFICATION]) for _, fields in entries] == wanted


def test_without_endpoints_nothing_is_written(valkey_client: valkey.Valkey) -> None:
    outbox = Outbox(valkey_client, STREAM, [])
    outbox.setup()
    outbox.write([notification()])
    assert valkey_client.exists(STREAM) == 0


def test_a_key_of_another_kind_is_for_a_person_to_put_right(valkey_client: valkey.Valkey) -> None:
    valkey_client.set(STREAM, "x")
    outbox = Outbox(valkey_client, STREAM, ["ops"])
    with pytest.raises(Misconfigured, match="outbox streamgauge:outbox:shop: WRONGTYPE"):
        outbox.setup()
    with pytest.raises(Misconfigured, match="WRONGTYPE"):
        outbox.write([notification()])


def test_a_server_that_is_full_or_away_is_tried_again_and_no_alert_is_quoted(valkey_client: valkey.Valkey) -> None:
    outbox = Outbox(valkey_client, STREAM, ["ops"])
    outbox.setup()
    valkey_client.config_set("maxmemory", 1)
    valkey_client.config_set("maxmemory-policy", "noeviction")
    try:
        with pytest.raises(Retryable) as error:
            outbox.write([notification("of-secrecy")])
    finally:
        valkey_client.config_set("maxmemory", 0)
    assert "of-secrecy" not in str(error.value)
    away = valkey.Valkey(port=1, socket_connect_timeout=0.2)
    with pytest.raises(Retryable, match="outbox"):
        Outbox(away, STREAM, ["ops"]).setup()
    with pytest.raises(Retryable, match="outbox"):
        Outbox(away, STREAM, ["ops"]).write([notification()])
    away.close()
