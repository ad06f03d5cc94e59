"""Which addresses a webhook may be sent to: those of the public internet, and networks that the catalog allows."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOT_PUBLIC_4: tuple[tuple[ipaddress.IPv4Network, str], ...] = tuple(
    (ipaddress.IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "of this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "a carrier's own"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a former relay's"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
"""All that is given out; whatever lies outside is loopback, link-local, unique local, multicast or reserved."""
_NOT_PUBLIC_6: tuple[tuple[ipaddress.IPv6Network, str], ...] = tuple(
    (ipaddress.IPv6Network(network), kind)
    for network, kind in (
        ("2001::/23", "a tunnel's or reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "a tunnel's"),
        ("3fff::/20", "for documentation"),
    )
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NUMERIC = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)


def refused(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why nothing may be sent there, in a word or two; None where it may."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return "of one link"
        if address in _MAPPED or address in _NAT64:
            # The same machine as by its other name.
            return refused(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), allowed)
    if any(address in network for network in allowed if network.version == address.version):
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return next((kind for network, kind in _NOT_PUBLIC_4 if address in network), None)
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address not in _PUBLIC_6:
        return "not public"
    return next((kind for network, kind in _NOT_PUBLIC_6 if address in network), None)


def literal(host: str) -> Address | None:
    """The address that a host's text is, in any of the spellings a resolver takes (`0x7f.1`, `2130706433`); None for a
    name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    if not _NUMERIC.fullmatch(host) or not host[0].isdigit():
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
