"""The dead letters as an operator meets them: which ones are meant, how they are shown, counted and purged.

`streamgauge.resend` sends them back. Everything here reads page by page, and only the letters that were there when it
began: those that come meanwhile wait for the next time.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from sinks.deadletter import DeadLetters, Kept
from sinks.records import Reason, iso
from stream.durations import duration_ms
from streamgauge.progress import Bar
from streamgauge.terminal import printable

UNREADABLE = "unreadable"
"""Stands for the reason of an entry that is no letter."""
_PLACE = re.compile(r"([0-9]+-[0-9]+)(?:\[([0-9]+)\])?")
_SHOWN_RAW = 120
_SHOWN_MESSAGE = 240

Place = tuple[str, int | None]
"""Entry id and position in the entry; None for every event of the entry."""
Kinds = Counter[tuple[str, str]]
"""How many letters there are of each (reason, stream)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those that fit all that is set. Without anything set, all."""

    reasons: frozenset[Reason] = frozenset()
    streams: frozenset[str] = frozenset()
    since_ms: int | None = None
    """Refused at this time or later, epoch milliseconds."""
    before_ms: int | None = None
    """Refused earlier than this."""
    places: frozenset[Place] = frozenset()

    @property
    def is_all(self) -> bool:
        return self == Selection()

    def takes(self, kept: Kept) -> bool:
        """Whether the letter is meant, its time aside."""
        letter = kept.letter
        if letter is None:
            # Nothing is known of it but when it came.
            return not (self.reasons or self.streams or self.places)
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.streams and letter.stream not in self.streams:
            return False
        here = {(letter.entry_id, letter.index), (letter.entry_id, None)}
        return not self.places or not here.isdisjoint(self.places)

    def pages(
        self, letters: DeadLetters, newest: str, *, oldest: str | None = None, backwards: bool = False
    ) -> Iterator[tuple[list[Kept], list[Kept]]]:
        """The letters from the id `oldest` to `newest`, a page at a time: all that were read, and those that are meant.

        `oldest` is the id of a letter that is meant; without it they begin where the selection does.
        """
        first = oldest or ("-" if self.since_ms is None else str(max(0, self.since_ms)))
        last = newest
        if self.before_ms is not None and self.before_ms <= int(newest.partition("-")[0]):
            if self.before_ms <= 0:
                return
            last = str(self.before_ms - 1)
        for page in letters.pages(first, last, backwards=backwards):
            yield page, [kept for kept in page if self.takes(kept)]


def moment_ms(text: str, now_ms: int) -> int:
    """`"1h"` → an hour before `now_ms`; `"2026-01-31T03:00:00Z"` → that time, UTC where it names no zone.

    Raises ValueError for anything else.
    """
    try:
        return now_ms - duration_ms(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        message = f"expected how long ago, such as 90s, 1h or 7d, or a time such as 2026-01-31T03:00Z; found {text!r}"
        raise ValueError(message) from None
    return int((time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp() * 1_000)


def place_of(text: str) -> Place:
    """`"1526919030474-55[2]"` → the third event of that entry; without `[…]`, all of them. Raises ValueError."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError(f"expected an entry as `list` prints it, such as 1526919030474-55[0]; found {text!r}")
    return found[1], None if found[2] is None else int(found[2])


def write_list(letters: DeadLetters, selection: Selection, out: IO[str], *, limit: int, as_json: bool) -> bool:
    """Write the newest `limit` letters, newest last, one a line; all when `limit` is 0.

    Returns whether there are older ones that were not written.
    """
    newest = letters.newest_id()
    if newest is None:
        return False
    # Looked for backwards and then read again, so that no number of letters has to be held.
    oldest, older = _oldest_of(letters, selection, newest, limit) if limit else (None, False)
    for _, meant in selection.pages(letters, newest, oldest=oldest):
        for kept in meant:
            out.write(json_line(kept) if as_json else line(kept))
            out.write("\n")
    out.flush()
    return older


def _oldest_of(letters: DeadLetters, selection: Selection, newest: str, limit: int) -> tuple[str | None, bool]:
    """Id of the oldest of the newest `limit` letters, and whether there are older ones."""
    oldest, found = None, 0
    for _, meant in selection.pages(letters, newest, backwards=True):
        if found + len(meant) > limit:
            return (meant[limit - found - 1].id if limit > found else oldest), True
        if meant:
            oldest, found = meant[-1].id, found + len(meant)
    return oldest, False


def line(kept: Kept) -> str:
    """`2026-01-31T03:00:00Z  bad_type  events:{0}  1526919030474-55[0]  price: expected…  {"price": …`.

    Nothing in it can move a terminal's cursor or change its colours; bytes that are no UTF-8 are spelled `\\xff`.
    """
    letter = kept.letter
    if letter is None:
        return f"{iso(kept.refused_ms)}  {UNREADABLE}  -  {kept.id}  not a dead letter of this version"
    place = f"{letter.entry_id}[{letter.index}]" if letter.entry_id else "-"
    # Cut before it is made printable: raw bytes may be many megabytes.
    message = _cut(letter.message, _SHOWN_MESSAGE)
    raw = _cut(letter.raw[: 4 * _SHOWN_RAW].decode(errors="backslashreplace"), _SHOWN_RAW)
    parts = (letter.reason.value, printable(letter.stream), place, printable(message), printable(raw))
    return "  ".join((iso(kept.refused_ms), *parts))


def json_line(kept: Kept) -> str:
    """The whole letter as one JSON object, in ASCII; `raw` where the bytes are UTF-8, else `raw_base64`."""
    letter = kept.letter
    shown: dict[str, Any] = {"id": kept.id, "refused": iso(kept.refused_ms)}
    if letter is None:
        shown |= {"reason": UNREADABLE}
    else:
        shown |= {
            "reason": letter.reason.value,
            "stream": letter.stream,
            "entry": letter.entry_id,
            "index": letter.index,
            "message": letter.message,
        }
        try:
            shown["raw"] = letter.raw.decode()
        except UnicodeDecodeError:
            shown["raw_base64"] = base64.b64encode(letter.raw).decode()
    # JSON may hold DEL as it is, and a terminal would be given it.
    return json.dumps(shown).replace("\x7f", "\\u007f")


def kind_of(kept: Kept) -> tuple[str, str]:
    """What letters are counted by: reason and stream."""
    return (UNREADABLE, "") if kept.letter is None else (kept.letter.reason.value, kept.letter.stream)


def count(letters: DeadLetters, selection: Selection, bar: Bar) -> Kinds:
    """How many letters are meant, by reason and stream."""
    kinds: Kinds = Counter()
    newest, length, read = letters.newest_id(), letters.length(), 0
    for page, meant in selection.pages(letters, newest) if newest else ():
        kinds.update(map(kind_of, meant))
        read += len(page)
        bar.advance(len(meant), read, length)
    return kinds


def purge(letters: DeadLetters, selection: Selection, purged: Kinds, bar: Bar, *, stopped: Callable[[], bool]) -> None:
    """Delete the letters that are meant until `stopped`, counting them in `purged` as they go.

    What raises part of the way leaves `purged` with what is gone.
    """
    newest, length, read = letters.newest_id(), letters.length(), 0
    for page, meant in selection.pages(letters, newest) if newest else ():
        if stopped():
            return
        letters.remove([kept.id for kept in meant])
        purged.update(map(kind_of, meant))
        read += len(page)
        bar.advance(len(meant), read, length)


def table(kinds: Kinds) -> Iterable[str]:
    """Lines of a number, a reason and a stream, most first."""
    width = max((len(f"{number:,}") for number in kinds.values()), default=0)
    for (reason, stream), number in sorted(kinds.items(), key=lambda item: (-item[1], item[0])):
        yield f"{number:>{width},}  {reason}  {printable(stream)}".rstrip()


def json_table(kinds: Kinds) -> Iterable[str]:
    for (reason, stream), number in sorted(kinds.items(), key=lambda item: (-item[1], item[0])):
        line = json.dumps({"reason": reason, "stream": stream, "count": number})
        yield line.replace("\x7f", "\\u007f")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
