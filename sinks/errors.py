"""What a sink may raise. The runtime knows these three and nothing else.

*Retryable*: not now; the same write may succeed later. *Rejected*: the destination took the rest but will never
take these; they go to the dead-letter stream. *Misconfigured*: nothing will ever work until a person acts.
"""

from __future__ import annotations

from collections.abc import Sequence


class SinkError(Exception):
    """Root of everything a sink raises on purpose."""


class Retryable(SinkError):
    """The destination is away or busy.

    `retry_after_s` is what the destination asked for, or None when it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Rejected(SinkError):
    """The destination refused some of what was written, for good; the rest was accepted."""

    def __init__(self, message: str, lines: Sequence[bytes]) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class Misconfigured(SinkError):
    """A person must act: a wrong token, a missing bucket, an unwritable path. The message says what to set."""
