"""Events that were refused, kept in a Valkey stream with the reason and their bytes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from valkey import exceptions

from sinks.errors import Misconfigured, Retryable, SinkError
from sinks.live import trim_half
from sinks.records import DeadLetter, Reason, Shape

if TYPE_CHECKING:
    import valkey

logger = logging.getLogger(__name__)

DEADLETTER_STREAM = "streamgauge:deadletter"
_LETTERS_A_PIPELINE = 1_000
_FIRST_PAGE, _LARGEST_PAGE = 50, 500
_PAGE_BYTES = 8 << 20
_ENTRY_ID = re.compile(r"([0-9]{1,20}-[0-9]{1,20})?")
"""Of a stream; empty for a line that a sink was refused."""

# What a server answers while it cannot write now but will: a script running, a replica being promoted, a
# cluster moving slots, a disk that refuses snapshots. OOM and LOADING have exception classes of their own.
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

    def __init__(self, client: valkey.Valkey, stream: str = DEADLETTER_STREAM, maxlen: int = 1_000_000) -> None:
        _check_answers_bytes(client)
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
                raise as_sink_error(self._stream, error) from error
            for answer in answers:
                if isinstance(answer, exceptions.OutOfMemoryError):
                    lost = trim_half(self._client, self._stream)
                    logger.error("Valkey is full: the oldest %d dead letters were dropped to go on", lost)
                if isinstance(answer, exceptions.ValkeyError):
                    raise as_sink_error(self._stream, answer)


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry of the dead-letter stream."""

    id: str
    letter: DeadLetter | None
    """None for an entry that is no letter: another program's, or of a later version."""

    @property
    def refused_ms(self) -> int:
        """When the event was refused, by the server's clock."""
        return int(self.id.partition("-")[0])


class DeadLetters:
    """The letters that are kept: read a page at a time, and removed.

    The client is as for `DeadLetterSink`. *Guarantee*: a letter that stays is read once, in order, its raw bytes
    untouched. *Failure*: as `DeadLetterSink.write`. *Cost*: a round trip a page, and the memory of one: at most 500
    letters, fewer where they are large.
    """

    def __init__(self, client: valkey.Valkey, stream: str = DEADLETTER_STREAM) -> None:
        _check_answers_bytes(client)
        self._client = client
        self._stream = stream

    def pages(self, first: str = "-", last: str = "+", *, backwards: bool = False) -> Iterator[list[Kept]]:
        """The letters with ids from `first` to `last`, oldest first, or newest first when `backwards`.

        Ids are as XRANGE takes them: half an id is a moment, `(` before one leaves it out.
        """
        count = _FIRST_PAGE
        while True:
            try:
                if backwards:
                    entries: Any = self._client.xrevrange(self._stream, last, first, count)
                else:
                    entries = self._client.xrange(self._stream, first, last, count)
            except exceptions.ValkeyError as error:
                raise as_sink_error(self._stream, error) from error
            if not entries:
                return
            yield [_kept(entry_id, fields) for entry_id, fields in entries]
            if len(entries) < count:
                return
            size_bytes = sum(len(value) for _, fields in entries for value in fields.values())
            count = max(1, min(2 * count, _LARGEST_PAGE, count * _PAGE_BYTES // max(1, size_bytes)))
            edge = f"({entries[-1][0].decode()}"
            first, last = (first, edge) if backwards else (edge, last)

    def newest_id(self) -> str | None:
        """Id of the newest letter, None when there is none."""
        for page in self.pages(backwards=True):
            return page[0].id
        return None

    def length(self) -> int:
        try:
            length: Any = self._client.xlen(self._stream)
        except exceptions.ValkeyError as error:
            raise as_sink_error(self._stream, error) from error
        return int(length)

    def remove(self, ids: Sequence[str]) -> int:
        """Delete letters by their ids. Returns how many were still there."""
        if not ids:
            return 0
        try:
            removed: Any = self._client.xdel(self._stream, *ids)
        except exceptions.ValkeyError as error:
            raise as_sink_error(self._stream, error) from error
        return int(removed)


def as_sink_error(stream: str, error: exceptions.ValkeyError) -> SinkError:
    """What an error of the client means for a sink: come again, or ask a person to act."""
    text = f"dead-letter stream {stream!r}: {error}"
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


def _check_answers_bytes(client: valkey.Valkey) -> None:
    if client.get_connection_kwargs().get("decode_responses"):
        raise ValueError("a dead-letter client must answer bytes: expected decode_responses=False, found True")


def _fields(letter: DeadLetter) -> dict[Any, Any]:
    fields = {
        "stream": letter.stream,
        "entry": letter.entry_id,
        "index": letter.index,
        "reason": letter.reason.value,
        # A message may quote text that is not valid Unicode; it must not cost us the letter.
        "message": letter.message.encode(errors="backslashreplace"),
        "raw": letter.raw,
    }
    return fields if letter.shape is None else fields | {"shape": letter.shape.value}


def _kept(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Kept:
    try:
        return Kept(entry_id.decode(), _letter(fields))
    except (KeyError, ValueError):
        return Kept(entry_id.decode(), None)


def _letter(fields: Mapping[bytes, bytes]) -> DeadLetter:
    """The inverse of `_fields`. Raises KeyError or ValueError for anything else."""
    shape = fields.get(b"shape")
    entry_id = fields[b"entry"].decode()
    if not _ENTRY_ID.fullmatch(entry_id):
        raise ValueError(f"expected the id of an entry, found {entry_id!r}")
    return DeadLetter(
        stream=fields[b"stream"].decode(),
        entry_id=entry_id,
        index=int(fields[b"index"]),
        reason=Reason(fields[b"reason"].decode()),
        message=fields[b"message"].decode(),
        raw=fields[b"raw"],
        shape=None if shape is None else Shape(shape.decode()),
    )
