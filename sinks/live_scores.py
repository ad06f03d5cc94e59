"""Scores in Valkey, for services that ask about one person at a time: `HGET streamgauge:scores:<platform> <person>`.

The field is a pseudonym, 32 hex digits. The value is JSON:
`{"p": probability, "level": "high", "as_of": epoch ms, "proven": true, "segment": name, "factors": [name, …],
"version": n}`; the factors are those that speak for leaving, the strongest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import valkey
from valkey import exceptions

from sinks.errors import Misconfigured, Retryable
from sinks.score_records import PersonScore

_PERSONS_A_COMMAND = 500
_COMMANDS_A_PIPELINE = 10


class LiveScores:
    """The latest score of everybody who has one, as fields of the hash `key`.

    *Guarantee*: when `write` returns, every score is in the hash; to write the same again changes nothing. The last
    write wins: a processor that replays after a crash says for a moment what it said before.
    *Failure*: Retryable while Valkey is away or loading, with any part already written; Misconfigured for a login that
    is refused or a key of another type. What a full server has no room for is left out and counted: the processor must
    go on, or nothing would ever make room. *Cost*: a round trip for 5,000 people, and some 250 bytes of the server's
    memory for each.
    """

    def __init__(self, client: valkey.Valkey, key: str) -> None:
        self._client = client
        self._key = key

    def write(self, scores: Sequence[PersonScore]) -> int:
        """Put each person's score in the place of their last one. Returns for how many there was no room."""
        return self._in_pipelines("HSET", [(score.person, encode(score)) for score in scores])

    def drop(self, persons: Iterable[str]) -> None:
        """Take out those who have a score no more."""
        self._in_pipelines("HDEL", [(person,) for person in persons])

    def _in_pipelines(self, command: str, fields: Sequence[tuple[Any, ...]]) -> int:
        """Returns for how many fields there was no room."""
        refused = 0
        for at in range(0, len(fields), _PERSONS_A_COMMAND * _COMMANDS_A_PIPELINE):
            part = fields[at : at + _PERSONS_A_COMMAND * _COMMANDS_A_PIPELINE]
            commands = [part[at : at + _PERSONS_A_COMMAND] for at in range(0, len(part), _PERSONS_A_COMMAND)]
            pipe = self._client.pipeline(transaction=False)
            for some in commands:
                pipe.execute_command(command, self._key, *(value for field in some for value in field))
            try:
                # Raised by the client, an error would quote the command, that is pseudonyms: not for a log.
                answers: list[Any] = pipe.execute(raise_on_error=False)
            except exceptions.ValkeyError as error:
                raise self._as_sink_error(error) from error
            for some, answer in zip(commands, answers, strict=True):
                if isinstance(answer, exceptions.OutOfMemoryError):
                    refused += len(some)
                elif isinstance(answer, exceptions.ValkeyError):
                    raise self._as_sink_error(answer)
        return refused

    def _as_sink_error(self, error: exceptions.ValkeyError) -> Retryable | Misconfigured:
        text = f"scores {self._key}: {error}"
        if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
            return Misconfigured(f"{text}. Check the user and password in VALKEY_URL.")
        if isinstance(error, exceptions.NoPermissionError) or str(error).startswith("WRONGTYPE"):
            return Misconfigured(f"{text}. Check what VALKEY_URL's user may do and what is stored under that key.")
        return Retryable(text)


def encode(score: PersonScore) -> bytes:
    """A score as the hash has it."""
    return orjson.dumps(
        {
            # More digits than any model is good for would cost memory.
            "p": round(score.probability, 4),
            "level": score.level,
            "as_of": score.as_of_ms,
            "proven": score.proven,
            "segment": score.segment,
            "factors": [one.name for one in score.factors if one.contribution > 0],
            "version": score.version,
        }
    )
