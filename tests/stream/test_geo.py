from __future__ import annotations

from pathlib import Path

import pytest

from sinks.errors import Misconfigured
from stream.geo import NOWHERE, Geo, Place
from tests.geo import BERLIN, PARIS, SOMEWHERE, make_geo


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (BERLIN, Place("DE", "DE-BE")),
        (f" {BERLIN}, 10.0.0.1", Place("DE", "DE-BE")),
        (PARIS, Place("FR", None)),
        (SOMEWHERE, NOWHERE),
        ("no address", NOWHERE),
        ("", NOWHERE),
        ("1.2.3.4.5", NOWHERE),
    ],
)
def test_where_an_address_is(tmp_path: Path, address: str, place: Place) -> None:
    assert Geo(make_geo(tmp_path / "geo.mmdb")).of(address) == place


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = make_geo(tmp_path / "geo.mmdb", "GeoLite2-ASN")
    with pytest.raises(Misconfigured, match=r"geo\.mmdb: expected a MaxMind database of cities.*'GeoLite2-ASN'"):
        Geo(path)


@pytest.mark.parametrize("content", [b"", b"no database", b"\x00" * 5_000, b"\xab\xcd\xefMaxMind.com\xff\xff"])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "geo.mmdb"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"geo\.mmdb: expected a MaxMind database.*found another file"):
        Geo(path)


def test_a_file_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"geo\.mmdb: the MaxMind database cannot be read: No such file"):
        Geo(tmp_path / "geo.mmdb")
    with pytest.raises(Misconfigured, match="cannot be read"):
        Geo(tmp_path)
