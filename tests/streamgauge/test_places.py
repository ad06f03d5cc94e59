from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from stream.catalog import Catalog, load, parse
from streamgauge.places import find_catalog, group_of, ready_catalogs, scores_of, state_of


def named(name: str) -> Catalog:
    return parse(f'[platform]\nname = "{name}"\n[[metric]]\nname = "a"\nmeasure = "count"\n')


def test_the_ready_catalogs_are_valid() -> None:
    ready = ready_catalogs()
    assert {"events", "food_sharing", "wikipedia"} <= set(ready)
    for path in ready.values():
        assert load(path).metric


def test_a_catalog_is_found_by_path_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("")
    (tmp_path / "wordless").write_text("")
    assert find_catalog("mine.toml") == Path("mine.toml")
    assert find_catalog(str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"
    assert find_catalog("wordless") == Path("wordless")
    assert find_catalog("events") == ready_catalogs()["events"]
    # What is not there stays as it was said, for the message.
    assert find_catalog("gone") == Path("gone")
    assert find_catalog("events.toml") == Path("events.toml")


def test_a_folder_of_that_name_does_not_hide_a_ready_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events").mkdir()
    assert find_catalog("events") == ready_catalogs()["events"]


def test_a_platform_has_a_directory_of_its_own() -> None:
    root = Path("/state")
    assert state_of(root, named("Food sharing")) == root / "food-sharing"
    assert state_of(root, named("../../etc")).parent == root
    for name in ("..", ".", "/", "  ", "-"):
        inside = state_of(root, named(name)).relative_to(root)
        assert inside.parts
        assert inside.parts[0] not in ("..", ".")
        assert len(inside.parts) == 1


def test_platforms_never_share_a_directory() -> None:
    names = ("Wikipedia", "Москва", "Казань", "東京", "C", "C++", "Über", "ber")
    directories = {name: state_of(Path("/state"), named(name)) for name in names}
    shared = [pair for pair in itertools.combinations(names, 2) if directories[pair[0]] == directories[pair[1]]]
    assert shared == []


def test_platforms_that_read_one_stream_do_not_share_a_group() -> None:
    assert group_of(parse('[[metric]]\nname = "a"\nmeasure = "count"\n')) == "streamgauge"
    assert group_of(named("Food sharing")) == "streamgauge:food-sharing"
    assert group_of(named("Streamgauge")) == "streamgauge:streamgauge"
    assert group_of(named("C++")) != group_of(named("C"))


def test_scores_are_where_the_documents_say() -> None:
    assert scores_of(named("Food sharing")) == "streamgauge:scores:food-sharing"
