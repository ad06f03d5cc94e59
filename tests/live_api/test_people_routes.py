from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import urllib3

from live_api import people_routes
from live_api.people import past
from sinks.errors import Retryable
from sinks.person_records import PersonLine
from sinks.person_store import PersonStore
from sinks.records import State
from sinks.store import Store
from stream.catalog import Catalog, parse
from tests.servers import ValkeyServer
from tests.stack import eventually

from .conftest import CATALOG, Api, Processor
from .people import DAY_MS, ms, point

Start = Callable[..., Api]

MONDAY = ms("2026-05-04")
WATERMARK_MS = MONDAY + 9 * DAY_MS
DECLARED = """
[event]
person = "user_id"

[sessions]
page = "page"
by = ["device"]
windows = ["day", "1h"]

[actives]
periods = ["day", "week"]

[[retention]]
name = "weekly"
title = "Who comes back"
period = "week"
periods = 2

[[retention]]
name = "plans"
period = "day"
periods = 2
by = "plan"

[[funnel]]
name = "upgrade"
steps = [
    { name = "Home", where = "page = 'Home'" },
    { name = "NextSong", where = "page = 'NextSong'" },
    { name = "Upgrade", where = "page = 'Upgrade'" },
]

[[funnel]]
name = "buy"
period = "day"
steps = [{ name = "View", where = "page = 'View'" }, { name = "Pay", where = "page = 'Pay'" }]

[[paths]]
name = "clicks"
of = "page"
windows = ["day", "1h"]

[engagement]
levels = { casual = 1, core = 5 }
action = [{ where = "page = 'Pay'" }]
"""


def catalog(**declared: Any) -> Catalog:
    return parse(CATALOG.replace("Europe/Berlin", "UTC") + DECLARED).model_copy(update=declared)


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/points.db"
    store = Store(url)
    store.setup()
    told = [point("weekly_people", "week", MONDAY, 10, watermark_ms=WATERMARK_MS)]
    told += [point("weekly_people", "week", MONDAY - 7 * week * DAY_MS, week) for week in range(1, 20)]
    told += [point("weekly_returned", "week", MONDAY, n, offset=str(at)) for at, n in ((0, 10), (1, 4))]
    told += [point("plans_people", "day", MONDAY, n, segment=plan) for plan, n in (("free", 3), ("paid", 1))]
    told += [point("plans_returned", "day", MONDAY, n, offset="1", segment=plan) for plan, n in (("free", 1),)]
    told += [point("upgrade_people", "total", 0, n, step=str(step)) for step, n in ((1, 8), (2, 4), (3, 1))]
    told += [point("buy_people", "day", MONDAY + day * DAY_MS, 5 - day, step="1") for day in range(3)]
    told += [point("clicks_transitions", "day", MONDAY, n, from_="a", to=f"p{n:03}") for n in range(1, 80)]
    told += [point("sessions", "day", MONDAY + day * DAY_MS, day, state=State.OPEN) for day in range(40)]
    told += [point("sessions_by_device", "day", MONDAY + 39 * DAY_MS, 5, device="tv")]
    told += [point("active_now", "1m", WATERMARK_MS + 30 * DAY_MS, 3)]
    told += [point(f"{kind}_{unit}", unit, MONDAY, 2) for kind in ("active", "new") for unit in ("day", "week")]
    told += [point(name, "day", MONDAY, n) for name, n in (("dau", 1), ("wau", 2), ("mau", 4))]
    told += [point("stickiness_days", "day", MONDAY, 2, days="1")]
    told += [point("engagement_people", "day", MONDAY, 2, level="core")]
    told += [point("engagement_scores", "day", MONDAY, 2, score="5")]
    store.write(told)
    store.close()
    return url


@pytest.fixture(scope="module")
def api(valkey_server: ValkeyServer, store_url: str) -> Iterator[Api]:
    made = Api(valkey_server.connection_url, store_url, catalog=catalog())
    yield made
    made.stop()


def test_which_there_are(api: Api, start: Start) -> None:
    answer = api.get("/v1/people")
    assert [(one["name"], one["type"], one["title"]) for one in answer["analyses"]] == [
        ("sessions", "sessions", "Sessions"),
        ("actives", "actives", "Actives"),
        ("lifecycle", "lifecycle", "Lifecycle"),
        ("engagement", "engagement", "Engagement"),
        ("weekly", "retention", "Who comes back"),
        ("plans", "retention", "Plans"),
        ("upgrade", "funnel", "Upgrade"),
        ("buy", "funnel", "Buy"),
        ("clicks", "paths", "Clicks"),
    ]
    assert start().get("/v1/people") == {"analyses": [], "http": 200}


@pytest.mark.parametrize("name", ["nothing", "retention", "", "Weekly", "a b"])
def test_one_that_there_is_not_is_named(api: Api, name: str) -> None:
    answer = api.get(f"/v1/people/{quote(name)}")
    assert answer["http"] == 404
    if name:
        assert "sessions, actives, lifecycle, engagement, weekly" in answer["detail"]
        assert repr(name) in answer["detail"]


def test_without_any_that_is_said(start: Start) -> None:
    answer = start().get("/v1/people/weekly")
    assert (answer["http"], answer["detail"]) == (
        404,
        "analysis: expected none, as the catalog declares none; found 'weekly'",
    )


@pytest.mark.parametrize(
    ("name", "kind", "keys"),
    [
        ("weekly", "retention", {"period", "mode", "rolling", "offsets", "cohorts", "overall"}),
        (
            "upgrade",
            "funnel",
            {
                "order",
                "window",
                "period",
                "start",
                "steps",
                "conversion",
                "overall_seconds",
                "overall_histogram",
            },
        ),
        ("lifecycle", "lifecycle", {"period", "bars"}),
        ("actives", "actives", {"days", "histogram"}),
        ("clicks", "paths", {"window", "start", "transitions", "starts", "ends"}),
        (
            "sessions",
            "sessions",
            {"window", "periods", "entry_pages", "exit_pages", "by", "active_now", "concurrent"},
        ),
        ("engagement", "engagement", {"day", "levels", "scores"}),
    ],
)
def test_what_every_table_begins_with(api: Api, name: str, kind: str, keys: set[str]) -> None:
    answer = api.get(f"/v1/people/{name}")
    assert answer.pop("http") == 200
    assert answer.keys() == {"analysis", "type", "title", "as_of", "state"} | keys
    assert (answer["analysis"], answer["type"]) == (name, kind)


def test_a_stale_table_looks_stale(start: Start, store_url: str, processor: Processor) -> None:
    api = start(store_url=store_url, catalog=catalog())
    eventually(lambda: api.get("/v1/people/weekly")["state"] == "live")
    # What the points themselves say, where nothing was heard.
    assert api.get("/v1/people/weekly")["as_of"] == "2026-05-13T00:00:00Z"
    processor.say(point("orders", "1m", WATERMARK_MS, 1, watermark_ms=WATERMARK_MS + 20 * DAY_MS, country="DE"))
    eventually(lambda: api.get("/v1/people/weekly")["as_of"] == "2026-06-02T00:00:00Z")
    eventually(lambda: api.get("/v1/people/weekly")["state"] == "processor_silent")
    assert [cell["partial"] for cell in api.get("/v1/people/weekly")["cohorts"][-1]["cells"]] == [False] * 3


def test_how_many_cohorts_and_of_which_segment(api: Api) -> None:
    assert len(api.get("/v1/people/weekly")["cohorts"]) == 12
    assert [one["people"] for one in api.get("/v1/people/weekly", cohorts=3)["cohorts"]] == [2, 1, 10]
    assert len(api.get("/v1/people/weekly", cohorts=400)["cohorts"]) == 20
    assert [one["segment"] for one in api.get("/v1/people/plans")["cohorts"]] == [None, "free", "paid"]
    [one] = api.get("/v1/people/plans", segment="free")["cohorts"]
    assert (one["segment"], one["people"], one["cells"][1]["share"]) == ("free", 3, 1 / 3)
    assert api.get("/v1/people/plans", segment="gone")["cohorts"] == []


def test_a_funnel_is_of_its_latest_period_or_of_the_one_asked_for(api: Api) -> None:
    def entered(**query: Any) -> tuple[str, int]:
        answer = api.get("/v1/people/buy", **query)
        return answer["start"], answer["steps"][0]["people"]

    assert entered() == ("2026-05-06T00:00:00Z", 3)
    assert entered(start="2026-05-05T13:30+00:00") == ("2026-05-05T00:00:00Z", 4)
    assert entered(start=MONDAY - 1) == ("2026-05-03T00:00:00Z", 0)
    assert api.get("/v1/people/upgrade")["start"] is None


def test_lengths(api: Api) -> None:
    assert len(api.get("/v1/people/clicks")["transitions"]) == 50
    assert len(api.get("/v1/people/clicks", limit=500)["transitions"]) == 79
    assert [row["sessions"] for row in api.get("/v1/people/sessions", limit=2)["periods"]] == [38, 39]
    assert len(api.get("/v1/people/sessions")["periods"]) == 30
    found = api.get("/v1/people/sessions")
    assert (found["by"], found["active_now"]) == ({"device": [{"value": "tv", "count": 5}]}, 3)
    assert api.get("/v1/people/sessions", window="1h")["periods"] == []
    assert api.get("/v1/people/lifecycle", period="week")["bars"][0]["active"] == 2
    assert len(api.get("/v1/people/lifecycle", limit=1)["bars"]) == 1
    assert api.get("/v1/people/actives", limit=1)["days"][0]["stickiness"] == 0.25
    assert api.get("/v1/people/engagement")["levels"] == [
        {"level": "casual", "people": 0},
        {"level": "core", "people": 2},
    ]


@pytest.mark.parametrize(
    ("name", "query", "status", "says"),
    [
        ("weekly", {"cohorts": 0}, 422, "greater"),
        ("weekly", {"cohorts": 401}, 422, "less"),
        ("weekly", {"cohorts": "many"}, 422, "integer"),
        ("weekly", {"segment": "DE"}, 400, "segment: expected none, as weekly has no segments"),
        ("weekly", {"window": "day"}, 400, "window: a retention has no such parameter"),
        ("weekly", {"cohort": 3}, 400, "its parameters: cohorts, segment"),
        ("engagement", {"limit": 3}, 400, "its parameters: none"),
        ("upgrade", {"start": MONDAY}, 400, "start: expected none, as upgrade has no period"),
        ("buy", {"start": "yesterday"}, 400, "start: expected ISO 8601"),
        ("buy", {"start": "9999999999999999"}, 400, "start: expected a time from 1970"),
        ("buy", {"start": "-1"}, 400, "start: expected a time from 1970"),
        ("lifecycle", {"period": "month"}, 400, "period: expected one of day, week; found 'month'"),
        ("lifecycle", {"limit": 401}, 400, "limit: expected 1 to 400"),
        ("clicks", {"window": "week"}, 400, "window: expected one of day, 1h"),
        ("clicks", {"limit": 501}, 400, "limit: expected 1 to 500; found 501"),
        ("clicks", {"limit": 0}, 422, "greater"),
    ],
)
def test_what_cannot_be_asked(api: Api, name: str, query: dict[str, Any], status: int, says: str) -> None:
    answer = api.get(f"/v1/people/{name}", **query)
    assert answer["http"] == status, answer
    assert says in str(answer["detail"])


def test_a_table_of_too_much_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "MOST_POINTS", 5)
    answer = api.get("/v1/people/weekly", cohorts=19)
    assert (answer["http"], answer["detail"]) == (
        400,
        "weekly_people has more than 5 points in that time; ask for less of it",
    )


def test_many_screens_share_an_answer(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/own.db"
    store = Store(url)
    store.setup()
    store.write([point("upgrade_people", "total", 0, 1, step="1")])
    api = start(store_url=url, catalog=catalog())

    def entered() -> int:
        return int(api.get("/v1/people/upgrade")["steps"][0]["people"])

    monkeypatch.setattr(people_routes, "_LASTING_S", 1e9)
    assert entered() == 1
    store.write([point("upgrade_people", "total", 0, 2, step="1", state=State.CORRECTED)])
    assert entered() == 1
    monkeypatch.setattr(people_routes, "_LASTING_S", 0.0)
    assert entered() == 2
    store.close()


def test_a_store_that_is_away_is_said(start: Start, tmp_path: Path) -> None:
    api = start(store_url=f"sqlite:///{tmp_path}/nowhere/x.db", catalog=catalog(), pseudonym=pseudonym)
    for path in ("/v1/people/weekly", "/v1/people/lifecycle", "/v1/persons/ada"):
        answer = api.get(path)
        assert answer["http"] == 503
        assert "cannot be opened" in answer["detail"]
    assert api.get("/v1/people")["http"] == 200


WRITTEN = """
[event]
person = "user"

[sessions]
windows = ["day"]
by = ["device.kind"]

[[retention]]
name = "weekly"
period = "week"
periods = 2

[[retention]]
name = "plans"
mode = "bracket"
by = "plan"

[[funnel]]
name = "buy"
period = "day"
steps = [{ name = "View", where = "page = 'View'" }, { name = "Pay", where = "page = 'Pay'" }]

[actives]

[engagement]
action = [{ where = "event = 'Song'" }]

[[paths]]
name = "clicks"
of = "page"
windows = ["day"]
"""


def test_a_catalog_as_it_is_written(start: Start, store_url: str) -> None:
    api = start(store_url=store_url, catalog=parse(WRITTEN))
    names = [one["name"] for one in api.get("/v1/people")["analyses"]]
    assert names == ["sessions", "actives", "lifecycle", "engagement", "weekly", "plans", "buy", "clicks"]
    assert {name: api.get(f"/v1/people/{name}")["http"] for name in names} == dict.fromkeys(names, 200)
    found = api.get("/v1/people/sessions", limit=1)
    assert [row["sessions"] for row in found["periods"]] == [39]
    assert (found["by"], found["active_now"]) == ({"device.kind": []}, 3)
    last = api.get("/v1/people/weekly", cohorts=1)["cohorts"][-1]
    assert [cell["people"] for cell in last["cells"][:2]] == [10, 4]
    assert api.get("/v1/people/plans")["offsets"] == ["0", "1-3", "4-7", "8-12"]
    assert [(step["name"], step["people"]) for step in api.get("/v1/people/buy")["steps"]] == [("View", 3), ("Pay", 0)]
    assert api.get("/v1/people/lifecycle", period="month")["bars"] == []
    levels = api.get("/v1/people/engagement")["levels"]
    # Points may be of a level that the catalog had before.
    assert levels == [{"level": name, "people": 0} for name in ("casual", "regular", "power")] + [
        {"level": "core", "people": 2}
    ]


# One person.


def pseudonym(raw: str) -> str:
    return hashlib.sha256(b"key" + raw.encode()).hexdigest()[:32]


def lines(person: str) -> list[tuple[PersonLine, bool]]:
    told = [
        ("session", 1, 0, {"started_ms": MONDAY, "pages": 3, "entry_page": "Home"}),
        ("session", 2, 50, {"started_ms": MONDAY + 50, "pages": 1}),
        ("funnel", 7, 20, {"funnel": "upgrade", "step": 2}),
        ("engagement", 0, 40, {"level": "core", "score": 7.5}),
        ("event", 1 << 63, 60, {"name": "click"}),
    ]
    return [(PersonLine(person, kind, ref, MONDAY + at, fields), False) for kind, ref, at, fields in told]


ODD_IDS = ["a/b", "/", "a b?c=d#e%2F", "é☃", "x" * 10_240, "a/", "..x", "0"]


@pytest.fixture(scope="module")
def known(valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    url = f"sqlite:///{tmp_path_factory.mktemp('persons')}/points.db"
    store = PersonStore(url)
    store.setup()
    store.write(lines(pseudonym("ada@example.org")))
    for raw in ODD_IDS:
        store.write([(PersonLine(pseudonym(raw), "event", 1, MONDAY, {"name": "came"}), False)])
    store.close()
    made = Api(valkey_server.connection_url, url, pseudonym=pseudonym)
    yield made
    made.stop()


def test_a_person_as_they_are_shown(known: Api) -> None:
    answer = known.get("/v1/persons/ada@example.org")
    assert answer.pop("http") == 200
    session = {"kind": "session", "reference": "0000000000000001", "at": "2026-05-04T00:00:00Z"}
    assert answer["sessions"][1] == session | {"fields": {"started_ms": MONDAY, "pages": 3, "entry_page": "Home"}}
    assert [line["kind"] for line in answer.pop("timeline")] == ["event", "session", "engagement", "funnel", "session"]
    assert [line["fields"]["pages"] for line in answer.pop("sessions")] == [1, 3]
    assert answer == {
        "person": pseudonym("ada@example.org"),
        "level": "core",
        "score": 7.5,
        "funnels": [{"funnel": "upgrade", "step": 2, "at": "2026-05-04T00:00:00.020Z"}],
        "churn": None,
    }


def test_how_many_lines(known: Api) -> None:
    answer = known.get("/v1/persons/ada@example.org", limit=1)
    assert [line["kind"] for line in answer["timeline"]] == ["event"]
    assert [line["fields"]["pages"] for line in answer["sessions"]] == [1]
    # They are found however far back they are.
    assert (answer["level"], len(answer["funnels"])) == ("core", 1)
    for limit in (0, 10_001, "x"):
        assert known.get("/v1/persons/ada@example.org", limit=limit)["http"] == 422


@pytest.mark.parametrize("raw", ODD_IDS, ids=lambda raw: repr(raw[:12]))
def test_any_text_is_an_id(known: Api, raw: str) -> None:
    answer = known.get(f"/v1/persons/{quote(raw, safe='')}")
    assert answer["http"] == 200
    assert answer["person"] == pseudonym(raw)


def test_the_id_is_nowhere_said(known: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = known.request("/v1/persons/ada@example.org")
    unknown = known.request("/v1/persons/bob@example.org")
    refused = known.request("/v1/persons/bob@example.org", limit=0)
    assert (found.status, unknown.status, refused.status) == (200, 404, 422)
    assert unknown.json() == {"detail": "person: nothing is known of anybody with that id"}
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("urllib3")]
    for said in (found.data, unknown.data, refused.data, "\n".join(logged).encode()):
        assert b"example.org" not in said
    assert found.headers["Cache-Control"] == "no-store"


def test_nobody_is_not_an_id(known: Api) -> None:
    assert known.get("/v1/persons/")["http"] == 404


def test_a_longer_path_than_the_server_reads_is_refused_cleanly(known: Api) -> None:
    with suppress(urllib3.exceptions.HTTPError):  # cut off before all of it was sent
        assert known.request("/v1/persons/" + "x" * 200_000).status == 400
    assert known.get("/v1/persons/0")["http"] == 200


def test_without_a_key_that_is_said(start: Start) -> None:
    answer = start().get("/v1/persons/ada")
    assert answer["http"] == 501
    assert "key of the pseudonyms" in answer["detail"]


def test_a_key_that_comes_later_is_waited_for(start: Start) -> None:
    key: list[str] = []

    def later(raw: str) -> str:
        if not key:
            raise Retryable("there is no key yet")
        return pseudonym(raw)

    api = start(pseudonym=later)
    answer = api.get("/v1/persons/ada")
    assert (answer["http"], answer["detail"]) == (503, "there is no key yet")
    key.append("")
    assert api.get("/v1/persons/ada")["http"] == 404


def test_a_database_of_an_earlier_version_knows_nobody(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "points.db"
    store = Store(f"sqlite:///{path}")
    store.setup()
    store.close()
    with sqlite3.connect(path) as connection:
        for table in ("person_lines", "churn_scores", "models", "api_keys", "audit", "streamgauge_revision"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'schema_version'")
    connection.close()
    assert start(pseudonym=pseudonym).get("/v1/persons/ada")["http"] == 404
