"""Checks of who can reach what, and of the settings as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from streamgauge.doctor.findings import Deployment, Finding, note, ok, problem, warning
from streamgauge.letting_in import is_open
from streamgauge.settings import LOOPBACK
from streamgauge.unknown_settings import unknown, variables_of

_CLOSE = "listen on loopback behind a reverse proxy, or give people keys or a login (STREAMGAUGE_ANONYMOUS=none)"


def names(at: Deployment) -> Iterator[Finding]:
    """Variables that look like settings and are none."""
    own = set() if at.catalog is None else variables_of(at.catalog)
    found = list(unknown(at.environment, own))
    for one in found:
        meant = f"set {one.nearest} instead" if one.nearest else "take it away"
        yield warning(f"{one.name} is no setting", "it does nothing", meant)
    if not found:
        yield ok("no variable looks like a setting that there is not")


def reach(at: Deployment) -> Iterator[Finding]:
    """Who reaches the API, and as whom."""
    settings = at.settings
    where = f"{settings.host}:{settings.port}" if settings.public_url is None else settings.public_url
    if not is_open(settings):
        yield ok(f"the API listens on {settings.host}, which only this machine reaches")
    elif settings.anonymous in ("analyst", "operator", "admin"):
        said = f"everybody who reaches {where} is {settings.anonymous}, without a key"
        yield problem(said, "strangers may read people's data, or change alerts", _CLOSE)
    elif settings.anonymous == "viewer":
        said = f"everybody who reaches {where} sees all numbers, without a key"
        yield warning(said, "that may be meant", _CLOSE)
    else:
        yield ok(f"{where} asks for a key or a login")
    for name in ("origins", "ingest_origins"):
        if "*" in {one.strip() for one in getattr(settings, name).split(",")}:
            variable = f"STREAMGAUGE_{name.upper()}"
            doing = "send events" if name == "ingest_origins" else "read numbers"
            yield warning(f"{variable}=*", f"any page that is open in a browser may {doing}", "name the origins")
    if "*" in {one.strip() for one in settings.trusted_proxies.split(",")}:
        yield warning(
            "STREAMGAUGE_TRUSTED_PROXIES=*", "anybody may say which address they come from", "name the proxies"
        )
    if settings.metrics_host not in LOOPBACK:
        yield note(
            f"metrics are served on {settings.metrics_host}, without a login",
            "whoever reaches them reads names of streams and counts",
            "let only Prometheus reach those ports",
        )


def login(at: Deployment) -> Iterator[Finding]:
    """Whether a login by OpenID Connect is set as a whole."""
    settings = at.settings
    if settings.oidc_issuer is None:
        return
    if settings.oidc_client_id is None and settings.oidc_audience is None:
        yield problem(
            "STREAMGAUGE_OIDC_ISSUER is set, and neither _CLIENT_ID nor _AUDIENCE",
            "no token is for us",
            "set STREAMGAUGE_OIDC_CLIENT_ID",
        )
    if not settings.oidc_issuer.startswith("https://"):
        yield warning(
            "the issuer of logins is reached without encryption",
            "whoever is on the way can make themselves anybody",
            "use https in STREAMGAUGE_OIDC_ISSUER",
        )
    if settings.oidc_client_secret is not None and settings.public_url is None:
        yield warning(
            "STREAMGAUGE_PUBLIC_URL is not set",
            "browsers may not find back from the login",
            "set it to where browsers find the API",
        )
    elif settings.public_url is not None and settings.public_url.startswith("http://") and not settings.loopback:
        yield warning("STREAMGAUGE_PUBLIC_URL is not encrypted", "cookies and keys can be read on the way", "use https")
