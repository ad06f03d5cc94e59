from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.alert_records import AlertStatus, Change, Command, Notification, Order, Resolution, Severity
from stream.alerts import ANNOUNCE_EVERY_MS, Alerts, ScoredBatch
from stream.snapshots import StateError
from tests.stream.alerting import LIFE, MINUTE, START, World, end, life, row

OPENED, RESOLVED = Change.OPENED, Change.RESOLVED
HARBOUR, TOWN = (("place", "harbour"),), (("place", "town"),)


def test_after_a_restart_each_source_says_anew_up_to_when_nothing_waits_for_it() -> None:
    # The rule over "total" looked at hours before, and looks at minutes now.
    rules = {"total": life(rule="total"), "slow": life(inhibited_by=("total",))}
    before = Alerts(rules, ("cube", "total"), "test")
    before.add(ScoredBatch("total", end(0), end(60)))
    after = Alerts(rules, ("cube", "total"), "test")
    after.restore(before.to_bytes())
    after.add(ScoredBatch("cube", end(5), end(6) - 1, [(end(5), row(9, 5))]))
    assert after.advance(end(5)).alerts == []
    after.add(ScoredBatch("total", end(5), end(6) - 1, [(end(5), row(9, 5, rule="total"))]))
    outcome = after.advance(end(5))
    assert {one.rule: one.muted_by for one in outcome.alerts} == {"total": None, "slow": "total"}
    assert [one.rule for one in outcome.notifications] == ["total"]


def test_windows_wait_until_every_source_has_come_as_far() -> None:
    it = World({"slow": LIFE, "few": life(rule="few")}, sources=("one", "other"))
    it.show(row(4.0, 0), source="one")
    assert it.seen == {}
    it.show(row(4.0, 0, rule="few"), source="other")
    assert [alert.rule for alert in it.seen.values()] == ["slow", "few"]


def test_a_total_mutes_its_parts() -> None:
    rules = {"total": life(rule="total"), "part": life(rule="part", inhibited_by=("total",))}
    it = World(rules, sources=("total", "parts"))
    it.show(row(4.0, 0, HARBOUR, "part"), row(4.0, 0, TOWN, "part"), source="parts")
    it.show(row(4.0, 0, rule="total"), source="total")
    assert [alert.rule for _, alert in it.heard[0].alerts] == ["total"]
    assert len(it.heard) == 1
    parts = [alert for alert in it.seen.values() if alert.rule == "part"]
    assert {alert.muted_by for alert in parts} == {"total"}
    # The total is over; one part is not, and now people are told of it.
    for minute in range(1, 4):
        it.show(row(4.0, minute, HARBOUR, "part"), row(0.0, minute, TOWN, "part"), source="parts")
        it.show(row(0.0, minute, rule="total"), source="total")
    told = [(change, alert.rule, alert.dimensions) for one in it.heard for change, alert in one.alerts]
    assert told == [
        (OPENED, "total", ()),
        (RESOLVED, "total", ()),
        (OPENED, "part", HARBOUR),
    ]


def test_a_part_that_dies_away_when_its_total_is_over_is_no_news() -> None:
    rules = {"total": life(rule="total"), "part": life(rule="part", inhibited_by=("total",))}
    it = World(rules)
    for minute, (total, part) in enumerate([(4, 4), (0, 4), (0, 0), (0, 0), (0, 0), (0, 0)]):
        it.show(row(total, minute, rule="total"), row(part, minute, HARBOUR, "part"))
    assert [(change, alert.rule) for one in it.heard for change, alert in one.alerts] == [
        (OPENED, "total"),
        (RESOLVED, "total"),
    ]


def test_a_total_mutes_only_the_parts_it_is_the_total_of() -> None:
    rules = {"city": life(rule="city"), "street": life(rule="street", inhibited_by=("city",))}
    it = World(rules)
    paris, rome = ("city", "Paris"), ("city", "Rome")
    it.show(
        row(4.0, 0, (paris,), "city"),
        row(4.0, 0, (paris, ("street", "x")), "street"),
        row(4.0, 0, (rome, ("street", "y")), "street"),
    )
    assert sorted((alert.rule, alert.dimensions[0]) for one in it.heard for _, alert in one.alerts) == [
        ("city", paris),
        ("street", rome),
    ]


def test_alerts_of_a_rule_that_open_together_are_told_together() -> None:
    it = World()
    it.show(row(4.0, 0, HARBOUR), row(7.0, 0, TOWN))
    (heard,) = it.heard
    assert (heard.group, [alert.dimensions for _, alert in heard.alerts]) == ("slow", [HARBOUR, TOWN])
    it = World({"slow": life(group_by=("place",))})
    it.show(row(4.0, 0, HARBOUR), row(7.0, 0, TOWN))
    assert [one.group for one in it.heard] == ["slow{place=harbour}", "slow{place=town}"]


def test_a_crowd_is_told_in_several_notifications() -> None:
    it = World()
    it.show(*(row(4.0, 0, (("place", str(number)),)) for number in range(250)))
    assert [len(one.alerts) for one in it.heard] == [100, 100, 50]
    assert len({one.id for one in it.heard}) == 3


def test_while_silenced_nobody_is_told_and_afterwards_they_are() -> None:
    it = World()
    it.say(Order.SILENCE, minute=0, rule="slow", dimensions=HARBOUR, until_ms=end(10), reason="moving house")
    it.scores([4] * 5, first=1, dimensions=HARBOUR)
    assert (it.heard, it.one.silenced_until_ms) == ([], end(10))
    it.show(row(4.0, 6, HARBOUR), row(4.0, 6, TOWN))
    assert [alert.dimensions for one in it.heard for _, alert in one.alerts] == [TOWN]
    it.scores([4] * 4, first=7, dimensions=HARBOUR)
    assert [(change, alert.dimensions) for one in it.heard for change, alert in one.alerts] == [
        (OPENED, TOWN),
        (OPENED, HARBOUR),
    ]


def test_who_heard_that_it_began_hears_that_it_ended_though_it_is_silenced() -> None:
    it = World()
    it.scores([4])
    it.say(Order.SILENCE, it.one.id, minute=1, until_ms=end(60), reason="known")
    it.scores([7, 0, 0, 0], first=2)
    assert it.changes == [OPENED, RESOLVED]


def test_a_silence_can_be_ended_early_and_both_are_kept() -> None:
    it = World()
    it.say(Order.SILENCE, minute=0, silence="s1", rule="slow", until_ms=end(60), reason="known")
    it.scores([4], first=1)
    assert it.heard == []
    it.say(Order.UNSILENCE, minute=2, silence="s1")
    assert it.changes == [OPENED]
    kept = [silence for outcome in it.outcomes for silence in outcome.silences]
    assert [(one.id, one.by, one.reason, one.until_ms) for one in kept] == [
        ("s1", "ada", "known", end(60)),
        ("s1", "ada", "known", end(2)),
    ]


@pytest.mark.parametrize("order", [Order.ACK, Order.RESOLVE, Order.FALSE_ALARM, Order.SILENCE, Order.UNSILENCE])
def test_what_is_said_of_an_alert_that_is_not_open_changes_nothing(order: Order) -> None:
    it = World()
    it.scores([4, 0, 0, 0])
    changes = list(it.changes)
    it.say(order, it.one.id, minute=4, until_ms=end(60))
    it.say(order, "nobody", minute=5, until_ms=end(60))
    it.scores([4], first=6)
    assert it.changes == [*changes, OPENED]


def test_what_is_ended_by_hand_is_told_before_the_next_window_opens_another() -> None:
    it = World()
    it.show(row(4.0, 0))
    first = it.one.id
    it.alerts.command(Command(Order.RESOLVE, "ada", end(0), "test", first))
    it.show(row(4.0, 1))
    assert it.changes == [OPENED, RESOLVED, OPENED]
    assert it.seen[first].resolution is Resolution.BY_HAND


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("order", [Order.ACK, Order.RESOLVE, Order.FALSE_ALARM])
def test_after_a_crash_what_was_said_is_read_before_the_alert_has_opened_again(order: Order, together: bool) -> None:
    it = World()
    it.show(row(0.0, 0))
    snapshot = it.alerts.to_bytes()
    it.show(row(4.0, 1))
    it.say(order, it.one.id, minute=1, reason="known")
    told, seen = {one.id for one in it.heard}, it.one
    it.alerts = Alerts(it.rules, it.sources, "test")
    it.alerts.restore(snapshot)
    it.alerts.command(Command(order, "ada", end(1), "test", seen.id, "known"))
    if not together:
        it.advance(end(1))
        it.restarted()
    it.show(row(4.0, 1))
    assert it.one == seen
    assert {one.id for one in it.heard} == told


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("group_by", [(), ("place",)])
def test_what_is_told_at_once_is_told_in_the_same_order_after_a_restart(
    group_by: tuple[str, ...], restarted: bool
) -> None:
    it = World({"slow": life(group_by=group_by)})
    # Seen in one order, and opened in the other.
    it.show(row(0.0, 0, HARBOUR), row(0.0, 0, TOWN))
    it.show(row(0.0, 1, HARBOUR), row(4.0, 1, TOWN))
    it.show(row(4.0, 2, HARBOUR), row(4.0, 2, TOWN))
    if restarted:
        it.restarted()
    it.heard.clear()
    for minute in range(3, 6):
        it.show(row(0.0, minute, HARBOUR), row(0.0, minute, TOWN))
    told = [(change, alert.dimensions) for one in it.heard for change, alert in one.alerts]
    assert told == [(RESOLVED, HARBOUR), (RESOLVED, TOWN)]


def test_what_is_said_of_an_alert_that_never_opens_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    it = World()
    it.show(row(0.0, 0))
    it.say(Order.ACK, "nobody", minute=0)
    assert "ack of alert nobody" not in caplog.text
    it.advance(end(11))
    assert "ack of alert nobody by ada: it is not open" in caplog.text
    with caplog.at_level("INFO"):
        caplog.clear()
        it.advance(end(30))
    assert caplog.text == ""


def test_a_silence_names_its_series_also_when_the_alert_is_over_before_it_is_read() -> None:
    it = World()
    it.show(row(4.0, 0, HARBOUR))
    for minute in range(1, 4):
        it.show(row(0.0, minute, HARBOUR))
    it.say(Order.SILENCE, it.one.id, minute=4, rule="slow", dimensions=HARBOUR, until_ms=end(60), reason="known")
    it.show(row(4.0, 5, HARBOUR), row(4.0, 5, TOWN))
    assert [alert.dimensions for _, alert in it.heard[-1].alerts] == [TOWN]


def test_the_reason_of_a_silence_is_noted() -> None:
    it = World()
    it.show(row(4.0, 0))
    it.say(Order.SILENCE, it.one.id, minute=0, until_ms=end(60), reason="a party")
    assert it.one.note == "a party"


def test_of_a_past_that_is_being_caught_up_with_nobody_is_told_unless_it_lasts() -> None:
    it = World(now_ms=end(600))
    it.scores([0, 4, 0, 0, 0, *[4] * 535])
    assert it.heard == []
    it.scores([4] * 10, first=540)
    assert it.changes == [OPENED]
    assert it.heard[0].at_ms == end(600) - 3_600_000


def test_the_rule_of_an_open_alert_is_removed() -> None:
    it = World()
    it.scores([4])
    it.restarted({})
    it.advance(end(1))
    assert (it.one.status, it.one.resolution) == (AlertStatus.RESOLVED, Resolution.REMOVED)
    assert it.changes == [OPENED, RESOLVED]
    it.restarted({"slow": LIFE})
    it.scores([4], first=2)
    assert it.changes == [OPENED, RESOLVED, OPENED]


@pytest.mark.parametrize("change", [{"identity": "2"}, {"dimensions": TOWN}])
def test_a_rule_that_is_about_something_else_now(change: dict[str, object]) -> None:
    it = World()
    it.scores([4], dimensions=HARBOUR)
    it.restarted({"slow": life(**change)})
    it.advance(end(1))
    assert it.one.resolution is Resolution.REMOVED


def test_limits_may_change_while_it_fires() -> None:
    it = World()
    it.scores([4])
    it.restarted({"slow": life(limits=((Severity.ERROR, 10.0),), quiet_below=5.0)})
    it.scores([4, 4, 4], first=1)
    assert it.changes == [OPENED, RESOLVED]
    assert it.one.resolution is Resolution.RECOVERED


def test_a_series_that_is_watched_no_more() -> None:
    it = World()
    it.scores([4], dimensions=HARBOUR)
    it.alerts.add(ScoredBatch("cube", end(5), end(5), [], [(end(4), "slow", HARBOUR)]))
    it.advance(end(5))
    assert it.one.resolution is Resolution.STALE


def test_a_series_that_is_back_in_the_batch_that_says_it_was_gone() -> None:
    it = World()
    it.show(row(4.0, 0))
    gone = [(end(5), "slow", ())]
    it.alerts.add(ScoredBatch("cube", end(9), end(9), [(end(8), row(4.0, 8)), (end(9), row(4.0, 9))], gone))
    it.advance(end(9))
    assert it.changes == [OPENED, RESOLVED, OPENED]
    first, second = it.seen.values()
    assert (first.resolution, first.resolved_ms) == (Resolution.STALE, end(5))
    assert (second.status, second.opened_ms) == (AlertStatus.FIRING, end(8))


def test_people_hear_of_an_end_in_the_group_in_which_they_heard_of_the_beginning() -> None:
    it = World({"slow": life(group_by=("place",))})
    it.show(row(4.0, 0, HARBOUR))
    it.restarted({})
    it.advance(end(1))
    assert it.changes == [OPENED, RESOLVED]
    assert len({one.group for one in it.heard}) == 1


def test_windows_that_wait_are_not_judged_by_a_rule_that_is_about_something_else() -> None:
    it = World({"slow": LIFE}, sources=("cube", "other"))
    it.show(row(0.0, 0))
    it.show(to=0, source="other")
    it.show(row(4.0, 1))
    it.restarted({"slow": life(identity="2")})
    it.show(to=1, source="other")
    assert it.seen == {}


def test_every_ten_seconds_it_says_what_is_open_and_that_somebody_watches() -> None:
    it = World()
    first = it.alerts.advance(START)
    assert (first.open, first.watch) == ([], {"slow": {}})
    assert not it.alerts.advance(START + 1)
    it.scores([4])
    later = it.alerts.advance(end(0) + ANNOUNCE_EVERY_MS)
    assert later.open is not None
    assert [alert.id for alert in later.open] == [it.one.id]
    assert later.watch == {"slow": {"firing": 1}}


def test_a_snapshot_of_another_version_is_refused() -> None:
    with pytest.raises(StateError):
        Alerts({}, (), "test").restore(b"not a snapshot")


def test_a_command_of_another_platform_is_not_ours() -> None:
    it = World()
    it.scores([4])
    alerts = Alerts({"slow": LIFE}, ("cube",), "another")
    alerts.restore(it.alerts.to_bytes())
    alerts.command(Command(Order.ACK, "ada", end(1), "test", it.one.id))
    assert alerts.advance(end(0)).alerts == []


def test_a_notification_survives_the_trip_through_the_outbox() -> None:
    it = World()
    it.show(row(7.0, 0, HARBOUR, expected=1.0, lower=0.0, upper=2.0))
    assert Notification.from_bytes(it.heard[0].to_bytes()) == it.heard[0]
    with pytest.raises(ValueError, match="not a notification"):
        Notification.from_bytes(b"[]")


scores = st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, 4.0, 7.0, None]), min_size=1, max_size=60)
lives = st.builds(
    life,
    k=st.integers(1, 2),
    n=st.integers(2, 3),
    resolve_after=st.integers(1, 3),
    cooldown_ms=st.sampled_from([0, 5 * MINUTE]),
    keep_firing_ms=st.sampled_from([0, 4 * MINUTE]),
    nodata_ms=st.sampled_from([0, 2 * MINUTE]),
    renotify_ms=st.sampled_from([0, 10 * MINUTE]),
    escalate_after_ms=st.sampled_from([0, 8 * MINUTE]),
    flapping=st.sampled_from([0, 3]),
)


@given(scores=scores, rule=lives, cuts=st.sets(st.integers(0, 60)))
@settings(deadline=None, max_examples=200)
def test_restarts_neither_repeat_nor_forget(scores: list[float | None], rule: object, cuts: set[int]) -> None:
    assert isinstance(rule, type(LIFE))
    steady, restarted = World({"slow": rule}), World({"slow": rule})
    for minute, score in enumerate(scores):
        steady.scores([score], first=minute)
        if minute in cuts:
            restarted.restarted()
        restarted.scores([score], first=minute)
    assert restarted.heard == steady.heard
    assert restarted.seen == steady.seen


@given(scores=scores, rule=lives, chunks=st.lists(st.integers(1, 10), max_size=30))
@settings(deadline=None, max_examples=200)
def test_windows_that_come_together_are_judged_as_if_they_came_one_by_one(
    scores: list[float | None], rule: object, chunks: list[int]
) -> None:
    """A backlog, or a replay after a crash, ends with the same alerts and the same notifications."""
    assert isinstance(rule, type(LIFE))
    one_by_one, together = World({"slow": rule}, now_ms=end(59)), World({"slow": rule}, now_ms=end(59))
    one_by_one.scores(scores)
    rows = [row(0.0, m, value=None, events=0) if s is None else row(s, m) for m, s in enumerate(scores)]
    place = 0
    for size in [*chunks, len(rows)]:
        if rows[place : place + size]:
            together.show(*reversed(rows[place : place + size]))
        place += size
    assert together.heard == one_by_one.heard
    assert together.seen == one_by_one.seen


@given(
    series=st.dictionaries(st.sampled_from("abcd"), scores, min_size=1),
    rule=lives,
    inhibited=st.booleans(),
    silenced=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_what_people_hear_of_an_alert_makes_sense(
    series: dict[str, list[float | None]], rule: object, inhibited: bool, silenced: bool
) -> None:
    assert isinstance(rule, type(LIFE))
    parts = replace(rule, rule="part", inhibited_by=("slow",) if inhibited else ())
    it = World({"slow": rule, "part": parts})
    if silenced:
        it.say(Order.SILENCE, minute=0, rule="part", until_ms=end(20), reason="known")
    for minute in range(max(map(len, series.values()))):
        rows = []
        for name, found in series.items():
            if minute < len(found):
                score, place = found[minute], () if name == "a" else (("place", name),)
                rule_of = "slow" if name == "a" else "part"
                missing = row(0.0, minute, place, rule_of, value=None, events=0)
                rows.append(missing if score is None else row(score, minute, place, rule_of))
        it.show(*rows, to=minute)
    heard: dict[str, list[Change]] = {}
    for one in it.heard:
        assert len({alert.rule for _, alert in one.alerts}) == 1
        for change, alert in one.alerts:
            heard.setdefault(alert.id, []).append(change)
    for changes in heard.values():
        assert changes[0] in (OPENED, Change.FLAPPING)
        assert changes.count(OPENED) + changes.count(Change.FLAPPING) == 1
        assert RESOLVED not in changes[:-1]
    assert len({one.id for one in it.heard}) == len(it.heard)
    open_series = [(a.rule, a.dimensions) for a in it.seen.values() if a.status is not AlertStatus.RESOLVED]
    assert len(set(open_series)) == len(open_series)
    told_resolved = {name for name, changes in heard.items() if changes[-1] is RESOLVED}
    assert told_resolved == {name for name in heard if it.seen[name].status is AlertStatus.RESOLVED}


window = st.tuples(
    st.sampled_from([0.0, 1.0, 2.0, 4.0, 7.0, None]), st.booleans(), st.sampled_from([True] * 4 + [False])
)
said = st.sampled_from([*Order, "restart", "gone"])
steps = st.integers(0, 19).flatmap(lambda number: lives if not number else said if number < 6 else window)


@given(todo=st.lists(steps, min_size=20, max_size=60), rule=lives, ahead_ms=st.sampled_from([0, 10**12, -(10**7)]))
@settings(deadline=None, max_examples=300)
def test_whatever_happens_there_is_one_alert_at_a_time_and_each_is_told_of_once(
    todo: list[Any], rule: Any, ahead_ms: int
) -> None:
    """Detectors that learn anew, people whose clocks are wrong, rules that change: no move is illegal."""
    it, minute = World({"slow": rule}), 0
    for step in todo:
        if isinstance(step, Order):
            alert, at_ms = [*it.seen, "none"][-1 - bool(it.seen)], end(minute) + ahead_ms
            it.alerts.command(Command(step, "ada", at_ms, "test", alert, "so", silence="s", until_ms=end(minute + 20)))
            if minute % 2:
                it.advance(end(minute))
        elif step == "restart":
            it.restarted()
        elif step == "gone":
            it.alerts.add(ScoredBatch("cube", end(minute), end(minute), [], [(end(minute), "slow", ())]))
        elif isinstance(step, tuple):
            minute += 1
            score, some, warm = step
            missing = row(0.0, minute, value=0.0 if some else None, events=0, warm=warm)
            seen = row(score or 0.0, minute, warm=warm, events=5 * some, lower=0.0, upper=30.0)
            it.show(missing if score is None else seen)
        else:
            it.restarted({"slow": step})
    heard: dict[str, list[Change]] = {}
    for one in it.heard:
        for change, alert in one.alerts:
            heard.setdefault(alert.id, []).append(change)
    for changes in heard.values():
        assert changes[0] in (OPENED, Change.FLAPPING)
        assert changes.count(OPENED) + changes.count(Change.FLAPPING) == 1
        assert RESOLVED not in changes[:-1]
    assert len({one.id for one in it.heard}) == len(it.heard)
    opens = it.advance(end(minute) + 10 * ANNOUNCE_EVERY_MS).open
    assert opens is not None
    still = [alert for alert in it.seen.values() if alert.status is not AlertStatus.RESOLVED]
    assert len(still) <= 1
    assert [alert.id for alert in opens] == [alert.id for alert in still]


def test_a_source_whose_windows_end_seldom_holds_up_no_other() -> None:
    it = World(rules={"slow": LIFE, "daily": replace(LIFE, rule="daily")}, sources=("cube", "days"))
    day = 24 * 60
    # Nothing ends there before a day is over, so a minute is judged at once.
    it.alerts.add(ScoredBatch("days", end(0), end(day) - 1))
    it.show(row(4.0, 1))
    assert it.one.rule == "slow"
    # When it is over, everything waits for what that window was.
    it.show(row(0.0, day))
    before = len(it.seen)
    it.show(row(4.0, day + 1, rule="slow", dimensions=HARBOUR))
    assert len(it.seen) == before
    it.restarted()
    it.alerts.add(ScoredBatch("days", end(day), end(2 * day) - 1))
    it.advance(end(day + 2))
    assert len(it.seen) == before + 1
