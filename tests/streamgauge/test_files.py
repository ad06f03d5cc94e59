from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamgauge.files import EventFile, FileError


def read(path: Path) -> list[list[bytes]]:
    with EventFile(path) as file:
        return list(file)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.ndjson", "a.json", "a.jsonl", "a.log", "A.NDJSON", "2015.09.json", "a.json.gz"])
def test_each_line_is_one_event_as_it_is(tmp_path: Path, name: str) -> None:
    lines = b'{"a": 1}\n\n  {"b": "\xc3\xa9"}  \r\nbroken {\n\xff\xfe\n{"last": 1}'
    assert read(write(tmp_path / name, lines)) == [
        [b"data", b'{"a": 1}'],
        [b"data", b'{"b": "\xc3\xa9"}'],
        [b"data", b"broken {"],
        [b"data", b"\xff\xfe"],
        [b"data", b'{"last": 1}'],
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.csv.gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_each_row_is_one_event_of_flat_fields(tmp_path: Path, name: str, mark: bytes) -> None:
    rows = mark + b'kind,price\r\nbook,2.5\r\n"a ""b"", c\nd",\r\n\r\npen\r\n\xff,1\r\n'
    assert read(write(tmp_path / name, rows)) == [
        [b"kind", b"book", b"price", b"2.5"],
        [b"kind", b'a "b", c\nd', b"price", b""],
        [b"kind", b"pen"],
        [b"kind", b"\xff", b"price", b"1"],
    ]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4, unique=True),
    st.data(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_csv_comes_back(tmp_path: Path, names: list[str], data: st.DataObject) -> None:
    # A first name that begins with a byte order mark would be one; csv cannot write lone carriage returns unquoted.
    names = [f"n{name}" for name in names]
    values = st.text(st.characters(exclude_categories=["Cs"]))
    rows = data.draw(st.lists(st.lists(values, min_size=len(names), max_size=len(names)), max_size=4))
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    found = read(write(tmp_path / "a.csv", text.getvalue().encode()))
    assert found == [[part.encode() for pair in zip(names, row, strict=True) for part in pair] for row in rows]


def test_a_long_field_of_a_csv_is_one_field(tmp_path: Path) -> None:
    # The processor takes entries of up to 1 MiB.
    long = b"x" * 200_000
    assert read(write(tmp_path / "a.csv", b"kind,text\nbook," + long + b"\n")) == [[b"kind", b"book", b"text", long]]


@pytest.mark.parametrize("name", ["a", "a.txt", "a.parquet", "a.gz", "a.txt.gz", "a.json.bz2", ".gz", "a.json."])
def test_a_name_that_says_nothing_is_refused_with_what_was_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=r"expected a name that ends in \.json, .*\.csv, also with \.gz"):
        EventFile(tmp_path / name)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"gone\.json: No such file"), EventFile(tmp_path / "gone.json"):
        pass
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(FileError, match=r"folder\.json: Is a directory"), EventFile(tmp_path / "folder.json"):
        pass


def test_an_empty_file_has_no_events_but_a_csv_needs_a_header(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.json", b"")) == []
    assert read(write(tmp_path / "a.json.gz", b"")) == []
    assert read(write(tmp_path / "a.csv", b"a,b\n")) == []
    with pytest.raises(FileError, match=r"a\.csv: expected a header line"):
        read(write(tmp_path / "a.csv", b""))


LINES = b"".join(b'{"number": %d, "text": "%x"}\n' % (n, n * 7_919) for n in range(5_000))


@pytest.mark.parametrize("name", ["a.json.gz", "a.csv.gz"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-4],
        lambda whole: b"no gzip at all, " * 10,
        # Garbage in the middle, and a checksum that does not fit.
        lambda whole: whole[: len(whole) // 2] + b"\xff" * 200 + whole[len(whole) // 2 + 200 :],
        lambda whole: whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
    ],
    ids=["half", "cut", "none", "garbage", "checksum"],
)
def test_a_gzip_file_that_is_not_whole_is_refused(tmp_path: Path, name: str, spoil: object) -> None:
    path = tmp_path / name
    path.write_bytes(spoil(gzip.compress(LINES)))  # type: ignore[operator]
    with pytest.raises(FileError, match=f"{name}: not a whole gzip file"):
        read(path)


def test_no_flipped_bit_of_a_gzip_file_is_taken_for_data(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.json.gz", gzip.compress(LINES, mtime=0)
    for seed in range(120):
        chance = random.Random(seed)
        spoiled = bytearray(whole)
        spoiled[chance.randrange(20, len(whole) - 10)] ^= 1 << chance.randrange(8)
        path.write_bytes(spoiled)
        with pytest.raises(FileError, match="not a whole gzip file"):
            read(path)


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.csv", "a.csv.gz"])
def test_how_far_it_is_grows_to_the_size_of_the_file(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, LINES)
    seen = []
    with EventFile(path) as file:
        assert file.size_bytes == path.stat().st_size
        for _ in file:
            seen.append(file.done_bytes)
        # Asked for once more after the last event, as by whoever sends the last batch.
        seen.append(file.done_bytes)
    assert seen == sorted(seen)
    assert seen[0] > 0
    assert seen[-1] == path.stat().st_size


def test_a_file_is_entered_first(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="enter"):
        list(EventFile(write(tmp_path / "a.json", b"{}")))


def test_an_event_may_be_of_any_size(tmp_path: Path) -> None:
    event = json.dumps({"text": "x" * 3_000_000}).encode()
    assert read(write(tmp_path / "a.json.gz", event)) == [[b"data", event]]
