from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from live_api.delivery.bodies import BODIES, Wanted, bodies
from sinks.alert_records import Change, Notification, Severity
from tests.alerts import alert, notification, resolved

WANTED = Wanted("ops", routing_key="r" * 32)


def sent(form: str, told: Notification, wanted: Wanted = WANTED) -> list[Any]:
    return [json.loads(body.content) for body in bodies(form, told, wanted)]


def group(*changes: Change, channels: int = 2) -> Notification:
    """One notification of several alerts."""
    about = [alert(channel=f"#{number}") for number in range(channels)]
    told = [(change, resolved(one) if change is Change.RESOLVED else one) for change in changes for one in about]
    return replace(notification(), alerts=tuple(told))


@pytest.mark.parametrize("form", BODIES)
def test_the_bytes_are_the_same_each_time_and_ids_are_the_notifications(form: str) -> None:
    told = group(Change.OPENED)
    again = Notification.from_bytes(told.to_bytes())
    assert bodies(form, told, WANTED) == bodies(form, again, WANTED)
    ids = [body.id for body in bodies(form, told, WANTED)]
    assert ids[0] == told.id
    assert len(set(ids)) == len(ids)
    assert not any("." in own for own in ids)


def test_generic_says_what_happened_when_and_to_what() -> None:
    told = notification("#en", change=Change.OPENED)
    [body] = sent("generic", told)
    [(_, about)] = told.alerts
    assert body["type"] == "alert.opened"
    assert body["timestamp"] == "2023-11-14T22:13:20Z"
    assert body["platform"] == "Shop"
    assert body["data"] == about.to_json()
    assert body["message"] == "opened: edits_high channel=#en (critical): highest in 8 days"


def test_generic_of_several_has_each_with_its_change() -> None:
    [alike] = sent("generic", group(Change.OPENED))
    assert alike["type"] == "alerts.opened"
    [mixed] = sent("generic", group(Change.OPENED, Change.RESOLVED))
    assert mixed["type"] == "alerts.changed"
    assert [one["change"] for one in mixed["data"]["alerts"]] == ["opened", "opened", "resolved", "resolved"]


def test_a_template_is_the_line_that_people_read() -> None:
    wanted = Wanted("ops", template="{platform}: {alert.rule}\n{alert.actual}≠{alert.expected} {alert.resolved}")
    [body] = sent("generic", notification(), wanted)
    assert body["message"] == "Shop: edits_high 1234≠300"


def test_alertmanager_is_of_version_4() -> None:
    told = notification("#en")
    [body] = sent("alertmanager", told)
    assert body["version"] == "4"
    assert (body["status"], body["receiver"], body["groupKey"], body["truncatedAlerts"]) == ("firing", "ops", "#en", 0)
    [one] = body["alerts"]
    labels = {"alertname": "edits_high", "severity": "critical", "platform": "Shop", "metric": "edits"}
    assert one["labels"] == labels | {"window": "1m", "channel": "#en"}
    assert body["commonLabels"] == one["labels"]
    assert (one["startsAt"], one["endsAt"]) == ("2023-11-14T22:13:20Z", "0001-01-01T00:00:00Z")
    assert all(type(value) is str for value in (*one["labels"].values(), *one["annotations"].values()))
    # The fields that version 4 has, as its receivers read them.
    top = {"version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels"}
    assert body.keys() == top | {"commonAnnotations", "externalURL", "alerts"}
    assert one.keys() == {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}


def test_alertmanager_is_resolved_when_all_are_and_common_is_what_all_share() -> None:
    [body] = sent("alertmanager", group(Change.RESOLVED))
    assert body["status"] == "resolved"
    assert [one["endsAt"] for one in body["alerts"]] == ["2023-11-14T22:14:20Z"] * 2
    assert "channel" not in body["commonLabels"]
    assert body["commonLabels"]["alertname"] == "edits_high"


def test_alertmanagers_labels_are_never_those_of_another() -> None:
    told = notification(dimensions=(("severity", "x"), ("a-b", "y"), ("1st", "z")))
    [body] = sent("alertmanager", told)
    labels = body["alerts"][0]["labels"]
    assert labels["severity"] == "critical"
    assert labels["dimension_severity"] == "x"
    assert labels["a_b"] == "y"
    assert labels["dimension_1st"] == "z"


def test_pagerduty_gets_an_event_for_each_alert_whose_end_finds_it() -> None:
    opened, over = sent("pagerduty", group(Change.OPENED)), sent("pagerduty", group(Change.RESOLVED))
    assert [event["event_action"] for event in opened + over] == ["trigger"] * 2 + ["resolve"] * 2
    assert [event["dedup_key"] for event in opened] == [event["dedup_key"] for event in over]
    assert opened[0]["routing_key"] == "r" * 32
    payload = opened[0]["payload"]
    assert {"summary", "source", "severity"} <= payload.keys()
    assert payload["source"] == "Shop"
    for severity in Severity:
        [event] = sent("pagerduty", notification(severity=severity))
        assert event["payload"]["severity"] == severity.value
    [event] = sent("pagerduty", notification(why="x" * 5_000))
    assert len(event["payload"]["summary"]) == 1_024


def test_slack_cannot_be_made_to_call_everybody_and_is_not_sent_more_than_it_takes() -> None:
    [body] = sent("slack", notification("<!channel> & <https://evil.example|click>"))
    text = body["attachments"][0]["blocks"][0]["text"]["text"]
    assert "<" not in text
    assert "&lt;!channel&gt; &amp; " in text
    # A text beside the attachment would be shown as well.
    assert body.keys() == {"attachments"}
    assert "<" not in body["attachments"][0]["fallback"]
    [body] = sent("slack", replace(group(Change.OPENED, channels=30), id="x"))
    assert body["attachments"][0]["fallback"].endswith("and 20 more")
    [body] = sent("slack", notification(why="&" * 9_000))
    text = body["attachments"][0]["blocks"][0]["text"]["text"]
    assert len(text) <= 3_000
    assert text.endswith("&amp;…")
    [over] = sent("slack", group(Change.RESOLVED))
    assert over["attachments"][0]["color"] != body["attachments"][0]["color"]


@pytest.mark.parametrize("why", ["[x](http://e) " * 400, "\N{FIRE}" * 4_000, '"\\\x01' * 2_000])
def test_teams_gets_a_card_without_markdown_and_within_its_limit(why: str) -> None:
    told = replace(group(Change.OPENED, channels=30), id="x")
    told = replace(told, alerts=tuple((change, replace(one, why=why)) for change, one in told.alerts))
    [body] = bodies("teams", told, WANTED)
    assert len(body.content) < 28_000
    card = json.loads(body.content)
    [attachment] = card["attachments"]
    assert card["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["type"] == "AdaptiveCard"
    blocks = attachment["content"]["body"]
    # Text runs are shown as they are; a TextBlock would make links of what somebody named a channel.
    assert {block["type"] for block in blocks} == {"RichTextBlock"}
    assert len(blocks) == 12


def test_nothing_shows_the_routing_key() -> None:
    [body] = bodies("pagerduty", notification(), WANTED)
    assert "rrr" not in repr(WANTED) + repr(body)
