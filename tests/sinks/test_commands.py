from __future__ import annotations

from dataclasses import replace

import pytest
import valkey

from sinks.alert_records import COMMAND_FIELD, COMMANDS_STREAM, Command, Order
from sinks.commands import CommandSink
from sinks.erasure import ERASURE_FIELD, Erasure
from sinks.errors import Misconfigured, Retryable
from tests.ports import free_port
from tests.servers import ValkeyServer

ACK = Command(Order.ACK, "Ada", 17, "Shop", alert="a1", reason="on it")
SILENCE = Command(
    Order.SILENCE,
    "Bob \N{OWL}\0\n",
    18,
    "Shop",
    reason="a migration",
    silence="s1",
    rule="edits_low",
    dimensions=(("channel", "#en"),),
    until_ms=99,
)


def said(client: valkey.Valkey, stream: str = COMMANDS_STREAM) -> list[Command]:
    return [Command.from_bytes(fields[COMMAND_FIELD]) for _, fields in client.xrange(stream)]


def test_commands_come_back_as_they_were_in_their_order(valkey_client: valkey.Valkey) -> None:
    sink = CommandSink(valkey_client)
    for command in (ACK, SILENCE, ACK):
        sink.write(command)
    assert said(valkey_client) == [ACK, SILENCE, ACK]


def test_the_stream_keeps_about_the_last_commands(valkey_client: valkey.Valkey) -> None:
    sink = CommandSink(valkey_client, "few", maxlen=100)
    for number in range(1_000):
        sink.write(replace(ACK, at_ms=number))
    found = [command.at_ms for command in said(valkey_client, "few")]
    assert 100 <= len(found) <= 200
    assert found[-1] == 999


def test_a_server_that_is_away_is_retryable_and_the_same_write_works_later() -> None:
    port = free_port()
    client = valkey.Valkey(port=port, socket_timeout=1)
    sink = CommandSink(client)
    with pytest.raises(Retryable, match=r"streamgauge:commands: .*refused"):
        sink.write(ACK)
    with ValkeyServer(port=port):
        sink.write(ACK)
        assert said(client) == [ACK]
    client.close()


def test_a_full_server_is_retryable(valkey_client: valkey.Valkey) -> None:
    valkey_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Retryable, match="maxmemory"):
            CommandSink(valkey_client).write(ACK)
    finally:
        valkey_client.config_set("maxmemory", 0)


def test_what_no_repetition_puts_right_is_misconfigured(valkey_client: valkey.Valkey, valkey_url: str) -> None:
    valkey_client.set(COMMANDS_STREAM, "no stream")
    with pytest.raises(Misconfigured, match="no stream"):
        CommandSink(valkey_client).write(ACK)
    valkey_client.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], commands=["+get"])
    stranger = valkey.Valkey.from_url(valkey_url, username="reader", password="x")
    try:
        with pytest.raises(Misconfigured, match="VALKEY_URL"):
            CommandSink(stranger, "other").write(ACK)
    finally:
        stranger.close()
        valkey_client.acl_deluser("reader")


def test_who_is_to_be_forgotten_comes_back_as_it_was(valkey_client: valkey.Valkey) -> None:
    erasure = Erasure("0a" * 16, "Shop", 17)
    entry = CommandSink(valkey_client).forget(erasure)
    [(entry_id, fields)] = valkey_client.xrange(COMMANDS_STREAM)
    assert entry_id.decode() == entry
    assert Erasure.from_bytes(fields[ERASURE_FIELD]) == erasure
