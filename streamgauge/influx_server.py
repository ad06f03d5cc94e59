"""What answers at INFLUX_URL, and what its answers mean to whoever asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError, LocationValueError

from sinks.errors import Misconfigured, Retryable, SinkError
from streamgauge.influx_places import InfluxPlace

_TIMEOUT_S = 10.0
_VICTORIA = re.compile(r"^vm_\w+(\{| )", re.MULTILINE)
_VICTORIA_VERSION = re.compile(r'^vm_app_version\{.*?short_version="v?([^"]*)"', re.MULTILINE)


class Kind(StrEnum):
    """Who takes the writes of InfluxDB 2."""

    INFLUX2 = "InfluxDB 2"
    INFLUX1 = "InfluxDB 1"
    INFLUX3 = "InfluxDB 3"
    VICTORIA = "VictoriaMetrics"
    OTHER = "a server that does not say what it is"


@dataclass(frozen=True, slots=True)
class Server:
    kind: Kind
    version: str

    def __str__(self) -> str:
        return f"{self.kind} {self.version}".strip()


class Http:
    """Plain requests to a server, for what influxdb-client has no words for.

    *Failure*: away or failing → `Retryable`; a wrong address, token or name → `Misconfigured`.
    """

    def __init__(self, place: InfluxPlace) -> None:
        self._place = place
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(_TIMEOUT_S))

    def get(self, path: str, **query: str) -> urllib3.BaseHTTPResponse:
        """Whatever is answered, of any status. Raises Retryable and Misconfigured where nobody answers."""
        url = f"{self._place.url}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Token {self._place.token}"} if self._place.token else {}
        with answers(self._place, "INFLUX_TOKEN", "this"):
            return self._pool.request("GET", url, headers=headers)

    def influxql(self, database: str, query: str) -> list[dict[str, Any]]:
        """The series that an InfluxQL query answers, as JSON has them: `name`, `tags`, `columns`, `values`.

        Times are epoch milliseconds. Raises SinkError, also where the server has no InfluxQL.
        """
        answer = self.get("/query", db=database, q=query, epoch="ms")
        with suppress(ValueError):
            found = json.loads(answer.data)
            said = found.get("error") or found.get("message")
            if answer.status == 200 and "results" in found:
                [result] = found["results"]
                if "error" not in result:
                    return list(result.get("series", ()))
                said = result["error"]
            if said:
                raise refusal(self._place, answer.status, str(said), "INFLUX_TOKEN", "this")
        raise refusal(self._place, answer.status, "no InfluxQL at /query", "INFLUX_TOKEN", "this")


def look(http: Http) -> Server:
    """What is there. Raises Retryable when nothing answers."""
    ping = http.get("/ping")
    version = (ping.headers.get("X-Influxdb-Version") or "").removeprefix("v")
    if version.startswith("2.") or ping.headers.get("X-Influxdb-Build", "").lower() == "cloud":
        return Server(Kind.INFLUX2, version)
    if version.startswith("3."):
        return Server(Kind.INFLUX3, version)
    # VictoriaMetrics does not say, or says that it is InfluxDB 1.8, as some writers want to hear that.
    own = http.get("/metrics")
    metrics = own.data.decode(errors="replace") if own.status == 200 else ""
    if _VICTORIA.search(metrics):
        found = _VICTORIA_VERSION.search(metrics)
        return Server(Kind.VICTORIA, "" if found is None else found[1])
    return Server(Kind.INFLUX1 if version.startswith("1.") else Kind.OTHER, version)


def client_of(place: InfluxPlace) -> InfluxDBClient:
    """influxdb-client with no patience of its own."""
    return InfluxDBClient(
        place.url, place.token, org=place.org, timeout=int(_TIMEOUT_S * 1000), enable_gzip=True, retries=False
    )


@contextmanager
def answers(place: InfluxPlace, token_setting: str, doing: str) -> Iterator[None]:
    """What goes wrong inside becomes a SinkError that says what to do. `doing` is what the token must be allowed."""
    try:
        yield
    except ApiException as error:
        if error.status == 0:  # the client's word for a TLS error
            raise Misconfigured(f"INFLUX_URL {place.url!r}: {said(error)}") from error
        raise refusal(place, error.status, said(error), token_setting, doing) from error
    except LocationValueError as error:
        raise Misconfigured(f"INFLUX_URL is {place.url!r}: {error}") from error
    except HTTPError as error:
        raise Retryable(f"InfluxDB at {place.url} cannot be reached: {error}") from error


def refusal(place: InfluxPlace, status: int, message: str, token_setting: str, doing: str) -> SinkError:
    """What an answer that is none means."""
    text = f"InfluxDB at {place.url} answered {status}: {message}"
    if status == 401:
        # Where a known token may not do something, InfluxDB 2 mostly answers this too.
        return Misconfigured(f"{text}. Set {token_setting} to a token that the server knows and that may do {doing}.")
    if status == 403:
        return Misconfigured(f"{text}. {token_setting} may not do {doing}.")
    if status in (408, 425, 429) or status >= 500:
        return Retryable(text)
    if status == 404 and "bucket" in message:
        names = ", ".join(place.tiers)
        return Misconfigured(f"{text}. `streamgauge influx bootstrap` makes the buckets; those that are set: {names}.")
    if status == 404 and "org" in message:
        return Misconfigured(f"{text}. INFLUX_ORG is {place.org!r}; `streamgauge influx bootstrap` makes it.")
    return Misconfigured(text)


def said(error: ApiException) -> str:
    """The server's own message."""
    body = error.body or ""
    with suppress(ValueError):
        answer = json.loads(body)
        if isinstance(answer, Mapping):
            body = answer.get("message") or answer.get("error") or body
    return str(body or error.reason or "nothing more").strip()
