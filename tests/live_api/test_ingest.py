"""Events over HTTP: what is taken is in the streams, what is not is said, and nothing else is written."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import urllib3
import valkey

from live_api.access.identity import Identity
from live_api.access.permissions import Permission
from live_api.admission import Origins
from live_api.ingest import IngestLimits
from sinks.records import Point
from stream.batches import RawBatch
from stream.catalog import parse
from stream.enrich import MADE, Pseudonyms
from stream.pipeline import Pipeline
from stream.plan import EVENTS, compile_plan
from tests.servers import ValkeyServer

from .conftest import Api

CATALOG = """
[platform]
name = "Shop"
streams = ["events:{0}", "events:{1}"]

[event]
time = "time"
person = "user_id"
id = "id"
name = "event"

[[metric]]
name = "revenue"
measure = "sum"
value = "price"
by = ["country"]

[[metric]]
name = "pages"
measure = "count"
by = ["context.page.path"]
where = "signed"
"""
STREAMS = ("events:{0}", "events:{1}")
KEY = b"the-key-of-these-tests"
PSEUDONYMS = Pseudonyms(KEY)
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))
Start = Callable[..., Api]


class Door:
    """An API, and what is in the streams behind it."""

    def __init__(self, api: Api, client: valkey.Valkey) -> None:
        self.api = api
        self.client = client

    def post(
        self, body: Any, path: str = "/v1/events", headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Any:
        """The answer's JSON, with its status as `http` and its headers as `headers`."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        said = {"Connection": "close", "Content-Type": "application/json", **(headers or {})}
        answer = _http.request(method, self.api.url + path, body=raw, headers=said)
        found = json.loads(answer.data) if answer.data else {}
        return {**found, "http": answer.status, "headers": answer.headers}

    def events(self) -> list[dict[str, Any]]:
        """All that is written, whichever stream it is in."""
        return [event for stream in STREAMS for event in self.of(stream)]

    def of(self, stream: str) -> list[dict[str, Any]]:
        entries: Any = self.client.xrange(stream)
        assert all(list(fields) == [b"batch"] for _, fields in entries)
        return [event for _, fields in entries for event in json.loads(fields[b"batch"])]

    def counted(self) -> int:
        """Events that the processor counts of what is in the streams."""
        return counted(self.client)


def counted(client: valkey.Valkey, catalog: str = CATALOG) -> int:
    return int(sum(one.count for one in points(client, catalog) if one.metric == EVENTS and one.window == "total"))


def points(client: valkey.Valkey, catalog: str) -> Sequence[Point]:
    """All that the processor says of what is in the streams."""
    plan = compile_plan(parse(catalog))
    pipeline = Pipeline(plan, PSEUDONYMS, whole_input=True)
    now_ms = time.time_ns() // 1_000_000
    for stream in plan.streams:
        entries: Any = client.xrange(stream)
        raw = [(entry, [part for pair in fields.items() for part in pair]) for entry, fields in entries]
        assert pipeline.add(RawBatch(stream, raw, True, now_ms), now_ms) == [], (
            "the processor refuses what the door took"
        )
    return pipeline.finish(now_ms).live


def _all(found: Any) -> Any:
    """What the client's types leave open."""
    return found


@pytest.fixture
def open_door(start: Start, valkey_client: valkey.Valkey) -> Callable[..., Door]:
    def make(catalog: str = CATALOG, **options: Any) -> Door:
        options.setdefault("pseudonym", PSEUDONYMS.of)
        return Door(start(catalog=catalog, **options), valkey_client)

    return make


@pytest.fixture
def door(open_door: Callable[..., Door]) -> Door:
    return open_door()


# Our own format


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"id": "a", "event": "x"}, "application/json"),
        ([{"id": "a", "event": "x"}], "application/json"),
        ({"events": [{"id": "a", "event": "x"}]}, "text/plain;charset=UTF-8"),
        (b'\n{"id": "a", "event": "x"}\r\n\n', "application/x-ndjson"),
        (gzip.compress(b'{"id": "a", "event": "x"}', mtime=0), "application/json"),
    ],
)
def test_an_event_is_taken(door: Door, body: Any, kind: str) -> None:
    packed = {"Content-Encoding": "gzip"} if isinstance(body, bytes) and body[:2] == b"\x1f\x8b" else {}
    answer = door.post(body, headers={"Content-Type": kind, **packed})
    assert (answer["http"], answer["accepted"], answer["duplicates"], answer["rejected"]) == (202, 1, 0, [])
    assert door.events() == [{"id": "a", "event": "x"}]
    assert door.counted() == 1


def test_one_bad_event_does_not_reject_the_rest(door: Door) -> None:
    now_ms = time.time_ns() // 1_000_000
    answer = door.post(
        [
            {"id": "a", "price": 1},
            {"id": "b", "price": "much"},
            7,
            {"id": "c", "time": now_ms + 86_400_000},
            {"id": "d", "context": 3},
            {"id": "a"},
            {},
            {"id": "e", "nothing": "of this is kept"},
            {"unknown": 1},
        ]
    )
    assert (answer["http"], answer["accepted"], answer["duplicates"]) == (207, 3, 1)
    assert [(one["index"], one["code"], one["path"]) for one in answer["rejected"]] == [
        (1, "bad_type", "price"),
        (2, "malformed", ""),
        (3, "future", "time"),
        (4, "bad_type", "context"),
        (6, "malformed", ""),
    ]
    assert sorted(door.events(), key=str) == [{"id": "a", "price": 1}, {"id": "e"}, {"time": None}]
    assert door.counted() == 3


def test_an_array_that_is_broken_within_is_taken_apart(door: Door) -> None:
    answer = door.post(b'[{"id": "a"}, {"id": NaN}, {"id": "b"}]')
    assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (2, [1])
    answer = door.post(b'[{"id": "c"}, {"id": "\xff"}]')
    assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (1, [1])


def test_lines_that_only_make_sense_together_are_refused(door: Door) -> None:
    answer = door.post(b'{},{"id":"\n"}\n{"id":"a"}\n', headers={"Content-Type": "application/x-ndjson"})
    assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (1, [0, 1])


@pytest.mark.parametrize("body", [b"", b"nothing", b"[1, 2", b'"text"', b"\xff\xfe", b"7"])
def test_a_body_without_events_is_refused(door: Door, body: bytes) -> None:
    answer = door.post(body)
    assert (answer["http"], answer["accepted"]) == (400, 0)
    assert [one["code"] for one in answer["rejected"]] == ["malformed"]
    assert door.events() == []


def test_nothing_sent_is_nothing_taken(door: Door) -> None:
    assert door.post([])["http"] == 202
    assert door.events() == []


def test_an_event_that_is_larger_than_an_entry_may_be_is_refused_alone(door: Door) -> None:
    answer = door.post([{"id": "a", "country": "x" * (1 << 20)}, {"id": "b"}])
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == [(0, "too_large")]
    assert door.counted() == 1


# Duplicates, and where events go


def test_a_request_that_is_sent_again_has_only_duplicates(door: Door) -> None:
    events = [{"id": f"e{number}", "user_id": number} for number in range(700)]
    assert door.post(events)["accepted"] == 700
    again = door.post([*events, {"id": "new"}, {"event": "without an id"}])
    assert (again["http"], again["accepted"], again["duplicates"]) == (202, 2, 700)
    assert door.counted() == 702


def test_ids_are_forgotten_in_time_and_all_have_an_end(open_door: Callable[..., Door]) -> None:
    door = open_door(ingest_limits=IngestLimits(dedupe_s=3))
    door.post({"id": "a"})
    keys: Any = door.client.keys("streamgauge:ids:*")
    assert len(keys) == 1
    assert all(0 < int(door.client.pttl(key)) <= 6_000 for key in keys)  # type: ignore[arg-type]
    assert b"{0}" in keys[0] or b"{1}" in keys[0], "in the slot of its stream"
    assert door.post({"id": "a"})["duplicates"] == 1
    time.sleep(3.1)
    door.post([{"id": f"b{number}"} for number in range(20)])
    assert door.post({"id": "a"})["duplicates"] == 1, "for at least so long, in the older generation"
    time.sleep(6.1)
    assert door.post({"id": "a"})["accepted"] == 1


def test_no_ids_are_remembered_where_none_are_to_be(open_door: Callable[..., Door]) -> None:
    door = open_door(ingest_limits=IngestLimits(dedupe_s=0))
    assert [door.post({"id": "a"})["accepted"] for _ in range(2)] == [1, 1]
    assert door.client.keys("streamgauge:ids:*") == []


def test_the_events_of_one_person_meet_and_others_spread(door: Door) -> None:
    for number in range(3):
        door.post([{"id": f"{number}-{person}", "user_id": f"p{person}"} for person in range(40)])
    people = [{event["user_id"] for event in door.of(stream)} for stream in STREAMS]
    assert not people[0] & people[1]
    assert min(map(len, people)) > 5
    door.client.flushall()
    door.post([{"country": "DE"} for _ in range(10)])
    assert [len(door.of(stream)) for stream in STREAMS] == [5, 5]
    assert door.counted() == 10, "although both streams may have got their entry in the same millisecond"


# Who it is of


def test_no_raw_id_reaches_a_stream(door: Door) -> None:
    events = [
        {
            "id": "1",
            "user_id": "ann@example.org",
            "anonymous_id": "raw-1",
            "email": "ann@example.org",
            "ip": "192.0.2.7",
        },
        {"id": "2", "anonymous_id": "raw-2"},
        {"id": "3", "user_id": "", "anonymous_id": "raw-2"},
        {"id": "4", "user_id": MADE + "0" * 32},
        {"id": "5", "user_id": 42},
        {"id": "6", "user_id": "ann@example.org", "consent": False},
    ]
    assert door.post(events)["accepted"] == 6
    written = {event["id"]: event.get("user_id") for event in door.events()}
    assert written == {
        "1": MADE + PSEUDONYMS.of("ann@example.org"),
        "2": MADE + PSEUDONYMS.of("raw-2"),
        "3": MADE + PSEUDONYMS.of("raw-2"),
        "4": MADE + PSEUDONYMS.of(MADE + "0" * 32),
        "5": MADE + PSEUDONYMS.of("42"),
        "6": None,
    }
    assert {name for event in door.events() for name in event} == {"id", "user_id"}
    everything = b"".join(door.client.dump(key) or b"" for key in _all(door.client.keys()))
    for raw in (b"ann@", b"raw-", b"192.0.2.7"):
        assert raw not in everything


@pytest.mark.parametrize(
    ("headers", "dnt", "person"),
    [({"Sec-GPC": "1"}, False, False), ({"DNT": "1"}, True, False), ({"DNT": "1"}, False, True)],
)
def test_a_browser_may_ask_not_to_be_followed(
    open_door: Callable[..., Door], headers: dict[str, str], dnt: bool, person: bool
) -> None:
    door = open_door(CATALOG + f"\n[ingest]\ndnt = {str(dnt).lower()}\ncookieless = true\n")
    door.post({"id": "a", "user_id": "ann", "anonymous_id": "b"}, headers=headers)
    assert [("user_id" in event) for event in door.events()] == [person]


@pytest.mark.parametrize(
    ("said", "person"),
    [(True, True), (1, True), ("Yes", True), ("granted", True), (None, True), ("", True)]
    + [(said, False) for said in (False, 0, 0.0, "no", "denied", "withdrawn", {"analytics": False}, [], [True])],
)
def test_who_does_not_clearly_consent_is_nobody(door: Door, said: Any, person: bool) -> None:
    assert door.post({"id": "a", "user_id": "ann", "consent": said})["accepted"] == 1
    assert [("user_id" in event) for event in door.events()] == [person]


def test_of_a_pages_query_only_the_campaign_reaches_a_stream(start: Start, valkey_client: valkey.Valkey) -> None:
    catalog = (Path(__file__).parents[2] / "catalogs" / "web.toml").read_text()
    door = Door(start(catalog=catalog, pseudonym=PSEUDONYMS.of), valkey_client)
    url = "https://ann:secret@shop.example/prices?email=ann%40x.example&utm_source=letter&utm_medium=email#ann"
    event = {"event": "page", "path": "/prices", "url": url, "referrer": "https://mail.example/?to=ann@x.example"}
    assert door.post(event)["accepted"] == 1
    (written,) = door.events()
    assert written["url"] == "https://shop.example/prices?utm_source=letter&utm_medium=email"
    assert written["referrer"] == "https://mail.example/"


def test_visitors_without_cookies_are_told_apart_for_a_day(open_door: Callable[..., Door]) -> None:
    door = open_door(CATALOG + "\n[ingest]\ncookieless = true\n")
    browser = {"User-Agent": "Mozilla/5.0 A", "Origin": door.api.url}
    for number, headers in enumerate([browser, browser, browser | {"User-Agent": "Mozilla/5.0 B"}]):
        assert door.post({"id": str(number)}, headers=headers)["accepted"] == 1
    assert door.post({"id": "4"}, headers={"User-Agent": "program"})["accepted"] == 1
    people = {event["id"]: event.get("user_id") for event in door.events()}
    assert people["0"] == people["1"] != people["2"]
    assert people["0"].startswith(MADE)
    assert people["4"] is None, "a program sends what others did"
    (salt,) = door.client.keys("*salt*")  # type: ignore[misc]
    assert 47 * 3_600 < int(door.client.ttl(salt)) <= 48 * 3_600  # type: ignore[arg-type]
    assert len(door.client.get(salt) or b"") == 16  # type: ignore[arg-type]


def test_only_what_is_read_or_listed_is_kept(open_door: Callable[..., Door]) -> None:
    door = open_door(CATALOG + '\n[ingest]\nproperties = ["plan", "context.device"]\n')
    context = {"ip": "192.0.2.1", "page": {"path": "/", "title": "x"}, "device": {"type": "phone"}}
    door.post({"id": "a", "plan": ["b"], "context": context, "secret": 1})
    assert door.events() == [
        {"id": "a", "plan": ["b"], "context": {"page": {"path": "/"}, "device": {"type": "phone"}}}
    ]


# Clocks


@pytest.mark.parametrize("way", ["header", "field"])
def test_a_wrong_clock_is_corrected(door: Door, way: str) -> None:
    before_ms = time.time_ns() // 1_000_000
    events = [{"id": "a", "time": "2031-01-01T00:00:00Z"}, {"id": "b", "time": 1924991940}, {"id": "c", "time": "no"}]
    sent = "2031-01-01T00:01:00Z"
    body: Any = {"events": events} if way == "header" else {"events": events, "sent_at": sent}
    answer = door.post(body, headers={"X-Sent-At": sent} if way == "header" else {})
    after_ms = time.time_ns() // 1_000_000
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == [(2, "bad_type")]
    times = {event["id"]: event["time"] for event in door.events()}
    assert before_ms - 60_000 <= times["a"] <= after_ms - 60_000
    assert times["a"] - times["b"] == 1924992000_000 - 1924991940_000


# Other formats


def test_segments_calls(door: Door) -> None:
    sent = "2031-01-01T00:00:00Z"
    call = {"messageId": "m1", "userId": "ann", "anonymousId": "x", "timestamp": sent, "type": "track"}
    call |= {
        "event": "paid",
        "properties": {"price": 9.5, "country": "DE", "id": "not mine"},
        "context": {"page": {"path": "/p"}},
    }
    page = {"type": "page", "messageId": "m2", "anonymousId": "x", "name": "Home"}
    answer = door.post({"batch": [call, page, {"type": "dance"}, {"type": "track"}, 3], "sentAt": sent}, "/v1/batch")
    assert (answer["http"], answer["accepted"]) == (207, 2)
    assert [(one["index"], one["code"], one["path"]) for one in answer["rejected"]] == [
        (2, "bad_type", "type"),
        (3, "missing_field", "event"),
        (4, "malformed", ""),
    ]
    first, second = sorted(door.events(), key=lambda event: str(event["id"]))
    assert abs(first.pop("time") - time.time() * 1_000) < 10_000
    assert first == {
        "id": "m1",
        "user_id": MADE + PSEUDONYMS.of("ann"),
        "event": "paid",
        "price": 9.5,
        "country": "DE",
        "context": {"page": {"path": "/p"}},
    }
    assert second == {"id": "m2", "user_id": MADE + PSEUDONYMS.of("x"), "event": "page"}
    for path in ("track", "page", "screen", "identify", "group", "alias", "t", "p", "s", "i", "g", "a"):
        one = door.post({"messageId": path, "userId": "ann", "event": "e"}, f"/v1/{path}")
        assert (one["http"], one["accepted"]) == (202, 1), path
    assert door.counted() == 14


def test_posthogs_captures(door: Door) -> None:
    capture = {"event": "paid", "distinct_id": "ann", "uuid": "u1", "properties": {"price": 3, "token": "t"}}
    assert door.post({"api_key": "k", **capture}, "/capture")["http"] == 202
    body = {"api_key": "k", "batch": [capture, {**capture, "uuid": "u2", "offset": 60_000}, {"distinct_id": "b"}]}
    answer = door.post(gzip.compress(json.dumps(body).encode()), "/batch/", {"Content-Type": "text/plain"})
    assert (answer["http"], answer["accepted"], answer["duplicates"]) == (207, 1, 1)
    assert [(one["index"], one["path"]) for one in answer["rejected"]] == [(2, "event")]
    first, second = sorted(door.events(), key=lambda event: str(event["id"]))
    assert first == {"id": "u1", "event": "paid", "user_id": MADE + PSEUDONYMS.of("ann"), "price": 3}
    assert abs(second["time"] - time.time() * 1_000 + 60_000) < 10_000
    own = door.post({"api_key": "k", **capture}, "/capture", {"User-Agent": "posthog-python/6.0"})
    assert (own["http"], own["duplicates"]) == (200, 1), "its own client takes 202 for a failure"


def test_cloudevents_in_all_their_modes(door: Door) -> None:
    event = {"specversion": "1.0", "type": "paid", "source": "/shop", "id": "1", "data": {"price": 2, "user_id": "ann"}}
    kinds = ("application/cloudevents+json; charset=utf-8", "application/cloudevents-batch+json")
    assert door.post(event, headers={"Content-Type": kinds[0]})["accepted"] == 1
    answer = door.post([event, {**event, "source": "/other"}, {"id": "x"}, 3], headers={"Content-Type": kinds[1]})
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    assert [(one["index"], one["code"], one["path"]) for one in answer["rejected"]] == [
        (2, "missing_field", "specversion"),
        (3, "malformed", ""),
    ]
    attributes = {"ce-specversion": "1.0", "ce-type": "paid", "ce-source": "/b%20c", "ce-id": "1"}
    assert door.post({"price": 7, "user_id": "ann"}, headers=attributes)["accepted"] == 1
    written = {event["id"]: event for event in door.events()}
    assert set(written) == {"/shop 1", "/other 1", "/b c 1"}
    for one, price in (("/shop 1", 2), ("/b c 1", 7)):
        assert written[one] == {
            "id": one,
            "event": "paid",
            "price": price,
            "user_id": MADE + PSEUDONYMS.of("ann"),
        }


# Keys, limits, pages


async def keys(text: str, _: str) -> Identity | None:
    known = {
        "writes": Identity("key:w", frozenset({Permission.TRACK})),
        "reads": Identity("key:r", frozenset({Permission.VIEW_NUMBERS})),
        "all": Identity("key:a", frozenset(Permission)),
    }
    return known.get(text)


async def nobody(_: Any) -> Identity:
    return Identity("anonymous", frozenset())


def test_a_key_comes_in_many_ways(open_door: Callable[..., Door]) -> None:
    door = open_door(identify_key=keys, identify=nobody)
    event = {"event": "x", "distinct_id": "b", "batch": [{"type": "page"}]}

    def status(path: str, body: Any = event, **headers: str) -> int:
        return int(door.post(body, path, {name.replace("_", "-"): value for name, value in headers.items()})["http"])

    basic = "Basic " + base64.b64encode(b"writes:").decode()
    assert status("/v1/events") == 401
    assert status("/v1/events", x_write_key="writes") == 202
    assert status("/v1/events", x_write_key="wrong") == 401
    assert status("/v1/events", x_write_key="reads") == 403
    assert status("/v1/events?key=writes") == 202
    assert status("/v1/events?key=all") == 403
    assert status("/v1/batch", authorization=basic) == 202
    assert status("/v1/batch", {**event, "writeKey": "writes"}) == 202
    capture = {"event": "x", "distinct_id": "b"}
    assert status("/capture", capture) == 401
    assert status("/capture", {**capture, "api_key": "writes"}) == 202
    assert status("/batch", {"batch": [capture], "api_key": "reads"}) == 403
    assert status("/batch", b"nothing") == 401


def test_bodies_and_events_have_a_limit(open_door: Callable[..., Door]) -> None:
    door = open_door(ingest_limits=IngestLimits(max_bytes=100_000))
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    assert len(bomb) < 100_000
    answer = door.post(bomb, headers={"Content-Encoding": "gzip"})
    assert (answer["http"], "unpacked" in answer["detail"]) == (413, True)
    assert door.post(b" " * 100_001)["http"] == 413
    assert door.post(b"[" + b"0," * 10_000 + b"0]")["http"] == 413
    assert door.post(gzip.compress(b"{}")[:-9], headers={"Content-Encoding": "gzip"})["http"] == 400
    assert door.post(gzip.compress(b"") * 101)["http"] == 400
    assert door.post(gzip.compress(b"[") + gzip.compress(b"]"))["http"] == 202
    assert door.post(b"{}", headers={"Content-Encoding": "br"})["http"] == 415
    assert door.events() == []


def test_too_many_are_refused_by_their_number(open_door: Callable[..., Door]) -> None:
    door = open_door(identify_key=keys, identify=nobody)
    many: list[Any] = [{"type": "page"}] * 10_001
    cloud = {"Content-Type": "application/cloudevents-batch+json"}
    for path, body, named in (
        ("/v1/batch", {"batch": many, "writeKey": "writes"}, {}),
        ("/batch", {"batch": many, "api_key": "writes"}, {}),
        ("/v1/events", many, cloud | {"X-Write-Key": "writes"}),
    ):
        answer = door.post(body, path, named)
        assert (answer["http"], answer["rejected"]) == (413, [])
    assert door.post({"batch": many}, "/v1/batch")["http"] == 401


def test_who_sends_too_much_is_told_when_to_come_again(open_door: Callable[..., Door]) -> None:
    door = open_door(ingest_limits=IngestLimits(events_per_s=10))
    assert door.post([{"id": str(number)} for number in range(20)])["http"] == 202
    answer = door.post([{"id": str(number)} for number in range(20, 40)])
    assert (answer["http"], answer["headers"]["Retry-After"]) == (429, "2")
    assert door.counted() == 20


def test_when_the_processor_is_behind_nothing_is_taken(open_door: Callable[..., Door]) -> None:
    door = open_door(ingest_limits=IngestLimits(backlog=5), ingest_group="counting")
    for _ in range(6):
        door.client.xadd(STREAMS[0], {"data": "{}"})
    answer = door.post({"id": "a"})
    assert (answer["http"], answer["headers"]["Retry-After"], answer["accepted"]) == (503, "5", 0)
    door.client.xgroup_create(STREAMS[0], "counting", "$", entries_read=6)
    time.sleep(1.1)
    assert door.post({"id": "a"})["http"] == 202


def test_what_could_not_be_written_is_said_and_may_be_sent_again(door: Door) -> None:
    door.client.set(STREAMS[0], "no stream")
    events = [{"id": str(number), "user_id": str(number)} for number in range(40)]
    answer = door.post(events)
    assert (answer["http"], answer["headers"]["Retry-After"]) == (207, "2")
    assert {one["code"] for one in answer["rejected"]} == {"not_written"}
    assert answer["accepted"] + len(answer["rejected"]) == 40
    door.client.delete(STREAMS[0])
    again = door.post(events)
    assert (again["http"], again["accepted"]) == (202, len(answer["rejected"]))
    assert again["duplicates"] == answer["accepted"]
    assert door.counted() == 40


def test_when_valkey_is_full_nothing_is_taken(open_door: Callable[..., Door], valkey_client: valkey.Valkey) -> None:
    door = open_door()
    valkey_client.config_set("maxmemory", 1)
    try:
        answer = door.post([{"id": "a"}, {"id": "b", "price": "bad"}])
        only = door.post({"id": "a"})
    finally:
        valkey_client.config_set("maxmemory", 0)
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == [(0, "not_written"), (1, "bad_type")]
    assert (only["http"], only["headers"]["Retry-After"], only["accepted"]) == (503, "2", 0)
    assert "full" in only["rejected"][0]["message"]
    assert door.post({"id": "a"})["accepted"] == 1, "it was not remembered either"


def test_when_valkey_is_away_nothing_is_taken(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with ValkeyServer() as server:
        api = start(valkey_url=server.connection_url, catalog=CATALOG, pseudonym=PSEUDONYMS.of)
    door = Door(api, valkey.Valkey())
    door.post({"id": "b"})
    answer = door.post({"id": "a"})
    assert (answer["http"], answer["accepted"], answer["rejected"][0]["code"]) == (503, 0, "not_written")
    assert "127.0.0.1" not in answer["rejected"][0]["message"], "where Valkey is concerns nobody who sends events"
    assert ["127.0.0.1" in record.getMessage() for record in caplog.records if "not written" in record.msg] == [True]


def test_while_valkey_hangs_nothing_is_taken_and_that_is_waited_for_once(start: Start) -> None:
    with ValkeyServer() as server:
        client: valkey.Valkey = server.client()
        door = Door(start(valkey_url=server.connection_url, catalog=CATALOG, pseudonym=PSEUDONYMS.of), client)
        assert door.post({"id": "a"})["http"] == 202
        time.sleep(1.1)  # else how many wait is known
        pid = _all(client.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            answer = door.post({"id": "b"})
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (answer["http"], answer["headers"]["Retry-After"], answer["accepted"]) == (503, "2", 0)
        # Not an answer for each event: none was tried to be written.
        assert (answer["rejected"], answer["detail"]) == ([], "Valkey does not answer")
        assert door.post({"id": "b"})["accepted"] == 1


def test_only_pages_that_are_listed_may_send(open_door: Callable[..., Door]) -> None:
    door = open_door(ingest_origins=("https://shop.example",))
    shop = {"Origin": "https://shop.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, ce-id"}
    preflight = door.post(b"", headers=shop | asked, method="OPTIONS")
    assert preflight["http"] == 204
    said = preflight["headers"]
    assert said["Access-Control-Allow-Origin"] == "https://shop.example"
    assert {"content-type", "ce-id", "x-write-key"} <= set(said["Access-Control-Allow-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in said
    answer = door.post(b'{"id": "a"}', headers=shop | {"Content-Type": "text/plain"})
    assert (answer["http"], answer["headers"]["Access-Control-Allow-Origin"]) == (202, "https://shop.example")
    assert answer["headers"]["Cross-Origin-Resource-Policy"] == "cross-origin"
    for origin in ("https://evil.example", "null"):
        assert door.post({"id": "b"}, headers={"Origin": origin})["http"] == 403
        assert door.post(b"", headers={"Origin": origin} | asked, method="OPTIONS")["http"] == 403
    assert door.counted() == 1


def test_on_loopback_no_other_page_may_send(open_door: Callable[..., Door]) -> None:
    door = open_door(origins=Origins((), loopback=True))
    assert door.post({"id": "a"}, headers={"Origin": "http://evil.example"})["http"] == 403
    assert door.post({"id": "a"}, headers={"Origin": door.api.url})["http"] == 202


def test_what_happens_at_the_door_is_measured(door: Door) -> None:
    door.post([{"id": "a"}, {"id": "a"}, {"price": "much"}])
    door.post(b"nothing")
    registry = door.api.hub.meters.registry

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"streamgauge_ingest_{name}", labels)

    assert value("received_events_total") == 4
    assert value("accepted_events_total") == 1
    assert value("duplicate_events_total") == 1
    assert value("discarded_events_total", reason="bad_type") == 1
    assert value("discarded_events_total", reason="malformed") == 1
    assert value("errors_total", stage="parse") == 1
    assert value("request_seconds_count") == 2


def test_the_document_has_the_routes_with_examples(door: Door) -> None:
    document = door.api.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    for path in ("/v1/events", "/v1/batch", "/v1/track", "/capture", "/batch"):
        post = document["paths"][path]["post"]
        assert all("example" in content for content in post["requestBody"]["content"].values())
        assert {"202", "207", "413", "429", "503"} <= set(post["responses"])


ENRICHED = """
[enrich]
user_agent = "agent"
ip = "ip"
url = "url"

[[metric]]
name = "seen"
measure = "count"
by = ["browser", "region", "campaign"]
"""


def test_a_browsers_name_and_address_are_used_and_dropped(open_door: Callable[..., Door]) -> None:
    door = open_door(CATALOG + ENRICHED)
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    page = {"User-Agent": firefox, "Referer": f"{door.api.url}/?utm_campaign=may", "Origin": door.api.url}
    assert door.post({"id": "a"}, headers=page)["accepted"] == 1
    call = {"event": "x", "messageId": "b", "context": {"userAgent": firefox, "ip": "192.0.2.9"}}
    assert door.post(call, "/v1/track")["accepted"] == 1
    bot = door.post([{"id": "c", "agent": "Googlebot/2.1"}, {"id": "d", "browser": "own"}], headers=page)
    assert [(one["index"], one["code"]) for one in bot["rejected"]] == [(0, "bot")]
    written = {event["id"]: event for event in door.events()}
    assert written["a"]["browser"] == written["b"]["browser"] == "Firefox"
    assert written["a"]["url"] == page["Referer"]
    assert written["d"]["browser"] == "own"
    everything = b"".join(door.client.dump(key) or b"" for key in _all(door.client.keys()))
    for raw in (b"Gecko", b"192.0.2.9", b"127.0.0.1"):
        assert raw not in everything.replace(door.api.url.encode(), b"")
    assert door.counted() == 3


def test_the_ready_catalog_of_web_sites_counts_what_the_script_says(start: Start, valkey_client: valkey.Valkey) -> None:
    catalog = (Path(__file__).parents[2] / "catalogs" / "web.toml").read_text()
    door = Door(start(catalog=catalog, pseudonym=PSEUDONYMS.of), valkey_client)
    browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
    browser |= {"Origin": door.api.url, "Content-Type": "text/plain;charset=UTF-8"}
    url, referrer = "https://shop.example/prices?utm_source=letter", "https://www.google.com/"
    said = {
        "properties": {"url": url, "path": "/prices", "title": "Prices", "referrer": referrer},
        "messageId": "a",
        "context": {"page": {"url": url, "referrer": referrer}},
    }
    assert door.post(said, "/v1/page", browser)["accepted"] == 1
    (point,) = [one for one in points(valkey_client, catalog) if (one.metric, one.window) == ("top_pages", "1d")]
    assert point.value == {"/prices": 1}
    counts = {one.metric: one.value for one in points(valkey_client, catalog) if one.window == "1d"}
    assert (counts["pageviews"], counts["visitors"], counts["visitors_by_device"]) == (1, 1, 1)
