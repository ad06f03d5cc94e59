"""The words of the WebSocket: what clients may say, what the hub answers, and why a connection ends.

Pure functions over text and bytes; `live_api.hub` does the talking.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson

MAX_MESSAGE_BYTES = 16_384
MAX_TOPICS = 128


class Close(IntEnum):
    """Close codes. The number carries the retry decision: 3000-3499 and 4000-4499 reconnect, 3500-3999 and 4500-4999
    do not."""

    RESTARTING = 1012
    HELLO_TIMEOUT = 4000
    BAD_MESSAGE = 4500


class ProtocolError(ValueError):
    """A message that cannot be obeyed; answered with an `error`, the connection stays."""

    def __init__(self, code: str, message: str, request: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.request = request

    def frame(self) -> bytes:
        body: dict[str, Any] = {"op": "error", "code": self.code, "message": str(self)}
        if self.request is not None:
            body["id"] = self.request
        return orjson.dumps(body)


@dataclass(frozen=True, slots=True)
class Hello:
    topics: tuple[str, ...]
    resume: tuple[str, int] | None
    """Epoch and seq of the last frame the client has, when it wants to go on from there."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    topics: tuple[str, ...]
    request: object


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    topics: tuple[str, ...]
    request: object


ClientMessage = Hello | Subscribe | Unsubscribe


def parse(text: str | bytes) -> ClientMessage:
    """Read one client message. Raises ProtocolError for anything else."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ProtocolError("bad_json", f"expected a JSON object: {error}") from None
    if not isinstance(body, dict):
        raise ProtocolError("bad_json", "expected a JSON object")
    request = body.get("id")
    if request is not None and not isinstance(request, int | str):
        raise ProtocolError("bad_id", "id: expected a number or a text")
    op = body.get("op")
    if op == "hello":
        return Hello(_topics(body, request), _resume(body.get("resume")))
    if op == "subscribe":
        return Subscribe(_topics(body, request), request)
    if op == "unsubscribe":
        return Unsubscribe(_topics(body, request), request)
    raise ProtocolError("unknown_op", f"expected op hello, subscribe or unsubscribe; found {op!r}"[:200], request)


def _topics(body: dict[str, Any], request: object) -> tuple[str, ...]:
    topics = body.get("topics")
    if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
        raise ProtocolError("bad_topics", "topics: expected a list of texts", request)
    if len(topics) > MAX_TOPICS:
        raise ProtocolError("too_many_topics", f"expected at most {MAX_TOPICS} topics, found {len(topics)}", request)
    for topic in topics:
        Topic.parse(topic, request)
    return tuple(dict.fromkeys(topics))


def _resume(value: object) -> tuple[str, int] | None:
    # A resume that cannot be read is no error: the client gets a snapshot, as it would for one that is too old.
    epoch, sep, seq = value.partition(":") if isinstance(value, str) else ("", "", "")
    return (epoch, int(seq)) if sep and seq.isascii() and seq.isdecimal() and len(seq) < 16 else None


_TOPIC = re.compile(
    r"^metric:(?P<name>[a-z0-9_]*)(?P<star>\*)?(?:@(?P<window>[0-9a-z]+))?(?:\{(?P<dims>.*)\})?\Z", re.DOTALL
)
_PAIR = re.compile(r"((?:[^\\,={}]|\\.)+)=((?:[^\\,={}]|\\.)*)(?:,|\Z)", re.DOTALL)
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Topic:
    """What a client wants: `metric:orders@1m{country=US}`, `metric:orders*`, `metric:*`, or `system`.

    A metric's topic without a window means all its windows; dimensions in braces keep the series that have them.
    """

    name: str
    prefix: bool
    """Whether any metric whose name begins with `name` is meant."""
    window: str | None
    dimensions: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str, request: object = None) -> Topic | None:
        """None for `system`, which is not about series. Raises ProtocolError for what is no topic."""
        if text == "system":
            return None
        found = _TOPIC.match(text)
        if found is None or not (found["name"] or found["star"]):
            raise ProtocolError(
                "unknown_topic", f"expected metric:NAME[@WINDOW] or system; found {text[:100]!r}", request
            )
        pairs: list[tuple[str, str]] = []
        if found["dims"] is not None:
            inside, at = found["dims"], 0
            while at < len(inside):
                pair = _PAIR.match(inside, at)
                if pair is None:
                    raise ProtocolError("unknown_topic", f"expected {{name=value,…}}; found {text[:100]!r}", request)
                pairs.append((_UNESCAPE.sub(r"\1", pair[1]), _UNESCAPE.sub(r"\1", pair[2])))
                at = pair.end()
        return cls(found["name"], found["star"] is not None, found["window"], tuple(pairs))

    def matches(self, metric: str, window: str, dimensions: dict[str, str]) -> bool:
        if self.window is not None and window != self.window:
            return False
        if not (metric.startswith(self.name) if self.prefix else metric == self.name):
            return False
        return all(dimensions.get(name) == value for name, value in self.dimensions)


def welcome(epoch: str, tick_ms: int, heartbeat_s: float, version: str) -> bytes:
    return orjson.dumps(
        {"op": "welcome", "epoch": epoch, "tick_ms": tick_ms, "heartbeat_s": heartbeat_s, "version": version}
    )


def frame(op: str, seq: int, now_ms: int, series: dict[str, Any] | None, system: dict[str, Any] | None) -> bytes:
    """A `snapshot` or an `update`."""
    body: dict[str, Any] = {"op": op, "seq": seq, "t": now_ms}
    if series is not None:
        body["series"] = series
    if system is not None:
        body["system"] = system
    return orjson.dumps(body)


def heartbeat(seq: int, now_ms: int) -> bytes:
    return orjson.dumps({"op": "heartbeat", "seq": seq, "t": now_ms})


def ok(request: object) -> bytes:
    return orjson.dumps({"op": "ok", "id": request})


def bye(retry_in_ms: int) -> bytes:
    return orjson.dumps({"op": "bye", "retry_in_ms": retry_in_ms})
