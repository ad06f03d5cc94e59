"""What is known of people, written down and read back: over many snapshots, and under another catalog."""

from __future__ import annotations

from typing import Any

import pytest

from stream.batches import RawBatch
from stream.people.journal import TURNS, MemoryFiles
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from stream.snapshots import StateError
from tests.stream.people.live import PSEUDONYMS, entries, said, values_of, whole
from tests.stream.people.test_people import MINUTE, T0, catalog_of

NOW_MS = 1 << 50
SESSIONS = '[sessions]\npage = "page"\n'
FUNNEL = """
[[funnel]]
name = "straight"
constant = "device"
steps = [{ name = "a", where = "page = 'first'" }, { name = "b", where = "page = 'second'" }]
"""


def visits(people: int, minute: int, page: str) -> list[dict[str, Any]]:
    return [
        {"id": f"{page} {one}", "user": f"p{one}", "time": T0 + minute * MINUTE, "page": f"{page} {one}", "device": "x"}
        for one in range(people)
    ]


def made(text: str, files: Any = None) -> Pipeline:
    return Pipeline(compile_plan(catalog_of(text), builtin=False), PSEUDONYMS, files=files)


def add(pipeline: Pipeline, events: list[dict[str, Any]], first: int = 1) -> None:
    numbered = [(b"%d-0" % (place + first), fields) for place, (_, fields) in enumerate(entries(events))]
    assert not pipeline.add(RawBatch("events:{0}", numbered, False, 1), NOW_MS)
    pipeline.tick(1)


@pytest.mark.parametrize("restarts", [set(), {20, TURNS + 6, TURNS + 7, 2 * TURNS + 12}])
def test_everybody_is_who_they_were_after_many_snapshots(restarts: set[int]) -> None:
    first, second = visits(30, 0, "first"), visits(30, 10, "second")
    pipeline = made(SESSIONS)
    add(pipeline, first)
    # Somebody else goes on, so that there is always something to write down.
    others = []
    for number in range(2 * TURNS + 20):
        other = {"id": f"o{number}", "user": "other", "time": T0 + 5 * MINUTE + number, "page": "x", "device": "x"}
        others.append(other)
        add(pipeline, [other], 100 + number)
        snapshot = pipeline.snapshot()
        if number in restarts:
            pipeline = made(SESSIONS, snapshot.files)
            pipeline.restore(snapshot)
    pipeline = made(SESSIONS, snapshot.files)
    pipeline.restore(snapshot)
    add(pipeline, second, 1_000)
    found = said(values_of(pipeline.finish(1).live))
    everything = whole(catalog_of(SESSIONS), [*first, *others, *second])
    assert {key: value for key, value in everything.items() if key[0] == "exit_pages"}.items() <= found.items()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('[[retention]]\nname = "r"\nperiod = "day"\n', '[[retention]]\nname = "r"\nperiod = "month"\n'),
        ('[sessions]\nby = ["device"]\n', '[sessions]\nby = ["page"]\n'),
        (FUNNEL, FUNNEL.replace("second", "third") + 'breakdown = "page"\n'),
    ],
)
def test_an_analysis_that_means_something_else_now_starts_anew(before: str, after: str) -> None:
    pipeline = made(before)
    add(pipeline, visits(3, 0, "first"))
    # Nobody's event lets the watermark pass them: else they would wait, and count for what comes now.
    nobody = {"id": "n", "user": None, "time": T0 + 5 * MINUTE, "page": "x", "device": "x"}
    add(pipeline, [nobody], 50)
    snapshot = pipeline.snapshot()
    again = made(after, snapshot.files)
    again.restore(snapshot)
    second = visits(3, 10, "second")
    add(again, second, 100)
    found = said(values_of(again.finish(1).live))
    # As if the events before had never been.
    assert found == whole(catalog_of(after), second)


def test_units_that_were_gone_for_a_while_do_not_come_back() -> None:
    both = SESSIONS + FUNNEL
    pipeline = made(both)
    add(pipeline, visits(10, 0, "first"))
    for text in (SESSIONS, both, both):
        snapshot = pipeline.snapshot()
        pipeline = made(text, snapshot.files)
        pipeline.restore(snapshot)
    add(pipeline, visits(1, 10, "second"), 100)
    snapshot = pipeline.snapshot()
    again = made(both, snapshot.files)
    again.restore(snapshot)
    people = again._shards[0]._people
    assert people is not None
    assert len(people.spaces["person|of device"]) == 1


def test_files_go_when_no_analysis_is_left() -> None:
    pipeline = made(SESSIONS)
    add(pipeline, visits(3, 0, "first"))
    snapshot = pipeline.snapshot()
    assert isinstance(snapshot.files, MemoryFiles)
    assert snapshot.files.content
    again = made('[[metric]]\nname = "n"\nmeasure = "count"\n', snapshot.files)
    again.restore(snapshot)
    for _ in range(8):
        again.snapshot()
    assert not snapshot.files.content


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_file_that_is_missing_or_broken_is_named(content: bytes | None) -> None:
    pipeline = made(SESSIONS)
    add(pipeline, visits(3, 0, "first"))
    snapshot = pipeline.snapshot()
    files = snapshot.files
    assert isinstance(files, MemoryFiles)
    name = next(name for name in files.content if not name.endswith(".words"))
    if content is None:
        del files.content[name]
    else:
        files.content[name] = content
    with pytest.raises(StateError, match=name):
        made(SESSIONS, files).restore(snapshot)
