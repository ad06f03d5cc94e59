"""Asking the parts of this deployment over HTTP how they are, each within seconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import urllib3

from streamgauge.samples import Samples
from streamgauge.settings import Settings

WITHIN_S = 3.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


class Role(StrEnum):
    PROCESSOR = "processor"
    API = "api"
    DELIVER = "deliver"


class Unreachable(Exception):
    """Nobody answers there, or something else does. The message says where and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


def metrics_url(settings: Settings, role: Role, member: int = 0) -> str | None:
    """Where a part has its own metrics, without the path; None when it has none."""
    place = settings.metrics_of(role.value)
    return None if place.port is None else _url(place.host, place.port + member)


def api_url(settings: Settings, member: int = 0) -> str:
    """Where the API itself is."""
    return _url(settings.host, settings.port + member)


def get(url: str, within_s: float = WITHIN_S) -> Answer:
    """Raises Unreachable."""
    # One pool for each question: what asks once a second needs no more, and nothing is kept open.
    with urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=within_s)) as http:
        try:
            found = http.request("GET", url, redirect=False)
            return Answer(found.status, found.data)
        except urllib3.exceptions.HTTPError as error:
            # The library says before that which of its objects it was.
            raise Unreachable(f"{url} does not answer: {str(error).rpartition(': ')[2]}") from None


def samples_of(settings: Settings, role: Role, member: int = 0, within_s: float = WITHIN_S) -> Samples:
    """What a part says of itself. Raises Unreachable."""
    base = metrics_url(settings, role, member)
    if base is None:
        raise Unreachable(f"{settings.metrics_of(role.value).variable}=off")
    found = get(f"{base}/metrics", within_s)
    if found.status != 200:
        raise Unreachable(f"{base}/metrics answers {found.status}")
    try:
        return Samples.parse(found.body.decode())
    except ValueError:  # and UnicodeDecodeError
        raise Unreachable(f"{base}/metrics is something else") from None


def _url(host: str, port: int) -> str:
    host = _EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
