"""`[keep]` of the catalog applied: what of each place is older than it is kept, and lets it go.

Streams and dead letters are as old as the server's clock says that they arrived. Points, alerts and days of the archive
are as old as they are *by the events*: a replay of last year's files keeps as much as last year did. What says how far
that is, is the newest watermark in the store, and the newest day in the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import valkey
from valkey.exceptions import ValkeyError

from sinks.alert_store import AlertStore
from sinks.archive_layout import day_named
from sinks.archive_place import Place, open_place
from sinks.deadletter import DeadLetters
from sinks.errors import Misconfigured, Retryable, SinkError
from sinks.records import iso
from sinks.store import Store
from stream.catalog import Catalog
from stream.durations import DAY_MS, MINUTE_MS, duration_ms
from stream.plan import Plan, compile_plan
from streamgauge.archive_forgetting import changing
from streamgauge.deadletters import Selection
from streamgauge.places import group_of
from streamgauge.settings import Settings, archive_url

_SHORT_KEPT_MS = 2 * 3_600_000
"""How long the store keeps windows of less than a minute where nothing else is said: enough for every sparkline."""
_PAGE = 2_000
_COUNTED = 1_000_000
"""More entries than that are not counted one by one: each has to be read for it."""
_TRIMMED_AT_ONCE = 100_000
_SINKS = ("store", "influx", "alerts")
"""Of whom dead letters speak that are of no stream."""


@dataclass(frozen=True, slots=True)
class Old:
    """What of one place is older than it is kept, and goes."""

    place: str
    kept: str
    count: int
    what: str
    oldest: str | None = None
    """When the oldest of it is from."""
    size_bytes: int | None = None
    """None where that is not known."""
    at_least: bool = False
    """Whether there is more of it than was counted."""
    note: str = ""

    def line(self, *, dry_run: bool) -> str:
        if not self.count:
            text = f"{self.place}: nothing {'would go' if dry_run else 'went'}, {self.kept} are kept"
        else:
            more = "more than " if self.at_least else ""
            size = "" if self.size_bytes is None else f", {_shown_bytes(self.size_bytes)}"
            since = "" if self.oldest is None else f", the oldest of {self.oldest}"
            goes = "would go" if dry_run else "went"
            text = f"{self.place}: {more}{self.count:,} {self.what}{size}{since}: {goes}, {self.kept} are kept"
        return text + (f" ({self.note})" if self.note else "")


def kept_in_store(catalog: Catalog, plan: Plan) -> dict[str, int]:
    """The windows whose points are not kept for good, each with for how long: those of less than a minute, and those of
    `keep.store`, be they in the catalog or not any more."""
    windows = [window for cube in plan.all_cubes for window in cube.windows]
    short = {window.name: _SHORT_KEPT_MS for window in windows if window.about_ms < MINUTE_MS}
    return short | {window: duration_ms(kept) for window, kept in catalog.keep.store.items()}


def kept_alerts(catalog: Catalog) -> int | None:
    """For how long alerts are kept that have ended; None: for good."""
    return None if catalog.keep.alerts is None else duration_ms(catalog.keep.alerts)


@dataclass(frozen=True, slots=True)
class Keeper:
    """Looks at every place that `[keep]` rules, and changes nothing in a `dry_run`."""

    catalog: Catalog
    settings: Settings
    state: Path
    """The platform's own directory."""
    dry_run: bool
    now_ms: int | None
    """What points, alerts and days are measured from; None: from the events, as said above."""
    clock_ms: int

    def apply(self, tell: Callable[[str], None], wrong: Callable[[str], None]) -> bool:
        """Go through all places, and on where one cannot be reached, which is told to `wrong`. Whether all could be."""
        parts: list[tuple[str, Callable[[], Iterator[Old]]]] = []
        keep = self.catalog.keep
        parts += [(f"stream {name}", self._stream_of(name)) for name in self.catalog.platform.streams]
        parts += [("dead letters", self._dead_letters), ("store", self._points), ("alerts", self._alerts)]
        parts += [("archive", self._archive), ("InfluxDB", self._influx)]
        kept_for_good = {
            "streams": keep.streams is None,
            "dead letters": keep.dead_letters is None,
            "alerts": keep.alerts is None,
            "archive": keep.archive is None,
        }
        reached = True
        for name, part in parts:
            if kept_for_good.get("streams" if name.startswith("stream ") else name, False):
                continue
            try:
                for old in part():
                    tell(old.line(dry_run=self.dry_run))
            except (SinkError, ValkeyError) as error:
                wrong(f"{name}: {error}")
                reached = False
        for name in (name for name, is_kept in kept_for_good.items() if is_kept):
            tell(f"{name}: all is kept, as [keep] has no `{name.replace(' ', '_')}`")
        return reached

    # Valkey

    def _stream_of(self, stream: str) -> Callable[[], Iterator[Old]]:
        return lambda: self._stream(stream)

    def _stream(self, stream: str) -> Iterator[Old]:
        kept = self.catalog.keep.streams
        assert kept is not None
        with closing(self._client()) as client:
            try:
                if not client.exists(stream):
                    yield Old(f"stream {stream}", kept, 0, "entries", note="there is no such stream yet")
                    return
                limit, note = _unread(client, stream, group_of(self.catalog))
                before = min(limit, (_server_ms(client) - duration_ms(kept), 0))
                yield _trimmed(client, stream, before, kept, note if before == limit else "", self.dry_run)
            except ValkeyError as error:
                raise _valkey_error(error) from error

    def _dead_letters(self) -> Iterator[Old]:
        kept = self.catalog.keep.dead_letters
        assert kept is not None
        with closing(self._client()) as client:
            try:
                now_ms = _server_ms(client)
            except ValkeyError as error:
                raise _valkey_error(error) from error
            letters = DeadLetters(client)
            # Other platforms may have theirs in the same stream.
            ours = frozenset((*self.catalog.platform.streams, *_SINKS))
            selection = Selection(streams=ours, before_ms=now_ms - duration_ms(kept))
            newest, count, size, oldest = letters.newest_id(), 0, 0, None
            for _, meant in selection.pages(letters, newest) if newest else ():
                count += len(meant) if self.dry_run else letters.remove([one.id for one in meant])
                size += sum(len(one.letter.raw) for one in meant if one.letter is not None)
                oldest = oldest or (iso(meant[0].refused_ms) if meant else None)
            yield Old("dead letters", kept, count, "letters", oldest, size)

    def _client(self) -> valkey.Valkey:
        if self.settings.valkey_url is None:
            raise Misconfigured(
                "VALKEY_URL is not set: it names the server, such as valkey://127.0.0.1:6379 (`up` prints its own)"
            )
        try:
            return valkey.Valkey.from_url(self.settings.valkey_url, socket_timeout=60, socket_connect_timeout=5)
        except ValueError as error:
            raise Misconfigured(f"VALKEY_URL: {error}") from error

    # The store

    def _points(self) -> Iterator[Old]:
        kept_ms = kept_in_store(self.catalog, compile_plan(self.catalog))
        with closing(Store(self.settings.store_url(self.state))) as store:
            self._set_up(store)
            now_ms = store.newest_ms() if self.now_ms is None else self.now_ms
            for window, kept in sorted(kept_ms.items(), key=lambda item: item[1]):
                count, oldest_ms = store.before(window, now_ms - kept) if now_ms is not None else (0, None)
                if count and now_ms is not None and not self.dry_run:
                    count = store.prune(window, now_ms - kept)
                oldest = None if oldest_ms is None else iso(oldest_ms)
                yield Old(f"store, windows of {window}", _shown_duration(kept), count, "points", oldest)

    def _alerts(self) -> Iterator[Old]:
        kept_ms = kept_alerts(self.catalog)
        assert kept_ms is not None
        url = self.settings.store_url(self.state)
        with closing(Store(url)) as store, closing(AlertStore(url)) as alerts:
            self._set_up(store)
            now_ms = store.newest_ms() if self.now_ms is None else self.now_ms
            before_ms = -1 if now_ms is None else now_ms - kept_ms
            count, oldest_ms = alerts.ended(before_ms)
            if count and not self.dry_run:
                count = alerts.prune_ended(before_ms)
            oldest = None if oldest_ms is None else iso(oldest_ms)
            yield Old("alerts that have ended", _shown_duration(kept_ms), count, "alerts", oldest)

    def _set_up(self, store: Store) -> None:
        url = self.settings.store_url(self.state)
        path = Path(url.removeprefix("sqlite:///"))
        if url.startswith("sqlite:///") and not path.exists():
            # To look is not to make one.
            raise Misconfigured(f"{path} is not there: give --state or DATABASE_URL as the processor has it")
        if not self.dry_run:
            store.setup()

    # The archive

    def _archive(self) -> Iterator[Old]:
        kept = self.catalog.keep.archive
        assert kept is not None
        place = open_place(archive_url(self.settings, self.state))
        try:
            days = _days(place)
            now_ms = self.now_ms
            if now_ms is None:
                now_ms = min(self.clock_ms, _start_ms(max(days)) + DAY_MS) if days else self.clock_ms
            # Whole days only.
            old = sorted(day for day in days if _start_ms(day) + DAY_MS <= now_ms - duration_ms(kept))
            size = files = 0
            for day in old:
                found = place.files.find(days[day], detail=True)
                files += len(found)
                size += sum(int(about.get("size") or 0) for about in found.values())
                if not self.dry_run:
                    with changing(self.state):
                        place.files.rm(days[day], recursive=True)
        except Exception as error:
            # Drivers of file systems raise whatever those that they stand on do.
            raise Retryable(f"{place.url}: {type(error).__name__}: {error}") from error
        oldest = old[0].isoformat() if old else None
        yield Old(
            "archive", kept, len(old), "days", oldest, size if old else None, note=f"{files:,} files" if old else ""
        )

    # InfluxDB

    def _influx(self) -> Iterator[Old]:
        if self.settings.influx_url is None:
            return
        from streamgauge.retention_buckets import bucket_changes

        for name, has_s, wanted_s, note in bucket_changes(self.catalog, self.settings, dry_run=self.dry_run):
            kept = _shown_duration(wanted_s * 1_000)
            if has_s == wanted_s or note:
                yield Old(f"bucket {name}", kept, 0, "", note=note)
            else:
                has = _shown_duration(has_s * 1_000) if has_s else "all"
                would = "would be kept" if self.dry_run else "are kept now"
                yield Old(
                    f"bucket {name}", kept, 0, "", note=f"{has} were: {kept} {would}, and the server drops the rest"
                )


def _unread(client: valkey.Valkey, stream: str, own: str) -> tuple[tuple[int, int], str]:
    """The first id of a stream that somebody has yet to read, or is not done with, and who that is.

    No entry from there on may go. Whoever reads without a group cannot be known of.
    """
    groups: Any = client.xinfo_groups(stream)
    first: tuple[int, int] | None = None
    who = ""
    for group in groups:
        name = group["name"].decode()
        ids = [_id(group["last-delivered-id"])]
        if group["pending"]:
            pending: Any = client.xpending(stream, group["name"])
            ids.append(_id(pending["min"]))
        if first is None or min(ids) < first:
            first, who = min(ids), name
    if own not in {group["name"].decode() for group in groups}:
        return (0, 0), f"group {own} is not there: no processor of this catalog has said how far it is"
    assert first is not None
    return first, f"held back by group {who}, which is at {first[0]}-{first[1]}"


def _trimmed(client: valkey.Valkey, stream: str, before: tuple[int, int], kept: str, note: str, dry_run: bool) -> Old:
    """Count, or delete, the entries with ids below `before`."""
    edge = f"{max(0, before[0])}-{before[1]}"
    place = f"stream {stream}"
    if before <= (0, 0):
        return Old(place, kept, 0, "entries", note=note)
    first: Any = client.xrange(stream, "-", f"({edge}", 1)
    oldest = iso(_id(first[0][0])[0]) if first else None
    if not dry_run:
        count = 0
        # Some at a time, whole nodes of the server's tree: nobody else is kept waiting. Then what is left of the last.
        gone: Any = None
        while gone != 0:
            gone = client.xtrim(stream, minid=edge, approximate=True, limit=_TRIMMED_AT_ONCE)
            count += gone
        gone = client.xtrim(stream, minid=edge, approximate=False)
        count += gone
        return Old(place, kept, count, "entries", oldest, note=note)
    count = size = 0
    start = "-"
    while count < _COUNTED:
        entries: Any = client.xrange(stream, start, f"({edge}", _PAGE)
        count += len(entries)
        size += sum(len(name) + len(value) for _, fields in entries for name, value in (fields or {}).items())
        if len(entries) < _PAGE:
            return Old(place, kept, count, "entries", oldest, size, note=note)
        start = f"({entries[-1][0].decode()}"
    return Old(place, kept, count, "entries", oldest, size, at_least=True, note=note)


def _days(place: Place) -> Mapping[date, str]:
    """The days that are archived, each with its directory."""
    place.files.invalidate_cache()
    if not place.files.exists(place.root):
        return {}
    found = {day_named(path.rstrip("/")): path.rstrip("/") for path in place.files.ls(place.root, detail=False)}
    return {day: path for day, path in found.items() if day is not None}


def _start_ms(day: date) -> int:
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * DAY_MS


def _id(entry_id: bytes) -> tuple[int, int]:
    time_ms, _, number = entry_id.decode().partition("-")
    return int(time_ms), int(number or 0)


def _server_ms(client: valkey.Valkey) -> int:
    now: Any = client.time()
    return int(now[0]) * 1_000 + int(now[1]) // 1_000


def _valkey_error(error: ValkeyError) -> SinkError:
    return Retryable(f"VALKEY_URL: {error}")


def _shown_duration(kept_ms: int) -> str:
    for unit, size_ms in (("d", DAY_MS), ("h", 3_600_000), ("m", MINUTE_MS), ("s", 1_000)):
        if kept_ms % size_ms == 0:
            return f"{kept_ms // size_ms}{unit}"
    return f"{kept_ms}ms"


def _shown_bytes(size: int) -> str:
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= one:
            return f"{size / one:,.1f} {unit}"
    return f"{size} bytes"
