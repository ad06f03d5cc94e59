"""Entries that are gone before they are read, and what the server's own tools say of how far the processor is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamgauge.processor import EXIT_CONFIGURATION
from tests.stack import Stack, eventually, stack, stop

CATALOG = """
[platform]
name = "Gaps"
streams = ["events:{0}"]

[[metric]]
name = "orders"
measure = "count"
windows = ["1d"]
"""
STREAM, GROUP = "events:{0}", "streamgauge:gaps"
EVENT = {"kind": "book"}


def _group(made: Stack) -> dict[str, Any]:
    groups: Any = made.client.xinfo_groups(STREAM)
    found: dict[str, Any] = next((group for group in groups if group["name"].decode() == GROUP), {})
    return found


def _status(made: Stack) -> dict[str, Any]:
    status: dict[str, Any] = made.get("/readyz")["system"]["streams"].get(STREAM, {})
    return status


def test_what_is_lost_is_said_counted_and_settled_as_it_is_set(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    with stack(tmp_path, catalog) as made:
        made.run_api()
        made.add(STREAM, [EVENT] * 100)
        processor = made.run_processor()
        eventually(lambda: made.total("orders") == 100, within_s=30, what=f"100 orders; {made.logs()}")
        eventually(lambda: _group(made).get("lag") == 0, what="a lag of 0")

        # What is added while it is stopped is the lag.
        made.add(STREAM, [EVENT] * 10)
        eventually(lambda: made.total("orders") == 110, what="110 orders")
        assert stop(processor) == 0
        assert (_group(made)["entries-read"], _group(made)["lag"]) == (110, 0), "the last snapshot is shown too"
        made.add(STREAM, [EVENT] * 500)
        assert _group(made)["lag"] == 500
        made.client.xtrim(STREAM, maxlen=380, approximate=False)

        made.environment["STREAMGAUGE_ON_GAP"] = "error"
        assert made.run_processor().wait(60) == EXIT_CONFIGURATION, made.logs()
        said = made.logs()
        assert f"{STREAM} lost 120 entries after " in said
        assert "STREAMGAUGE_ON_GAP=earliest" in said

        made.environment["STREAMGAUGE_ON_GAP"] = "earliest"
        processor = made.run_processor()
        eventually(lambda: made.total("orders") == 490, within_s=30, what=f"490 orders; {made.logs()}")
        status = eventually(lambda: _status(made).get("gaps") and _status(made), what=f"a gap; {made.logs()}")
        assert {name: status[name] for name in ("gaps", "lost", "lost_exact")} == {
            "gaps": 1,
            "lost": 120,
            "lost_exact": True,
        }
        eventually(lambda: _status(made)["lag"] == 0 and _group(made)["lag"] == 0, what="a lag of 0")

        # Kept in the snapshot, also over a crash.
        processor.kill()
        processor.wait()
        processor = made.run_processor()
        made.add(STREAM, [EVENT] * 5)
        eventually(lambda: made.total("orders") == 495, within_s=30, what=f"495 orders; {made.logs()}")
        eventually(lambda: _status(made).get("caught_up") and _status(made)["seen_ms"] > status["seen_ms"])
        assert (_status(made)["gaps"], _status(made)["lost"]) == (1, 120)
        assert stop(processor) == 0
        # A line of the log says a part of its sentence again, as a field.
        told = [line for line in made.logs().splitlines() if "lost 120 entries" in line]
        assert len(told) == 2, f"once each time it was found; {told}"


def test_what_it_trimmed_itself_is_no_gap_after_a_crash(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    with stack(tmp_path, catalog, environment={"STREAMGAUGE_ON_GAP": "error"}) as made:
        made.run_api()
        run = ("run", "run", "--catalog", str(catalog), "--trim")
        processor = made.start(*run)
        made.add(STREAM, [EVENT] * 2_000)

        def trimmed() -> bool:
            made.add(STREAM, [EVENT] * 20)
            return int(made.client.xlen(STREAM)) < 2_000

        eventually(trimmed, within_s=30, what=f"trimming; {made.logs()}")
        processor.kill()
        processor.wait()
        added = int(made.client.xinfo_stream(STREAM)["entries-added"])
        processor = made.start(*run)
        eventually(lambda: made.total("orders") == added, within_s=30, what=f"{added} orders; {made.logs()}")
        assert processor.poll() is None
        eventually(lambda: _status(made).get("lag") == 0, what=f"a lag of 0; {made.logs()}")
        assert (_status(made)["gaps"], _status(made)["lost"]) == (0, 0)
        assert "lost" not in made.logs()
