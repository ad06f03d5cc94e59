"""People through the real processor: killed again and again, it says what all events at once say."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack, eventually, stack

CATALOG = """
[platform]
name = "Shop"
streams = ["events:{0}", "events:{1}"]

[event]
person = "user"
id = "id"
name = "event"
allowed_lateness = "6h"

[sessions]
page = "page"

[actives]

[[retention]]
name = "back"
period = "day"
periods = 3

[[funnel]]
name = "checkout"
steps = [{ name = "Home", where = "page = 'home'" }, { name = "Item", where = "page = 'item'" },
         { name = "Paid", where = "event = 'paid'" }]

[[paths]]
name = "pages"
of = "page"
windows = ["1h"]
"""
WATCHED = {
    "sessions": "1h",
    "sessions_ended": "1h",
    "bounces": "1h",
    "session_duration": "1h",
    "entry_pages": "1h",
    "pages_transitions": "1h",
    "checkout_people": "total",
}
HOUR = 3_600_000


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Stack]:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    with stack(tmp_path, catalog, environment={"STREAMGAUGE_SNAPSHOT_S": "1"}) as it:
        yield it
        print(it.logs())


def events(rng: random.Random, begin_ms: int) -> list[dict[str, Any]]:
    """A few hours of some people, in an order that is wrong by up to half an hour; the last is of somebody else."""
    found = [
        {
            "id": str(number),
            "user": f"u{rng.randrange(40)}",
            "time": begin_ms + rng.randrange(3 * HOUR),
            "event": rng.choice(["view", "view", "view", "paid"]),
            "page": rng.choice(["home", "list", "item", None]),
        }
        for number in range(3_000)
    ]
    found.sort(key=lambda event: event["time"] + rng.randrange(HOUR // 2))
    return [*found, {"id": "end", "user": "last", "time": begin_ms + 5 * HOUR, "event": "view", "page": "far"}]


def settled(points: list[dict[str, Any]]) -> dict[tuple[Any, ...], Any]:
    """Values by series and window, without what has been taken back, and without the last visitor's."""
    return {
        (point["metric"], point["start"], *sorted(point["dimensions"].items())): point["value"]
        for point in points
        if point["count"] and "far" not in point["dimensions"].values()
    }


def test_killed_again_and_again_it_says_what_all_events_at_once_say(made: Stack, tmp_path: Path) -> None:
    rng = random.Random(5)
    begin_ms = int(time.time() * 1000) // HOUR * HOUR - 6 * HOUR
    sent = events(rng, begin_ms)
    made.run_api()
    for place in range(0, len(sent), 600):
        processor = made.run_processor()
        for number, event in enumerate(sent[place : place + 600]):
            made.add(f"events:{{{number % 2}}}", [event])
        time.sleep(rng.uniform(2.0, 4.0))
        if place + 600 < len(sent):
            processor.send_signal(signal.SIGKILL)
            processor.wait()
    file = tmp_path / "events.ndjson"
    file.write_text("".join(json.dumps(event) + "\n" for event in sent))
    done = made.command("compute", "--quiet", "--catalog", str(made.catalog), str(file))
    assert done.returncode == 0, done.stderr
    computed = [json.loads(line) for line in done.stdout.splitlines()]
    # The last visitor's session goes on, and begins in an hour that nobody else is in.
    before = {p["start"] for p in computed if p["metric"] == "sessions"} - {
        max(p["start"] for p in computed if p["metric"] == "sessions")
    }
    for metric, window in WATCHED.items():
        wanted = settled([p for p in computed if p["metric"] == metric and p["window"] == window])
        wanted = {key: value for key, value in wanted.items() if window == "total" or key[1] <= max(before)}

        def found(metric: str = metric, window: str = window, wanted: Any = wanted) -> bool:
            points = settled(made.points(metric, window))
            return {key: value for key, value in points.items() if key in wanted or key[1] in before} == wanted

        eventually(found, what=metric)
