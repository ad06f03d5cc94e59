"""What the documents tell a reader to type works, and prints what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.shell_blocks import ROOT, Reader, blocks_of, pattern_of

PAGES = [
    page
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
    if "<!-- tested" in page.read_text() and page.name != "CONTRIBUTING.md"
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    blocks = blocks_of(page.read_text())
    reader = Reader(tmp_path / "reader")
    try:
        for block in blocks:
            try:
                reader.follow(block)
            except AssertionError as error:
                raise AssertionError(f"{page.name}, {error}") from None
    finally:
        reader.close()


def test_the_ways_that_everybody_starts_with_are_among_them() -> None:
    assert {"README.md", "getting-started.md", "running.md"} <= {page.name for page in PAGES}
    text = "".join(block.body for page in PAGES for block in blocks_of(page.read_text()))
    verbs = {"up", "check", "compute", "replay", "tail", "deadletter", "sql", "backtest", "forget"}
    assert verbs <= set(re.findall(r"streamgauge (\w+)", text))


def test_a_block_that_prints_something_else_is_found(tmp_path: Path) -> None:
    page = "<!-- tested -->\n```sh\necho one; echo two\n```\n\n```text\none\n…\n```\n"
    reader = Reader(tmp_path / "reader")
    reader.follow(blocks_of(page)[0])
    for wrong in (page.replace("…", "three"), page.replace("echo one", "false")):
        with pytest.raises(AssertionError, match="line 1: status"):
            reader.follow(blocks_of(wrong)[0])


def test_blocks_share_a_directory_and_an_environment(tmp_path: Path) -> None:
    page = (
        "<!-- tested file=a.txt -->\n```toml\nx\n```\n<!-- tested append=a.txt -->\n```toml\ny\n```\n"
        "<!-- tested -->\n```sh\nexport WHAT=seen\n```\n<!-- tested -->\n```sh\ncat a.txt; echo $WHAT\n```\n\n"
        "```text\nx\n\ny\nseen\n```\n"
    )
    reader = Reader(tmp_path / "reader")
    for block in blocks_of(page):
        reader.follow(block)


@pytest.mark.parametrize("page", ["<!-- tested often -->\n```sh\ntrue\n```\n", "<!-- tested -->\ntrue\n"])
def test_a_mark_that_marks_nothing_is_an_error(page: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        blocks_of(page)


def test_dots_stand_for_anything_and_nothing_else_does() -> None:
    assert re.fullmatch(pattern_of("a (…) b\n"), "a (1.5) b", re.DOTALL)
    assert not re.fullmatch(pattern_of("a.c\n"), "abc", re.DOTALL)
