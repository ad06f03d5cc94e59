"""Which topics there are: those of the catalog's metrics and boards."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from live_api.access.identity import EVERY_ROW, Rows
from live_api.protocol import BOARD, ProtocolError, Topic


@dataclass(frozen=True, slots=True)
class About:
    """A metric as far as topics name it."""

    windows: tuple[str, ...]
    by: tuple[str, ...]


@dataclass(frozen=True)
class Topics:
    """What clients may ask for. Who asks for what will never be told is better told so at once."""

    metrics: Mapping[str, About]
    boards: Mapping[str, tuple[str, ...]]
    """The topics of each board."""

    def within(self, rows: Rows) -> Topics:
        """What there is for somebody who sees these rows only: metrics without such rows are not offered."""
        if not rows.limited:
            return self
        return Topics({name: one for name, one in self.metrics.items() if rows.may_show(one.by)}, self.boards)

    def checked(self, topics: Iterable[str], request: object = None, rows: Rows = EVERY_ROW) -> frozenset[str]:
        """The topics, all of which are there. Raises ProtocolError for the first that is not."""
        found = frozenset(topics)
        offered = self.within(rows)
        for text in found:
            problem = offered._problem(text)
            if problem is not None:
                raise ProtocolError("unknown_topic", f"{problem}; found {text[:100]!r}", request)
        return found

    def _problem(self, text: str) -> str | None:
        if text.startswith(BOARD):
            name = text.removeprefix(BOARD)
            return None if name in self.boards else f"expected a board, one of {_some(self.boards, name)}"
        topic = Topic.parse(text)
        if topic is None:
            return None
        if topic.prefix:
            about = [self.metrics[name] for name in self.metrics if name.startswith(topic.name)]
            if not about:
                return f"expected the beginning of a metric's name, such as {_some(self.metrics, topic.name)}"
        elif topic.name in self.metrics:
            about = [self.metrics[topic.name]]
        else:
            return f"expected a metric, one of {_some(self.metrics, topic.name)}"
        if topic.window is not None and not any(topic.window in one.windows for one in about):
            windows = dict.fromkeys(window for one in about for window in one.windows)
            return f"expected one of the windows {', '.join(windows)}"
        names = {name for name, _ in topic.dimensions}
        if not any(names <= set(one.by) for one in about):
            dimensions = dict.fromkeys(name for one in about for name in one.by)
            return f"expected dimensions of {', '.join(dimensions) or 'which there are none'}"
        return None


def _some(names: Iterable[str], near: str) -> str:
    """The names nearest to what was asked for, and how many others there are."""
    known = list(names)
    shown = difflib.get_close_matches(near, known, 5, 0.3) or known[:5]
    more = len(known) - len(shown)
    return ", ".join(shown) + (f" and {more} others" if more else "")
