"""Real edits through the whole pipe: live numbers, the store and `compute` agree with what the file holds."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.stack import ROOT, Stack, eventually, live, stack
from tests.wikipedia import Expected, cases

CATALOG = ROOT / "catalogs" / "wikipedia.toml"
_METRICS = {"edits": "edits", "bytes_added": "added", "bytes_deleted": "deleted", "robot_edits": "robots"}


def test_day_windows_add_up_live_stored_and_computed(tmp_path: Path) -> None:
    for number, (path, expected) in enumerate(cases(tmp_path)):
        directory = tmp_path / str(number)
        directory.mkdir()
        with stack(directory, CATALOG) as made:
            try:
                _check(made, path, expected)
            except AssertionError:
                print(made.logs())
                raise


def _check(made: Stack, path: Path, expected: Expected) -> None:
    made.run_processor()
    made.run_api()
    made.ready()
    with live(made, "metric:streamgauge_events@total") as client:
        replayed = made.command("replay", str(path), "--catalog", str(CATALOG), "--max")
        assert replayed.returncode == 0, replayed.stderr
        assert f"sent {expected.edits:,} events" in replayed.stderr
        client.until(lambda c: c.total("streamgauge_events@total") == expected.edits)

    def stored() -> bool:
        return made.total("edits") == expected.edits and _by_channel(made) == expected.edits

    eventually(stored, what="the store")
    for metric, field in _METRICS.items():
        assert made.total(metric) == getattr(expected, field), metric
    channels = {point["dimensions"]["channel"] for point in made.points("edits_by_channel", "1d")}
    assert len(channels) == expected.channels
    assert made.get("/v1/metrics")["rejected_total"] == 0

    computed = made.command("compute", str(path), "--catalog", str(CATALOG), "--out", "points.ndjson")
    assert computed.returncode == 0, computed.stderr
    points = [json.loads(line) for line in (made.directory / "points.ndjson").read_bytes().splitlines()]
    assert {point["state"] for point in points} == {"final"}
    days: dict[str, float] = defaultdict(float)
    for point in points:
        if point["window"] == "1d":
            days[point["metric"]] += point["value"]
    for metric, field in _METRICS.items():
        assert days[metric] == getattr(expected, field), metric
    assert days["edits_by_channel"] == expected.edits

    # Not only the sums: every hour of every metric is the same number, whichever way it was worked out.
    for metric in ("edits", "edits_by_channel", "bytes_added", "edit_size", "largest_edit"):
        alive = {_key(point): point["value"] for point in made.points(metric, "1h")}
        batch = {_key(p): p["value"] for p in points if p["metric"] == metric and p["window"] == "1h"}
        assert alive == batch


def _by_channel(made: Stack) -> float:
    return made.total("edits_by_channel")


def _key(point: dict[str, Any]) -> tuple[Any, ...]:
    return (point["start"], *sorted(point["dimensions"].items()))
