"""OpenID Connect: whose tokens we believe, and what they say of somebody. No socket and no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from live_api.access.identity import EVERY_ROW, Identity, Rows
from live_api.access.permissions import PERMISSIONS, Permission, Role

ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
"""Signatures with a private key. Never `none`, and never those with a secret that both sides have: what is public could
be used as one."""
LEEWAY_S = 30
"""How far clocks may be apart."""
_FAMILY = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}


class Unverified(Exception):
    """A token that is not to be believed. Says why, without the token."""


@dataclass(frozen=True, slots=True)
class Oidc:
    """How a deployment uses its issuer."""

    issuer: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    audience: str | None = None
    """What a bearer token has to be for; None: the client id."""
    roles_claim: str = "roles"
    """Dots lead into objects."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """What a value of the claim is here, besides those that are roles by name."""
    rows: Mapping[str, str] = field(default_factory=dict)
    """Dimension → the claim with the values of it that somebody sees."""
    person_claim: str | None = None

    @property
    def for_us(self) -> str:
        return self.audience or self.client_id or ""


def verified(token: str, keys: list[Mapping[str, Any]], oidc: Oidc, *, audience: str, now_s: float) -> dict[str, Any]:
    """What a token says, if one of the issuer's `keys` has signed it, for `audience`, and it is in its time.

    Raises Unverified, and LookupError where it was signed with a key that is not among them.
    """
    try:
        head = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise Unverified(f"it is no JWT: {error}") from None
    algorithm = head.get("alg")
    if algorithm not in ALGORITHMS:
        raise Unverified(f"expected one signed with {', '.join(ALGORITHMS)}; found {str(algorithm)[:20]!r}")
    key = _key(keys, head.get("kid"), algorithm)
    try:
        # Its time is looked at below, with the clock that we were given.
        options: Any = {"require": ["exp", "iss", "aud", "sub"], "verify_exp": False, "verify_nbf": False}
        options |= {"verify_iat": False}
        told: dict[str, Any] = jwt.decode(
            token, key, algorithms=[algorithm], audience=audience, issuer=oidc.issuer, options=options
        )
        expires_s, begins_s = float(told["exp"]), float(told.get("nbf", 0))
    except jwt.PyJWTError as error:
        raise Unverified(str(error)) from None
    except (TypeError, ValueError):
        raise Unverified("exp and nbf: expected numbers") from None
    if now_s >= expires_s + LEEWAY_S:
        raise Unverified("it has expired")
    if now_s < begins_s - LEEWAY_S:
        raise Unverified("it is not valid yet")
    return told


def identity_from(told: Mapping[str, Any], oidc: Oidc) -> Identity:
    """Who somebody is by a token's claims. Their person, if any, is the id as events have it."""
    permissions: frozenset[Permission] = frozenset()
    named = {role.value: role for role in Role} | dict(oidc.roles)
    for value in _values(_claim(told, oidc.roles_claim)):
        if value in named:
            permissions |= PERMISSIONS[named[value]]
    # Without its claim somebody sees the rows of no value at all: a mistake at the issuer must not show everything.
    rows = (
        Rows.of({name: _values(_claim(told, claim)) for name, claim in oidc.rows.items()}) if oidc.rows else EVERY_ROW
    )
    person = _values(_claim(told, oidc.person_claim)) if oidc.person_claim else []
    return Identity(
        f"user:{told['sub']}",
        permissions,
        rows,
        person[0] if len(person) == 1 else None,
        int(float(told["exp"]) * 1_000),
    )


def _key(keys: list[Mapping[str, Any]], kid: object, algorithm: str) -> jwt.PyJWK:
    fitting = [
        one
        for one in keys
        if one.get("kty") == _FAMILY[algorithm]
        and one.get("use", "sig") == "sig"
        and one.get("alg", algorithm) == algorithm
        and (kid is None or one.get("kid") == kid)
    ]
    if len(fitting) != 1:
        raise LookupError(f"{len(fitting)} keys of the issuer's are {str(kid)[:100]!r}; expected one")
    try:
        return jwt.PyJWK.from_dict(dict(fitting[0]), algorithm=algorithm)
    except jwt.PyJWTError as error:
        raise Unverified(f"the issuer's key cannot be used: {error}") from None


def _claim(told: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, else by the names of objects that lead to it."""
    if path in told:
        return told[path]
    found: Any = told
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _values(claim: Any) -> list[str]:
    """A claim's texts: one, or a list of them. A claim that is something else has none."""
    if isinstance(claim, str):
        return [claim]
    if isinstance(claim, list):
        return [one for one in claim if isinstance(one, str)]
    return [str(claim)] if isinstance(claim, int) and not isinstance(claim, bool) else []
