from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from live_api import churn_routes
from live_api.people import risk
from sinks.records import iso
from sinks.score_records import Level
from sinks.score_store import ScoreStore
from sinks.store import Store
from stream.catalog import Catalog, parse
from stream.people.features import Churn
from tests.scores import AS_OF_MS, DAY_MS, QUALITY, score, status
from tests.servers import ValkeyServer
from tests.stack import eventually

from .conftest import CATALOG, Api, Processor
from .test_people_routes import pseudonym

Start = Callable[..., Api]
HOUR_MS = 3_600_000


def catalog() -> Catalog:
    return parse(f"""{CATALOG}
[event]
person = "user"

[churn]
active = "60d"

[churn.actions]
high = ["offer a voucher"]
""")


PERSONS = {f"{n}@example.org": chance for n, chance in enumerate([0.95, 0.9, 0.85, 0.7, 0.6, 0.2, 0.1])}


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/points.db"
    store = ScoreStore(url)
    store.setup()
    told = [score(pseudonym(raw), chance) for raw, chance in PERSONS.items()]
    told[0] = score(told[0].person, 0.95, segment="new")
    store.write(told)
    # A day later one of them has become likelier to leave.
    store.write([score(one.person, max(one.probability, 0.55), 1, segment=one.segment) for one in told])
    store.write_models([status(day=1), status("forecast orders@1d", day=1, quality={"mase": {"1": 0.4}})])
    store.close()
    return url


@pytest.fixture(scope="module")
def api(valkey_server: ValkeyServer, store_url: str) -> Iterator[Api]:
    made = Api(valkey_server.connection_url, store_url, catalog=catalog(), pseudonym=pseudonym)
    yield made
    made.stop()


def test_who_is_likely_to_leave(api: Api) -> None:
    answer = api.get("/v1/churn", level="high", limit=2)
    assert answer.pop("http") == 200
    assert [one["probability"] for one in answer["persons"]] == [0.95, 0.9]
    assert answer.pop("persons")[0] == score(pseudonym("0@example.org"), 0.95, 1, segment="new").to_json() | {
        "changed": "2026-06-01T00:00:00Z"
    }
    assert isinstance(answer.pop("next"), str)
    assert answer.pop("levels") == [
        {
            "level": "high",
            "from": 0.8,
            "people": 3,
            "share": 3 / 7,
            "expected": pytest.approx(2.7),
            "actions": ["offer a voucher"],
        },
        {"level": "medium", "from": 0.5, "people": 4, "share": 4 / 7, "expected": pytest.approx(2.4), "actions": []},
        {"level": "low", "from": 0.0, "people": 0, "share": 0.0, "expected": 0, "actions": []},
    ]
    assert [(one["segment"], one["people"], one["high"]) for one in answer.pop("segments")] == [
        ("often, of late", 6, 2),
        ("new", 1, 1),
    ]
    assert [(one["name"], one["people"], one["contribution"]) for one in answer.pop("factors")] == [
        ("days_since_last", 3, pytest.approx(1.7)),
        ("posts", 3, pytest.approx(0.6)),
    ], "what speaks for staying is no reason to leave"
    assert answer.pop("model").startswith("proven; AUC 0.891 (time since the last event alone: 0.842)")
    assert answer == {
        "as_of": iso(AS_OF_MS + DAY_MS),
        "due": iso(AS_OF_MS + 2 * DAY_MS + HOUR_MS),
        "horizon_s": 30 * 86_400,
        "people": 7,
        "proven": True,
        "factors_of": 3,
        "state": answer["state"],
    }


def test_pages_together_are_the_whole(api: Api) -> None:
    whole = api.get("/v1/churn")
    assert [one["probability"] for one in whole["persons"]] == [0.95, 0.9, 0.85, 0.7, 0.6, 0.55, 0.55]
    assert whole["next"] is None
    found, answer = [], api.get("/v1/churn", limit=3)
    while True:
        found += answer["persons"]
        if answer["next"] is None:
            break
        answer = api.get("/v1/churn", limit=3, cursor=answer["next"])
    assert found == whole["persons"]
    assert len(api.get("/v1/churn", level="medium", limit=4)["persons"]) == 4
    assert api.get("/v1/churn", level="medium", limit=4)["next"] is None


def test_for_a_wall_nobody_is_named(api: Api) -> None:
    answer = api.get("/v1/churn", limit=0)
    assert (answer["persons"], answer["next"], answer["people"]) == ([], None, 7)
    assert pseudonym("0@example.org") not in api.request("/v1/churn", limit=0).data.decode()


def test_some_may_be_asked_for(api: Api) -> None:
    def chances(**asked: Any) -> list[float]:
        return [one["probability"] for one in api.get("/v1/churn", **asked)["persons"]]

    assert chances(segment="new") == [0.95]
    assert chances(segment="nobody's") == []
    assert chances(changed_since=iso(AS_OF_MS + 1)) == [0.55, 0.55]
    assert chances(changed_since=AS_OF_MS + DAY_MS, level="high") == []
    assert chances(changed_since=iso(AS_OF_MS), level="high") == [0.95, 0.9, 0.85]


@pytest.mark.parametrize(
    ("query", "http", "says"),
    [
        ({"level": "hihg"}, 400, "level: expected one of high, medium, low; found 'hihg' (did you mean high?)"),
        ({"level": "zzz"}, 400, "level: expected one of high, medium, low; found 'zzz'"),
        ({"level": ""}, 400, "found ''"),
        ({"changed_since": "yesterday"}, 400, "changed_since: expected ISO 8601 or epoch milliseconds"),
        ({"cursor": "x"}, 400, "cursor: expected `next` of an answer before"),
        ({"cursor": "é"}, 400, "cursor: expected `next` of an answer before"),
        ({"cursor": "WzEsMl0"}, 400, "cursor: expected `next` of an answer before"),
        ({"limit": -1}, 422, None),
        ({"limit": 1_001}, 422, None),
    ],
)
def test_what_cannot_be_asked(api: Api, query: dict[str, Any], http: int, says: str | None) -> None:
    answer = api.get("/v1/churn", **query)
    assert answer["http"] == http
    assert says is None or says in answer["detail"]


def test_a_cursor_is_of_one_level(api: Api) -> None:
    cursor = api.get("/v1/churn", level="high", limit=1)["next"]
    answer = api.get("/v1/churn", level="low", cursor=cursor)
    assert (answer["http"], answer["detail"]) == (
        400,
        "cursor: expected one of an answer about level low; found one about another",
    )


def test_one_person_by_id_or_by_pseudonym(api: Api) -> None:
    by_id = api.get("/v1/churn/0@example.org")
    assert by_id["http"] == 200
    assert (by_id["person"], by_id["level"]) == (pseudonym("0@example.org"), "high")
    assert api.get(f"/v1/churn/{pseudonym('0@example.org')}") == by_id
    answer = api.get("/v1/churn/nobody@example.org")
    assert (answer["http"], answer["detail"]) == (
        404,
        "person: nobody with that id has come in the last 60 days, as of the end of the last day",
    )
    assert api.get("/v1/churn/")["http"] == 404


def test_the_id_is_nowhere_said(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [api.request("/v1/churn/0@example.org"), api.request("/v1/churn/nobody@example.org")]
    assert [one.status for one in answers] == [200, 404]
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("urllib3")]
    for said in (*(one.data for one in answers), "\n".join(logged).encode()):
        assert b"example.org" not in said
    assert answers[0].headers["Cache-Control"] == "no-store"
    assert api.request("/v1/churn").headers["Cache-Control"] == "no-store"


def test_a_persons_record_has_their_score(api: Api) -> None:
    answer = api.get("/v1/persons/0@example.org")
    assert answer["http"] == 200
    assert answer["timeline"] == []
    alone = api.get("/v1/churn/0@example.org")
    alone.pop("http")
    assert answer["churn"] == alone


def test_without_a_key_people_are_found_by_pseudonym_alone(start: Start, store_url: str) -> None:
    api = start(store_url=store_url, catalog=catalog())
    assert api.get(f"/v1/churn/{pseudonym('0@example.org')}")["http"] == 200
    answer = api.get("/v1/churn/0@example.org")
    assert answer["http"] == 501
    assert "key of the pseudonyms" in answer["detail"]


def test_models_say_how_good_they_have_been(api: Api) -> None:
    answer = api.get("/v1/models")
    assert answer["http"] == 200
    churn, forecast = answer["models"]
    assert churn["quality"] == QUALITY
    assert churn["due"] == iso(AS_OF_MS + 2 * DAY_MS + HOUR_MS)
    assert (churn["samples"], churn["version"], churn["proven"]) == (12_345, 3, True)
    assert forecast["due"] == iso(AS_OF_MS + 3 * DAY_MS)
    one = api.get("/v1/models/churn")
    assert one.pop("http") == 200
    one.pop("state")
    assert one == churn
    assert api.get(f"/v1/models/{quote('forecast orders@1d')}")["quality"] == {"mase": {"1": 0.4}}
    answer = api.get("/v1/models/chrun")
    assert (answer["http"], answer["detail"]) == (
        404,
        "model: expected one of churn, forecast orders@1d; found 'chrun' (did you mean churn?)",
    )


def test_without_a_declaration_that_is_said(start: Start, store_url: str) -> None:
    api = start(store_url=store_url, pseudonym=pseudonym)
    for path in ("/v1/churn", "/v1/churn/ada"):
        answer = api.get(path)
        assert answer["http"] == 404
        assert "expected [churn] in the catalog" in answer["detail"]


def test_without_models_that_is_said(start: Start) -> None:
    api = start()
    assert api.get("/v1/models")["models"] == []
    answer = api.get("/v1/models/churn")
    assert (answer["http"], answer["detail"]) == (
        404,
        "model: expected none, as the catalog declares none; found 'churn'",
    )


def test_before_the_first_scores(start: Start) -> None:
    api = start(catalog=catalog(), pseudonym=pseudonym)
    answer = api.get("/v1/churn")
    assert answer["http"] == 200
    assert (answer["as_of"], answer["due"], answer["people"], answer["proven"]) == (None, None, 0, False)
    assert [one["people"] for one in answer["levels"]] == [0, 0, 0]
    assert answer["levels"][0]["share"] is None
    assert answer["model"].startswith("the model has not begun")
    assert api.get("/v1/churn/ada")["http"] == 404
    (model,) = api.get("/v1/models")["models"]
    assert (model["name"], model["at"], model["due"], model["version"], model["samples"]) == ("churn", None, None, 0, 0)
    assert model["summary"].startswith("the model has not begun")
    assert api.get("/v1/models/churn")["version"] == 0


def test_a_database_of_an_earlier_version_has_no_scores(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "points.db"
    store = Store(f"sqlite:///{path}")
    store.setup()
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE churn_scores")
        connection.execute("DROP TABLE models")
        connection.execute("DROP TABLE api_keys")
        connection.execute("DROP TABLE audit")
        connection.execute("UPDATE meta SET value = '4' WHERE key = 'schema_version'")
        connection.execute("DROP TABLE streamgauge_revision")
    connection.close()
    api = start(catalog=catalog(), pseudonym=pseudonym)
    assert api.get("/v1/churn")["people"] == 0
    assert api.get("/v1/persons/ada")["http"] == 404


def test_a_store_that_is_away_is_said(start: Start, tmp_path: Path) -> None:
    api = start(store_url=f"sqlite:///{tmp_path}/nowhere/x.db", catalog=catalog(), pseudonym=pseudonym)
    for path in ("/v1/churn", "/v1/churn/ada", "/v1/models", "/v1/models/churn"):
        answer = api.get(path)
        assert answer["http"] == 503
        assert "cannot be opened" in answer["detail"]


def test_how_the_processor_is_goes_with_it(start: Start, store_url: str, processor: Processor) -> None:
    api = start(store_url=store_url, catalog=catalog())
    for path in ("/v1/churn", "/v1/models", "/v1/models/churn"):
        eventually(lambda path=path: api.get(path)["state"] == "live")  # type: ignore[misc]


def test_many_screens_share_an_answer(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/own.db"
    store = ScoreStore(url)
    store.setup()
    store.write([score()])
    api = start(store_url=url, catalog=catalog())
    monkeypatch.setattr(churn_routes, "_LASTING_S", 1e9)
    assert api.get("/v1/churn")["people"] == 1
    store.write([score("fe" * 16)])
    answer = api.get("/v1/churn")
    assert (answer["people"], len(answer["persons"])) == (1, 2), "who they are is looked up anew"
    store.write_models([status(day=1)])
    assert api.get("/v1/churn")["people"] == 2, "the model has another day"
    store.write([score("5c" * 16)])
    monkeypatch.setattr(churn_routes, "_LASTING_S", 0.0)
    assert api.get("/v1/churn")["people"] == 3
    store.close()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"samples": 0, "quality": {}}, "unproven: nobody's answer is known yet"),
        ({"proven": False}, "unproven: not shown to be better than the time since the last event; AUC 0.891"),
        ({"quality": QUALITY | {"auc": None}}, "proven; only people who stayed, or only people who left"),
        ({"quality": {"labels": 10.0, "auc": 0.5}}, "proven; AUC 0.500; 12,345 answers"),
        ({"quality": {"labels": "x", "auc": "much", "ece": True, "base_rate": float("nan")}}, "proven; only people"),
    ],
)
def test_a_model_in_one_line(changed: dict[str, Any], says: str) -> None:
    assert risk.summary(status(**changed)).startswith(says)


def test_every_level_is_in_the_table() -> None:
    declared = Churn.model_validate({"high": 0.9, "medium": 0.4})
    assert [(row["level"], row["from"]) for row in risk.levels([], declared)] == [
        (Level.HIGH, 0.9),
        (Level.MEDIUM, 0.4),
        (Level.LOW, 0.0),
    ]
