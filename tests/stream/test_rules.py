from __future__ import annotations

import pytest

from sinks.alert_records import Severity
from stream.catalog import parse
from stream.problems import CatalogError
from stream.rules import Rule, identity, lifecycle

METRICS = """
[[metric]]
name = "orders"
measure = "count"
by = ["place"]
windows = ["1m", "1h"]
[[metric]]
name = "wait"
measure = "quantile"
value = "wait"
windows = ["1m"]
[[metric]]
name = "pages"
measure = "top_k"
value = "page"
windows = ["1m"]
"""
RULE = '[[anomaly]]\nmetric = "orders"\nwindow = "1m"\ndetector = "above"\n'


def rule(text: str) -> Rule:
    return parse(METRICS + text).anomaly[0]


def problems(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(CatalogError) as caught:
        parse(METRICS + text)
    return [(problem.key, problem.expected, problem.found) for problem in caught.value.problems]


def test_what_a_rule_has_that_says_little() -> None:
    it = rule('[[anomaly]]\nmetric = "orders"\nwindow = "1m"\n')
    assert (it.called, it.detector, it.k, it.n, it.renotify) == ("orders_1m_novelty", "novelty", 1, 1, "4h")
    assert [severity for severity, _ in it.limits] == [Severity.WARNING]
    assert it.quiet_below == it.limits[0][1] / 2


def test_limits_rise_with_severity_and_close_a_tenth_below() -> None:
    it = rule(RULE + "severity = { critical = 400, warning = 200 }\n")
    assert it.limits == [(Severity.WARNING, 200), (Severity.CRITICAL, 400)]
    assert it.quiet_below == 180


def test_downwards_all_is_turned_round() -> None:
    it = rule(RULE.replace("above", "below") + "severity = { critical = 0.1, warning = 0.3 }\nclose = 0.5\n")
    assert it.limits == [(Severity.WARNING, -0.3), (Severity.CRITICAL, -0.1)]
    assert it.quiet_below == -0.5


def test_durations_are_seconds_for_detectors() -> None:
    it = rule('[[anomaly]]\nmetric = "orders"\nwindow = "1m"\noptions = { season = "7d" }\n')
    assert it.detector_options == {"season_s": 604_800}
    it = rule(RULE.replace("above", "nodata") + 'severity = { warning = "10m" }\n')
    assert it.limits == [(Severity.WARNING, 600)]


def test_what_it_learned_is_kept_unless_it_is_about_something_else() -> None:
    one = rule(RULE + "severity = { warning = 3 }\n")
    same = rule(RULE + "severity = { error = 4 }\nk = 2\nn = 3\n")
    other = rule(RULE.replace("1m", "1h") + "severity = { warning = 3 }\n")
    assert identity(one, "m") == identity(same, "m")
    assert len({identity(one, "m"), identity(other, "m"), identity(one, "another meaning")}) == 3


def test_flapping_looks_back_over_thirty_windows_and_an_hour_at_least() -> None:
    it = rule(RULE + "severity = { warning = 3 }\n")
    assert lifecycle(it, "", 60_000, 60_000).flapping_within_ms == 3_600_000
    assert lifecycle(it, "", 3_600_000, 3_600_000).flapping_within_ms == 30 * 3_600_000
    # Windows that slide close one step after the other.
    assert lifecycle(it, "", 3_600_000, 300_000).flapping_within_ms == 30 * 300_000
    assert lifecycle(it, "", 3_600_000, 300_000).notify_within_ms == 2 * 3_600_000


ABOVE = "severity = { warning = 3 }\n"


@pytest.mark.parametrize(
    ("text", "key", "expected", "found"),
    [
        (RULE, "anomaly[0].severity", "limits", "nothing"),
        (RULE + "severity = { warning = 3, critical = 2 }\n", "anomaly[0].severity", "rise", "3"),
        (RULE.replace("above", "below") + "severity = { warning = 2, error = 3 }\n", "anomaly[0].severity", "fall", ""),
        (RULE + "severity = { bad = 3 }\n", "anomaly[0].severity.bad", "'critical'", "bad"),
        (RULE + 'severity = { warning = "soon" }\n', "anomaly[0].severity.warning", "duration", "soon"),
        (RULE + ABOVE + "close = 4\n", "anomaly[0].close", "nothing stranger", "4"),
        (RULE + ABOVE + "k = 2\n", "anomaly[0].k", "at most n = 1", "2"),
        (RULE + ABOVE + 'renotify = "often"\n', "anomaly[0].renotify", "duration", "often"),
        (RULE + ABOVE + 'options = { season = "2d" }\n', "anomaly[0].options", "above", "season"),
        (RULE.replace("above", "abov") + ABOVE, "anomaly[0].detector", "above", "did you mean above?"),
        (RULE.replace("orders", "order") + ABOVE, "anomaly[0].metric", "orders", "did you mean orders?"),
        (RULE.replace("1m", "10s") + ABOVE, "anomaly[0].window", "1m, 1h", "10s"),
        (RULE.replace("orders", "pages") + ABOVE, "anomaly[0].metric", "numbers", "top_k"),
        (RULE.replace("orders", "wait") + ABOVE, "anomaly[0].key", "p99", "None"),
        (RULE + ABOVE + 'key = "p99"\n', "anomaly[0].key", "one value", "p99"),
        (RULE + ABOVE + 'dimensions = { shop = "x" }\n', "anomaly[0].dimensions", "place", "shop"),
        (RULE + ABOVE + 'group_by = ["shop"]\n', "anomaly[0].group_by", "place", "shop"),
        (RULE + ABOVE + 'inhibited_by = ["nobody"]\n', "anomaly[0].inhibited_by", "orders_1m_above", "nobody"),
        (RULE + ABOVE + RULE + ABOVE, "anomaly[0].name", "of its own", "orders_1m_above"),
        (RULE + ABOVE + "severty = 3\n", "anomaly[0].severty", "severity", "did you mean severity?"),
    ],
)
def test_mistakes_are_named(text: str, key: str, expected: str, found: str) -> None:
    first = problems(text)[0]
    assert first[0].split(' "')[0].startswith(key.split("]")[0])
    assert key.rsplit(".", 1)[-1] in first[0]
    assert expected in first[1]
    assert found in first[2]


def test_rules_that_mute_each_other_would_both_be_silent() -> None:
    one = RULE + ABOVE + 'name = "a"\ninhibited_by = ["b"]\n'
    other = RULE + ABOVE + 'name = "b"\ninhibited_by = ["c"]\n'
    third = RULE + ABOVE + 'name = "c"\ninhibited_by = ["a"]\n'
    found = problems(one + other + third)
    assert found[0][0] == 'anomaly[0] "a".inhibited_by'
    assert found[0][1:] == ("rules that do not mute each other in turn", "a, b, c, a")
