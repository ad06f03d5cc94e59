"""Whose a line is, how long it lasts, and what becomes of it then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
import urllib3
from fastapi import HTTPException
from starlette.requests import HTTPConnection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from live_api.access.identity import LOCAL, Identity, Rows
from live_api.admission import Origins
from live_api.protocol import Close
from stream.walltime import clock_ms

from .conftest import Api, Processor, point
from .identities import ANALYST, GERMANY, TRACKER, VIEWER, bearer, identify_by, people

Start = Callable[..., Api]
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


def ticket(api: Api, name: str) -> str:
    answer = _http.request("POST", f"{api.url}/v1/tickets", headers=bearer(name) | {"Connection": "close"})
    assert answer.status == 200, answer.data
    return str(json.loads(answer.data)["ticket"])


class Talk:
    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket

    def say(self, op: str, **more: Any) -> None:
        self._websocket.send(json.dumps({"op": op, **more}))

    def hear(self, *ops: str) -> dict[str, Any]:
        """The next message of these kinds."""
        while True:
            message: dict[str, Any] = json.loads(self._websocket.recv(timeout=10))
            if message["op"] in ops:
                return message

    def end(self) -> tuple[int, list[str]]:
        """The code the line ends with, and what was said until then."""
        ops = []
        try:
            while True:
                ops.append(json.loads(self._websocket.recv(timeout=10))["op"])
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd is not None else 0, ops


@contextmanager
def line(api: Api, name: str | None = None, **hello: Any) -> Iterator[Talk]:
    """A line whose handshake is of `name`, and which has said hello."""
    with api.connect(additional_headers=bearer(name) if name else {}) as websocket:
        talk = Talk(websocket)
        talk.say("hello", **{"topics": ["metric:orders"], **hello})
        yield talk


def at_ms(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp() * 1_000


def test_a_ticket_opens_a_line_once_with_the_rows_of_whoever_asked_for_it(start: Start, processor: Processor) -> None:
    processor.say(point(1, metric="orders", country="DE"), point(2, metric="orders", country="FR"))
    api = start(**people()).caught_up()
    token = ticket(api, "germany")
    with line(api, token=token) as talk:
        left_ms = at_ms(talk.hear("welcome")["until"]) - clock_ms()
        assert 14 * 60_000 < left_ms <= 15 * 60_000
        assert set(talk.hear("snapshot")["series"]) == {"orders@1m{country=DE}"}
        with line(api, token=token) as again:
            assert again.end() == (Close.BAD_TICKET, [])
    with line(api, token="made up") as talk:
        assert talk.end() == (Close.BAD_TICKET, [])


def test_without_a_ticket_a_line_is_whoevers_its_handshake_was(start: Start, processor: Processor) -> None:
    processor.say(point(1, metric="orders", country="DE"), point(2, metric="orders", country="FR"))
    api = start(**people()).caught_up()
    with line(api, "germany") as talk:
        assert "until" in talk.hear("welcome")
        assert set(talk.hear("snapshot")["series"]) == {"orders@1m{country=DE}"}


@pytest.mark.parametrize("name", [None, "tracker", "unknown"])
def test_who_may_not_see_numbers_is_told_so_and_not_to_come_back(
    start: Start, processor: Processor, name: str | None
) -> None:
    api = start(**people()).caught_up()
    with line(api, name) as talk:
        assert talk.hear("error")["code"] == "unauthorized"
        assert talk.end() == (Close.UNAUTHORIZED, [])
    with line(api, "analyst") as talk:
        assert talk.hear("welcome")


def test_who_cannot_be_found_out_now_is_to_come_back(start: Start, processor: Processor) -> None:
    async def identify(_: HTTPConnection) -> Identity:
        raise HTTPException(503, "who asks cannot be found out now")

    api = start(identify=identify).caught_up()
    with line(api) as talk:
        assert talk.end() == (Close.BAD_TICKET, [])


def test_lines_of_nobody_in_particular_last(start: Start, processor: Processor) -> None:
    viewers = Identity("anonymous", VIEWER)
    for options in ({}, {"identify": identify_by({}, viewers)}):
        api = start(**options).caught_up()
        with line(api) as talk:
            assert "until" not in talk.hear("welcome")
    assert LOCAL.until_ms is None


def test_a_line_ends_with_its_time_unless_it_is_refreshed(start: Start, processor: Processor) -> None:
    known: dict[str, Identity] = {}
    api = start(identify=identify_by(known)).caught_up()
    known["short"] = Identity("key:short", VIEWER, until_ms=clock_ms() + 3_000)
    with line(api, token=ticket(api, "short")) as ends, line(api, token=ticket(api, "short")) as stays:
        until = ends.hear("welcome")["until"]
        assert at_ms(until) == pytest.approx(known["short"].until_ms, abs=1_000)
        # The key was given more time.
        known["short"] = Identity("key:short", VIEWER, until_ms=clock_ms() + 60_000)
        stays.hear("snapshot")
        stays.say("refresh", id=5, token=ticket(api, "short"))
        answer = stays.hear("ok", "error")
        assert (answer["op"], answer["id"]) == ("ok", 5)
        assert at_ms(answer["until"]) > at_ms(until) + 30_000
        assert ends.end()[0] == Close.EXPIRED
        assert clock_ms() >= at_ms(until) - 1_000
        time.sleep(0.3)
        stays.say("subscribe", id=6, topics=["system"])
        assert stays.hear("ok")["id"] == 6


def test_a_line_stays_somebodys(start: Start, processor: Processor) -> None:
    known = {"me": GERMANY, "other": ANALYST, "tracker": TRACKER}
    api = start(identify=identify_by(known)).caught_up()
    with line(api, "me") as talk:
        talk.hear("snapshot")
        talk.say("refresh", id=1, token=ticket(api, "other"))
        assert talk.hear("error")["code"] == "other_identity"
        known["me"] = Identity(GERMANY.name, VIEWER, Rows.of({"country": ["FR"]}))
        talk.say("refresh", id=2, token=ticket(api, "me"))
        assert talk.hear("error")["code"] == "other_identity"
        talk.say("refresh", id=3, token="made up")
        assert talk.hear("error")["code"] == "bad_ticket"
        known["me"] = GERMANY
        talk.say("refresh", id=4, token=ticket(api, "me"))
        assert talk.hear("ok")["id"] == 4
        # Refused or not, it brings what it brought.
        processor.say(point(1, metric="orders", country="DE"), point(2, metric="orders", country="FR"))
        assert set(talk.hear("update")["series"]) == {"orders@1m{country=DE}"}


def test_a_refresh_before_hello_is_no_hello(start: Start, processor: Processor) -> None:
    api = start(**people()).caught_up()
    with api.connect() as websocket:
        talk = Talk(websocket)
        talk.say("refresh", id=1, token="x")
        assert talk.hear("error") == {
            "op": "error",
            "code": "hello_first",
            "message": "expected hello as the first message",
            "id": 1,
        }


# The same as Server-Sent Events.


def read(api: Api, query: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """The status, and the whole of a stream that ends."""
    answer = _http.request("GET", f"{api.url}/v1/live?{query}", headers={"Connection": "close", **(headers or {})})
    return answer.status, answer.data.decode()


def test_a_stream_is_its_tickets_and_ends_with_a_bye(start: Start, processor: Processor) -> None:
    processor.say(point(1, metric="orders", country="DE"), point(2, metric="orders", country="FR"))
    rows = Rows.of({"country": ["DE"]})
    known: dict[str, Identity] = {}
    api = start(identify=identify_by(known)).caught_up()
    known["short"] = Identity("key:short", VIEWER, rows, until_ms=clock_ms() + 2_000)
    token = ticket(api, "short")
    query = f"topics=metric:orders&ticket={token}"
    status, text = read(api, query)
    assert status == 200
    assert clock_ms() >= known["short"].until_ms  # type: ignore[operator]
    said = [json.loads(one.removeprefix("data: ")) for one in text.splitlines() if one.startswith("data: ")]
    assert [said[0]["op"], said[1]["op"], said[-1]["op"]] == ["welcome", "snapshot", "bye"]
    assert set(said[1]["series"]) == {"orders@1m{country=DE}"}
    assert f"retry: {said[-1]['retry_in_ms']}\n" in text
    assert len(api.hub) == 0
    assert read(api, query)[0] == 401


def test_without_a_ticket_a_stream_is_whoevers_the_request_is(start: Start, processor: Processor) -> None:
    api = start(**people()).caught_up()
    assert read(api, "topics=metric:orders")[0] == 401
    assert read(api, "topics=metric:orders", bearer("tracker"))[0] == 403
    # As for the one who sees some rows only, there is no such metric.
    assert read(api, "topics=metric:revenue", bearer("germany"))[0] == 400


def test_a_page_of_another_origin_needs_more_than_a_ticket(start: Start, processor: Processor) -> None:
    api = start(origins=Origins(loopback=True), **people()).caught_up()
    query = f"topics=metric:orders&ticket={ticket(api, 'germany')}"
    assert read(api, query, {"Origin": "https://evil.example"})[0] == 403
