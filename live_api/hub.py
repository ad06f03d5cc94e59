"""The hub: one tick, every client at most one frame, with all that changed in its topics.

A client has a slot and not a queue: while its line is full it is only remembered what it was told last, and when the
line has drained it gets one frame that makes it whole. Nothing here waits and nothing here is a socket: lines are told
(`live_api.transport`), sessions tell (`live_api.session`), and `live_api.ticker` says when.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from live_api import protocol
from live_api.access.identity import EVERY_ROW, Rows
from live_api.conflate import NOTHING, Audience, Frames
from live_api.feed import OF_ALL_ROWS, Feed
from live_api.frame import Frame
from live_api.interest import Interests, mark_of
from live_api.latest import Latest
from live_api.meters import HubMeters
from live_api.protocol import MAX_TOPICS, Close, Hello, ProtocolError, Subscribe, Unsubscribe
from live_api.topics import Topics
from live_api.transport import Line

logger = logging.getLogger(__name__)

SYSTEM_EVERY_S = 1.0
STALLED_AFTER_S = 10.0
"""A line that took nothing for so long is cut."""
SLOW_AT_MOST_S = 60.0
"""A line that takes something now and then, but is never done, is cut after so long: what it takes is old."""
PING_EVERY_S = 5.0
"""How often a client has to give a sign of life, and how long it may take for that."""
MOST_ANSWERS = 128
"""Answers that may wait for a client to read."""


class Client:
    """What the hub knows of one connection."""

    __slots__ = (
        "_hub",
        "answers",
        "audience",
        "checked_at_s",
        "left_bytes",
        "line",
        "seq",
        "slow_since_s",
        "stalled_at_s",
        "system",
    )

    def __init__(self, hub: Hub, line: Line, audience: Audience, now_s: float) -> None:
        self._hub = hub
        self.line = line
        self.audience = audience
        self.seq = NOTHING
        """While it is behind: the seq up to which it has been told everything."""
        self.system = 0
        """While it is behind: the number of the latest system it has been told."""
        self.stalled_at_s = 0.0
        """While its line is full: when it last took something."""
        self.slow_since_s = 0.0
        """While its line is full: since when."""
        self.left_bytes = 0
        """While its line is full: how much had not left when that was last looked at."""
        self.checked_at_s = now_s
        """When it was last asked for a sign of life, or came."""
        self.answers: list[Frame] = []
        """Answers to its requests that wait until its line takes them."""

    def stalled(self) -> None:
        self._hub.stalled(self)

    def drained(self) -> None:
        self._hub.drained(self)


class Hub:
    """All clients of this process.

    *Guarantee*: what a client holds after a frame is what the hub held at that frame's seq. *Failure*: a line that
    takes nothing, or does not answer, is cut and counted; nobody else notices. *Cost*: one encoding for each distinct
    set of topics and age, and one system call for each client and tick in which something of its own changed.
    """

    def __init__(
        self,
        latest: Latest,
        feed: Feed,
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        version: str,
        topics: Topics,
        wall: str | None = None,
        tick_ms: int = 100,
        heartbeat_s: float = 5.0,
        meters: HubMeters | None = None,
    ) -> None:
        self.latest = latest
        self.feed = feed
        self.tick_ms = tick_ms
        self.heartbeat_s = heartbeat_s
        self.meters = meters or HubMeters()
        self.epoch = feed.epoch
        self.draining = False
        self._clock = clock
        self._monotonic = monotonic
        self._version = version
        self._wall = wall
        self._topics = topics
        self._interests = Interests(latest, topics.boards)
        self._frames = Frames(latest, feed.alerts, monotonic)
        self._audiences: dict[tuple[frozenset[str], Rows], Audience] = {}
        """By topics, and the rows of those who asked for them: who sees the same shares its frames."""
        self._clients: set[Client] = set()
        self._strangers: set[Line] = set()
        """Lines on which nobody has said hello yet."""
        self._to_check: deque[Client] = deque()
        """All clients, in the order in which they are asked for a sign of life."""
        self._stalled: set[Client] = set()
        self._waiting: set[Client] = set()
        """Those who asked for other topics, and get them with the next tick."""
        self._system: dict[str, Any] = {}
        self._system_of_some = b""
        """The same for those who see some rows only."""
        self._system_number = 0
        self._system_at_s = monotonic()
        self._refresh_system(clock(), monotonic())
        self._frames.begin(self.epoch, clock(), orjson.dumps(self._system), latest.seq, self._system_of_some)

    def __len__(self) -> int:
        return len(self._clients)

    def __contains__(self, client: Client) -> bool:
        return client in self._clients

    # What sessions say

    def expect(self, line: Line) -> None:
        """Somebody is there, and will say hello."""
        self._strangers.add(line)

    def join(self, line: Line, hello: Hello, rows: Rows = EVERY_ROW, until_ms: int | None = None) -> Client:
        """Welcome a client, and tell it all it has asked for that is in `rows`. Raises ProtocolError for topics that
        are not there.

        `until_ms` is when the line will end, for the client to know: who ends it is the session."""
        topics = self._topics.checked(hello.topics, rows=rows)
        epoch, seq = hello.resume or ("", NOTHING)
        own_epoch = self.epoch + mark_of(rows)
        resumed = epoch == own_epoch and self.latest.knows_since(seq)
        welcome = protocol.welcome(
            own_epoch,
            self.tick_ms,
            self.heartbeat_s,
            self._version,
            wall=self._wall,
            resumed=resumed,
            until_ms=until_ms,
        )
        client = Client(self, line, self._audience(topics, rows), self._monotonic())
        client.seq = seq if resumed else NOTHING
        self._strangers.discard(line)
        self._clients.add(client)
        self._to_check.append(client)
        client.audience.behind.add(client)
        line.listener = client
        line.write(Frame(welcome))
        self.meters.joined(line.kind, resumed=resumed)
        if not line.paused:
            self._catch_up(client)
        return client

    def obey(self, client: Client, message: Hello | Subscribe | Unsubscribe) -> None:
        """Change what a client wants; it is told with the next tick. Raises ProtocolError."""
        if client not in self._clients:
            return
        topics = set(client.audience.topics)
        if isinstance(message, Unsubscribe):
            topics.difference_update(message.topics)
        else:
            rows = client.audience.wanted.rows
            topics.update(self._topics.checked(message.topics, getattr(message, "request", None), rows))
        request = None if isinstance(message, Hello) else message.request
        if len(topics) > MAX_TOPICS:
            raise ProtocolError("too_many_topics", f"expected at most {MAX_TOPICS} topics", request)
        self._move(client, frozenset(topics), request)
        if request is not None:
            self.answer(client, protocol.ok(request))

    def answer(self, client: Client, body: bytes) -> None:
        """Tell one client something, now or as soon as it can be told."""
        if client not in self._clients:
            return
        if not client.line.paused:
            client.line.write(Frame(body))
        elif len(client.answers) < MOST_ANSWERS:
            client.answers.append(Frame(body))
        else:
            self.dismiss(client, Close.TOO_MANY_MESSAGES, "asks faster than it reads")

    def forget(self, line: Line) -> None:
        """Whoever was expected is gone, or has said hello."""
        self._strangers.discard(line)

    def leave(self, client: Client) -> None:
        """Forget a client whose connection has ended."""
        if client not in self._clients:
            return
        client.line.listener = None
        self._clients.discard(client)
        self._stalled.discard(client)
        self._waiting.discard(client)
        self._leave_audience(client)
        self.meters.left(client.line.kind)

    def dismiss(self, client: Client, code: Close, reason: str) -> None:
        """End a connection that did something wrong."""
        if client not in self._clients:
            return
        self.meters.evicted(code.name.lower())
        client.line.close(code, reason)
        self.leave(client)

    # What lines say

    def stalled(self, client: Client) -> None:
        """Its line is full."""
        client.stalled_at_s = client.slow_since_s = self._monotonic()
        client.left_bytes = client.line.left_bytes
        self._stalled.add(client)

    def drained(self, client: Client) -> None:
        """Its line takes more: bring it up to date with one frame."""
        client.line.heard = True
        self._stalled.discard(client)
        while client.answers and not client.line.paused:
            client.line.write(client.answers.pop(0))
        if not client.line.paused and client in client.audience.behind:
            self._catch_up(client)

    # What the clock says

    def tick(self, now_ms: int) -> int:
        """End a tick: tell everybody who can be told what changed for them. Returns how many frames were written."""
        if self.feed.epoch != self.epoch:
            self._begin_epoch()
        oldest_ms = self.feed.take_oldest_ms()
        before, now_s = self.latest.seq, self._monotonic()
        self.latest.commit()
        self._interests.refresh()
        self._refresh_system(now_ms, now_s)
        self._frames.begin(self.epoch, now_ms, orjson.dumps(self._system), before, self._system_of_some)
        written = sum(self._tell(audience, now_s) for audience in self._audiences.values())
        waiting, self._waiting = self._waiting, set()
        for client in waiting:
            if not client.line.paused and client in client.audience.behind:
                self._catch_up(client)
        self.meters.behind(sum(len(audience.behind) for audience in self._audiences.values()))
        self.meters.encoded(*self._frames.take_costs())
        if written and oldest_ms is not None:
            self.meters.aged(max(0, self._clock() - oldest_ms) / 1_000)
        within_ms = self.feed.take_reload_ms()
        if within_ms is not None:
            self.reload(within_ms)
        return written

    def sweep(self) -> None:
        """Cut lines that are dead, and ask the others, a few at a time, for a sign of life."""
        now_s = self._monotonic()
        for client in list(self._stalled):
            left_bytes = client.line.left_bytes
            if left_bytes < client.left_bytes:
                # It is slow, not dead.
                client.stalled_at_s = now_s
            client.left_bytes = left_bytes
            if now_s - client.stalled_at_s >= STALLED_AFTER_S or now_s - client.slow_since_s >= SLOW_AT_MOST_S:
                self._cut(client, "stalled")
        # Those that came together are spread over the sweeps: their answers come together too.
        for _ in range(len(self._to_check) // 20 + 1):
            if not self._to_check or now_s - self._to_check[0].checked_at_s < PING_EVERY_S:
                return
            client = self._to_check.popleft()
            if client in self._clients and self._still_there(client):
                client.checked_at_s = now_s
                self._to_check.append(client)

    def reload(self, within_ms: int) -> None:
        """Have every page load itself anew, each at a moment of its own."""
        frame = Frame(protocol.reload(within_ms))
        for client in self._clients:
            if client.line.paused:
                client.answers.append(frame)
            else:
                client.line.write(frame)

    def dismiss_some(self, most: int, spread_ms: int) -> int:
        """Tell up to `most` clients to come back within `spread_ms`, and close; how many are left."""
        for client in list(itertools.islice(self._clients, most)):
            if client.line.paused:
                self._cut(client, "restart")
                continue
            _say_bye(client.line, spread_ms)
            self.leave(client)
        for line in list(itertools.islice(self._strangers, most)):
            _say_bye(line, spread_ms)
            self.forget(line)
        return len(self._clients) + len(self._strangers)

    def cut_all(self) -> None:
        """End what is left, at once."""
        for client in list(self._clients):
            self._cut(client, "restart")
        for line in self._strangers:
            line.abort()

    # The rest

    def _tell(self, audience: Audience, now_s: float) -> int:
        with_system = audience.system != self._system_number
        frame = self._frames.since(audience.wanted, audience.seq, with_system=with_system, in_step=True)
        told, told_system = audience.seq, audience.system
        audience.seq, audience.system = self.latest.seq, self._system_number
        if frame is None:
            if now_s - audience.spoken_at_s < self.heartbeat_s:
                return 0
            frame = self._frames.heartbeat(audience.wanted)
            updates = 0
        else:
            updates = 1
            self.meters.conflated(len(audience.behind))
        audience.spoken_at_s = now_s
        late = []
        for client in audience.in_step:
            if client.line.paused:
                late.append(client)
            else:
                client.line.write(frame)
        written = len(audience.in_step) - len(late)
        for client in late:
            del audience.in_step[client]
            audience.behind.add(client)
            client.seq, client.system = told, told_system
        self.meters.conflated(updates * len(late))
        self.meters.wrote(written, len(frame.body))
        return written

    def _catch_up(self, client: Client) -> None:
        """Bring a client that is behind into step."""
        audience = client.audience
        with_system = client.system != self._system_number
        frame = self._frames.since(audience.wanted, client.seq, with_system=with_system)
        audience.behind.discard(client)
        audience.in_step[client] = None
        if frame is not None:
            client.line.write(frame)
            self.meters.wrote(1, len(frame.body))

    def _audience(self, topics: frozenset[str], rows: Rows, request: object = None) -> Audience:
        found = self._audiences.get((topics, rows))
        if found is None:
            wanted = self._interests.add(topics, rows, request)
            found = Audience(topics, wanted, self.latest.seq, self._system_number, self._monotonic())
            self._audiences[topics, rows] = found
        return found

    def _move(self, client: Client, topics: frozenset[str], request: object) -> None:
        """Into another audience. With new topics it needs everything; with fewer it has all it needs."""
        audience = client.audience
        if topics == audience.topics:
            return
        seq, system = (client.seq, client.system) if client in audience.behind else (audience.seq, audience.system)
        grown = not topics <= audience.topics
        other = self._audience(topics, audience.wanted.rows, request)
        self._leave_audience(client)
        client.audience = other
        client.seq, client.system = (NOTHING, 0) if grown else (seq, system)
        other.behind.add(client)
        # With the next tick, and so once for however many wishes: each may be a snapshot.
        self._waiting.add(client)
        self.feed.arrived.set()

    def _leave_audience(self, client: Client) -> None:
        audience = client.audience
        audience.in_step.pop(client, None)
        audience.behind.discard(client)
        key = audience.topics, audience.wanted.rows
        if not len(audience) and self._audiences.get(key) is audience:
            del self._audiences[key]
            self._interests.remove(audience.wanted)

    def _begin_epoch(self) -> None:
        """The live stream was made anew, so seqs are: everybody gets everything."""
        self.epoch = self.feed.epoch
        for audience in self._audiences.values():
            audience.seq = NOTHING
            for client in audience.behind:
                client.seq = NOTHING

    def _still_there(self, client: Client) -> bool:
        """Whether a client is to be asked again later."""
        line = client.line
        if not line.pings or line.paused:
            return True
        if not line.heard:
            self._cut(client, "silent")
            return False
        line.heard = False
        line.ping()
        return True

    def _cut(self, client: Client, reason: str) -> None:
        self.meters.evicted(reason)
        self.leave(client)
        client.line.abort()

    def _refresh_system(self, now_ms: int, now_s: float) -> None:
        changed = self.feed.system.state(now_ms) != self._system.get("state")
        if changed or now_s - self._system_at_s >= SYSTEM_EVERY_S:
            self._system_at_s = now_s
            self._system = self.feed.describe()
            known = {name: value for name, value in self._system.items() if name not in OF_ALL_ROWS}
            self._system_of_some = orjson.dumps(known)
            self._system_number += 1


def _say_bye(line: Line, spread_ms: int) -> None:
    retry_ms = random.randint(100, max(101, spread_ms))
    line.write(Frame(protocol.bye(retry_ms), retry_ms=retry_ms))
    line.close(Close.RESTARTING)
