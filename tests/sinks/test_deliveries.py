from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from sinks.deliveries import KEPT_MS, Deliveries, Delivery, Outcome
from sinks.errors import Misconfigured
from sinks.schema import SCHEMA_VERSION
from sinks.store import Store

AT_MS = 1_700_000_000_000


def made(path: Path) -> Deliveries:
    store = Store(f"sqlite:///{path}")
    store.setup()
    store.close()
    return Deliveries(f"sqlite:///{path}")


def test_attempts_come_back_the_newest_first_and_old_ones_go(tmp_path: Path) -> None:
    log = made(tmp_path / "x.db")
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


def test_a_store_of_an_earlier_version_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    made(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE deliveries"))
        connection.execute(text("UPDATE meta SET value = '2' WHERE key = 'schema_version'"))
    log = Deliveries(f"sqlite:///{path}")
    with pytest.raises(Misconfigured):
        log.read()
    made(path).close()
    assert log.read() == []
    with engine.begin() as connection:
        assert connection.execute(text("SELECT value FROM meta WHERE key = 'schema_version'")).scalar_one() == str(
            SCHEMA_VERSION
        )
    log.close()
    engine.dispose()
