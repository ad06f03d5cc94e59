from __future__ import annotations

import pytest

from live_api.admission import Admission, Bucket, Limits, Origins


def test_a_bucket_gives_so_many_a_second_and_so_many_at_once() -> None:
    bucket = Bucket(10, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert bucket.take(0.1)
    assert not bucket.take(0.1)
    # However long nobody came.
    assert sum(bucket.take(1_000.0) for _ in range(10)) == 3
    # For long it is the rate.
    assert 995 <= sum(bucket.take(2_000 + number / 100) for number in range(10_000)) <= 1_005


def test_places_are_counted_in_all_and_for_each_address() -> None:
    admission = Admission(Limits(clients=3, clients_per_address=2, accepts_per_s=1_000), 0.0)
    assert admission.enter("a") is None
    assert admission.enter("a") is None
    assert "2 clients are connected from this address" in (admission.enter("a") or "")
    assert admission.enter("b") is None
    assert "3 clients are connected" in (admission.enter("c") or "")
    admission.leave("a")
    assert admission.enter("c") is None
    for address in ("a", "b", "c"):
        admission.leave(address)
    assert not admission._inside
    assert admission._count == 0


def test_more_at_once_than_can_be_looked_at_come_back_later() -> None:
    admission = Admission(Limits(accepts_per_s=5), 0.0)
    assert sum(admission.arrive(0.0) for _ in range(50)) == 10
    assert sum(admission.arrive(1.0) for _ in range(50)) == 5


@pytest.mark.parametrize(
    ("origin", "host", "let_in"),
    [
        (None, "127.0.0.1:8000", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        # Whoever owns a name can have it lead to 127.0.0.1.
        ("http://evil.example:8000", "evil.example:8000", False),
        ("http://localhost.evil.example:8000", "localhost.evil.example:8000", False),
    ],
)
def test_on_loopback_only_loopbacks_names_are_ours(origin: str | None, host: str, let_in: bool) -> None:
    assert Origins(loopback=True).allow(origin, host) is let_in


def test_other_origins_are_let_in_when_they_are_listed() -> None:
    origins = Origins(["https://wall.example"], loopback=True)
    assert origins.allow("https://wall.example", "127.0.0.1:8000")
    assert not origins.allow("http://wall.example", "127.0.0.1:8000")
    assert not origins.allow("https://wall.example.evil.example", "127.0.0.1:8000")
    assert Origins(["*"]).allow("https://anybody.example", "x")


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:8000", True),
        ("127.0.0.1", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("wall.example", True),
        ("wall.example:443", True),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:8000", False),
        ("evil.example@127.0.0.1", False),
        ("127.0.0.1:8000@evil.example", False),
        ("127.0.0.1:evil", False),
        ("::1", False),
        ("[::1", False),
        ("[evil.example]", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_on_loopback_only_our_own_names_are_answered(host: str, ours: bool) -> None:
    assert Origins(["https://wall.example"], loopback=True).name_us(host) is ours
    # Whoever is meant to be reached from elsewhere is so by any name, and `*` is all pages.
    assert Origins(["https://wall.example"]).name_us(host)
    assert Origins(["*"], loopback=True).name_us(host)
