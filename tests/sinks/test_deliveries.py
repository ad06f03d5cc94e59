from __future__ import annotations

from sinks.deliveries import KEPT_MS, Deliveries, Delivery, Outcome
from sinks.store import Store

AT_MS = 1_700_000_000_000


def made(url: str) -> Deliveries:
    store = Store(url)
    store.setup()
    store.close()
    return Deliveries(url)


def test_attempts_come_back_the_newest_first_and_old_ones_go(database_url: str) -> None:
    log = made(database_url)
    old = Delivery("ops", "n0", 1, AT_MS - KEPT_MS - 1, Outcome.DEAD, None, None, "gone for good")
    first = Delivery("ops", "n1", 1, AT_MS, Outcome.FAILED, 500, 12.5, "HTTP 500")
    second = Delivery("ops", "n1", 2, AT_MS, Outcome.DELIVERED, 200, 3.25)
    other = Delivery("pager", "n1", 1, AT_MS + 1, Outcome.REFUSED, None, None, "loopback")
    log.write([old, first, second])
    log.write([other])
    log.write([])
    assert log.read() == [other, second, first, old]
    assert log.read("ops", limit=2) == [second, first]
    assert log.prune(AT_MS) == 1
    assert log.read() == [other, second, first]
    assert log.read("nobody") == []
    log.close()
