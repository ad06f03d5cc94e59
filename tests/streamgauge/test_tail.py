from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
import valkey
from hypothesis import given
from hypothesis import strategies as st
from valkey.exceptions import ValkeyError

from sinks.live import FIELD, LIVE_STREAM, LiveSink
from sinks.records import Point, State
from streamgauge.tail import line, tail
from tests.ports import free_port


def point(value: float = 1, metric: str = "edits", **dimensions: str) -> Point:
    return Point(metric, "1d", 1_442_016_000_000, tuple(dimensions.items()), value, 3, State.FINAL, 2, 0)


def follow(
    client: valkey.Valkey, *meanwhile: Callable[[], object], metric: str | None = None, as_json: bool = False
) -> list[str]:
    """The lines of a tail that is asked whether to stop before each read; `meanwhile` happens at those moments."""
    out = io.StringIO()
    todo = iter(meanwhile)

    def stopped() -> bool:
        happens = next(todo, None)
        if happens is None:
            return True
        happens()
        return False

    tail(client, metric, out, as_json=as_json, stopped=stopped)
    return out.getvalue().splitlines()


def say(client: valkey.Valkey, *points: Point) -> Callable[[], object]:
    return lambda: LiveSink(client).write(points, {}, now_ms=1)


def test_points_that_arrive_are_printed_one_a_line(valkey_client: valkey.Valkey) -> None:
    say(valkey_client, point(0))()
    assert follow(
        valkey_client, say(valkey_client, point(1234, channel="#en"), point(2.5)), say(valkey_client, point(3))
    ) == [
        "2015-09-12T00:00:00Z  edits@1d{channel=#en}  1234  final",
        "2015-09-12T00:00:00Z  edits@1d  2.5  final",
        "2015-09-12T00:00:00Z  edits@1d  3  final",
    ]


def test_the_first_point_ever_is_not_missed(valkey_client: valkey.Valkey) -> None:
    # It comes after tail began, but not while it waits.
    assert len(follow(valkey_client, say(valkey_client, point(1)), say(valkey_client, point(2)))) == 2


def test_what_came_between_two_reads_is_not_missed(valkey_client: valkey.Valkey) -> None:
    say(valkey_client, point(0))()
    steps = [say(valkey_client, *(point(n * 10 + i) for i in range(10))) for n in range(20)]
    assert len(follow(valkey_client, *steps)) == 200


def test_one_metric_and_whole_points(valkey_client: valkey.Valkey) -> None:
    lines = follow(
        valkey_client,
        lambda: None,
        say(valkey_client, point(1), point(2, "adds"), point(3, "edits_by_channel")),
        say(valkey_client, point(4)),
        metric="edits",
        as_json=True,
    )
    assert [json.loads(text)["value"] for text in lines] == [1, 4]
    assert {json.loads(text)["metric"] for text in lines} == {"edits"}
    assert json.loads(lines[-1]) == point(4).to_json()


def test_an_entry_that_is_not_ours_does_not_end_it(valkey_client: valkey.Valkey) -> None:
    say(valkey_client, point(0))()

    def strange() -> None:
        valkey_client.xadd(LIVE_STREAM, {FIELD: b"{"})
        valkey_client.xadd(LIVE_STREAM, {b"other": b"x"})
        say(valkey_client, point(5))()

    assert follow(valkey_client, strange) == [line(point(5))]


def test_a_server_that_is_away_is_an_error() -> None:
    with pytest.raises(ValkeyError):
        follow(valkey.Valkey(port=free_port(), socket_timeout=1), lambda: None)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_whatever_a_producer_sent_is_one_line_that_no_terminal_obeys(value: str, name: str) -> None:
    shown = line(point(1, **{name: value}))
    assert len(shown.splitlines()) == 1
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
