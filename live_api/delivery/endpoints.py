"""An endpoint as it is used: a webhook of the catalog with its secrets filled in, which nothing here ever shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

from live_api.delivery.bodies import Wanted
from live_api.delivery.signing import SigningKey
from sinks.alert_records import Change, Notification, Severity
from stream.addresses import Network

_SECRET_FROM = 6
"""Parts of a URL or a header that are so long may be what is secret in it."""
_BETWEEN = re.compile(r"[/?&=;]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where notifications go, and which."""

    name: str
    form: str
    url: str = field(repr=False)
    keys: tuple[SigningKey, ...] = ()
    """What requests are signed with, the present one first; none where they are not."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    routing_key: str | None = field(default=None, repr=False)
    template: str | None = None
    severity: Severity = Severity.INFO
    rules: frozenset[str] = frozenset()
    resolved: bool = True
    concurrency: int = 4
    timeout_s: float = 10.0
    allowed: tuple[Network, ...] = ()

    @property
    def shown(self) -> str:
        """Where it is, without what may be secret: scheme, host and port."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}{port}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that an answer may repeat and nobody should read: longest first."""
        parts = urlsplit(self.url)
        # Each part by itself too, as a server quotes a token without what it came in.
        pieces = [*_BETWEEN.split(f"{parts.path}?{parts.query}")]
        pieces += [piece for value in self.headers.values() for piece in value.split()]
        pieces = [piece for piece in pieces if len(piece) >= _SECRET_FROM]
        found = {self.url, self.routing_key, *self.headers.values(), parts.query, *pieces}
        found |= {parts.path} if len(parts.path) > 1 else set()
        found |= {unquote(text) for text in found if text}
        return tuple(sorted((text for text in found if text), key=len, reverse=True))

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.name, self.template, self.routing_key)

    def of_interest(self, notification: Notification) -> Notification | None:
        """What of a notification it is told; None for nothing. The id stays, as it is told each one once."""
        kept = tuple(
            (change, alert)
            for change, alert in notification.alerts
            if alert.severity.rank >= self.severity.rank
            and (not self.rules or alert.rule in self.rules)
            and (self.resolved or change is not Change.RESOLVED)
        )
        return replace(notification, alerts=kept) if kept else None
