"""Refused events back into the streams they came from.

What goes back, and as which entry, is decided by `Resender`, without a server; `resend` adds the entries and removes
the letters.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import valkey
from valkey.exceptions import OutOfMemoryError, ValkeyError

from sinks.deadletter import DeadLetters, Kept
from sinks.records import DeadLetter, Reason, Shape, iso
from stream.adapters import decode_safely
from stream.batches import RawBatch
from stream.catalog import Catalog
from stream.decode import Decoder
from stream.entries import Fields, entry_time_ms, flat_fields, with_time
from stream.plan import compile_plan
from streamgauge.deadletters import Kinds, Selection, kind_of, table
from streamgauge.progress import Bar
from streamgauge.terminal import printable

_REMEMBERED = 100_000
"""Events whose further letters are recognised: more than a processor reads again after a crash."""
_FULL_WAIT_S = 1.0
_NO_ENTRY = "0-0"
"""Entry of a letter whose event could not be told any more when it was refused. No stream has such an entry."""


@dataclass(slots=True)
class Resent:
    """What became of the letters that were meant; of those that stay, why."""

    sent: Kinds = field(default_factory=Counter)
    """Those sent back, or that would be, by reason and stream."""
    timed: int = 0
    """Of them, events that were given the time of their entry, as they had none."""
    far_back: int = 0
    """Of them, not refused as too late, but by the clock further back than `allowed_lateness` allows."""
    copies: int = 0
    """Further letters of the same event, which are removed and not sent."""
    still_refused: Counter[str] = field(default_factory=Counter)
    """By reason."""
    untimed: int = 0
    """Events without a time of their own into which none can be written."""
    elsewhere: Counter[str] = field(default_factory=Counter)
    """By stream: those that the catalog does not read."""
    of_sinks: Counter[str] = field(default_factory=Counter)
    """By sink: lines that a database would not take. They are no events."""
    without_bytes: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class Return:
    """An entry to be added, and the letters that are done with once it is."""

    stream: str
    fields: Fields
    kind: tuple[str, str]
    letters: list[str]
    timed: bool
    far_back: bool


class Resender:
    """Letters in, entries out; what stays is counted in `resent`. No server, no clock.

    The catalog says what is an event now: one that it would refuse again stays a letter, as it would only come back.
    *Guarantee*: an event goes back as it came, and has the time it had. One that had none of its own had that of its
    entry, which is written into it. *Cost*: 15 µs a letter, 40 µs where a time is written.
    """

    def __init__(self, catalog: Catalog) -> None:
        plan = compile_plan(catalog)
        self.event = plan.event
        self.allowed_lateness = catalog.event.allowed_lateness
        self.resent = Resent()
        self._decoder = Decoder(plan)
        self._streams = set(plan.streams)
        self._named = {*plan.read, plan.event.time}
        self._seen: OrderedDict[tuple[str, str, int, bytes], None] = OrderedDict()

    def take(self, page: Sequence[Kept], now_ms: int) -> tuple[list[Return], list[str]]:
        """What goes back of a page, and the ids of letters whose event has gone back already."""
        fitting: defaultdict[str, list[tuple[Kept, DeadLetter, Fields]]] = defaultdict(list)
        for kept in page:
            letter = kept.letter
            if letter is None:
                self.resent.unreadable += 1
            elif not letter.entry_id:
                self.resent.of_sinks[letter.stream] += 1
            elif letter.stream not in self._streams:
                self.resent.elsewhere[letter.stream] += 1
            elif letter.entry_id == _NO_ENTRY or not (fields := fields_of(letter)):
                self.resent.without_bytes += 1
            else:
                fitting[letter.stream].append((kept, letter, fields))
        returns: dict[tuple[str, str, int, bytes], Return] = {}
        copies: list[str] = []
        for stream, found in fitting.items():
            verdicts = self._judge(stream, [(entry_time_ms(x.entry_id), fields) for _, x, fields in found], now_ms)
            for (kept, letter, _), verdict in zip(found, verdicts, strict=True):
                if verdict is None:
                    continue
                event = (stream, letter.entry_id, letter.index, hashlib.sha256(letter.raw).digest())
                if event in returns:
                    returns[event].letters.append(kept.id)
                elif event in self._seen:
                    copies.append(kept.id)
                else:
                    fields, timed, far_back = verdict
                    far_back = far_back and letter.reason is not Reason.TOO_LATE
                    returns[event] = Return(stream, fields, kind_of(kept), [kept.id], timed, far_back)
        for event in returns:
            self._seen[event] = None
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self.resent.copies += len(copies)
        return list(returns.values()), copies

    def count(self, returns: Sequence[Return]) -> None:
        """Take note of entries that were added."""
        self.resent.sent.update(one.kind for one in returns)
        self.resent.timed += sum(one.timed for one in returns)
        self.resent.far_back += sum(one.far_back for one in returns)
        self.resent.copies += sum(len(one.letters) - 1 for one in returns)

    def _judge(
        self, stream: str, entries: list[tuple[int, Fields]], now_ms: int
    ) -> list[tuple[Fields, bool, bool] | None]:
        """For each entry (its time, its fields) the fields to add, whether a time was written into them, and whether
        it is far back; None where it stays, which is counted."""
        times, refused = self._times(stream, entries, now_ms)
        # A time that follows the entry's is the entry's.
        moved, _ = self._times(stream, [(time_ms + 1, fields) for time_ms, fields in entries], now_ms)
        bound_ms = now_ms - self.event.allowed_lateness_ms - self.event.out_of_orderness_ms
        verdicts: list[tuple[Fields, bool, bool] | None] = [None] * len(entries)
        timed: dict[int, tuple[int, Fields]] = {}
        """Entries, by their row, with their time written into them, which is yet to be proved."""
        for row, (entry_ms, fields) in enumerate(entries):
            own = times[row]
            if not own:
                self.resent.still_refused[refused[row]] += 1
                continue
            verdicts[row] = (fields, False, min(own.values()) < bound_ms)
            timeless = {index for index, time_ms in own.items() if moved[row].get(index) != time_ms}
            if timeless:
                timed[row] = (entry_ms + 1, self._with_time(fields, entry_ms, timeless))
        proved, _ = self._times(stream, list(timed.values()), now_ms)
        for (row, (_, fields)), found in zip(timed.items(), proved, strict=True):
            verdict = verdicts[row]
            if verdict is None or found != times[row]:
                # Not the same events at the same times, whatever entry they are in.
                self.resent.untimed += 1
                verdicts[row] = None
            else:
                verdicts[row] = (fields, True, verdict[2])
        return verdicts

    def _with_time(self, fields: Fields, entry_ms: int, timeless: set[int]) -> Fields:
        """The entry with its time in its events; as it was where none can be written, which then shows."""
        try:
            return with_time(fields, self._named, self.event.time, iso(entry_ms), timeless)
        except ValueError:
            return fields

    def _times(
        self, stream: str, entries: list[tuple[int, Fields]], now_ms: int
    ) -> tuple[list[dict[int, int]], dict[int, str]]:
        """For each entry the times of the events in it that are taken, by position; and why others are not."""
        numbered = [(b"%d-%d" % (time_ms, row), fields) for row, (time_ms, fields) in enumerate(entries)]
        decoded = decode_safely(self._decoder, RawBatch(stream, numbered, True, now_ms), now_ms)
        times: list[dict[int, int]] = [{} for _ in entries]
        for (entry, index, _), time_ms in zip(decoded.origins, decoded.time_ms.tolist(), strict=True):
            times[int(entry.partition("-")[2])][index] = time_ms
        return times, {int(x.entry_id.partition("-")[2]): x.reason.value for x in decoded.rejects}


def fields_of(letter: DeadLetter) -> Fields:
    """The fields of an entry that carries the event of this letter as it came; none where its bytes do not say.

    An element of a `batch` has an entry of its own, without what stood beside the batch.
    """
    if letter.shape in (Shape.DATA, Shape.BATCH):
        return [letter.shape.value.encode(), letter.raw]
    if letter.shape is None and letter.raw.lstrip(b" \t\r\n")[:1] in (b"{", b""):
        return [b"data", letter.raw]
    try:
        return flat_fields(letter.raw)
    except ValueError:
        # Before there were shapes, what could not be read as JSON had none; it was in `data` far more often than not.
        return [b"data", letter.raw] if letter.shape is None else []


def resend(
    client: valkey.Valkey,
    letters: DeadLetters,
    selection: Selection,
    resender: Resender,
    bar: Bar,
    *,
    now_ms: int,
    stopped: Callable[[float], bool],
    dry_run: bool = False,
) -> None:
    """Add the event of every letter that is meant to its stream, then remove the letter, until `stopped`.

    `stopped(s)` waits up to s seconds and says whether to end. *Guarantee*: a letter is removed only after its event
    was added; killed in between, or cut off from the server, the events of one page may be added twice by the next
    run, and none is lost. *Failure*: waits and goes on while the server is full; ValkeyError or SinkError otherwise,
    with what was done in `resender.resent`.
    """
    # Letters that come from now on stay for another time: what is sent back may be refused again.
    newest, length, read = letters.newest_id(), letters.length(), 0
    for page, meant in selection.pages(letters, newest) if newest else ():
        if stopped(0):
            return
        returns, copies = resender.take(meant, now_ms)
        if dry_run:
            resender.count(returns)
        else:
            letters.remove(copies)
            if not _add(client, letters, returns, resender, stopped):
                return
        read += len(page)
        bar.advance(len(returns), read, length)


def _add(
    client: valkey.Valkey,
    letters: DeadLetters,
    returns: list[Return],
    resender: Resender,
    stopped: Callable[[float], bool],
) -> bool:
    """Add a page. Returns whether all of it went, rather than being stopped while the server was full."""
    while returns:
        pipe = client.pipeline(transaction=False)
        for one in returns:
            pipe.execute_command("XADD", one.stream, "*", *one.fields)
        # Raised by the client, an error would quote the command, that is the event.
        answers = pipe.execute(raise_on_error=False)
        failed = [isinstance(answer, ValkeyError) for answer in answers]
        added = [one for one, bad in zip(returns, failed, strict=True) if not bad]
        resender.count(added)
        letters.remove([letter for one in added for letter in one.letters])
        for one, answer in zip(returns, answers, strict=True):
            if isinstance(answer, ValkeyError) and not isinstance(answer, OutOfMemoryError):
                raise type(answer)(f"{one.stream}: {answer}")
        returns = [one for one, bad in zip(returns, failed, strict=True) if bad]
        # Removing letters made room perhaps; what was taken is not sent again.
        if returns and stopped(_FULL_WAIT_S):
            return False
    return True


def report(resender: Resender, *, done: bool) -> Iterator[str]:
    """What was done, or would be, in lines for whoever asked."""
    event, resent = resender.event, resender.resent
    sent = resent.sent.total()
    yield f"{'sent back' if done else 'to be sent back:'} {sent:,} refused event{'' if sent == 1 else 's'}"
    yield from (f"  {row}" for row in table(resent.sent))
    late = sum(number for (reason, _), number in resent.sent.items() if reason == Reason.TOO_LATE)
    allowed = f"allowed_lateness ({resender.allowed_lateness} in this catalog)"
    if late:
        yield f"note: {late:,} had been refused as too_late, and come back unless {allowed} was raised; windows that"
        yield "  were settled for good before it was raised stay as they are"
    if resent.far_back:
        yield f"note: {resent.far_back:,} are further back than {allowed}, by the clock: if the newest events in the"
        yield "  streams are of now, these come back as too_late"
    if resent.timed:
        yield f"note: {resent.timed:,} had no time of their own; that of their entry is written into `{event.time}`"
    if resent.copies:
        yield f"{resent.copies:,} more letters were of the same events, and go without being sent"
    stay = {
        "this catalog still refuses": resent.still_refused,
        "of streams that this catalog does not read": resent.elsewhere,
        "of sinks, which are no events and cannot be sent back": resent.of_sinks,
        "without a time, where none can be written": Counter({"": resent.untimed}),
        "without bytes": Counter({"": resent.without_bytes}),
        "that are no dead letters of this version": Counter({"": resent.unreadable}),
    }
    for why, counts in stay.items():
        if number := counts.total():
            names = ", ".join(f"{printable(name)} {n:,}" for name, n in counts.most_common(20) if name)
            yield f"{number:,} {'stay' if number > 1 else 'stays'}: {why}{': ' if names else ''}{names}"
