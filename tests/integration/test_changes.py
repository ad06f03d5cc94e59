"""A processor that starts again with another catalog, or cannot go on."""

from __future__ import annotations

from pathlib import Path

from sinks.live import LIVE_STREAM
from streamgauge.processor import EXIT_CONFIGURATION
from tests.stack import eventually, stack, stop

CATALOG = """
[platform]
name = "Changes"
streams = ["one", "two"]

[[metric]]
name = "orders"
measure = "count"
windows = ["1d"]
"""
EVENT = {"kind": "book"}


def test_a_stream_that_leaves_the_catalog_and_comes_back_is_read_on_from_where_it_was(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    with stack(tmp_path, catalog) as made:
        # What is left of a first start that was killed.
        left = tmp_path / "state" / "changes" / "recovery.new"
        left.mkdir(parents=True)
        (left / "part-0.sqlite3").write_text("half")

        def counted(streams: str, events: dict[str, int], total: int) -> None:
            catalog.write_text(CATALOG.replace('["one", "two"]', streams))
            processor = made.run_processor()
            for stream, count in events.items():
                made.add(stream, [EVENT] * count)
            eventually(lambda: made.total("orders") == total, within_s=30, what=f"{total} orders; {made.logs()}")
            assert stop(processor) == 0

        catalog.write_text(CATALOG)
        made.run_api()
        counted('["one", "two"]', {"one": 5, "two": 7}, 12)
        counted('["one"]', {"one": 10, "two": 20}, 22)
        counted('["one", "two"]', {"one": 100}, 142)


def test_what_only_an_operator_can_put_right_ends_the_processor_and_tells_the_supervisor(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    with stack(tmp_path, catalog) as made:
        made.client.set(LIVE_STREAM, "no stream")
        processor = made.run_processor()
        made.add("one", [EVENT])
        assert processor.wait(30) == EXIT_CONFIGURATION, made.logs()
        assert f"live stream {LIVE_STREAM}: WRONGTYPE" in made.logs()
