"""Who is let in, as the settings say; and the refusal to listen where everybody would be."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import urlsplit

from live_api.access.entrance import Access
from live_api.access.identity import Identity
from live_api.access.oidc import Oidc
from live_api.access.permissions import PERMISSIONS, Role
from live_api.stored import asked
from sinks.errors import Misconfigured, SinkError
from sinks.key_store import KeyStore
from streamgauge.settings import LOOPBACK, Settings

logger = logging.getLogger(__name__)

_THREE_WAYS = """\
{where} is reached by other machines, and nobody has said who may read the numbers there. Choose one:
  - make a key:  streamgauge keys create NAME --role viewer --catalog …
  - let people log in:  STREAMGAUGE_OIDC_ISSUER and STREAMGAUGE_OIDC_CLIENT_ID
  - let everybody in who reaches it:  STREAMGAUGE_ANONYMOUS=viewer (or another role; `none` for nobody)
Without any of these it listens on 127.0.0.1 only."""


def access_of(settings: Settings) -> Access:
    """Who may do what. Raises Misconfigured for settings that do not go together."""
    if settings.public_url is not None and urlsplit(settings.public_url).scheme not in ("http", "https"):
        raise Misconfigured(f"STREAMGAUGE_PUBLIC_URL: expected https://…; found {settings.public_url!r}")
    return Access(_nobody(settings), _oidc(settings), settings.public_url)


def origins_of(settings: Settings) -> tuple[str, ...]:
    """The origins that may ask, with that of our public address."""
    if settings.public_url is None:
        return settings.allowed_origins
    parts = urlsplit(settings.public_url)
    return (*settings.allowed_origins, f"{parts.scheme}://{parts.netloc}")


def check_not_open(settings: Settings, state: Path) -> None:
    """Refuse to listen where other machines reach us unless somebody has said who is let in. Raises Misconfigured, and
    Retryable where the store cannot say whether there are keys."""
    if not is_open(settings) or settings.anonymous is not None or settings.oidc_issuer is not None:
        return
    if not _any_key(settings, state):
        where = settings.public_url if settings.loopback else settings.host
        raise Misconfigured(_THREE_WAYS.format(where=where))


def warn_of_openness(settings: Settings, state: Path) -> None:
    """Say in capitals what lets strangers in."""
    role = settings.anonymous
    if role not in (None, "none") and is_open(settings):
        logger.warning(
            "INSECURE: EVERYBODY WHO REACHES %s:%d MAY DO WHAT THE ROLE %s MAY, WITHOUT A KEY",
            settings.host,
            settings.port,
            str(role).upper(),
        )
    if "*" in settings.allowed_origins:
        logger.warning("INSECURE: STREAMGAUGE_ORIGINS=* LETS ANY PAGE THAT IS OPEN IN A BROWSER READ ALL NUMBERS")
    elif not is_open(settings) and _needs_no_key(settings, state):
        foreign = [one for one in settings.allowed_origins if urlsplit(one).hostname not in LOOPBACK]
        if foreign:
            logger.warning(
                "INSECURE: PAGES OF %s, AND WHOEVER A PROXY THERE LETS THROUGH, READ ALL NUMBERS WITHOUT A KEY",
                ", ".join(foreign),
            )
    issuer = urlsplit(settings.oidc_issuer or "")
    if issuer.scheme == "http" and issuer.hostname not in LOOPBACK:
        logger.warning("INSECURE: WHO READS ALONG ON THE WAY TO %s CAN LOG IN AS ANYBODY", settings.oidc_issuer)


def is_open(settings: Settings) -> bool:
    """Whether other machines reach us: by ourselves, or by the address that we are told is ours."""
    public = urlsplit(settings.public_url or "").hostname
    return not settings.loopback or (public is not None and public not in LOOPBACK)


def _needs_no_key(settings: Settings, state: Path) -> bool:
    if settings.anonymous is not None:
        return settings.anonymous != "none"
    try:
        return settings.oidc_issuer is None and not _any_key(settings, state)
    except SinkError:
        return False  # then nobody is let in either


def _any_key(settings: Settings, state: Path) -> bool:
    """Whether there is or was a key. Raises SinkError."""
    store = KeyStore(settings.store_url(state))
    try:
        return asked(store, store.any)
    finally:
        store.close()


def _nobody(settings: Settings) -> Identity | None:
    role = settings.anonymous
    if role is None:
        # Until there is a key: on loopback, where nobody was asked to say who they are.
        return _anonymous("none") if is_open(settings) or settings.oidc_issuer is not None else None
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
