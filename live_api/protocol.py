"""The words of the live line: what clients may say, what the hub answers, and why a connection ends.

Pure functions over text and bytes; `live_api.hub` does the talking.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson

from sinks.records import iso

MAX_MESSAGE_BYTES = 16_384
"""Of one message of a client; a longer one ends the connection with 1009."""
MAX_TOPICS = 128
"""Of one client."""
MAX_TOPIC_CHARACTERS = 1_024
MAX_TOKEN_CHARACTERS = 1_024
MESSAGES_PER_S, MESSAGE_BURST = 5, 200
"""What a client may say: so many a second for long, and so many at once. Past it the connection ends."""


class Close(IntEnum):
    """Close codes. The number carries the retry decision: 3000-3499 and 4000-4499 reconnect, 3500-3999 and 4500-4999
    do not."""

    FAULT = 1011
    """A fault of the server's; its log says which."""
    RESTARTING = 1012
    HELLO_TIMEOUT = 4000
    """No `hello` within 10 s."""
    FULL = 4001
    """As many clients as there may be, in all or from this address."""
    BAD_TICKET = 4003
    """The ticket of a `hello` is of no use: used before, too old, or nobody's. A new one may be. Or who this is cannot
    be found out now."""
    EXPIRED = 4004
    """The time of whoever the line is of is over, and no `refresh` came before."""
    TOO_MANY_MESSAGES = 4500
    """Says more than a client may, or asks faster than it reads its answers."""
    UNAUTHORIZED = 4503
    """Whoever the line is of may not see numbers."""


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
    token: str | None = None
    """A ticket that says who this is; None: whoever the handshake was of."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    topics: tuple[str, ...]
    request: object


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    topics: tuple[str, ...]
    request: object


@dataclass(frozen=True, slots=True)
class Refresh:
    """The line is to last longer."""

    token: str
    request: object


ClientMessage = Hello | Subscribe | Unsubscribe | Refresh


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
        token = None if body.get("token") is None else _token(body, request)
        return Hello(_topics(body, request), _resume(body.get("resume")), token)
    if op == "subscribe":
        return Subscribe(_topics(body, request), request)
    if op == "unsubscribe":
        return Unsubscribe(_topics(body, request), request)
    if op == "refresh":
        return Refresh(_token(body, request), request)
    raise ProtocolError(
        "unknown_op", f"expected op hello, subscribe, unsubscribe or refresh; found {op!r}"[:200], request
    )


def hello(topics: Sequence[str], resume: str | None) -> Hello:
    """The hello of a client that says it otherwise than in JSON. Raises ProtocolError."""
    return Hello(_topics({"topics": list(topics)}, None), _resume(resume))


def _token(body: dict[str, Any], request: object) -> str:
    token = body.get("token")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_CHARACTERS:
        # What was found is not said: it may be a ticket all the same.
        raise ProtocolError(
            "bad_token", f"token: expected a ticket, a text of at most {MAX_TOKEN_CHARACTERS} characters", request
        )
    return token


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
    return (epoch, int(seq)) if sep and seq.isascii() and seq.isdecimal() and len(seq) < 17 else None


SYSTEM, ALERTS, BOARD = "system", "alerts", "board:"
_TOPIC = re.compile(
    r"^metric:(?P<name>[a-z0-9_]*)(?P<star>\*)?(?:@(?P<window>[0-9a-z/]+))?(?:\{(?P<dims>.*)\})?\Z", re.DOTALL
)
_PAIR = re.compile(r"((?:[^\\,={}]|\\.)+)=((?:[^\\,={}]|\\.)*)(?:,|\Z)", re.DOTALL)
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Topic:
    """Series a client wants: `metric:orders@1m{country=US}`, `metric:orders*` or `metric:*`.

    A metric's topic without a window means all its windows; dimensions in braces keep the series that have them.
    """

    name: str
    prefix: bool
    """Whether any metric whose name begins with `name` is meant."""
    window: str | None
    dimensions: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str, request: object = None) -> Topic | None:
        """None for `system`, `alerts` and `board:NAME`, which name no series. Raises ProtocolError for no topic."""
        if text in (SYSTEM, ALERTS) or (text.startswith(BOARD) and len(text) > len(BOARD)):
            return None
        if len(text) > MAX_TOPIC_CHARACTERS:
            raise ProtocolError(
                "unknown_topic",
                f"expected a topic of at most {MAX_TOPIC_CHARACTERS} characters, found {len(text)}",
                request,
            )
        found = _TOPIC.match(text)
        if found is None or not (found["name"] or found["star"]):
            raise ProtocolError(
                "unknown_topic",
                "expected metric:NAME[@WINDOW][{dimension=value,…}], board:NAME, alerts or system; "
                f"found {text[:100]!r}",
                request,
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
        if len({name for name, _ in pairs}) < len(pairs):
            raise ProtocolError("unknown_topic", f"expected each dimension once; found {text[:100]!r}", request)
        return cls(found["name"], found["star"] is not None, found["window"], tuple(pairs))

    def matches(self, metric: str, window: str, dimensions: dict[str, str]) -> bool:
        if self.window is not None and window != self.window:
            return False
        if not (metric.startswith(self.name) if self.prefix else metric == self.name):
            return False
        return all(dimensions.get(name) == value for name, value in self.dimensions)


def welcome(
    epoch: str,
    tick_ms: int,
    heartbeat_s: float,
    version: str,
    *,
    wall: str | None = None,
    resumed: bool = False,
    until_ms: int | None = None,
) -> bytes:
    body: dict[str, Any] = {"op": "welcome", "epoch": epoch, "tick_ms": tick_ms, "heartbeat_s": heartbeat_s}
    return orjson.dumps(body | {"version": version, "wall": wall, "resumed": resumed} | _until(until_ms))


def snapshot(epoch: str, seq: int, now_ms: int, series: Iterable[bytes], alerts: bytes | None, system: bytes) -> bytes:
    """Everything. `series` are JSON members, `alerts` and `system` JSON objects; empty or None where not asked for."""
    head = f'{{"op":"snapshot","epoch":"{epoch}","seq":{seq},"t":{now_ms},"series":{{'.encode()
    return b"".join((head, b",".join(series), b"}", *_rest(alerts, system), b"}"))


def update(seq: int, now_ms: int, series: Sequence[bytes], alerts: bytes | None, system: bytes) -> bytes:
    """What changed; parts as in `snapshot`, each left out where nothing did."""
    head = f'{{"op":"update","seq":{seq},"t":{now_ms}'.encode()
    told = (b',"series":{', b",".join(series), b"}") if series else ()
    return b"".join((head, *told, *_rest(alerts, system), b"}"))


def _rest(alerts: bytes | None, system: bytes) -> tuple[bytes, ...]:
    return (b',"alerts":' + alerts if alerts is not None else b"", b',"system":' + system if system else b"")


def heartbeat(seq: int, now_ms: int) -> bytes:
    return orjson.dumps({"op": "heartbeat", "seq": seq, "t": now_ms})


def ok(request: object, until_ms: int | None = None) -> bytes:
    return orjson.dumps({"op": "ok", "id": request} | _until(until_ms))


def _until(until_ms: int | None) -> dict[str, str]:
    """When the line ends, for the client to refresh it before; nothing where it does not."""
    return {} if until_ms is None else {"until": iso(until_ms)}


def bye(retry_in_ms: int) -> bytes:
    return orjson.dumps({"op": "bye", "retry_in_ms": retry_in_ms})


def reload(within_ms: int) -> bytes:
    return orjson.dumps({"op": "reload", "within_ms": within_ms})
