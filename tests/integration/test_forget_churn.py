"""Whoever is forgotten has no score any more, anywhere, and gets none on the days that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.stack import Stack, eventually, stack, stop

CATALOG = """
[platform]
name = "Leaving"
streams = ["events:{0}"]

[event]
person = "user"
time = "at"
out_of_orderness = "1s"
allowed_lateness = "1h"

[churn]
horizon = "2d"
active = "4d"

[[churn.feature]]
name = "depth"
kind = "mean"
value = "depth"
"""
STREAM, SCORES = "events:{0}", "streamgauge:scores:leaving"
T0 = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
HOUR_MS = 3_600_000
FAST = {"STREAMGAUGE_SNAPSHOT_S": "0.2", "STREAMGAUGE_SHARDS": "3"}
ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"


def visits(first_day: int, last_day: int, *users: str) -> list[dict[str, Any]]:
    """Each of them comes twice a day."""
    return [
        {"user": user, "at": T0 + (24 * day + hour) * HOUR_MS + number, "depth": hour}
        for day in range(first_day, last_day)
        for hour in (3, 15)
        for number, user in enumerate(users)
    ]


def as_of(made: Stack) -> str | None:
    answer: str | None = made.get("/v1/churn")["as_of"]
    return answer


def remains(made: Stack, user: str) -> set[str]:
    """Where there is still something of somebody."""
    lines = made.command("forget", "--verify", user, "--catalog", str(made.catalog)).stdout.splitlines()
    return {line.split("  ")[0] for line in lines if "  found " in line}


def test_whoever_is_forgotten_has_no_score_any_more(tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text(CATALOG)
    with stack(tmp_path, tmp_path / "catalog.toml", environment=FAST) as made:
        processor = made.run_processor()
        made.run_api()
        made.ready()
        made.add(STREAM, visits(0, 10, ANN, BOB, EVE))
        eventually(lambda: as_of(made) == "2026-01-10T00:00:00Z", within_s=60, what=made.logs())
        eventually(lambda: made.client.hlen(SCORES) == 3, what=made.logs())
        ann = made.get(f"/v1/churn/{ANN}")
        assert (ann["http"], ann["as_of"]) == (200, "2026-01-10T00:00:00Z")
        found = remains(made, ANN)
        assert {"store, churn_scores", SCORES, "state, people"} <= found, found

        done = made.command("forget", ANN, "--catalog", str(made.catalog))
        assert done.returncode == 0, done.stderr + made.logs()
        assert made.get(f"/v1/churn/{ANN}")["http"] == made.get(f"/v1/churn/{ann['person']}")["http"] == 404
        assert ann["person"] not in [one["person"] for one in made.get("/v1/churn")["persons"]]
        assert ann["person"].encode() not in made.client.hkeys(SCORES)  # type: ignore[operator]
        assert {"store, churn_scores", SCORES} & remains(made, ANN) == set()
        # The rows that wait for what becomes of her are in files that go with the snapshots that name them.
        eventually(lambda: remains(made, ANN) == set(), within_s=60, what=made.logs())

        # Days go on without her, also where the last word was not in a snapshot yet.
        assert made.command("forget", EVE, "--catalog", str(made.catalog), "--no-vacuum").returncode == 0
        processor.kill()
        processor.wait()
        processor = made.run_processor()
        made.add(STREAM, visits(10, 14, ANN, BOB, EVE))
        eventually(lambda: as_of(made) == "2026-01-14T00:00:00Z", within_s=60, what=made.logs())
        assert [one["as_of"] for one in made.get("/v1/churn")["persons"]] == ["2026-01-14T00:00:00Z"]
        eventually(lambda: made.client.hlen(SCORES) == 1, what=made.logs())
        # Who comes again is in the stream; and the bytes of deleted rows stay without `--vacuum`.
        allowed = {STREAM, "store, points.db", "store, points.db-wal"}
        for user in (ANN, EVE):
            assert made.get(f"/v1/churn/{user}")["http"] == 404
            eventually(lambda user=user: remains(made, user) <= allowed, within_s=60, what=made.logs())  # type: ignore[misc]
        assert made.get("/v1/models/churn")["samples"] > 0
        assert stop(processor) == 0

        # Nobody follows people any more where the catalog has no [churn]: their scores go with it.
        assert list(tmp_path.rglob("churn.*"))
        made.catalog.write_text(CATALOG.partition("[churn]")[0] + '[[metric]]\nname = "visits"\nmeasure = "count"\n')
        processor = made.run_processor()
        eventually(lambda: made.client.hlen(SCORES) == 0, within_s=60, what=made.logs())
        eventually(lambda: made.get("/v1/churn")["persons"] == [], what=made.logs())
        eventually(lambda: not list(tmp_path.rglob("churn.*")), within_s=60, what=made.logs())
        assert stop(processor) == 0
