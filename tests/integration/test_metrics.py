"""The processor's own metrics, scraped as Prometheus would, against what was really sent."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from sinks.records import Reason
from streamgauge.settings import EXIT_CONFIGURATION
from tests.ports import free_port, free_ports
from tests.stack import Stack, eventually, stack, stop

STREAMS = ("events:{0}", "events:{1}")
CATALOG = """
[platform]
name = "Metered"
streams = ["events:{0}", "events:{1}"]

[event]
id = "id"
required = ["kind"]
allowed_lateness = "1m"

[[metric]]
name = "orders"
measure = "count"
by = ["kind"]
windows = ["10s", "1d"]
"""

Scraped = Mapping[tuple[str, str], float]
"""By name and label value; no instrument has two labels, but for the bounds of a histogram."""
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


def scrape(port: int) -> Scraped:
    answer = _http.request("GET", f"http://127.0.0.1:{port}/metrics")
    assert answer.status == 200
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(answer.data.decode()):
        for sample in family.samples:
            name = sample.name.removeprefix("streamgauge_processor_")
            label = sample.labels.get("le", "") if name.endswith("_bucket") else ",".join(sample.labels.values())
            found[name, label] = sample.value
    return found


def with_catalog(directory: Path) -> Path:
    path = directory / "catalog.toml"
    path.write_text(CATALOG)
    return path


def events(number: int, prefix: str, time_ms: int) -> list[dict[str, object]]:
    return [{"id": f"{prefix}{i}", "kind": "book", "time": time_ms} for i in range(number)]


def test_the_metrics_say_what_happened(tmp_path: Path) -> None:
    port = free_port()
    own = {"STREAMGAUGE_METRICS_PORT": str(port), "STREAMGAUGE_SHARDS": "2"}
    with stack(tmp_path, with_catalog(tmp_path), environment=own) as made:
        now_ms = time.time_ns() // 1_000_000
        for stream in STREAMS:
            made.add(stream, events(3_000, stream, now_ms))
        # Waiting is what the first points have to show.
        time.sleep(1.1)
        processor = made.run_processor()
        eventually(lambda: counted(port) == 6_000, within_s=30, what=f"6,000 events; {made.logs()}")

        made.add(STREAMS[0], events(50, STREAMS[0], now_ms))
        made.add(STREAMS[0], [{"id": "x"}, {"id": "y"}, {"kind": "book", "time": "never"}])
        made.client.xadd(STREAMS[1], {"data": b"{"})
        eventually(lambda: scrape(port)["watermark_timestamp_seconds", "1"], what="a watermark")
        made.add(STREAMS[1], [event | {"kind": "late"} for event in events(7, "late", now_ms - 30_000)])
        made.add(STREAMS[1], events(20, "too late", now_ms - 3_600_000))
        eventually(lambda: scrape(port)["discarded_events_total", "too_late"] == 20, what="20 too late")
        eventually(lambda: scrape(port)["lag_entries", STREAMS[1]] == 0, what="no lag")
        eventually(lambda: scrape(port)["epoch_seconds_count", ""] >= 2, what="two epochs")
        eventually(
            lambda: all(
                scrape(port).get(("epoch_snapshot_seconds_count", part), 0) >= 2 for part in ("shard", "merge")
            ),
            what="two snapshots of each",
        )
        # Not all of it says so at one moment: that the end is reached is reported a little later than that it is.
        seen = eventually(lambda: idle(scrape(port)), what="nothing to do")

        assert seen["received_entries_total", STREAMS[0]] == 3_053
        assert seen["received_events_total", STREAMS[1]] == 3_028
        assert 0 < seen["received_batches_total", STREAMS[0]] < 100
        refused = {reason.value: seen["discarded_events_total", reason.value] for reason in Reason}
        assert {reason: events for reason, events in refused.items() if events} == {
            "malformed": 1,
            "bad_type": 1,
            "missing_field": 2,
            "duplicate": 50,
            "too_late": 20,
        }
        assert seen["late_events_total", "0"] + seen["late_events_total", "1"] == 7
        for stream in STREAMS:
            assert seen["gaps_total", stream] == seen["lost_entries_total", stream] == 0
            assert abs(seen["reported_timestamp_seconds", stream] - time.time()) < 10
        for shard in ("0", "1"):
            assert now_ms / 1_000 - 10 < seen["watermark_timestamp_seconds", shard] < time.time()
            assert 0 < seen["event_time_lag_seconds", shard] < 60
        for part in ("shard", "merge"):
            assert seen["snapshot_bytes", part] > 100
            assert 0 < seen["epoch_snapshot_seconds_sum", part] < 5
        assert 0.4 < seen["epoch_seconds_sum", ""] / seen["epoch_seconds_count", ""] < 5
        assert 0 < seen["epoch_commit_seconds_sum", ""] < seen["epoch_seconds_sum", ""] + 5
        for sink in ("live", "store"):
            assert seen["sent_points_total", sink] > 0
        assert seen["sent_dead_letters_total", ""] == 24
        assert {stage for name, stage in seen if name == "errors_total"} == {
            "read",
            "archive",
            "decode",
            "live",
            "store",
            "deadletter",
            "scores",
            "alerts",
            "notifications",
            "models",
            "person_scores",
            "live_scores",
        }
        assert not [key for key, value in seen.items() if key[0] in ("errors_total", "retries_total") and value]
        assert seen["process_resident_memory_bytes", ""] > 1e6

        assert seen["freshness_seconds_count", ""] >= 1
        assert seen["freshness_seconds_sum", ""] > 1.1, "the wait before the start"
        quick_before, sent = seen["freshness_seconds_bucket", "1.0"], 0
        # On a busy machine one point may take longer than a second; not each of them does.
        while scrape(port)["freshness_seconds_bucket", "1.0"] == quick_before:
            assert sent < 20, "no point was fresh"
            made.add(STREAMS[0], events(1, f"quick {sent} ", now_ms))
            sent += 1
            read = 3_053 + sent
            eventually(lambda read=read: scrape(port)["received_entries_total", STREAMS[0]] == read, what="it was read")
            time.sleep(1)

        # What was lost stays known over a restart.
        assert stop(processor) == 0, made.logs()
        made.add(STREAMS[0], events(300, "lost", now_ms))
        made.client.xtrim(STREAMS[0], maxlen=100, approximate=False)
        made.run_processor()
        eventually(lambda: lost(port) == (1, 200), within_s=30, what=f"a gap; {made.logs()}")
        assert "Traceback" not in made.logs()


def counted(port: int) -> float:
    return sum(scrape(port).get(("received_events_total", stream), 0) for stream in STREAMS)


def idle(seen: Scraped) -> Scraped | None:
    """What was seen, where it says that there was nothing to do."""
    waits = (seen[name, stream] for name in ("lag_seconds", "queued_batches") for stream in STREAMS)
    return None if any(waits) else seen


def lost(port: int) -> tuple[float | None, float | None]:
    seen = scrape(port)
    return seen.get(("gaps_total", STREAMS[0])), seen.get(("lost_entries_total", STREAMS[0]))


def test_each_member_of_a_cluster_says_what_it_does_itself(tmp_path: Path) -> None:
    port = free_ports(2)
    with stack(tmp_path, with_catalog(tmp_path), environment={"STREAMGAUGE_METRICS_PORT": str(port)}) as made:
        run = made.start("run", "run", "--catalog", str(made.catalog), "--processes", "2")
        now_ms = time.time_ns() // 1_000_000
        for stream in STREAMS:
            made.add(stream, events(1_000, stream, now_ms))
        ports = (port, port + 1)
        eventually(lambda: sum(map(counted, ports)) == 2_000, within_s=30, what=f"2,000 events; {made.logs()}")

        def all_there() -> bool:
            shards = [label for own in ports for name, label in scrape(own) if name == "watermark_timestamp_seconds"]
            saved = [scrape(own).get(("snapshot_bytes", "shard"), 0) for own in ports]
            return sorted(shards) == ["0", "1"] and all(saved)

        eventually(all_there, what="a shard and its snapshot in each")
        for own in ports:
            eventually(lambda own=own: scrape(own)["epoch_seconds_count", ""] > 0, what="epochs in each")
        eventually(lambda: sum(scrape(own)["freshness_seconds_count", ""] for own in ports) > 0, what="freshness")
        assert stop(run) == 0, made.logs()


def test_a_port_that_was_asked_for_and_is_taken_ends_it(tmp_path: Path) -> None:
    with stack(tmp_path, with_catalog(tmp_path)) as made, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        made.environment["STREAMGAUGE_METRICS_PORT"] = str(port)
        for processes in ("1", "2"):
            run = made.start("run", "run", "--catalog", str(made.catalog), "--processes", processes)
            assert run.wait(80) == EXIT_CONFIGURATION, made.logs()
        said = f"own metrics cannot be served on 127.0.0.1:{port}: Address already in use"
        assert made.logs().count(said) == 2, made.logs()
        assert "Traceback" not in made.logs()


def test_two_that_were_told_nothing_both_count(tmp_path: Path) -> None:
    with stack(tmp_path / "a", with_catalog(tmp_path)) as one, stack(tmp_path / "b", with_catalog(tmp_path)) as two:
        for made in (one, two):
            del made.environment["STREAMGAUGE_METRICS_PORT"]
            made.add(STREAMS[0], events(10, "e", time.time_ns() // 1_000_000))
            made.run_processor()
        for made in (one, two):
            eventually(lambda made=made: saved(made) == 10, within_s=40, what=f"10 events; {made.logs()}")
        assert "Going on without" in one.logs() + two.logs()


def saved(made: Stack) -> int:
    groups: Any = made.client.xinfo_groups(STREAMS[0])
    return sum(group["entries-read"] for group in groups)
