"""One message as bytes, in each form it leaves in."""

from __future__ import annotations


class Frame:
    """One message in the forms it leaves in, made once for everybody who gets it."""

    __slots__ = ("_event", "_id", "_retry_ms", "body", "websocket")

    def __init__(self, body: bytes, event_id: str | None = None, retry_ms: int | None = None) -> None:
        """`event_id` and `retry_ms` are for streams of events: where to resume, and when to come back."""
        self.body = body
        self.websocket = _text_header(len(body)) + body
        """A whole WebSocket frame, as a server sends it: text, unmasked."""
        self._id = event_id
        self._retry_ms = retry_ms
        self._event: bytes | None = None

    @property
    def event(self) -> bytes:
        """As an event of `text/event-stream`."""
        if self._event is None:
            retry = f"retry: {self._retry_ms}\n" if self._retry_ms is not None else ""
            name = f"id: {self._id}\n" if self._id is not None else ""
            self._event = f"{retry}{name}data: ".encode() + self.body + b"\n\n"
        return self._event


def _text_header(length: int) -> bytes:
    """RFC 6455, section 5.2: final text frame, no mask."""
    if length < 126:
        return bytes((0x81, length))
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")
