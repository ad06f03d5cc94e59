"""How far one stream was read, as it is kept in snapshots."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import msgspec

BEGINNING = "0-0"
_VERSION = 1
_MARKS = 16
_BARE_ID = re.compile(r"\d+(-\d+)?")


@dataclass(frozen=True, slots=True)
class Position:
    """The last entry read, what the server had counted up to it, and what was lost on the way there."""

    id: str = BEGINNING
    read: int | None = None
    """Entries that were ever added up to `id`, as `entries-read` of a consumer group. None while it is not known."""
    gaps: int = 0
    """How often entries were gone before they were read."""
    lost: int = 0
    """How many entries those were, as far as that is known."""
    lost_exact: bool = True
    """False once there was a gap whose size could not be told."""
    trail: tuple[tuple[str, int], ...] = ()
    """Earlier values of `id` and `read`, about a second apart, oldest first."""

    def moved(self, entry_id: str, read: int | None) -> Position:
        return replace(self, id=entry_id, read=read)

    def losing(self, lost: int | None) -> Position:
        """With one gap more, of an unknown size when `lost` is None."""
        exact = self.lost_exact and lost is not None
        return replace(self, gaps=self.gaps + 1, lost=self.lost + (lost or 0), lost_exact=exact)

    def marked(self) -> Position:
        """With a mark here on the trail, and the oldest mark dropped."""
        if self.read is None or (self.trail and self.trail[-1] == (self.id, self.read)):
            return self
        return replace(self, trail=(*self.trail[1 - _MARKS :], (self.id, self.read)))

    def to_text(self) -> str:
        saved = _Saved(_VERSION, self.id, self.read, self.gaps, self.lost, self.lost_exact, self.trail)
        return msgspec.json.encode(saved).decode()

    @classmethod
    def from_text(cls, text: str) -> Position:
        """The inverse of `to_text`; also takes a bare entry id, which is what snapshots once were.

        Raises ValueError for anything else, such as a later version.
        """
        if _BARE_ID.fullmatch(text):
            return cls(text)
        try:
            version = msgspec.json.decode(text, type=_Version).v
            if version != _VERSION:
                raise ValueError(f"expected a position of version {_VERSION}, found version {version}")
            saved = msgspec.json.decode(text, type=_Saved)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a position: {text!r}: {error}") from error
        return cls(saved.id, saved.read, saved.gaps, saved.lost, saved.lost_exact, saved.trail)


class _Version(msgspec.Struct):
    v: int


class _Saved(msgspec.Struct):
    v: int
    id: str
    read: int | None
    gaps: int
    lost: int
    lost_exact: bool
    trail: tuple[tuple[str, int], ...]


def order(entry_id: str) -> tuple[int, int]:
    """What sorts entry ids as the server does."""
    time_ms, _, number = entry_id.partition("-")
    return int(time_ms), int(number or 0)
