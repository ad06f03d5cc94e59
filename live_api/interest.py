"""Which series each set of topics is about, worked out once for each set and each new series.

So what a tick costs follows from what it delivers, and not from how many sets there are times how many series. No
socket, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

import orjson

from live_api.access.identity import EVERY_ROW, Rows
from live_api.latest import Latest, Series
from live_api.protocol import ALERTS, BOARD, SYSTEM, ProtocolError, Topic

MOST_ENTRIES = 5_000_000
"""Series, counted once for each set of topics that is about them: some 100 bytes each."""


class Wanted:
    """What a set of topics is about, and the series of it that there are: those in `rows`."""

    __slots__ = ("alerts", "exact", "mark", "prefixes", "rows", "series", "system")

    def __init__(self, topics: Iterable[str], boards: Mapping[str, Iterable[str]], rows: Rows = EVERY_ROW) -> None:
        """`boards` has the topics of each board."""
        self.rows = rows
        self.mark = mark_of(rows)
        texts: set[str] = set()
        for text in topics:
            texts.update(boards[text.removeprefix(BOARD)] if text.startswith(BOARD) else (text,))
        self.system = SYSTEM in texts
        self.alerts = ALERTS in texts
        self.exact: dict[str, list[Topic]] = {}
        """By metric: nearly all topics name one, and most series are of none of them."""
        self.prefixes: list[Topic] = []
        self.series: dict[Series, None] = {}
        for text in texts:
            topic = Topic.parse(text)
            if topic is not None and topic.prefix:
                self.prefixes.append(topic)
            elif topic is not None:
                self.exact.setdefault(topic.name, []).append(topic)

    def matches(self, series: Series) -> bool:
        if not self.rows.show(tuple(series.dimensions.items())):
            return False
        for topic in self.exact.get(series.metric, ()):
            if topic.matches(series.metric, series.window, series.dimensions):
                return True
        return any(topic.matches(series.metric, series.window, series.dimensions) for topic in self.prefixes)


def mark_of(rows: Rows) -> str:
    """What stands behind the epoch of those who see some rows only: what was told of some rows is nothing to go on from
    with others."""
    if not rows.limited:
        return ""
    said = orjson.dumps([[name, sorted(values)] for name, values in rows.allowed])
    return "-" + blake2b(said, digest_size=4).hexdigest()


class Interests:
    """All sets of topics that anybody has, and the series they are about."""

    def __init__(self, latest: Latest, boards: Mapping[str, Iterable[str]]) -> None:
        self._latest = latest
        self._boards = boards
        self._by_metric: dict[str, dict[Wanted, None]] = {}
        self._by_prefix: dict[Wanted, None] = {}
        self._entries = 0

    def add(self, topics: Iterable[str], rows: Rows = EVERY_ROW, request: object = None) -> Wanted:
        """Begin to follow a set of topics. Raises ProtocolError when that is more than can be followed."""
        wanted = Wanted(topics, self._boards, rows)
        for series in self._found(wanted):
            if not rows.limited or rows.show(tuple(series.dimensions.items())):
                wanted.series[series] = None
        if self._entries + len(wanted.series) > MOST_ENTRIES:
            raise ProtocolError(
                "too_many_topics", "this server follows as many series as it can; ask for fewer", request
            )
        for series in wanted.series:
            series.wanted.append(wanted)
        self._entries += len(wanted.series)
        for metric in wanted.exact:
            self._by_metric.setdefault(metric, {})[wanted] = None
        if wanted.prefixes:
            self._by_prefix[wanted] = None
        return wanted

    def remove(self, wanted: Wanted) -> None:
        """Nobody has this set any more."""
        for series in wanted.series:
            series.wanted.remove(wanted)
        self._entries -= len(wanted.series)
        wanted.series.clear()
        self._by_prefix.pop(wanted, None)
        for metric in wanted.exact:
            followers = self._by_metric[metric]
            del followers[wanted]
            if not followers:
                del self._by_metric[metric]

    def refresh(self) -> None:
        """Take in which series have come and gone since this was last done."""
        come, gone = self._latest.take_moves()
        for series in gone:
            for wanted in series.wanted:
                del wanted.series[series]
            self._entries -= len(series.wanted)
            series.wanted.clear()
        for series in come:
            for wanted in {**self._by_metric.get(series.metric, {}), **self._by_prefix}:
                if series not in wanted.series and wanted.matches(series):
                    wanted.series[series] = None
                    series.wanted.append(wanted)
                    self._entries += 1

    def _found(self, wanted: Wanted) -> Iterator[Series]:
        for topics in wanted.exact.values():
            for topic in topics:
                for metric, window in self._latest.groups(topic.name):
                    if topic.window in (None, window):
                        yield from self._latest.find(metric, window, dict(topic.dimensions))
        for topic in wanted.prefixes:
            for metric, window in self._latest.groups():
                if metric.startswith(topic.name) and topic.window in (None, window):
                    yield from self._latest.find(metric, window, dict(topic.dimensions))
