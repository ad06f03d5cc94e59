from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
import valkey

from live_api import alert_routes
from live_api.admission import Origins
from sinks.alert_records import (
    COMMAND_FIELD,
    COMMANDS_STREAM,
    Alert,
    AlertStatus,
    Command,
    Order,
    Resolution,
    Scored,
    Severity,
    Silence,
)
from sinks.alert_store import AlertStore
from sinks.live import LiveSink
from sinks.store import Store
from stream.walltime import clock_ms
from tests.ports import free_port
from tests.servers import ValkeyServer
from tests.stack import eventually

from .conftest import CATALOG, Api

Start = Callable[..., Api]

RULES = """
[[anomaly]]
name = "orders_low"
title = "Too few orders"
metric = "orders"
window = "1m"
detector = "above"
severity = { warning = 3 }

[[anomaly]]
name = "slow"
metric = "revenue"
window = "1m"
detector = "below"
severity = { warning = 10 }
"""
OPENED_MS = 1_442_016_000_000
MINUTE = 60_000
US = (("country", "US"),)
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


def alert(id_: str, number: int = 0, **over: Any) -> Alert:
    fields: dict[str, Any] = {
        "id": id_,
        "rule": "orders_low",
        "metric": "orders",
        "window": "1m",
        "dimensions": US,
        "severity": Severity.WARNING,
        "status": AlertStatus.FIRING,
        "opened_ms": OPENED_MS + number * MINUTE,
        "last_seen_ms": OPENED_MS + number * MINUTE,
        "score": 4.5,
        "peak": 5.0,
        "why": "lowest in 8 days",
        "actual": 3.0,
        "expected": 40.0,
    }
    return Alert(**fields | over)


def scored(minute: int, rule: str = "orders_low", **over: Any) -> Scored:
    fields: dict[str, Any] = {
        "rule": rule,
        "metric": "orders",
        "window": "1m",
        "start_ms": OPENED_MS + minute * MINUTE,
        "dimensions": US,
        "value": 3.0,
        "score": 0.5 + minute,
        "warm": True,
        "anomalous": minute == 2,
        "expected": 40.0,
        "lower": 12.0,
        "upper": 68.5,
        "why": "lowest in 8 days" if minute == 2 else "",
    }
    return Scored(**fields | over)


ENDED = {
    "status": AlertStatus.RESOLVED,
    "resolved_ms": OPENED_MS + 9 * MINUTE,
    "resolution": Resolution.RECOVERED,
}


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('alerts')}/points.db"
    store = AlertStore(url)
    store.setup()
    store.write(
        [
            alert("a", 3),
            alert("b", 2, severity=Severity.CRITICAL, status=AlertStatus.ACKNOWLEDGED, acked_by="Ada", acked_ms=1),
            alert("c", 1, rule="slow", metric="revenue", dimensions=()),
            alert("d", 0, **ENDED),
        ],
        [
            *(scored(minute) for minute in range(4)),
            scored(0, dimensions=(("country", "DE"),)),
            scored(0, rule="of_a_former_catalog"),
            scored(0, dimensions=(("shop", "1"),)),
        ],
        silences=[
            Silence("s1", "Ada", "a migration", OPENED_MS, clock_ms() + 3_600_000, "orders_low", US),
            Silence("s0", "Ada", "over", OPENED_MS, OPENED_MS + 1),
        ],
        watch={"orders_low": {"learning": 3, "ok": 20, "firing": 1}},
        at_ms=OPENED_MS,
    )
    store.close()
    return url


@pytest.fixture(scope="module")
def api(valkey_server: ValkeyServer, store_url: str) -> Iterator[Api]:
    made = Api(
        valkey_server.connection_url,
        store_url,
        catalog=CATALOG + RULES,
        origins=Origins(("https://wall.example",), loopback=True),
    )
    yield made
    made.stop()


def say(
    api: Api, path: str, body: object = None, *, method: str = "POST", headers: dict[str, str] | None = None
) -> dict[str, Any]:
    answer = _http.request(
        method,
        f"{api.url}/v1/{path}",
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={"Connection": "close", "Content-Type": "application/json"} | (headers or {}),
    )
    return {**json.loads(answer.data), "http": answer.status}


def commands(client: valkey.Valkey) -> list[Command]:
    return [Command.from_bytes(fields[COMMAND_FIELD]) for _, fields in client.xrange(COMMANDS_STREAM)]


# Reading.


def test_an_alert_as_it_is_shown(api: Api) -> None:
    answer = api.get("/v1/alerts/d")
    assert answer.pop("http") == 200
    assert answer == alert("d", 0, **ENDED).to_json()
    assert (answer["opened"], answer["resolved"]) == ("2015-09-12T00:00:00Z", "2015-09-12T00:09:00Z")
    missing = api.get("/v1/alerts/x")
    assert (missing["http"], missing["detail"]) == (404, "alert: there is none 'x'")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "abc"),
        ({"status": "all"}, "abcd"),
        ({"status": "resolved"}, "d"),
        ({"status": "acknowledged"}, "b"),
        ({"rule": "slow"}, "c"),
        ({"rule": "nobody"}, ""),
        ({"severity": "critical"}, "b"),
        ({"status": "all", "since": "2015-09-12T00:03:00Z"}, "ad"),
        ({"limit": 3}, "abc"),
    ],
)
def test_which_alerts(api: Api, asked: dict[str, Any], found: str) -> None:
    answer = api.get("/v1/alerts", **asked)
    assert ("".join(one["id"] for one in answer["alerts"]), answer["truncated"]) == (found, False)


def test_more_alerts_than_asked_for_are_said_to_be_there(api: Api) -> None:
    answer = api.get("/v1/alerts", limit=2)
    assert ([one["id"] for one in answer["alerts"]], answer["truncated"]) == (["a", "b"], True)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"status": "open"}, "status: expected one of active, firing"),
        ({"severity": "bad"}, "severity: expected one of info, warning, error, critical; found 'bad'"),
        ({"since": "soon"}, "since: expected ISO 8601"),
    ],
)
def test_alerts_that_nobody_can_have(api: Api, asked: dict[str, str], says: str) -> None:
    answer = api.get("/v1/alerts", **asked)
    assert answer["http"] == 400
    assert says in answer["detail"]


def test_scores_as_they_are_shown(api: Api) -> None:
    asked = {"metric": "orders", "window": "1m", "country": "US", "from": OPENED_MS + 2 * MINUTE}
    answer = api.get("/v1/scores", **asked, to=OPENED_MS + 3 * MINUTE)
    assert answer == {
        "http": 200,
        "metric": "orders",
        "window": "1m",
        "scores": [
            {
                "start": "2015-09-12T00:02:00Z",
                "dimensions": {"country": "US"},
                "rule": "orders_low",
                "value": 3.0,
                "score": 2.5,
                "expected": 40.0,
                "lower": 12.0,
                "upper": 68.5,
                "anomalous": True,
                "warm": True,
                "why": "lowest in 8 days",
            }
        ],
        "truncated": False,
    }


def test_scores_are_of_the_catalogs_rules_and_dimensions(api: Api) -> None:
    answer = api.get("/v1/scores", metric="orders", window="1m")
    assert [(one["dimensions"]["country"], one["score"]) for one in answer["scores"]] == [
        ("DE", 0.5),
        ("US", 0.5),
        ("US", 1.5),
        ("US", 2.5),
        ("US", 3.5),
    ]


def test_too_many_scores_are_cut_and_said_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert alert_routes.MAX_SCORES == 10_000
    monkeypatch.setattr(alert_routes, "MAX_SCORES", 2)
    asked = {"metric": "orders", "window": "1m", "country": "US", "from": OPENED_MS + MINUTE}
    answer = api.get("/v1/scores", **asked)
    assert ([one["score"] for one in answer["scores"]], answer["truncated"]) == ([1.5, 2.5], True)


@pytest.mark.parametrize(
    ("asked", "status"), [({"metric": "nothing"}, 404), ({"window": "5m"}, 400), ({"colour": "red"}, 400)]
)
def test_scores_of_what_there_is_not(api: Api, asked: dict[str, str], status: int) -> None:
    assert api.get("/v1/scores", **{"metric": "orders", "window": "1m", **asked})["http"] == status


def test_rules_as_they_are_shown(api: Api) -> None:
    first, second = api.get("/v1/rules")["rules"]
    assert first == {
        "name": "orders_low",
        "title": "Too few orders",
        "metric": "orders",
        "window": "1m",
        "key": None,
        "dimensions": {},
        "detector": "above",
        "severity": {"warning": 3.0},
        "series": {"learning": 3, "ok": 20, "firing": 1},
        "at": "2015-09-12T00:00:00Z",
    }
    # Limits as they were declared, whichever way is stranger.
    assert (second["severity"], second["series"]) == ({"warning": 10.0}, None)


def test_silences_are_those_that_last(api: Api) -> None:
    (found,) = api.get("/v1/silences")["silences"]
    assert found.pop("until").endswith("Z")
    assert found == {
        "id": "s1",
        "by": "Ada",
        "reason": "a migration",
        "made": "2015-09-12T00:00:00Z",
        "rule": "orders_low",
        "dimensions": {"country": "US"},
    }


# Saying.


@pytest.mark.parametrize(
    ("order", "body"),
    [
        (Order.ACK, {}),
        (Order.ACK, {"reason": " looking\ninto it "}),
        (Order.RESOLVE, {}),
        (Order.FALSE_ALARM, {"reason": "a holiday"}),
    ],
)
def test_what_is_said_goes_to_the_processor(
    api: Api, valkey_client: valkey.Valkey, order: Order, body: dict[str, str]
) -> None:
    before_ms = clock_ms()
    answer = say(api, f"alerts/a/{order}", {"by": " Ada Löwe ", **body})
    assert (answer["http"], answer["order"], answer["alert"], answer["by"]) == (202, order.value, "a", "Ada Löwe")
    (command,) = commands(valkey_client)
    assert before_ms <= command.at_ms <= clock_ms()
    assert command == Command(
        order, "Ada Löwe", command.at_ms, "Shop", alert="a", reason=body.get("reason", "").strip()
    )


def test_a_silence_of_an_alert(api: Api, valkey_client: valkey.Valkey) -> None:
    answer = say(api, "alerts/a/silence", {"by": "Ada", "reason": "a migration", "for": "2h"})
    assert answer["http"] == 202
    (command,) = commands(valkey_client)
    assert (command.order, command.alert, command.silence) == (Order.SILENCE, "a", answer["silence"])
    assert 0 <= command.at_ms + 7_200_000 - (command.until_ms or 0) < 1_000


def test_a_silence_until_a_time(api: Api, valkey_client: valkey.Valkey) -> None:
    until_ms = clock_ms() + 60_000
    assert say(api, "alerts/a/silence", {"by": "Ada", "reason": "x", "until": until_ms})["http"] == 202
    assert [command.until_ms for command in commands(valkey_client)] == [until_ms]


def test_a_silence_of_a_rule_and_of_series(api: Api, valkey_client: valkey.Valkey) -> None:
    said = {"by": "Ada", "reason": "a migration", "for": "1d"}
    assert say(api, "silences", said | {"rule": "slow"})["http"] == 202
    assert say(api, "silences", said | {"dimensions": {"country": "DE"}})["http"] == 202
    first, second = commands(valkey_client)
    assert (first.alert, first.rule, first.dimensions) == (None, "slow", ())
    assert (second.rule, second.dimensions, second.reason) == (None, (("country", "DE"),), "a migration")
    assert first.silence != second.silence


def test_a_silence_is_ended(api: Api, valkey_client: valkey.Valkey) -> None:
    answer = say(api, "silences/s1?by=Bob", method="DELETE")
    assert (answer["http"], answer["silence"]) == (202, "s1")
    (command,) = commands(valkey_client)
    assert (command.order, command.by, command.silence) == (Order.UNSILENCE, "Bob", "s1")
    assert say(api, "silences/s0?by=Bob", method="DELETE")["http"] == 404
    assert say(api, "silences/s1?by=", method="DELETE")["http"] == 400
    assert len(commands(valkey_client)) == 1


@pytest.mark.parametrize("order", ["ack", "resolve", "false_alarm", "silence"])
def test_an_alert_that_is_not_there_or_over(api: Api, valkey_client: valkey.Valkey, order: str) -> None:
    body = {"by": "Ada", "reason": "x"} | ({"for": "1h"} if order == "silence" else {})
    assert say(api, f"alerts/x/{order}", body)["http"] == 404
    over = say(api, f"alerts/d/{order}", body)
    assert (over["http"], over["detail"]) == (409, "alert d is resolved already, since 2015-09-12T00:09:00Z")
    assert commands(valkey_client) == []


GOOD = {"by": "Ada", "reason": "x", "for": "1h"}


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("alerts/a/ack", {}, "by: expected who says so"),
        ("alerts/a/ack", {"by": "  "}, "by: expected who says so"),
        ("alerts/a/ack", {"by": "x" * 101}, "by: expected a text of at most 100"),
        ("alerts/a/ack", {"by": 7}, "by: expected a text"),
        ("alerts/a/ack", {"by": "A\nda"}, "by: expected one line"),
        ("alerts/a/ack", {"by": "A\0"}, "by: expected no control"),
        ("alerts/a/ack", {"by": "Ada", "reason": "x" * 1_001}, "reason: expected a text of at most"),
        ("alerts/a/false_alarm", {"by": "Ada"}, "reason: expected one"),
        ("alerts/a/silence", {"by": "Ada", "for": "1h"}, "reason: expected one"),
        ("alerts/a/silence", {"by": "Ada", "reason": "x"}, 'expected "for"'),
        ("alerts/a/silence", GOOD | {"until": "2030-01-01"}, 'expected "for"'),
        ("alerts/a/silence", GOOD | {"for": "long"}, "for: expected a duration"),
        ("alerts/a/silence", GOOD | {"for": "31d"}, "ends within 30 days"),
        ("alerts/a/silence", {"by": "Ada", "reason": "x", "until": "2015-09-12"}, "ends within 30 days"),
        ("alerts/a/silence", {"by": "Ada", "reason": "x", "until": "soon"}, "until: expected ISO 8601"),
        ("silences", GOOD, "expected a rule, dimensions or both"),
        ("silences", GOOD | {"rule": "nobody"}, "rule: expected one of orders_low, slow; found 'nobody'"),
        ("silences", GOOD | {"rule": ["slow"]}, "rule: expected one of"),
        ("silences", GOOD | {"rule": "slow", "dimensions": ["x"]}, "dimensions: expected an object"),
        ("silences", GOOD | {"rule": "slow", "dimensions": {"a": 1}}, "dimensions: expected an object"),
        ("alerts/a/ack", [], "expected a JSON object; found list"),
        ("alerts/a/ack", b"{by", "expected a JSON object"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    api: Api, valkey_client: valkey.Valkey, path: str, body: object, says: str
) -> None:
    answer = say(api, path, body)
    assert answer["http"] == 400, answer
    assert says in answer["detail"]
    assert commands(valkey_client) == []


def test_a_body_without_end_is_refused(api: Api, valkey_client: valkey.Valkey) -> None:
    assert say(api, "alerts/a/ack", {"by": "Ada", "more": "x" * 20_000})["http"] == 413
    assert commands(valkey_client) == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_any_page_could_send_is_refused(api: Api, valkey_client: valkey.Valkey, kind: str) -> None:
    assert say(api, "alerts/a/ack", {"by": "Ada"}, headers={"Content-Type": kind})["http"] == 415
    assert say(api, "silences", GOOD | {"rule": "slow"}, headers={"Content-Type": kind})["http"] == 415
    assert commands(valkey_client) == []


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 202), ("", 202), ("https://wall.example", 202), ("https://evil.example", 403), ("null", 403)],
)
def test_pages_of_other_origins_are_refused(
    api: Api, valkey_client: valkey.Valkey, origin: str | None, status: int
) -> None:
    own = {"Origin": api.url if origin == "" else origin} if origin is not None else {}
    assert say(api, "alerts/a/ack", {"by": "Ada"}, headers=own)["http"] == status
    assert say(api, "silences/s1?by=Ada", method="DELETE", headers=own)["http"] == status
    assert len(commands(valkey_client)) == (2 if status == 202 else 0)


def test_without_valkey_or_store_it_says_so(start: Start, store_url: str, tmp_path: Any) -> None:
    away = start(valkey_url=f"valkey://127.0.0.1:{free_port()}", store_url=store_url, catalog=CATALOG + RULES)
    answer = say(away, "alerts/a/ack", {"by": "Ada"})
    assert answer["http"] == 503
    assert "streamgauge:commands" in answer["detail"]
    assert away.get("/v1/alerts")["http"] == 200
    storeless = start(store_url=f"sqlite:///{tmp_path}/nowhere/points.db", catalog=CATALOG + RULES)
    for path in ("/v1/alerts", "/v1/alerts/a", "/v1/silences", "/v1/rules"):
        assert storeless.get(path)["http"] == 503
    assert storeless.get("/v1/scores", metric="orders", window="1m")["http"] == 503
    assert say(storeless, "alerts/a/ack", {"by": "Ada"})["http"] == 503


def test_alerts_of_before_a_restart_are_told_again(start: Start, valkey_client: valkey.Valkey, tmp_path: Any) -> None:
    """The live stream reaches back for minutes, alerts for days."""
    now_ms = clock_ms()
    store = AlertStore(f"sqlite:///{tmp_path}/points.db")
    store.setup()
    ended = {"status": AlertStatus.RESOLVED, "resolution": Resolution.RECOVERED}
    store.write(
        [
            alert("open"),
            alert("old", **ended, resolved_ms=now_ms - 25 * 3_600_000),
            alert("over", **ended, resolved_ms=now_ms - 3_600_000),
        ]
    )
    store.close()
    LiveSink(valkey_client, platform="Shop").write([], {}, now_ms=now_ms, alerts=[])
    api = start(catalog=CATALOG + RULES).caught_up()
    with api.live("alerts") as client:
        told = client.until(lambda line: [one["alerts"] for one in line.frames if one.get("alerts")])
    assert told[0] == {"open": alert("open").to_live(), "over": told[0]["over"]}


def test_a_database_that_knew_no_alerts_is_made_ready(start: Start, tmp_path: Any) -> None:
    Store(f"sqlite:///{tmp_path}/points.db").setup()
    with sqlite3.connect(tmp_path / "points.db") as connection:
        later = ("deliveries", "person_lines", "churn_scores", "models", "api_keys", "audit", "streamgauge_revision")
        for table in ("scores", "scored_series", "alerts", "silences", "rules", *later):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    connection.close()
    api = start(catalog=CATALOG + RULES)
    eventually(lambda: api.get("/v1/alerts")["http"] == 200, what="tables for alerts")
    assert api.get("/v1/rules")["rules"][0]["series"] is None
