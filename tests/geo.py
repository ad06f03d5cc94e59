"""A MaxMind database of a few addresses, as an operator would supply one."""

from __future__ import annotations

from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet

BERLIN, PARIS, SOMEWHERE = "81.2.69.142", "2001:db8::1", "203.0.113.9"


def make_geo(path: Path, kind: str = "GeoLite2-City") -> Path:
    writer = MMDBWriter(6, kind, languages=["en"], ipv4_compatible=True)
    berlin = {"country": {"iso_code": "DE"}, "subdivisions": [{"iso_code": "BE"}]}
    writer.insert_network(IPSet([f"{BERLIN}/24"]), berlin)
    writer.insert_network(IPSet([f"{PARIS}/48"]), {"country": {"iso_code": "FR"}})
    writer.to_db_file(str(path))
    return path
