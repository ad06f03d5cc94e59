"""A hub without sockets: lines that a test stalls and drains, and clients that believe what they are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from live_api.feed import Feed
from live_api.frame import Frame
from live_api.hub import Client, Hub
from live_api.latest import Latest
from live_api.protocol import Hello, Subscribe, Unsubscribe
from live_api.topics import About, Topics
from live_api.transport import Listener
from sinks.live import Update
from sinks.records import Point

TOPICS = Topics(
    {
        "orders": About(("1m", "1d"), ("country",)),
        "revenue": About(("1m",), ()),
        "sizes": About(("1h",), ("a", "b")),
    },
    {"ops": ("metric:orders@1m", "system", "alerts"), "money": ("metric:revenue@1m",)},
)


class FakeLine:
    """A line whose other end reads only while it is not stalled."""

    def __init__(self, kind: str = "ws") -> None:
        self.kind = kind
        self.paused = False
        self.heard = True
        self.pings = True
        self.listener: Listener | None = None
        self.received: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.pinged = 0
        self._held: list[Frame] = []
        self._reads = True

    def write(self, frame: Frame) -> None:
        assert not self.aborted
        assert self.closed is None
        if self._reads:
            self.received.append(orjson.loads(frame.body))
            return
        self._held.append(frame)
        if not self.paused:
            self.paused = True
            if self.listener is not None:
                self.listener.stalled()

    def ping(self) -> None:
        self.pinged += 1
        self.heard = self._reads

    def close(self, code: int, reason: str = "") -> None:
        self.closed = code, reason

    def abort(self) -> None:
        self.aborted = True

    def stall(self) -> None:
        """The other end stops reading: what is written next stays."""
        self._reads = False

    def drain(self) -> None:
        """The other end reads again."""
        self._reads = True
        self.received += [orjson.loads(frame.body) for frame in self._held]
        self._held.clear()
        if self.paused:
            self.paused = False
            if self.listener is not None:
                self.listener.drained()

    @property
    def left_bytes(self) -> int:
        return sum(len(frame.body) for frame in self._held)

    def trickle(self) -> None:
        """The other end takes one of the frames that wait."""
        self.received.append(orjson.loads(self._held.pop(0).body))

    @property
    def ops(self) -> list[str]:
        return [message["op"] for message in self.received]


class World:
    """A hub over a live stream that the test writes, with clocks that the test moves."""

    def __init__(self, **options: Any) -> None:
        self.now_ms = 1_700_000_000_000
        self.now_s = 1_000.0
        self.latest = Latest()
        self.feed = Feed("", self.latest, self._nothing, lambda _: True, platform="", clock=lambda: self.now_ms)
        self.feed.caught_up = True
        options.setdefault("topics", TOPICS)
        self.hub = Hub(
            self.latest,
            self.feed,
            clock=lambda: self.now_ms,
            monotonic=lambda: self.now_s,
            version="1",
            **options,
        )

    async def _nothing(self) -> Iterable[Point]:
        return ()

    def say(self, *points: Point, alerts: Mapping[str, dict[str, Any]] | None = None) -> None:
        """One entry of the live stream."""
        self.now_ms += 1
        self.feed._take(
            Update(self.now_ms, list(points), alerts=None if alerts is None else dict(alerts)), self.now_ms << 11
        )

    def tick(self, after_s: float = 0.1) -> int:
        self.pass_time(after_s)
        return self.hub.tick(self.now_ms)

    def pass_time(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1_000)
        self.now_s += seconds

    def made_anew(self) -> None:
        """The live stream is gone, and another begins."""
        self.feed.epoch += "x"
        self.latest.restart()
        self.feed.alerts.restart()

    def join(self, *topics: str, resume: tuple[str, int] | None = None) -> tuple[FakeLine, Client]:
        line = FakeLine()
        return line, self.hub.join(line, Hello(topics, resume))

    def shown(self, topics: Iterable[str]) -> dict[str, Any]:
        """What a client with these topics is to hold: asked for by one who comes now."""
        line, client = self.join(*topics)
        self.hub.leave(client)
        return viewed(line.received)[0]


class Person:
    """A client that goes away and comes back, and holds what it was told."""

    def __init__(self, world: World, topics: Iterable[str]) -> None:
        self._world = world
        self.topics = set(topics)
        self.series: dict[str, dict[int, Any]] = {}
        self.alerts: dict[str, Any] = {}
        self.epoch = ""
        self.seq: int | None = None
        self.line = FakeLine()
        self.client: Client | None = None
        self.snapshots = 0
        self.connect()

    def connect(self) -> None:
        if self.client is not None:
            return
        self.line = FakeLine()
        resume = None if self.seq is None else (self.epoch, self.seq)
        self.client = self._world.hub.join(self.line, Hello(tuple(sorted(self.topics)), resume))
        self.read()

    def lose(self) -> None:
        """The connection breaks; what it had not read is lost."""
        if self.client is not None:
            self.read()
            self._world.hub.leave(self.client)
            self.client = None

    def subscribe(self, topic: str) -> None:
        if self.client is not None:
            self.read()
            if topic not in self.topics:
                # Until the snapshot has come there is nothing whole to go on from.
                self.seq = None
            self.topics.add(topic)
            self._world.hub.obey(self.client, Subscribe((topic,), 1))

    def unsubscribe(self, topic: str) -> None:
        if self.client is not None:
            self.topics.discard(topic)
            self._world.hub.obey(self.client, Unsubscribe((topic,), 1))

    def read(self) -> None:
        messages, self.line.received = self.line.received, []
        for message in messages:
            self._take(message)

    def _take(self, message: Mapping[str, Any]) -> None:
        op = message["op"]
        if op == "welcome":
            self.epoch = message["epoch"]
        if op == "snapshot":
            self.snapshots += 1
            self.epoch = message["epoch"]
            self.series.clear()
            self.alerts.clear()
        if op in ("snapshot", "update"):
            assert self.seq is None or op == "snapshot" or message["seq"] >= self.seq
            _put(self.series, message)
            self.alerts |= message.get("alerts", {})
        if "seq" in message and (op == "snapshot" or self.seq is not None):
            self.seq = message["seq"]

    def held(self, shown: Mapping[str, Any]) -> dict[str, Any]:
        """What it holds of the windows that the hub shows. It may hold older ones, which nobody shows any more."""
        return {
            key: {start: self.series.get(key, {}).get(start) for start in windows} for key, windows in shown.items()
        }


def _put(series: dict[str, dict[int, Any]], message: Mapping[str, Any]) -> None:
    for key, one in message.get("series", {}).items():
        series.setdefault(key, {}).update({start: rest for start, *rest in one["points"]})


def viewed(messages: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Series and alerts as the messages leave them."""
    series: dict[str, Any] = {}
    alerts: dict[str, Any] = {}
    for message in messages:
        if message["op"] == "snapshot":
            series, alerts = {}, {}
        _put(series, message)
        alerts |= message.get("alerts", {})
    return series, alerts
