"""The outbox: notifications on their way to webhooks, in a Valkey stream of which each endpoint reads its own way.

Entry format: `n`, the notification as JSON; and, of one that was put back by hand, `only`, the endpoint it is for, and
`of`, the entry it was first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import valkey
from valkey import exceptions

from sinks.alert_records import Notification
from sinks.errors import Misconfigured, Retryable

NOTIFICATION = b"n"
ONLY = b"only"
ORIGINAL = b"of"
FORCED = b"forced"
_ENTRIES_A_PIPELINE = 500


def group_of_endpoint(endpoint: str) -> str:
    """The consumer group that shows how far an endpoint is."""
    return f"webhook:{endpoint}"


class Outbox:
    """Appends notifications to the stream that `streamgauge deliver` reads.

    `endpoints` are the catalog's webhooks by name. With none, nothing is written, as nobody would ever take it away.

    *Guarantee*: when `write` returns, every notification is in the stream, and stays until each endpoint has delivered
    it or given it up. At least once: a replay after a crash writes the same again, with the same id, and whoever
    delivers takes both as one. An endpoint is told what was written after its first `setup`.
    *Failure*: Retryable while Valkey is away, loading or full, with any part already written; Misconfigured for a login
    that is refused or a key of another type. *Cost*: a round trip per 500.
    """

    def __init__(self, client: valkey.Valkey, stream: str, endpoints: Sequence[str]) -> None:
        self._client = client
        self._stream = stream
        self._endpoints = tuple(endpoints)

    def setup(self) -> None:
        """Make each endpoint's place in the stream, at its end, where it has none yet."""
        for endpoint in self._endpoints:
            with contextlib.suppress(_Exists):
                self._ask("xgroup_create", self._stream, group_of_endpoint(endpoint), "$", mkstream=True)

    def write(self, notifications: Sequence[Notification]) -> None:
        """Append in their order."""
        if not self._endpoints:
            return
        for at in range(0, len(notifications), _ENTRIES_A_PIPELINE):
            pipe = self._client.pipeline(transaction=False)
            for notification in notifications[at : at + _ENTRIES_A_PIPELINE]:
                pipe.xadd(self._stream, {NOTIFICATION: notification.to_bytes()})
            try:
                # Raised by the client, an error would quote the command, that is the alert: not for a log.
                answers: list[Any] = pipe.execute(raise_on_error=False)
            except exceptions.ValkeyError as error:
                raise self._as_sink_error(error) from error
            for answer in answers:
                if isinstance(answer, exceptions.ValkeyError):
                    raise self._as_sink_error(answer)

    def _ask(self, command: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._client, command)(*arguments, **options)
        except exceptions.ResponseError as error:
            if str(error).startswith("BUSYGROUP"):
                raise _Exists from None
            raise self._as_sink_error(error) from error
        except exceptions.ValkeyError as error:
            raise self._as_sink_error(error) from error

    def _as_sink_error(self, error: exceptions.ValkeyError) -> Retryable | Misconfigured:
        text = f"outbox {self._stream}: {error}"
        if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
            return Misconfigured(f"{text}. Check the user and password in VALKEY_URL.")
        if isinstance(error, exceptions.NoPermissionError) or str(error).startswith("WRONGTYPE"):
            return Misconfigured(f"{text}. Check what VALKEY_URL's user may do and what is stored under that key.")
        return Retryable(text)


class _Exists(Exception):
    """The group is there already."""
