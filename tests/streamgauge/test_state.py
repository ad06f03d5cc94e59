from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stream.flow import make_recovery
from stream.snapshots import StateError
from streamgauge import state as module
from streamgauge.state import PARTITIONS, SNAPSHOTS, held, new_facts, read_facts, settle, write_facts


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory as a first start with two processes makes it."""
    directory = tmp_path_factory.mktemp("state")
    settle(directory, None, 2, make_recovery)
    return directory


@pytest.fixture
def state(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "state"))


def never(recovery: Path, partitions: int, parts: Collection[int]) -> None:
    raise AssertionError("nothing was to be made")


def part(state: Path, number: int = 0) -> Path:
    return state / "recovery" / f"part-{number}.sqlite3"


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_new_directory_has_a_shard_for_each_process_and_keeps_it(state: Path) -> None:
    facts = read_facts(state)
    assert facts is not None
    assert (facts.shards, facts.processes, facts.partitions) == (2, 2, PARTITIONS)
    assert settle(state, None, 1, never) == facts
    assert settle(state, 2, 3, never) == replace(facts, processes=3)
    # Whoever comes later must know that there were three.
    assert settle(state, None, 1, never).processes == 3


def test_a_directory_from_before_there_were_facts_has_one_shard(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOTS", (1, 1))
    shutil.rmtree(state / "recovery")
    make_recovery(state / "recovery", 16, range(16))
    (state / "state.json").unlink()
    facts = settle(state, None, 4, never)
    assert (facts.format, facts.shard_keys, facts.partitions, facts.processes) == (1, ("0",), 16, 4)
    assert read_facts(state) == facts


def test_what_is_set_decides_for_a_new_directory(tmp_path: Path) -> None:
    made: list[tuple[int, Collection[int]]] = []
    facts = settle(tmp_path, 6, 2, lambda _, partitions, parts: made.append((partitions, parts)))
    assert facts.shards == 6
    assert made == [(PARTITIONS, range(PARTITIONS))]
    assert new_facts(1, 9).partitions == 9


def refused(state: Path, *, shards: int | None = None) -> str:
    before = sorted((path.name, path.read_bytes()) for path in state.rglob("*") if path.is_file())
    with pytest.raises(StateError) as caught:
        settle(state, shards, 2, never)
    after = sorted((path.name, path.read_bytes()) for path in state.rglob("*") if path.is_file())
    assert {name for name, _ in before} == {name for name, _ in after}
    assert dict(before)["part-1.sqlite3"] == dict(after)["part-1.sqlite3"]
    message = str(caught.value)
    assert str(state) in message
    return message


def test_another_number_of_shards_is_refused(state: Path) -> None:
    assert "STREAMGAUGE_SHARDS is 4, but" in refused(state, shards=4)


def test_another_format_is_refused(state: Path) -> None:
    write_facts(state, replace(new_facts(1, 1), format=2))
    assert "it has format 2, this version reads format 1" in refused(state)


def test_snapshots_of_another_version_are_refused(state: Path) -> None:
    write_facts(state, replace(new_facts(1, 1), snapshots=(SNAPSHOTS[0] + 1, SNAPSHOTS[1])))
    assert f"its snapshots are of version {SNAPSHOTS[0] + 1}/{SNAPSHOTS[1]}" in refused(state)


def test_a_directory_from_before_there_were_facts_is_of_the_first_version(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state / "state.json").unlink()
    monkeypatch.setattr(module, "SNAPSHOTS", (2, 1))
    assert "its snapshots are of version 1/1, this version reads version 2/1" in refused(state)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": "x"}', "\x00\x01"])
def test_facts_that_are_none_are_refused(state: Path, text: str) -> None:
    (state / "state.json").write_text(text)
    assert "state.json cannot be read" in refused(state)


def test_another_number_of_partitions_is_refused(state: Path, tmp_path: Path) -> None:
    make_recovery(tmp_path / "other", 5, range(5))
    shutil.copy(tmp_path / "other" / "part-0.sqlite3", part(state))
    assert "recovery/part-0.sqlite3 is one of 5 partitions, expected one of 4" in refused(state)


def test_a_missing_partition_is_refused(state: Path) -> None:
    part(state, 2).unlink()
    assert "recovery lacks part-2.sqlite3 of its 4 partitions" in refused(state)


def test_a_partition_that_is_there_twice_is_refused(state: Path) -> None:
    shutil.copy(part(state, 3), part(state))
    assert "recovery/part-3.sqlite3 is partition 3, of which there is another" in refused(state)


def test_an_empty_recovery_directory_is_refused(state: Path) -> None:
    for path in (state / "recovery").iterdir():
        if path.name != "part-1.sqlite3":
            path.unlink()
    assert "recovery lacks part-0.sqlite3, part-2.sqlite3" in refused(state)


def test_files_that_are_no_partitions_are_refused(state: Path) -> None:
    whole = part(state).read_bytes()
    for content in (b"", b"not a database at all" * 50, whole[: len(whole) // 2], whole[:50]):
        part(state).write_bytes(content)
        assert "recovery/part-0.sqlite3 is not a sound recovery partition" in refused(state)


def test_a_foreign_database_is_refused(state: Path) -> None:
    part(state).unlink()
    change(part(state), "CREATE TABLE points (x)")
    assert "expected version 5 of the engine's format, found version 0" in refused(state)
    change(part(state), "PRAGMA user_version = 5")
    assert "no such table: parts" in refused(state)


def test_a_newer_engines_partition_is_refused(state: Path) -> None:
    change(part(state), "PRAGMA user_version = 6")
    assert "expected version 5 of the engine's format, found version 6" in refused(state)


def test_facts_are_there_whole_or_not_at_all(state: Path) -> None:
    for processes in range(1, 20):
        write_facts(state, replace(new_facts(1, 1), processes=processes))
    assert not list(state.glob("state.json.*"))


def test_a_directory_is_used_by_one_run_at_a_time(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCK_PATIENCE_S", 0.2)
    with held(state) as let_in:
        with pytest.raises(StateError, match="another streamgauge runs on"), held(state):
            pass
        with pytest.raises(StateError, match="another streamgauge runs on"), held(state, shared=True):
            pass
        let_in()
        with held(state, shared=True), held(state, shared=True):
            pass
        with pytest.raises(StateError, match="another streamgauge runs on"), held(state):
            pass
    with held(state):
        pass


def test_a_run_that_is_just_ending_is_waited_for(state: Path) -> None:
    entered, left = threading.Event(), []

    def first() -> None:
        with held(state):
            entered.set()
            time.sleep(0.4)
            left.append(True)

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait()
    with held(state):
        assert left
    thread.join()
