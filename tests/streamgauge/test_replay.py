from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import valkey
from hypothesis import given
from hypothesis import strategies as st
from valkey.exceptions import ValkeyError

from stream.catalog import Catalog, parse
from streamgauge.files import FileError
from streamgauge.replay import Pace, replay
from tests.patience import Stopwatch
from tests.ports import free_port
from tests.stack import eventually

from .conftest import CATALOG

STREAMS = ("events:{0}", "events:{1}")


@pytest.fixture
def catalog() -> Catalog:
    return parse(CATALOG)


def go_on(_: float) -> bool:
    return False


def as_fast_as_possible() -> Pace:
    return Pace(rate=None, speed=None)


def numbers(client: valkey.Valkey) -> list[list[int]]:
    """The number of each event, stream by stream."""
    return [[json.loads(fields[b"data"])["n"] for _, fields in client.xrange(stream)] for stream in STREAMS]


def write(path: Path, count: int, **more: object) -> Path:
    path.write_text("".join(json.dumps({"n": n, "kind": "book", **more}) + "\n" for n in range(count)))
    return path


# Pace


def test_without_a_pace_nothing_waits() -> None:
    pace = as_fast_as_possible()
    assert [pace.wait_s(now, 1_000, None) for now in (0.0, 0.1, 0.2)] == [0, 0, 0]


def test_a_rate_is_kept_whatever_sending_takes() -> None:
    pace = Pace(rate=100, speed=None)
    assert pace.wait_s(50.0, 20, None) == 0
    assert pace.wait_s(50.05, 20, None) == pytest.approx(0.15)
    # Behind: at once, until it has caught up.
    assert pace.wait_s(51.0, 20, None) == 0
    assert pace.wait_s(51.0, 60, None) == 0
    assert pace.wait_s(51.0, 20, None) == pytest.approx(0.2)


def test_speed_follows_the_events() -> None:
    pace = Pace(rate=None, speed=10)
    assert pace.wait_s(5.0, 20, 1_000_000) == 0
    assert pace.wait_s(5.0, 20, 1_010_000) == pytest.approx(1)
    # Out of order, and without a time: at once.
    assert pace.wait_s(6.0, 20, 900_000) == 0
    assert pace.wait_s(6.0, 20, None) == 0
    assert pace.wait_s(6.0, 20, 1_020_000) == pytest.approx(1)


@given(st.floats(0.01, 1e6), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 1_000)), min_size=1, max_size=30))
def test_at_no_moment_have_more_events_gone_than_the_rate_allows(rate: float, steps: list[tuple[float, int]]) -> None:
    pace = Pace(rate=rate, speed=None)
    now = started = 1_000.0
    gone = 0
    for busy_s, events in steps:
        now += pace.wait_s(now, events, None)
        # What is sent now was due by now.
        assert gone <= (now - started) * rate * (1 + 1e-9) + 1e-3
        gone += events
        now += busy_s


# Sending


def test_every_event_goes_once_as_it_is_and_batches_take_turns(
    catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.json", 2_500)
    assert replay(catalog, [path], valkey_client, as_fast_as_possible(), stopped=go_on, quiet=True) == 2_500
    first, second = numbers(valkey_client)
    assert first == [*range(1_000), *range(2_000, 2_500)]
    assert second == list(range(1_000, 2_000))


def test_broken_lines_are_sent_too(catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"n":1}\nbroken\n\xff\n')
    assert replay(catalog, [tmp_path / "a.json"], valkey_client, as_fast_as_possible(), stopped=go_on) == 3
    assert [fields for _, fields in valkey_client.xrange(STREAMS[0])] == [
        {b"data": b'{"n":1}'},
        {b"data": b"broken"},
        {b"data": b"\xff"},
    ]


@pytest.mark.parametrize("rows", [1, 999, 1_000, 1_001])
def test_a_csv_is_sent_as_flat_fields(
    catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path, rows: int
) -> None:
    (tmp_path / "a.csv").write_text("kind,price\n" + "book,2.5\n" * rows)
    assert replay(catalog, [tmp_path / "a.csv"], valkey_client, as_fast_as_possible(), stopped=go_on) == rows
    assert sum(valkey_client.xlen(stream) for stream in STREAMS) == rows
    assert valkey_client.xrange(STREAMS[0], count=1)[0][1] == {b"kind": b"book", b"price": b"2.5"}


def test_several_files_follow_each_other(catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.json", 30), write(tmp_path / "b.json", 20)]
    assert replay(catalog, paths, valkey_client, as_fast_as_possible(), stopped=go_on) == 50
    assert sorted(chain(*numbers(valkey_client))) == sorted([*range(30), *range(20)])


def test_a_rate_takes_its_time(catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", 100)
    watch = Stopwatch()
    stop = threading.Event()
    assert replay(catalog, [path], valkey_client, Pace(rate=200, speed=None), stopped=stop.wait) == 100
    assert watch.passed_s > 0.3
    assert watch.worked_s < 2


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_speed_follows_event_time(catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path, kind: str) -> None:
    times = [f"2015-09-12T00:{n // 60:02}:{n % 60:02}Z" for n in range(100)]
    if kind == "json":
        lines = [json.dumps({"time": at, "kind": "book"}) for at in times]
    else:
        lines = ["time,kind", *(f"{at},book" for at in times)]
    path = tmp_path / f"a.{kind}"
    path.write_text("\n".join(lines))
    watch = Stopwatch()
    stop = threading.Event()
    assert replay(catalog, [path], valkey_client, Pace(rate=None, speed=100), stopped=stop.wait) == 100
    # The last batch of twenty begins with second 80 of the file.
    assert watch.passed_s > 0.75
    assert watch.worked_s < 2.5


def test_stopping_says_how_many_were_sent(catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", 5_000)
    calls = iter([False, False, True])
    sent = replay(catalog, [path], valkey_client, as_fast_as_possible(), stopped=lambda _: next(calls))
    assert sent == 2_000 == sum(valkey_client.xlen(stream) for stream in STREAMS)


def fill(client: valkey.Valkey, room: int = 300_000) -> None:
    """Leave only so much memory."""
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + room)


def test_a_full_server_is_waited_for_and_nothing_is_sent_twice(
    catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.json", 4_000, padding="x" * 500)
    fill(valkey_client)
    waited = []

    def make_room(wait_s: float) -> bool:
        if wait_s > 0:
            waited.append(sum(valkey_client.xlen(stream) for stream in STREAMS))
            valkey_client.config_set("maxmemory", 0)
        return False

    assert replay(catalog, [path], valkey_client, as_fast_as_possible(), stopped=make_room) == 4_000
    assert waited
    assert waited[0] < 4_000
    assert sorted(chain(*numbers(valkey_client))) == list(range(4_000))


def test_stopped_while_the_server_is_full_it_says_how_many_it_took(
    catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.json", 4_000, padding="x" * 500)
    fill(valkey_client)
    sent = replay(catalog, [path], valkey_client, as_fast_as_possible(), stopped=lambda wait_s: wait_s > 0)
    taken = sum(valkey_client.xlen(stream) for stream in STREAMS)
    assert 0 < taken < 4_000
    assert sent == taken


def test_a_full_server_is_asked_again_after_a_rest(
    catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.json", 1_000, padding="x" * 1_000)
    fill(valkey_client)
    stop = threading.Event()
    sent: list[int] = []
    thread = threading.Thread(
        target=lambda: sent.append(
            replay(catalog, [path], valkey_client, as_fast_as_possible(), stopped=stop.wait, quiet=True)
        )
    )
    thread.start()
    try:
        time.sleep(0.5)
        assert thread.is_alive()
        valkey_client.config_set("maxmemory", 0)
        eventually(lambda: sent == [1_000], within_s=5)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "spoil",
    [lambda client: client.set(STREAMS[0], "no stream"), lambda client: client.connection_pool.disconnect()],
    ids=["key of another type", "connection lost"],
)
def test_errors_of_the_server_are_raised(
    catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path, spoil: Callable[[valkey.Valkey], object]
) -> None:
    client = valkey_client
    if spoil(client) is None:
        client = valkey.Valkey(port=free_port(), socket_timeout=1)
    with pytest.raises(ValkeyError):
        replay(catalog, [write(tmp_path / "a.json", 10)], client, as_fast_as_possible(), stopped=go_on)


def test_a_file_that_is_none_is_refused(catalog: Catalog, valkey_client: valkey.Valkey, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"gone\.json"):
        replay(catalog, [tmp_path / "gone.json"], valkey_client, as_fast_as_possible(), stopped=go_on)
