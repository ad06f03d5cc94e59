"""Somebody is forgotten by a running processor: found nowhere any more, refused when they come back, also later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.stack import Stack, eventually, stack, stop

CATALOG = """
[platform]
name = "Leaving"
streams = ["events:{0}", "events:{1}"]

[event]
person = "user"
time = "at"
name = "event"
required = ["page"]
out_of_orderness = "1s"
allowed_lateness = "1h"

[people]
timeline = "3650d"

[sessions]
page = "page"

[[metric]]
name = "views"
measure = "count"
windows = ["1d"]
"""
T0 = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
STREAM, OTHER = "events:{0}", "events:{1}"
DAY = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
FAST = {"STREAMGAUGE_SNAPSHOT_S": "0.2", "STREAMGAUGE_SHARDS": "3"}
ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"


def event(user: str, minute: float, page: str = "home") -> dict[str, Any]:
    return {"user": user, "at": T0 + int(minute * 60_000), "event": "view", "page": page}


def refused(made: Stack) -> dict[str, float]:
    found: dict[str, float] = {}
    for point in made.points("streamgauge_rejects", "1m"):
        reason = point["dimensions"]["reason"]
        found[reason] = found.get(reason, 0) + point["value"]
    return found


def forget(made: Stack, *arguments: str) -> Any:
    return made.command("forget", *arguments, "--catalog", str(made.catalog))


def remains(made: Stack, user: str) -> set[str]:
    """Where there is still something of somebody."""
    lines = forget(made, "--verify", user).stdout.splitlines()
    return {line.split("  ")[0] for line in lines if "  found " in line}


def test_a_person_is_forgotten_everywhere_and_stays_so(tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text(CATALOG)
    with stack(tmp_path, tmp_path / "catalog.toml", environment=FAST) as made:
        processor = made.run_processor()
        made.run_api()
        made.ready()
        made.add(STREAM, [event(user, minute) for minute in range(4) for user in (ANN, BOB)])
        made.add(STREAM, [{"user": ANN, "at": T0, "nothing": 1}, {"user": BOB, "at": T0, "nothing": 2}])
        flat = {name: str(value) for name, value in event(ANN, 5).items()}
        made.client.xadd(OTHER, flat)  # type: ignore[arg-type]
        made.client.xadd(OTHER, {"batch": json.dumps([event(ANN, 6), event(ANN, 7)])})
        made.client.xadd(OTHER, {"batch": json.dumps([event(ANN, 8), event(BOB, 8)])})
        made.add(STREAM, [event(EVE, 50)])
        made.add(OTHER, [event(EVE, 50.5)])
        eventually(lambda: made.total("views", **DAY) == 15, what=made.logs())
        eventually(lambda: made.get(f"/v1/persons/{ANN}")["http"] == 200)
        # His record until now: three events and more, and the session that has ended.
        eventually(lambda: any(line["kind"] == "session" for line in made.get(f"/v1/persons/{BOB}")["timeline"]))
        bob = made.get(f"/v1/persons/{BOB}")

        found = forget(made, "--verify", ANN)
        assert found.returncode == 1, found.stdout + found.stderr
        for place in ("events:{0}", "events:{1}", "streamgauge:deadletter", "store, person_lines", "state, people"):
            (line,) = [line for line in found.stdout.splitlines() if line.startswith(f"{place} ")]
            assert "found" in line, found.stdout
        assert ANN not in found.stdout

        done = forget(made, ANN)
        assert done.returncode == 0, done.stderr + made.logs()
        assert ANN not in done.stdout + done.stderr
        assert "dead letters: 1 deleted" in done.stderr
        assert "events:{0}: 5 deleted" in done.stderr, done.stderr
        assert "events:{1}: 2 deleted; 1 left that have events of others too" in done.stderr, done.stderr
        assert made.get(f"/v1/persons/{ANN}")["http"] == 404
        assert made.get(f"/v1/persons/{BOB}") == bob
        assert made.total("views", **DAY) == 15, "what was counted stays"

        # The batch with somebody else's events is left to whoever can write it anew.
        found = forget(made, "--verify", ANN)
        assert found.returncode == 1
        assert "1 with events of others too" in found.stdout, found.stdout
        (batch,) = [entry for entry, fields in made.client.xrange(OTHER) if b"batch" in fields]
        made.client.xdel(OTHER, batch)

        def nothing_left(user: str = ANN) -> bool:
            last = forget(made, "--verify", user)
            assert ("nothing is left" in last.stdout) == (last.returncode == 0)
            return bool(last.returncode == 0)

        eventually(nothing_left, within_s=30, what=made.logs())

        # She comes back: refused, neither counted nor kept; he is counted.
        letters = made.client.xlen("streamgauge:deadletter")
        made.add(STREAM, [event(ANN, 51), event(BOB, 51), event(ANN, 1)])
        eventually(lambda: made.total("views", **DAY) == 16)
        eventually(lambda: refused(made).get("suppressed") == 2, what=f"{refused(made)} {made.logs()}")
        assert made.client.xlen("streamgauge:deadletter") == letters
        assert made.get(f"/v1/persons/{ANN}")["http"] == 404

        # Killed before the next snapshot, as like as not: the word is read again.
        assert forget(made, EVE, "--no-vacuum").returncode == 0
        processor.kill()
        processor.wait()
        processor = made.run_processor()
        made.add(STREAM, [event(ANN, 52), event(BOB, 52)])
        eventually(lambda: made.total("views", **DAY) == 17, what=made.logs())
        eventually(lambda: refused(made).get("suppressed") == 3, what=made.logs())
        assert made.get(f"/v1/persons/{ANN}")["http"] == 404
        eventually(lambda: "state, people" not in remains(made, EVE), within_s=30, what=made.logs())
        # Somebody else was never touched.
        assert forget(made, "--verify", BOB).returncode == 1
        done = forget(made, ANN)
        assert "events:{0}: 3 deleted" in done.stderr, done.stderr
        eventually(nothing_left, within_s=30, what=made.logs())
        assert stop(processor) == 0

        # Without a processor the word waits for the next.
        done = forget(made, BOB, "--wait", "0.2")
        assert done.returncode == 1
        assert "no processor has answered" in done.stderr
        made.run_processor()
        eventually(lambda: made.get(f"/v1/persons/{BOB}")["http"] == 404, what=made.logs())
