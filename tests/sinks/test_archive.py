"""The archive's files on a disk and in a bucket: written, found, joined, rid of people; also when that is cut off."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from sinks import archive_compact, archive_forget, archive_io
from sinks.archive import ROW_GROUP, Archive
from sinks.archive_files import ArchiveFile, Span, files_of, joined, listed
from sinks.archive_place import Place, open_place
from sinks.errors import Misconfigured, Retryable, SinkError
from tests.ports import free_port

T0 = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
DAY_MS = 86_400_000
STREAM = "events:{0}"
DIRECTORY = "day=2026-01-01/stream=events%3A%7B0%7D"
FIRST, LAST = date(2026, 1, 1), date(2026, 1, 2)
ANN, BOB = f"{1:032x}", f"{2:032x}"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port())
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A bucket's URL, and an environment that leads there."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{abs(hash(request.node.name))}"
    place = open_place(f"s3://{name}/of/ours")
    place.files.mkdir(name)
    return place.url


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return open_place(str(tmp_path / "archive"))
    url: str = request.getfixturevalue("bucket")
    return open_place(url)


def rows(numbers: range, *, stream: str = STREAM, amount: pl.DataType | None = None, day: int = 0) -> pl.DataFrame:
    at = [T0 + day * DAY_MS + number * 1_000 for number in numbers]
    return pl.DataFrame(
        {
            "stream": pl.Series([stream] * len(numbers), dtype=pl.Enum([stream])),
            "time": pl.Series(at, dtype=pl.Int64()).cast(pl.Datetime("ms", "UTC")),
            "entry_ms": pl.Series(at, dtype=pl.Int64()),
            "entry_no": pl.Series([0] * len(numbers), dtype=pl.Int64()),
            "identity": pl.Series(list(numbers), dtype=pl.UInt64()),
            "shard": pl.Series([0] * len(numbers), dtype=pl.Int32()),
            "user": [ANN if number % 3 == 0 else BOB for number in numbers],
            "amount": pl.Series(list(numbers), dtype=pl.Float64()).cast(amount or pl.Float64()),
        }
    )


def read(place: Place, files: list[ArchiveFile] | None = None) -> pl.DataFrame:
    found = files_of(place) if files is None else files
    frames = [pl.read_parquet(io.BytesIO(archive_io.read(place, file.name))) for file in found]
    return pl.concat(frames, how="diagonal_relaxed") if frames else rows(range(0)).drop("stream")


def identities(place: Place) -> list[int]:
    return sorted(read(place)["identity"].to_list())


def fill(place: Place, increments: int = 6, each: int = 10) -> None:
    archive = Archive(place.url, "abc")
    archive.setup()
    for number in range(increments):
        archive.write(0, number + 1, number + 1, rows(range(number * each, (number + 1) * each)))


def test_what_is_written_is_found_by_day_and_stream(place: Place) -> None:
    archive = Archive(place.url, "abc")
    archive.setup()
    archive.write(0, 1, 4, pl.concat([rows(range(5)), rows(range(5, 8), day=1)]))
    archive.write(1, 1, 2, rows(range(8, 9), stream="other/one"))
    assert [(str(file.day), file.stream, file.span) for file in files_of(place)] == [
        ("2026-01-01", STREAM, Span("abc", 0, 1, 4)),
        ("2026-01-01", "other/one", Span("abc", 1, 1, 2)),
        ("2026-01-02", STREAM, Span("abc", 0, 1, 4)),
    ]
    assert [file.day for file in files_of(place, (LAST, LAST))] == [LAST]
    assert [file.day for file in files_of(place, (LAST, date(2027, 1, 1)))] == [LAST]
    assert [file.stream for file in files_of(place, None, ["other/one"])] == ["other/one"]
    assert identities(place) == list(range(9))
    assert all(file.size_bytes > 0 for file in files_of(place))
    # Again, as after a crash.
    archive.write(0, 1, 4, pl.concat([rows(range(5)), rows(range(5, 8), day=1)]), again=True)
    assert identities(place) == list(range(9))


def test_groups_of_rows_have_statistics(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path), "abc")
    archive.write(0, 1, 1, rows(range(60_000)))
    place = open_place(str(tmp_path))
    (path,) = [place.path(file.name) for file in files_of(place)]
    asked = "path_in_schema, stats_min_value, compression, row_group_num_rows"
    metadata = duckdb.sql(f"SELECT {asked} FROM parquet_metadata('{path}')")
    found = {column: (least, kind, number) for column, least, kind, number in metadata.fetchall()}
    assert (float(found["amount"][0]), *found["amount"][1:]) == (0.0, "ZSTD", 60_000)
    assert found["time"][0].startswith("2026-01-01 00:00:00")
    assert ROW_GROUP >= 60_000


def test_small_files_of_days_that_are_over_are_joined(place: Place) -> None:
    fill(place)
    Archive(place.url, "abc").write(0, 7, 7, rows(range(100, 110), day=1))
    Archive(place.url, "abc").write(1, 1, 1, rows(range(200, 210)))
    before = identities(place)
    wanted = archive_compact.plan(place, FIRST)
    assert [[file.span for file in group] for group in wanted.groups] == [
        [Span("abc", 0, number, number) for number in range(1, 7)]
    ]
    assert [(first.day, made) for first, made in archive_compact.compact(place, wanted)] == [(FIRST, 1)]
    assert [file.name for file in listed(place)] == [
        f"{DIRECTORY}/abc-0-1-6.parquet",
        f"{DIRECTORY}/abc-1-1-1.parquet",
        "day=2026-01-02/stream=events%3A%7B0%7D/abc-0-7-7.parquet",
    ]
    assert identities(place) == before
    assert read(place, listed(place)[:1])["time"].is_sorted()
    assert archive_compact.plan(place, FIRST) == archive_compact.Plan([], [])
    # Late events of that day, later.
    Archive(place.url, "abc").write(0, 9, 12, rows(range(300, 310)))
    list(archive_compact.compact(place, archive_compact.plan(place, FIRST)))
    assert f"{DIRECTORY}/abc-0-1-12.parquet" in [file.name for file in listed(place)]
    assert identities(place) == sorted([*before, *range(300, 310)])


class Cut(BaseException):
    """The process is killed."""


@given(st.integers(0, 12), st.booleans())
def test_cut_off_at_any_point_it_is_finished_by_the_next(steps: int, rolled_again: bool) -> None:
    with pytest.MonkeyPatch.context() as patched, TemporaryDirectory() as directory:
        place = open_place(directory)
        fill(place)
        Archive(place.url, "abc").write(0, 7, 7, rows(range(100, 110)))
        left = steps

        def counted(name: str) -> None:
            original = getattr(archive_io, name)

            def call(*arguments: object) -> None:
                nonlocal left
                if left == 0:
                    raise Cut
                left -= 1
                original(*arguments)

            patched.setattr(archive_io, name, call)

        expected = identities(place)
        for name in ("write", "delete"):
            counted(name)
        try:
            list(archive_compact.compact(place, archive_compact.plan(place, LAST)))
        except Cut:
            assert steps < 9
        left = 1_000
        assert identities(place) == expected, "whoever reads now"
        if rolled_again:
            # A processor that crashed does its last roll once more.
            Archive(place.url, "abc").write(0, 7, 7, rows(range(100, 110)), again=True)
            assert identities(place) == expected
        list(archive_compact.compact(place, archive_compact.plan(place, LAST)))
        assert identities(place) == expected
        assert [file.name for file in listed(place)] == [f"{DIRECTORY}/abc-0-1-7.parquet"]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4), st.integers(0, 1)), max_size=12))
def test_files_that_are_left_out_are_all_in_another(spans: list[tuple[int, int, int]]) -> None:
    files = [
        ArchiveFile(f"{DIRECTORY}/{span.name}", FIRST, STREAM, 1, span)
        for span in {Span("abc", shard, first, first + more) for first, more, shard in spans}
    ]
    expected = {
        file.name
        for file in files
        if any(file.span != other.span and other.span and file.span and other.span.has(file.span) for other in files)
    }
    assert {file.name for file in joined(files)} == expected


def test_files_of_other_types_are_not_joined_and_new_columns_are(tmp_path: Path) -> None:
    place = open_place(str(tmp_path))
    archive = Archive(place.url, "abc")
    archive.write(0, 1, 1, rows(range(3)))
    archive.write(0, 2, 2, rows(range(3, 6)).with_columns(page=pl.lit("/")))
    archive.write(0, 3, 3, rows(range(6, 9), amount=pl.String()))
    archive.write(0, 4, 4, rows(range(9, 12), amount=pl.String()))
    assert [made for _, made in archive_compact.compact(place, archive_compact.plan(place, LAST))] == [2]
    one, two = files_of(place)
    assert (one.span, two.span) == (Span("abc", 0, 1, 2), Span("abc", 0, 3, 4))
    assert read(place, [one])["page"].to_list() == [None] * 3 + ["/"] * 3
    assert read(place, [two])["amount"].dtype == pl.String()
    assert identities(place) == list(range(12))
    unified = duckdb.sql(f"SELECT amount FROM read_parquet('{tmp_path}/**/*.parquet', union_by_name = true)")
    assert sorted(float(one) for (one,) in unified.fetchall()) == list(range(12))


def test_a_person_is_taken_out_of_every_file(place: Place) -> None:
    fill(place)
    Archive(place.url, "abc").write(0, 8, 8, rows(range(60, 61)), again=False)
    archive_io.rename(place, f"{DIRECTORY}/abc-0-2-2.parquet", f"{DIRECTORY}/abc-0-2-2.parquet.aside")
    wanted = [number for number in range(61) if number % 3 and number // 10 != 1]
    assert archive_forget.look(place, lambda raw: ANN.encode() in raw) == (7, 21)
    assert archive_forget.erase(place, ANN) == (21, 7)
    assert archive_forget.look(place, lambda raw: ANN.encode() in raw) == (6, 0), "one had nothing else in it"
    assert archive_forget.erase(place, ANN) == (0, 0)
    assert identities(place) == wanted
    assert set(read(place)["user"]) == {BOB}


def test_what_can_never_work_is_said(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Misconfigured, match="ARCHIVE_URL"):
        Archive(str(tmp_path / "file" / "below"), "abc").setup()
    with pytest.raises(Misconfigured, match="ARCHIVE_URL"):
        Archive("s3://there-is-no-such-bucket/x", "abc").setup()
    with pytest.raises(Misconfigured, match="ARCHIVE_URL"):
        Archive("ftp://host/x", "abc").setup()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    open_place(bucket).files.clear_instance_cache()
    away = Archive(bucket, "abc")
    with pytest.raises(Retryable):
        away.setup()
    with pytest.raises(SinkError):
        away.write(0, 1, 1, rows(range(3)))
    away.place.files.clear_instance_cache()


def test_half_written_files_are_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_place(str(tmp_path / "archive"))
    fill(place, increments=1)
    half = tmp_path / "archive" / DIRECTORY / ".abc-0-2-2.parquet.77.new"
    half.write_bytes(b"PAR1")
    assert len(files_of(place)) == 1
    assert archive_compact.remove_abandoned(place) == 0, "somebody may be writing it"
    monkeypatch.setattr(archive_compact, "_ABANDONED_S", -1.0)
    assert archive_compact.remove_abandoned(place) == 1
    assert not half.exists()
    assert identities(place) == list(range(10))


def test_a_directory_that_may_not_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_place(str(tmp_path / "archive"))
    assert files_of(place) == []
    archive_io.write(place, f"{DIRECTORY}/x-0-0-0.parquet", b"x")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if path == place.path(DIRECTORY):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(Misconfigured, match=r"cannot be used: .*Permission denied"):
        files_of(place)
