from __future__ import annotations

import pytest

from sinks.alert_records import AlertStatus, Change, Command, Order, Resolution, Severity
from stream.episodes import Episodes, IllegalMove, Phase
from tests.stream.alerting import LIFE, MINUTE, START, World, end, life, nothing, row

OPENED, RESOLVED, ESCALATED, REPEATED = Change.OPENED, Change.RESOLVED, Change.ESCALATED, Change.REPEATED


def world(**changes: object) -> World:
    return World({"slow": life(**changes)})


def test_nothing_strange_raises_nothing() -> None:
    it = world()
    it.scores([0, 1, 2.9, 0, 2.9])
    assert (it.changes, it.seen) == ([], {})


def test_one_alert_for_each_episode_not_for_each_window() -> None:
    it = world()
    it.scores([0, 4, 5, 4, 2, 4, 1, 1, 1, 0])
    assert it.changes == [OPENED, RESOLVED]
    assert it.one.status is AlertStatus.RESOLVED
    assert it.one.resolution is Resolution.RECOVERED
    assert (it.one.opened_ms, it.one.last_seen_ms, it.one.resolved_ms) == (end(1), end(5), end(8))
    assert (it.one.peak, it.one.score, it.one.why) == (5, 4, "highest in 2 days")


def test_a_window_that_is_neither_quiet_nor_strange_does_not_end_it() -> None:
    it = world()
    it.scores([4, 1, 1, 2, 1, 1])
    assert it.changes == [OPENED]
    it.scores([1], first=6)
    assert it.changes == [OPENED, RESOLVED]


def test_a_second_episode_is_another_alert() -> None:
    it = world()
    it.scores([4, 0, 0, 0, 4, 0, 0, 0])
    assert it.changes == [OPENED, RESOLVED, OPENED, RESOLVED]
    assert len(it.seen) == 2


def test_a_detector_that_still_learns_wakes_nobody() -> None:
    it = world()
    for minute in range(5):
        it.show(row(9.0, minute, warm=False))
    assert it.seen == {}
    it.show(row(9.0, 5))
    assert it.changes == [OPENED]


def test_k_of_n_windows() -> None:
    it = world(k=2, n=3)
    it.scores([4, 0, 0, 4, 0])
    assert it.changes == []
    it.scores([4], first=5)
    assert it.changes == [OPENED]
    assert it.one.opened_ms == end(5)


def test_while_the_value_stays_outside_what_is_expected_it_is_not_over() -> None:
    # `novelty` speaks when something new happens, and is silent while it lasts.
    it = world(lasts_outside=True)
    it.scores([0, 4])
    for minute in range(2, 30):
        it.show(row(0.0, minute, value=90.0, expected=10.0, lower=5.0, upper=15.0))
    assert it.changes == [OPENED]
    assert it.one.last_seen_ms == end(29)
    assert (it.one.actual, it.one.expected, it.one.deviation) == (90, 10, 8)
    for minute in range(30, 33):
        it.show(row(0.0, minute, value=11.0, expected=10.0, lower=5.0, upper=15.0))
    assert it.changes == [OPENED, RESOLVED]


def test_a_limit_is_over_when_the_limit_is_not_reached_any_more() -> None:
    it = world()
    it.scores([0, 4])
    for minute in range(2, 5):
        it.show(row(1.0, minute, value=90.0, expected=10.0, lower=5.0, upper=15.0))
    assert it.changes == [OPENED, RESOLVED]


def test_outside_what_is_expected_alone_opens_nothing() -> None:
    it = world(lasts_outside=True)
    for minute in range(20):
        it.show(row(0.0, minute, value=90.0, expected=10.0, lower=5.0, upper=15.0))
    assert it.seen == {}


def test_it_keeps_firing_for_a_while() -> None:
    it = world(keep_firing_ms=10 * MINUTE)
    it.scores([4] + [0] * 9)
    assert it.changes == [OPENED]
    it.scores([0], first=10)
    assert it.changes == [OPENED, RESOLVED]


def test_after_an_end_none_opens_for_a_while() -> None:
    it = world(cooldown_ms=10 * MINUTE)
    it.scores([4, 0, 0, 0] + [4] * 9)
    assert it.changes == [OPENED, RESOLVED]
    it.scores([4], first=13)
    assert it.changes == [OPENED, RESOLVED, OPENED]


def test_it_becomes_worse_and_never_better() -> None:
    it = world()
    it.scores([4, 7, 4, 8])
    assert it.changes == [OPENED, ESCALATED]
    assert it.one.severity is Severity.CRITICAL


def test_an_alert_that_nobody_looks_after_becomes_worse_once() -> None:
    it = world(escalate_after_ms=10 * MINUTE)
    it.scores([4] * 40)
    assert it.changes == [OPENED, ESCALATED]
    assert it.one.severity is Severity.ERROR
    other = world(escalate_after_ms=10 * MINUTE)
    other.scores([4] * 5)
    other.say(Order.ACK, other.one.id, minute=5)
    other.scores([4] * 40, first=5)
    assert other.changes == [OPENED]


def test_people_are_reminded_until_somebody_takes_it_on() -> None:
    it = world()
    it.scores([4] * (60 * 9))
    assert it.changes == [OPENED, REPEATED, REPEATED]
    assert [notification.at_ms for notification in it.heard] == [end(0), end(240), end(480)]
    it.say(Order.ACK, it.one.id, minute=540, reason="on it")
    assert (it.one.status, it.one.acked_by, it.one.note) == (AlertStatus.ACKNOWLEDGED, "ada", "on it")
    it.scores([4] * (60 * 9), first=541)
    assert it.changes == [OPENED, REPEATED, REPEATED]
    it.scores([0, 0, 0], first=1081)
    assert it.changes[-1] is RESOLVED


def test_what_opens_again_and_again_is_flapping_and_told_once() -> None:
    it = world(flapping=3)
    it.scores([4, 0, 0, 0] * 12)
    assert it.changes == [OPENED, RESOLVED, OPENED, RESOLVED, Change.FLAPPING]
    assert next(reversed(it.seen.values())).status is AlertStatus.FLAPPING
    it.scores([0] * 60, first=48)
    assert it.changes == [OPENED, RESOLVED, OPENED, RESOLVED, Change.FLAPPING, RESOLVED]


def test_silence_of_a_series_raises_an_alert_where_it_is_asked_for() -> None:
    it = world(nodata_ms=5 * MINUTE)
    it.scores([1, 1, None, None, None, None])
    assert it.changes == []
    it.scores([None], first=6)
    assert it.changes == [OPENED]
    assert (it.one.status, it.one.why) == (AlertStatus.NODATA, "no events for 5 min")
    it.scores([None] * 10 + [1], first=7)
    assert it.changes == [OPENED, RESOLVED]
    assert it.one.resolution is Resolution.RECOVERED


def test_a_series_that_falls_silent_while_it_fires_says_so_and_goes_on() -> None:
    it = world(nodata_ms=5 * MINUTE)
    it.scores([4] + [None] * 8)
    assert it.one.status is AlertStatus.NODATA
    it.scores([4, 4], first=9)
    assert it.one.status is AlertStatus.FIRING
    it.scores([0] * 3, first=11)
    assert it.changes == [OPENED, RESOLVED]


def test_silence_counts_while_it_learns_too() -> None:
    it = world(nodata_ms=5 * MINUTE)
    it.show(row(0.0, 0, warm=False))
    for minute in range(1, 8):
        it.show(row(0.0, minute, value=None, events=0, warm=False))
    assert it.one.status is AlertStatus.NODATA
    it.show(row(0.0, 8, warm=False))
    assert it.one.status is AlertStatus.RESOLVED
    it.show(row(0.0, 9, warm=False))
    it.show(row(9.0, 10))
    assert it.changes == [OPENED, RESOLVED, OPENED]


def test_an_episode_without_values_ends_as_stale() -> None:
    it = world()
    it.scores([4] + [None] * 9)
    assert it.changes == [OPENED, RESOLVED]
    assert it.one.resolution is Resolution.STALE


def test_a_false_alarm_raises_the_limits_of_that_series_alone() -> None:
    it = world()
    a, b = (("place", "a"),), (("place", "b"),)
    it.show(row(4.0, 0, a), row(4.0, 0, b))
    first = next(alert for alert in it.seen.values() if alert.dimensions == a)
    it.say(Order.FALSE_ALARM, first.id, minute=1, reason="a party")
    ended = it.seen[first.id]
    assert (ended.resolution, ended.resolved_by, ended.note) == (Resolution.FALSE_ALARM, "ada", "a party")
    for minute in range(2, 8):
        it.show(row(0.0, minute, a), row(0.0, minute, b))
    count = len(it.seen)
    it.show(row(4.0, 8, a), row(4.0, 8, b))
    assert [alert.dimensions for alert in list(it.seen.values())[count:]] == [b]
    it.show(row(4.2, 9, a), row(0.0, 9, b))
    assert list(it.seen.values())[-1].dimensions == a


def test_a_silence_is_no_reason_to_raise_a_limit() -> None:
    it = World({"slow": life(limits=((Severity.WARNING, -5.0),), quiet_below=-5.5, nodata_ms=3 * MINUTE)})
    it.scores([-10, None, None, None])
    it.say(Order.FALSE_ALARM, it.one.id, minute=4, reason="maintenance")
    it.scores([-10, -5], first=5)
    assert it.changes == [OPENED, RESOLVED, OPENED]


def test_a_silence_that_somebody_has_ended_is_not_told_again() -> None:
    it = world(nodata_ms=3 * MINUTE)
    it.scores([0, None, None, None])
    it.say(Order.RESOLVE, it.one.id, minute=4)
    it.scores([None] * 10, first=5)
    assert it.changes == [OPENED, RESOLVED]
    it.scores([0, None, None, None], first=15)
    assert it.changes == [OPENED, RESOLVED, OPENED]


def test_after_an_end_no_silence_is_told_for_a_while_either() -> None:
    it = world(nodata_ms=3 * MINUTE, cooldown_ms=10 * MINUTE)
    it.scores([0, None, None, None, 0, *[None] * 9])
    assert it.changes == [OPENED, RESOLVED]
    it.scores([None], first=14)
    assert it.changes == [OPENED, RESOLVED, OPENED]


def test_a_rule_asks_for_silence_no_more() -> None:
    it = world(nodata_ms=3 * MINUTE)
    it.scores([0, None, None, None])
    it.restarted({"slow": life()})
    it.scores([None], first=4)
    assert it.one.resolution is Resolution.REMOVED


def test_a_silence_that_somebody_has_taken_on_ends_while_it_learns_too() -> None:
    it = world(nodata_ms=3 * MINUTE)
    it.show(row(0.0, 0, warm=False))
    for minute in (1, 2, 3):
        it.show(row(0.0, minute, warm=False, value=None, events=0))
    it.say(Order.ACK, it.one.id, minute=3)
    it.show(row(0.0, 4, warm=False))
    assert it.one.resolution is Resolution.RECOVERED


def test_a_detector_that_learns_anew_keeps_no_episode_open() -> None:
    it = world(nodata_ms=3 * MINUTE)
    it.scores([4])
    for minute in range(1, 10):
        it.show(row(0.0, minute, warm=False))
    assert it.one.resolution is Resolution.STALE


def test_what_flaps_does_so_no_less_when_somebody_has_taken_it_on() -> None:
    it = world(flapping=2)
    it.scores([4, 0, 0, 0, 4])
    it.say(Order.ACK, list(it.seen)[-1], minute=4)
    it.scores([0, 0, 0, 0, 4, 0, 0, 0, 4], first=5)
    assert it.changes == [OPENED, RESOLVED, Change.FLAPPING]


def test_by_hand_in_a_replay_of_the_past_it_may_open_again() -> None:
    years = 10**12
    it = World({"slow": life(notify_within_ms=2 * years)}, now_ms=START + years)
    it.scores([4])
    it.alerts.command(Command(Order.RESOLVE, "ada", START + years, "test", it.one.id))
    it.advance(0)
    it.scores([0, 4], first=1)
    assert it.changes == [OPENED, RESOLVED, OPENED]


def test_a_limit_below_zero_rises_towards_it() -> None:
    # A threshold downwards: the score is the value's negative, and -0.3 is stranger than -0.5.
    it = World({"slow": life(limits=((Severity.WARNING, -0.3),), quiet_below=-0.33)})
    it.scores([-1, -0.2])
    assert it.changes == [OPENED]
    it.say(Order.FALSE_ALARM, it.one.id, minute=2)
    it.scores([-0.2, -0.2], first=3)
    assert it.changes == [OPENED, RESOLVED]
    it.scores([-0.1], first=5)
    assert it.changes == [OPENED, RESOLVED, OPENED]


def test_by_hand_it_ends_at_once() -> None:
    it = world()
    it.scores([4])
    it.say(Order.RESOLVE, it.one.id, minute=1)
    assert (it.one.status, it.one.resolution) == (AlertStatus.RESOLVED, Resolution.BY_HAND)
    assert it.changes == [OPENED, RESOLVED]


def test_an_illegal_move_names_what_was_expected() -> None:
    it = Episodes(LIFE, "latency", "1m", ())
    it.see(row(0.0, 0), end(0))
    it.see(row(4.0, 1), end(1))
    with pytest.raises(IllegalMove, match=r"slow \(\): after firing expected .*nodata, ok, got pending"):
        it._move(Phase.PENDING)


def test_nothing_in_a_window_is_no_value() -> None:
    it = world()
    it.show(nothing(0))
    assert it.seen == {}
