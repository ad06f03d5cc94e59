"""One request to an endpoint, and what came of it in words that hold nothing secret."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpcore2

from live_api.delivery.bodies import Body
from live_api.delivery.egress import Answer, Egress, EgressRefused
from live_api.delivery.endpoints import Endpoint
from live_api.delivery.signing import signed_headers
from sinks.deliveries import Outcome

USER_AGENT = "streamgauge"
_GONE = 410
_SHOWN_LETTERS = 200
_NETWORK = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one request."""

    outcome: Outcome
    answer: Answer | None
    took_ms: float | None
    error: str | None
    """In words, without anything secret."""
    shown: str = ""
    """How the answer's body began, without anything secret."""

    @property
    def delivered(self) -> bool:
        return self.outcome is Outcome.DELIVERED


async def send(endpoint: Endpoint, egress: Egress, body: Body, now_ms: int) -> Attempt:
    """Post one request now. Never raises for what an endpoint, the network or a record does."""
    clock_s = asyncio.get_running_loop().time
    began_s = clock_s()

    def failed(error: str) -> Attempt:
        return Attempt(Outcome.FAILED, None, (clock_s() - began_s) * 1_000, _without_secrets(endpoint, error))

    try:
        headers = {**endpoint.headers, "content-type": "application/json", "user-agent": USER_AGENT}
        headers |= signed_headers(body.id, now_ms, body.content, endpoint.keys)
        with egress.trace("webhook", {"streamgauge.endpoint": endpoint.name, "http.request.method": "POST"}) as span:
            answer = await egress.post(endpoint.url, {**headers, **span.headers}, body.content)
            span.notes["http.response.status_code"] = answer.status
    except EgressRefused as error:
        return Attempt(Outcome.REFUSED, None, None, str(error))
    except TimeoutError:
        return failed(f"no answer within {endpoint.timeout_s:g} s")
    except _NETWORK as error:
        return failed(f"{type(error).__name__}: {error}".removesuffix(": "))
    except ValueError as error:
        return failed(f"it cannot be sent: {error}")
    said = _without_secrets(endpoint, answer.body.decode(errors="replace"))
    if answer.delivered:
        return Attempt(Outcome.DELIVERED, answer, answer.duration_ms, None, said)
    outcome = Outcome.GONE if answer.status == _GONE else Outcome.FAILED
    hint = ", which is not followed" if 300 <= answer.status <= 399 else ""
    return Attempt(outcome, answer, answer.duration_ms, f"HTTP {answer.status}{hint}: {said}".rstrip(": "), said)


def _without_secrets(endpoint: Endpoint, text: str) -> str:
    """How it begins, on one line that no terminal obeys. An endpoint may say what it was sent, and where; nothing of
    that is for a log."""
    for secret in endpoint.secrets:
        text = text.replace(secret, "…")
    # A database takes no NUL, and a line end would be another line of the log.
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split())[:_SHOWN_LETTERS]
