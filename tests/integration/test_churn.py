"""Churn through the real processor: killed again and again, it says what the backtest says of the same events."""

from __future__ import annotations

import csv
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

from stream.durations import DAY_MS
from tests.stack import Stack, eventually, stack

CATALOG = """
[platform]
name = "Leaving"
streams = ["events:{0}", "events:{1}"]

[event]
person = "user"
id = "id"
time = "time"
allowed_lateness = "2h"

[churn]
horizon = "3d"
active = "6d"
[[churn.feature]]
name = "depth"
kind = "mean"
value = "depth"

[[anomaly]]
name = "restless"
metric = "churn_moves"
window = "1d"
detector = "above"
severity = { warning = 1 }
k = 1
n = 1

[[metric]]
name = "visits"
measure = "count"
windows = ["1d"]
"""
DAYS = 30
HOUR = 3_600_000
PARTS = 5


def events(rng: random.Random, begin_ms: int) -> list[dict[str, Any]]:
    """Some weeks of people who come, each at a pace, and leave; in an order that is wrong by up to an hour. The last is
    of somebody else, in each stream."""
    found = []
    for person in range(50):
        at, pace = begin_ms + rng.randrange(DAYS // 2 * DAY_MS), rng.choice([0.2, 0.7, 1.5]) * DAY_MS
        while at < begin_ms + DAYS * DAY_MS:
            depth = round(rng.gauss(5, 2), 2)
            found.append({"id": f"{person} {at}", "user": f"u{person}", "time": at, "depth": depth})
            if rng.random() < 0.1:
                break
            at += int(rng.expovariate(1 / pace)) + 1
    found.sort(key=lambda event: event["time"] + rng.randrange(HOUR))
    end_ms = begin_ms + DAYS * DAY_MS + 4 * HOUR
    return [*found, *({"id": f"end {at}", "user": "last", "time": end_ms, "depth": 1} for at in range(2))]


def scores(made: Stack) -> dict[str, dict[str, Any]]:
    return {one["person"]: one for one in made.get("/v1/churn", limit=1000)["persons"]}


def test_killed_again_and_again_it_says_what_the_backtest_says(tmp_path: Path) -> None:
    rng = random.Random(4)
    begin_ms = int(time.time() * 1_000) // DAY_MS * DAY_MS - (DAYS + 1) * DAY_MS
    sent = events(rng, begin_ms)
    (tmp_path / "catalog.toml").write_text(CATALOG)
    environment = {"STREAMGAUGE_SNAPSHOT_S": "0.3", "STREAMGAUGE_SHARDS": "2"}
    with stack(tmp_path, tmp_path / "catalog.toml", environment=environment) as made:
        made.run_api()
        size = len(sent) // PARTS + 1
        for place in range(0, len(sent), size):
            processor = made.run_processor()
            for number, event in enumerate(sent[place : place + size]):
                made.add(f"events:{{{(place + number) % 2}}}", [event])
            time.sleep(rng.uniform(2.0, 3.0))
            if place + size < len(sent):
                processor.send_signal(signal.SIGKILL)
                processor.wait()
        file, out = tmp_path / "events.ndjson", tmp_path / "scores.csv"
        file.write_text("".join(json.dumps(event) + "\n" for event in sent))
        arguments = ("--quiet", "--catalog", str(made.catalog), "--out", str(out), str(file))
        done = made.command("backtest", "churn", *arguments, timeout_s=180)
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader(out.read_text().splitlines()))
        last = max(row["as_of"] for row in rows)
        wanted = {row["person"]: float(row["probability"]) for row in rows if row["as_of"] == last}
        assert len(wanted) > 5
        eventually(lambda: {one["as_of"] for one in scores(made).values()} == {last}, what=made.logs())
        found = {person: one["probability"] for person, one in scores(made).items()}
        assert found.keys() == wanted.keys()
        assert all(abs(found[person] - wanted[person]) < 1e-5 for person in wanted)
        for one in scores(made).values():
            told = one["intercept"] + sum(factor["contribution"] for factor in one["factors"]) + one["rest"]
            assert abs(told - one["logit"]) < 1e-5

        # What the stage says is an ordinary metric: in the store, and what a rule can be about.
        day = f"{time.strftime('%Y-%m-%d', time.gmtime((begin_ms + (DAYS - 1) * DAY_MS) / 1_000))}T00:00:00Z"

        def of_day() -> list[dict[str, Any]]:
            return [point for point in made.points("churn_people", "1d") if point["start"] == day]

        eventually(lambda: sum(point["value"] for point in of_day()) == len(wanted), what=f"{of_day()} {made.logs()}")
        assert all(point["state"] in ("final", "corrected") for point in of_day())
        eventually(lambda: any(one["rule"] == "restless" for one in made.get("/v1/alerts")["alerts"]), what=made.logs())
        # Somebody is forgotten: the score goes, and so do the rows that wait for an answer.
        user = next(
            row["user"]
            for row in reversed(sent)
            if row["user"] != "last" and row["time"] > begin_ms + (DAYS - 1) * DAY_MS
        )
        before = scores(made)
        done = made.command("forget", user, "--catalog", str(made.catalog), timeout_s=180)
        assert done.returncode == 0, done.stderr
        eventually(lambda: len(scores(made)) == len(before) - 1, what=made.logs())

        def nothing_left() -> bool:
            return made.command("forget", "--verify", user, "--catalog", str(made.catalog)).returncode == 0

        eventually(nothing_left, within_s=40, what=made.logs())
