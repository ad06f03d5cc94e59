from __future__ import annotations

from collections.abc import Iterator

import pytest
import valkey

from live_api.access.identity import EVERY_ROW, Identity, Rows
from live_api.access.permissions import Permission
from live_api.access.tickets import Tickets, line_ms
from sinks.errors import Retryable
from tests.servers import ValkeyServer

SOMEBODY = Identity(
    "key:abc", frozenset({Permission.VIEW_NUMBERS}), Rows.of({"community": ["north", "south"]}), "p1", 9_000_000
)


@pytest.fixture
def client(valkey_server: ValkeyServer) -> Iterator[valkey.Valkey]:
    made = valkey.Valkey.from_url(valkey_server.connection_url)
    made.flushdb()
    yield made
    made.close()


def test_a_ticket_is_good_once_for_whom_it_was_made(client: valkey.Valkey) -> None:
    tickets = Tickets(client)
    ticket = tickets.issue(SOMEBODY, 1_000)
    assert ticket.until_ms == 61_000
    assert Tickets(client).redeem(ticket.token) == SOMEBODY
    assert tickets.redeem(ticket.token) is None
    assert tickets.redeem("") is None


def test_what_is_kept_opens_nothing_and_goes_by_itself(client: valkey.Valkey) -> None:
    ticket = Tickets(client).issue(Identity("local", frozenset(Permission), EVERY_ROW), 1_000)
    (key,) = client.keys("*")
    assert ticket.token.encode() not in key + client.get(key)
    assert 0 < client.pttl(key) <= Tickets.REDEEM_MS


def test_neither_a_ticket_nor_its_line_outlives_who_asked(client: valkey.Valkey) -> None:
    now_ms = 9_000_000 - 30_000
    assert Tickets(client).issue(SOMEBODY, now_ms).until_ms == 9_000_000
    assert line_ms(SOMEBODY, now_ms) == 30_000
    assert line_ms(SOMEBODY, 0) == Tickets.LINE_MS
    assert line_ms(SOMEBODY, 9_000_001) == 0


def test_permissions_of_another_version_are_left_out() -> None:
    told = SOMEBODY.to_json() | {"permissions": ["view_numbers", "fly"]}
    assert Identity.from_json(told) == SOMEBODY


def test_a_server_that_is_away_is_said() -> None:
    gone = Tickets(valkey.Valkey(port=1))
    with pytest.raises(Retryable, match="tickets"):
        gone.issue(SOMEBODY, 0)
    with pytest.raises(Retryable, match="tickets"):
        gone.redeem("x")
