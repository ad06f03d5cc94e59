"""Who is let in, as the settings say; and the refusal to listen where everybody would be."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import urlsplit

from live_api.access import Access
from live_api.identity import Identity
from live_api.oidc import Oidc
from live_api.permissions import PERMISSIONS, Role
from live_api.stored import asked
from sinks.errors import Misconfigured, SinkError
from sinks.key_store import KeyStore
from streamgauge.settings import Settings

logger = logging.getLogger(__name__)

_THREE_WAYS = """\
{host} is reached by other machines, and nobody has said who may read the numbers there. Choose one:
  - make a key:  streamgauge keys create NAME --role viewer --catalog …
  - let people log in:  STREAMGAUGE_OIDC_ISSUER and STREAMGAUGE_OIDC_CLIENT_ID
  - let everybody in who reaches it:  STREAMGAUGE_ANONYMOUS=viewer (or another role; `none` for nobody)
Without any of these it listens on 127.0.0.1 only."""


def access_of(settings: Settings) -> Access:
    """Who may do what. Raises Misconfigured for settings that do not go together."""
    return Access(_nobody(settings), _oidc(settings), settings.public_url)


def origins_of(settings: Settings) -> tuple[str, ...]:
    """The origins that may ask, with that of our public address."""
    if settings.public_url is None:
        return settings.allowed_origins
    parts = urlsplit(settings.public_url)
    return (*settings.allowed_origins, f"{parts.scheme}://{parts.netloc}")


def check_not_open(settings: Settings, state: Path) -> None:
    """Refuse to listen where other machines reach us unless somebody has said who is let in. Raises Misconfigured."""
    if settings.loopback or settings.anonymous is not None or settings.oidc_issuer is not None:
        return
    if not _any_key(settings, state):
        raise Misconfigured(_THREE_WAYS.format(host=settings.host))


def warn_of_openness(settings: Settings, state: Path) -> None:
    """Say in capitals what lets strangers in."""
    role = settings.anonymous
    if role not in (None, "none") and not settings.loopback:
        logger.warning(
            "INSECURE: EVERYBODY WHO REACHES %s:%d MAY DO WHAT THE ROLE %s MAY, WITHOUT A KEY",
            settings.host,
            settings.port,
            str(role).upper(),
        )
    if "*" in settings.allowed_origins:
        logger.warning("INSECURE: STREAMGAUGE_ORIGINS=* LETS ANY PAGE THAT IS OPEN IN A BROWSER READ ALL NUMBERS")
    elif settings.allowed_origins and settings.loopback and _needs_no_key(settings, state):
        logger.warning(
            "INSECURE: PAGES OF %s, AND WHOEVER A PROXY THERE LETS THROUGH, READ ALL NUMBERS WITHOUT A KEY",
            settings.origins,
        )


def _needs_no_key(settings: Settings, state: Path) -> bool:
    if settings.anonymous is not None:
        return settings.anonymous != "none"
    return settings.oidc_issuer is None and not _any_key(settings, state)


def _any_key(settings: Settings, state: Path) -> bool:
    """Whether there is or was a key; False where the store cannot say."""
    store = KeyStore(settings.store_url(state))
    try:
        return asked(store, store.any)
    except SinkError as error:
        logger.warning("whether there are keys is not known: %s", error)
        return False
    finally:
        store.close()


def _nobody(settings: Settings) -> Identity | None:
    role = settings.anonymous
    if role is None:
        # Until there is a key: on loopback, where nobody was asked to say who they are.
        return None if settings.loopback and settings.oidc_issuer is None else _anonymous("none")
    return _anonymous(role)


def _anonymous(role: str) -> Identity:
    return Identity("anonymous", frozenset() if role == "none" else PERMISSIONS[Role(role)])


def _oidc(settings: Settings) -> Oidc | None:
    if settings.oidc_issuer is None:
        return None
    if urlsplit(settings.oidc_issuer).scheme not in ("http", "https"):
        raise Misconfigured(f"STREAMGAUGE_OIDC_ISSUER: expected https://…; found {settings.oidc_issuer!r}")
    if not (settings.oidc_client_id or settings.oidc_audience):
        raise Misconfigured("STREAMGAUGE_OIDC_ISSUER needs STREAMGAUGE_OIDC_CLIENT_ID, or STREAMGAUGE_OIDC_AUDIENCE")
    roles = {}
    for value, name in _pairs("STREAMGAUGE_OIDC_ROLES", settings.oidc_roles).items():
        if name not in tuple(Role):
            raise Misconfigured(f"STREAMGAUGE_OIDC_ROLES: expected one of {', '.join(Role)}; found {name!r}")
        roles[value] = Role(name)
    secret = settings.oidc_client_secret
    return Oidc(
        settings.oidc_issuer,
        settings.oidc_client_id,
        None if secret is None else secret.get_secret_value(),
        settings.oidc_audience,
        settings.oidc_roles_claim,
        roles,
        _pairs("STREAMGAUGE_OIDC_ROWS", settings.oidc_rows),
        settings.oidc_person_claim,
    )


def _pairs(variable: str, text: str) -> dict[str, str]:
    found = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        name, sep, value = (part.strip() for part in pair.rpartition("="))
        if not sep or not name or not value:
            raise Misconfigured(f"{variable}: expected pairs such as a=b, separated by commas; found {pair!r}")
        found[name] = value
    return found
