"""Refused under a wrong catalog, sent back under the right one: the numbers are those of one that was always right."""

from __future__ import annotations

import json
from pathlib import Path

from tests.stack import Stack, eventually, stack, stop

RIGHT = """
[platform]
name = "Second thoughts"

[event]
time = "at"
required = ["kind"]
out_of_orderness = "1s"
allowed_lateness = "6h"

[[metric]]
name = "orders"
measure = "count"
by = ["kind"]
windows = ["1d"]

[[metric]]
name = "amount"
measure = "sum"
value = "amount"
windows = ["1d"]
"""
# Days, as smaller windows are settled for good by the time that the events come back, and stay as they are.
WRONG = RIGHT.replace('["kind"]\nout', '["kind", "shop"]\nout') + '[fields]\nnote = "number"\n'
T0 = 1_767_225_600_000
"""2026-01-01T00:00:00Z, and entry ids of that day: what has no time of its own has theirs."""
HOUR_MS = 3_600_000
STREAM = "events:{0}"
DAY = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}


def iso_at(hour: float) -> str:
    minutes = int(hour * 60)
    return f"2026-01-01T{minutes // 60:02}:{minutes % 60:02}:07Z"


def add(made: Stack, hour: float, events: list[dict[str, object]], form: str) -> None:
    """Events in one form, entered at that hour of the day."""
    pipe = made.client.pipeline(transaction=False)
    texts = [json.dumps(event) for event in events]
    if form == "batch":
        pipe.xadd(STREAM, {"batch": f"[{','.join(texts)}]"}, id=f"{T0 + int(hour * HOUR_MS)}-*")
    for event, text in zip(events, texts, strict=True):
        id_ = f"{T0 + int(hour * HOUR_MS)}-*"
        if form == "data":
            pipe.xadd(STREAM, {"data": text}, id=id_)
        elif form == "flat":
            pipe.xadd(STREAM, {name: str(value) for name, value in event.items()}, id=id_)  # type: ignore[misc]
        elif form == "beside":
            pipe.xadd(STREAM, {b"trace": b"\x00\xff", b"data": text.encode()}, id=id_)
    pipe.execute()


def day(made: Stack, *, late: bool) -> None:
    """A day's events: good ones, ones that the wrong catalog refuses, ones that no catalog takes."""
    for number, form in enumerate(("data", "flat", "batch", "beside")):
        hour = 2 + number
        good = {"kind": "book", "shop": "s", "amount": 2}
        add(made, hour, [good, good | {"at": iso_at(hour - 1.5)}], form)
        wrong = {"kind": "pen", "amount": 3}
        add(made, hour + 0.2, [wrong, wrong | {"at": iso_at(hour - 0.5)}], form)
        add(made, hour + 0.4, [good | {"note": "by hand"}, good | {"amount": "dear"}], form)
    add(made, 6, [{"kind": "book", "shop": "s", "amount": 1, "at": iso_at(6)}], "data")
    if late:
        # Behind the watermark, so they must not come in one read with what moved it.
        eventually(lambda: made.client.exists("streamgauge:live") and made.total("orders", **DAY) >= 9)
    add(made, 6.1, [{"kind": "clip", "shop": "s", "amount": 4, "at": iso_at(1.25)}], "data")
    add(made, 6.2, [{"kind": "clip", "shop": "s", "amount": 5, "at": iso_at(1.75)}], "flat")


def letters(made: Stack) -> dict[str, int]:
    """How many dead letters there are by reason."""
    lines = made.command("deadletter", "list", "--count", "--json").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    return {one["reason"]: one["count"] for one in found}


def numbers(made: Stack) -> dict[tuple[str, str, str, str], float]:
    return {
        (metric, window, point["start"], str(point["dimensions"])): point["value"]
        for metric, window in [("orders", "1d"), ("amount", "1d")]
        for point in made.points(metric, window, **DAY)
    }


def test_sent_back_under_the_right_catalog_the_numbers_are_right(tmp_path: Path) -> None:
    wrong_dir, right_dir = tmp_path / "wrong", tmp_path / "right"
    for directory in (wrong_dir, right_dir):
        directory.mkdir()
        (directory / "catalog.toml").write_text(RIGHT)
    with stack(right_dir, right_dir / "catalog.toml") as made:
        made.run_processor()
        made.run_api()
        made.ready()
        day(made, late=False)
        eventually(lambda: made.total("orders", **DAY) == 23, what=f"{made.logs()}")
        expected, amount = numbers(made), made.total("amount", **DAY)
        assert letters(made) == {"bad_type": 4}

    with stack(wrong_dir, wrong_dir / "catalog.toml") as made:
        made.catalog.write_text(WRONG.replace('"6h"', '"4h"'))
        processor = made.run_processor()
        made.run_api()
        made.ready()
        day(made, late=True)
        refused = {"missing_field": 8, "bad_type": 8, "too_late": 2}
        eventually(lambda: letters(made) == refused, what=f"{refused}, not {letters(made)}")
        assert stop(processor) == 0

        made.catalog.write_text(RIGHT)
        processor = made.run_processor()
        before = numbers(made)
        done = made.command("deadletter", "replay", "--catalog", str(made.catalog))
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("sent back 14 refused events\n"), done.stderr
        assert "this catalog still refuses: bad_type 4" in done.stderr
        eventually(lambda: made.total("amount", **DAY) == amount, what=f"{amount}; {done.stderr}; {made.logs()}")
        eventually(lambda: numbers(made) == expected)
        assert numbers(made) == expected != before
        # What no catalog takes is where it was, and nothing has come back.
        assert letters(made) == {"bad_type": 4}
        assert processor.poll() is None

        purged = made.command("deadletter", "purge", "--reason", "bad_type")
        assert purged.stderr.startswith("deleted 4\n")
        assert letters(made) == {}
