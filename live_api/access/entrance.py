"""All that finds out who asks, made once for the application: what a deployment says of it, and the parts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from live_api.access.asking import Asking, nobody_is
from live_api.access.auditing import Audit
from live_api.access.browsers import Browsers
from live_api.access.identity import LOCAL, Identity
from live_api.access.issuer import Issuer
from live_api.access.keys import Keys
from live_api.access.oidc import Oidc
from live_api.access.tickets import Tickets
from live_api.admission import Origins
from live_api.whose import Pseudonym
from sinks.audit_store import AuditStore
from sinks.key_store import KeyStore
from stream.walltime import clock_ms

if TYPE_CHECKING:
    import valkey


@dataclass(frozen=True, slots=True)
class Access:
    """What a deployment says of who may do what."""

    nobody: Identity | None = LOCAL
    """Who shows neither a key nor a login; None: `LOCAL` until there is a key, and nobody from then on."""
    oidc: Oidc | None = None
    public_url: str | None = None
    """Where browsers find us, without a path; None: where their requests say."""


class Entrance:
    """The parts. The client belongs to the caller; `aclose` ends what is made here."""

    def __init__(
        self, access: Access, store_url: str, client: valkey.Valkey, origins: Origins, pseudonym: Pseudonym | None
    ) -> None:
        self.access = access
        self.client = client
        self._key_store, self._audit_store = KeyStore(store_url), AuditStore(store_url)
        self.keys = Keys(self._key_store, clock=clock_ms, monotonic=time.monotonic)
        self.audit = Audit(self._audit_store, clock=clock_ms, monotonic=time.monotonic)
        self.tickets, self.browsers = Tickets(client), Browsers(client)
        self.issuer = None
        if access.oidc is not None:
            self.issuer = Issuer(access.oidc, clock_s=lambda: clock_ms() / 1_000, monotonic=time.monotonic)
        self.asking = Asking(
            self.keys,
            self.issuer,
            self.browsers,
            nobody_is(access.nobody, self.keys),
            origins=origins,
            public_url=access.public_url,
            pseudonym=pseudonym,
            clock=clock_ms,
            monotonic=time.monotonic,
        )

    def refused(self, who: str, subject: str, detail: str) -> None:
        self.audit.refused(who, subject, detail)

    async def aclose(self) -> None:
        if self.issuer is not None:
            await self.issuer.aclose()
        self._key_store.close()
        self._audit_store.close()
