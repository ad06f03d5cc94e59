from __future__ import annotations

from live_api.delivery.meters import DeliveryMeters
from live_api.meters import HubMeters
from sinks.deliveries import Outcome
from stream.meters import Meters

COMMON = ("received_events", "sent_events", "discarded_events", "errors")


def test_every_part_counts_under_the_same_names() -> None:
    for part, meters in (("processor", Meters()), ("api", HubMeters()), ("deliver", DeliveryMeters())):
        names = {family.name: family.type for family in meters.registry.collect()}
        for name in COMMON:
            assert names[f"streamgauge_{part}_{name}"] == "counter", (part, name)
        assert names[f"streamgauge_{part}_loop_seconds"] == "gauge"


def test_what_becomes_of_a_notification_is_counted_once() -> None:
    meters = DeliveryMeters()
    meters.of("ops")
    meters.received("ops", 3, skipped=2)
    for outcome in (Outcome.FAILED, Outcome.DELIVERED, Outcome.GONE, Outcome.REFUSED, Outcome.DEAD):
        meters.attempted("ops", outcome, 1.0)
    meters.unlogged(4)
    meters.unreached()
    read = meters.registry.get_sample_value
    p = "streamgauge_deliver"
    assert read(f"{p}_received_events_total", {"endpoint": "ops"}) == 3
    assert read(f"{p}_sent_events_total", {"endpoint": "ops"}) == 1
    assert read(f"{p}_discarded_events_total", {"reason": "dead"}) == 1
    assert read(f"{p}_discarded_events_total", {"reason": "skipped"}) == 2
    assert {stage: read(f"{p}_errors_total", {"stage": stage}) for stage in ("request", "valkey", "log")} == {
        "request": 3,
        "valkey": 1,
        "log": 1,
    }


def test_what_the_api_passes_on_and_leaves_out() -> None:
    meters = HubMeters()
    meters.received(7)
    meters.wrote(5, 100)
    meters.conflated(2)
    meters.discarded("foreign")
    meters.failed("entry")
    read = meters.registry.get_sample_value
    p = "streamgauge_api"
    assert read(f"{p}_received_events_total") == 7
    assert read(f"{p}_sent_events_total") == read("streamgauge_hub_sent_frames_total") == 5
    assert read(f"{p}_discarded_events_total", {"reason": "conflated"}) == 2
    assert read(f"{p}_discarded_events_total", {"reason": "foreign"}) == 1
    assert read(f"{p}_errors_total", {"stage": "entry"}) == 1
    assert meters.turned_ago_s() is None
    meters.turned()
    ago_s = meters.turned_ago_s()
    assert ago_s is not None
    assert 0 <= ago_s < 60
