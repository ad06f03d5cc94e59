"""Who a request is of, over a real Valkey and SQLite: keys, sessions of browsers, and nobody."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import valkey
from websockets.sync.client import connect

from live_api.access import keys as keys_module
from live_api.access.entrance import Access
from live_api.access.identity import NOBODY, Identity
from live_api.access.permissions import PERMISSIONS, Role
from live_api.admission import Origins, Slowed
from sinks.audit_store import Action, AuditStore
from sinks.key_records import ApiKey, hash_of, id_of, new_text
from sinks.key_store import KeyStore
from sinks.person_records import PersonLine
from sinks.person_store import PersonStore
from stream.walltime import clock_ms
from tests.alerts import alert
from tests.servers import ValkeyServer
from tests.stack import eventually

from .conftest import Api

ADA, EVE = (hashlib.sha256(b"key" + name.encode()).hexdigest()[:32] for name in ("ada", "eve"))


def pseudonym(raw: str) -> str:
    return hashlib.sha256(b"key" + raw.encode()).hexdigest()[:32]


class Place:
    """An API and its store."""

    def __init__(self, valkey_url: str, url: str, **options: Any) -> None:
        self.url = url
        self.store, self.audit, self.persons = KeyStore(url), AuditStore(url), PersonStore(url)
        self.persons.setup()
        self.api = Api(valkey_url, url, pseudonym=pseudonym, **options)

    def key(self, role: str | None = "viewer", *permissions: str, **more: Any) -> str:
        text = new_text()
        known = {"rows": {}, "person": None, "created_ms": clock_ms()} | more
        self.store.add(ApiKey(id_of(text) or "", "x", hash_of(text), role, permissions, **known))
        return text

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = urllib3.request(
            method, self.api.url + path, json=body, headers=named, redirect=False, retries=False, timeout=20
        )
        answer.told = json.loads(answer.data) if "json" in answer.headers.get("content-type", "") else None  # type: ignore[attr-defined]
        return answer

    def let_in(self, text: str, **headers: str) -> dict[str, str]:
        """The cookie that somebody with this key gets, as a header."""
        answer = self.ask("/v1/session", "POST", {"key": text}, **headers)
        assert answer.status == 200, answer.data
        return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}

    def close(self) -> None:
        self.api.stop()
        for one in (self.store, self.audit, self.persons):
            one.close()


@pytest.fixture
def place(valkey_server: ValkeyServer, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    made: list[Place] = []

    def make(nobody: Identity | None = NOBODY, **options: Any) -> Place:
        made.append(Place(valkey_server.connection_url, f"sqlite:///{tmp_path}/x.db", access=Access(nobody), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


Make = Callable[..., Place]


def test_a_key_says_who_asks_and_what_they_may(place: Make) -> None:
    here = place()
    text = here.key("viewer", "export", rows={"country": ("de",)}, expires_ms=clock_ms() + 60_000)
    told = here.ask("/v1/session", **bearer(text)).told
    assert told["name"] == f"key:{text[3:11]}"
    assert told["permissions"] == ["export", "view_numbers", "view_own"]
    assert told["rows"] == {"country": ["de"]}
    assert told["until"] is not None
    assert here.ask("/v1/metrics", **bearer(text)).status == 200
    assert here.ask("/v1/metrics", X_Write_Key=text).status == 200
    assert here.ask("/v1/metrics").status == 401
    for bad in (text[:-1], new_text(), here.key(expires_ms=clock_ms() - 1), "", "x"):
        answer = here.ask("/v1/metrics", **bearer(bad))
        assert answer.status == 401
        assert "WWW-Authenticate" in answer.headers
    # A bad key is not passed over for a good one.
    assert here.ask("/v1/metrics", X_Write_Key=text, **bearer(new_text())).status == 401
    [known] = [one for one in here.store.all() if one.id == text[3:11]]
    assert known.last_used_ms is not None


def test_on_loopback_nobody_needs_a_key_until_there_is_one(place: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "KNOWN_FOR_S", 0.2)
    here = place(None)
    assert here.ask("/v1/session").told["name"] == "local"
    assert here.ask("/v1/metrics").status == 200
    text = here.key()
    eventually(lambda: here.ask("/v1/metrics").status == 401)
    here.store.revoke(text[3:11], clock_ms())
    assert here.ask("/v1/metrics").status == 401


def test_strangers_may_have_a_role(place: Make) -> None:
    here = place(Identity("anonymous", PERMISSIONS[Role.VIEWER]))
    assert here.ask("/v1/metrics").status == 200
    assert here.ask("/v1/people").status == 401


def test_a_browser_is_let_in_with_a_key_until_that_ends(place: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "KNOWN_FOR_S", 0.2)
    here = place()
    text = here.key()
    answer = here.ask("/v1/session", "POST", {"key": text}, Origin=here.api.url)
    shown = answer.headers["set-cookie"]
    assert answer.told["name"] == f"key:{text[3:11]}"
    assert shown.startswith("streamgauge=")
    for word in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert word in shown
    assert text not in shown
    mine = here.let_in(text)
    other = here.let_in(text)
    assert here.ask("/v1/metrics", **mine).status == 200
    assert here.ask("/v1/session", "DELETE", Origin=here.api.url, **other).status == 204
    assert here.ask("/v1/metrics", **other).status == 401
    assert here.ask("/v1/metrics", **mine).status == 200
    here.store.revoke(text[3:11], clock_ms())
    eventually(lambda: here.ask("/v1/metrics", **mine).status == 401)
    assert here.ask("/v1/session", "POST", {"key": text}).status == 401
    assert [one.who for one in here.audit.read(action=Action.LOGGED_IN)] == [f"key:{text[3:11]}"] * 3


def test_sessions_are_kept_by_their_hash_and_for_a_time(place: Make, valkey_client: valkey.Valkey) -> None:
    valkey_client.flushdb()
    here = place()
    token = here.let_in(here.key())["Cookie"].partition("=")[2]
    brief = here.key(expires_ms=clock_ms() + 60_000)
    [name] = valkey_client.keys("streamgauge:sessions:*")
    assert token.encode() not in name + (valkey_client.get(name) or b"")
    assert 29 * 86_400 < valkey_client.ttl(name) <= 30 * 86_400
    here.let_in(brief)
    [other] = set(valkey_client.keys("streamgauge:sessions:*")) - {name}
    assert valkey_client.ttl(other) <= 60
    valkey_client.pexpire(name, 5_000)
    assert here.ask("/v1/metrics", Cookie=f"streamgauge={token}").status == 200
    assert valkey_client.ttl(name) > 86_400, "each request lengthens it"


def test_behind_https_the_cookie_is_ours_alone(place: Make) -> None:
    here = place()
    forwarded = {"X_Forwarded_Proto": "https"}
    mine = here.let_in(here.key(), **forwarded)
    assert mine["Cookie"].startswith("__Host-streamgauge=")
    assert here.ask("/v1/metrics", **mine, **forwarded).status == 200
    assert here.ask("/v1/metrics", **mine).status == 401


def test_a_bad_write_key_counts_once(place: Make) -> None:
    here = place()
    here.key()
    sent = [here.ask("/v1/events", "POST", {"event": "x"}, **{"X-Write-Key": new_text()}).status for _ in range(30)]
    assert sent[:20] == [401] * 20
    assert 429 in sent[20:]


def test_pages_of_others_do_nothing_with_our_cookie(place: Make) -> None:
    here = place(origins=None)
    text = here.key("admin")
    mine = here.let_in(text)
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": f"{here.api.url}0"}):
        assert here.ask("/v1/tickets", "POST", **mine, **origin).status == 403, origin
    assert here.ask("/v1/tickets", "POST", **mine, Origin=here.api.url).status == 200
    # A key is not sent along by browsers, and programs have no origin.
    assert here.ask("/v1/tickets", "POST", **bearer(text)).status == 200
    for path, method in (("/v1/session", "POST"), ("/v1/session", "DELETE"), ("/auth/logout", "POST")):
        assert here.ask(path, method, {"key": text}, Origin="https://evil.example").status == 403, path


def test_a_line_that_a_page_of_others_opens_has_no_cookie(place: Make) -> None:
    here = place(origins=Origins(("*",)))
    text = here.key("viewer")
    cookie = here.ask("/v1/session", "POST", {"key": text}, origin=here.api.url).headers["set-cookie"].partition(";")[0]

    def said(origin: str) -> Any:
        with connect(
            here.api.url.replace("http", "ws") + "/v1/ws", origin=origin, additional_headers={"Cookie": cookie}
        ) as line:  # type: ignore[arg-type]
            line.send(json.dumps({"op": "hello", "topics": ["system"]}))
            return json.loads(line.recv(timeout=20))

    assert said(here.api.url)["op"] == "welcome"
    assert said("http://127.0.0.1:1")["code"] == "unauthorized"


def test_whoever_guesses_is_slowed(place: Make) -> None:
    here = place()
    good, unseen = here.key(), here.key()
    assert here.ask("/v1/metrics", **bearer(good)).status == 200
    seen = [here.ask("/v1/metrics", **bearer(new_text())).status for _ in range(30)]
    assert seen[:20] == [401] * 20
    assert 429 in seen[20:]
    assert here.ask("/v1/session", "POST", {"key": unseen}).status == 429
    assert here.ask("/v1/metrics", **bearer(good)).status == 200, "who was here before goes on"
    assert here.ask("/healthz", **bearer(new_text())).status == 200


def test_a_login_is_read_no_further_than_a_key_is_long(place: Make) -> None:
    here = place()
    text = here.key()
    assert here.ask("/v1/session", "POST", {"key": text + " " * 5_000}).status == 413
    for body in ({"key": [text]}, {"key": text + "x" * 200}, {"kee": text}, [text]):
        answer = here.ask("/v1/session", "POST", body)
        assert (answer.status, text in str(answer.data)) == (400, False)
    assert here.ask("/v1/session", "POST", {"key": text}, Content_Type="text/plain").status == 415
    assert here.ask("/v1/session", "POST", {"key": text}).status == 200


def test_each_address_is_slowed_by_itself() -> None:
    slowed = Slowed(2)
    for _ in range(2):
        assert slowed.may_try("a", 0)
        slowed.failed("a", 0)
    assert not slowed.may_try("a", 29)
    assert slowed.may_try("b", 0)
    assert slowed.may_try("a", 31)


def test_a_store_that_is_away_makes_nobody_a_stranger(valkey_server: ValkeyServer) -> None:
    api = Api(valkey_server.connection_url, "sqlite:////nowhere/at/all.db", access=Access(None))
    try:
        for headers in (bearer(new_text()), {}):
            answer = urllib3.request("GET", f"{api.url}/v1/metrics", headers=headers, retries=False, timeout=20)
            assert answer.status == 503
            assert "Retry-After" in answer.headers
        assert api.request("/healthz").status == 200
        assert api.get("/v1/session")["http"] == 200
    finally:
        api.stop()


# People.


def test_one_may_read_of_oneself_only(place: Make) -> None:
    here = place()
    here.persons.write([(PersonLine(who, "event", 1, 1_000, {"name": "came"}), False) for who in (ADA, EVE)])
    own = here.key("viewer", person=ADA)
    for name in ("me", "ada", ADA):
        found = here.ask(f"/v1/persons/{name}", **bearer(own))
        assert (found.status, found.told["person"], found.told["churn"]) == (200, ADA, None)
    for name in ("eve", EVE, "nobody"):
        assert here.ask(f"/v1/persons/{name}", **bearer(own)).status == 403
    assert here.ask("/v1/persons/me", **bearer(here.key())).status == 404
    analyst = here.key("analyst")
    assert here.ask("/v1/persons/eve", **bearer(analyst)).told["person"] == EVE
    limited = here.key("analyst", rows={"country": ("de",)})
    assert here.ask("/v1/persons/eve", **bearer(limited)).status == 403
    read = here.audit.read(action=Action.READ_PERSON)
    assert [(one.who, one.subject) for one in read] == [
        (f"key:{analyst[3:11]}", EVE),
        *[(f"key:{own[3:11]}", ADA)] * 3,
    ]


def test_nobody_is_read_of_when_that_cannot_be_written_down(place: Make) -> None:
    here = place()
    here.persons.write([(PersonLine(ADA, "event", 1, 1_000, {"name": "came"}), False)])
    analyst = here.key("analyst")
    assert here.ask("/v1/persons/ada", **bearer(analyst)).status == 200
    with sqlite3.connect(here.url.removeprefix("sqlite:///")) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no more'); END")
    connection.close()
    answer = here.ask("/v1/persons/ada", **bearer(analyst))
    assert answer.status == 503
    assert "audit log cannot be written" in answer.told["detail"]
    assert here.ask("/v1/points?metric=orders&window=1m&format=csv", **bearer(analyst)).status == 503


# The log.


def test_who_exports_or_is_sent_away_is_written_down(place: Make) -> None:
    here = place()
    analyst, admin = here.key("analyst"), here.key("admin")
    assert here.ask("/v1/points?metric=orders&window=1m&format=csv", **bearer(analyst)).status == 200
    assert here.ask("/v1/audit", **bearer(analyst)).status == 403
    assert here.ask("/v1/persons/ada@example.org").status == 401
    assert here.ask("/v1/live").status == 401
    assert here.ask("/v1/events", "POST", {"event": "x"}, **bearer(analyst)).status == 403

    def told() -> list[tuple[str, str, str]]:
        entries = here.ask("/v1/audit", **bearer(admin)).told["entries"]
        return [(one["who"], one["action"], one["subject"]) for one in reversed(entries)]

    who = f"key:{analyst[3:11]}"
    wanted = [
        (who, "exported", "orders"),
        (who, "refused", "GET /v1/audit"),
        ("anonymous", "refused", "GET /v1/persons/{id:path}"),
        ("anonymous", "refused", "GET /v1/live"),
        (who, "refused", "POST /v1/events"),
    ]
    eventually(lambda: told() == wanted, what=str(told()))
    assert [one["who"] for one in here.ask("/v1/audit?action=exported", **bearer(admin)).told["entries"]] == [who]
    assert here.ask("/v1/audit?action=x", **bearer(admin)).status == 400


def test_refusals_do_not_fill_the_log(place: Make) -> None:
    here = place()
    for _ in range(100):
        assert here.ask("/v1/metrics").status == 401
    assert 60 <= len(here.audit.read(action=Action.REFUSED, limit=1_000)) < 100


def test_nobody_answers_an_alert_as_somebody_else(place: Make, valkey_client: valkey.Valkey) -> None:
    from sinks.alert_store import AlertStore

    here = place(Identity("anonymous", PERMISSIONS[Role.OPERATOR]))
    alerts = AlertStore(here.url)
    one = alert()
    alerts.write([one])
    alerts.close()
    text = here.key("operator")
    said = here.ask(f"/v1/alerts/{one.id}/ack", "POST", {"by": "the boss"}, **bearer(text))
    assert (said.status, said.told["by"]) == (202, f"key:{text[3:11]}")
    assert here.ask(f"/v1/alerts/{one.id}/ack", "POST", {}, **bearer(text)).status == 202
    assert here.ask(f"/v1/alerts/{one.id}/ack", "POST", {"by": "ada"}).told["by"] == "ada"
    assert here.ask(f"/v1/alerts/{one.id}/ack", "POST", {}).status == 400
    assert here.ask(f"/v1/alerts/{one.id}/ack", "POST", {"by": "user:ada"}).status == 400
    entries = here.audit.read(action=Action.ACKNOWLEDGED)
    assert [(entry.who, entry.subject, entry.detail) for entry in entries] == [
        ("anonymous", one.id, "ack by ada"),
        *[(f"key:{text[3:11]}", one.id, f"ack by key:{text[3:11]}")] * 2,
    ]
