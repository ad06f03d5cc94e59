"""Events that were refused, kept in a Valkey stream with the reason and their bytes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from valkey import exceptions

from sinks.errors import Misconfigured, Retryable, SinkError
from sinks.live import trim_half
from sinks.records import DeadLetter, Reason

if TYPE_CHECKING:
    import valkey

_LETTERS_A_PIPELINE = 1_000

# What a server answers while it cannot write now but will: a script running, a replica being promoted, a
# cluster moving slots, a disk that refuses snapshots. OOM and LOADING have exception classes of their own.
logger = logging.getLogger(__name__)

_PASSING = ("BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "MISCONF", "NOREPLICAS")


class DeadLetterSink:
    """Appends refused events to a Valkey stream, one entry each, with the fields of `DeadLetter`.

    The stream keeps about the newest `maxlen` entries, fewer when the server is full: then the older half is dropped,
    and logged, as otherwise bad events could stop the good ones. The client belongs to the caller, answers bytes
    (`decode_responses=False`) and is not closed here.

    *Guarantee*: when `write` returns, every letter is in the stream, its raw bytes untouched. At least once:
    a replay after a crash, or a write repeated after `Retryable`, may put the same letter there again;
    (stream, entry id, index) tells which event it is.
    *Failure*: connection lost, timeout, server busy, loading or out of memory → `Retryable`, with any part of
    the letters already written; login or permission refused, or a key of another type → `Misconfigured`.
    *Cost*: one round trip per 1,000 letters.
    """

    def __init__(self, client: valkey.Valkey, stream: str = "streamgauge:deadletter", maxlen: int = 1_000_000) -> None:
        if client.get_connection_kwargs().get("decode_responses"):
            raise ValueError("a dead-letter client must answer bytes: expected decode_responses=False, found True")
        self._client = client
        self._stream = stream
        self._maxlen = maxlen

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Append `letters` in their order."""
        for i in range(0, len(letters), _LETTERS_A_PIPELINE):
            pipeline = self._client.pipeline(transaction=False)
            for letter in letters[i : i + _LETTERS_A_PIPELINE]:
                pipeline.xadd(self._stream, _fields(letter), maxlen=self._maxlen, approximate=True)
            try:
                # Raised by the client, an error would quote the command, that is the event: not for a log.
                answers: list[Any] = pipeline.execute(raise_on_error=False)
            except exceptions.ValkeyError as error:
                raise self._as_sink_error(error) from error
            for answer in answers:
                if isinstance(answer, exceptions.OutOfMemoryError):
                    lost = trim_half(self._client, self._stream)
                    logger.error("Valkey is full: the oldest %d dead letters were dropped to go on", lost)
                if isinstance(answer, exceptions.ValkeyError):
                    raise self._as_sink_error(answer)

    def read(self, count: int = 100) -> list[DeadLetter]:
        """The newest `count` letters, oldest of them first."""
        try:
            entries: Any = self._client.xrevrange(self._stream, count=count)
        except exceptions.ValkeyError as error:
            raise self._as_sink_error(error) from error
        return [_letter(fields) for _, fields in reversed(entries)]

    def _as_sink_error(self, error: exceptions.ValkeyError) -> SinkError:
        text = f"dead-letter stream {self._stream!r}: {error}"
        # Both classes are ConnectionErrors to the client, so they are asked for first.
        if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
            return Misconfigured(f"{text}. Check the user and password in VALKEY_URL.")
        if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError):
            return Retryable(text)
        if isinstance(error, exceptions.OutOfMemoryError | exceptions.ReadOnlyError):
            return Retryable(text)
        if str(error).startswith(_PASSING):
            return Retryable(text)
        return Misconfigured(f"{text}. Check what VALKEY_URL's user may do and what is stored under that key.")


def _fields(letter: DeadLetter) -> dict[Any, Any]:
    return {
        "stream": letter.stream,
        "entry": letter.entry_id,
        "index": letter.index,
        "reason": letter.reason.value,
        # A message may quote text that is not valid Unicode; it must not cost us the letter.
        "message": letter.message.encode(errors="backslashreplace"),
        "raw": letter.raw,
    }


def _letter(fields: Mapping[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        stream=fields[b"stream"].decode(),
        entry_id=fields[b"entry"].decode(),
        index=int(fields[b"index"]),
        reason=Reason(fields[b"reason"].decode()),
        message=fields[b"message"].decode(),
        raw=fields[b"raw"],
    )
