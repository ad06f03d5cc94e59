"""Who sees some rows only: what REST answers them is what it would answer everybody of those rows, and no word more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st

from live_api.access.identity import Identity, Rows
from live_api.access.permissions import Permission
from sinks.alert_records import Silence
from sinks.alert_store import AlertStore
from sinks.records import State
from sinks.store import Store
from stream.walltime import clock_ms
from tests.servers import ValkeyServer

from .conftest import CATALOG as SHOP
from .conftest import Api, point
from .identities import bearer, identify_by
from .test_alert_routes import ENDED, RULES, alert, scored

COUNTRIES = ["Aland", "Borduria", "Caledonia"]
BOARDS = """
[[anomaly]]
name = "bordurian"
metric = "orders"
window = "1m"
dimensions = { country = "Borduria" }
detector = "above"
severity = { warning = 3 }

[[board]]
name = "all"
title = "All countries"
[[board.tile]]
type = "line"
metric = "orders"
[[board.tile]]
type = "number"
metric = "revenue"
[[board.tile]]
type = "number"
metric = "orders"
dimensions = { country = "Aland" }
[[board.tile]]
type = "number"
metric = "orders"
dimensions = { country = "Borduria" }
[[board.tile]]
type = "alerts"

[[board]]
name = "north"
title = "What Aland does"
[[board.tile]]
type = "number"
metric = "orders"
dimensions = { country = "Aland" }
"""
BEGIN_MS = 1_442_016_000_000
MINUTE_MS = 60_000
PERMISSIONS = frozenset(Permission)
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))
known: dict[str, Identity] = {
    "all": Identity("key:all", PERMISSIONS),
    "b": Identity("key:b", PERMISSIONS, Rows.of({"country": ["Borduria"]})),
    "ab": Identity("key:ab", PERMISSIONS, Rows.of({"country": ["Aland", "Borduria"]})),
}


@pytest.fixture(scope="module")
def api(valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    url = f"sqlite:///{tmp_path_factory.mktemp('rows')}/points.db"
    points, alerts = Store(url), AlertStore(url)
    points.setup()
    points.write(
        [
            point(
                10 * place + minute,
                BEGIN_MS + (minute + 2 * place) * MINUTE_MS,
                metric="orders",
                state=State.FINAL,
                count=10 * place + minute,
                watermark_ms=BEGIN_MS + 3_600_000,
                country=country,
            )
            for place, country in enumerate(COUNTRIES)
            for minute in range(1, 6)
        ]
        + [point(9, BEGIN_MS + minute * MINUTE_MS, state=State.FINAL) for minute in range(5)]
    )
    alerts.setup()
    of = [(country, (("country", country),)) for country in COUNTRIES]
    silences = [Silence(f"s-{name}", "Ada", "why", BEGIN_MS, clock_ms() + 3_600_000, None, by) for name, by in of]
    alerts.write(
        [
            *(alert(f"a-{name}", place, dimensions=by, why=f"few in {name}") for place, (name, by) in enumerate(of)),
            *(alert(f"over-{name}", dimensions=by, **ENDED) for name, by in of),
            alert("a-total", rule="slow", metric="revenue", dimensions=()),
        ],
        [scored(minute, dimensions=by, why=name) for minute in range(3) for name, by in of],
        silences=[*silences, Silence("s-rule", "Ada", "why", BEGIN_MS, clock_ms() + 3_600_000, "orders_low")],
        watch={"orders_low": {"learning": 3, "ok": 20, "firing": 1}},
        at_ms=BEGIN_MS,
    )
    points.close()
    alerts.close()
    made = Api(
        valkey_server.connection_url,
        url,
        catalog=SHOP.replace("[[metric]]", RULES + "[[metric]]", 1) + BOARDS,
        identify=identify_by(known),
    )
    yield made
    made.stop()


def ask(api: Api, path: str, who: str, method: str = "GET", body: object = None, **headers: str) -> Any:
    """The answer as JSON, with its status as `http` and its tag as `etag`."""
    answer = _http.request(
        method,
        f"{api.url}/v1/{path}",
        body=None if body is None else json.dumps(body).encode(),
        headers={"Connection": "close", "Content-Type": "application/json", **bearer(who), **headers},
    )
    found = json.loads(answer.data) if answer.data else {}
    return {**found, "http": answer.status, "etag": answer.headers.get("etag")}


RANGE = "from=2015-09-12T00:00:00Z&to=2015-09-12T00:12:00Z"
PLAIN = f"points?metric=orders&window=1m&{RANGE}"
EVERY = [
    "metrics",
    PLAIN,
    "points?metric=orders&window=1m",
    "points?metric=orders",
    f"points?metric=orders&{RANGE}&shape=columns",
    f"points?metric=orders&{RANGE}&step=5m",
    f"points?metric=orders&{RANGE}&window=1m&fill=zero",
    f"points?metric=orders&{RANGE}&window=1m&compare=yesterday&fill=previous",
    f"points?metric=orders&{RANGE}&limit=1",
    "boards",
    "boards/all",
    "boards/north",
    "alerts",
    "alerts?status=all",
    "alerts?limit=1",
    "silences",
    "rules",
    "scores?metric=orders&window=1m",
    "people",
    "churn",
    "models",
]


@settings(deadline=None, max_examples=25)
@given(st.sets(st.sampled_from(COUNTRIES)), st.sampled_from(EVERY))
def test_no_answer_has_a_word_of_others(api: Api, mine: set[str], path: str) -> None:
    known["some"] = Identity("key:some", PERMISSIONS, Rows.of({"country": mine}))
    text = json.dumps(ask(api, path, "some"))
    assert not [one for one in COUNTRIES if one not in mine and one in text]
    assert "revenue" not in text


def test_every_question_finds_something_to_keep(api: Api) -> None:
    # Or the test above would find nothing in answers that have nothing.
    silent = [path for path in EVERY if "Borduria" not in json.dumps(ask(api, path, "all"))]
    assert set(silent) <= {"metrics", "boards", "boards/north", "alerts?limit=1", "people", "churn", "models"} | {
        one for one in EVERY if "limit=1" in one
    }


@pytest.mark.parametrize("more", ["", "&fill=zero", "&shape=columns", "&limit=1000"])
def test_points_are_those_that_everybody_would_get_of_these_series(api: Api, more: str) -> None:
    path = f"points?metric=orders&window=1m&{RANGE}{more}"
    mine, asked = ask(api, path, "b"), ask(api, path + "&country=Borduria", "all")
    if more == "&fill=zero":
        # Where a series begins is known of the others, too: before one's own first window there is nothing.
        assert [one["start"] for one in mine["points"]] == sorted(one["start"] for one in mine["points"])
        assert {one["start"] for one in mine["points"]} <= {one["start"] for one in asked["points"]}
        assert min(one["start"] for one in mine["points"]) == "2015-09-12T00:03:00Z"
        return
    assert {**mine, "etag": None} == {**asked, "etag": None}
    assert mine["http"] == 200


def test_several_rows_keep_the_plain_answer_plain(api: Api) -> None:
    mine, everything = ask(api, PLAIN, "ab"), ask(api, PLAIN, "all")
    assert mine.keys() == everything.keys()
    assert mine["points"] == [one for one in everything["points"] if one["dimensions"]["country"] != "Caledonia"]
    assert len(mine["points"]) == 10


@pytest.mark.parametrize("more", ["", "&fill=null", "&step=5m", "&shape=columns"])
def test_others_rows_are_like_rows_that_are_not_there(api: Api, more: str) -> None:
    theirs = ask(api, f"points?metric=orders&{RANGE}&country=Aland{more}", "b")
    nobodys = ask(api, f"points?metric=orders&{RANGE}&country=Nowhere{more}", "b")
    assert theirs == nobodys
    assert theirs["http"] == 200
    scores = [ask(api, f"scores?metric=orders&window=1m&country={one}", "b") for one in ("Aland", "Nowhere")]
    assert scores[0] == scores[1]
    then = [ask(api, f"compare?metric=orders&window=1d&country={one}", "b") for one in ("Aland", "Nowhere")]
    assert (then[0]["http"], then[0]["value"]) == (200, None)
    assert then[0] == then[1]


def test_metrics_without_ones_rows_are_like_metrics_that_are_not_there(api: Api) -> None:
    assert [one["name"] for one in ask(api, "metrics", "b")["metrics"]] == ["orders"]
    assert ask(api, "metrics", "b").keys().isdisjoint({"rejects", "rejected_total"})
    for path in ("points?metric=revenue", "compare?metric=revenue&window=1m", "scores?metric=revenue&window=1m"):
        answer = ask(api, path, "b")
        assert (answer["http"], answer["detail"]) == (404, "metric: expected one of orders; found 'revenue'")


def test_tags_are_of_the_rows_and_nothing_is_kept_for_the_next(api: Api) -> None:
    empty = f"points?metric=orders&window=1m&{RANGE}&country=Nowhere"
    for path in (PLAIN, empty, empty + "&shape=columns"):
        tags = {who: ask(api, path, who)["etag"] for who in ("all", "b", "ab")}
        assert len(set(tags.values())) == 3
        assert ask(api, path, "b", **{"If-None-Match": tags["b"]})["http"] == 304
        assert ask(api, path, "b", **{"If-None-Match": tags["all"]})["http"] == 200
    answer = _http.request("GET", f"{api.url}/v1/{PLAIN}&shape=columns", headers=bearer("b") | {"Connection": "close"})
    assert answer.headers["cache-control"] == "private, no-cache"


def test_boards_have_the_tiles_that_show_something(api: Api) -> None:
    assert [one["id"] for one in ask(api, "boards/all", "all")["tiles"]] == ["t0", "t1", "t2", "t3", "t4"]
    assert [one["id"] for one in ask(api, "boards/all", "b")["tiles"]] == ["t0", "t3", "t4"]
    assert (ask(api, "boards/all", "all")["left_out"], ask(api, "boards/all", "b")["left_out"]) == (0, 2)
    assert [one["name"] for one in ask(api, "boards", "b")["boards"]] == ["all"]
    assert [one["name"] for one in ask(api, "boards", "ab")["boards"]] == ["all", "north"]
    answer = ask(api, "boards/north", "b")
    assert (answer["http"], answer["detail"]) == (404, "board: expected one of all; found 'north'")
    known["none"] = Identity("key:none", PERMISSIONS, Rows.of({"shop": ["x"]}))
    listed = ask(api, "boards", "none")
    assert (listed["default"], ask(api, "boards/all", "none")["tiles"][0]["type"]) == ("all", "alerts")


def test_alerts_rules_and_silences_are_those_of_ones_rows(api: Api) -> None:
    assert [one["id"] for one in ask(api, "alerts?status=all", "b")["alerts"]] == ["a-Borduria", "over-Borduria"]
    first = ask(api, "alerts?limit=1", "ab")
    assert ([one["id"] for one in first["alerts"]], first["truncated"]) == (["a-Borduria"], True)
    assert [one["id"] for one in ask(api, "silences", "b")["silences"]] == ["s-Borduria"]
    rules = {one["name"]: one["series"] for one in ask(api, "rules", "b")["rules"]}
    assert rules == {"orders_low": None, "bordurian": None}
    known["a"] = Identity("key:a", PERMISSIONS, Rows.of({"country": ["Aland"]}))
    assert [one["name"] for one in ask(api, "rules", "a")["rules"]] == ["orders_low"]
    assert ask(api, "rules", "all")["rules"][0]["series"] == {"learning": 3, "ok": 20, "firing": 1}


@pytest.mark.parametrize("order", ["ack", "resolve", "false_alarm", "silence"])
def test_others_alerts_cannot_be_answered(api: Api, order: str) -> None:
    body = {"by": "Bo", "reason": "a test", "for": "1h"}
    theirs = ask(api, f"alerts/a-Aland/{order}", "b", "POST", body)
    assert (theirs["http"], theirs["detail"]) == (404, "alert: there is none 'a-Aland'")
    assert ask(api, f"alerts/a-Borduria/{order}", "b", "POST", body)["http"] == 202
    assert ask(api, "alerts/a-Aland", "b")["http"] == 404
    assert ask(api, "alerts/a-total", "b")["http"] == 404


def test_silences_lie_within_ones_rows(api: Api) -> None:
    def silence(**about: Any) -> int:
        body = {"by": "Bo", "reason": "a test", "for": "1h", **about}
        return int(ask(api, "silences", "b", "POST", body)["http"])

    assert silence(rule="orders_low") == 403
    assert silence(dimensions={"country": "Aland"}) == 403
    assert silence(dimensions={"shop": "x"}) == 403
    assert silence(rule="slow", dimensions={"country": "Borduria"}) == 400
    assert silence(rule="orders_low", dimensions={"country": "Borduria"}) == 202
    assert ask(api, "silences/s-Aland?by=Bo", "b", "DELETE")["http"] == 404
    assert ask(api, "silences/s-rule?by=Bo", "b", "DELETE")["http"] == 404
    assert ask(api, "silences/s-Borduria?by=Bo", "b", "DELETE")["http"] == 202


@pytest.mark.parametrize("path", ["people", "people/anything", "persons/x", "churn", "models"])
def test_what_is_known_of_people_is_for_those_who_see_every_row(api: Api, path: str) -> None:
    answer = ask(api, path, "b")
    if path == "persons/x":
        # What one is oneself is ones own.
        assert answer["http"] != 200
        return
    assert (answer["http"], "key:b sees the rows of their country only" in answer["detail"]) == (403, True)
