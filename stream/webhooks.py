"""`[[webhook]]`: where notifications of alerts are sent, and in which format. Secrets are named here, never written."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from stream.addresses import Network, literal, refused
from stream.durations import duration_ms
from stream.problems import Problem, key_of
from stream.tables import Table, each_once

FORMATS = ("generic", "alertmanager", "pagerduty", "slack", "teams")
SEVERITIES = ("info", "warning", "error", "critical")
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
"""Where PagerDuty's Events API v2 is, for a webhook that names no other."""
TEMPLATE_FIELDS = (
    "platform",
    "change",
    "alert.id",
    "alert.rule",
    "alert.title",
    "alert.metric",
    "alert.window",
    "alert.dimensions",
    "alert.severity",
    "alert.status",
    "alert.opened",
    "alert.last_seen",
    "alert.resolved",
    "alert.resolution",
    "alert.actual",
    "alert.expected",
    "alert.score",
    "alert.peak",
    "alert.why",
    "alert.acked_by",
    "alert.note",
)
"""What a template may name between braces."""
_BRACES = re.compile(r"\{([^{}]*)\}|[{}]")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection", "user-agent")
_KNOWN_SCHEMES = ("http", "ws", "wss", "ftp", "file", "gopher")
_SHORTEST_MS, _LONGEST_MS = 1_000, 60_000
_IN_TEXT = frozenset({"generic", "slack", "teams"})


def _timeout(text: str) -> str:
    if not _SHORTEST_MS <= duration_ms(text) <= _LONGEST_MS:
        raise ValueError(f"expected a duration from 1s to 60s, found {text!r}")
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"expected a network such as 10.0.0.0/8 or fd00::/8, found {text!r}") from None
    return text


def _template(text: str) -> str:
    for found in _BRACES.finditer(text):
        name = found[1]
        if name is None:
            raise ValueError(f"expected braces in pairs, each around a field, found {text!r}")
        if name not in TEMPLATE_FIELDS:
            near = difflib.get_close_matches(name, TEMPLATE_FIELDS, 1)
            hint = f" (did you mean {{{near[0]}}}?)" if near else ""
            raise ValueError(f"expected fields among {', '.join(TEMPLATE_FIELDS)}; found {{{name}}}{hint}")
    return text


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if not _HEADER.fullmatch(name):
            raise ValueError(f"expected names of HTTP headers, found {name!r}")
        if name.lower() in _OURS or name.lower().startswith("webhook-"):
            raise ValueError(f"expected headers other than those that are always sent, found {name!r}")
    return headers


EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
WebhookName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Webhook(Table):
    """`[[webhook]]`: one endpoint, and what it is told."""

    name: WebhookName | None = None
    """What it is called in logs, metrics and commands. Its progress is kept under it: a new name is a new endpoint.
    Default: host of `url`."""
    url: Annotated[str, Field(min_length=1, max_length=2_048)] | None = None
    """Where notifications are sent; `https`, without a user or password in it. Default: required, but for PagerDuty."""
    url_env: EnvironmentName | None = None
    """Instead of `url`: the variable that has it, where the URL is a secret."""
    format: Literal["generic", "alertmanager", "pagerduty", "slack", "teams"] = "generic"
    """In which form it is told."""
    secret_env: EnvironmentName | None = None
    """The variable with what requests are signed with, `whsec_` and base64, several apart by spaces; for PagerDuty,
    which needs one, the routing key."""
    secret_file: Annotated[str, Field(min_length=1, max_length=4_096)] | None = None
    """Instead: the file that has it."""
    severity: Literal["info", "warning", "error", "critical"] = "info"
    """Only alerts that are at least as severe."""
    rules: Annotated[list[Annotated[str, Field(min_length=1)]], AfterValidator(each_once)] = Field([], max_length=100)
    """Only alerts of these rules. Default: all."""
    resolved: bool = True
    """Whether it is told of an alert's end."""
    concurrency: int = Field(4, ge=1, le=64)
    """Requests under way at once, each about other alerts."""
    timeout: Annotated[str, AfterValidator(_timeout)] = "10s"
    """For a whole request, 1s to 60s."""
    headers: Annotated[dict[str, EnvironmentName], AfterValidator(_headers)] = Field({}, max_length=20)
    """Headers to send, each with the variable that has its value: `{ Authorization = "OPS_TOKEN" }`."""
    template: Annotated[str, AfterValidator(_template), Field(min_length=1, max_length=1_000)] | None = None
    """The line that people read, with fields such as `{alert.rule}`. Default: a standard line."""
    allow_http: bool = False
    """Whether `http://` may be used."""
    allow_private: Annotated[list[Annotated[str, AfterValidator(_network)]], AfterValidator(each_once)] = Field(
        [], max_length=50
    )
    """Networks that are not public and may be sent to all the same, such as `["10.0.0.0/8"]`."""

    @model_validator(mode="after")
    def _check(self) -> Webhook:
        if self.url is not None and self.url_env is not None:
            raise ValueError("url_env: expected either `url` or `url_env`, found both")
        if self.url is None and self.url_env is None and self.format != "pagerduty":
            raise ValueError("url: expected a URL, or the variable that has it as `url_env`, found nothing")
        if self.secret_env is not None and self.secret_file is not None:
            raise ValueError("secret_file: expected either `secret_env` or `secret_file`, found both")
        if self.format == "pagerduty" and self.secret_env is None and self.secret_file is None:
            raise ValueError("secret_env: expected the variable that has the routing key, found nothing")
        if self.template is not None and self.format not in _IN_TEXT:
            raise ValueError(f"template: expected none, as format {self.format} has a shape of its own, found one")
        if self.name is None and self.url is None and self.format != "pagerduty":
            raise ValueError("name: expected a name, as `url_env` gives none, found nothing")
        if (url := self.url) is not None and (wrong := check_url(url, self.allow_http, self.networks)) is not None:
            raise ValueError(f"url: expected {wrong[0]}, found {wrong[1]}")
        return self

    @property
    def endpoint(self) -> str:
        """Its name, or its host for one that has none."""
        if self.name is not None:
            return self.name
        host = urlsplit(self.url or PAGERDUTY_URL).hostname or "webhook"
        return re.sub(r"[^a-z0-9._-]", "-", host.lower()).lstrip("._-")[:64] or "webhook"

    @property
    def networks(self) -> tuple[Network, ...]:
        """`allow_private`, read."""
        return tuple(ipaddress.ip_network(text) for text in self.allow_private)

    @property
    def timeout_s(self) -> float:
        return duration_ms(self.timeout) / 1_000


def check_url(url: str, allow_http: bool, allowed: tuple[Network, ...]) -> tuple[str, str] | None:
    """What was expected of a URL and what was found, without anything in it that may be secret; None for a good one.

    A host that is a name is looked at when it is connected to.
    """
    if any(char <= " " or char == "\\" or not char.isascii() for char in url):
        return "a URL without spaces, control characters, backslashes or letters beyond ASCII", "one with"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "a URL such as https://ops.example/hooks", "something else"
    schemes = ("https", "http") if allow_http else ("https",)
    if parts.scheme not in schemes:
        hint = " (`allow_http = true` allows it)" if parts.scheme == "http" else ""
        # What stands before the colon of something else, such as `user:password`, may be secret.
        known = f"{parts.scheme}://{hint}" if parts.scheme in _KNOWN_SCHEMES else "another scheme"
        return f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}", (
            known if parts.scheme else "none"
        )
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        return "no user or password in the URL (`headers` sends one from a variable)", "one"
    if not host or port == 0:
        return "a URL with a host", "none"
    if "%" in host:
        return "a host without a zone", repr(host)
    address = literal(host)
    if address is not None and (kind := refused(address, allowed)) is not None:
        return "a public address (`allow_private` allows others)", f"{host}, which is {kind}"
    return None


def check_webhooks(raw: Mapping[str, Any], webhooks: list[Webhook], problems: list[Problem]) -> None:
    """No two of a name, whose progress would be the same."""
    seen: set[str] = set()
    for number, webhook in enumerate(webhooks):
        if webhook.endpoint in seen:
            key = key_of(("webhook", number, "name"), raw)
            problems.append(Problem(key, "each name once, as progress is kept under it", f"{webhook.endpoint!r} again"))
        seen.add(webhook.endpoint)
