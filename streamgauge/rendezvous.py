"""Where the members of a cluster meet before the engine runs, and are refused when they do not fit together.

The engine itself compares nothing: members with other catalogs would count side by side. So each first tells member 0,
at the address where its engine listens afterwards, what it would run with and which parts of the recovery state it
holds. Member 0 compares, has a new state made, and lets all go at once. JSON, a line for each message:

    member → {"member": 1, "facts": {…}, "state": {…} | null, "held": {"3": true}}
    0 → {"refused": "why"} | {"make": {…}} → member {"made": true} | {"go": {…}}
"""

from __future__ import annotations

import errno
import json
import logging
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sinks.errors import Misconfigured

logger = logging.getLogger(__name__)

Message = dict[str, Any]

_LONGEST_LINE = 1 << 16
_RETRY_S = 0.3
_ANSWER_S = 5.0
"""How long the other side may take to speak once it is connected."""
_SAY_EVERY_S = 15.0
_STAGGER_S = 0.3
"""The engine waits a whole second after a connection was refused: member I begins so much after member I - 1."""


@dataclass(slots=True)
class Offer:
    """What a member brings to the meeting."""

    member: int
    facts: Mapping[str, Any]
    """What must be the same in all members, by name."""
    state: Message | None
    """The facts of its state directory; None where there is no state."""
    held: dict[int, bool] = field(default_factory=dict)
    """The recovery partitions it holds, each with whether anything was ever saved in it."""


Judge = Callable[[list[Offer]], Message]
"""Given all offers, the state that all are to run with. Raises Misconfigured when they do not fit together."""


def differences(own: Offer, other: Offer) -> str:
    """In words, what another member has otherwise; empty where nothing."""
    names = [name for name in {**own.facts, **other.facts} if own.facts.get(name) != other.facts.get(name)]
    return "; ".join(
        f"{name}: {other.facts.get(name)!r}, member {own.member} has {own.facts.get(name)!r}" for name in names
    )


def host(address: str, offer: Offer, members: int, judge: Judge, make: Callable[[Message], None]) -> Message:
    """As member 0: wait for all others, and return the state that all run with. Raises Misconfigured."""
    lines: dict[int, _Line] = {}
    offers: dict[int, Offer] = {0: offer}
    with _listen(address) as listener:
        said_s = time.monotonic()
        while len(offers) < members:
            line = _accept(listener)
            if line is not None:
                came = _welcome(line, offer, members)
                if came is None:
                    line.close()
                else:
                    if came.member in lines:
                        lines[came.member].close()
                    lines[came.member], offers[came.member] = line, came
            for number in [number for number, line in lines.items() if line.gone()]:
                lines.pop(number).close()
                del offers[number]
            if time.monotonic() - said_s > _SAY_EVERY_S:
                said_s = time.monotonic()
                missing = ", ".join(str(number) for number in range(members) if number not in offers)
                logger.warning("waiting for member %s of the cluster to come to %s", missing, address)
        try:
            state = judge([offers[number] for number in sorted(offers)])
        except Misconfigured as error:
            for line in lines.values():
                line.say({"refused": str(error)})
            raise
        make(state)
        for line in lines.values():
            line.say({"make": state})
        for number, line in lines.items():
            if not line.hear(within_s=60).get("made"):
                raise OSError(f"member {number} could not make its part of the state")
    for line in lines.values():
        line.say({"go": state})
        line.close()
    return state


def join(addresses: tuple[str, ...], offer: Offer, make: Callable[[Message], None]) -> Message:
    """As another member: go to member 0, and return the state that all run with. Raises Misconfigured."""
    said_s = time.monotonic()
    while True:
        try:
            with socket.create_connection(_place(addresses[0]), timeout=_ANSWER_S) as connection:
                line = _Line(connection)
                line.say({"member": offer.member, "facts": dict(offer.facts), "state": offer.state, "held": offer.held})
                while True:
                    answer = line.hear()
                    if "refused" in answer:
                        raise Misconfigured(f"member {offer.member} cannot join the cluster: {answer['refused']}")
                    if "make" in answer:
                        make(answer["make"])
                        line.say({"made": True})
                    if "go" in answer:
                        time.sleep(_STAGGER_S * offer.member)
                        state: Message = answer["go"]
                        return state
        except (OSError, ValueError) as error:
            if time.monotonic() - said_s > _SAY_EVERY_S:
                said_s = time.monotonic()
                logger.warning("waiting for member 0 of the cluster at %s: %s", addresses[0], error)
            time.sleep(_RETRY_S)


def _welcome(line: _Line, own: Offer, members: int) -> Offer | None:
    """The offer of whoever came; None, and told why, when it is not one of us."""
    try:
        said = line.hear(within_s=_ANSWER_S)
        came = Offer(
            int(said["member"]), said["facts"], said["state"], {int(part): bool(x) for part, x in said["held"].items()}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    why = differences(own, came)
    if not 0 < came.member < members:
        why = f"it says it is member {came.member} of {members}"
    if not why:
        return came
    logger.error("member %d was refused: %s", came.member, why)
    with suppress(OSError):
        line.say({"refused": why})
    return None


class _Line:
    """Messages over a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def say(self, message: Mapping[str, Any]) -> None:
        self._connection.settimeout(_ANSWER_S)
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def hear(self, within_s: float | None = None) -> Message:
        """The next message. Raises OSError when there is none, ValueError for what is none."""
        self._connection.settimeout(within_s)
        while b"\n" not in self._rest:
            got = self._connection.recv(4_096)
            if not got:
                raise ConnectionError("it hung up")
            self._rest += got
            if len(self._rest) > _LONGEST_LINE:
                raise ValueError("not a message of a member")
        text, _, self._rest = self._rest.partition(b"\n")
        message = json.loads(text)
        if not isinstance(message, dict):
            raise ValueError("not a message of a member")
        return message

    def gone(self) -> bool:
        """Whether the other side hung up while it was to wait."""
        self._connection.settimeout(0)
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self._connection.close()


def _listen(address: str) -> socket.socket:
    place = _place(address)
    family = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)[0][0]
    try:
        return socket.create_server(place, family=family, backlog=64)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise  # perhaps by an earlier run of this member that is just ending
        raise Misconfigured(f"member 0 of the cluster cannot listen on {address}: {error.strerror}") from None


def _accept(listener: socket.socket) -> _Line | None:
    listener.settimeout(_RETRY_S)
    try:
        return _Line(listener.accept()[0])
    except TimeoutError:
        return None


def _place(address: str) -> tuple[str, int]:
    name, _, port = address.rpartition(":")
    return name.strip("[]"), int(port)
