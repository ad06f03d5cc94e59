"""docs/protocol.md, played: what its examples say is what is said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .conftest import Api, Processor, point
from .identities import bearer, people
from .test_lines_of_identities import ticket
from .test_sse import events

Start = Callable[..., Api]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
# The page's platform has four metrics besides `orders`.
CATALOG = """
[platform]
name = "Shop"

[[metric]]
name = "orders"
measure = "count"
by = ["country"]
windows = ["1m"]

[[metric]]
name = "revenue"
measure = "sum"
value = "price"

[[metric]]
name = "visits"
measure = "count"
"""


def examples(heading: str) -> list[tuple[str, dict[str, Any]]]:
    """Who says what in the example under a heading."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block = section.split("```")[1]
    return [(who, json.loads(body)) for who, body in re.findall(r"^(client|server) → (\{.*\})$", block, re.MULTILINE)]


def like(said: Any, example: Any) -> bool:
    """The same keys with values of the same kind; names and words are equal, numbers and ids need not be."""
    if isinstance(example, dict):
        return (
            isinstance(said, dict) and said.keys() >= example.keys() and all(like(said[k], example[k]) for k in example)
        )
    if isinstance(example, list):
        return isinstance(said, list) and len(said) == len(example) and all(map(like, said, example))
    if isinstance(example, bool) or example is None:
        return said is example
    return isinstance(said, type(example)) or (isinstance(said, int) and isinstance(example, float))


def exactly(said: Mapping[str, Any], example: Mapping[str, Any]) -> None:
    # Epochs, builds, versions and times are of the moment.
    assert like(said, example), (said, example)
    assert said.keys() == example.keys(), (said, example)
    for key in ("op", "id", "code", "resumed"):
        assert said.get(key) == example.get(key)


def test_a_conversation(start: Start, processor: Processor) -> None:
    lines = examples("A conversation")
    assert [who for who, _ in lines] == ["client", *["server"] * 4, *["client", "server"] * 3]
    said = dict(enumerate(body for _, body in lines))
    processor.say(point(7, 1_711_999_980_000, metric="orders", country="US", count=7, revision=3))
    api = start(catalog=CATALOG, tick_ms=100, heartbeat_s=0.5).caught_up()
    with api.connect() as websocket:

        def hear(*ops: str) -> dict[str, Any]:
            while True:
                message: dict[str, Any] = json.loads(websocket.recv(timeout=20))
                # The system is told each second; the example shows what its reader asked about.
                if message["op"] in ops and not (message["op"] == "update" and "series" not in message):
                    return message

        websocket.send(json.dumps(said[0]))
        exactly(hear("welcome") | {"heartbeat_s": 5.0}, said[1])
        snapshot = hear("snapshot")
        exactly(snapshot | {"system": {"state": snapshot["system"]["state"]}}, said[2])
        assert snapshot["series"] == said[2]["series"]
        processor.say(point(9, 1_711_999_980_000, metric="orders", country="US", count=9, revision=4))
        update = hear("update")
        update.pop("system", None)
        exactly(update, said[3])
        assert update["series"] == said[3]["series"]
        websocket.send(json.dumps({"op": "unsubscribe", "id": 0, "topics": ["system"]}))
        exactly(hear("heartbeat"), said[4])
        for number in (5, 7, 9):
            websocket.send(json.dumps(said[number]))
            exactly(hear("ok", "error"), said[number + 1])
        websocket.send(json.dumps(said[9]))
        assert hear("error")["message"] == said[10]["message"]


def test_coming_back(start: Start, processor: Processor) -> None:
    (_, hello), (_, welcome), (_, update) = examples("Coming back")
    processor.say(point(9, 1_711_999_980_000, metric="orders", country="US", count=9, revision=4))
    api = start(catalog=CATALOG).caught_up()
    with api.live(*hello["topics"]) as client:
        seq = client.receive()["seq"]
    epoch, _, example_seq = hello["resume"].partition(":")
    assert (bool(epoch), example_seq.isdigit()) == (True, True)
    processor.say(point(12, 1_711_999_980_000, metric="orders", country="US", count=12, revision=6))
    with api.live(*hello["topics"], resume=f"{api.hub.epoch}:{seq}") as client:
        exactly(client.frames[0] | {"tick_ms": 100}, welcome)
        told = client.receive()
        exactly(told, update)
        assert told["series"] == update["series"]


def test_who_listens(start: Start, processor: Processor) -> None:
    (_, refresh), (_, answered) = examples("Who listens")
    api = start(catalog=CATALOG, **people()).caught_up()
    with api.connect(additional_headers=bearer("analyst")) as websocket:
        websocket.send(json.dumps({"op": "hello", "topics": []}))
        websocket.send(json.dumps(refresh | {"token": ticket(api, "analyst")}))
        said = [json.loads(websocket.recv(timeout=20)) for _ in range(3)]
        exactly(said[-1], answered)


def test_server_sent_events(start: Start, processor: Processor) -> None:
    section = PAGE.read_text().split("## Server-Sent Events")[1]
    block = section.split("```")[1]
    path, topics = re.findall(r"GET (/v1/live)\?topics=(\S+)", block)[0]
    assert path == "/v1/live"
    bodies = [json.loads(body) for body in re.findall(r"^data: (.*)$", block, re.MULTILINE)]
    processor.say(point(9, 1_711_999_980_000, metric="orders", country="US", count=9, revision=4))
    api = start(catalog=CATALOG).caught_up()
    with events(api, topics) as stream:
        stream.until("snapshot")
        last = stream.last_id
    processor.say(point(12, 1_711_999_980_000, metric="orders", country="US", count=12, revision=6))
    with events(api, topics, headers={"Last-Event-ID": str(last)}) as stream:
        for example in bodies:
            said = stream.next()
            assert said is not None
            exactly(said, example)
        assert said["series"] == bodies[1]["series"]


def test_every_op_error_and_key_of_a_frame_is_on_the_page(start: Start, processor: Processor) -> None:
    page = PAGE.read_text()
    source = (Path(__file__).resolve().parents[2] / "live_api" / "protocol.py").read_text()
    codes = set(re.findall(r'ProtocolError\(\s*"(\w+)"', source)) | {"hello_first"}
    assert codes >= {"bad_json", "unknown_op", "unknown_topic"}
    for code in codes:
        assert f"`{code}`" in page, code
    for op in set(re.findall(r'"op": "(\w+)"', source)) | {"snapshot", "update"}:
        assert f"`{op}`" in page, op
