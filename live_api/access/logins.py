"""Logins of browsers that are under way: what we told the issuer, kept until the browser comes back."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from live_api.access.tokens import Tokens

if TYPE_CHECKING:
    import valkey

WITHIN_S = 600
"""How long somebody may take to log in."""


@dataclass(frozen=True, slots=True)
class Login:
    """One that was begun. The issuer sees `state`, `nonce` and the verifier's hash; the browser keeps `binding`."""

    state: str
    nonce: str
    verifier: str
    """PKCE (RFC 7636): who has the code but not this gets no token."""
    binding: str
    """So that nobody can have another's browser come back as himself."""
    back: str
    """The address the issuer was told to send the browser to."""
    to: str
    """The path that it was on the way to."""

    @property
    def challenge(self) -> str:
        return urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")

    def is_of(self, binding: str | None) -> bool:
        return binding is not None and hmac.compare_digest(self.binding.encode(), binding.encode())


def new_login(back: str, to: str) -> Login:
    state, nonce, binding = (secrets.token_urlsafe(24) for _ in range(3))
    return Login(state, nonce, secrets.token_urlsafe(48), binding, back, own_path(to))


def own_path(to: str) -> str:
    """`to` if it is a path of ours, else the root: nobody is sent elsewhere from here."""
    # Browsers take a stroke either way, and drop control characters before they look.
    fine = to.startswith("/") and not to.startswith("//") and "\\" not in to and to.isprintable() and to.isascii()
    return to if fine else "/"


class Logins:
    """In Valkey, so that a browser may come back to another API process. *Failure*: Retryable."""

    def __init__(self, client: valkey.Valkey) -> None:
        self._tokens = Tokens(client, "logins")

    def begin(self, login: Login) -> None:
        self._tokens.keep(login.state, asdict(login), WITHIN_S * 1_000)

    def take(self, state: str) -> Login | None:
        """The login with this state, once."""
        found = self._tokens.take(state)
        return None if found is None else Login(**found)
