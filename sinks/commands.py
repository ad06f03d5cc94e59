"""What people say about alerts, and who is to be forgotten, on its way from the API to the processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from valkey import exceptions

from sinks.alert_records import COMMAND_FIELD, COMMANDS_STREAM, Command
from sinks.erasure import ERASURE_FIELD, Erasure
from sinks.errors import Misconfigured, Retryable

if TYPE_CHECKING:
    import valkey


class CommandSink:
    """Appends commands to a Valkey stream, one entry each, that the processor reads like events.

    The client belongs to the caller and is not closed here; it may be shared by several threads.

    *Guarantee*: when `write` returns, the command is in the stream, behind all that were there before; about the last
    `maxlen` are kept. It is not repeated here: after `Retryable` it may be there or not, and saying it again changes
    nothing but who said it last.
    *Failure*: connection lost, timeout, server busy, loading or full → `Retryable`; login or permission refused, or a
    key of another type → `Misconfigured`. *Cost*: one round trip.
    """

    def __init__(self, client: valkey.Valkey, stream: str = COMMANDS_STREAM, maxlen: int = 10_000) -> None:
        self._client = client
        self._stream = stream
        self._maxlen = maxlen

    def write(self, command: Command) -> None:
        """Append `command`."""
        self._append({COMMAND_FIELD: command.to_bytes()})

    def forget(self, erasure: Erasure) -> str:
        """Append `erasure`. Returns the id of its entry."""
        return self._append({ERASURE_FIELD: erasure.to_bytes()})

    def _append(self, entry: dict[Any, Any]) -> str:
        try:
            added: Any = self._client.xadd(self._stream, entry, maxlen=self._maxlen, approximate=True)
            return added.decode() if isinstance(added, bytes) else str(added)
        except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError) as error:
            raise Misconfigured(f"{self._stream}: {error}. Check VALKEY_URL.") from error
        except exceptions.ValkeyError as error:
            if str(error).startswith("WRONGTYPE"):
                raise Misconfigured(f"{self._stream} is no stream: {error}") from error
            raise Retryable(f"{self._stream}: {error}") from error
