"""What the hub does with lines that stall, die, ask much or have to go; without sockets and without waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from live_api import interest, protocol, ticker
from live_api.frame import Frame
from live_api.hub import MOST_ANSWERS, PING_EVERY_S, STALLED_AFTER_S
from live_api.protocol import MAX_TOPICS, Close, Hello, ProtocolError, Subscribe, Unsubscribe
from sinks.live import Update

from .conftest import point
from .lines import FakeLine, World


def counted(world: World, name: str, **labels: str) -> float:
    return world.hub.meters.registry.get_sample_value(f"streamgauge_hub_{name}", labels) or 0.0


def move(world: World, value: float = 1) -> None:
    world.say(point(value))
    world.tick()


def test_a_stalled_line_is_cut_after_ten_seconds_and_nobody_else_notices() -> None:
    world = World()
    slow, _ = world.join("metric:revenue")
    quick, _ = world.join("metric:revenue")
    slow.stall()
    move(world, 1)
    world.pass_time(STALLED_AFTER_S - 0.2)
    move(world, 2)
    world.hub.sweep()
    assert not slow.aborted
    assert counted(world, "dirty_clients") == 1
    world.pass_time(0.2)
    world.hub.sweep()
    assert slow.aborted
    assert counted(world, "evicted_clients_total", reason="stalled") == 1
    move(world, 3)
    assert [message["series"]["revenue@1m"]["points"][0][1] for message in quick.received[2:]] == [1, 2, 3]
    assert len(world.hub) == 1
    assert counted(world, "clients", line="ws") == 1
    assert counted(world, "dirty_clients") == 0
    assert counted(world, "conflated_updates_total") == 1


def test_a_line_that_drains_now_and_then_is_never_cut() -> None:
    world = World()
    line, _ = world.join("metric:revenue")
    for value in range(20):
        line.stall()
        move(world, value)
        move(world, value + 0.5)
        world.pass_time(STALLED_AFTER_S - 1)
        world.hub.sweep()
        line.drain()
    assert not line.aborted


def test_every_client_is_asked_for_a_sign_of_life_and_who_gives_none_is_cut() -> None:
    world = World()
    lively = [world.join("metric:revenue")[0] for _ in range(30)]
    dead, _ = world.join("metric:revenue")
    dead.stall()
    for _ in range(int(30 / 0.25)):
        world.pass_time(0.25)
        world.hub.sweep()
    assert dead.aborted
    assert counted(world, "evicted_clients_total", reason="silent") == 1
    assert not any(line.aborted for line in lively)
    assert all(30 / PING_EVERY_S - 2 <= line.pinged <= 30 / PING_EVERY_S for line in lively)


def test_who_came_together_is_not_asked_at_once() -> None:
    world = World()
    lines = [world.join()[0] for _ in range(200)]
    world.pass_time(PING_EVERY_S)
    world.hub.sweep()
    assert 0 < sum(line.pinged for line in lines) < 20


def test_a_line_that_answers_no_pings_is_not_asked() -> None:
    world = World()
    line = FakeLine("sse")
    line.pings = False
    world.hub.join(line, Hello((), None))
    for _ in range(20):
        world.pass_time(PING_EVERY_S)
        world.hub.sweep()
    assert (line.pinged, line.aborted) == (0, False)


def test_heartbeats_fill_silence_and_only_that() -> None:
    world = World(heartbeat_s=5)
    quiet, _ = world.join("metric:revenue")
    busy, _ = world.join("metric:orders")
    for _ in range(100):
        world.say(point(world.now_ms % 1_000, metric="orders", country="US"))
        world.tick()
    assert busy.ops.count("heartbeat") == 0
    assert quiet.ops.count("heartbeat") in (1, 2)
    assert quiet.received[-1]["seq"] > quiet.received[1]["seq"]


def test_the_system_is_told_when_it_changes_and_each_second() -> None:
    world = World()
    line, _ = world.join("system")
    before = len(line.received)
    for _ in range(30):
        world.tick(0.1)
    assert len(line.received) - before == 3
    world.feed.system.connected = True
    world.feed.system.processor_seen_ms = world.now_ms
    world.tick(0.01)
    assert line.received[-1]["system"]["state"] == "live"


def test_answers_wait_for_a_line_that_is_full_and_go_before_the_numbers() -> None:
    world = World()
    line, client = world.join("metric:revenue")
    line.stall()
    move(world, 1)
    world.hub.obey(client, Subscribe(("metric:orders",), 7))
    move(world, 2)
    line.drain()
    assert line.ops == ["welcome", "snapshot", "update", "ok", "snapshot"]
    assert line.received[-2] == {"op": "ok", "id": 7}


def test_who_asks_and_does_not_read_is_closed() -> None:
    world = World()
    line, client = world.join("metric:revenue")
    line.stall()
    move(world)
    for number in range(MOST_ANSWERS):
        world.hub.obey(client, Subscribe(("metric:revenue",), number))
    assert line.closed is None
    world.hub.obey(client, Subscribe(("metric:revenue",), 0))
    assert line.closed == (Close.TOO_MANY_MESSAGES, "asks faster than it reads")
    assert len(world.hub) == 0


def test_fewer_topics_need_no_snapshot_and_more_do() -> None:
    world = World()
    line, client = world.join("metric:revenue", "metric:orders")
    world.hub.obey(client, Unsubscribe(("metric:orders",), 1))
    world.say(point(3), point(4, metric="orders", country="US"))
    world.tick()
    assert line.ops == ["welcome", "snapshot", "ok", "update"]
    assert set(line.received[-1]["series"]) == {"revenue@1m"}
    world.hub.obey(client, Subscribe(("metric:orders",), 2))
    world.tick()
    assert line.ops[4:] == ["ok", "snapshot"]
    assert set(line.received[-1]["series"]) == {"revenue@1m", "orders@1m{country=US}"}
    # What it has already changes nothing.
    world.hub.obey(client, Subscribe(("metric:orders",), 3))
    world.tick()
    assert line.ops[6:] == ["ok"]


def test_too_many_topics_and_topics_that_are_not_there_change_nothing() -> None:
    world = World()
    line, client = world.join("metric:revenue")
    many = tuple(f"metric:orders{{country={number}}}" for number in range(MAX_TOPICS))
    with pytest.raises(ProtocolError, match="at most 128 topics"):
        world.hub.obey(client, Subscribe(many, 1))
    with pytest.raises(ProtocolError, match=r"expected a metric, one of revenue"):
        world.hub.obey(client, Subscribe(("metric:orders", "metric:revenu"), 2))
    world.say(point(1), point(1, metric="orders", country="1"))
    world.tick()
    assert set(line.received[-1]["series"]) == {"revenue@1m"}
    assert line.ops == ["welcome", "snapshot", "update"]


def test_boards_bring_what_they_show() -> None:
    world = World()
    line, _ = world.join("board:ops")
    alert = {"id": "a", "status": "firing"}
    world.say(point(1), point(2, metric="orders", country="US"), alerts={"a": alert})
    world.tick()
    update = line.received[-1]
    assert set(update["series"]) == {"orders@1m{country=US}"}
    assert update["alerts"] == {"a": alert}
    assert "system" in line.received[1]


def test_alerts_are_told_when_they_change_and_all_to_who_comes() -> None:
    world = World()
    line, _ = world.join("alerts")
    # Nobody has said that none fires.
    assert "alerts" not in line.received[-1]
    world.say(alerts={})
    world.tick()
    assert line.received[-1]["alerts"] == {}
    assert world.join("alerts")[0].received[-1]["alerts"] == {}
    world.say(alerts={"a": {"status": "firing"}, "b": {"status": "firing"}})
    world.tick()
    world.say(alerts={"a": {"status": "resolved", "resolved": world.now_ms}})
    world.tick()
    assert line.received[-1]["alerts"].keys() == {"a"}
    late, _ = world.join("alerts")
    assert late.received[-1]["alerts"].keys() == {"a", "b"}
    # A day later nobody is told of what was resolved.
    world.pass_time(25 * 3_600)
    world.tick()
    late, _ = world.join("alerts")
    assert late.received[-1]["alerts"].keys() == {"b"}


def test_an_alert_that_is_said_again_as_it_was_is_not_told_again() -> None:
    world = World()
    line, _ = world.join("alerts")
    world.say(alerts={"a": {"status": "firing"}, "b": {"status": "firing"}})
    world.tick()
    told = len(line.received)
    # As the processor does every ten seconds.
    world.say(alerts={"a": {"status": "firing"}, "b": {"status": "firing"}})
    world.tick()
    assert all("alerts" not in message for message in line.received[told:])
    world.say(alerts={"a": {"status": "firing"}, "b": {"status": "acknowledged"}})
    world.tick()
    assert line.received[-1]["alerts"] == {"b": {"status": "acknowledged"}}


def test_alerts_of_a_store_are_told_once_somebody_watches() -> None:
    world = World()
    line, _ = world.join("alerts")
    world.feed.alerts.recall({"a": {"status": "firing"}, "b": {"status": "flapping"}}, 0, world.now_ms << 11)
    world.say()
    world.tick()
    # That they fired when the last API ended does not say that they fire.
    assert all("alerts" not in message for message in line.received)
    over = {"status": "resolved", "resolved": world.now_ms}
    world.say(alerts={"b": over})
    world.tick()
    told = {"a": {"status": "firing"}, "b": over}
    assert line.received[-1]["alerts"] == told
    assert world.join("alerts")[0].received[-1]["alerts"] == told


def test_what_was_heard_of_an_alert_is_newer_than_what_a_store_has() -> None:
    world = World()
    world.say(alerts={"a": {"status": "firing", "score": 2}, "b": {"status": "firing"}})
    since = world.now_ms << 11
    world.say(alerts={"a": {"status": "acknowledged"}})
    stored = {"a": {"status": "firing"}, "b": {"status": "resolved"}, "c": {"status": "firing"}}
    world.feed.alerts.recall(stored, since, (world.now_ms << 11) + 1)
    world.say()
    world.tick()
    told = world.join("alerts")[0].received[-1]["alerts"]
    assert {name: alert["status"] for name, alert in told.items()} == {
        "a": "acknowledged",
        "b": "resolved",
        "c": "firing",
    }


def test_what_rules_watch_over_is_part_of_the_system_until_something_else_is_said() -> None:
    world = World()
    line, _ = world.join("system")
    assert line.received[-1]["system"]["watch"] is None
    for watch in ({"low": {"learning": 3, "ok": 20}}, None, {}):
        world.feed._take(Update(world.now_ms, watch=watch), world.now_ms << 11)
        world.tick(1.1)
    systems = [message["system"]["watch"] for message in line.received if "system" in message]
    assert systems == [None, {"low": {"learning": 3, "ok": 20}}, {"low": {"learning": 3, "ok": 20}}, {}]


def test_alerts_are_bounded_and_those_that_fire_stay() -> None:
    world = World()
    world.say(alerts={"first": {"status": "firing"}})
    for number in range(1_500):
        world.say(alerts={f"a{number}": {"status": "resolved", "resolved": world.now_ms}})
        if not number:
            world.say(alerts={"restless": {"status": "flapping"}, "mute": {"status": "nodata"}})
    world.tick()
    line, _ = world.join("alerts")
    told = line.received[-1]["alerts"]
    assert len(told) == 1_000
    assert {"first", "restless", "mute"} <= told.keys()


def test_reload_is_told_to_all_once() -> None:
    world = World()
    lines = [world.join()[0] for _ in range(3)]
    world.feed._reload_ms = 4_000
    world.tick()
    world.tick()
    assert [line.received[-1] for line in lines] == [{"op": "reload", "within_ms": 4_000}] * 3
    assert sum(line.ops.count("reload") for line in lines) == 3


def test_a_word_to_reload_from_before_this_process_is_not_for_its_pages() -> None:
    world = World()
    from sinks.live import Update

    world.feed._take(Update(world.now_ms - 1, reload_ms=100), 5)
    assert world.feed.take_reload_ms() is None
    world.feed._take(Update(world.now_ms, reload_ms=100), 6)
    assert world.feed.take_reload_ms() == 100


def test_goodbye_is_said_in_batches_with_times_of_their_own_and_who_does_not_read_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ticker, "_BATCH", 100)
    monkeypatch.setattr(ticker, "_BATCH_EVERY_S", 0.01)
    world = World()
    lines = [world.join("metric:revenue")[0] for _ in range(450)]
    stalled = lines[::50]
    for line in stalled:
        line.stall()
    move(world)
    stranger = FakeLine()
    world.hub.expect(stranger)
    asyncio.run(ticker.drain(world.hub, 3, accepts_per_s=100))
    assert len(world.hub) == 0
    assert all(line.aborted for line in stalled)
    told = [line for line in lines if line not in stalled] + [stranger]
    assert {line.closed for line in told} == {(Close.RESTARTING, "")}
    times = [line.received[-1]["retry_in_ms"] for line in told]
    # 450 clients at 100 a second: within 4.5 s, and not all at once.
    assert max(times) <= 4_500
    assert len(set(times)) > 350
    assert world.hub.draining


def test_ticking_ends_also_when_something_comes_in_meanwhile() -> None:
    async def run() -> None:
        for turns in range(4):
            world = World()
            ticking = asyncio.create_task(ticker.run(world.hub, world.feed, clock=lambda: 0))
            await asyncio.sleep(0.02)
            world.feed.arrived.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            ticking.cancel()
            ended, _ = await asyncio.wait([ticking], timeout=3)
            assert ended, f"{turns} turns of the loop after something came in"

    asyncio.run(run())


def test_goodbye_ends_in_time_whoever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "_BATCH", 1)
    monkeypatch.setattr(ticker, "_BATCH_EVERY_S", 0.02)
    world = World()
    lines = [world.join()[0] for _ in range(50)]
    asyncio.run(ticker.drain(world.hub, 0.1, accepts_per_s=100))
    assert len(world.hub) == 0
    assert sum(line.aborted for line in lines) > 30
    assert all(line.aborted or line.closed is not None for line in lines)


def test_the_hub_says_what_it_did() -> None:
    world = World()
    lines = [world.join("metric:revenue")[0] for _ in range(4)]
    before = counted(world, "sent_frames_total")
    world.say(point(1))
    world.pass_time(0.2)
    world.hub.tick(world.now_ms)
    size = len(_body(lines[0].received[-1]))
    assert counted(world, "sent_frames_total") - before == 4
    assert counted(world, "sent_bytes_total") >= 4 * size
    assert counted(world, "encoded_frames_total") >= 1
    assert counted(world, "age_at_send_seconds_count") == 1
    assert 0.2 <= counted(world, "age_at_send_seconds_sum") < 0.3
    assert counted(world, "joined_clients_total", first="snapshot") == 4
    person_seq = lines[0].received[-1]["seq"]
    world.join("metric:revenue", resume=(world.hub.epoch, person_seq))
    assert counted(world, "joined_clients_total", first="update") == 1


def _body(message: dict[str, Any]) -> bytes:
    import orjson

    return orjson.dumps(message)


def test_a_line_that_takes_something_is_slow_and_not_dead_but_not_for_ever() -> None:
    world = World()
    line, _ = world.join("metric:revenue")
    line.stall()
    for value in range(40):
        line.write(_frame(value))
    for second in range(59):
        world.pass_time(1)
        if second % 5 == 0:
            line.trickle()
        world.hub.sweep()
        assert not line.aborted, second
    world.pass_time(1)
    line.trickle()
    world.hub.sweep()
    assert line.aborted


def test_many_wishes_are_one_snapshot() -> None:
    world = World()
    line, client = world.join("system")
    for number in range(100):
        world.hub.obey(client, Subscribe((f"metric:orders{{country={number}}}",), None))
        world.hub.obey(client, Unsubscribe((f"metric:orders{{country={number}}}",), None))
    world.hub.obey(client, Subscribe(("metric:revenue",), None))
    before = len(line.received)
    world.tick()
    assert line.ops[before:] == ["snapshot"]
    # Nothing is left of what is no longer wanted.
    assert len(world.hub._audiences) == 1
    assert world.hub._interests._entries == 0


def test_who_was_dismissed_is_obeyed_no_more_and_counted_once() -> None:
    world = World()
    line, client = world.join("metric:revenue")
    line.stall()
    move(world)
    for number in range(MOST_ANSWERS + 50):
        world.hub.obey(client, Subscribe(("metric:revenue",), number))
    world.hub.obey(client, Subscribe(("metric:orders",), 1))
    world.hub.answer(client, b"{}")
    world.tick()
    assert counted(world, "evicted_clients_total", reason="too_many_messages") == 1
    assert counted(world, "dirty_clients") == 0
    assert (len(world.hub), len(world.hub._audiences)) == (0, 0)
    assert client not in world.hub


def test_reload_reaches_those_that_are_behind_as_well() -> None:
    world = World()
    line, _ = world.join("metric:revenue")
    line.stall()
    move(world)
    world.feed._reload_ms = 4_000
    world.tick()
    line.drain()
    assert {"op": "reload", "within_ms": 4_000} in line.received


def test_a_heartbeat_that_is_missed_is_no_update() -> None:
    world = World(heartbeat_s=1)
    line, _ = world.join("metric:revenue")
    line.stall()
    for _ in range(5):
        world.tick(1.1)
    assert counted(world, "conflated_updates_total") == 0


def test_frames_made_for_those_who_come_are_counted() -> None:
    world = World()
    for _ in range(5):
        world.join("metric:revenue")
    before = counted(world, "encoded_frames_total")
    world.tick()
    # One snapshot served all of them.
    assert counted(world, "encoded_frames_total") - before == 1
    assert counted(world, "encode_seconds_count") == 1


def test_more_than_can_be_followed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "MOST_ENTRIES", 3)
    world = World()
    world.say(*(point(metric="orders", country=f"C{number}") for number in range(2)))
    world.tick()
    line, client = world.join("metric:orders")
    with pytest.raises(ProtocolError, match="as many series as it can"):
        world.hub.obey(client, Subscribe(("metric:orders@1m",), 1))
    world.say(point(3, metric="orders", country="C0"))
    world.tick()
    assert line.ops == ["welcome", "snapshot", "update"]
    with pytest.raises(ProtocolError, match="as many series as it can"):
        world.join("metric:o*")
    assert len(world.hub._audiences) == 1


def test_a_system_clock_that_is_set_back_does_not_silence_the_system() -> None:
    world = World()
    line, _ = world.join("system")
    world.now_ms -= 3_600_000
    before = len(line.received)
    for _ in range(30):
        world.tick(0.1)
    assert len(line.received) - before >= 2


def _frame(value: int) -> Frame:
    return Frame(protocol.heartbeat(value, 0))
