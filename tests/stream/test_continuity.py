"""What is found of a stream, over a real Valkey: its counters are the ones that are judged by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import valkey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.continuity import Found, OnGap, StreamInfo, Verdict, describe, judge, settle
from stream.position import BEGINNING, Position, order
from stream.reader import client_factory
from tests.servers import ValkeyServer

STREAM = "s"


@pytest.fixture(scope="module")
def client() -> Iterator[valkey.Valkey]:
    with ValkeyServer() as server:
        yield client_factory(server.connection_url)(10)


class Story:
    """A stream, a reader of it, and what a bystander would write down."""

    def __init__(self, client: valkey.Valkey, policy: OnGap = OnGap.EARLIEST) -> None:
        client.delete(STREAM)
        self.client, self.policy = client, policy
        self.position = Position()
        self.added: list[str] = []
        self.got: list[str] = []
        self.seen: list[Found] = []
        self.recent: set[str] = set()
        self.saved = [(self.position, 0)]

    def add(self, count: int) -> None:
        pipe = self.client.pipeline(transaction=False)
        for number in range(len(self.added) + 1, len(self.added) + count + 1):
            pipe.xadd(STREAM, {"n": number}, id=f"{1_000 + 10 * number}-0")
        self.added += [entry_id.decode() for entry_id in pipe.execute()]

    def trim(self, left: int) -> None:
        self.client.xtrim(STREAM, maxlen=left, approximate=False)

    def delete(self, at: int) -> None:
        """One entry, counted from the newest."""
        if at < len(self.added):
            self.client.xdel(STREAM, self.added[-1 - at])

    def read(self, count: int, trim: int | None = None) -> Verdict:
        """Read up to `count` entries. With `trim`, that is what happens before the server is asked about the stream."""
        reply: Any = self.client.execute_command("XREAD", "COUNT", count, "STREAMS", STREAM, self.position.id)
        if trim is not None:
            self.trim(trim)
        ids = [entry_id for entry_id, _ in reply[0][1]] if reply else []
        found = judge(self.position, ids, self.info(), self.recent.__contains__)
        verdict = settle(found, self.info(), self.policy)
        if not (verdict.is_gap and self.policy is OnGap.LATEST):
            self.got += [entry_id.decode() for entry_id in ids]
        self.seen.append(verdict.found)
        self.position = verdict.after
        return verdict

    def info(self) -> StreamInfo | None:
        if not self.client.exists(STREAM):
            return None
        return StreamInfo.of(self.client.execute_command("XINFO STREAM", STREAM))

    def to_the_end(self) -> None:
        while self.added and self.position.id != self.added[-1]:
            before = self.position
            self.read(1_000)
            if self.position == before:
                break

    def snapshot(self) -> None:
        self.saved.append((self.position, len(self.got)))

    def crash(self, back: int) -> None:
        self.saved = self.saved[: max(1, len(self.saved) - back)]
        position, count = self.saved[-1]
        self.position, self.got = Position.from_text(position.to_text()), self.got[:count]
        self.recent.clear()


def steps(*names: str) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(names), st.integers(0, 12)), max_size=25)


_SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("policy", [OnGap.EARLIEST, OnGap.LATEST])
@_SLOW
@given(steps("add", "read", "trim", "delete", "read while trimmed", "snapshot", "crash"))
def test_what_is_lost_is_exactly_what_was_added_and_never_read(
    client: valkey.Valkey, policy: OnGap, found: list[tuple[str, int]]
) -> None:
    story = Story(client, policy)
    story.add(1)
    story.read(1)
    story.saved = [(story.position, 1)]
    for step, number in found:
        match step:
            case "add":
                story.add(number)
            case "read":
                story.read(number + 1)
            case "trim":
                story.trim(number)
            case "delete":
                story.delete(number)
            case "read while trimmed":
                story.read(number + 1, trim=number // 3)
            case "snapshot":
                story.snapshot()
            case "crash":
                story.crash(number % 3)
    story.to_the_end()
    story.read(1)
    assert len(set(story.got)) == len(story.got)
    assert story.position.lost == len(story.added) - len(story.got)
    assert story.position.read == len(story.added)
    assert story.position.lost_exact
    assert (story.position.gaps > 0) == (story.position.lost > 0)
    assert not {Found.RECREATED, Found.TAIL_LOST} & set(story.seen)


@_SLOW
@given(steps("add", "read", "snapshot", "own trim", "crash"))
def test_trimming_below_a_snapshot_is_never_a_gap(client: valkey.Valkey, found: list[tuple[str, int]]) -> None:
    story = Story(client)
    for step, number in found:
        match step:
            case "add":
                story.add(number)
            case "read":
                story.read(number + 1)
            case "snapshot":
                story.snapshot()
            case "own trim":
                # Any of the last three may be the one that a crash goes back to.
                story.client.xtrim(STREAM, minid=story.saved[-3:][0][0].id, approximate=False)
            case "crash":
                story.crash(number % 3)
    story.to_the_end()
    assert set(story.seen) <= {Found.CONTINUES}
    assert story.got == story.added
    assert story.position.gaps == story.position.lost == 0


def test_a_stream_that_was_trimmed_before_it_was_ever_read_has_no_gap(client: valkey.Valkey) -> None:
    story = Story(client)
    story.add(100)
    story.trim(30)
    verdict = story.read(10)
    assert describe(verdict) == f"begins at {story.added[70]}: 70 entries before that had been removed already"
    assert (verdict.found, story.position.read, story.position.gaps) == (Found.BEGINS, 80, 0)
    story.to_the_end()
    assert story.got == story.added[70:]
    assert (story.position.gaps, story.position.read) == (0, 100)


def test_a_bare_id_learns_its_count_at_the_end(client: valkey.Valkey) -> None:
    story = Story(client)
    story.add(50)
    story.position = Position.from_text(story.added[19])
    assert story.read(10).found is Found.CONTINUES
    assert story.position.read is None
    story.to_the_end()
    assert story.position.read == 50


def test_a_bare_id_that_is_the_first_entry_knows_its_count(client: valkey.Valkey) -> None:
    story = Story(client)
    story.add(50)
    story.trim(31)
    story.position = Position.from_text(story.added[19])
    verdict = judge(story.position, [], story.info(), story.recent.__contains__)
    assert (verdict.found, verdict.after.read) == (Found.CONTINUES, 20)
    story.delete(3)
    verdict = judge(story.position, [], story.info(), story.recent.__contains__)
    assert verdict.after.read is None, "one behind it is gone: nobody can tell how many were added before"


def test_a_bare_id_that_was_trimmed_past_has_lost_an_unknown_number(client: valkey.Valkey) -> None:
    story = Story(client)
    story.add(50)
    story.trim(20)
    story.position = Position.from_text(story.added[9])
    verdict = story.read(5)
    assert (verdict.found, verdict.lost, story.position.gaps) == (Found.TRIMMED, None, 1)
    assert "lost an unknown number of entries" in describe(verdict)
    assert (story.position.lost, story.position.lost_exact, story.position.read) == (0, False, 35)
    story.to_the_end()
    assert (story.position.read, story.position.gaps) == (50, 1)


def test_a_bare_id_at_the_end_of_an_emptied_stream_has_lost_nothing(client: valkey.Valkey) -> None:
    story = Story(client)
    story.add(50)
    story.trim(0)
    story.position = Position.from_text(story.added[-1])
    assert story.read(5).found is Found.CONTINUES
    assert (story.position.read, story.position.gaps) == (50, 0)


@pytest.mark.parametrize("start", [1, 5_000], ids=["with lower ids", "with higher ids"])
@pytest.mark.parametrize("policy", [OnGap.EARLIEST, OnGap.LATEST])
def test_another_stream_of_the_same_name(client: valkey.Valkey, start: int, policy: OnGap) -> None:
    story = Story(client, policy)
    story.add(100)
    story.to_the_end()
    story.got.clear()
    client.delete(STREAM)
    story.added = [client.xadd(STREAM, {"n": n}, id=f"{start + n}-0").decode() for n in range(5)]
    verdict = story.read(10)
    assert (verdict.found, verdict.lost) == (Found.RECREATED, None)
    assert describe(verdict).startswith("was made anew and ")
    assert "lost an unknown number of entries after 2000-0, which were never read" in describe(verdict)
    story.to_the_end()
    assert story.got == ([] if policy is OnGap.LATEST else story.added)
    skipped = 5 if policy is OnGap.LATEST else 0
    assert (story.position.gaps, story.position.lost, story.position.lost_exact) == (1, skipped, False)
    assert story.position.read == 5


def test_a_stream_that_is_gone_begins_anew(client: valkey.Valkey) -> None:
    story = Story(client)
    assert story.read(1).found is Found.CONTINUES, "it is not there yet"
    story.add(10)
    story.to_the_end()
    client.delete(STREAM)
    assert story.read(1).found is Found.RECREATED
    assert (story.position.id, story.position.read, story.position.gaps) == (BEGINNING, 0, 1)
    assert story.read(1).found is Found.CONTINUES, "once is enough"


def _set_back(story: Story, to: int) -> None:
    """As a server would come back that has lost what was added after the first `to` entries."""
    left = story.client.xrange(STREAM, max=story.added[to - 1])
    story.client.delete(STREAM)
    for entry_id, fields in left:
        story.client.xadd(STREAM, fields, id=entry_id)
    story.client.execute_command("XSETID", STREAM, story.added[to - 1], "ENTRIESADDED", to, "MAXDELETEDID", "0-0")


@pytest.mark.parametrize("known", ["by its last entries", "by its trail", "not"])
def test_a_server_that_lost_its_latest_entries(client: valkey.Valkey, known: str) -> None:
    """The trail is in the snapshot, so that also a processor that was itself started again can tell."""
    story = Story(client)
    for _ in range(5):
        story.add(20)
        story.to_the_end()
        if known == "by its trail":
            story.position = story.position.marked()
    if known == "by its last entries":
        story.recent = set(story.added)
    story.trim(50)
    _set_back(story, 73)
    story.position = Position.from_text(story.position.to_text())
    verdict = story.read(10)
    if known == "not":
        assert (verdict.found, story.position.id, story.position.read) == (Found.RECREATED, BEGINNING, 50)
        return
    assert (verdict.found, story.position.gaps) == (Found.TAIL_LOST, 0)
    assert (story.position.id, story.position.read) == (story.added[72], 73)
    assert all(order(entry_id) <= order(story.added[72]) for entry_id, _ in story.position.trail)


def test_a_server_that_lost_its_latest_entries_and_took_others_since(client: valkey.Valkey) -> None:
    """Their ids are higher than all that was read, so none of them is missed."""
    story = Story(client)
    story.add(20)
    story.to_the_end()
    _set_back(story, 17)
    story.added = story.added[:17] + [client.xadd(STREAM, {"n": 1}, id=f"{9_000 + n}-0").decode() for n in range(2)]
    story.got = story.got[:17]
    assert story.read(1).found is Found.TAIL_LOST
    story.to_the_end()
    assert story.got == story.added
    assert (story.position.read, story.position.gaps) == (19, 0)


def test_a_server_that_does_not_count_is_read_on(client: valkey.Valkey) -> None:
    info = StreamInfo(last="9-0", first="5-0", newest="9-0", length=5, added=None)
    verdict = judge(Position("3-0", 3), [b"5-0", b"6-0"], info, set[str]().__contains__)
    assert (verdict.found, verdict.after.id, verdict.after.read) == (Found.CONTINUES, "6-0", None)


positions = st.builds(
    Position,
    id=st.builds("{}-{}".format, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    read=st.none() | st.integers(0, 2**63 - 1),
    gaps=st.integers(0, 1_000),
    lost=st.integers(0, 2**63 - 1),
    lost_exact=st.booleans(),
)


@given(positions, st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=40))
def test_a_position_comes_back_from_its_text(position: Position, walk: list[tuple[int, int]]) -> None:
    for by, count in walk:
        time_ms, number = order(position.id)
        position = position.moved(f"{time_ms + by}-{number}", (position.read or 0) + count).marked()
    assert Position.from_text(position.to_text()) == position
    assert len(position.trail) <= 16
    assert len(position.to_text()) < 1_500


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_bare_id_is_a_position(time_ms: int, number: int) -> None:
    text = f"{time_ms}-{number}"
    assert Position.from_text(text) == Position(text)


@pytest.mark.parametrize("text", ["", "x", "1-", '{"v":2,"id":"1-0"}', '{"v":1}', "[]", '{"v":1,"id":7}'])
def test_a_position_of_another_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        Position.from_text(text)
