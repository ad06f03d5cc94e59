from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from sinks.errors import Misconfigured
from sinks.key_records import ApiKey, hash_of, id_of, new_text
from sinks.key_store import KeyStore
from tests.postgres import sql


@pytest.fixture
def store(database_url: str) -> Iterator[KeyStore]:
    made = KeyStore(database_url)
    made.setup()
    yield made
    made.close()


def key(text: str, **more: object) -> ApiKey:
    known = {"name": "wall", "role": "viewer", "permissions": (), "rows": {}, "person": None, "created_ms": 1_000}
    found = id_of(text)
    assert found is not None
    return ApiKey(id=found, hash=hash_of(text), **{**known, **more})  # type: ignore[arg-type]


def test_a_key_is_found_by_its_id_and_known_by_its_text(store: KeyStore, database_url: str) -> None:
    assert not store.any()
    text = new_text()
    one = key(text, permissions=("track", "export"), rows={"community": ("north", "south")}, person="a3" * 16)
    store.add(one)
    found = store.get(one.id)
    assert found == one
    assert found.is_of(text)
    assert not found.is_of(new_text())
    assert store.any()
    assert store.get("nothing0") is None
    [row] = sql(database_url, "SELECT * FROM api_keys")
    assert text not in str(row)
    assert text[12:44] not in str(row)


def test_an_id_is_given_once(store: KeyStore) -> None:
    one = key(new_text())
    store.add(one)
    with pytest.raises(Misconfigured):
        store.add(one)


def test_a_revoked_key_is_no_good_and_stays_in_the_list(store: KeyStore) -> None:
    one = key(new_text(), expires_ms=5_000)
    store.add(one)
    store.used(one.id, 2_000)
    assert store.revoke(one.id, 3_000)
    assert not store.revoke(one.id, 4_000)
    assert not store.revoke("nothing0", 4_000)
    [found] = store.all()
    assert (found.revoked_ms, found.last_used_ms, found.is_good(2_000)) == (3_000, 2_000, False)
    assert store.any()


def test_a_key_may_lose_its_person(store: KeyStore) -> None:
    one, other = key(new_text(), person="a3" * 16), key(new_text(), person="b4" * 16)
    store.add(one)
    store.add(other)
    assert store.forget("a3" * 16) == 1
    assert sorted([found.person or "" for found in store.all()]) == ["", "b4" * 16]


def test_a_key_ends_at_its_time() -> None:
    one = key(new_text(), expires_ms=5_000)
    assert one.is_good(4_999)
    assert not one.is_good(5_000)


def test_slips_and_other_texts_are_no_keys() -> None:
    text = new_text()
    assert re.fullmatch(r"sg_[a-z0-9]{8}_[A-Za-z0-9]{32}[0-9a-f]{8}", text)
    assert id_of(text) == text[3:11]
    for at in range(3, len(text)):
        other = text[:at] + ("b" if text[at] == "a" else "a") + text[at + 1 :]
        assert id_of(other) is None, at
    for other in ("", "sg_", text[:-1], text + "a", text.upper(), f" {text}"):
        assert id_of(other) is None
